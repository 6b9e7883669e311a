/* Counts as text: the keys of Qiskit, a JSON object of them, and one bit string per shot. Knows no Python. */
#ifndef QFAST_SV_TEXT_H
#define QFAST_SV_TEXT_H
#include "sv_counts.h"

/* How classical bits are written: bit 0 rightmost, one space between registers, the register declared last leftmost. */
typedef struct {
    const int64_t *sizes; /* bits of each register, in order of declaration */
    int64_t registers;
    int64_t length;       /* characters of a key */
} sv_form;

/* Writes bits [from, from + size) of a word as text that ends before `end`, the first bit rightmost. */
static inline void sv_write_bits(unsigned char *end, const uint64_t *word, int64_t from, int64_t size) {
    int64_t k = 0;
    for (; k + 8 <= size; k += 8) { /* eight bits to eight bytes: bit j of the product's byte j, then the bytes turn around */
        const int64_t at = from + k, shift = at & 63;
        uint64_t bits = word[at >> 6] >> shift;
        if (shift > 56) bits |= word[(at >> 6) + 1] << (64 - shift);
        const uint64_t spread = ((bits & 255) * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);
        uint64_t text = ((spread + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7) & UINT64_C(0x0101010101010101);
        text = __builtin_bswap64(text | UINT64_C(0x3030303030303030)); /* '0' */
        memcpy(end - k - 8, &text, 8);
    }
    for (; k < size; k++) end[-k - 1] = (unsigned char)('0' + ((word[(from + k) >> 6] >> ((from + k) & 63)) & 1));
}

/* Writes the key of a classical word, form->length characters. */
static inline void sv_write_key(unsigned char *out, const uint64_t *word, const sv_form *form) {
    unsigned char *end = out + form->length;
    int64_t from = 0;
    for (int64_t j = 0; j < form->registers; j++) {
        if (j) *--end = ' ';
        sv_write_bits(end, word, from, form->sizes[j]);
        from += form->sizes[j];
        end -= form->sizes[j];
    }
}

static inline int sv_digits(int64_t count) {
    int digits = 1;
    for (; count >= 10; count /= 10) digits++;
    return digits;
}

/* Bytes of the JSON object {"key":count,...}. */
static inline int64_t sv_json_bytes(const sv_counts *h, const sv_form *form) {
    int64_t bytes = h->used ? h->used * (form->length + 4) + 1 : 2; /* quotes, colon and comma; braces less one comma */
    for (int64_t e = 0; e < h->used; e++) bytes += sv_digits(h->count[e]);
    return bytes;
}

/* Writes it; 0 when the flag was set. */
static inline int sv_write_json(unsigned char *out, const sv_counts *h, const sv_form *form, const volatile unsigned char *cancel) {
    *out++ = '{';
    for (int64_t e = 0; e < h->used; e++) {
        if ((e & 0xffff) == 0xffff && cancel && *cancel) return 0;
        if (e) *out++ = ',';
        *out++ = '"';
        sv_write_key(out, h->words + e * h->num_words, form);
        out += form->length;
        *out++ = '"';
        *out++ = ':';
        const int digits = sv_digits(h->count[e]);
        int64_t rest = h->count[e];
        for (int d = digits; d-- > 0; rest /= 10) out[d] = (unsigned char)('0' + rest % 10);
        out += digits;
    }
    *out = '}';
    return 1;
}

static inline int64_t sv_total(const sv_counts *h) {
    int64_t shots = 0;
    for (int64_t e = 0; e < h->used; e++) shots += h->count[e];
    return shots;
}

/* Bytes of the JSON array of one key per shot. */
static inline int64_t sv_memory_bytes(const sv_counts *h, const sv_form *form) {
    const int64_t shots = sv_total(h);
    return shots ? shots * (form->length + 3) + 1 : 2;
}

/* Writes it, the shots in random order: independent shots are exchangeable, so an order drawn afterwards has the distribution that
 * running them one after the other has. SV_OK, SV_MEMORY, or SV_CANCELLED. */
static inline int sv_write_memory(unsigned char *out, const sv_counts *h, const sv_form *form, uint64_t seed,
                                  const volatile unsigned char *cancel) {
    const int64_t shots = sv_total(h);
    uint32_t *entry = shots < UINT32_MAX && h->used < UINT32_MAX ? malloc(sizeof *entry * (size_t)(shots + 1)) : NULL;
    int result = entry ? SV_OK : SV_MEMORY;
    qf_rng rng;
    qf_rng_seed(&rng, seed);
    for (int64_t e = 0, n = 0; entry && e < h->used; e++)
        for (int64_t c = 0; c < h->count[e]; c++) entry[n++] = (uint32_t)e;
    *out++ = '[';
    for (int64_t n = 0; n < shots && result == SV_OK; n++) { /* Fisher and Yates; 53 bits, so biased by less than 2^-21 */
        const int64_t other = n + (int64_t)(qf_rng_double(&rng) * (double)(shots - n));
        const uint32_t e = entry[other];
        entry[other] = entry[n];
        if (n) *out++ = ',';
        *out++ = '"';
        sv_write_key(out, h->words + (int64_t)e * h->num_words, form);
        out += form->length;
        *out++ = '"';
        if ((n & 0xffff) == 0xffff && cancel && *cancel) result = SV_CANCELLED;
    }
    *out = ']';
    free(entry);
    return result;
}

#endif

/* Sampling classical bits that are affine forms of uniform random variables. */
#ifndef QFAST_STAB_SAMPLE_H
#define QFAST_STAB_SAMPLE_H
#include "stab_state.h"
#include "sv_counts.h"

enum {
    STAB_FEW = 20,  /* of so many independent bits all values may be listed */
    STAB_BLOCK = 512 /* shots drawn at a time */
};
#define STAB_COUNT_WORDS (INT64_C(1) << 25) /* words that all distinct outcomes may take: 256 MiB, their text eight times as much */

typedef struct {
    const stab_state *state;
    const volatile unsigned char *cancel;
    sv_counts *counts;
    uint64_t *offset; /* one classical word: the outcome for u = 0 */
    qf_rng rng;
    int distinct;     /* the counts are empty and no outcome comes twice */
} stab_sampler;

static inline int stab_count(stab_sampler *m, const uint64_t *word, int64_t shots) {
    if (m->counts->used * m->counts->num_words > STAB_COUNT_WORDS) return SV_MEMORY;
    if ((m->counts->used & 0xfff) == 0xfff && m->cancel && *m->cancel) return SV_CANCELLED;
    return (m->distinct ? sv_counts_append(m->counts, word, shots) : sv_counts_add(m->counts, word, shots)) ? SV_OK : SV_MEMORY;
}

/* The rows of classical bits from `first` on of column v, as a classical word. */
static inline void stab_outcome(const stab_state *s, int64_t v, uint64_t *word, int64_t num_words) {
    const uint64_t *column = stab_column(s, v);
    const int64_t from = s->num_qubits >> 6, shift = s->num_qubits & 63;
    for (int64_t k = 0; k < num_words; k++) {
        const int64_t at = from + k;
        uint64_t low = at < s->row_words ? column[at] >> shift : 0;
        uint64_t high = shift && at + 1 < s->row_words ? column[at + 1] << (64 - shift) : 0;
        word[k] = low | high;
    }
}

/* Independent outcomes that span all; by the caller's knowledge there are `most` <= STAB_FEW or fewer. Gives their number, or -1 when
 * the flag was set. */
static inline int stab_basis(const stab_sampler *m, const uint64_t *active, int64_t most, uint64_t *basis, int64_t num_words) {
    const stab_state *s = m->state;
    int64_t pivot[STAB_FEW + 1];
    int rank = 0;
    STAB_EACH(v, active) {
        if (rank == most) return rank;
        if ((v & 63) == 0 && m->cancel && *m->cancel) return -1;
        uint64_t *word = basis + rank * num_words;
        int64_t k = 0;
        stab_outcome(s, (int64_t)v, word, num_words);
        for (int e = 0; e < rank; e++)
            if (stab_bit(word, pivot[e]))
                for (int64_t w = 0; w < num_words; w++) word[w] ^= basis[e * num_words + w];
        while (k < num_words && !word[k]) k++;
        if (k == num_words) continue;
        pivot[rank++] = 64 * k + __builtin_ctzll(word[k]);
    }
    return rank;
}

/* Splits the shots over all 2^rank outcomes by binomial numbers, in the order of a Gray code's tree. */
static inline int stab_split(stab_sampler *m, const uint64_t *basis, int rank, int64_t shots, uint64_t *word) {
    const int64_t num_words = m->counts->num_words;
    if (shots == 0) return SV_OK;
    if (rank == 0) return stab_count(m, word, shots);
    const int64_t ones = sv_binomial(&m->rng, shots, 0.5);
    int result = stab_split(m, basis, rank - 1, shots - ones, word);
    for (int64_t w = 0; w < num_words; w++) word[w] ^= basis[(rank - 1) * num_words + w];
    if (result == SV_OK) result = stab_split(m, basis, rank - 1, ones, word);
    for (int64_t w = 0; w < num_words; w++) word[w] ^= basis[(rank - 1) * num_words + w];
    return result;
}

/* Draws each shot's combination of the basis and lists the 2^rank tallies. */
static inline int stab_tally(stab_sampler *m, const uint64_t *basis, int rank, int64_t shots, uint64_t *word) {
    const uint64_t size = UINT64_C(1) << rank;
    const int64_t num_words = m->counts->num_words;
    int64_t *tally = calloc(size, sizeof *tally);
    int result = tally ? SV_OK : SV_MEMORY;
    uint64_t bits = 0;
    int left = 0;
    for (int64_t n = 0; n < shots && result == SV_OK; n++) {
        if (left < rank) {
            bits = qf_rng_next(&m->rng);
            left = 64;
        }
        tally[bits & (size - 1)]++;
        bits >>= rank;
        left -= rank;
        if ((n & 0xfffff) == 0xfffff && m->cancel && *m->cancel) result = SV_CANCELLED;
    }
    for (uint64_t n = 0; n < size && result == SV_OK; n++) { /* Gray code: neighbours differ in one basis vector */
        const uint64_t at = n ^ (n >> 1);
        if (tally[at]) result = stab_count(m, word, tally[at]);
        if (n + 1 == size) break;
        const int flip = __builtin_ctzll(n + 1);
        for (int64_t w = 0; w < num_words; w++) word[w] ^= basis[flip * num_words + w];
    }
    free(tally);
    return result;
}

/* Bit c of word r becomes bit r of word c (Warren, Hacker's Delight, 7-3). */
static inline void stab_transpose(uint64_t x[64]) {
    uint64_t mask = UINT64_C(0xffffffff);
    for (int j = 32; j; j >>= 1, mask ^= mask << j)
        for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            const uint64_t t = ((x[k] >> j) ^ x[k | j]) & mask;
            x[k] ^= t << j;
            x[k | j] ^= t;
        }
}

/* Every shot on its own: the forms of 512 shots are summed side by side, then transposed. */
static inline int stab_draw(stab_sampler *m, const uint64_t *active, int64_t shots) {
    const stab_state *s = m->state;
    const int64_t num_words = m->counts->num_words, num_bits = s->num_rows - s->num_qubits;
    uint64_t *random = malloc(sizeof *random * 8 * 64 * (size_t)s->words);
    uint64_t *word = malloc(sizeof *word * STAB_BLOCK * (size_t)num_words);
    int result = random && word ? SV_OK : SV_MEMORY;
    for (int64_t left = shots; left > 0 && result == SV_OK; left -= STAB_BLOCK) {
        const int64_t block = left < STAB_BLOCK ? left : STAB_BLOCK;
        STAB_EACH(v, active) for (int k = 0; k < 8; k++) random[8 * v + (uint64_t)k] = qf_rng_next(&m->rng);
        for (int64_t g = 0; g < num_words && result == SV_OK; g++) {
            uint64_t sum[64][8] = {{0}}, x[64];
            for (int64_t c = 64 * g; c < num_bits && c < 64 * g + 64; c++) {
                s->kernels->sum(sum[c & 63], stab_row(s, s->num_qubits + c), s->words, random);
            }
            for (int64_t k = 0; 64 * k < block; k++) {
                for (int c = 0; c < 64; c++) x[c] = sum[c][k];
                stab_transpose(x);
                for (int64_t n = 0; n < 64 && 64 * k + n < block; n++)
                    word[(64 * k + n) * num_words + g] = x[n] ^ m->offset[g];
            }
            if (m->cancel && *m->cancel) result = SV_CANCELLED;
        }
        for (int64_t n = 0; n < block && result == SV_OK; n++) result = stab_count(m, word + n * num_words, 1);
    }
    free(random);
    free(word);
    return result;
}

/* Adds the outcomes of `shots` shots to the counts. */
static inline int stab_sample(stab_sampler *m, int64_t shots) {
    const stab_state *s = m->state;
    const int64_t num_words = m->counts->num_words, num_bits = s->num_rows - s->num_qubits;
    int64_t variables = 0, forms = 0;
    uint64_t *active = calloc((size_t)s->words + (size_t)(STAB_FEW + 2) * (size_t)num_words, sizeof *active);
    uint64_t *basis = active + s->words, *offset = basis + (STAB_FEW + 1) * num_words;
    if (!active) return SV_MEMORY;
    for (int64_t c = 0; c < num_bits; c++) {
        uint64_t any = 0;
        for (int64_t k = 0; k < s->words; k++) {
            const uint64_t a = stab_row(s, s->num_qubits + c)[k];
            active[k] |= a;
            any |= a;
        }
        forms += any != 0;
        offset[c >> 6] |= (uint64_t)(s->b[s->num_qubits + c] & 1) << (c & 63);
    }
    for (int64_t k = 0; k < s->words; k++) variables += __builtin_popcountll(active[k]);
    m->offset = offset;
    const int64_t most = variables < forms ? variables : forms;
    const int few = most <= STAB_FEW, rank = few ? stab_basis(m, active, most, basis, num_words) : 0;
    int result;
    if (rank < 0) result = SV_CANCELLED;
    else if (most == 0) result = stab_count(m, offset, shots);
    else if (few && INT64_C(12) << rank <= shots) result = stab_split(m, basis, rank, shots, offset);
    else if (few && INT64_C(1) << rank <= 4 * shots) result = stab_tally(m, basis, rank, shots, offset);
    else {
        m->distinct = 0;
        result = stab_draw(m, active, shots);
    }
    free(active);
    return result;
}

#endif

/* Counts of classical words: bits packed into 64-bit words, one entry per distinct word, an open-addressing index over them. */
#ifndef QFAST_SV_COUNTS_H
#define QFAST_SV_COUNTS_H
#include "sv_sample.h"

typedef struct {
    uint64_t *words; /* num_words per entry */
    int64_t *count;
    int64_t used, room_words, room_count;
    int64_t num_words;
    int64_t *slot; /* entry + 1, 0 where free; a power of two of them, at least twice the entries */
    int64_t num_slots;
} sv_counts;

static inline void sv_counts_free(sv_counts *h) {
    free(h->words);
    free(h->count);
    free(h->slot);
}

static inline uint64_t sv_hash(const uint64_t *words, int64_t n) {
    uint64_t h = 0;
    for (int64_t j = 0; j < n; j++) h = qf_mix64(h ^ words[j]);
    return h;
}

static inline int sv_counts_append(sv_counts *h, const uint64_t *words, int64_t count) {
    if (!sv_reserve((void **)&h->words, &h->room_words, h->used * h->num_words, h->num_words, sizeof *h->words) ||
        !sv_reserve((void **)&h->count, &h->room_count, h->used, 1, sizeof *h->count))
        return 0;
    memcpy(h->words + h->used * h->num_words, words, sizeof *words * (size_t)h->num_words);
    h->count[h->used++] = count;
    return 1;
}

static inline int sv_counts_rehash(sv_counts *h, int64_t num_slots) {
    int64_t *slot = calloc((size_t)num_slots, sizeof *slot);
    if (!slot) return 0;
    free(h->slot);
    h->slot = slot;
    h->num_slots = num_slots;
    for (int64_t e = 0; e < h->used; e++) {
        uint64_t at = sv_hash(h->words + e * h->num_words, h->num_words) & (uint64_t)(num_slots - 1);
        while (slot[at]) at = (at + 1) & (uint64_t)(num_slots - 1);
        slot[at] = e + 1;
    }
    return 1;
}

/* Adds to the count of a word; 0 when memory is out. */
static inline int sv_counts_add(sv_counts *h, const uint64_t *words, int64_t count) {
    if (2 * (h->used + 1) > h->num_slots && !sv_counts_rehash(h, h->num_slots ? 4 * h->num_slots : 64)) return 0;
    uint64_t at = sv_hash(words, h->num_words) & (uint64_t)(h->num_slots - 1);
    for (; h->slot[at]; at = (at + 1) & (uint64_t)(h->num_slots - 1)) {
        const int64_t e = h->slot[at] - 1;
        if (memcmp(h->words + e * h->num_words, words, sizeof *words * (size_t)h->num_words) == 0) {
            h->count[e] += count;
            return 1;
        }
    }
    h->slot[at] = h->used + 1;
    return sv_counts_append(h, words, count);
}

#endif

/* Noise by trajectories: what a channel can do to a shot, and how many shots of a branch it does it to.
 *
 * A shot passes each channel (QF_NOISE, a "site") with at most one error. Shots without an error so far share one evolution: at a
 * site a branch loses the shots that err, which go on by themselves. How many sites pass until the next error needs no draw per
 * site: the waiting time of the first of s shots is exponential with rate -s log(1 - p) per site, so a clock runs down. Amplitude
 * damping errs with probability gamma P(1), which depends on the state: its sites have events of probability gamma, of which P(1)
 * are errors, and the evolution between jumps, diag(1, sqrt(1 - gamma)), is an ordinary gate of the plan, which leaves the state
 * without its norm (Dalibard, Castin, Molmer, Phys. Rev. Lett. 68, 580, 1992).
 */
#ifndef QFAST_SV_NOISE_H
#define QFAST_SV_NOISE_H
#include "sv_counts.h"

/* What a way holds of a site: no shot of the branch had an event there; there were events, but none for these shots; SV_ERROR and
 * the error's kind. Of Pauli errors the kind has two bits per qubit, 1 for X and 2 for Z (Y is both); a jump has kind 1. */
enum { SV_QUIET = 0, SV_SPARED = 1, SV_ERROR = 1, SV_KINDS = 16 };

/* The number of events among n > 0 tries of probability p, given that there is one at least. */
static inline int64_t sv_binomial_positive(qf_rng *rng, int64_t n, double p) {
    if (n == 1 || p >= 1) return n;
    if ((double)n * p > 1) {
        for (;;) {
            const int64_t k = sv_binomial(rng, n, p);
            if (k > 0) return k;
        }
    }
    const double none = (double)n * log1p(-p), odds = p / (1 - p);
    double u = -expm1(none) * qf_rng_double(rng), term = (double)n * odds * exp(none);
    for (int64_t k = 1; k <= n && k < 200; k++) {
        if (u < term) return k;
        u -= term;
        term *= odds * (double)(n - k) / (double)(k + 1);
    }
    return 1; /* rounding left something over */
}

/* Shares the events of a site out to the kinds: count[0] shots are spared. `one`: the probability that the qubit is 1. */
static inline void sv_share_out(qf_rng *rng, const qf_instr *g, const double *p, int64_t shots, double one, int64_t count[SV_KINDS]) {
    const double total = sv_site_probability(g, p);
    int64_t left = sv_binomial_positive(rng, shots, total);
    memset(count, 0, SV_KINDS * sizeof *count);
    count[0] = shots - left;
    if (g->c == QF_DAMP) {
        count[1] = sv_binomial(rng, left, one);
        count[0] += left - count[1];
        return;
    }
    const int kinds = g->c == QF_PAULI ? 3 : 15;
    double rest = total;
    for (int k = 1; k <= kinds && left > 0; k++) {
        const double own = g->c == QF_PAULI ? p[k == 1 ? 0 : k == 2 ? 2 : 1] : total / 15; /* kinds X, Z, Y of weights X, Y, Z */
        const double after = g->c == QF_PAULI && k < 3 ? p[1] + (k == 1 ? p[2] : 0) : total * (double)(kinds - k) / 15;
        count[k] = k == kinds || !(after > 0) ? left : sv_binomial(rng, left, own / rest);
        left -= count[k];
        rest = after;
    }
}

/* Applies a Pauli error, two bits, to a qubit. */
static inline int sv_apply_pauli(sv_state *s, int32_t q, int error) {
    const int32_t t[2] = {q, -1};
    const uint32_t on = 2 * (uint32_t)q + 1;
    const double minus[2] = {-1, 0};
    int result = SV_OK;
    if (error & 2) result = sv_apply(s, SV_PHASE, 0, NULL, &on, 1, minus);
    if (error & 1 && result == SV_OK) result = sv_apply(s, SV_FLIP, 1, t, NULL, 0, NULL);
    return result;
}

/* A classical bit that a final measurement writes, and how it may be misread. */
typedef struct {
    int32_t bit;
    double wrong[2], rate[2]; /* of a 0 and of a 1: the probability, and -log(1 - probability) */
} sv_record;

static inline void sv_record_make(sv_record *record, int32_t bit, const double *p) {
    record->bit = bit;
    for (int v = 0; v < 2; v++) {
        record->wrong[v] = p ? p[v] : 0;
        record->rate[v] = p ? -log1p(-p[v]) : 0;
    }
}

/* Adds `count` shots of one outcome, each of whose records from `from` on may be misread. Of a group that parts, the smaller half is
 * done in a nested call, so that these are at most log2(count) deep: `words` has room for a word for each of them. */
static inline int sv_add_misread(sv_counts *h, qf_rng *rng, const sv_record *record, int64_t n, int64_t from, uint64_t *words,
                                 int64_t count) {
    double clock = -log1p(-qf_rng_double(rng));
    for (int64_t j = from; j < n; j++) {
        uint64_t *own = &words[record[j].bit >> 6], *other = own + h->num_words;
        const uint64_t bit = UINT64_C(1) << (record[j].bit & 63);
        const int value = (*own & bit) != 0;
        const double left = clock - (double)count * record[j].rate[value];
        if (left > 0 || record[j].wrong[value] == 0) {
            clock = record[j].wrong[value] == 0 ? clock : left;
            continue;
        }
        const int64_t wrong = sv_binomial_positive(rng, count, record[j].wrong[value]);
        const int few = 2 * wrong <= count; /* the wrong ones part, or the right ones do */
        const int64_t parting = few ? wrong : count - wrong;
        if (parting > 0) {
            memcpy(words + h->num_words, words, sizeof *words * (size_t)h->num_words);
            if (few) *other ^= bit;
            if (!sv_add_misread(h, rng, record, n, j + 1, words + h->num_words, parting)) return 0;
        }
        if (!few) *own ^= bit;
        count -= parting;
        clock = -log1p(-qf_rng_double(rng));
    }
    return sv_counts_add(h, words, count);
}

enum { SV_MISREAD_DEPTH = 48 }; /* shots are below 2^41 */

/* The final measurements of a branch, where some may be misread. */
typedef struct {
    sv_record *record;
    int64_t num_records;
    uint64_t *words; /* SV_MISREAD_DEPTH words of the counts */
    qf_rng rng;
} sv_reading;

static inline void sv_reading_free(sv_reading *reading) {
    free(reading->record);
    free(reading->words);
}

#endif

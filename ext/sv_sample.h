/* Sampling: exact binomial numbers, and shots from a statevector. */
#ifndef QFAST_SV_SAMPLE_H
#define QFAST_SV_SAMPLE_H
#include "rng.h"
#include "sv_state.h"

/* ln k! - [(k + 1/2) ln(k + 1) - (k + 1) + ln(2 pi) / 2], the remainder of Stirling's series. */
static inline double sv_stirling_rest(double k) {
    static const double table[10] = {0.08106146679532726,  0.04134069595540929,  0.02767792568499834, 0.02079067210376509,
                                     0.01664469118982119,  0.01387612882307075,  0.01189670994589177, 0.01041126526197209,
                                     0.009255462182712733, 0.008330563433362871};
    if (k < 10) return table[(int)k];
    const double x = k + 1, x2 = x * x;
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / x2) / x2) / x;
}

/* The number of successes in n tries of probability p <= 1/2, n p >= 10, by transformed rejection with squeeze: algorithm BTRS of
 * Hoermann, "The generation of binomial random variates", J. Stat. Comput. Simul. 46, 1993. Accepts 86 % or more of the tries. */
static inline int64_t sv_binomial_btrs(qf_rng *rng, int64_t n, double p) {
    const double count = (double)n, ratio = p / (1 - p), spq = sqrt(count * p * (1 - p));
    const double b = 1.15 + 2.53 * spq, a = -0.0873 + 0.0248 * b + 0.01 * p, c = count * p + 0.5;
    const double vr = 0.92 - 4.2 / b, alpha = (2.83 + 5.1 / b) * spq, m = floor((count + 1) * p);
    for (;;) {
        const double u = qf_rng_double(rng) - 0.5, us = 0.5 - fabs(u), k = floor((2 * a / us + b) * u + c);
        double v = 1 - qf_rng_double(rng); /* in (0, 1] */
        if (us >= 0.07 && v <= vr) return (int64_t)k;
        if (!(k >= 0 && k <= count)) continue;
        v = log(v * alpha / (a / (us * us) + b));
        const double bound = (m + 0.5) * log((m + 1) / (ratio * (count - m + 1))) +
                             (count + 1) * log((count - m + 1) / (count - k + 1)) +
                             (k + 0.5) * log(ratio * (count - k + 1) / (k + 1)) + sv_stirling_rest(m) + sv_stirling_rest(count - m) -
                             sv_stirling_rest(k) - sv_stirling_rest(count - k);
        if (v <= bound) return (int64_t)k;
    }
}

/* The number of successes in n tries of probability p. */
static inline int64_t sv_binomial(qf_rng *rng, int64_t n, double p) {
    if (n <= 0 || !(p > 0)) return 0;
    if (p >= 1) return n;
    if (n == 1) return qf_rng_double(rng) < p;
    if (p > 0.5) return n - sv_binomial(rng, n, 1 - p);
    if ((double)n * p >= 10) return sv_binomial_btrs(rng, n, p);
    /* Inversion: walks the distribution from 0; what rounding leaves over beyond n starts anew. */
    const double odds = p / (1 - p), none = exp((double)n * log1p(-p));
    for (;;) {
        double u = qf_rng_double(rng), term = none;
        for (int64_t k = 0; k <= n && k < 200; k++) { /* P(X >= 200) < 1e-150 */
            if (u < term) return k;
            u -= term;
            term *= odds * (double)(n - k) / (double)(k + 1);
        }
    }
}

/* Uniform numbers of [0, 1) in increasing order, `shots` of them, by halving: how many fall into the left half is binomial, and a part
 * that is small enough is drawn and sorted. Memory is bounded whatever the number of shots. */
#define SV_CHUNK 4096
typedef struct {
    qf_rng rng;
    double *value, *scratch; /* of SV_CHUNK numbers */
    int64_t *tally;          /* as many */
    uint32_t *slot;          /* SV_CHUNK + 1 */
    int64_t next, filled;
    struct {
        double from, width;
        int64_t shots;
    } todo[64]; /* at most one per halving; 53 halvings exhaust the numbers */
    int depth;
} sv_uniforms;

/* Sorts value[0..m): one bucket per number, then insertion. */
static inline void sv_sort_uniforms(sv_uniforms *u, int64_t m, double from, double width) {
    const double scale = (double)m / width;
    if (m > 16) {
        memset(u->slot, 0, sizeof(uint32_t) * (size_t)(m + 1));
        for (int64_t j = 0; j < m; j++) {
            int64_t b = (int64_t)((u->value[j] - from) * scale);
            u->slot[(b < m ? b : m - 1) + 1]++;
        }
        for (int64_t b = 0; b < m; b++) u->slot[b + 1] += u->slot[b];
        for (int64_t j = 0; j < m; j++) {
            int64_t b = (int64_t)((u->value[j] - from) * scale);
            u->scratch[u->slot[b < m ? b : m - 1]++] = u->value[j];
        }
        memcpy(u->value, u->scratch, sizeof(double) * (size_t)m);
    }
    for (int64_t j = 1; j < m; j++) {
        const double x = u->value[j];
        int64_t i = j;
        for (; i > 0 && u->value[i - 1] > x; i--) u->value[i] = u->value[i - 1];
        u->value[i] = x;
    }
}

static inline int sv_uniforms_start(sv_uniforms *u, uint64_t seed, int64_t shots) {
    const size_t bytes = SV_CHUNK * (2 * sizeof(double) + sizeof(int64_t)) + (SV_CHUNK + 16) * sizeof(uint32_t);
    if (!u->value && !(u->value = aligned_alloc(64, bytes))) return 0;
    u->scratch = u->value + SV_CHUNK;
    u->tally = (int64_t *)(void *)(u->scratch + SV_CHUNK);
    u->slot = (uint32_t *)(void *)(u->tally + SV_CHUNK);
    qf_rng_seed(&u->rng, seed);
    u->next = u->filled = 0;
    u->depth = 1;
    u->todo[0].from = 0;
    u->todo[0].width = 1;
    u->todo[0].shots = shots;
    return 1;
}

static inline double sv_uniforms_next(sv_uniforms *u) {
    while (u->next == u->filled) {
        double from = u->todo[--u->depth].from, width = u->todo[u->depth].width;
        int64_t shots = u->todo[u->depth].shots;
        while (shots > SV_CHUNK) { /* the right half waits */
            const int64_t left = sv_binomial(&u->rng, shots, 0.5);
            width /= 2;
            u->todo[u->depth].from = from + width;
            u->todo[u->depth].width = width;
            u->todo[u->depth++].shots = shots - left;
            shots = left;
        }
        for (int64_t j = 0; j < shots; j++) u->value[j] = from + width * qf_rng_double(&u->rng);
        sv_sort_uniforms(u, shots, from, width);
        u->next = 0;
        u->filled = shots;
    }
    return u->value[u->next++];
}

typedef struct {
    uint64_t *index; /* basis states in increasing order */
    int64_t *count;
    int64_t used, room, room_count;
} sv_samples;

static inline int sv_add_sample(sv_samples *out, uint64_t index, int64_t count) {
    if (out->used && out->index[out->used - 1] == index) {
        out->count[out->used - 1] += count;
        return 1;
    }
    if (!sv_reserve((void **)&out->index, &out->room, out->used, 1, sizeof *out->index) ||
        !sv_reserve((void **)&out->count, &out->room_count, out->used, 1, sizeof *out->count))
        return 0;
    out->index[out->used] = index;
    out->count[out->used++] = count;
    return 1;
}

/* Few possible basis states and many shots: one binomial number for each. *done tells whether that pays. */
static inline int sv_sample_few(const sv_state *s, int64_t shots, uint64_t seed, sv_samples *out, int *done) {
    enum { FEW = 1024, PER_STATE = 12 }; /* a binomial number costs about as much as 12 shots by merging */
    const uint64_t size = UINT64_C(1) << s->k;
    double weight[FEW] __attribute__((aligned(64))), after[FEW + 1]; /* after[i]: sum of the weights from i on, from the far end */
    int64_t possible = 0;
    qf_rng rng;
    *done = 0;
    if (size > FEW) return SV_OK;
    after[size] = 0;
    s->kernels->weights(s->a, 0, size < 8 ? 8 : size, weight);
    for (uint64_t i = size; i-- > 0;) {
        after[i] = after[i + 1] + weight[i];
        possible += weight[i] > 0;
    }
    if (shots < PER_STATE * possible) return SV_OK;
    *done = 1;
    qf_rng_seed(&rng, seed);
    for (uint64_t i = 0; i < size && shots > 0; i++) {
        if (weight[i] == 0) continue;
        const int64_t n = after[i + 1] == 0 ? shots : sv_binomial(&rng, shots, weight[i] / after[i]);
        if (n && !sv_add_sample(out, i, n)) return SV_MEMORY;
        shots -= n;
    }
    return SV_OK;
}

/* Not many basis states: each shot inverts the running sum of the probabilities on its own, from where a table with one entry per
 * 2^-k of [0, 1) says that its search begins ("indexed search", Chen and Asau 1974). *done tells whether that pays. */
static inline int sv_sample_indexed(const sv_state *s, int64_t shots, uint64_t seed, sv_uniforms *u, sv_samples *out, int *done) {
    const uint64_t size = UINT64_C(1) << s->k;
    uint64_t last = 0, i = 0;
    double total = 0;
    *done = 0;
    if (size > SV_CHUNK || shots < (int64_t)(size / 4)) return SV_OK;
    if (!sv_uniforms_start(u, seed, shots)) return SV_MEMORY;
    *done = 1;
    double *sum = u->value;
    int64_t *tally = u->tally;
    s->kernels->weights(s->a, 0, size < 8 ? 8 : size, sum);
    for (uint64_t j = 0; j < size; j++) {
        const double w = sum[j];
        total += w;
        sum[j] = total;
        tally[j] = 0;
        if (w > 0) last = j;
    }
    for (uint64_t j = 0; j < size; j++) { /* scaling by a power of two is exact, so no search begins too far right */
        const double threshold = total * ((double)j / (double)size);
        while (i < last && sum[i] <= threshold) i++;
        u->slot[j] = (uint32_t)i;
    }
    for (int64_t n = 0; n < shots; n++) {
        const double x = qf_rng_double(&u->rng), at = total * x;
        uint64_t j = u->slot[(uint64_t)(x * (double)size)];
        while (at >= sum[j] && j < last) j++;
        tally[j]++;
        if ((n & 0xfffff) == 0xfffff && sv_cancelled(s)) return SV_CANCELLED;
    }
    for (uint64_t j = 0; j < size; j++)
        if (tally[j] && !sv_add_sample(out, j, tally[j])) return SV_MEMORY;
    return SV_OK;
}

#define SV_NORMS UINT64_C(2048) /* runs that are summed between two looks at the flag: 2^18 amplitudes */

typedef struct {
    const sv_state *state;
    double *norm;
    uint64_t count;
} sv_norms;

static inline void sv_norms_part(void *context, int worker, int64_t part) {
    const sv_norms *w = context;
    (void)worker;
    w->state->kernels->block_norms(w->state->a, (uint64_t)part * w->count, w->count, w->norm + (uint64_t)part * w->count);
}

/* `shots` basis states of the vector, drawn with probability |amplitude|^2 / norm and sorted.
 *
 * Sorted uniform numbers are merged with the running sum of the probabilities: first over the norms of runs of SV_BLOCK amplitudes,
 * then over the amplitudes of those runs that are hit. */
static inline int sv_sample_state(const sv_state *s, int64_t shots, uint64_t seed, sv_uniforms *u, sv_samples *out) {
    const uint64_t size = UINT64_C(1) << s->k, run = size < SV_BLOCK ? size : SV_BLOCK, blocks = size / run;
    double one[1], *norm = one, total = 0;
    int result = SV_OK;
    out->used = 0;
    int done;
    result = sv_sample_few(s, shots, seed, out, &done);
    if (!done) result = sv_sample_indexed(s, shots, seed, u, out, &done);
    if (done || result) return result;
    double weight[SV_BLOCK] __attribute__((aligned(64))); /* of the run that is hit */
    if (blocks > 1) {
        if (!(norm = malloc(blocks * sizeof *norm))) return SV_MEMORY;
        sv_norms work = {s, norm, blocks < SV_NORMS ? blocks : SV_NORMS};
        if (crew_share(s->k >= SV_THREADS_FROM ? s->threads : 1, (int64_t)(blocks / work.count), s->cancel, sv_norms_part, &work))
            result = SV_CANCELLED;
    } else {
        norm[0] = 0;
        s->kernels->weights(s->a, 0, run < 8 ? 8 : run, weight);
        for (uint64_t i = 0; i < size; i++) norm[0] += weight[i];
    }
    uint64_t last = 0, b = 0, i = 0;
    for (uint64_t j = 0; j < blocks; j++) {
        total += norm[j];
        if (norm[j] > 0) last = j;
    }
    if (!sv_uniforms_start(u, seed, shots)) result = SV_MEMORY;
    double before = 0, within = 0; /* probability of the runs before b; of the amplitudes of run b up to and with i */
    int64_t begun = -1;            /* the run that `within` belongs to */
    for (int64_t n = 0; n < shots && result == SV_OK; n++) {
        const double x = sv_uniforms_next(u) * total;
        if ((n & 4095) == 0 && sv_cancelled(s)) result = SV_CANCELLED;
        while (b < last && x >= before + norm[b]) before += norm[b++];
        const uint64_t first = b * run;
        if (begun != (int64_t)b) {
            begun = (int64_t)b;
            i = 0;
            s->kernels->weights(s->a, first, run < 8 ? 8 : run, weight);
            within = weight[0];
        }
        while (x >= before + within && i + 1 < run) within += weight[++i];
        while (i > 0 && weight[i] == 0) i--; /* rounding went past the last possible one */
        if (!sv_add_sample(out, first + i, 1)) result = SV_MEMORY;
    }
    if (norm != one) free(norm);
    return result;
}

#endif

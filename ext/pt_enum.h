/* The proven ten best of up to 24 variables, by visiting all 2^n states.
 *
 * Variable k is bit n - 1 - k, so that numbers sort as vectors do. The low bits of a state are a table of 2^LOW energies; the
 * high bits are walked in ascending order as a tree: setting bit t adds the table of t's couplings to the low bits and a
 * constant, and the parent (the number without its lowest set bit) is the last node that was written at its own lowest set
 * bit. Each state costs one addition and one comparison, any path has at most n - LOW additions, and ties arrive in
 * lexicographic order, so that only strictly better states enter the ten.
 */
#ifndef QFAST_PT_ENUM_H
#define QFAST_PT_ENUM_H
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "pt_simd.h"
#include "qubo_sum.h"

#define PE_MAX_N 24
#define PE_LOW 9
#define PE_BEST 10
#define PE_MAX_RECHECKS 2000000 /* of float64 states, 1 us each; beyond it the ten are not proven */

typedef struct {
    int n, exact; /* exact: every sum is exact in float64 */
    int64_t count;
    const int32_t *row, *col; /* row <= col */
    const double *value, *residue; /* residue may be NULL */
    double q[PE_MAX_N][PE_MAX_N];  /* both triangles, by bit */
    double slack; /* bound of the rounding of any state's energy */
    int64_t rechecks;
    int proven;
    int found;
    double best[PE_BEST];
    uint32_t state[PE_BEST];
} pe_task;

static inline double pe_exact_value(const pe_task *t, uint32_t state)
{
    qs_sum sum;
    qs_clear(&sum);
    for (int64_t k = 0; k < t->count; k++)
        if ((state >> (t->n - 1 - t->row[k])) & (state >> (t->n - 1 - t->col[k])) & 1) {
            qs_add(&sum, t->value[k]);
            if (t->residue)
                qs_add(&sum, t->residue[k]);
        }
    return qs_value(&sum);
}

static inline double pe_limit(const pe_task *t) { return t->found < PE_BEST ? INFINITY : t->best[PE_BEST - 1]; }

static inline void pe_offer(pe_task *t, double value, uint32_t state)
{
    if (!t->exact) {
        if (t->rechecks++ >= PE_MAX_RECHECKS)
            t->proven = 0;
        else
            value = pe_exact_value(t, state);
    }
    if (!(value < pe_limit(t)))
        return;
    int k = t->found < PE_BEST ? t->found++ : PE_BEST - 1;
    for (; k > 0 && t->best[k - 1] > value; k--) {
        t->best[k] = t->best[k - 1];
        t->state[k] = t->state[k - 1];
    }
    t->best[k] = value;
    t->state[k] = state;
}

static inline void pe_scan_i32(pe_task *t, const int32_t *energy, int64_t count, uint32_t high)
{
    for (int64_t k = 0; k < count; k++)
        if (energy[k] < pe_limit(t))
            pe_offer(t, energy[k], high | (uint32_t)k);
}

static inline void pe_scan_f64(pe_task *t, const double *energy, int64_t count, uint32_t high)
{
    for (int64_t k = 0; k < count; k++) {
        double slack = t->rechecks < PE_MAX_RECHECKS ? t->slack : 0;
        if (energy[k] - slack < pe_limit(t))
            pe_offer(t, energy[k], high | (uint32_t)k);
    }
}

/* sum over the set low bits j of q[bit][j], for all 2^low states; OUT out */
static inline void pe_couplings(const pe_task *t, int bit, int low, double *out)
{
    out[0] = 0;
    for (int j = 0; j < low; j++)
        for (int64_t k = 0; k < (int64_t)1 << j; k++)
            out[((int64_t)1 << j) + k] = out[k] + t->q[bit][j];
}

/* Energies of the low bits alone */
static inline void pe_low_energies(const pe_task *t, int low, double *out)
{
    out[0] = 0;
    for (int j = 0; j < low; j++)
        for (int64_t k = 0; k < (int64_t)1 << j; k++) {
            double sum = out[k] + t->q[j][j];
            for (int i = 0; i < j; i++)
                sum += (k >> i) & 1 ? t->q[i][j] : 0.0;
            out[((int64_t)1 << j) + k] = sum;
        }
}

static inline double pe_constant(const pe_task *t, int bit, int low, uint32_t parent)
{
    double sum = t->q[low + bit][low + bit];
    for (int k = 0; k < t->n - low; k++)
        if ((parent >> k) & 1)
            sum += t->q[low + bit][low + k];
    return sum;
}

#define PE_STOP_EVERY 256 /* nodes; about 100 us */

/* Both walks return 0, 1 when cancelled, or -1 without memory. */
#define PE_WALK(NAME, TYPE, ADD_MIN, SCAN)                                                                                         \
    static int NAME(pe_task *t, const pt_level *level, const unsigned char *cancel)                                               \
    {                                                                                                                             \
        int low = t->n < PE_LOW ? t->n : PE_LOW, high = t->n - low;                                                               \
        int64_t size = (int64_t)1 << low, room = size < 16 ? 16 : size;                                                           \
        TYPE *memory = (TYPE *)aligned_alloc(64, (size_t)(2 * high + 1) * (size_t)room * sizeof(TYPE));                           \
        double *wide = (double *)malloc((size_t)room * sizeof(double));                                                           \
        if (!memory || !wide) {                                                                                                   \
            free(memory);                                                                                                         \
            free(wide);                                                                                                           \
            return -1;                                                                                                            \
        }                                                                                                                         \
        TYPE *base = memory + 2 * high * room;                                                                                    \
        for (int bit = 0; bit <= high; bit++) {                                                                                   \
            TYPE *to = bit < high ? memory + (high + bit) * room : base;                                                          \
            bit < high ? pe_couplings(t, low + bit, low, wide) : pe_low_energies(t, low, wide);                                   \
            for (int64_t k = 0; k < size; k++)                                                                                    \
                to[k] = (TYPE)wide[k];                                                                                            \
        }                                                                                                                         \
        SCAN(t, base, size, 0);                                                                                                   \
        int stopped = 0;                                                                                                          \
        for (uint32_t c = 1; c < (uint32_t)1 << high && !stopped; c++) {                                                          \
            int bit = __builtin_ctz(c);                                                                                           \
            uint32_t parent = c & (c - 1);                                                                                        \
            const TYPE *from = parent ? memory + __builtin_ctz(parent) * room : base;                                             \
            TYPE *to = memory + bit * room;                                                                                       \
            TYPE least = level->ADD_MIN(to, from, memory + (high + bit) * room, (TYPE)pe_constant(t, bit, low, parent), size);    \
            double slack = t->rechecks < PE_MAX_RECHECKS ? t->slack : 0;                                                          \
            if (least - slack < pe_limit(t))                                                                                      \
                SCAN(t, to, size, c << low);                                                                                      \
            stopped = (c & (PE_STOP_EVERY - 1)) == 0 && *(const volatile unsigned char *)cancel;                                  \
        }                                                                                                                         \
        free(memory);                                                                                                             \
        free(wide);                                                                                                               \
        return stopped;                                                                                                           \
    }

PE_WALK(pe_walk_i32, int32_t, add_min_i32, pe_scan_i32)
PE_WALK(pe_walk_f64, double, add_min_f64, pe_scan_f64)

/* IN t: n, exact, count, row, col, value, residue. OUT found, best, state, proven */
static inline int pe_run(pe_task *t, const pt_level *level, const unsigned char *cancel)
{
    double size = 0;
    memset(t->q, 0, sizeof t->q);
    for (int64_t k = 0; k < t->count; k++) {
        int i = t->n - 1 - t->row[k], j = t->n - 1 - t->col[k];
        t->q[i][j] = t->q[j][i] = t->value[k];
        size += fabs(t->value[k]);
    }
    /* at most n (n + 1) / 2 = 300 terms, each sum rounded once, and the residues below one rounding each */
    t->slack = t->exact ? 0 : 700 * DBL_EPSILON * size;
    t->rechecks = 0;
    t->proven = 1;
    t->found = 0;
    return t->exact && size < 1073741824.0 ? pe_walk_i32(t, level, cancel) : pe_walk_f64(t, level, cancel);
}
#endif

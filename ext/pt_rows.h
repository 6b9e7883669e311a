/* Exact weights, by their entries or as the rows of a dense matrix, and states with their flip costs; what rows do otherwise. */
#ifndef QFAST_PT_ROWS_H
#define QFAST_PT_ROWS_H
#include <stdint.h>

typedef struct {
    int64_t n;
    const int64_t *start;  /* [n + 1] */
    const int32_t *site;   /* both directions */
    const double *weight;
    const double *diagonal; /* [n] */
    const void *cells;     /* instead of start, site and weight: [n][stride], symmetric with a zero diagonal */
    int64_t stride;
    int wide;              /* the cells are 0: int16, 1: int32, 2: float64 */
    double largest;        /* of the absolute values of the cells */
} pt_exact;

/* A state with its flip costs: gain[i] = E(x with i flipped) - E(x) */
typedef struct {
    uint8_t *x;
    double *gain;
    double energy;
} pt_state;

static inline double pt_cell(const pt_exact *q, int64_t i, int64_t j)
{
    if (q->wide == 2)
        return ((const double *)q->cells)[i * q->stride + j];
    return q->wide ? ((const int32_t *)q->cells)[i * q->stride + j] : ((const int16_t *)q->cells)[i * q->stride + j];
}

/* gain[k] += sign * q_ik for every k */
static inline void pt_rows_add(const pt_exact *q, double *gain, int64_t i, double sign)
{
    if (q->wide == 2) {
        const double *row = (const double *)q->cells + i * q->stride;
        for (int64_t k = 0; k < q->n; k++)
            gain[k] += sign * row[k];
    } else if (q->wide) {
        const int32_t *row = (const int32_t *)q->cells + i * q->stride;
        for (int64_t k = 0; k < q->n; k++)
            gain[k] += sign * row[k];
    } else {
        const int16_t *row = (const int16_t *)q->cells + i * q->stride;
        for (int64_t k = 0; k < q->n; k++)
            gain[k] += sign * row[k];
    }
}

/* The flip costs and the energy of s->x: local fields first, row by row, then their signs */
static inline void pt_rows_set(const pt_exact *q, pt_state *s)
{
    for (int64_t i = 0; i < q->n; i++)
        s->gain[i] = q->diagonal[i];
    for (int64_t i = 0; i < q->n; i++)
        if (s->x[i])
            pt_rows_add(q, s->gain, i, 1.0);
    s->energy = 0;
    for (int64_t i = 0; i < q->n; i++) {
        s->energy += s->x[i] ? (s->gain[i] + q->diagonal[i]) * 0.5 : 0.0; /* each pair is met twice */
        s->gain[i] = s->x[i] ? -s->gain[i] : s->gain[i];
    }
}

/* After variable i has flipped; sign: 1 when it became one, -1 when it became zero */
static inline void pt_rows_flipped(const pt_exact *q, pt_state *s, int64_t i, double sign)
{
    for (int64_t k = 0; k < q->n; k++)
        s->gain[k] += (s->x[k] ? -sign : sign) * pt_cell(q, i, k);
}

/* The same of float64 cells, and the sum of the absolute values of all pairs and the diagonal */
static inline double pt_rows_bound64(pt_exact *q, double *total)
{
    double bound = 0, largest = 0, twice = 0, single = 0;
    for (int64_t i = 0; i < q->n; i++) {
        const double *row = (const double *)q->cells + i * q->stride;
        double own = q->diagonal[i] < 0 ? -q->diagonal[i] : q->diagonal[i], sum = 0;
        for (int64_t k = 0; k < q->n; k++) {
            double size = row[k] < 0 ? -row[k] : row[k];
            sum += size;
            largest = size > largest ? size : largest;
        }
        if (row[i] != 0 || !(own + sum <= 1e301))
            return -1;
        twice += sum;
        single += own;
        bound = own + sum > bound ? own + sum : bound;
    }
    q->largest = largest;
    *total = twice / 2 + single;
    return bound;
}

/* Most that the absolute values of a row and its diagonal add up to; -1 when the matrix isn't what the kernels take: zeros on
 * the diagonal, where q_ii is not, and in the padding. Sets q->largest. */
static inline double pt_rows_bound(pt_exact *q)
{
    double bound = 0;
    int64_t largest = 0;
    for (int64_t i = 0; i < q->n; i++) {
        int64_t sum = 0, odd = 0;
        if (q->wide) {
            const int32_t *row = (const int32_t *)q->cells + i * q->stride;
            for (int64_t k = 0; k < q->stride; k++) {
                int64_t size = row[k] < 0 ? -(int64_t)row[k] : row[k];
                sum += size;
                largest = size > largest ? size : largest;
            }
            for (int64_t k = q->n; k < q->stride; k++)
                odd |= row[k];
            odd |= row[i];
        } else {
            const int16_t *row = (const int16_t *)q->cells + i * q->stride;
            int32_t part = 0, most = 0; /* n is below 2^15 */
            for (int64_t k = 0; k < q->stride; k++) {
                int32_t size = row[k] < 0 ? -row[k] : row[k];
                part += size;
                most = size > most ? size : most;
            }
            for (int64_t k = q->n; k < q->stride; k++)
                odd |= row[k];
            odd |= row[i];
            sum = part;
            largest = most > largest ? most : largest;
        }
        double own = q->diagonal[i] < 0 ? -q->diagonal[i] : q->diagonal[i];
        if (odd || !(own <= 1e300))
            return -1;
        bound = own + (double)sum > bound ? own + (double)sum : bound;
    }
    q->largest = (double)largest;
    return bound;
}
#endif

/* One matrix in the forms that the kernels want: integers for the lanes, or rows for tabu search, and the exact weights. */
#ifndef QFAST_PT_PROBLEM_H
#define QFAST_PT_PROBLEM_H
#include <math.h>

#include "pt_descent.h"
#include "pt_simd.h"

#define PT_FIELD16 16383 /* bounds of |F|: 2 F + x must fit the word */
#define PT_FIELD32 536870911

enum pt_end { PT_DONE = 0, PT_CANCELLED = 1, PT_LATE = 2, PT_NO_MEMORY = -1 };

typedef struct {
    /* IN */
    int64_t n, count;
    const int32_t *row, *col; /* row <= col, sorted, no duplicates */
    const double *value;
    int exact_sums;  /* values are integers whose every partial sum is exact in float64 */
    int dense;       /* for tabu search instead of tempering */
    pt_exact given;  /* instead of row, col and value: integer cells with rows of whole vectors, or float64 ones, and the diagonal;
                        count goes on */
    /* OUT */
    double scale;    /* value * scale, rounded, is what the kernels work on */
    double unit;     /* 1 / scale when nothing was rounded, else 0 */
    double slack;    /* rounding of an energy; 0 when exact */
    int wide;        /* int32 fields instead of int16 */
    int64_t pairs;   /* entries off the diagonal */
    int symmetric;   /* a state and its complement have the same energy */
    int64_t *start;  /* [n + 2] */
    int32_t *site;
    double *weight, *diagonal;
    int32_t *diagonal32;
    pt_edge *edge;   /* of tempering */
    uint8_t *matrix; /* of tabu search: [n][16 blocks] of int16 or int32, zero diagonal */
    int64_t blocks;
    pt_exact exact;
    pt_graph graph;
} pt_problem;

static inline void pt_problem_close(pt_problem *p)
{
    free(p->start);
    free(p->site);
    free(p->weight);
    free(p->diagonal);
    free(p->diagonal32);
    free(p->edge);
    if (p->matrix != p->given.cells)
        free(p->matrix);
}

static inline double pt_common_divisor(const double *value, int64_t count)
{
    int64_t divisor = 0;
    for (int64_t k = 0; k < count && divisor != 1; k++)
        for (int64_t rest = (int64_t)fabs(value[k]); rest;) {
            int64_t left = divisor % rest;
            divisor = rest;
            rest = left;
        }
    return divisor ? (double)divisor : 1.0;
}

/* A power of two by which all fields fit, with an eighth of the range for rounding. IN largest: of the fields */
static inline void pt_round_scale(pt_problem *p, double largest)
{
    int exponent = 0;
    frexp(0.875 * PT_FIELD32 / largest, &exponent); /* largest > 0, else the unit is 1 or values are all zero */
    p->scale = largest > 0 ? ldexp(1.0, exponent - 1 < 1000 ? exponent - 1 : 1000) : 1.0;
    p->unit = 0;
    p->wide = 1;
}

/* Chooses how values become the kernels' integers: divided by their greatest common divisor where the fields then fit, else
 * scaled by a power of two and rounded. Half a unit for each entry of a row stays below an eighth of the range. */
static inline int pt_choose_scale(pt_problem *p)
{
    double *bound = (double *)calloc((size_t)p->n, sizeof(double)), largest = 0, sum = 0;
    if (!bound)
        return PT_NO_MEMORY;
    for (int64_t k = 0; k < p->count; k++) {
        double size = fabs(p->value[k]);
        bound[p->row[k]] += size;
        bound[p->col[k]] += p->row[k] != p->col[k] ? size : 0.0;
        sum += size;
    }
    for (int64_t i = 0; i < p->n; i++)
        largest = bound[i] > largest ? bound[i] : largest;
    free(bound);
    p->unit = p->exact_sums ? pt_common_divisor(p->value, p->count) : 0;
    p->slack = p->exact_sums ? 0 : sum * 0x1p-40;
    if (p->unit > 0 && largest / p->unit <= PT_FIELD32) {
        p->scale = 1 / p->unit;
        p->wide = largest / p->unit > PT_FIELD16;
        return PT_DONE;
    }
    pt_round_scale(p, largest);
    return PT_DONE;
}

static inline void pt_problem_put(pt_problem *p, int32_t i, int32_t j, double value)
{
    int64_t to = p->start[i + 1]++;
    int32_t scaled = (int32_t)rint(value * p->scale);
    p->site[to] = j;
    p->weight[to] = value;
    if (!p->dense)
        p->edge[to] = (pt_edge){j, 2 * scaled};
    else if (p->wide)
        ((int32_t *)p->matrix)[i * p->blocks * 16 + j] = scaled;
    else
        ((int16_t *)p->matrix)[i * p->blocks * 16 + j] = (int16_t)scaled;
}

static inline int pt_problem_room(pt_problem *p)
{
    size_t n = (size_t)p->n, both = 2 * (size_t)p->pairs + 1;
    p->start = (int64_t *)calloc(n + 2, sizeof(int64_t));
    p->site = (int32_t *)malloc(both * sizeof(int32_t));
    p->weight = (double *)malloc(both * sizeof(double));
    p->diagonal = (double *)calloc(n, sizeof(double));
    p->diagonal32 = (int32_t *)calloc(n, sizeof(int32_t));
    if (!p->start || !p->site || !p->weight || !p->diagonal || !p->diagonal32)
        return 0;
    if (!p->dense) {
        p->edge = (pt_edge *)malloc(both * sizeof(pt_edge));
        return p->edge != NULL;
    }
    p->blocks = (p->n + 15) / 16;
    size_t matrix = n * (size_t)p->blocks * 16 * (p->wide ? 4 : 2);
    p->matrix = (uint8_t *)aligned_alloc(64, (matrix + 63) / 64 * 64);
    if (p->matrix)
        memset(p->matrix, 0, matrix);
    return p->matrix != NULL;
}

/* The cells are the matrix of tabu search as they are. IN bounded by PT_FIELD32 */
static inline int pt_problem_borrow(pt_problem *p)
{
    p->diagonal32 = (int32_t *)malloc((size_t)p->n * sizeof(int32_t));
    if (!p->diagonal32)
        return PT_NO_MEMORY;
    for (int64_t i = 0; i < p->n; i++)
        p->diagonal32[i] = (int32_t)p->given.diagonal[i];
    p->scale = p->unit = 1;
    p->wide = p->given.wide;
    p->blocks = p->given.stride / 16;
    p->matrix = (uint8_t *)p->given.cells;
    p->exact = p->given;
    return PT_DONE;
}

/* Float64 cells stay what energies are computed from; tabu search walks on rounded ones. */
static inline int pt_problem_round(pt_problem *p)
{
    double sum = 0, largest = pt_rows_bound64(&p->given, &sum);
    int64_t n = p->n, stride = (n + 15) / 16 * 16;
    pt_round_scale(p, largest);
    p->slack = sum * 0x1p-40;
    p->blocks = stride / 16;
    p->exact = p->given;
    p->diagonal32 = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    p->matrix = (uint8_t *)aligned_alloc(64, (size_t)n * (size_t)stride * sizeof(int32_t));
    if (!p->diagonal32 || !p->matrix)
        return PT_NO_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        const double *from = (const double *)p->given.cells + i * p->given.stride;
        int32_t *to = (int32_t *)p->matrix + i * stride;
        p->diagonal32[i] = (int32_t)rint(p->given.diagonal[i] * p->scale);
        for (int64_t k = 0; k < n; k++)
            to[k] = (int32_t)rint(from[k] * p->scale);
        for (int64_t k = n; k < stride; k++)
            to[k] = 0;
    }
    return PT_DONE;
}

/* E(1 - x) - E(x) is the sum of (1 - 2 x_i) (q_ii + half of row i's couplings) */
static inline int pt_is_symmetric(const pt_exact *q)
{
    for (int64_t i = 0; i < q->n; i++) {
        double sum = 2 * q->diagonal[i];
        for (int64_t p = q->start[i]; p < q->start[i + 1]; p++)
            sum += q->weight[p];
        if (sum != 0)
            return 0;
    }
    return 1;
}

/* The caller has zeroed the rest and set what is IN. */
static inline int pt_problem_open(pt_problem *p)
{
    if (p->given.cells)
        return p->given.wide == 2 ? pt_problem_round(p) : pt_problem_borrow(p);
    if (pt_choose_scale(p) < 0)
        return PT_NO_MEMORY;
    for (int64_t k = 0; k < p->count; k++)
        p->pairs += p->row[k] != p->col[k];
    if (!pt_problem_room(p))
        return PT_NO_MEMORY;
    /* start[i + 2] counts row i; added up, start[i + 1] is where row i goes, and when all are written, where it ends */
    for (int64_t k = 0; k < p->count; k++)
        if (p->row[k] != p->col[k]) {
            p->start[p->row[k] + 2]++;
            p->start[p->col[k] + 2]++;
        }
    for (int64_t i = 1; i <= p->n; i++)
        p->start[i] += p->start[i - 1];
    for (int64_t k = 0; k < p->count; k++) {
        if (p->row[k] != p->col[k]) {
            pt_problem_put(p, p->row[k], p->col[k], p->value[k]);
            pt_problem_put(p, p->col[k], p->row[k], p->value[k]);
        } else {
            p->diagonal[p->row[k]] = p->value[k];
            p->diagonal32[p->row[k]] = (int32_t)rint(p->value[k] * p->scale);
        }
    }
    p->exact = (pt_exact){p->n, p->start, p->site, p->weight, p->diagonal, NULL, 0, 0, 0};
    p->graph = (pt_graph){p->n, p->start, p->edge};
    p->symmetric = pt_is_symmetric(&p->exact);
    return PT_DONE;
}
#endif

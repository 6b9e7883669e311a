/* The ten filled up in the problem as it was given: descent, then the neighbours of the best until no better ones turn up. */
#ifndef QFAST_QP_FINISH_H
#define QFAST_QP_FINISH_H
#include "pt_descent.h"
#include "qp_order.h"

#define QP_POOL 32
#define QP_BEST 10
#define QP_ROUNDS 1000
#define QP_LATE 2

typedef struct {
    /* IN */
    int64_t n, count;
    const int32_t *row, *col; /* row <= col */
    const double *value;
    double slack;    /* rounding of an energy; 0 when every sum is exact */
    const uint8_t *given;     /* [givens][n] */
    int64_t givens;
    const unsigned char *cancel;
    double deadline; /* CLOCK_MONOTONIC seconds; 0: none */
    /* OUT */
    pt_pool pool;
    /* work */
    qp_rows rows;
    double *weight, *diagonal;
    pt_state state;
} qp_finish;

static inline void qp_finish_close(qp_finish *f)
{
    qp_rows_close(&f->rows);
    free(f->weight);
    free(f->diagonal);
    free(f->state.x);
    free(f->state.gain);
    pt_pool_close(&f->pool);
}

static inline int qp_finish_stop(void *context)
{
    const qp_finish *f = (const qp_finish *)context;
    if (qp_cancelled(f->cancel))
        return QP_CANCELLED;
    return f->deadline > 0 && pt_now() >= f->deadline ? QP_LATE : QP_DONE;
}

static inline int qp_finish_run(qp_finish *f)
{
    size_t n = (size_t)f->n;
    if (pt_pool_open(&f->pool, f->n, QP_POOL, f->slack) < 0 || qp_rows_open(&f->rows, f->n, f->count, f->row, f->col) < 0)
        return QP_NO_MEMORY;
    int64_t halves = f->rows.start[f->n];
    f->weight = (double *)malloc(((size_t)halves + 1) * sizeof(double));
    f->diagonal = (double *)calloc(n, sizeof(double));
    f->state.x = (uint8_t *)malloc(n);
    f->state.gain = (double *)malloc(n * sizeof(double));
    if (!f->weight || !f->diagonal || !f->state.x || !f->state.gain)
        return QP_NO_MEMORY;
    for (int64_t k = 0; k < halves; k++)
        f->weight[k] = f->value[f->rows.entry[k]];
    for (int64_t k = 0; k < f->count; k++)
        if (f->row[k] == f->col[k])
            f->diagonal[f->row[k]] = f->value[k];
    pt_exact exact = {.n = f->n, .start = f->rows.start, .site = f->rows.site, .weight = f->weight, .diagonal = f->diagonal};
    for (int64_t k = 0; k < f->givens; k++) {
        memcpy(f->state.x, f->given + k * f->n, n);
        pt_state_set(&exact, &f->state);
        pt_pool_add(&f->pool, f->state.energy, f->state.x);
        pt_descend(&exact, &f->state, f->slack, QP_ROUNDS);
        pt_pool_add(&f->pool, f->state.energy, f->state.x);
        if (qp_cancelled(f->cancel))
            return QP_CANCELLED;
    }
    return pt_expand(&exact, &f->pool, &f->state, QP_BEST, qp_finish_stop, f) == QP_CANCELLED ? QP_CANCELLED : QP_DONE;
}
#endif

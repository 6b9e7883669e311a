/* What one thread of a search has for itself: lanes of tempering or a state of tabu search, and the solutions it has found. */
#ifndef QFAST_PT_WALKER_H
#define QFAST_PT_WALKER_H
#include <pthread.h>

#include "pt_cluster.h"
#include "pt_cross.h"
#include "pt_problem.h"
#include "pt_tabu.h"
#include "pt_tempering.h"

#define PT_POOL 32
#define PT_CLUSTERS 2
#define PT_DESCENT_ROUNDS 1000

typedef struct {
    const pt_problem *problem;
    const unsigned char *cancel;
    double deadline; /* of this restart; CLOCK_MONOTONIC seconds, 0: none */
    int64_t sweeps;  /* of this restart; negative: until the deadline */
    pt_pool pool;    /* of this restart */
    double best;     /* the least energy of this restart, and when it was first met */
    double best_at;
    pt_state state;
    pt_pool *elites; /* shared with the other walkers, under lock; NULL when the answer must not depend on their pace */
    pthread_mutex_t *lock;
    pt_state champion; /* of this restart of tempering: what crossover has made of all that was quenched */
    int crowned;       /* whether there is one */
    pt_run run;
    int clusters;    /* moves after each sweep */
    int32_t *queue;  /* [n] and seen [n]: scratch of cluster moves and crossover */
    uint8_t *seen;
    pt_tabu tabu;
    uint8_t *bits;   /* what the tabu search's states share: PT_ELITES + 2 rows of n */
} pt_walker;

/* Whether this restart must end: nonzero, an enum pt_end */
static inline int pt_stop(void *context)
{
    const pt_walker *w = (const pt_walker *)context;
    if (*(const volatile unsigned char *)w->cancel)
        return PT_CANCELLED;
    return w->deadline > 0 && pt_now() >= w->deadline ? PT_LATE : PT_DONE;
}

static inline void pt_walker_close(pt_walker *w)
{
    free(w->state.x);
    free(w->state.gain);
    free(w->champion.x);
    free(w->champion.gain);
    free(w->run.field);
    free(w->run.table);
    free(w->queue);
    free(w->seen);
    free(w->tabu.gain);
    free(w->tabu.mask);
    free(w->tabu.until);
    free(w->bits);
    pt_pool_close(&w->pool);
}

static inline int pt_walker_lanes(pt_walker *w, const pt_level *level, int replicas)
{
    const pt_problem *p = w->problem;
    size_t n = (size_t)p->n;
    pt_run *run = &w->run;
    run->graph = p->graph;
    run->diagonal = p->diagonal32;
    run->level = level;
    run->wide = p->wide;
    run->replicas = replicas;
    run->field = (uint8_t *)aligned_alloc(64, n * PT_LANES * (p->wide ? 4 : 2) * (size_t)(replicas / PT_LANES));
    run->table = aligned_alloc(64, pt_table_bytes(p->wide));
    w->clusters = 2 * (double)p->pairs <= PT_CLUSTER_DEGREE * (double)p->n ? PT_CLUSTERS : 0;
    run->length = w->clusters && p->n < 5000 ? 16 : replicas / 2;
    w->queue = (int32_t *)malloc(n * sizeof(int32_t));
    w->seen = (uint8_t *)calloc(n, 1);
    w->champion.x = (uint8_t *)malloc(n);
    w->champion.gain = (double *)malloc(n * sizeof(double));
    return run->field && run->table && w->queue && w->seen && w->champion.x && w->champion.gain;
}

static inline int pt_walker_rows(pt_walker *w, const pt_level *level)
{
    const pt_problem *p = w->problem;
    size_t n = (size_t)p->n, padded = (size_t)p->blocks * 16;
    pt_tabu *t = &w->tabu;
    t->n = p->n;
    t->blocks = p->blocks;
    t->wide = p->wide;
    t->matrix = p->matrix;
    t->level = level;
    t->gain = (int32_t *)aligned_alloc(64, padded * 4);
    t->mask = (int32_t *)aligned_alloc(64, padded * 4);
    t->until = (int32_t *)aligned_alloc(64, padded * 4);
    w->bits = (uint8_t *)malloc((PT_ELITES + 2) * n);
    if (!t->gain || !t->mask || !t->until || !w->bits)
        return 0;
    t->best = w->bits;
    for (int k = 0; k < PT_ELITES; k++)
        t->elite[k] = w->bits + (size_t)(k + 2) * n;
    return 1;
}

/* The caller has zeroed the walker. */
static inline int pt_walker_open(pt_walker *w, const pt_problem *problem, const pt_level *level, int replicas,
                                 const unsigned char *cancel)
{
    w->problem = problem;
    w->cancel = cancel;
    w->state.x = (uint8_t *)calloc((size_t)problem->n, 1);
    w->state.gain = (double *)malloc((size_t)problem->n * sizeof(double));
    if (!w->state.x || !w->state.gain || pt_pool_open(&w->pool, problem->n, PT_POOL, problem->slack) < 0)
        return PT_NO_MEMORY;
    return (problem->dense ? pt_walker_rows(w, level) : pt_walker_lanes(w, level, replicas)) ? PT_DONE : PT_NO_MEMORY;
}

/* Offers the present state to the pool. IN arrivals: 1 where a search ended in it, else 0 */
static inline void pt_deliver(pt_walker *w, int64_t arrivals)
{
    if (pt_pool_wants(&w->pool, w->state.energy))
        pt_pool_offer(&w->pool, w->state.energy, w->state.x, pt_hash(w->state.x, w->pool.n), arrivals);
    if (w->state.energy < w->best) {
        w->best = w->state.energy;
        w->best_at = pt_now();
    }
}

/* Offers the present state, descended in the exact weights. */
static inline void pt_deliver_descended(pt_walker *w)
{
    pt_descend(&w->problem->exact, &w->state, w->problem->slack, PT_DESCENT_ROUNDS);
    pt_deliver(w, 1);
}
#endif

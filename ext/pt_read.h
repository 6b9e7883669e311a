/* One restart of tempering: down to the ladder, sweeps with swaps, and harvests of the coldest replicas.
 *
 * A harvest quenches them into the pool and gives the champion, by partition crossover, whatever part of them is better: in
 * large sparse problems each replica is good somewhere else. The champion goes to the other walkers, and back to the lanes
 * where couplings are few.
 */
#ifndef QFAST_PT_READ_H
#define QFAST_PT_READ_H
#include "pt_walker.h"

#define PT_HARVEST_EVERY 100 /* sweeps */
#define PT_HARVEST_LANES 4   /* of each ladder */
#define PT_TIMED 10 /* sweeps, to tell how many the time allows */

static int pt_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median cost of an uphill flip in a local minimum, in the lanes' unit; 0 when there is none. Also a first solution. */
static inline double pt_typical_cost(pt_walker *w, pt_rng *rng)
{
    for (int64_t i = 0; i < w->problem->n; i++)
        w->state.x[i] = (uint8_t)(pt_next(rng) >> 63);
    pt_state_set(&w->problem->exact, &w->state);
    pt_deliver_descended(w);
    int64_t count = 0;
    double *cost = w->state.gain; /* not needed any more */
    for (int64_t i = 0; i < w->problem->n; i++)
        if (cost[i] * w->problem->scale >= 0.5)
            cost[count++] = cost[i] * w->problem->scale;
    qsort(cost, (size_t)count, sizeof *cost, pt_compare);
    return count ? cost[count / 2] : 0;
}

/* Takes a replica's state, with the flip costs from its fields where those are exact. */
static inline void pt_take(const pt_run *run, int lane, const pt_problem *p, pt_state *s)
{
    int64_t first = lane / PT_LANES * p->n * PT_LANES + lane % PT_LANES;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t at = first + i * PT_LANES;
        int32_t word = run->wide ? ((const int32_t *)run->field)[at] : ((const int16_t *)run->field)[at];
        s->x[i] = word & 1;
        s->gain[i] = (word & 1 ? -1.0 : 1.0) * (double)(word >> 1) * p->unit;
    }
    s->energy = (double)run->energy[lane] * p->unit;
    if (p->unit == 0)
        pt_state_set(&p->exact, s);
}

static inline void pt_quench(pt_walker *w, int lane)
{
    pt_take(&w->run, lane, w->problem, &w->state);
    pt_deliver(w, 0);
    pt_deliver_descended(w);
}

/* Crosses the present state, a local minimum, into the champion. */
static inline void pt_challenge(pt_walker *w)
{
    const pt_problem *p = w->problem;
    int64_t apart = 0;
    if (!w->crowned) {
        w->crowned = 1;
        memcpy(w->champion.x, w->state.x, (size_t)p->n);
        memcpy(w->champion.gain, w->state.gain, (size_t)p->n * sizeof(double));
        w->champion.energy = w->state.energy;
        return;
    }
    for (int64_t i = 0; i < p->n; i++)
        apart += w->state.x[i] ^ w->champion.x[i];
    for (int64_t i = 0; i < p->n && p->symmetric && 2 * apart > p->n; i++)
        w->state.x[i] ^= 1;
    double before = w->champion.energy;
    pt_cross(&p->exact, &w->champion, w->state.x, p->slack, &w->run.rng, w->queue, w->seen);
    if (w->champion.energy < before) {
        pt_state other = w->state;
        w->state = w->champion;
        pt_deliver_descended(w);
        w->champion = w->state;
        w->state = other;
    }
}

/* Lets the walkers' champions learn from one another, where the answer may depend on their pace. */
static inline void pt_exchange(pt_walker *w)
{
    pthread_mutex_lock(w->lock);
    pt_pool_add(w->elites, w->champion.energy, w->champion.x);
    memcpy(w->state.x, w->elites->x[0], (size_t)w->problem->n);
    pthread_mutex_unlock(w->lock);
    pt_state_set(&w->problem->exact, &w->state);
    pt_challenge(w);
}

static inline void pt_harvest(pt_walker *w)
{
    pt_run *run = &w->run;
    for (int ladder = 0; ladder < run->replicas; ladder += run->length)
        for (int r = 0; r < PT_HARVEST_LANES; r++) {
            pt_quench(w, run->lane_of[ladder + r]);
            pt_challenge(w);
        }
    if (w->elites)
        pt_exchange(w);
    if (w->clusters) /* elsewhere two solutions differ in one large cluster, and the lanes lose more variety than they gain */
        pt_lane_set(run, run->lane_of[0], w->champion.x);
}

/* Sweeps until the budget ends. Gives an enum pt_end. */
static inline int pt_read(pt_walker *w, uint64_t seed, double cold, double hot)
{
    pt_run *run = &w->run;
    int64_t best = INT64_MAX, n = w->problem->n;
    int end = PT_DONE;
    double began = pt_now();
    run->anneal = n < 9000 ? 100 + (int)(n / 10) : 1000;
    if (w->sweeps >= 0 && run->anneal > w->sweeps / 2)
        run->anneal = (int)(w->sweeps / 2);
    w->crowned = 0;
    pt_start(run, seed, cold, hot);
    while (w->sweeps < 0 || run->sweeps_done < w->sweeps) {
        if (w->sweeps < 0 && run->sweeps_done == PT_TIMED) { /* within the first half of the time */
            double sweep = (pt_now() - began) / PT_TIMED, fits = 0.5 * (w->deadline - began) / sweep;
            run->anneal = fits < run->anneal ? (int)fmax(fits, PT_TIMED + 1) : run->anneal;
        }
        end = pt_sweep(run, pt_stop, w);
        for (int k = 0; k < w->clusters && run->sweeps_done > run->anneal; k++)
            pt_cluster_move(run, w->queue, w->seen);
        int lane = 0;
        for (int r = 1; r < run->replicas; r++)
            if (run->energy[r] < run->energy[lane])
                lane = r;
        if (run->energy[lane] < best) {
            best = run->energy[lane];
            pt_quench(w, lane);
        }
        if (end)
            break;
        if (run->sweeps_done % PT_HARVEST_EVERY == 0 && run->sweeps_done >= run->anneal)
            pt_harvest(w);
    }
    if (end != PT_CANCELLED)
        pt_harvest(w);
    return end;
}
#endif

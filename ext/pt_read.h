/* One restart of tempering: down to the ladder, sweeps with swaps, and the coldest replicas quenched into the pool. */
#ifndef QFAST_PT_READ_H
#define QFAST_PT_READ_H
#include "pt_walker.h"

#define PT_QUENCH_EVERY 100 /* sweeps */
#define PT_QUENCH_LANES 4
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

static inline void pt_quench(pt_walker *w, int lane)
{
    for (int64_t i = 0; i < w->problem->n; i++)
        w->state.x[i] = (uint8_t)pt_variable(&w->run, lane, i);
    pt_state_set(&w->problem->exact, &w->state);
    pt_deliver(w);
    pt_deliver_descended(w);
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
        if (run->sweeps_done % PT_QUENCH_EVERY == 0)
            for (int r = 0; r < PT_QUENCH_LANES; r++)
                pt_quench(w, run->lane_of[r * run->length % run->replicas + r * run->length / run->replicas]);
    }
    for (int r = 0; r < PT_QUENCH_LANES && end != PT_CANCELLED; r++)
        pt_quench(w, run->lane_of[r]);
    return end;
}
#endif

/* One search: restarts of tempering or tabu search, on as many threads as asked for, into one pool, and the finish.
 *
 * A restart is decided by the seed, its number and its budget in sweeps. What it found is merged into the common pool, whose
 * content doesn't depend on the order of the merges: so the answer doesn't depend on the threads either.
 */
#ifndef QFAST_PT_SEARCH_H
#define QFAST_PT_SEARCH_H
#include "crew.h"
#include "pt_read.h"
#include "pt_tabu_read.h"

#define PT_BEST 10
#define PT_FINISH_SECONDS 60e-9 /* per entry: what the finish and the exact values of the ten take; three times that for floats */

typedef struct {
    /* IN */
    pt_problem problem;
    int replicas, threads;
    int64_t reads, sweeps; /* sweeps per read (tabu: n flips each); negative: until the deadline */
    double deadline; /* CLOCK_MONOTONIC seconds; 0: none */
    uint64_t seed;
    const unsigned char *cancel;
    const pt_level *level;
    /* OUT */
    int64_t sweeps_done, reads_done;
    int64_t tried[PT_MAX_REPLICAS], swapped[PT_MAX_REPLICAS]; /* swaps by lower rank */
    double best, best_at; /* the least energy, and when it was first met */
    pt_pool pool;
    /* work */
    pt_walker *walker; /* [threads] */
    pthread_mutex_t lock; /* of all that is OUT */
    void *table;          /* of -ln u, that every restart of tempering begins with: to draw it takes a millisecond */
    double cold, hot, searched; /* searched: when the restarts must end */
} pt_search;

static inline void pt_search_close(pt_search *s)
{
    for (int k = 0; k < s->threads && s->walker; k++)
        pt_walker_close(s->walker + k);
    free(s->walker);
    free(s->table);
    pt_problem_close(&s->problem);
    pt_pool_close(&s->pool);
    pthread_mutex_destroy(&s->lock);
}

/* The caller has zeroed the rest and set what is IN. */
static inline int pt_search_open(pt_search *s)
{
    pthread_mutex_init(&s->lock, NULL);
    if (pt_problem_open(&s->problem) < 0 || pt_pool_open(&s->pool, s->problem.n, PT_POOL, s->problem.slack) < 0
        || !(s->walker = (pt_walker *)aligned_alloc(64, (size_t)s->threads * sizeof(pt_walker))))
        return PT_NO_MEMORY;
    memset(s->walker, 0, (size_t)s->threads * sizeof(pt_walker));
    for (int k = 0; k < s->threads; k++)
        if (pt_walker_open(s->walker + k, &s->problem, s->level, s->replicas, s->cancel) < 0)
            return PT_NO_MEMORY;
    if (s->problem.dense)
        return PT_DONE;
    if (!(s->table = aligned_alloc(64, pt_table_bytes(s->problem.wide))))
        return PT_NO_MEMORY;
    pt_rng rng;
    pt_seed(&rng, s->seed ^ 0x7461626c65ull); /* apart from the walkers' */
    pt_draw_rows(s->table, s->problem.wide, &rng, 0, PT_TABLE_ROWS);
    return PT_DONE;
}

/* Takes what a restart has found. Rounded energies are computed anew: a state then has the same one from every restart. */
static inline void pt_merge(pt_search *s, pt_walker *w)
{
    for (int k = 0; k < w->pool.size; k++)
        if (s->problem.slack > 0) {
            memcpy(w->state.x, w->pool.x[k], (size_t)s->problem.n);
            pt_state_set(&s->problem.exact, &w->state);
            w->pool.energy[k] = w->state.energy;
        }
    pthread_mutex_lock(&s->lock);
    for (int k = 0; k < w->pool.size; k++)
        pt_pool_offer(&s->pool, w->pool.energy[k], w->pool.x[k], w->pool.hash[k], w->pool.arrivals[k]);
    if (w->best < s->best || (w->best == s->best && w->best_at < s->best_at)) {
        s->best = w->best;
        s->best_at = w->best_at;
    }
    for (int r = 0; r < s->replicas && !s->problem.dense; r++) {
        s->tried[r] += w->run.total_tried[r] + w->run.tried[r];
        s->swapped[r] += w->run.total_swapped[r] + w->run.swapped[r];
    }
    s->sweeps_done += s->problem.dense ? w->tabu.flips / s->problem.n : w->run.sweeps_done;
    s->reads_done++;
    pthread_mutex_unlock(&s->lock);
}

static inline void pt_walker_clear(pt_walker *w)
{
    w->pool.size = 0;
    w->best = w->best_at = INFINITY;
}

/* One restart on one thread; a crew_work */
static void pt_restart(void *context, int worker, int64_t read)
{
    pt_search *s = (pt_search *)context;
    pt_walker *w = s->walker + worker;
    w->sweeps = s->sweeps;
    w->deadline = 0;
    if (s->deadline > 0) { /* equal shares of what is left */
        double now = pt_now();
        if (now >= s->searched && read >= s->threads) /* a thread that comes late has a look all the same */
            return;
        w->deadline = now + (s->searched - now) / (double)((s->reads - 1) / s->threads - read / s->threads + 1);
    }
    uint64_t seed = s->seed + (uint64_t)read * 0x9e3779b97f4a7c15ull;
    seed = pt_splitmix(&seed);
    pt_walker_clear(w);
    w->elites = s->sweeps < 0 && s->threads > 1 ? &s->pool : NULL;
    w->lock = &s->lock;
    if (s->problem.dense) {
        pt_tabu_read(w, seed);
    } else {
        memcpy(w->run.table, s->table, pt_table_bytes(s->problem.wide));
        pt_read(w, seed, s->cold, s->hot);
    }
    pt_merge(s, w);
}

static inline int pt_finish(pt_search *s)
{
    s->walker->deadline = s->deadline;
    int end = pt_expand(&s->problem.exact, &s->pool, &s->walker->state, PT_BEST, pt_stop, s->walker);
    if (s->pool.energy[0] < s->best - s->problem.slack) {
        s->best = s->pool.energy[0];
        s->best_at = pt_now();
    }
    return end;
}

/* OUT low, mean: of the rates at which neighbouring temperatures swapped */
static inline void pt_swap_rates(const pt_search *s, double *low, double *mean)
{
    int length = s->walker[0].run.length, counted = 0;
    double sum = 0;
    *low = 1;
    for (int r = 0; r < s->replicas; r++) {
        if ((r + 1) % length == 0)
            continue;
        double rate = s->tried[r] > 0 ? (double)s->swapped[r] / (double)s->tried[r] : 0;
        sum += rate;
        *low = rate < *low ? rate : *low;
        counted++;
    }
    *mean = sum / counted;
}

static inline int pt_search_run(pt_search *s)
{
    pt_rng rng;
    pt_seed(&rng, s->seed);
    pt_walker_clear(s->walker);
    double cost = pt_typical_cost(s->walker, &rng);
    s->cold = fmax(0.05 * cost, 0.18);
    s->hot = fmax(0.3 * cost, 1.0);
    s->best = s->walker->best;
    s->best_at = s->walker->best_at;
    const pt_pool *first = &s->walker->pool;
    pt_pool_offer(&s->pool, first->energy[0], first->x[0], first->hash[0], first->arrivals[0]);
    double finish = PT_FINISH_SECONDS * (double)(s->problem.exact_sums ? 1 : 3) * (double)s->problem.count;
    s->searched = s->deadline - fmin(finish, 0.5 * (s->deadline - pt_now()));
    if (s->sweeps < 0) /* every thread walks until the deadline */
        s->reads = s->reads > INT64_MAX - s->threads ? s->reads : (s->reads + s->threads - 1) / s->threads * s->threads;
    if (crew_share(s->threads, s->reads, s->cancel, pt_restart, s) || *(const volatile unsigned char *)s->cancel)
        return PT_CANCELLED;
    return pt_finish(s) == PT_CANCELLED ? PT_CANCELLED : PT_DONE;
}
#endif

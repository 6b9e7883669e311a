/* One restart of tabu search with path relinking between its elites. */
#ifndef QFAST_PT_TABU_READ_H
#define QFAST_PT_TABU_READ_H
#include "pt_walker.h"

#define PT_STALE 30 /* relinks in a row without a new elite: all but the best make room */

/* Offers the last search's best to the pool, descended in the exact weights where the matrix was rounded. */
static inline void pt_tabu_deliver(pt_walker *w)
{
    const pt_problem *p = w->problem;
    memcpy(w->state.x, w->tabu.best, (size_t)p->n);
    if (p->unit > 0) {
        w->state.energy = (double)w->tabu.best_energy * p->unit;
        pt_deliver(w, 1);
        return;
    }
    pt_state_set(&p->exact, &w->state);
    pt_deliver_descended(w);
}

/* The pool has collapsed, or is as good as it gets: begin anew beside the best. */
static inline void pt_tabu_keep_best(pt_tabu *t)
{
    int best = 0;
    for (int k = 1; k < t->elites; k++)
        best = t->elite_energy[k] < t->elite_energy[best] ? k : best;
    uint8_t *kept = t->elite[best];
    t->elite[best] = t->elite[0];
    t->elite[0] = kept;
    t->elite_energy[0] = t->elite_energy[best];
    t->elites = t->elites > 0;
}

/* Takes one of the other walkers' solutions among its elites, where the answer may depend on their pace. */
static inline void pt_tabu_exchange(pt_walker *w)
{
    pt_tabu *t = &w->tabu;
    pthread_mutex_lock(w->lock);
    pt_pool_add(w->elites, w->state.energy, w->state.x);
    memcpy(t->best, w->elites->x[pt_below(&t->rng, (uint64_t)w->elites->size)], (size_t)t->n);
    pthread_mutex_unlock(w->lock);
    for (int k = 0; k < t->elites; k++)
        if (memcmp(t->elite[k], t->best, (size_t)t->n) == 0)
            return;
    pt_tabu_walk(t, t->best, t->n);
    t->best_energy = t->energy;
    pt_tabu_keep(t);
}

/* Flips without improvement, over n, that end a search. Glover, Lu, Hao take 20; elites are wanted sooner, as relinking finds more
 * than their searches do. Of 60 seeds with 60 n flips each on bqp1000.1, .2 and bqp2500.1, 5 and 10 meet the best value in 55, 20
 * and 20 in 45. */
#define PT_FIRST_DEPTH 5
#define PT_DEPTH 10

/* Searches until the budget ends; a sweep is n flips. Gives an enum pt_end. */
static inline int pt_tabu_read(pt_walker *w, uint64_t seed)
{
    pt_tabu *t = &w->tabu;
    int64_t n = w->problem->n;
    uint8_t *scratch = w->bits + n;
    int end = PT_DONE, stale = 0;
    pt_seed(&t->rng, seed);
    t->stop = pt_stop;
    t->context = w;
    t->energy = t->flips = t->elites = 0;
    t->max_flips = w->sweeps < 0 || w->sweeps > INT64_MAX / n ? INT64_MAX : w->sweeps * n;
    for (int64_t i = 0; i < 16 * t->blocks; i++) {
        t->gain[i] = i < n ? w->problem->diagonal32[i] : INT32_MAX;
        t->mask[i] = 0;
        t->until[i] = INT32_MAX;
    }
    while (end == PT_DONE) {
        if (t->elites < PT_ELITES) {
            pt_tabu_scatter(t, scratch);
        } else {
            int a = (int)pt_below(&t->rng, PT_ELITES), b = (int)pt_below(&t->rng, PT_ELITES - 1);
            pt_tabu_relink(t, a, b + (b >= a), scratch);
        }
        end = pt_tabu_search(t, (t->elites < PT_ELITES ? PT_FIRST_DEPTH : PT_DEPTH) * n);
        if (t->best_energy != INT64_MAX)
            pt_tabu_deliver(w);
        stale = t->best_energy != INT64_MAX && pt_tabu_keep(t) ? 0 : stale + 1;
        if (end == PT_DONE)
            end = pt_tabu_stopped(t);
        if (end == PT_DONE && w->elites)
            pt_tabu_exchange(w);
        if (stale >= PT_STALE) {
            pt_tabu_keep_best(t);
            stale = 0;
        }
    }
    return end;
}
#endif

/* One-flip tabu search on a dense matrix, and path relinking between its elite solutions.
 *
 * Glover, Lu, Hao, 4OR 8 (2010) 239, doi 10.1007/s10288-009-0115-y: tenure n/100 + rand(10), a tabu flip is allowed when it
 * leads below the best. Wang, Lu, Glover, Hao, EJOR 223 (2012) 595, doi 10.1016/j.ejor.2012.07.012: ten elites, greedy paths
 * from one to another, tabu search from the best point of the path's middle third.
 */
#ifndef QFAST_PT_TABU_H
#define QFAST_PT_TABU_H
#include "pt_rng.h"
#include "pt_simd.h"

#define PT_ELITES 10
#define PT_TABU_LOOK 512 /* flips between looks at the flags; fewer when rows are long */

typedef struct {
    int64_t n, blocks; /* rows are padded to 16 blocks entries */
    int wide;          /* int32 rows instead of int16 */
    const pt_level *level;
    pt_rng rng;
    uint8_t *matrix;   /* [n][16 blocks], zero diagonal */
    int32_t *gain, *mask, *until;
    int64_t energy;
    int32_t now;       /* flips so far, against `until`; restarted before it overflows */
    int64_t flips, max_flips;
    pt_pick pick;      /* of the last pass */
    uint8_t *best;     /* [n] of the last search */
    int64_t best_energy;
    uint8_t *elite[PT_ELITES];
    int64_t elite_energy[PT_ELITES];
    int elites;
    int (*stop)(void *);
    void *context;
} pt_tabu;

static inline int pt_tabu_bit(const pt_tabu *t, int64_t i) { return t->mask[i] & 1; }

/* Flips i and looks for the next one. */
static inline void pt_tabu_flip(pt_tabu *t, int64_t i)
{
    const uint8_t *row = t->matrix + i * t->blocks * 16 * (t->wide ? 4 : 2);
    int64_t first = (int64_t)pt_below(&t->rng, (uint64_t)t->blocks);
    t->energy += t->gain[i];
    t->gain[i] = -t->gain[i];
    t->level->tabu[t->wide](row, t->gain, t->mask, t->until, t->now, t->mask[i], t->blocks, first, &t->pick);
    t->mask[i] = ~t->mask[i];
    t->flips++;
}

/* The free variable of least cost, ties broken at random between the columns; -1 when none is free. */
static inline int64_t pt_tabu_choose(pt_tabu *t)
{
    int start = (int)(pt_next(&t->rng) >> 60), column = -1;
    for (int k = 0; k < 16; k++) {
        int c = (start + k) & 15;
        if (t->pick.least[c] < (column < 0 ? INT32_MAX : t->pick.least[column]))
            column = c;
    }
    return column < 0 ? -1 : 16 * (int64_t)t->pick.where[column] + column;
}

static inline void pt_tabu_free_all(pt_tabu *t)
{
    t->now = 0;
    for (int64_t i = 0; i < t->n; i++)
        t->until[i] = 0;
}

/* A state without a flip: recomputes the pick. The row of zeros is the padding's. */
static inline int64_t pt_tabu_least(pt_tabu *t)
{
    int64_t best = -1;
    for (int64_t i = 0; i < t->n; i++)
        if (t->until[i] <= t->now && (best < 0 || t->gain[i] < t->gain[best]))
            best = i;
    return best;
}

static inline int pt_tabu_stopped(pt_tabu *t)
{
    return t->flips >= t->max_flips ? 2 : t->stop(t->context);
}

/* Tabu search from the present state until `depth` flips bring nothing better. OUT best, best_energy. Gives why it stopped. */
static inline int pt_tabu_search(pt_tabu *t, int64_t depth)
{
    int64_t since = 0, tenure = t->n / 100, look = PT_TABU_LOOK < 4000000 / t->n + 1 ? PT_TABU_LOOK : 4000000 / t->n + 1;
    if (tenure > t->n / 4)
        tenure = t->n / 4;
    uint64_t spread = t->n > 40 ? 10 : (uint64_t)(t->n / 4 + 1);
    int end = 0;
    pt_tabu_free_all(t);
    int64_t i = pt_tabu_least(t);
    t->best_energy = INT64_MAX;
    for (;;) {
        if (t->energy < t->best_energy && (i < 0 || t->gain[i] >= 0)) { /* a new best, and nothing leads further down */
            t->best_energy = t->energy;
            for (int64_t k = 0; k < t->n; k++)
                t->best[k] = (uint8_t)pt_tabu_bit(t, k);
            since = 0;
        }
        if (since >= depth || i < 0)
            return 0;
        if (t->flips % look == 0 && (end = pt_tabu_stopped(t)) && t->best_energy != INT64_MAX)
            return end;
        if (end == 1)
            return end;
        if (++t->now > INT32_MAX - 4000)
            pt_tabu_free_all(t);
        t->until[i] = t->now + 1 + (int32_t)tenure + (int32_t)pt_below(&t->rng, spread);
        pt_tabu_flip(t, i);
        since++;
        i = pt_tabu_choose(t);
        if (t->energy + t->pick.any < t->best_energy && (i < 0 || t->pick.any < t->gain[i]))
            for (i = 0; t->gain[i] != t->pick.any; i++)
                ;
    }
}

/* Walks to x by the flips that differ, cheapest first; ends after `steps` flips, and leaves in `until` nothing of use.
 * When steps covers the way, the state becomes x. Gives how many flips it took; stops early when told to. */
static inline int64_t pt_tabu_walk(pt_tabu *t, const uint8_t *x, int64_t steps)
{
    int64_t walked = 0, apart = 0;
    t->now = 0;
    for (int64_t i = 0; i < t->n; i++) {
        t->until[i] = pt_tabu_bit(t, i) == x[i] ? INT32_MAX : 0;
        apart += !t->until[i];
    }
    for (int64_t i = pt_tabu_least(t); i >= 0 && walked < steps; i = pt_tabu_choose(t)) {
        t->until[i] = INT32_MAX;
        pt_tabu_flip(t, i);
        walked++;
        if (walked % 64 == 0 && t->stop(t->context))
            break;
    }
    return walked;
}

static inline int64_t pt_apart(const uint8_t *a, const uint8_t *b, int64_t n)
{
    int64_t apart = 0;
    for (int64_t i = 0; i < n; i++)
        apart += a[i] ^ b[i];
    return apart;
}

/* Puts the last search's best among the elites, unless it is there or worse than all. Tells whether it went in. */
static inline int pt_tabu_keep(pt_tabu *t)
{
    int worst = 0;
    for (int k = 0; k < t->elites; k++) {
        if (t->elite_energy[k] == t->best_energy && pt_apart(t->elite[k], t->best, t->n) == 0)
            return 0;
        if (t->elite_energy[k] > t->elite_energy[worst])
            worst = k;
    }
    if (t->elites < PT_ELITES)
        worst = t->elites++;
    else if (t->best_energy >= t->elite_energy[worst])
        return 0;
    memcpy(t->elite[worst], t->best, (size_t)t->n);
    t->elite_energy[worst] = t->best_energy;
    return 1;
}

/* Goes to the best point of the middle third of the greedy path from elite a to elite b. IN scratch: [n] */
static inline void pt_tabu_relink(pt_tabu *t, int a, int b, uint8_t *scratch)
{
    pt_tabu_walk(t, t->elite[a], t->n);
    int64_t apart = pt_apart(t->elite[a], t->elite[b], t->n), best = INT64_MAX;
    pt_tabu_walk(t, t->elite[b], apart / 3);
    for (int64_t step = apart / 3; step <= 2 * apart / 3; step++) {
        if (t->energy < best) {
            best = t->energy;
            for (int64_t i = 0; i < t->n; i++)
                scratch[i] = (uint8_t)pt_tabu_bit(t, i);
        }
        int64_t i = step == apart / 3 ? pt_tabu_least(t) : pt_tabu_choose(t);
        if (i < 0 || t->stop(t->context))
            break;
        t->until[i] = INT32_MAX;
        pt_tabu_flip(t, i);
    }
    pt_tabu_walk(t, scratch, t->n);
}

/* A random state, reached from the present one. */
static inline void pt_tabu_scatter(pt_tabu *t, uint8_t *scratch)
{
    for (int64_t i = 0; i < t->n; i++)
        scratch[i] = (uint8_t)(pt_next(&t->rng) >> 63);
    pt_tabu_walk(t, scratch, t->n);
}
#endif

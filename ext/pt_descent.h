/* From good to best: greedy descent, and the ten filled up from one-flip and two-flip neighbours.
 *
 * Energies are float64: exact while the sum of |q| is at most 2^53, which integers and decimal fractions keep.
 */
#ifndef QFAST_PT_DESCENT_H
#define QFAST_PT_DESCENT_H
#include <time.h>

#include "pt_pool.h"
#include "pt_rows.h"

static inline double pt_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void pt_state_set(const pt_exact *q, pt_state *s)
{
    if (q->cells) {
        pt_rows_set(q, s);
        return;
    }
    s->energy = 0;
    for (int64_t i = 0; i < q->n; i++) {
        double field = q->diagonal[i];
        for (int64_t p = q->start[i]; p < q->start[i + 1]; p++)
            field += s->x[q->site[p]] ? q->weight[p] : 0.0;
        s->gain[i] = s->x[i] ? -field : field;
        s->energy += s->x[i] ? (field + q->diagonal[i]) * 0.5 : 0.0; /* each pair is met twice */
    }
}

static inline void pt_state_flip(const pt_exact *q, pt_state *s, int64_t i)
{
    double sign = s->x[i] ? -1.0 : 1.0;
    s->energy += s->gain[i];
    s->gain[i] = -s->gain[i];
    s->x[i] ^= 1;
    if (q->cells) {
        pt_rows_flipped(q, s, i, sign);
        return;
    }
    for (int64_t p = q->start[i]; p < q->start[i + 1]; p++) {
        int64_t k = q->site[p];
        s->gain[k] += s->x[k] ? -sign * q->weight[p] : sign * q->weight[p];
    }
}

/* Flips whatever lowers the energy by more than the rounding `slack`, in index order, until nothing does. */
static inline void pt_descend(const pt_exact *q, pt_state *s, double slack, int max_rounds)
{
    int64_t flips = 1;
    for (int round = 0; flips && round < max_rounds; round++) {
        flips = 0;
        for (int64_t i = 0; i < q->n; i++)
            if (s->gain[i] < -slack) {
                pt_state_flip(q, s, i);
                flips++;
            }
    }
}

/* Offers x with i (and j, unless negative) flipped. IN hash: of x */
static inline void pt_offer(pt_pool *pool, pt_state *s, uint64_t hash, double energy, int64_t i, int64_t j)
{
    if (!pt_pool_wants(pool, energy))
        return;
    s->x[i] ^= 1;
    hash ^= pt_hash_term(i);
    if (j >= 0) {
        s->x[j] ^= 1;
        hash ^= pt_hash_term(j);
    }
    pt_pool_offer(pool, energy, s->x, hash, 0);
    s->x[i] ^= 1;
    if (j >= 0)
        s->x[j] ^= 1;
}

/* Offers the coupled pairs of a matrix of rows. A pair costs at least what its flips cost alone less the largest coupling, which
 * rules out most rows unread. */
static inline void pt_pairs_of_rows(const pt_exact *q, pt_pool *pool, pt_state *s, uint64_t hash, int64_t offers)
{
    double least = s->gain[0];
    for (int64_t i = 1; i < q->n; i++)
        least = s->gain[i] < least ? s->gain[i] : least;
    for (int64_t i = 0; i < q->n && offers > 0; i++) {
        double one = s->energy + s->gain[i];
        if (!pt_pool_wants(pool, one + least - q->largest))
            continue;
        for (int64_t j = i + 1; j < q->n; j++) {
            double weight = pt_cell(q, i, j), both = one + s->gain[j] + (s->x[i] == s->x[j] ? weight : -weight);
            if (weight != 0 && pt_pool_wants(pool, both)) {
                pt_offer(pool, s, hash, both, i, j);
                offers--;
            }
        }
    }
}

#define PT_CHEAPEST 16 /* single flips whose pairs are all tried, coupled or not */

/* Offers the neighbours of s: all single flips, all coupled pairs, all pairs of the cheapest flips.
 * The pairs end when `offers` are used up: a plateau may have very many of equal energy. */
static inline void pt_neighbours(const pt_exact *q, pt_pool *pool, pt_state *s, int64_t offers)
{
    int64_t cheap[PT_CHEAPEST];
    uint64_t hash = pt_hash(s->x, q->n);
    int count = 0;
    for (int64_t i = 0; i < q->n; i++) {
        pt_offer(pool, s, hash, s->energy + s->gain[i], i, -1);
        if (count == PT_CHEAPEST && !(s->gain[i] < s->gain[cheap[count - 1]]))
            continue;
        int k = count < PT_CHEAPEST ? count++ : count - 1;
        for (; k > 0 && s->gain[cheap[k - 1]] > s->gain[i]; k--)
            cheap[k] = cheap[k - 1];
        cheap[k] = i;
    }
    for (int a = 0; a < count; a++)
        for (int b = a + 1; b < count; b++) {
            int64_t i = cheap[a], j = cheap[b];
            int coupled = q->cells && pt_cell(q, i, j) != 0;
            for (int64_t p = q->cells ? 0 : q->start[i], end = q->cells ? 0 : q->start[i + 1]; p < end && !coupled; p++)
                coupled = q->site[p] == j;
            if (!coupled) /* coupled pairs follow */
                pt_offer(pool, s, hash, s->energy + s->gain[i] + s->gain[j], i, j);
        }
    if (q->cells) {
        pt_pairs_of_rows(q, pool, s, hash, offers);
        return;
    }
    for (int64_t i = 0; i < q->n && offers > 0; i++)
        for (int64_t p = q->start[i]; p < q->start[i + 1]; p++) {
            int64_t j = q->site[p];
            if (j <= i)
                continue;
            double both = s->energy + s->gain[i] + s->gain[j] + (s->x[i] == s->x[j] ? q->weight[p] : -q->weight[p]);
            if (pt_pool_wants(pool, both)) {
                pt_offer(pool, s, hash, both, i, j);
                offers--;
            }
        }
}

#define PT_EXPANSIONS 60 /* pool members whose neighbours are tried in the end */
#define PT_NEIGHBOUR_OFFERS 20000

/* Tries the neighbours of the `best` best until they are the best of their own neighbours. stop gives 1 for an end at once, and
 * more for an end as soon as there are `best`. Gives 0, or what stop gave. */
static inline int pt_expand(const pt_exact *q, pt_pool *pool, pt_state *state, int best, int (*stop)(void *), void *context)
{
    for (int expansion = 0; expansion < PT_EXPANSIONS; expansion++) {
        int next = 0;
        while (next < pool->size && next < best && pool->mark[next])
            next++;
        if (next == pool->size || next == best)
            break;
        pool->mark[next] = 1;
        memcpy(state->x, pool->x[next], (size_t)q->n);
        pt_state_set(q, state);
        pt_neighbours(q, pool, state, PT_NEIGHBOUR_OFFERS);
        int end = stop(context);
        if (end == 1 || (end && pool->size >= best))
            return end;
    }
    return 0;
}
#endif

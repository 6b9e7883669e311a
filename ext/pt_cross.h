/* Partition crossover of two solutions (Tinos, Whitley, Chicano, FOGA 2015, doi 10.1145/2725494.2725497).
 *
 * Where two solutions differ, the connected clusters of sites don't touch one another, so the energy is a sum over them: taking
 * each from whichever parent has it cheaper gives the best of 2^clusters children at the cost of one pass over the couplings.
 */
#ifndef QFAST_PT_CROSS_H
#define QFAST_PT_CROSS_H
#include "pt_descent.h"
#include "pt_rng.h"

/* Queues the cluster of sites with seen = 1 around `site` and sets their seen to 2; gives how many.
 * OUT change: of the energy if all of them flip */
static inline int64_t pt_cross_cluster(const pt_exact *q, const pt_state *s, int32_t site, int32_t *queue, uint8_t *seen,
                                       double *change)
{
    int64_t tail = 0;
    double pairs = 0; /* each is met from both ends */
    *change = 0;
    queue[tail++] = site;
    seen[site] = 2;
    for (int64_t head = 0; head < tail; head++) {
        int32_t i = queue[head];
        *change += s->gain[i];
        for (int64_t p = q->start[i]; p < q->start[i + 1]; p++) {
            int32_t k = q->site[p];
            if (!seen[k])
                continue;
            pairs += s->x[i] == s->x[k] ? q->weight[p] : -q->weight[p];
            if (seen[k] == 1) {
                seen[k] = 2;
                queue[tail++] = k;
            }
        }
    }
    *change += 0.5 * pairs;
    return tail;
}

/* Takes from x every cluster that lowers the energy of s by more than slack, and half of those that keep it.
 * IN queue, seen: [n] scratch, seen all zero. OUT seen: all zero again */
static inline void pt_cross(const pt_exact *q, pt_state *s, const uint8_t *x, double slack, pt_rng *rng, int32_t *queue,
                            uint8_t *seen)
{
    for (int64_t i = 0; i < q->n; i++)
        seen[i] = s->x[i] != x[i];
    for (int64_t i = 0; i < q->n; i++) {
        if (seen[i] != 1)
            continue;
        double change;
        int64_t size = pt_cross_cluster(q, s, (int32_t)i, queue, seen, &change);
        int take = change < -slack || (change <= slack && pt_next(rng) >> 63);
        for (int64_t k = 0; k < size; k++) {
            seen[queue[k]] = 0;
            if (take)
                pt_state_flip(q, s, queue[k]);
        }
    }
}
#endif

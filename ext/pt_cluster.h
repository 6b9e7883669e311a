/* Isoenergetic cluster moves between two replicas at one temperature (Houdayer 2001; Zhu, Ochoa, Katzgraber, arXiv:1501.05630).
 *
 * Where the two differ, the connected cluster around a random site is exchanged. The sum of their energies stays, so the
 * move is always accepted. It pays while the sites that differ don't percolate: low temperatures and few neighbours.
 */
#ifndef QFAST_PT_CLUSTER_H
#define QFAST_PT_CLUSTER_H
#include "pt_tempering.h"

#define PT_CLUSTER_DEGREE 6.5 /* mean number of neighbours up to which clusters are worth it: 2D and 3D lattices */

/* A cluster of more than 1/8 of all sites is left alone: it costs much and mixes little. The way back meets the same cluster,
 * so that this rule favours no state. */
#define PT_CLUSTER_SHARE 8

/* Flips one variable of one replica. */
static inline void pt_lane_flip(pt_run *run, int lane, int64_t i)
{
    int64_t base = lane / PT_LANES * run->graph.n * PT_LANES + lane % PT_LANES, at = base + i * PT_LANES;
    int16_t *narrow = (int16_t *)run->field;
    int32_t *wide = (int32_t *)run->field;
    int32_t word = run->wide ? wide[at] : narrow[at], x = word & 1, field = (word - x) / 2, sign = 1 - 2 * x;
    run->energy[lane] += sign * field;
    if (run->wide)
        wide[at] ^= 1;
    else
        narrow[at] ^= 1;
    for (int64_t p = run->graph.start[i]; p < run->graph.start[i + 1]; p++) {
        int64_t to = base + (int64_t)run->graph.edge[p].site * PT_LANES;
        int32_t change = sign * run->graph.edge[p].weight2;
        if (run->wide)
            wide[to] += change;
        else
            narrow[to] = (int16_t)(narrow[to] + change);
    }
}

/* Puts a state into a replica. */
static inline void pt_lane_set(pt_run *run, int lane, const uint8_t *x)
{
    for (int64_t i = 0; i < run->graph.n; i++)
        if (pt_variable(run, lane, i) != x[i])
            pt_lane_flip(run, lane, i);
}

/* Exchanges one cluster between lanes a and b. IN queue, seen: [n] scratch, seen all zero. OUT seen: all zero again */
static inline void pt_cluster(pt_run *run, int a, int b, int32_t *queue, uint8_t *seen)
{
    int64_t n = run->graph.n, start = (int64_t)pt_below(&run->rng, (uint64_t)n), site = -1;
    for (int64_t k = 0; k < n && site < 0; k++) { /* the first one that differs from a random site on: the choice is as likely backwards */
        int64_t i = start + k < n ? start + k : start + k - n;
        if (pt_variable(run, a, i) != pt_variable(run, b, i))
            site = i;
    }
    if (site < 0)
        return;
    int64_t head = 0, tail = 0, most = n / PT_CLUSTER_SHARE + 8;
    queue[tail++] = (int32_t)site;
    seen[site] = 1;
    for (; head < tail && tail <= most; head++)
        for (int64_t p = run->graph.start[queue[head]]; p < run->graph.start[queue[head] + 1]; p++) {
            int32_t k = run->graph.edge[p].site;
            if (seen[k] || pt_variable(run, a, k) == pt_variable(run, b, k))
                continue;
            seen[k] = 1;
            queue[tail++] = k;
        }
    for (int64_t k = 0; k < tail; k++) {
        if (tail <= most) {
            pt_lane_flip(run, a, queue[k]);
            pt_lane_flip(run, b, queue[k]);
        }
        seen[queue[k]] = 0;
    }
}

/* One move at one of the colder half's temperatures, in turn, between the first ladder's replica there and another's. */
static inline void pt_cluster_move(pt_run *run, int32_t *queue, uint8_t *seen)
{
    int ladders = run->replicas / run->length, half = run->length / 2;
    if (ladders < 2)
        return;
    int r = (int)(pt_below(&run->rng, (uint64_t)half));
    int a = (int)pt_below(&run->rng, (uint64_t)ladders), b = (int)pt_below(&run->rng, (uint64_t)ladders - 1);
    b += b >= a;
    int first = a * run->length + r, second = b * run->length + r;
    if (run->ladder[first] == run->ladder[second])
        pt_cluster(run, run->lane_of[first], run->lane_of[second], queue, seen);
}
#endif

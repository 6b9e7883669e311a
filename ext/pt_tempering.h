/* Parallel tempering over lanes of 32 replicas: sweeps, swaps of temperatures, and a ladder that equalises swap rates.
 *
 * Replica (lane) r stays where it is; temperatures move between replicas. Neighbouring temperatures i, i + 1 swap with
 * probability min(1, exp((b_i - b_{i+1}) (E_i - E_{i+1}))), b = 1/T, which keeps detailed balance for the product of
 * Boltzmann distributions. (Hukushima, Nemoto 1996; the equalised ladder: Rozada et al., arXiv:1907.03906.)
 */
#ifndef QFAST_PT_TEMPERING_H
#define QFAST_PT_TEMPERING_H
#include "pt_rng.h"
#include "pt_simd.h"

#define PT_MAX_REPLICAS 256
#define PT_ADAPT_EVERY 200   /* sweeps */
#define PT_REDRAW 32         /* at most so many rows of the table of -ln u are redrawn in a sweep */

typedef struct {
    pt_graph graph;
    const int32_t *diagonal; /* [n] */
    const pt_level *level;
    pt_rng rng;
    int wide;     /* 0: int16 fields, 1: int32 */
    int replicas; /* a multiple of 32 */
    int length;   /* temperatures of a ladder; replicas / length ladders run beside one another, ranks 0..length-1 first */
    int anneal;   /* sweeps of the way down to the ladder at the start, without swaps */
    int shift;    /* int16: temperatures count in units of 2^-(shift + 5) */
    int adapt;    /* whether the ladder still moves */
    int64_t sweeps_done;
    int next_row; /* of the table, to be drawn anew */
    uint8_t *field; /* replicas / 32 blocks of [n][32] words */
    void *table;    /* [PT_TABLE_ROWS][32] of -ln u, drawn before the start */
    double ladder[PT_MAX_REPLICAS];      /* temperature by rank, ascending */
    double log_gap[PT_MAX_REPLICAS];     /* [length] ln of the ratio of neighbours, before rounding */
    double cold, hot;
    int lane_of[PT_MAX_REPLICAS];        /* rank to lane */
    int64_t energy[PT_MAX_REPLICAS];     /* by lane */
    int64_t tried[PT_MAX_REPLICAS], swapped[PT_MAX_REPLICAS]; /* by lower rank, since the last adaptation */
    int64_t total_tried[PT_MAX_REPLICAS], total_swapped[PT_MAX_REPLICAS];
    union {
        int16_t i16[PT_MAX_REPLICAS];
        float f32[PT_MAX_REPLICAS];
    } lane_temperature __attribute__((aligned(64)));
} pt_run;

static inline int64_t pt_word_size(const pt_run *run) { return run->wide ? 4 : 2; }

static inline int pt_variable(const pt_run *run, int lane, int64_t i)
{
    int64_t at = (lane / PT_LANES * run->graph.n + i) * PT_LANES + lane % PT_LANES;
    return (run->wide ? ((const int32_t *)run->field)[at] : ((const int16_t *)run->field)[at]) & 1;
}

static inline void pt_draw_rows(void *table, int wide, pt_rng *rng, int from, int count)
{
    float e[PT_LANES];
    for (int row = from; row < from + count; row++) {
        pt_exponentials(rng, e);
        for (int k = 0; k < PT_LANES; k++)
            if (wide)
                ((float *)table)[row * PT_LANES + k] = e[k];
            else /* 15.999 at most: a chance of 1e-7 is cut */
                ((int16_t *)table)[row * PT_LANES + k] = (int16_t)(e[k] * 2048 < 32767 ? e[k] * 2048 : 32767);
    }
}

static inline size_t pt_table_bytes(int wide) { return PT_TABLE_ROWS * PT_LANES * (wide ? sizeof(float) : sizeof(int16_t)); }

#define PT_NO_FLOOR (-1e3)

/* Rounds the ladder to what the lanes can hold and hands each lane its temperature, none below the floor. */
static inline void pt_set_ladder(pt_run *run, double log_floor)
{
    double log_t = 0, unit = run->wide ? 0 : 1.0 / (double)(1 << (run->shift + 5));
    for (int r = 0; r < run->replicas; r++) {
        log_t = r % run->length ? log_t : pt_log(run->cold);
        double t = pt_exp(log_t > log_floor ? log_t : log_floor);
        if (run->wide) {
            t = (double)(float)t;
            run->lane_temperature.f32[run->lane_of[r]] = (float)t;
        } else {
            int64_t steps = (int64_t)(t / unit + 0.5);
            steps = steps < 1 ? 1 : steps > 32767 ? 32767 : steps;
            t = (double)steps * unit;
            run->lane_temperature.i16[run->lane_of[r]] = (int16_t)steps;
        }
        run->ladder[r] = t;
        log_t += run->log_gap[r % run->length];
    }
}

static inline void pt_swap_lanes(pt_run *run, int r)
{
    int a = run->lane_of[r], b = run->lane_of[r + 1];
    run->lane_of[r] = b;
    run->lane_of[r + 1] = a;
    if (run->wide) {
        float t = run->lane_temperature.f32[a];
        run->lane_temperature.f32[a] = run->lane_temperature.f32[b];
        run->lane_temperature.f32[b] = t;
    } else {
        int16_t t = run->lane_temperature.i16[a];
        run->lane_temperature.i16[a] = run->lane_temperature.i16[b];
        run->lane_temperature.i16[b] = t;
    }
}

static inline void pt_swaps(pt_run *run)
{
    for (int r = (int)(run->sweeps_done & 1); r + 1 < run->replicas; r += 2) {
        if ((r + 1) % run->length == 0)
            continue;
        double gap = 1 / run->ladder[r] - 1 / run->ladder[r + 1];
        double log_ratio = gap * (double)(run->energy[run->lane_of[r]] - run->energy[run->lane_of[r + 1]]);
        run->tried[r]++;
        if (log_ratio >= 0 || -log_ratio <= pt_exponential(&run->rng)) {
            run->swapped[r]++;
            pt_swap_lanes(run, r);
        }
    }
}

/* Widens gaps that swap often and narrows those that don't, alike in all ladders; the ends stay. */
static inline void pt_adapt(pt_run *run)
{
    double old = 0, sum = 0;
    for (int gap = 0; gap < run->length - 1; gap++) {
        int64_t tried = 0, swapped = 0;
        for (int r = gap; r < run->replicas; r += run->length) {
            tried += run->tried[r];
            swapped += run->swapped[r];
            run->total_tried[r] += run->tried[r];
            run->total_swapped[r] += run->swapped[r];
            run->tried[r] = run->swapped[r] = 0;
        }
        old += run->log_gap[gap];
        run->log_gap[gap] *= run->adapt ? ((double)swapped + 1) / ((double)tried + 4) + 0.1 : 1.0;
        sum += run->log_gap[gap];
    }
    if (!run->adapt || !(sum > 0))
        return;
    for (int gap = 0; gap < run->length - 1; gap++)
        run->log_gap[gap] *= old / sum;
    pt_set_ladder(run, PT_NO_FLOOR);
}

/* A geometric ladder from cold to hot (hot below 1000 for int16 fields). All replicas start at x = 0.
 * The caller has set graph, diagonal, level, wide, replicas, length and anneal, allocated the field and drawn the table. */
static inline void pt_start(pt_run *run, uint64_t seed, double cold, double hot)
{
    pt_seed(&run->rng, seed);
    run->sweeps_done = 0;
    run->next_row = 0;
    run->adapt = 1;
    run->cold = cold;
    run->hot = hot;
    run->shift = 0;
    while (!run->wide && run->shift < 10 && hot * (double)(1 << (run->shift + 6)) <= 32767)
        run->shift++;
    double gap = pt_log(hot / cold) / (run->length - 1);
    for (int r = 0; r < run->replicas; r++) {
        run->lane_of[r] = r;
        run->energy[r] = 0;
        run->log_gap[r] = gap;
        run->tried[r] = run->swapped[r] = run->total_tried[r] = run->total_swapped[r] = 0;
    }
    for (int64_t i = 0; i < run->graph.n * (run->replicas / PT_LANES) * PT_LANES; i++) {
        int32_t word = 2 * run->diagonal[i / PT_LANES % run->graph.n];
        if (run->wide)
            ((int32_t *)run->field)[i] = word;
        else
            ((int16_t *)run->field)[i] = (int16_t)word;
    }
    pt_set_ladder(run, run->anneal ? pt_log(hot) : PT_NO_FLOOR);
}

#define PT_CHUNK_EDGES 400000 /* of an accepted row: about a millisecond between looks at the flags */

/* One sweep of all replicas, then swaps. stop(context) is asked every millisecond or so; nonzero ends the sweep early (the
 * replicas stay consistent). Gives 0, or what stop gave. */
static inline int pt_sweep(pt_run *run, int (*stop)(void *), void *context)
{
    int64_t n = run->graph.n, change[PT_LANES];
    int stopped = 0;
    for (int block = 0; block < run->replicas / PT_LANES && !stopped; block++) {
        uint64_t draw = pt_next(&run->rng);
        uint32_t at = (uint32_t)draw, stride = (uint32_t)(draw >> 32) | 1;
        memset(change, 0, sizeof change);
        for (int64_t from = 0, to; from < n && !stopped; from = to) {
            int64_t edges = 0;
            for (to = from; to < n && edges < PT_CHUNK_EDGES; to++)
                edges += run->graph.start[to + 1] - run->graph.start[to] + 8;
            const uint8_t *temperature = run->wide ? (const uint8_t *)(run->lane_temperature.f32 + block * PT_LANES)
                                                   : (const uint8_t *)(run->lane_temperature.i16 + block * PT_LANES);
            run->level->sweep[run->wide](&run->graph, run->field + block * n * PT_LANES * pt_word_size(run), from, to, run->table,
                                         at + (uint32_t)from * stride, stride, temperature, run->shift, change);
            stopped = stop(context);
        }
        for (int lane = 0; lane < PT_LANES; lane++)
            run->energy[block * PT_LANES + lane] += change[lane];
    }
    if (stopped)
        return stopped;
    if (run->sweeps_done >= run->anneal)
        pt_swaps(run);
    else /* geometrically down, to the coldest temperature at the last step */
        pt_set_ladder(run, pt_log(run->hot) - pt_log(run->hot / run->cold) * (double)(run->sweeps_done + 1) / run->anneal);
    /* a row has served about 32 sites of each replica, in another order each time, when it is drawn anew */
    int rows = n / 32 + 1 < PT_REDRAW ? (int)(n / 32) + 1 : PT_REDRAW;
    for (; rows > 0; rows--, run->next_row = (run->next_row + 1) % PT_TABLE_ROWS)
        pt_draw_rows(run->table, run->wide, &run->rng, run->next_row, 1);
    if (++run->sweeps_done % PT_ADAPT_EVERY == 0)
        pt_adapt(run);
    return 0;
}
#endif

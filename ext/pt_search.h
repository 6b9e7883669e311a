/* One search: the matrix in the forms that the kernels want, restarts of tempering or tabu search into one pool, the finish. */
#ifndef QFAST_PT_SEARCH_H
#define QFAST_PT_SEARCH_H
#include <math.h>
#include <time.h>

#include "pt_cluster.h"
#include "pt_descent.h"
#include "pt_tabu.h"
#include "pt_tempering.h"

#define PT_POOL 32
#define PT_BEST 10
#define PT_QUENCH_EVERY 100 /* sweeps */
#define PT_QUENCH_LANES 4
#define PT_EXPANSIONS 60        /* pool members whose neighbours are tried in the end */
#define PT_NEIGHBOUR_OFFERS 20000
#define PT_DESCENT_ROUNDS 1000
#define PT_FINISH_SECONDS 60e-9 /* per entry: what the finish and the exact values of the ten take; three times that for floats */
#define PT_CLUSTERS 2
#define PT_TIMED 10 /* sweeps, to tell how many the time allows */
#define PT_STALE 30 /* relinks in a row without a new elite: all but the best make room */

typedef struct {
    /* IN */
    int64_t n, count;
    const int32_t *row, *col; /* row <= col, sorted, no duplicates */
    const double *value;
    int exact_sums;  /* values are integers whose every partial sum is exact in float64 */
    int dense;       /* tabu search instead of tempering */
    int replicas;
    int64_t reads, sweeps; /* sweeps per read (tabu: n flips each); negative: until the deadline */
    double deadline; /* CLOCK_MONOTONIC seconds; 0: none */
    uint64_t seed;
    const unsigned char *cancel;
    const pt_level *level;
    /* OUT */
    int64_t sweeps_done, reads_done;
    double swap_rate_low, swap_rate_mean;
    pt_pool pool;
    /* work */
    double scale;    /* value * scale, rounded, is what the kernels work on */
    double unit;     /* 1 / scale when nothing was rounded, else 0 */
    double slack;    /* rounding of an energy; 0 when exact */
    int wide;        /* int32 fields instead of int16 */
    int64_t *start;
    int32_t *site;
    double *weight, *diagonal;
    pt_edge *edge;
    int32_t *diagonal32;
    pt_exact exact;
    pt_state state;
    pt_run run;
    pt_tabu tabu;
    int clusters;   /* moves after each sweep */
    int32_t *queue; /* [n] and seen [n]: scratch of cluster moves */
    uint8_t *seen;
    uint8_t *bits; /* what the tabu search's states share: PT_ELITES + 2 rows of n */
} pt_search;

enum pt_end { PT_DONE = 0, PT_CANCELLED = 1, PT_LATE = 2, PT_NO_MEMORY = -1 };

static inline double pt_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int pt_stop(void *context)
{
    const pt_search *s = (const pt_search *)context;
    if (*(const volatile unsigned char *)s->cancel)
        return PT_CANCELLED;
    return s->deadline > 0 && pt_now() >= s->deadline ? PT_LATE : PT_DONE;
}

static inline void pt_search_close(pt_search *s)
{
    free(s->start);
    free(s->site);
    free(s->weight);
    free(s->diagonal);
    free(s->edge);
    free(s->diagonal32);
    free(s->state.x);
    free(s->state.gain);
    free(s->run.field);
    free(s->run.table);
    free(s->tabu.matrix);
    free(s->tabu.gain);
    free(s->tabu.mask);
    free(s->tabu.until);
    free(s->bits);
    free(s->queue);
    free(s->seen);
    pt_pool_close(&s->pool);
}

static inline double pt_common_divisor(const double *value, int64_t count)
{
    int64_t divisor = 0;
    for (int64_t k = 0; k < count && divisor != 1; k++)
        for (int64_t rest = (int64_t)fabs(value[k]); rest;) {
            int64_t left = divisor % rest;
            divisor = rest;
            rest = left;
        }
    return divisor ? (double)divisor : 1.0;
}

/* Chooses how values become the kernels' integers: divided by their greatest common divisor where the fields then fit, else
 * scaled by a power of two and rounded. Half a unit for each entry of a row stays below an eighth of the range. */
static inline int pt_choose_scale(pt_search *s)
{
    double *bound = (double *)calloc((size_t)s->n, sizeof(double)), largest = 0, sum = 0;
    if (!bound)
        return PT_NO_MEMORY;
    for (int64_t k = 0; k < s->count; k++) {
        double size = fabs(s->value[k]);
        bound[s->row[k]] += size;
        bound[s->col[k]] += s->row[k] != s->col[k] ? size : 0.0;
        sum += size;
    }
    for (int64_t i = 0; i < s->n; i++)
        largest = bound[i] > largest ? bound[i] : largest;
    free(bound);
    s->unit = s->exact_sums ? pt_common_divisor(s->value, s->count) : 0;
    s->slack = s->exact_sums ? 0 : sum * 0x1p-40;
    if (s->unit > 0 && largest / s->unit <= PT_FIELD32) {
        s->scale = 1 / s->unit;
        s->wide = largest / s->unit > PT_FIELD16;
        return PT_DONE;
    }
    int exponent = 0;
    frexp(0.875 * PT_FIELD32 / largest, &exponent); /* largest > 0, else the unit is 1 or values are all zero */
    s->scale = largest > 0 ? ldexp(1.0, exponent - 1 < 1000 ? exponent - 1 : 1000) : 1.0;
    s->unit = 0;
    s->wide = 1;
    return PT_DONE;
}

/* Memory for the lanes of tempering, or the matrix of tabu search */
static inline int pt_search_room(pt_search *s, size_t pairs)
{
    size_t n = (size_t)s->n;
    if (!s->dense) {
        s->edge = (pt_edge *)malloc((2 * pairs + 1) * sizeof(pt_edge));
        s->run.field = (uint8_t *)aligned_alloc(64, n * PT_LANES * (s->wide ? 4 : 2) * (size_t)(s->replicas / PT_LANES));
        s->run.table = aligned_alloc(64, PT_TABLE_ROWS * PT_LANES * (s->wide ? sizeof(float) : sizeof(int16_t)));
        s->queue = (int32_t *)malloc(n * sizeof(int32_t));
        s->seen = (uint8_t *)calloc(n, 1);
        return s->edge && s->run.field && s->run.table && s->queue && s->seen;
    }
    pt_tabu *t = &s->tabu;
    t->n = s->n;
    t->blocks = (s->n + 15) / 16;
    t->wide = s->wide;
    t->level = s->level;
    size_t padded = (size_t)t->blocks * 16, matrix = n * padded * (s->wide ? 4 : 2);
    t->matrix = (uint8_t *)aligned_alloc(64, (matrix + 63) / 64 * 64);
    t->gain = (int32_t *)aligned_alloc(64, padded * 4);
    t->mask = (int32_t *)aligned_alloc(64, padded * 4);
    t->until = (int32_t *)aligned_alloc(64, padded * 4);
    s->bits = (uint8_t *)malloc((PT_ELITES + 2) * n);
    if (!t->matrix || !t->gain || !t->mask || !t->until || !s->bits)
        return 0;
    memset(t->matrix, 0, matrix);
    t->best = s->bits;
    for (int k = 0; k < PT_ELITES; k++)
        t->elite[k] = s->bits + (size_t)(k + 2) * n;
    return 1;
}

static inline void pt_search_put(pt_search *s, int32_t i, int32_t j, double value)
{
    int64_t to = s->start[i + 1]++;
    int32_t scaled = (int32_t)rint(value * s->scale);
    s->site[to] = j;
    s->weight[to] = value;
    if (!s->dense)
        s->edge[to] = (pt_edge){j, 2 * scaled};
    else if (s->wide)
        ((int32_t *)s->tabu.matrix)[i * s->tabu.blocks * 16 + j] = scaled;
    else
        ((int16_t *)s->tabu.matrix)[i * s->tabu.blocks * 16 + j] = (int16_t)scaled;
}

static inline int pt_search_open(pt_search *s)
{
    size_t n = (size_t)s->n, pairs = 0;
    if (pt_choose_scale(s) < 0)
        return PT_NO_MEMORY;
    for (int64_t k = 0; k < s->count; k++)
        pairs += s->row[k] != s->col[k];
    s->start = (int64_t *)calloc(n + 2, sizeof(int64_t));
    s->site = (int32_t *)malloc((2 * pairs + 1) * sizeof(int32_t));
    s->weight = (double *)malloc((2 * pairs + 1) * sizeof(double));
    s->diagonal = (double *)calloc(n, sizeof(double));
    s->diagonal32 = (int32_t *)calloc(n, sizeof(int32_t));
    s->state.x = (uint8_t *)calloc(n, 1);
    s->state.gain = (double *)malloc(n * sizeof(double));
    if (pt_pool_open(&s->pool, s->n, PT_POOL, s->slack) < 0 || !s->start || !s->site || !s->weight || !s->diagonal
        || !s->diagonal32 || !s->state.x || !s->state.gain || !pt_search_room(s, pairs))
        return PT_NO_MEMORY;
    /* start[i + 2] counts; added up, start[i + 1] is where row i goes, and when all are written, where it ends */
    for (int64_t k = 0; k < s->count; k++)
        if (s->row[k] != s->col[k])
            for (int side = 0; side < 2; side++) {
                int32_t i = side ? s->col[k] : s->row[k];
                s->start[i + 2 <= s->n ? i + 2 : s->n + 1] += i + 2 <= s->n;
            }
    for (int64_t i = 1; i <= s->n; i++)
        s->start[i] += s->start[i - 1];
    for (int64_t k = 0; k < s->count; k++) {
        if (s->row[k] != s->col[k]) {
            pt_search_put(s, s->row[k], s->col[k], s->value[k]);
            pt_search_put(s, s->col[k], s->row[k], s->value[k]);
        } else {
            s->diagonal[s->row[k]] = s->value[k];
            s->diagonal32[s->row[k]] = (int32_t)rint(s->value[k] * s->scale);
        }
    }
    s->exact = (pt_exact){s->n, s->start, s->site, s->weight, s->diagonal};
    s->run.graph = (pt_graph){s->n, s->start, s->edge};
    s->run.diagonal = s->diagonal32;
    s->run.level = s->level;
    s->run.wide = s->wide;
    s->run.replicas = s->replicas;
    s->clusters = 2 * (double)pairs <= PT_CLUSTER_DEGREE * (double)s->n ? PT_CLUSTERS : 0;
    s->run.length = s->clusters && s->n < 5000 ? 16 : s->replicas / 2;
    return PT_DONE;
}

static int pt_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median cost of an uphill flip in a local minimum, in the lanes' unit; 0 when there is none. Also the pool's first entry. */
static inline double pt_typical_cost(pt_search *s, pt_rng *rng)
{
    for (int64_t i = 0; i < s->n; i++)
        s->state.x[i] = (uint8_t)(pt_next(rng) >> 63);
    pt_state_set(&s->exact, &s->state);
    pt_descend(&s->exact, &s->state, s->slack, PT_DESCENT_ROUNDS);
    pt_pool_add(&s->pool, s->state.energy, s->state.x);
    int64_t count = 0;
    double *cost = s->state.gain; /* not needed any more */
    for (int64_t i = 0; i < s->n; i++)
        if (cost[i] * s->scale >= 0.5)
            cost[count++] = cost[i] * s->scale;
    qsort(cost, (size_t)count, sizeof *cost, pt_compare);
    return count ? cost[count / 2] : 0;
}

static inline void pt_quench(pt_search *s, int lane)
{
    for (int64_t i = 0; i < s->n; i++)
        s->state.x[i] = (uint8_t)pt_variable(&s->run, lane, i);
    pt_state_set(&s->exact, &s->state);
    pt_pool_add(&s->pool, s->state.energy, s->state.x);
    pt_descend(&s->exact, &s->state, s->slack, PT_DESCENT_ROUNDS);
    pt_pool_add(&s->pool, s->state.energy, s->state.x);
}

/* One restart: sweeps until the budget ends; snapshots of new best and of the coldest replicas go to the pool, quenched. */
static inline int pt_read(pt_search *s, uint64_t seed, double cold, double hot)
{
    pt_run *run = &s->run;
    int64_t best = INT64_MAX;
    int end = PT_DONE;
    double began = pt_now();
    run->anneal = s->n < 9000 ? 100 + (int)(s->n / 10) : 1000;
    if (s->sweeps >= 0 && run->anneal > s->sweeps / 2)
        run->anneal = (int)(s->sweeps / 2);
    pt_start(run, seed, cold, hot);
    while (s->sweeps < 0 || run->sweeps_done < s->sweeps) {
        if (s->sweeps < 0 && run->sweeps_done == PT_TIMED) { /* within the first half of the time */
            double sweep = (pt_now() - began) / PT_TIMED, fits = 0.5 * (s->deadline - began) / sweep;
            run->anneal = fits < run->anneal ? (int)fmax(fits, PT_TIMED + 1) : run->anneal;
        }
        end = pt_sweep(run, pt_stop, s);
        for (int k = 0; k < s->clusters && run->sweeps_done > run->anneal; k++)
            pt_cluster_move(run, s->queue, s->seen);
        int lane = 0;
        for (int r = 1; r < run->replicas; r++)
            if (run->energy[r] < run->energy[lane])
                lane = r;
        if (run->energy[lane] < best) {
            best = run->energy[lane];
            pt_quench(s, lane);
        }
        if (end)
            break;
        if (run->sweeps_done % PT_QUENCH_EVERY == 0)
            for (int r = 0; r < PT_QUENCH_LANES; r++)
                pt_quench(s, run->lane_of[r * run->length % run->replicas + r * run->length / run->replicas]);
    }
    for (int r = 0; r < PT_QUENCH_LANES && end != PT_CANCELLED; r++)
        pt_quench(s, run->lane_of[r]);
    s->sweeps_done += run->sweeps_done;
    s->reads_done++;
    return end;
}

/* Offers the last tabu search's best to the pool, descended in the exact weights where the lanes have rounded. */
static inline void pt_tabu_deliver(pt_search *s)
{
    if (s->unit > 0) {
        pt_pool_add(&s->pool, (double)s->tabu.best_energy * s->unit, s->tabu.best);
        return;
    }
    memcpy(s->state.x, s->tabu.best, (size_t)s->n);
    pt_state_set(&s->exact, &s->state);
    pt_descend(&s->exact, &s->state, s->slack, PT_DESCENT_ROUNDS);
    pt_pool_add(&s->pool, s->state.energy, s->state.x);
}

/* One restart of tabu search with path relinking. */
static inline int pt_tabu_read(pt_search *s, uint64_t seed)
{
    pt_tabu *t = &s->tabu;
    int64_t n = s->n, depth = (n < 5000 ? 20 : 10) * n;
    uint8_t *scratch = s->bits + n;
    int end = PT_DONE, stale = 0;
    pt_seed(&t->rng, seed);
    t->stop = pt_stop;
    t->context = s;
    t->energy = t->flips = t->elites = 0;
    t->max_flips = s->sweeps < 0 || s->sweeps > INT64_MAX / n ? INT64_MAX : s->sweeps * n;
    for (int64_t i = 0; i < 16 * t->blocks; i++) {
        t->gain[i] = i < n ? s->diagonal32[i] : INT32_MAX;
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
        end = pt_tabu_search(t, depth);
        if (t->best_energy != INT64_MAX)
            pt_tabu_deliver(s);
        stale = t->best_energy != INT64_MAX && pt_tabu_keep(t) ? 0 : stale + 1;
        if (end == PT_DONE)
            end = pt_tabu_stopped(t);
        if (stale < PT_STALE)
            continue;
        int best = 0; /* the pool has collapsed, or is as good as it gets: begin anew beside the best */
        for (int k = 1; k < t->elites; k++)
            best = t->elite_energy[k] < t->elite_energy[best] ? k : best;
        uint8_t *kept = t->elite[best];
        t->elite[best] = t->elite[0];
        t->elite[0] = kept;
        t->elite_energy[0] = t->elite_energy[best];
        t->elites = t->elites > 0;
        stale = 0;
    }
    s->sweeps_done += t->flips / n;
    s->reads_done++;
    return end;
}

/* Tries the neighbours of the ten best until they are the best of their own neighbours. */
static inline int pt_finish(pt_search *s)
{
    for (int expansion = 0; expansion < PT_EXPANSIONS; expansion++) {
        int next = 0;
        while (next < s->pool.size && next < PT_BEST && s->pool.mark[next])
            next++;
        if (next == s->pool.size || next == PT_BEST)
            break;
        s->pool.mark[next] = 1;
        memcpy(s->state.x, s->pool.x[next], (size_t)s->n);
        pt_state_set(&s->exact, &s->state);
        pt_neighbours(&s->exact, &s->pool, &s->state, PT_NEIGHBOUR_OFFERS);
        int end = pt_stop(s);
        if (end == PT_CANCELLED || (end == PT_LATE && s->pool.size >= PT_BEST))
            return end;
    }
    return PT_DONE;
}

static inline void pt_swap_rates(pt_search *s)
{
    double sum = 0, low = 1;
    int pairs = s->run.replicas - 1, counted = s->run.replicas - s->run.replicas / s->run.length;
    for (int r = 0; r < pairs; r++) {
        if ((r + 1) % s->run.length == 0)
            continue;
        double tried = (double)(s->run.total_tried[r] + s->run.tried[r]);
        double rate = tried > 0 ? (double)(s->run.total_swapped[r] + s->run.swapped[r]) / tried : 0;
        sum += rate;
        low = rate < low ? rate : low;
    }
    s->swap_rate_low = low;
    s->swap_rate_mean = sum / counted;
}

static inline int pt_search_run(pt_search *s)
{
    pt_rng rng;
    pt_seed(&rng, s->seed);
    double cost = pt_typical_cost(s, &rng);
    double cold = fmax(0.05 * cost, 0.18), hot = fmax(0.3 * cost, 1.0);
    double deadline = s->deadline, finish = PT_FINISH_SECONDS * (double)(s->exact_sums ? 1 : 3) * (double)s->count;
    double searched = deadline - fmin(finish, 0.5 * (deadline - pt_now()));
    int end = PT_DONE;
    for (int64_t read = 0; read < s->reads && end != PT_CANCELLED; read++) {
        if (deadline > 0) { /* equal shares of what is left */
            double now = pt_now();
            if (now >= searched && read > 0)
                break;
            s->deadline = now + (searched - now) / (double)(s->reads - read);
        }
        end = s->dense ? pt_tabu_read(s, pt_next(&rng)) : pt_read(s, pt_next(&rng), cold, hot);
    }
    s->deadline = deadline;
    if (!s->dense)
        pt_swap_rates(s);
    return end == PT_CANCELLED ? end : pt_finish(s) == PT_CANCELLED ? PT_CANCELLED : PT_DONE;
}
#endif

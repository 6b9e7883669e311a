/* Variables decided or replaced without loss of the minimum, until no rule applies; and the way back.
 *
 * With f_i = q_ii + sum of q_ij x_j, x_i is 1 exactly where f_i < 0 (or may be either at 0):
 *   persistency: f_i >= 0 or f_i <= 0 for all x (Boros, Hammer, Disc. Appl. Math. 123 (2002) 155, section 4);
 *   contraction: one coupling outweighs the rest, so that x_i = x_j or x_i = 1 - x_j;
 *   low degree:  min(0, f_i) of one or two neighbours is itself quadratic; of three if its cubic term vanishes, as it does
 *                without fields (the star and the triangle of the Ising model).
 * Each step says how its variable follows from those that stay: x_i = (cost + sum of weight x_neighbour < 0).
 */
#ifndef QFAST_QP_REDUCE_H
#define QFAST_QP_REDUCE_H
#include "qp_graph.h"

#define QP_PERSISTENCY 1
#define QP_STRUCTURE 2      /* contraction and low degrees */
#define QP_MAX_CONTRACTED 16 /* neighbours of a variable that a contraction may move */

typedef struct {
    int32_t variable, neighbour[3]; /* -1: none */
    int64_t cost, weight[3];
} qp_step;

typedef struct {
    qp_graph graph;
    int rules;
    int64_t limit;   /* of `size` */
    int64_t size;    /* the sum of all absolute values never exceeds it */
    int64_t least;   /* margin of a persistency that is used */
    int64_t margin;  /* a solution against any of the persistencies lies at least that much above the minimum */
    int64_t fixed, replaced;
    uint8_t *gone, *queued; /* [n] */
    int32_t *queue;  /* [n], a ring */
    int64_t head, waiting;
    qp_step *step;   /* [n] */
    int64_t steps;
    const unsigned char *cancel;
} qp_reduction;

static inline void qp_reduction_close(qp_reduction *r)
{
    qp_graph_close(&r->graph);
    free(r->gone);
    free(r->queued);
    free(r->queue);
    free(r->step);
}

static inline void qp_enqueue(qp_reduction *r, int32_t i)
{
    if (r->queued[i] || r->gone[i])
        return;
    r->queued[i] = 1;
    r->queue[(r->head + r->waiting++) % r->graph.n] = i;
}

static inline qp_step *qp_note(qp_reduction *r, int32_t i, int64_t cost)
{
    qp_step *step = &r->step[r->steps++];
    *step = (qp_step){i, {-1, -1, -1}, cost, {0, 0, 0}};
    r->gone[i] = 1;
    return step;
}

/* Takes out all edges of i; its neighbours will be looked at again. */
static inline void qp_detach(qp_reduction *r, int32_t i)
{
    while (r->graph.head[i] >= 0) {
        int32_t e = r->graph.head[i];
        qp_enqueue(r, r->graph.to[e]);
        qp_disconnect(&r->graph, e, i);
    }
}

static inline int qp_try_persistency(qp_reduction *r, int32_t i)
{
    qp_graph *g = &r->graph;
    int64_t low = g->linear[i] + g->negative[i], high = g->linear[i] + g->positive[i];
    if (low < 0 && high > 0)
        return 0;
    int one = low < 0;
    int64_t margin = one ? -high : low;
    if (margin < r->least)
        return 0;
    r->margin = margin < r->margin ? margin : r->margin;
    for (int32_t e = g->head[i]; one && e >= 0; e = g->next[e])
        g->linear[g->to[e]] += g->weight[e];
    qp_note(r, i, one ? -1 : 0);
    qp_detach(r, i);
    r->fixed++;
    return 1;
}

/* x_i = x_j, or 1 - x_j when inverted. IN e: the half-edge from i to j */
static inline int qp_contract(qp_reduction *r, int32_t i, int32_t e, int inverted)
{
    qp_graph *g = &r->graph;
    int32_t j = g->to[e], neighbour[QP_MAX_CONTRACTED];
    int64_t weight[QP_MAX_CONTRACTED], own = g->linear[i];
    int count = 0;
    g->linear[j] += inverted ? -own : own + g->weight[e];
    for (int32_t k = g->head[i]; k >= 0; k = g->next[k])
        if (k != e) {
            neighbour[count] = g->to[k];
            weight[count++] = g->weight[k];
        }
    qp_step *step = qp_note(r, i, inverted ? -1 : 0);
    step->neighbour[0] = j;
    step->weight[0] = inverted ? 1 : -1;
    qp_detach(r, i);
    for (int k = 0; k < count; k++) {
        if (inverted)
            g->linear[neighbour[k]] += weight[k];
        if (qp_couple(g, j, neighbour[k], inverted ? -weight[k] : weight[k]) < 0)
            return QP_NO_MEMORY;
    }
    r->replaced++;
    return 1;
}

static inline int qp_try_contraction(qp_reduction *r, int32_t i)
{
    qp_graph *g = &r->graph;
    int64_t low = g->linear[i] + g->negative[i], high = g->linear[i] + g->positive[i];
    int64_t growth = 2 * (llabs(g->linear[i]) + g->positive[i] - g->negative[i]);
    if (g->degree[i] > QP_MAX_CONTRACTED || growth > r->limit - r->size)
        return 0;
    for (int32_t e = g->head[i]; e >= 0; e = g->next[e]) {
        int64_t w = g->weight[e];
        int same = w < 0 && low - w >= 0 && high + w <= 0, inverted = w > 0 && high - w <= 0 && low + w >= 0;
        if (!same && !inverted)
            continue;
        r->size += inverted ? growth : 0;
        return qp_contract(r, i, e, inverted);
    }
    return 0;
}

/* min(0, cost + sum of weights of the set bits), as coefficients of the products of its up to three variables */
static inline void qp_minimum(int64_t cost, const int64_t *weight, int count, int64_t *out)
{
    for (int state = 0; state < 1 << count; state++) {
        int64_t f = cost;
        for (int k = 0; k < count; k++)
            f += (state >> k) & 1 ? weight[k] : 0;
        out[state] = f < 0 ? f : 0;
    }
    for (int k = 0; k < count; k++)
        for (int state = 0; state < 1 << count; state++)
            if ((state >> k) & 1)
                out[state] -= out[state ^ (1 << k)];
}

static inline int qp_try_low_degree(qp_reduction *r, int32_t i)
{
    qp_graph *g = &r->graph;
    int count = 0;
    int32_t neighbour[3];
    int64_t weight[3] = {0, 0, 0}, term[8], growth = 0;
    if (g->degree[i] > 3)
        return 0;
    for (int32_t e = g->head[i]; e >= 0; e = g->next[e]) {
        neighbour[count] = g->to[e];
        weight[count++] = g->weight[e];
    }
    qp_minimum(g->linear[i], weight, count, term);
    if (count == 3 && term[7] != 0)
        return 0;
    for (int k = 3; k < 1 << count; k++)
        growth += k == 4 ? 0 : llabs(term[k]);
    if (growth > r->limit - r->size)
        return 0;
    r->size += growth;
    qp_step *step = qp_note(r, i, g->linear[i]);
    qp_detach(r, i);
    for (int k = 0; k < count; k++) {
        step->neighbour[k] = neighbour[k];
        step->weight[k] = weight[k];
        g->linear[neighbour[k]] += term[1 << k];
        for (int l = 0; l < k; l++)
            if (qp_couple(g, neighbour[k], neighbour[l], term[(1 << k) | (1 << l)]) < 0)
                return QP_NO_MEMORY;
    }
    r->replaced++;
    return 1;
}

/* IN form, rules, least; limit: up to which sums may grow, at least the sum of absolute values. OUT r, to be closed in any case */
static inline int qp_reduce(qp_reduction *r, const qp_form *form, int rules, int64_t least, int64_t limit)
{
    size_t n = (size_t)form->n;
    memset(r, 0, sizeof *r);
    r->rules = rules;
    r->least = least;
    r->limit = limit;
    r->margin = INT64_MAX;
    r->cancel = form->cancel;
    r->gone = (uint8_t *)calloc(n, 1);
    r->queued = (uint8_t *)calloc(n, 1);
    r->queue = (int32_t *)malloc(n * sizeof(int32_t));
    r->step = (qp_step *)malloc(n * sizeof(qp_step));
    if (qp_graph_open(&r->graph, form) < 0 || !r->gone || !r->queued || !r->queue || !r->step)
        return QP_NO_MEMORY;
    for (int64_t k = 0; k < form->count; k++)
        r->size += llabs(form->value[k]);
    for (int64_t i = 0; i < form->n; i++)
        qp_enqueue(r, (int32_t)i);
    for (int64_t looked = 0; r->waiting; looked++) {
        int32_t i = r->queue[r->head];
        r->head = (r->head + 1) % r->graph.n;
        r->waiting--;
        r->queued[i] = 0;
        if (looked % 256 == 0 && qp_cancelled(r->cancel))
            return QP_CANCELLED;
        if (r->gone[i])
            continue;
        int done = qp_try_persistency(r, i);
        if (!done && rules & QP_STRUCTURE)
            done = qp_try_contraction(r, i);
        if (!done && rules & QP_STRUCTURE)
            done = qp_try_low_degree(r, i);
        if (done < 0)
            return QP_NO_MEMORY;
    }
    return QP_DONE;
}

/* How many variables persistency decides at once or have at most three neighbours. IN bounds: [n][2], degree: [n], zeros */
static inline int64_t qp_movable(int64_t n, int64_t count, const int32_t *row, const int32_t *col, const double *value,
                                 double *bounds, int32_t *degree)
{
    int64_t found = 0;
    for (int64_t k = 0, end; k < count; k = end) {
        double own[2] = {0, 0};
        for (end = k; end < count && row[end] == row[k]; end++) {
            int32_t j = col[end];
            double low = value[end] < 0 ? value[end] : 0, high = value[end] - low;
            if (j == row[k]) {
                low = high = value[end];
            } else {
                bounds[2 * j] += low;
                bounds[2 * j + 1] += high;
                degree[j]++;
            }
            own[0] += low;
            own[1] += high;
            degree[row[k]] += j != row[k];
        }
        bounds[2 * row[k]] += own[0];
        bounds[2 * row[k] + 1] += own[1];
    }
    for (int64_t i = 0; i < n; i++)
        found += bounds[2 * i] >= 0 || bounds[2 * i + 1] <= 0 || degree[i] <= 3;
    return found;
}

/* What is left. IN name: new numbers, [n], -1 where gone. OUT row, col, value if not NULL, ascending. Gives the number of entries. */
static inline int64_t qp_remaining(const qp_graph *g, const int32_t *name, int64_t *start, int32_t *row, int32_t *col,
                                   int64_t *value)
{
    int64_t count = 0;
    for (int64_t i = 0; i < g->n; i++) {
        if (name[i] < 0)
            continue;
        start[i] = count;
        if (g->linear[i] != 0) {
            if (row) {
                row[count] = col[count] = name[i];
                value[count] = g->linear[i];
            }
            start[i]++;
            count++;
        }
        for (int32_t e = g->head[i]; e >= 0; e = g->next[e])
            count += g->to[e] > i;
    }
    if (!row)
        return count;
    for (int64_t j = 0; j < g->n; j++)
        for (int32_t e = name[j] < 0 ? -1 : g->head[j]; e >= 0; e = g->next[e]) {
            int32_t i = g->to[e];
            if (i > j)
                continue;
            int64_t at = start[i]++;
            row[at] = name[i];
            col[at] = name[j];
            value[at] = g->weight[e];
        }
    return count;
}

/* IN x: [n], set where variables stayed. OUT x, the rest */
static inline void qp_restore(const qp_step *step, int64_t steps, uint8_t *x)
{
    for (int64_t s = steps - 1; s >= 0; s--) {
        int64_t f = step[s].cost;
        for (int k = 0; k < 3; k++)
            f += step[s].neighbour[k] >= 0 && x[step[s].neighbour[k]] ? step[s].weight[k] : 0;
        x[step[s].variable] = f < 0;
    }
}
#endif

/* A quadratic form of 0/1 variables in integers, as a graph that is taken apart: half-edges in doubly linked lists.
 *
 * The twin of half-edge e is e ^ 1, so that an edge is found from either end and taken out in constant time.
 */
#ifndef QFAST_QP_GRAPH_H
#define QFAST_QP_GRAPH_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define QP_MAX_HALVES 0x3fffffff

enum qp_end { QP_DONE = 0, QP_CANCELLED = 1, QP_NO_MEMORY = -1 };

/* IN: what the caller hands over */
typedef struct {
    int64_t n, count;
    const int32_t *row, *col; /* row <= col, ascending, no pair twice */
    const int64_t *value;
    const unsigned char *cancel;
} qp_form;

typedef struct {
    int64_t n;
    int64_t *linear;            /* [n] */
    int64_t *negative, *positive; /* [n] sums of the couplings of either sign */
    int32_t *head, *degree;     /* [n]; a head of -1: no edge */
    int32_t *to, *next, *prev;  /* [room] */
    int64_t *weight;            /* [room] */
    int32_t room, used, spare;  /* spare: list of free edges by `next`, -1 at its end */
} qp_graph;

static inline int qp_cancelled(const unsigned char *cancel) { return *(const volatile unsigned char *)cancel; }

static inline void qp_graph_close(qp_graph *g)
{
    free(g->linear);
    free(g->negative);
    free(g->positive);
    free(g->head);
    free(g->degree);
    free(g->to);
    free(g->next);
    free(g->prev);
    free(g->weight);
    memset(g, 0, sizeof *g);
}

static inline int qp_graph_grow(qp_graph *g, int64_t room)
{
    if (room > QP_MAX_HALVES)
        return QP_NO_MEMORY;
    void *to = realloc(g->to, (size_t)room * sizeof(int32_t));
    g->to = to ? (int32_t *)to : g->to;
    void *next = realloc(g->next, (size_t)room * sizeof(int32_t));
    g->next = next ? (int32_t *)next : g->next;
    void *prev = realloc(g->prev, (size_t)room * sizeof(int32_t));
    g->prev = prev ? (int32_t *)prev : g->prev;
    void *weight = realloc(g->weight, (size_t)room * sizeof(int64_t));
    g->weight = weight ? (int64_t *)weight : g->weight;
    if (!to || !next || !prev || !weight)
        return QP_NO_MEMORY;
    g->room = (int32_t)room;
    return QP_DONE;
}

static inline void qp_link(qp_graph *g, int32_t e, int32_t from)
{
    g->prev[e] = -1;
    g->next[e] = g->head[from];
    if (g->head[from] >= 0)
        g->prev[g->head[from]] = e;
    g->head[from] = e;
}

static inline void qp_unlink(qp_graph *g, int32_t e, int32_t from)
{
    if (g->prev[e] >= 0)
        g->next[g->prev[e]] = g->next[e];
    else
        g->head[from] = g->next[e];
    if (g->next[e] >= 0)
        g->prev[g->next[e]] = g->prev[e];
}

static inline void qp_count(qp_graph *g, int32_t i, int64_t weight, int64_t sign)
{
    (weight < 0 ? g->negative : g->positive)[i] += sign * weight;
}

/* A new edge between two that have none */
static inline int qp_connect(qp_graph *g, int32_t a, int32_t b, int64_t weight)
{
    int32_t e = g->spare;
    if (e >= 0) {
        g->spare = g->next[e];
    } else {
        if (g->used + 2 > g->room && qp_graph_grow(g, 2 * (int64_t)g->room) < 0)
            return QP_NO_MEMORY;
        e = g->used;
        g->used += 2;
    }
    g->to[e] = b;
    g->to[e ^ 1] = a;
    g->weight[e] = g->weight[e ^ 1] = weight;
    qp_link(g, e, a);
    qp_link(g, e ^ 1, b);
    g->degree[a]++;
    g->degree[b]++;
    qp_count(g, a, weight, 1);
    qp_count(g, b, weight, 1);
    return QP_DONE;
}

/* IN e: a half-edge out of `from` */
static inline void qp_disconnect(qp_graph *g, int32_t e, int32_t from)
{
    int32_t other = g->to[e];
    qp_unlink(g, e, from);
    qp_unlink(g, e ^ 1, other);
    g->degree[from]--;
    g->degree[other]--;
    qp_count(g, from, g->weight[e], -1);
    qp_count(g, other, g->weight[e], -1);
    e &= ~1;
    g->next[e] = g->spare;
    g->spare = e;
}

/* The half-edge from a to b, or -1. It comes to the front of its list: pairs that are asked for once are asked for again. */
static inline int32_t qp_find(qp_graph *g, int32_t a, int32_t b)
{
    int swap = g->degree[b] < g->degree[a];
    int32_t from = swap ? b : a, target = swap ? a : b, e = g->head[from];
    while (e >= 0 && g->to[e] != target)
        e = g->next[e];
    if (e < 0)
        return -1;
    qp_unlink(g, e, from);
    qp_link(g, e, from);
    qp_unlink(g, e ^ 1, target);
    qp_link(g, e ^ 1, target);
    return swap ? e ^ 1 : e;
}

/* Adds to the coupling of a and b. */
static inline int qp_couple(qp_graph *g, int32_t a, int32_t b, int64_t weight)
{
    if (weight == 0)
        return QP_DONE;
    int32_t e = qp_find(g, a, b);
    if (e < 0)
        return qp_connect(g, a, b, weight);
    int64_t sum = g->weight[e] + weight;
    if (sum == 0) {
        qp_disconnect(g, e, a);
        return QP_DONE;
    }
    for (int side = 0; side < 2; side++) {
        qp_count(g, side ? a : b, g->weight[e], -1);
        qp_count(g, side ? a : b, sum, 1);
    }
    g->weight[e] = g->weight[e ^ 1] = sum;
    return QP_DONE;
}

static inline int qp_graph_open(qp_graph *g, const qp_form *form)
{
    size_t n = (size_t)form->n;
    memset(g, 0, sizeof *g);
    g->n = form->n;
    g->spare = -1;
    g->linear = (int64_t *)calloc(n, sizeof(int64_t));
    g->negative = (int64_t *)calloc(n, sizeof(int64_t));
    g->positive = (int64_t *)calloc(n, sizeof(int64_t));
    g->head = (int32_t *)malloc(n * sizeof(int32_t));
    g->degree = (int32_t *)calloc(n, sizeof(int32_t));
    if (!g->linear || !g->negative || !g->positive || !g->head || !g->degree
        || qp_graph_grow(g, 2 * form->count + 2) < 0)
        return QP_NO_MEMORY;
    memset(g->head, 0xff, n * sizeof(int32_t));
    for (int64_t k = 0; k < form->count; k++)
        if (form->row[k] == form->col[k])
            g->linear[form->row[k]] = form->value[k];
        else
            qp_connect(g, form->row[k], form->col[k], form->value[k]); /* there is room for all */
    return QP_DONE;
}
#endif

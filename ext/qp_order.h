/* Orders of elimination, and what they cost: a variable with d neighbours at its turn costs a table of 2^d entries.
 *
 * Two orders compete for each connected component: least degree first, and Cuthill and McKee's breadth-first bands (Proc. 24th
 * ACM Nat. Conf. (1969) 157), which long lattices want. Components are taken while the tables stay within bounds, cheapest first.
 */
#ifndef QFAST_QP_ORDER_H
#define QFAST_QP_ORDER_H
#include "qp_graph.h"

#define QP_MAX_WIDTH 22
#define QP_CHEAP 64 /* entries a variable up to which no second order is tried */

/* Each variable's couplings, in both directions */
typedef struct {
    int64_t n;
    int64_t *start;    /* [n + 1] */
    int32_t *site;
    int64_t *entry;    /* where the form has the coupling */
    int64_t *coupling, *linear; /* [n] linear; both only by qp_rows_fill */
} qp_rows;

static inline void qp_rows_close(qp_rows *rows)
{
    free(rows->start);
    free(rows->site);
    free(rows->entry);
    free(rows->coupling);
    free(rows->linear);
}

static inline int qp_rows_open(qp_rows *rows, int64_t n, int64_t count, const int32_t *row, const int32_t *col)
{
    memset(rows, 0, sizeof *rows);
    rows->n = n;
    rows->start = (int64_t *)calloc((size_t)n + 2, sizeof(int64_t));
    rows->site = (int32_t *)malloc((2 * (size_t)count + 1) * sizeof(int32_t));
    rows->entry = (int64_t *)malloc((2 * (size_t)count + 1) * sizeof(int64_t));
    if (!rows->start || !rows->site || !rows->entry)
        return QP_NO_MEMORY;
    int64_t *end = rows->start + 1; /* end[i + 1] counts; added up, end[i] is where row i goes, and then where it ends */
    for (int64_t k = 0; k < count; k++)
        if (row[k] != col[k]) {
            end[row[k] + 1 < n ? row[k] + 1 : 0] += row[k] + 1 < n;
            end[col[k] + 1 < n ? col[k] + 1 : 0] += col[k] + 1 < n;
        }
    for (int64_t i = 1; i < n; i++)
        end[i] += end[i - 1];
    for (int64_t k = 0; k < count; k++)
        for (int side = 0; side < 2 && row[k] != col[k]; side++) {
            int64_t at = end[side ? col[k] : row[k]]++;
            rows->site[at] = side ? row[k] : col[k];
            rows->entry[at] = k;
        }
    return QP_DONE;
}

static inline int qp_rows_fill(qp_rows *rows, const qp_form *form)
{
    int64_t halves = rows->start[rows->n];
    rows->coupling = (int64_t *)malloc(((size_t)halves + 1) * sizeof(int64_t));
    rows->linear = (int64_t *)calloc((size_t)rows->n, sizeof(int64_t));
    if (!rows->coupling || !rows->linear)
        return QP_NO_MEMORY;
    for (int64_t k = 0; k < halves; k++)
        rows->coupling[k] = form->value[rows->entry[k]];
    for (int64_t k = 0; k < form->count; k++)
        if (form->row[k] == form->col[k])
            rows->linear[form->row[k]] = form->value[k];
    return QP_DONE;
}

/* The elimination as a forest: a bucket for each variable in its turn, whose table goes to the bucket of its first neighbour. */
typedef struct {
    int64_t count;
    int32_t *order;       /* [count] variables */
    int32_t *position;    /* [n], -1 when not in the order */
    int64_t *scope_start; /* [count + 1] */
    int32_t *scope;       /* positions of the neighbours at that turn, ascending */
    int64_t scope_room;
    int32_t *child, *sibling; /* [count]; -1: none */
    int32_t *stamp;       /* [count] scratch */
    int width;
    int64_t entries;      /* of all tables */
} qp_forest;

static inline void qp_forest_close(qp_forest *f)
{
    free(f->order);
    free(f->position);
    free(f->scope_start);
    free(f->scope);
    free(f->child);
    free(f->sibling);
    free(f->stamp);
}

static inline int qp_forest_open(qp_forest *f, int64_t n)
{
    memset(f, 0, sizeof *f);
    f->order = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    f->position = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    f->scope_start = (int64_t *)malloc(((size_t)n + 1) * sizeof(int64_t));
    f->child = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    f->sibling = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    f->stamp = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    f->scope_room = 4 * n + 2 * QP_MAX_WIDTH;
    f->scope = (int32_t *)malloc((size_t)f->scope_room * sizeof(int32_t));
    if (!f->order || !f->position || !f->scope_start || !f->child || !f->sibling || !f->stamp || !f->scope)
        return QP_NO_MEMORY;
    memset(f->position, 0xff, (size_t)n * sizeof(int32_t));
    return QP_DONE;
}

/* Puts q among the scope of bucket p, kept ascending. Tells whether there was room. */
static inline int qp_scope_add(qp_forest *f, int32_t p, int32_t q)
{
    if (q <= p || f->stamp[q] == p)
        return 1;
    f->stamp[q] = p;
    int64_t from = f->scope_start[p], at = f->scope_start[p + 1]++;
    if (at - from >= QP_MAX_WIDTH)
        return 0;
    for (; at > from && f->scope[at - 1] > q; at--)
        f->scope[at] = f->scope[at - 1];
    f->scope[at] = q;
    return 1;
}

/* Finds the scopes of an order. IN f: order, count; position is set here. Gives 1 when done, 0 when the width or `most` entries
 * are exceeded, or QP_NO_MEMORY. */
static inline int qp_forest_grow(qp_forest *f, const qp_rows *rows, int64_t most)
{
    for (int64_t p = 0; p < f->count; p++) {
        f->position[f->order[p]] = (int32_t)p;
        f->child[p] = f->sibling[p] = f->stamp[p] = -1;
    }
    f->width = 0;
    f->entries = 0;
    f->scope_start[0] = 0;
    for (int32_t p = 0; p < f->count; p++) {
        int32_t i = f->order[p];
        f->scope_start[p + 1] = f->scope_start[p];
        if (f->scope_start[p] + QP_MAX_WIDTH + 1 > f->scope_room) {
            int64_t room = 2 * f->scope_room;
            int32_t *scope = (int32_t *)realloc(f->scope, (size_t)room * sizeof(int32_t));
            if (!scope)
                return QP_NO_MEMORY;
            f->scope = scope;
            f->scope_room = room;
        }
        int fits = 1;
        for (int64_t k = rows->start[i]; k < rows->start[i + 1] && fits; k++)
            fits = qp_scope_add(f, p, f->position[rows->site[k]]);
        for (int32_t c = f->child[p]; c >= 0 && fits; c = f->sibling[c])
            for (int64_t k = f->scope_start[c] + 1; k < f->scope_start[c + 1] && fits; k++)
                fits = qp_scope_add(f, p, f->scope[k]);
        if (!fits)
            return 0;
        int width = (int)(f->scope_start[p + 1] - f->scope_start[p]);
        f->width = width > f->width ? width : f->width;
        f->entries += (int64_t)1 << width;
        if (f->entries > most)
            return 0;
        if (width == 0)
            continue;
        int32_t parent = f->scope[f->scope_start[p]];
        f->sibling[p] = f->child[parent];
        f->child[parent] = p;
    }
    return 1;
}

/* Numbers the connected components from 0; OUT label, member: variables by component, first: [components + 1] */
static inline int64_t qp_components(const qp_rows *rows, int32_t *label, int32_t *member, int64_t *first)
{
    int64_t count = 0, tail = 0;
    memset(label, 0xff, (size_t)rows->n * sizeof(int32_t));
    for (int64_t seed = 0; seed < rows->n; seed++) {
        if (label[seed] >= 0)
            continue;
        first[count] = tail;
        label[seed] = (int32_t)count;
        member[tail++] = (int32_t)seed;
        for (int64_t head = first[count]; head < tail; head++)
            for (int64_t k = rows->start[member[head]]; k < rows->start[member[head] + 1]; k++)
                if (label[rows->site[k]] < 0) {
                    label[rows->site[k]] = (int32_t)count;
                    member[tail++] = rows->site[k];
                }
        count++;
    }
    first[count] = tail;
    return count;
}

/* A variable by its degree, for lists of equal degree */
typedef struct {
    int32_t *next, *prev, head[QP_MAX_WIDTH + 1];
} qp_degrees;

static inline void qp_degree_put(qp_degrees *d, int32_t i, int32_t degree)
{
    if (degree > QP_MAX_WIDTH)
        return;
    d->prev[i] = -1;
    d->next[i] = d->head[degree];
    if (d->head[degree] >= 0)
        d->prev[d->head[degree]] = i;
    d->head[degree] = i;
}

static inline void qp_degree_take(qp_degrees *d, int32_t i, int32_t degree)
{
    if (degree > QP_MAX_WIDTH)
        return;
    if (d->prev[i] >= 0)
        d->next[d->prev[i]] = d->next[i];
    else
        d->head[degree] = d->next[i];
    if (d->next[i] >= 0)
        d->prev[d->next[i]] = d->prev[i];
}

#define QP_SCANNED 64 /* neighbours: longer lists are searched for one name instead of marked */

/* Joins all neighbours of i with each other and takes i out. */
static inline int qp_eliminate(qp_graph *g, qp_degrees *d, int32_t i, int32_t *mark)
{
    int32_t around[QP_MAX_WIDTH];
    int count = 0;
    while (g->head[i] >= 0) {
        int32_t k = g->to[g->head[i]], at = count++;
        qp_degree_take(d, k, g->degree[k]);
        qp_disconnect(g, g->head[i], i);
        for (; at > 0 && g->degree[around[at - 1]] > g->degree[k]; at--)
            around[at] = around[at - 1];
        around[at] = k;
    }
    for (int a = 0; a < count; a++) {
        int32_t from = around[a];
        int marked = g->degree[from] <= QP_SCANNED;
        for (int32_t e = g->head[from]; marked && e >= 0; e = g->next[e])
            mark[g->to[e]] = from;
        for (int b = a + 1; b < count; b++) {
            if (marked ? mark[around[b]] == from : qp_find(g, from, around[b]) >= 0)
                continue;
            if (qp_connect(g, from, around[b], 0) < 0)
                return QP_NO_MEMORY;
        }
        for (int32_t e = g->head[from]; marked && e >= 0; e = g->next[e])
            mark[g->to[e]] = -1;
    }
    for (int a = 0; a < count; a++)
        qp_degree_put(d, around[a], g->degree[around[a]]);
    return QP_DONE;
}
#endif

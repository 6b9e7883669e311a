/* Which components are solved by elimination, and in which order. */
#ifndef QFAST_QP_PLAN_H
#define QFAST_QP_PLAN_H
#include "qp_order.h"

typedef struct {
    int64_t components;
    int32_t *label, *member; /* [n] */
    int64_t *first;          /* [components + 1] */
    int64_t *cost;           /* [components] entries of its tables; INT64_MAX: too many */
    int32_t *band;           /* [n] by component as `member`: its Cuthill-McKee order, where that is cheaper */
    uint8_t *banded;         /* [components] */
    int32_t *greedy;         /* [n] least degree first, all components together */
    int64_t eliminated;      /* of greedy */
} qp_plan;

static inline void qp_plan_close(qp_plan *plan)
{
    free(plan->label);
    free(plan->member);
    free(plan->first);
    free(plan->cost);
    free(plan->band);
    free(plan->banded);
    free(plan->greedy);
}

static inline int qp_plan_open(qp_plan *plan, int64_t n)
{
    memset(plan, 0, sizeof *plan);
    plan->label = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    plan->member = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    plan->first = (int64_t *)malloc(((size_t)n + 1) * sizeof(int64_t));
    plan->cost = (int64_t *)calloc((size_t)n, sizeof(int64_t));
    plan->band = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    plan->banded = (uint8_t *)calloc((size_t)n, 1);
    plan->greedy = (int32_t *)malloc((size_t)n * sizeof(int32_t));
    return plan->label && plan->member && plan->first && plan->cost && plan->band && plan->banded && plan->greedy
               ? QP_DONE : QP_NO_MEMORY;
}

/* Least degree first, until all that is left has more than QP_MAX_WIDTH neighbours or costs too much. IN scratch: [3 n] */
static inline int qp_plan_greedy(qp_plan *plan, qp_graph *g, int64_t most, int32_t *scratch, const unsigned char *cancel)
{
    qp_degrees degrees = {scratch, scratch + g->n, {0}};
    int32_t *mark = scratch + 2 * g->n;
    memset(degrees.head, 0xff, sizeof degrees.head);
    memset(mark, 0xff, (size_t)g->n * sizeof(int32_t));
    for (int64_t i = g->n - 1; i >= 0; i--)
        qp_degree_put(&degrees, (int32_t)i, g->degree[i]);
    for (int degree = 0; degree <= QP_MAX_WIDTH;) {
        int32_t i = degrees.head[degree];
        if (i < 0) {
            degree++;
            continue;
        }
        if (plan->eliminated % 256 == 0 && qp_cancelled(cancel))
            return QP_CANCELLED;
        qp_degree_take(&degrees, i, degree);
        int64_t *cost = &plan->cost[plan->label[i]];
        *cost += (int64_t)1 << degree;
        plan->greedy[plan->eliminated++] = i;
        if (*cost > most) /* its other variables need no look any more */
            continue;
        if (qp_eliminate(g, &degrees, i, mark) < 0)
            return QP_NO_MEMORY;
        degree = degree > 1 ? degree - 1 : 0;
    }
    return QP_DONE;
}

static int qp_compare_keys(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Breadth first from `root`, neighbours by their degree; gives the last one. IN key: [n] scratch; seen: stamps below `stamp` */
static inline int32_t qp_breadth_first(const qp_rows *rows, int32_t root, int32_t *out, int64_t *key, int32_t *seen, int32_t stamp)
{
    int64_t tail = 0;
    out[tail++] = root;
    seen[root] = stamp;
    for (int64_t head = 0; head < tail; head++) {
        int64_t found = 0;
        for (int64_t k = rows->start[out[head]]; k < rows->start[out[head] + 1]; k++) {
            int32_t j = rows->site[k];
            if (seen[j] == stamp)
                continue;
            seen[j] = stamp;
            key[found++] = ((rows->start[j + 1] - rows->start[j]) << 32) | j;
        }
        qsort(key, (size_t)found, sizeof *key, qp_compare_keys);
        for (int64_t k = 0; k < found; k++)
            out[tail++] = (int32_t)key[k];
    }
    return out[tail - 1];
}

/* Tries the band order of each component for which the greedy one is dear. */
static inline int qp_plan_bands(qp_plan *plan, const qp_rows *rows, int64_t most, const unsigned char *cancel)
{
    qp_forest forest;
    int64_t *key = (int64_t *)malloc((size_t)rows->n * sizeof(int64_t));
    int32_t *seen = (int32_t *)calloc((size_t)rows->n, sizeof(int32_t));
    int end = qp_forest_open(&forest, rows->n);
    end = key && seen ? end : QP_NO_MEMORY;
    for (int64_t c = 0; c < plan->components && end == QP_DONE; c++) {
        int64_t from = plan->first[c], count = plan->first[c + 1] - from;
        if (plan->cost[c] <= QP_CHEAP * count)
            continue;
        int32_t *band = plan->band + from, root = plan->member[from];
        for (int32_t stamp = 1; stamp <= 3; stamp++)
            root = qp_breadth_first(rows, root, band, key, seen, stamp);
        forest.count = count;
        for (int64_t k = 0; k < count; k++)
            forest.order[k] = band[count - 1 - k];
        int64_t bound = plan->cost[c] < most ? plan->cost[c] : most;
        int grown = qp_forest_grow(&forest, rows, bound);
        for (int64_t k = 0; k < count; k++)
            forest.position[band[k]] = -1;
        if (grown == 1 && forest.entries < plan->cost[c]) {
            plan->banded[c] = 1;
            plan->cost[c] = forest.entries;
            memcpy(band, forest.order, (size_t)count * sizeof(int32_t));
        }
        end = grown < 0 ? grown : qp_cancelled(cancel) ? QP_CANCELLED : QP_DONE;
    }
    qp_forest_close(&forest);
    free(key);
    free(seen);
    return end;
}

static int qp_compare_pairs(const void *a, const void *b)
{
    int first = qp_compare_keys(a, b);
    return first ? first : qp_compare_keys((const int64_t *)a + 1, (const int64_t *)b + 1);
}

/* Takes components, cheapest first, while their tables have at most `most` entries. OUT forest: order and count */
static inline int qp_plan_take(qp_plan *plan, qp_forest *forest, int64_t most)
{
    int64_t *key = (int64_t *)malloc(2 * ((size_t)plan->components + 1) * sizeof(int64_t)), sum = 0;
    uint8_t *taken = (uint8_t *)calloc((size_t)plan->components + 1, 1);
    if (!key || !taken) {
        free(key);
        free(taken);
        return QP_NO_MEMORY;
    }
    for (int64_t c = 0; c < plan->components; c++) {
        key[2 * c] = plan->cost[c];
        key[2 * c + 1] = c;
    }
    qsort(key, (size_t)plan->components, 2 * sizeof *key, qp_compare_pairs);
    for (int64_t k = 0; k < plan->components && key[2 * k] <= most - sum; k++) {
        sum += key[2 * k];
        taken[key[2 * k + 1]] = 1;
    }
    forest->count = 0;
    for (int64_t k = 0; k < plan->eliminated; k++) {
        int32_t c = plan->label[plan->greedy[k]];
        if (taken[c] && !plan->banded[c])
            forest->order[forest->count++] = plan->greedy[k];
    }
    for (int64_t c = 0; c < plan->components; c++)
        for (int64_t k = plan->first[c]; k < plan->first[c + 1] && taken[c] && plan->banded[c]; k++)
            forest->order[forest->count++] = plan->band[k];
    free(key);
    free(taken);
    return QP_DONE;
}

/* OUT forest, to be closed in any case: the elimination of all components that are worth it */
static inline int qp_plan_forest(const qp_form *form, const qp_rows *rows, int64_t most, qp_forest *forest)
{
    qp_plan plan;
    qp_graph graph;
    int32_t *scratch = (int32_t *)malloc(3 * (size_t)form->n * sizeof(int32_t));
    int end = qp_forest_open(forest, form->n);
    end = qp_plan_open(&plan, form->n) < 0 ? QP_NO_MEMORY : end;
    end = qp_graph_open(&graph, form) < 0 || !scratch ? QP_NO_MEMORY : end;
    if (end == QP_DONE) {
        plan.components = qp_components(rows, plan.label, plan.member, plan.first);
        end = qp_plan_greedy(&plan, &graph, most, scratch, form->cancel);
    }
    if (end == QP_DONE) {
        for (int64_t i = 0; i < form->n; i++) /* what greedy left over */
            plan.cost[plan.label[i]] = graph.degree[i] > 0 ? INT64_MAX : plan.cost[plan.label[i]];
        end = qp_plan_bands(&plan, rows, most, form->cancel);
    }
    qp_graph_close(&graph);
    free(scratch);
    if (end == QP_DONE)
        end = qp_plan_take(&plan, forest, most);
    if (end == QP_DONE && qp_forest_grow(forest, rows, INT64_MAX) != 1)
        end = QP_NO_MEMORY; /* each width has been met before */
    qp_plan_close(&plan);
    return end;
}
#endif

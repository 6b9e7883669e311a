/* The steps of a program and who waits for whom: what routing sees. */
#ifndef QFAST_TP_ORDER_H
#define QFAST_TP_ORDER_H
#include "tp_steps.h"

/* An operation: a step that others wait for. Turns go along with the next operation on their qubit, decisions don't see them;
 * but where rotations may change their order, a turn that does not commute with them is an operation as well. */
typedef struct {
    int64_t step;
    int32_t a, b;       /* b < 0: not a pair that must be near */
    uint8_t swaps;      /* an exchange of the program */
    uint8_t turns;      /* a turn of one qubit */
    int32_t along;      /* the last turn before it on one of its qubits, a list by tp_order.earlier; -1 */
    int32_t needs;      /* operations of its segment that must be done before */
    int32_t needed_by;  /* and those that wait for it, for the way back */
    int32_t behind, before; /* first entries in the lists of those that wait for it, and that it waits for */
} tp_op;

/* Between two borders (classical instructions, targets of jumps) operations may change their order. */
typedef struct {
    int32_t first, last; /* operations [first, last) */
    int64_t border;      /* the step that ends it, or -1 */
    int32_t left;        /* turns behind the last operation of their qubit, a list by tp_order.earlier; -1 */
} tp_segment;

typedef struct {
    int32_t to, next;
} tp_edge;

typedef struct {
    tp_op *ops;
    int64_t num_ops, op_room;
    tp_segment *segments;
    int64_t num_segments, segment_room;
    tp_edge *behind, *before;
    int64_t num_behind, behind_room, num_before, before_room;
    int32_t *earlier; /* per step: the turn before it in its list */
    int64_t num_pairs;
    int loose; /* rotations may pass each other */
} tp_order;

static inline void tp_order_free(tp_order *o) {
    free(o->ops);
    free(o->segments);
    free(o->behind);
    free(o->before);
    free(o->earlier);
    memset(o, 0, sizeof(*o));
}

static inline int tp_order_edge(tp_order *o, int32_t from, int32_t to) {
    if (!tp_room((void **)&o->behind, &o->behind_room, o->num_behind + 1, sizeof(tp_edge)) ||
        !tp_room((void **)&o->before, &o->before_room, o->num_before + 1, sizeof(tp_edge)))
        return 0;
    o->behind[o->num_behind] = (tp_edge){to, o->ops[from].behind};
    o->ops[from].behind = (int32_t)o->num_behind++;
    o->before[o->num_before] = (tp_edge){from, o->ops[to].before};
    o->ops[to].before = (int32_t)o->num_before++;
    o->ops[from].needed_by++;
    o->ops[to].needs++;
    return 1;
}

/* While the order is made. A wire is a qubit or a classical bit. */
typedef struct {
    int32_t *last;    /* per wire: the last operation that nothing passes, of any segment; -1 */
    int32_t *group;   /* per qubit: the last of the rotations since then, a list by `together`; -1 */
    int32_t *waiting; /* per qubit: the last turn with no operation behind it; -1 */
    int32_t *touched, num_touched;
    int32_t *together; /* two numbers per operation */
    int64_t together_room;
} tp_ordering;

/* An operation that passes nothing on its wire. */
static inline int tp_order_wire(tp_order *o, tp_ordering *g, int64_t wire, int32_t num_qubits, int32_t op, int32_t first) {
    const int32_t last = g->last[wire];
    int fits = 1, alone = 1;
    g->last[wire] = op;
    if (last == op) return 1;
    if (wire < num_qubits) {
        for (int32_t at = g->group[wire]; fits && at >= 2 * first && at >= 0; at = g->together[at]) {
            fits = tp_order_edge(o, at / 2, op);
            alone = 0;
        }
        g->group[wire] = -1;
    }
    return fits && (!alone || last < first || tp_order_edge(o, last, op));
}

/* A rotation: on each wire it passes those that stand there since the last operation of another kind. */
static inline int tp_order_together(tp_order *o, tp_ordering *g, const int32_t pair[2], int32_t op, int32_t first) {
    if (!tp_room((void **)&g->together, &g->together_room, 2 * (int64_t)op + 2, sizeof(int32_t))) return 0;
    for (int side = 0; side < 2; side++) {
        const int32_t q = pair[side];
        if (g->last[q] >= first && !tp_order_edge(o, g->last[q], op)) return 0;
        g->together[2 * op + side] = g->group[q] >= 2 * first ? g->group[q] : -1;
        g->group[q] = 2 * op + side;
    }
    return 1;
}

/* The turns that wait on a qubit go along with an operation (or with the end of the segment). */
static inline void tp_order_take(tp_order *o, tp_ordering *g, int32_t q, int32_t *list) {
    const int32_t newest = g->waiting[q];
    if (newest < 0) return;
    int32_t oldest = newest;
    while (o->earlier[oldest] >= 0) oldest = o->earlier[oldest];
    o->earlier[oldest] = *list;
    *list = newest;
    g->waiting[q] = -1;
}

static inline int tp_order_end(tp_order *o, tp_ordering *g, int32_t first, int64_t border) {
    if (!tp_room((void **)&o->segments, &o->segment_room, o->num_segments + 1, sizeof(tp_segment))) return 0;
    tp_segment *segment = &o->segments[o->num_segments++];
    *segment = (tp_segment){first, (int32_t)o->num_ops, border, -1};
    for (int32_t k = 0; k < g->num_touched; k++) tp_order_take(o, g, g->touched[k], &segment->left);
    g->num_touched = 0;
    return 1;
}

/* `loose`: rotations exp(-i phi/2 Z Z) may pass each other and turns about Z. */
static inline int tp_order_init(tp_order *o, const tp_steps *in, int32_t num_qubits, int64_t num_clbits, int loose, tp_watch *watch) {
    memset(o, 0, sizeof(*o));
    o->loose = loose;
    const int64_t wires = num_qubits + num_clbits;
    tp_ordering g = {malloc((size_t)wires * sizeof(int32_t) + 1), malloc((size_t)num_qubits * sizeof(int32_t) + 1),
                     malloc((size_t)num_qubits * sizeof(int32_t) + 1), malloc((size_t)in->size * sizeof(int32_t) + 1), 0, NULL, 0};
    o->earlier = malloc((size_t)in->size * sizeof(int32_t) + 1);
    int status = g.last && g.group && g.waiting && g.touched && o->earlier ? TP_OK : TP_NO_MEMORY;
    int32_t first = 0;
    for (int64_t k = 0; status == TP_OK && k < wires; k++) g.last[k] = -1;
    for (int32_t k = 0; status == TP_OK && k < num_qubits; k++) g.waiting[k] = g.group[k] = -1;
    for (int64_t k = 0; status == TP_OK && k < in->size; k++) {
        const tp_step *step = &in->items[k];
        int fits = 1;
        if (tp_stop(watch)) {
            status = watch->status;
            break;
        }
        if (step->kind == TP_ONE && (!loose || tp_is_diagonal(step->m))) {
            o->earlier[k] = g.waiting[step->a];
            g.waiting[step->a] = (int32_t)k;
            if (o->earlier[k] < 0) g.touched[g.num_touched++] = step->a;
            continue;
        }
        if (tp_is_border(step)) {
            fits = tp_order_end(o, &g, first, k);
            first = (int32_t)o->num_ops;
        } else if (!tp_room((void **)&o->ops, &o->op_room, o->num_ops + 1, sizeof(tp_op))) {
            fits = 0;
        } else {
            const int32_t here = (int32_t)o->num_ops++;
            const int pair = step->kind == TP_ZZ || step->kind == TP_SWAP || (step->kind == TP_GATE && step->count == 2);
            o->ops[here] = (tp_op){k, step->a, pair ? step->b : -1, step->kind == TP_SWAP, step->kind == TP_ONE, -1, 0, 0, -1, -1};
            o->num_pairs += pair;
            const int32_t two[2] = {step->a, step->b};
            const int32_t *qubits = step->count ? in->operands + step->at : two;
            const int32_t count = step->count ? step->count : pair ? 2 : 1;
            for (int32_t j = 0; fits && j < count; j++) {
                tp_order_take(o, &g, qubits[j], &o->ops[here].along);
                if (!loose || step->kind != TP_ZZ) fits = tp_order_wire(o, &g, qubits[j], num_qubits, here, first);
            }
            if (fits && loose && step->kind == TP_ZZ) fits = tp_order_together(o, &g, two, here, first);
            if (fits && step->kind == TP_MEASURE) fits = tp_order_wire(o, &g, num_qubits + step->b, num_qubits, here, first);
        }
        if (!fits) status = TP_NO_MEMORY;
    }
    if (status == TP_OK && !tp_order_end(o, &g, first, -1)) status = TP_NO_MEMORY;
    free(g.last);
    free(g.group);
    free(g.together);
    free(g.waiting);
    free(g.touched);
    return status;
}

#endif

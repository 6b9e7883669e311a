/* Merging and cancelling in one normal form: turns of one qubit and rotations exp(-i phi/2 Z Z) between two.
 *
 * Every two-qubit gate that turns about one axis (cx, cz, cp, crz, rzz, rxx, any controlled one-qubit gate) is one such rotation
 * with turns around it. In this form the rules of commutation are few: rotations commute with each other and with diagonal
 * turns, and change their sign at antidiagonal ones. So cx cx, cx(a,b) cx(a,c) cx(a,b), cp cp and many more merge by one
 * rule: look back along both wires for a rotation of the same pair.
 */
#ifndef QFAST_TP_MERGE_H
#define QFAST_TP_MERGE_H
#include "tp_steps.h"

/* A step in the order of time. Only rotations are linked along their wires; all else is a fence that ends the links. */
typedef struct {
    tp_step step;
    tp_turn before[2]; /* of a rotation: what acts on each of its qubits since the node before it */
    int32_t previous[2], next[2];
    uint8_t alive;
} tp_node;

typedef struct {
    tp_trees *trees;
    int32_t num_qubits;
    int reach;     /* rotations that a look back passes on each wire; 0 merges turns only */
    int keep_swap; /* the target has swap, or it comes later */
    tp_node *nodes;
    int64_t size, room;
    tp_turn *after; /* per wire: what acts after its last node */
    int32_t *last;  /* per wire: its last rotation, or -1 behind a fence */
    int32_t *touched, num_touched; /* wires with anything since the last fence over all of them */
    uint8_t *is_touched;
    const int32_t *operands;
    int failed;
} tp_merge;

static inline int tp_merge_init(tp_merge *m, tp_trees *trees, int32_t num_qubits) {
    memset(m, 0, sizeof(*m));
    m->trees = trees;
    m->num_qubits = num_qubits;
    m->after = malloc((size_t)num_qubits * sizeof(tp_turn) + 1);
    m->last = malloc((size_t)num_qubits * sizeof(int32_t) + 1);
    m->touched = malloc((size_t)num_qubits * sizeof(int32_t) + 1);
    m->is_touched = calloc((size_t)num_qubits + 1, 1);
    if (!m->after || !m->last || !m->touched || !m->is_touched) return 0;
    for (int32_t q = 0; q < num_qubits; q++) {
        m->after[q] = TP_ID;
        m->last[q] = -1;
    }
    return 1;
}

static inline void tp_merge_free(tp_merge *m) {
    free(m->nodes);
    free(m->after);
    free(m->last);
    free(m->touched);
    free(m->is_touched);
    memset(m, 0, sizeof(*m));
}

static inline void tp_merge_touch(tp_merge *m, int32_t q) {
    if (m->is_touched[q]) return;
    m->is_touched[q] = 1;
    m->touched[m->num_touched++] = q;
}

static inline void tp_merge_one(tp_merge *m, int32_t q, tp_turn turn) {
    tp_merge_touch(m, q);
    m->after[q] = tp_is_identity(m->after[q]) ? turn : tp_product(m->trees, turn, m->after[q]);
}

static inline tp_node *tp_merge_node(tp_merge *m) {
    if (!tp_room((void **)&m->nodes, &m->room, m->size + 1, sizeof(tp_node))) {
        m->failed = TP_NO_MEMORY;
        return NULL;
    }
    tp_node *node = &m->nodes[m->size++];
    node->alive = 1;
    return node;
}

/* What waits on a wire becomes a node of its own, before a fence. */
static inline void tp_merge_settle(tp_merge *m, int32_t q) {
    m->last[q] = -1;
    if (tp_is_identity(m->after[q])) return;
    tp_node *node = tp_merge_node(m);
    if (!node) return;
    memset(&node->step, 0, sizeof(node->step));
    node->step.kind = TP_ONE;
    node->step.a = q;
    node->step.m = m->after[q];
    m->after[q] = TP_ID;
}

typedef struct {
    int32_t node;
    int sign;
} tp_met;

#define TP_MOST_MET 256

/* The rotations of q with `other` that can be reached along q's wire, nearest first, with their signs; gives their number. */
static inline int tp_merge_met(const tp_merge *m, int32_t q, int32_t other, tp_met *met) {
    int count = 0, sign = 1, passed = 0;
    tp_turn turn = m->after[q];
    for (int32_t at = m->last[q]; at >= 0 && passed < m->reach && count < TP_MOST_MET; passed++) {
        if (!tp_is_diagonal(turn)) {
            if (!tp_is_antidiagonal(turn)) break;
            sign = -sign;
        }
        const tp_node *node = &m->nodes[at];
        const int side = node->step.a != q;
        if (node->step.a == other || node->step.b == other) met[count++] = (tp_met){at, sign};
        turn = node->before[side];
        at = node->previous[side];
    }
    return count;
}

/* Multiply a turn onto what acts on one side right behind a node. */
static inline void tp_merge_behind(tp_merge *m, int32_t q, int32_t next, tp_turn turn) {
    tp_turn *place = &m->after[q];
    if (next >= 0) place = &m->nodes[next].before[m->nodes[next].step.a != q];
    *place = tp_is_identity(*place) ? turn : tp_product(m->trees, *place, turn);
}

/* Bring a changed rotation back into (-pi/2, pi/2] and take it out when nothing is left of it. */
static inline void tp_merge_tidy(tp_merge *m, int32_t at) {
    tp_node *node = &m->nodes[at];
    const int flips = fabs(node->step.phi) > TP_PI / 2 + TP_EPS; /* a rotation by pi is Z on both */
    if (flips) node->step.phi = tp_wrapped(node->step.phi - TP_PI);
    const int gone = fabs(node->step.phi) < TP_EPS;
    if (!flips && !gone) return;
    for (int side = 0; side < 2; side++) {
        const int32_t q = side ? node->step.b : node->step.a, next = node->next[side], previous = node->previous[side];
        if (flips) tp_merge_behind(m, q, next, TP_Z);
        if (!gone) continue;
        if (!tp_is_identity(node->before[side])) tp_merge_behind(m, q, next, node->before[side]);
        if (next >= 0) m->nodes[next].previous[m->nodes[next].step.a != q] = previous;
        else m->last[q] = previous;
        if (previous >= 0) m->nodes[previous].next[m->nodes[previous].step.a != q] = next;
    }
    node->alive = !gone;
}

/* The nearest rotation of the pair that a new one can be moved to, or -1, and the sign that it has there. */
static inline int32_t tp_merge_partner(const tp_merge *m, int32_t a, int32_t b, int *sign) {
    tp_met on_a[TP_MOST_MET], on_b[TP_MOST_MET];
    const int many = m->reach ? tp_merge_met(m, a, b, on_a) : 0, more = many ? tp_merge_met(m, b, a, on_b) : 0;
    for (int j = 0; j < more; j++)
        for (int i = 0; i < many; i++)
            if (on_a[i].node == on_b[j].node) {
                *sign = on_a[i].sign * on_b[j].sign;
                return on_a[i].node;
            }
    return -1;
}

/* Add to an earlier rotation of the pair where one is in reach. */
static inline void tp_merge_zz(tp_merge *m, int32_t a, int32_t b, double phi, int form) {
    int sign;
    phi = tp_wrapped(phi);
    if (fabs(phi) < TP_EPS) return;
    if (TP_PI - fabs(phi) < TP_EPS) {
        tp_merge_one(m, a, TP_Z);
        tp_merge_one(m, b, TP_Z);
        return;
    }
    const int32_t partner = tp_merge_partner(m, a, b, &sign);
    if (partner >= 0) {
        tp_step *step = &m->nodes[partner].step;
        step->phi = tp_wrapped(step->phi + sign * phi);
        tp_merge_tidy(m, partner);
        return;
    }
    tp_node *node = tp_merge_node(m);
    if (!node) return;
    const int32_t here = (int32_t)(m->size - 1);
    memset(&node->step, 0, sizeof(node->step));
    node->step.kind = TP_ZZ;
    node->step.form = (uint8_t)form;
    node->step.a = a;
    node->step.b = b;
    node->step.phi = phi;
    for (int side = 0; side < 2; side++) {
        const int32_t q = side ? b : a;
        tp_merge_touch(m, q);
        node->before[side] = m->after[q];
        m->after[q] = TP_ID;
        node->previous[side] = m->last[q];
        node->next[side] = -1;
        if (m->last[q] >= 0) m->nodes[m->last[q]].next[m->nodes[m->last[q]].step.a != q] = here;
        m->last[q] = here;
    }
}

static inline void tp_merge_cx(tp_merge *m, int32_t c, int32_t t) {
    tp_merge_one(m, t, TP_H);
    tp_merge_zz(m, c, t, -TP_PI / 2, TP_FORM_CX);
    tp_merge_one(m, c, TP_S);
    tp_merge_one(m, t, TP_S);
    tp_merge_one(m, t, TP_H);
}

/* Take out the rotation of a pair that can be moved to the end of both wires; gives the angle that it has there, or 0. */
static inline double tp_merge_take(tp_merge *m, int32_t a, int32_t b) {
    int sign;
    const int32_t at = tp_merge_partner(m, a, b, &sign);
    if (at < 0) return 0;
    const double phi = sign * m->nodes[at].step.phi;
    m->nodes[at].step.phi = 0;
    tp_merge_tidy(m, at);
    return phi;
}

/* Three cx, or two where a rotation of the pair stands right before, or can be moved there (it commutes with the exchange). */
static inline void tp_merge_swap(tp_merge *m, int32_t a, int32_t b) {
    static const tp_turn *const there[2] = {&TP_H, &TP_SX}, *const back[2] = {&TP_H, &TP_SXDG};
    if (m->reach && (m->last[a] < 0 || m->last[a] != m->last[b])) {
        const double phi = tp_merge_take(m, a, b);
        if (phi != 0) tp_merge_zz(m, a, b, phi, TP_FORM_CX);
    }
    if (!m->reach || m->last[a] < 0 || m->last[a] != m->last[b]) {
        tp_merge_cx(m, a, b);
        tp_merge_cx(m, b, a);
        tp_merge_cx(m, a, b);
        return;
    }
    /* swap = rxx(pi/2) ryy(pi/2) rzz(pi/2), and it carries what stood on one qubit to the other */
    const tp_turn on_a = m->after[a], on_b = m->after[b];
    m->after[a] = m->after[b] = TP_ID;
    tp_merge_zz(m, a, b, TP_PI / 2, TP_FORM_ANY);
    for (int k = 0; k < 2; k++) {
        tp_merge_one(m, a, *there[k]);
        tp_merge_one(m, b, *there[k]);
        tp_merge_zz(m, a, b, TP_PI / 2, TP_FORM_CX);
        tp_merge_one(m, a, *back[k]);
        tp_merge_one(m, b, *back[k]);
    }
    if (!tp_is_identity(on_b)) tp_merge_one(m, a, on_b);
    if (!tp_is_identity(on_a)) tp_merge_one(m, b, on_a);
}

static inline void tp_merge_settle_all(tp_merge *m) {
    for (int32_t k = 0; k < m->num_touched; k++) {
        m->is_touched[m->touched[k]] = 0;
        tp_merge_settle(m, m->touched[k]);
    }
    m->num_touched = 0;
}

/* A step that nothing passes. */
static inline void tp_merge_fence(tp_merge *m, const tp_step *step) {
    if (tp_is_border(step)) {
        tp_merge_settle_all(m);
    } else if (step->count) {
        for (int32_t k = 0; k < step->count; k++) tp_merge_settle(m, m->operands[step->at + k]);
    } else {
        tp_merge_settle(m, step->a);
        if (step->kind == TP_SWAP) tp_merge_settle(m, step->b);
    }
    tp_node *node = tp_merge_node(m);
    if (node) node->step = *step;
}

static inline void tp_merge_step(tp_merge *m, const tp_step *step) {
    switch (step->kind) {
    case TP_ONE: tp_merge_one(m, step->a, step->m); return;
    case TP_ZZ: tp_merge_zz(m, step->a, step->b, step->phi, step->form); return;
    case TP_SWAP:
        if (!m->keep_swap) {
            tp_merge_swap(m, step->a, step->b);
            return;
        }
        break;
    case TP_MEASURE: /* a phase before it is of no effect */
        if (m->reach && tp_is_diagonal(m->after[step->a])) m->after[step->a] = TP_ID;
        else if (m->reach && tp_is_antidiagonal(m->after[step->a])) m->after[step->a] = TP_X;
        break;
    case TP_RESET: m->after[step->a] = TP_ID; break;
    default: break;
    }
    tp_merge_fence(m, step);
}

/* Merge all steps of `in` into `out`, which share operands. */
static inline int tp_merge_all(tp_merge *m, const tp_steps *in, tp_steps *out, tp_watch *watch) {
    m->operands = in->operands;
    m->size = 0;
    for (int64_t k = 0; k < in->size; k++) {
        if (tp_stop(watch)) return watch->status;
        tp_merge_step(m, &in->items[k]);
    }
    tp_merge_settle_all(m);
    tp_steps_clear(out);
    for (int64_t k = 0; k < m->size; k++) {
        const tp_node *node = &m->nodes[k];
        if (!node->alive) continue;
        if (node->step.kind == TP_ZZ)
            for (int side = 0; side < 2; side++)
                if (!tp_is_identity(node->before[side])) tp_push_one(out, side ? node->step.b : node->step.a, node->before[side]);
        if (node->step.count) tp_push_wide(out, node->step.kind, node->step.record, in->operands + node->step.at, node->step.count);
        else *tp_push(out, 0, 0, 0) = node->step;
    }
    return m->failed ? m->failed : m->trees->failed ? m->trees->failed : out->failed;
}

#endif

/* From the gates of a circuit to turns of one qubit, rotations exp(-i phi/2 Z Z) and what the target takes as it is.
 *
 * Multi-controlled gates follow Barenco et al., "Elementary gates for quantum computation", Phys. Rev. A 52, 3457 (1995):
 * Lemma 7.2 (with many borrowed qubits), Lemma 7.3 (with one), and the square-root recursion of Lemma 7.5 (with none); the
 * Toffolis inside Lemma 7.2 that meet their inverse are Margolus gates (Maslov, Phys. Rev. A 93, 022311 (2016)). A phase with
 * two or three controls is the sum of turns by the parities of its qubits in the order of a Gray code: 6 and 14 cx.
 */
#ifndef QFAST_TP_LOWER_H
#define QFAST_TP_LOWER_H
#include "tp_steps.h"

#define TP_MOST_QUBITS 40 /* operands of one gate: at most 32 controls and two targets */

typedef struct {
    tp_steps *out;
    tp_trees *trees;
    int32_t num_qubits;
    const uint8_t *keeps; /* [op * TP_CONTROLS + controls]: the target takes the operation as it is */
    int32_t record;       /* the source record that gates kept as they are point to */
} tp_lower;

static void tp_flip(tp_lower *l, const int32_t *controls, int k, int32_t t);
static void tp_phase(tp_lower *l, double angle, const int32_t *controls, int k, int32_t t, int rooted);

static inline int tp_keeps(const tp_lower *l, int op, int nctrl) {
    return nctrl < TP_CONTROLS && op < QF_MEASURE && l->keeps[op * TP_CONTROLS + nctrl];
}

static inline void tp_cx(tp_lower *l, int32_t c, int32_t t) {
    tp_push_one(l->out, t, TP_H);
    tp_push_zz(l->out, c, t, -TP_PI / 2, TP_FORM_CX);
    tp_push_one(l->out, c, TP_S);
    tp_push_one(l->out, t, TP_S);
    tp_push_one(l->out, t, TP_H);
}

/* Turns of the last qubit by +-part for every parity of it with a subset of the others, in the order of a Gray code. */
static inline void tp_gray(tp_lower *l, double part, const int32_t *qubits, int top) {
    uint32_t gathered = 0;
    for (uint32_t step = 0; step < (UINT32_C(1) << top); step++) {
        const uint32_t gray = step ^ (step >> 1), change = gathered ^ gray;
        if (change) tp_cx(l, qubits[__builtin_ctz(change)], qubits[top]);
        gathered = gray;
        tp_push_one(l->out, qubits[top], tp_rz(__builtin_popcount(gray) & 1 ? -part : part));
    }
    if (gathered) tp_cx(l, qubits[__builtin_ctz(gathered)], qubits[top]); /* the code ends one bit from 0 */
}

/* diag(1, .., 1, exp(i angle)) on n qubits: the product of their values is a sum over all parities. */
static inline void tp_parities(tp_lower *l, double angle, const int32_t *qubits, int n) {
    for (int top = n - 1; top >= 0; top--) tp_gray(l, angle / (double)(1 << (n - 1)), qubits, top);
}

/* Six cx and seven T (Nielsen and Chuang, figure 4.9). */
static inline void tp_toffoli(tp_lower *l, int32_t a, int32_t b, int32_t t) {
    const tp_turn quarter = tp_rz(TP_PI / 4), back = tp_rz(-TP_PI / 4);
    tp_push_one(l->out, t, TP_H);
    tp_cx(l, b, t);
    tp_push_one(l->out, t, back);
    tp_cx(l, a, t);
    tp_push_one(l->out, t, quarter);
    tp_cx(l, b, t);
    tp_push_one(l->out, t, back);
    tp_cx(l, a, t);
    tp_push_one(l->out, b, quarter);
    tp_push_one(l->out, t, quarter);
    tp_push_one(l->out, t, TP_H);
    tp_cx(l, a, b);
    tp_push_one(l->out, a, quarter);
    tp_push_one(l->out, b, back);
    tp_cx(l, a, b);
}

/* A Toffoli but for a phase, in three cx: its own inverse takes the phase back. */
static inline void tp_margolus(tp_lower *l, int32_t a, int32_t b, int32_t t) {
    const tp_turn there = tp_ry(TP_PI / 4), back = tp_ry(-TP_PI / 4);
    tp_push_one(l->out, t, there);
    tp_cx(l, b, t);
    tp_push_one(l->out, t, there);
    tp_cx(l, a, t);
    tp_push_one(l->out, t, back);
    tp_cx(l, b, t);
    tp_push_one(l->out, t, back);
}

/* Lemma 7.2: 4 (k - 2) Toffolis on k - 2 borrowed qubits, of which only the two on the target must be exact. */
static inline void tp_flip_borrowing(tp_lower *l, const int32_t *controls, int k, const int32_t *free_qubits, int32_t t) {
    for (int half = 0; half < 2; half++) {
        if (tp_keeps(l, QF_X, 2)) tp_flip(l, (int32_t[]){controls[k - 1], free_qubits[k - 3]}, 2, t);
        else tp_toffoli(l, controls[k - 1], free_qubits[k - 3], t);
        for (int i = k - 2; i > 1; i--) tp_margolus(l, controls[i], free_qubits[i - 2], free_qubits[i - 1]);
        tp_margolus(l, controls[0], controls[1], free_qubits[0]);
        for (int i = 2; i < k - 1; i++) tp_margolus(l, controls[i], free_qubits[i - 2], free_qubits[i - 1]);
    }
}

/* Qubits that a gate does not touch, at most `wanted`; gives their number. */
static inline int tp_free_qubits(const tp_lower *l, const int32_t *controls, int k, int32_t t, int32_t *found, int wanted) {
    int count = 0;
    for (int32_t q = 0; q < l->num_qubits && count < wanted; q++) {
        int taken = q == t;
        for (int j = 0; j < k && !taken; j++) taken = controls[j] == q;
        if (!taken) found[count++] = q;
    }
    return count;
}

/* X with any number of controls. */
static void tp_flip(tp_lower *l, const int32_t *controls, int k, int32_t t) {
    int32_t found[TP_MOST_QUBITS];
    if (k == 0) {
        tp_push_one(l->out, t, TP_X);
    } else if (k == 1) {
        tp_cx(l, controls[0], t);
    } else if (tp_keeps(l, QF_X, k)) {
        int32_t operands[TP_CONTROLS];
        memcpy(operands, controls, (size_t)k * sizeof(int32_t));
        operands[k] = t;
        tp_push_wide(l->out, TP_GATE, -1 - k, operands, k + 1); /* no record of the source: X with k controls */
    } else if (k == 2) {
        tp_toffoli(l, controls[0], controls[1], t);
    } else if (k == 3) {
        tp_push_one(l->out, t, TP_H);
        tp_parities(l, TP_PI, (int32_t[]){controls[0], controls[1], controls[2], t}, 4);
        tp_push_one(l->out, t, TP_H);
    } else {
        const int count = tp_free_qubits(l, controls, k, t, found, k - 2);
        if (count >= k - 2) {
            tp_flip_borrowing(l, controls, k, found, t);
        } else if (count) {
            const int half = (k + 1) / 2;
            int32_t other[TP_MOST_QUBITS];
            memcpy(other, controls + half, (size_t)(k - half) * sizeof(int32_t));
            other[k - half] = found[0];
            for (int twice = 0; twice < 2; twice++) {
                tp_flip(l, controls, half, found[0]);
                tp_flip(l, other, k - half + 1, t);
            }
        } else {
            tp_push_one(l->out, t, TP_H);
            tp_phase(l, TP_PI, controls, k, t, 1);
            tp_push_one(l->out, t, TP_H);
        }
    }
}

/* diag(1, .., 1, exp(i angle)). With `rooted` a Z is never written as a flip, which may come from there. */
static void tp_phase(tp_lower *l, double angle, const int32_t *controls, int k, int32_t t, int rooted) {
    angle = tp_wrapped(angle);
    if (fabs(angle) < TP_EPS) return;
    const int is_z = TP_PI - fabs(angle) < TP_EPS;
    if (k == 0) {
        tp_push_one(l->out, t, tp_rz(angle));
    } else if (k == 1) {
        tp_push_zz(l->out, controls[0], t, -angle / 2, is_z ? TP_FORM_CZ : TP_FORM_CP);
        tp_push_one(l->out, controls[0], tp_rz(angle / 2));
        tp_push_one(l->out, t, tp_rz(angle / 2));
    } else if (is_z && !rooted && (k == 2 || k > 3 || tp_keeps(l, QF_X, k))) {
        tp_push_one(l->out, t, TP_H);
        tp_flip(l, controls, k, t);
        tp_push_one(l->out, t, TP_H);
    } else if (k <= 3) {
        int32_t qubits[4];
        memcpy(qubits, controls, (size_t)k * sizeof(int32_t));
        qubits[k] = t;
        tp_parities(l, angle, qubits, k + 1);
    } else {
        const int32_t last = controls[k - 1];
        tp_phase(l, angle / 2, &last, 1, t, 0);
        tp_flip(l, controls, k - 1, last);
        tp_phase(l, -angle / 2, &last, 1, t, 0);
        tp_flip(l, controls, k - 1, last);
        tp_phase(l, angle / 2, controls, k - 1, t, rooted);
    }
}

/* A turn about Z with any number of controls: 2^k cx, or two flips. */
static inline void tp_turn_z(tp_lower *l, double angle, const int32_t *controls, int k, int32_t t) {
    if (k == 0) {
        tp_push_one(l->out, t, tp_rz(angle));
    } else if (k == 1) {
        tp_push_zz(l->out, controls[0], t, -angle / 2, TP_FORM_CRZ);
        tp_push_one(l->out, t, tp_rz(angle / 2));
    } else if (k <= 4) {
        int32_t qubits[5];
        memcpy(qubits, controls, (size_t)k * sizeof(int32_t));
        qubits[k] = t;
        tp_gray(l, angle / (double)(1 << k), qubits, k);
    } else {
        tp_push_one(l->out, t, tp_rz(angle / 2));
        tp_flip(l, controls, k, t);
        tp_push_one(l->out, t, tp_rz(-angle / 2));
        tp_flip(l, controls, k, t);
    }
}

/* Any one-qubit gate exp(i phase) m with controls: a phase on the controls and a turn about the gate's own axis. */
static inline void tp_controlled_turn(tp_lower *l, tp_turn m, double phase, const int32_t *controls, int k, int32_t t) {
    double angle;
    const tp_turn way = tp_axis(m, &angle);
    const int there = !tp_is_identity(way);
    angle = fmod(angle, 4 * TP_PI); /* Rz has the period 4 pi */
    if (angle > 2 * TP_PI) angle -= 4 * TP_PI;
    if (angle <= -2 * TP_PI) angle += 4 * TP_PI;
    if (2 * TP_PI - fabs(angle) < TP_EPS) { /* minus the identity */
        phase += TP_PI;
        angle = 0;
    }
    const int half_turn = fabs(TP_PI - fabs(angle)) < TP_EPS; /* Z but for a phase, the cheapest of all */
    if (half_turn) phase -= angle / 2;
    tp_phase(l, phase, controls, k - 1, controls[k - 1], 0);
    if (fabs(angle) < TP_EPS) return;
    if (there) tp_push_one(l->out, t, tp_inverse(way));
    if (half_turn) tp_phase(l, TP_PI, controls, k, t, 0);
    else tp_turn_z(l, angle, controls, k, t);
    if (there) tp_push_one(l->out, t, way);
}

/* What turns the axes of a rotation of two qubits to Z, and the way back; on the second qubit, or on both. */
static inline void tp_around(tp_lower *l, int op, int32_t a, int32_t b, int back) {
    const tp_turn turn = op == QF_RYY ? (back ? TP_SXDG : TP_SX) : TP_H;
    if (op == QF_RZZ) return;
    if (op != QF_RZX) tp_push_one(l->out, a, turn);
    tp_push_one(l->out, b, turn);
}

/* swap, iswap and the rotations about two axes. */
static inline void tp_two_targets(tp_lower *l, int op, const int32_t *controls, int k, int32_t a, int32_t b, const double *p) {
    int32_t more[TP_MOST_QUBITS];
    if (k) memcpy(more, controls, (size_t)k * sizeof(int32_t));
    more[k] = a;
    if (op == QF_SWAP) {
        if (!k) {
            tp_push(l->out, TP_SWAP, a, b);
            return;
        }
        tp_cx(l, b, a);
        tp_flip(l, more, k + 1, b);
        tp_cx(l, b, a);
    } else if (op == QF_ISWAP && k) {
        tp_phase(l, TP_PI / 2, controls, k, a, 0);
        tp_phase(l, TP_PI / 2, controls, k, b, 0);
        tp_phase(l, TP_PI, more, k + 1, b, 0);
        tp_two_targets(l, QF_SWAP, controls, k, a, b, p);
    } else if (op == QF_ISWAP) {
        const double angle = -TP_PI / 2;
        tp_two_targets(l, QF_RXX, NULL, 0, a, b, &angle);
        tp_two_targets(l, QF_RYY, NULL, 0, a, b, &angle);
    } else {
        tp_around(l, op, a, b, 0);
        if (k) {
            tp_cx(l, a, b);
            tp_turn_z(l, p[0], controls, k, b);
            tp_cx(l, a, b);
        } else {
            tp_push_zz(l->out, a, b, p[0], TP_FORM_RXX + op - QF_RXX);
        }
        tp_around(l, op, a, b, 1);
    }
}

/* One gate of the circuit. */
static inline void tp_lower_gate(tp_lower *l, const qf_instr *g, const int32_t *qubits, const double *p) {
    const int k = g->nctrl, op = g->op;
    const int32_t *targets = qubits + k;
    double phase;
    if (k == 0 && op <= QF_UNITARY) {
        if (op > QF_ID) tp_push_one(l->out, targets[0], tp_gate(op, p, &phase));
        return;
    }
    for (int j = 0; j < k; j++)
        if (!(g->ctrl_state >> j & 1)) tp_push_one(l->out, qubits[j], TP_X);
    if (op == QF_GPHASE) {
        tp_phase(l, p[0], qubits, k - 1, qubits[k - 1], 0);
    } else if (tp_keeps(l, op, k)) {
        tp_push_wide(l->out, TP_GATE, l->record, qubits, g->nq);
    } else if (op >= QF_SWAP) {
        tp_two_targets(l, op, qubits, k, targets[0], targets[1], p);
    } else if (op == QF_X) {
        tp_flip(l, qubits, k, targets[0]);
    } else if (op == QF_RZ) {
        tp_turn_z(l, p[0], qubits, k, targets[0]);
    } else if (op != QF_ID) {
        const tp_turn m = tp_gate(op, p, &phase);
        if (op == QF_P) tp_phase(l, p[0], qubits, k, targets[0], 0);
        else tp_controlled_turn(l, m, phase, qubits, k, targets[0]);
    }
    for (int j = 0; j < k; j++)
        if (!(g->ctrl_state >> j & 1)) tp_push_one(l->out, qubits[j], TP_X);
}

#endif

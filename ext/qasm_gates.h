/* One operation with modifiers: controls, inverses and powers of base gates. */
#ifndef QFAST_QASM_GATES_H
#define QFAST_QASM_GATES_H
#include <complex.h>

#include "qasm_library.h"

typedef struct {
    int32_t nctrl;
    uint32_t ctrl_state;
    int32_t ctrl[QC_MAX_CONTROLS];
} qc_controls;

/* The argument in (-pi, pi], also where rounding would make it -pi. */
static double qc_argument_of(double complex z) {
    double a = carg(z);
    return a < 1e-12 - M_PI ? a + 2 * M_PI : a;
}

/* Raises a 2x2 unitary m (row-major) to a real power: m^p = sum_k lambda_k^p v_k v_k^dagger, principal values. */
static void qc_matrix_power(double complex m[4], double p) {
    double complex half = (m[0] + m[3]) / 2, root = csqrt(half * half - (m[0] * m[3] - m[1] * m[2]));
    double complex l0 = half + root, l1 = half - root;
    double complex f0 = cexp(p * I * qc_argument_of(l0)), f1 = cexp(p * I * qc_argument_of(l1));
    if (cabs(root) < 1e-12) { /* a multiple of the identity */
        m[0] = m[3] = f0;
        m[1] = m[2] = 0;
        return;
    }
    /* f(m) = (f0 (m - l1) - f1 (m - l0)) / (l0 - l1), since m has two eigenvalues */
    double complex scale = (f0 - f1) / (2 * root), shift = (f1 * l0 - f0 * l1) / (2 * root);
    for (int k = 0; k < 4; k++) m[k] *= scale;
    m[0] += shift;
    m[3] += shift;
}

static void qc_gate_matrix(uint8_t op, const double *p, double complex m[4]) {
    double c = 0, s = 0;
    const double complex phase8 = cexp(I * M_PI_4);
    if (op == QF_RX || op == QF_RY || op == QF_U) c = cos(p[0] / 2), s = sin(p[0] / 2);
    m[0] = m[3] = 1;
    m[1] = m[2] = 0;
    switch (op) {
    case QF_X: m[0] = m[3] = 0; m[1] = m[2] = 1; break;
    case QF_Y: m[0] = m[3] = 0; m[1] = -I; m[2] = I; break;
    case QF_Z: m[3] = -1; break;
    case QF_H: m[0] = m[1] = m[2] = M_SQRT1_2; m[3] = -M_SQRT1_2; break;
    case QF_S: m[3] = I; break;
    case QF_SDG: m[3] = -I; break;
    case QF_T: m[3] = phase8; break;
    case QF_TDG: m[3] = conj(phase8); break;
    case QF_SX: m[0] = m[3] = 0.5 + 0.5 * I; m[1] = m[2] = 0.5 - 0.5 * I; break;
    case QF_SXDG: m[0] = m[3] = 0.5 - 0.5 * I; m[1] = m[2] = 0.5 + 0.5 * I; break;
    case QF_RX: m[0] = m[3] = c; m[1] = m[2] = -I * s; break;
    case QF_RY: m[0] = m[3] = c; m[1] = -s; m[2] = s; break;
    case QF_RZ: m[0] = cexp(-I * p[0] / 2); m[3] = cexp(I * p[0] / 2); break;
    case QF_P: m[3] = cexp(I * p[0]); break;
    case QF_U:
        m[0] = c;
        m[1] = -cexp(I * p[2]) * s;
        m[2] = cexp(I * p[1]) * s;
        m[3] = cexp(I * (p[1] + p[2])) * c;
        break;
    case QF_UNITARY: for (int k = 0; k < 4; k++) m[k] = p[2 * k] + I * p[2 * k + 1]; break;
    default: break;
    }
}

static uint8_t qc_inverse_op(uint8_t op) {
    switch (op) {
    case QF_S: return QF_SDG;
    case QF_SDG: return QF_S;
    case QF_T: return QF_TDG;
    case QF_TDG: return QF_T;
    case QF_SX: return QF_SXDG;
    case QF_SXDG: return QF_SX;
    default: return op;
    }
}

/* Emits a base gate: outer controls, then its own operands (own controls first). Parameters may be variables. */
static void qc_emit_base(qc *c, uint8_t op, const qc_controls *outer, int nctrl, uint32_t state, const int32_t *q,
                         int nq,
                         const qc_param *params, int nparams) {
    int no = outer ? outer->nctrl : 0, variable = 0;
    int32_t reordered[QC_MAX_CONTROLS + 2];
    double *p;
    if (no + nctrl > QC_MAX_CONTROLS) qc_fail(c, QC_LIMIT, "more than %d control qubits", QC_MAX_CONTROLS);
    uint32_t all = (outer ? outer->ctrl_state : 0) | (no < 32 ? state << no : 0);
    if (op == QF_GPHASE && no + nctrl > 0 && all != 0) { /* a phase on the controls is a phase gate on one of them */
        int k = 31 - __builtin_clz(all), total = no + nctrl, at = 0;
        for (int j = 0; j < total; j++)
            if (j != k) reordered[at++] = j < no ? outer->ctrl[j] : q[j - no];
        reordered[at] = k < no ? outer->ctrl[k] : q[k - no];
        uint32_t low = all & ((UINT32_C(1) << k) - 1), high = k < 31 ? all >> (k + 1) << k : 0;
        qc_emit_base(c, QF_P, NULL, total - 1, low | high, reordered, total, params, nparams);
        return;
    }
    for (int k = 0; k < nparams; k++) variable |= params[k].slot >= 0;
    if (variable) {
        for (int k = 0; k < nparams; k++) {
            if (params[k].slot < 0) {
                qc_push_float(c, params[k].value);
                continue;
            }
            qc_op(c, QF_LDVAR, params[k].slot);
            if (params[k].value == -1) {
                qc_op(c, QF_FNEG, 0);
            } else if (params[k].value != 1) {
                qc_push_float(c, params[k].value);
                qc_op(c, QF_FMUL, 0);
            }
        }
    }
    int32_t *to = qc_emit_gate(c, op, no + nctrl, all, no + nq, variable ? 0 : nparams, &p);
    for (int k = 0; k < nparams && !variable; k++) p[k] = params[k].value;
    if (variable) {
        c->out->code[c->out->n - 1].flags = QF_POPS_PARAMS;
        c->stack_depth -= nparams;
    }
    for (int k = 0; k < no; k++) to[k] = outer->ctrl[k];
    if (nq) memcpy(to + no, q, (size_t)nq * sizeof *q); /* gphase has no operands */
}

/* A base gate to a power, and inverted when the power is negative. */
static void qc_emit_power(qc *c, uint8_t op, const qc_controls *outer, int nctrl, uint32_t state, const int32_t *q,
                          int nq,
                          const qc_param *params, int nparams, double power) {
    qc_param p[8];
    double value[8];
    double complex m[4];
    if (power == 1) {
        qc_emit_base(c, op, outer, nctrl, state, q, nq, params, nparams);
        return;
    }
    if (op == QF_GPHASE || (op >= QF_RX && op <= QF_P) || (op >= QF_RXX && op <= QF_RZX)) {
        p[0] = qc_scaled(params[0], power);
        qc_emit_base(c, op, outer, nctrl, state, q, nq, p, 1);
        return;
    }
    if (op == QF_U && power == -1) {
        p[0] = qc_scaled(params[0], -1);
        p[1] = qc_scaled(params[2], -1);
        p[2] = qc_scaled(params[1], -1);
        qc_emit_base(c, op, outer, nctrl, state, q, nq, p, 3);
        return;
    }
    if (op == QF_ID) {
        qc_emit_base(c, op, outer, nctrl, state, q, nq, NULL, 0);
        return;
    }
    int is_integer = power == floor(power);
    if (power == -1 && nparams == 0 && op != QF_ISWAP) {
        qc_emit_base(c, qc_inverse_op(op), outer, nctrl, state, q, nq, NULL, 0);
        return;
    }
    int involution = op == QF_X || op == QF_Y || op == QF_Z || op == QF_H || op == QF_SWAP;
    if (is_integer && involution) {
        if (fmod(power, 2) != 0) qc_emit_base(c, op, outer, nctrl, state, q, nq, NULL, 0);
        return;
    }
    double phase = op == QF_Z ? 1 : op == QF_S ? 0.5 : op == QF_SDG ? -0.5 : op == QF_T ? 0.25 : op == QF_TDG ? -0.25
        : 0;
    if (phase != 0) { /* diag(1, exp(i pi phase)); the principal value of -1 is exp(i pi) */
        p[0] = (qc_param){-1, M_PI * phase * power};
        qc_emit_base(c, QF_P, outer, nctrl, state, q, nq, p, 1);
        return;
    }
    if (op == QF_SWAP) { /* swap^p = cx(b,a) . controlled x^p (a controls b) . cx(b,a) */
        int32_t x[2] = {q[nctrl + 1], q[nctrl]}, y[QC_MAX_CONTROLS + 2];
        memcpy(y, q, (size_t)nq * sizeof *q);
        qc_emit_base(c, QF_X, NULL, 1, 1, x, 2, NULL, 0);
        if (nctrl + 1 > QC_MAX_CONTROLS) qc_fail(c, QC_LIMIT, "more than %d control qubits", QC_MAX_CONTROLS);
        qc_emit_power(c, QF_X, outer, nctrl + 1, state | UINT32_C(1) << nctrl, y, nq, NULL, 0, power);
        qc_emit_base(c, QF_X, NULL, 1, 1, x, 2, NULL, 0);
        return;
    }
    for (int k = 0; k < nparams; k++) {
        if (params[k].slot >= 0)
            qc_fail(c, QC_UNSUPPORTED, "a power of a gate whose angles depend on measurements is not supported");
        value[k] = params[k].value;
    }
    qc_gate_matrix(op, value, m);
    qc_matrix_power(m, power);
    for (int k = 0; k < 4; k++) {
        p[2 * k] = (qc_param){-1, creal(m[k])};
        p[2 * k + 1] = (qc_param){-1, cimag(m[k])};
    }
    qc_emit_base(c, QF_UNITARY, outer, nctrl, state, q, nq, p, 8);
}

#endif

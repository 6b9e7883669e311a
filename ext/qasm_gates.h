/* The gate library, gate definitions, and the emission of gates into the compact circuit. */
#ifndef QFAST_QASM_GATES_H
#define QFAST_QASM_GATES_H
#include <complex.h>

#include "qasm_symbols.h"

/* ---- emission */

static qf_instr *qc_grow_code(qc *c, qc_buffer *b, int64_t need) {
    b->code = qc_grow(c, b->code, &b->cap, need, sizeof *b->code, QC_MAX_INSTR);
    return b->code;
}

static inline qf_instr *qc_emit(qc *c, uint8_t op) {
    qc_buffer *b = c->out;
    if (b->n == b->cap) qc_grow_code(c, b, (int64_t)b->n + 1);
    qf_instr *i = &b->code[b->n++];
    memset(i, 0, sizeof *i);
    i->op = op;
    return i;
}

static inline int32_t *qc_emit_qubits(qc *c, int32_t n) {
    qc_buffer *b = c->out;
    if (b->num_qubits + (int64_t)n > b->cap_qubits)
        b->qubits = qc_grow(c, b->qubits, &b->cap_qubits, b->num_qubits + (int64_t)n, sizeof *b->qubits,
                            8 * (int64_t)QC_MAX_INSTR);
    b->num_qubits += n;
    return b->qubits + b->num_qubits - n;
}

static inline double *qc_emit_params(qc *c, int32_t n) {
    qc_buffer *b = c->out;
    if (b->num_params + (int64_t)n > b->cap_params)
        b->params = qc_grow(c, b->params, &b->cap_params, b->num_params + (int64_t)n, sizeof *b->params,
                            8 * (int64_t)QC_MAX_INSTR);
    b->num_params += n;
    return b->params + b->num_params - n;
}

/* A gate whose operands (controls first) and parameters the caller fills in. */
static inline int32_t *qc_emit_gate(qc *c, uint8_t op, int nctrl, uint32_t ctrl_state, int nq, int nparams,
                                    double **params) {
    qf_instr *i = qc_emit(c, op);
    i->nctrl = (uint8_t)nctrl;
    i->ctrl_state = ctrl_state;
    i->nq = nq;
    i->q = c->out->num_qubits;
    i->p = c->out->num_params;
    *params = qc_emit_params(c, nparams);
    return qc_emit_qubits(c, nq);
}

/* ---- the stack machine's instructions */

static void qc_push_depth(qc *c, int by) {
    c->stack_depth += by;
    if (c->stack_depth > QF_STACK_DEPTH - 4) qc_fail(c, QC_LIMIT, "this expression on measured values is too deep");
}

static qf_instr *qc_op(qc *c, uint8_t op, int32_t slot) {
    qf_instr *i = qc_emit(c, op);
    int32_t pops, pushes;
    i->c = slot;
    if (qf_stack_effect(i, &pops, &pushes) == 0) qc_push_depth(c, pushes - pops);
    c->has_classical = 1;
    return i;
}

static void qc_push_bits(qc *c, uint8_t op, int64_t bits) {
    int32_t at = c->out->num_params;
    memcpy(qc_emit_params(c, 1), &bits, sizeof bits);
    qc_op(c, op, 0)->p = at;
}

static void qc_push_int(qc *c, int64_t value) { qc_push_bits(c, QF_PUSHI, value); }

static void qc_push_float(qc *c, double value) { qc_push_bits(c, QF_PUSHF, qf_from_double(value)); }

/* ---- parameters: a number, or scale times a variable of the stack machine */

typedef struct {
    int32_t slot; /* -1: the number `value` */
    double value; /* the number, or the scale */
} qc_param;

static qc_param qc_scaled(qc_param p, double by) {
    p.value *= by;
    return p;
}

/* A parameter of a gate in a definition's body. */
typedef struct {
    uint8_t kind; /* 0 number, 1 formal parameter, 2 code in c->definitions */
    double value;
    int32_t start, end; /* of the code; start: the formal parameter */
} qc_expression;

typedef struct {
    uint8_t is_definition, op, nctrl, inverse, has_power, is_barrier;
    uint32_t ctrl_state;
    int32_t nq, nparams;
    const int32_t *q; /* formal qubits: the nctrl controls first */
    const qc_expression *params;
    double power;
    const struct qc_gate *gate;
} qc_body_op;

typedef struct qc_gate {
    char name[8];
    uint64_t key;
    /* library: bit 0 qelib1.inc, bit 1 stdgates.inc, bit 2 may be redefined in OpenQASM 2 */
    uint8_t op, nctrl, is_definition, library;
    uint8_t special;
    int32_t nq, nparams; /* as the program writes it */
    int32_t num_ops, level;
    const qc_body_op *ops;
    uint64_t size, nodes; /* instructions of one application, and nodes visited; saturating */
} qc_gate;

enum { SPECIAL_NONE, SPECIAL_U2, SPECIAL_NO_PARAM };
enum { LIB_QELIB1 = 1, LIB_STDGATES = 2, LIB_REDEFINABLE = 4 };

#define FORMAL(k) {1, 0, k, 0}
static const qc_expression qc_cu_params[] = {FORMAL(3), FORMAL(0), FORMAL(1), FORMAL(2)};
static const int32_t qc_formals[] = {0, 1, 2, 3, 1, 2, 0, 2, 0, 3, 1, 3, 2, 3};
enum { Q_01 = 0, Q_12 = 4, Q_02 = 6, Q_03 = 8, Q_13 = 10, Q_23 = 12, Q_0 = 0, Q_2 = 2, Q_3 = 3 };

/* A body operation without parameters: op, nctrl, nq, operands. */
#define BODY(o, n, count, at) {0, o, n, 0, 0, 0, n, count, 0, qc_formals + (at), NULL, 0, NULL}
static const qc_body_op qc_cu_body[] = {
    {0, QF_P, 0, 0, 0, 0, 0, 1, 1, qc_formals + Q_0, qc_cu_params, 0, NULL},
    {0, QF_U, 1, 0, 0, 0, 1, 2, 3, qc_formals + Q_01, qc_cu_params + 1, 0, NULL},
};
/* rccx and rc3x of qelib1.inc: u2(0, pi) is h, u1(pi/4) is t. */
static const qc_body_op qc_rccx_body[] = {
    BODY(QF_H, 0, 1, Q_2), BODY(QF_T, 0, 1, Q_2), BODY(QF_X, 1, 2, Q_12), BODY(QF_TDG, 0, 1, Q_2), BODY(QF_X, 1, 2,
                                                                                                        Q_02),
    BODY(QF_T, 0, 1, Q_2), BODY(QF_X, 1, 2, Q_12), BODY(QF_TDG, 0, 1, Q_2), BODY(QF_H, 0, 1, Q_2),
};
static const qc_body_op qc_rc3x_body[] = {
    BODY(QF_H, 0, 1, Q_3), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_23), BODY(QF_TDG, 0, 1, Q_3), BODY(QF_H, 0, 1,
                                                                                                        Q_3),
    BODY(QF_X, 1, 2, Q_03), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_13), BODY(QF_TDG, 0, 1, Q_3),
    BODY(QF_X, 1, 2, Q_03), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_13), BODY(QF_TDG, 0, 1, Q_3),
    BODY(QF_H, 0, 1, Q_3), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_23), BODY(QF_TDG, 0, 1, Q_3), BODY(QF_H, 0, 1,
                                                                                                        Q_3),
};

/* BASE: name, op, controls, qubits, parameters, libraries, special. DEFINED has a body in place of op and controls. */
#define BASE(name, op, nctrl, nq, nparams, library, special) \
    {name, 0, op, nctrl, 0, library, special, nq, nparams, 0, 0, NULL, 1, 1}
#define COUNT(body) (sizeof body / sizeof *body)
#define DEFINED(name, body, nq, nparams, library) \
    {name, 0, 0, 0, 1, library, 0, nq, nparams, COUNT(body), 1, body, COUNT(body), COUNT(body)}

static qc_gate qc_library[] = {
    BASE("U", QF_U, 0, 1, 3, 0, 0), BASE("CX", QF_X, 1, 2, 0, LIB_STDGATES, 0), BASE("gphase", QF_GPHASE, 0, 0, 1, 0,
                                                                                     0),
    BASE("u3", QF_U, 0, 1, 3, 3, 0), BASE("u2", QF_U, 0, 1, 2, 3, SPECIAL_U2), BASE("u1", QF_P, 0, 1, 1, 3, 0),
    BASE("cx", QF_X, 1, 2, 0, 3, 0), BASE("id", QF_ID, 0, 1, 0, 3, 0), BASE("u0", QF_ID, 0, 1, 1, 5, SPECIAL_NO_PARAM),
    BASE("u", QF_U, 0, 1, 3, 5, 0), BASE("p", QF_P, 0, 1, 1, 7, 0), BASE("x", QF_X, 0, 1, 0, 3, 0), BASE("y", QF_Y, 0,
                                                                                                         1, 0, 3, 0),
    BASE("z", QF_Z, 0, 1, 0, 3, 0), BASE("h", QF_H, 0, 1, 0, 3, 0), BASE("s", QF_S, 0, 1, 0, 3, 0), BASE("sdg", QF_SDG,
                                                                                                         0, 1, 0, 3, 0),
    BASE("t", QF_T, 0, 1, 0, 3, 0), BASE("tdg", QF_TDG, 0, 1, 0, 3, 0), BASE("rx", QF_RX, 0, 1, 1, 3, 0), BASE("ry",
            QF_RY, 0, 1, 1, 3, 0),
    BASE("rz", QF_RZ, 0, 1, 1, 3, 0), BASE("sx", QF_SX, 0, 1, 0, 7, 0), BASE("sxdg", QF_SXDG, 0, 1, 0, 5, 0), BASE("cz",
            QF_Z, 1, 2, 0, 3, 0),
    BASE("cy", QF_Y, 1, 2, 0, 3, 0), BASE("swap", QF_SWAP, 0, 2, 0, 7, 0), BASE("ch", QF_H, 1, 2, 0, 3, 0), BASE("ccx",
            QF_X, 2, 3, 0, 3, 0),
    BASE("cswap", QF_SWAP, 1, 3, 0, 7, 0), BASE("crx", QF_RX, 1, 2, 1, 7, 0), BASE("cry", QF_RY, 1, 2, 1, 7, 0),
    BASE("crz", QF_RZ, 1, 2, 1, 3, 0), BASE("cu1", QF_P, 1, 2, 1, 1, 0), BASE("cp", QF_P, 1, 2, 1, 7, 0), BASE("cu3",
            QF_U, 1, 2, 3, 1, 0),
    BASE("csx", QF_SX, 1, 2, 0, 5, 0), BASE("rxx", QF_RXX, 0, 2, 1, 5, 0), BASE("rzz", QF_RZZ, 0, 2, 1, 5, 0),
    BASE("c3x", QF_X, 3, 4, 0, 5, 0), BASE("c3sqrtx", QF_SX, 3, 4, 0, 5, 0), BASE("c4x", QF_X, 4, 5, 0, 5, 0),
    BASE("phase", QF_P, 0, 1, 1, 2, 0), BASE("cphase", QF_P, 1, 2, 1, 2, 0), DEFINED("cu", qc_cu_body, 2, 4, 7),
    DEFINED("rccx", qc_rccx_body, 3, 0, 5), DEFINED("rc3x", qc_rc3x_body, 4, 0, 5),
};
enum { QC_LIBRARY_SIZE = sizeof qc_library / sizeof *qc_library };

static int8_t qc_library_index[256];

static inline uint32_t qc_library_slot(uint64_t key) { return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 56); }

/* Once, at import. */
static void qc_init_library(void) {
    qc_init_classes();
    memset(qc_library_index, -1, sizeof qc_library_index);
    for (int k = 0; k < QC_LIBRARY_SIZE; k++) {
        memcpy(&qc_library[k].key, qc_library[k].name, 8);
        uint32_t slot = qc_library_slot(qc_library[k].key);
        while (qc_library_index[slot] >= 0) slot = (slot + 1) & 255;
        qc_library_index[slot] = (int8_t)k;
    }
}

/* The library's gate of that name where the program's includes offer it, else NULL. */
static const qc_gate *qc_library_gate(const qc *c, uint64_t key) {
    for (uint32_t slot = qc_library_slot(key); qc_library_index[slot] >= 0; slot = (slot + 1) & 255) {
        const qc_gate *g = &qc_library[(int)qc_library_index[slot]];
        if (g->key != key) continue;
        if (g == &qc_library[0]) return g;
        if (g == &qc_library[1]) return c->version == 2 || (c->gates_in_scope & 3) ? g : NULL;
        if (g == &qc_library[2]) return c->version == 3 ? g : NULL;
        return (g->library & c->gates_in_scope & 3) ? g : NULL;
    }
    return NULL;
}

static void qc_consider_gates(qc *c, qc_guess *guess, const qc_tok *t) {
    for (int k = 0; k < QC_LIBRARY_SIZE; k++)
        if (qc_library_gate(c, qc_library[k].key))
            qc_consider(guess, t, qc_library[k].name, strnlen(qc_library[k].name, 8));
    for (int k = 0; k < QC_LIBRARY_SIZE; k++) { /* a library's gate whose library is missing */
        if (qc_library[k].key != t->key || !qc_library[k].library) continue;
        guess->name = NULL;
        const char *hint = "it is not in stdgates.inc: define it by a gate statement";
        if (c->version == 2) hint = "add: include \"qelib1.inc\";";
        else if (qc_library[k].library & LIB_STDGATES) hint = "add: include \"stdgates.inc\";";
        snprintf(c->hint, sizeof c->hint, "%s", hint);
    }
}

/* include "NAME"; from memory only: no file is ever opened. Reads up to the semicolon. */
static void qc_include(qc *c) {
    qc_next(c);
    if (c->t.kind != T_STRING) qc_unexpected(c, "a string");
    size_t length = (size_t)(c->t.end - c->t.begin) - 2;
    int library = 0;
    if (length == 10 && memcmp(c->t.begin + 1, "qelib1.inc", 10) == 0) library = LIB_QELIB1;
    if (length == 12 && memcmp(c->t.begin + 1, "stdgates.inc", 12) == 0) library = LIB_STDGATES;
    if (library == 0) {
        snprintf(c->hint, sizeof c->hint, "only \"qelib1.inc\" and \"stdgates.inc\" can be included");
        qc_fail(c, QC_SYNTAX, "can't include %s, %s", qc_token_text(c), c->hint);
    }
    if (library == LIB_STDGATES && c->version == 2) {
        snprintf(c->hint, sizeof c->hint, "OpenQASM 2 has \"qelib1.inc\"");
        qc_fail(c, QC_SYNTAX, "can't include \"stdgates.inc\", which is OpenQASM 3's, %s", c->hint);
    }
    if (c->gates_in_scope & library) qc_fail(c, QC_SYNTAX, "%s is already included", qc_token_text(c));
    c->gates_in_scope |= library;
    qc_next(c);
}

/* ---- one operation with modifiers */

typedef struct {
    int32_t nctrl;
    uint32_t ctrl_state;
    int32_t ctrl[QC_MAX_CONTROLS];
} qc_controls;

/* Raises a 2x2 unitary m (row-major) to a real power: m^p = sum_k lambda_k^p v_k v_k^dagger, principal values. */
static void qc_matrix_power(double complex m[4], double p) {
    double complex half = (m[0] + m[3]) / 2, root = csqrt(half * half - (m[0] * m[3] - m[1] * m[2]));
    double complex l0 = half + root, l1 = half - root, f0 = cexp(p * I * carg(l0)), f1 = cexp(p * I * carg(l1));
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

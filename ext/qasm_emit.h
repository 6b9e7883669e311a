/* Emission into the compact circuit: gates, and instructions of the stack machine. */
#ifndef QFAST_QASM_EMIT_H
#define QFAST_QASM_EMIT_H
#include "qasm_symbols.h"

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

#endif

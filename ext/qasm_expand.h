/* Gate calls: checks of operands, broadcasting, modifiers, and the expansion of defined gates into the compact circuit.
 */
#ifndef QFAST_QASM_EXPAND_H
#define QFAST_QASM_EXPAND_H
#include "qasm_power.h"

typedef struct {
    int32_t nctrl;
    uint32_t ctrl_state;
    double power; /* inv is power -1 */
} qc_modifiers;

static const qc_modifiers qc_plain = {0, 0, 1};

typedef struct {
    char *arena, *arena_end;
    qc_chunk *chunks;
} qc_mark_t;

static qc_mark_t qc_mark(qc *c) { return (qc_mark_t){c->arena, c->arena_end, c->chunks}; }

/* Gives back whatever was allocated since the mark; not while a gate is being defined, whose body lies there too. */
static void qc_release(qc *c, qc_mark_t mark) {
    if (c->in_gate) return;
    while (c->chunks != mark.chunks) {
        qc_chunk *next = c->chunks->next;
        c->memory -= c->chunks->size;
        free(c->chunks);
        c->chunks = next;
    }
    c->arena = mark.arena;
    c->arena_end = mark.arena_end;
}

/* A variable of the machine for the rest of the statement. */
static int32_t qc_temporary(qc *c);

/* ---- expressions of gate bodies */

static void qc_push_param(qc *c, qc_param p) {
    if (p.slot < 0) {
        qc_push_float(c, p.value);
        return;
    }
    qc_op(c, QF_LDVAR, p.slot);
    if (p.value != 1) {
        qc_push_float(c, p.value);
        qc_op(c, QF_FMUL, 0);
    }
}

static qc_param qc_evaluate(qc *c, const qc_expression *e, const qc_param *params, int nparams) {
    int variable = 0;
    if (e->kind == 0) return (qc_param){-1, e->value};
    if (e->kind == 1) return params[e->start];
    for (int k = 0; k < nparams; k++) variable |= params[k].slot >= 0;
    if (variable) {
        for (int32_t pc = e->start; pc < e->end; pc++) {
            qf_instr i = c->definitions.code[pc];
            if (i.op == QF_LDVAR) {
                qc_push_param(c, params[i.c]);
            } else if (i.op == QF_PUSHF || i.op == QF_PUSHI) {
                int64_t bits;
                memcpy(&bits, &c->definitions.params[i.p], sizeof bits);
                qc_push_bits(c, i.op, bits);
            } else {
                qc_op(c, i.op, i.c);
            }
        }
        int32_t slot = qc_temporary(c);
        qc_op(c, QF_STVAR, slot);
        return (qc_param){slot, 1};
    }
    qf_machine m;
    int64_t vars[16], *all = nparams > 16 ? malloc((size_t)nparams * sizeof *all) : vars;
    if (all == NULL) qc_fail(c, QC_MEMORY, "out of memory");
    for (int k = 0; k < nparams; k++) all[k] = qf_from_double(params[k].value);
    m.vars = all;
    m.sp = 0;
    m.fuel = INT64_MAX;
    int32_t pc = e->start;
    while (pc >= 0 && pc < e->end) pc = qf_classical_step(c->definitions.code, c->definitions.params, pc, &m);
    if (all != vars) free(all);
    double value = pc < 0 ? NAN : qf_as_double(m.stack[0]);
    if (!(fabs(value) <= DBL_MAX)) qc_fail(c, QC_VALUE, "an angle in the body of this gate is not a finite number");
    return (qc_param){-1, value};
}

/* ---- expansion */

static void qc_apply(qc *c, const qc_gate *g, const qc_param *params, const int32_t *q, const qc_controls *outer,
                     double power);

static void qc_apply_op(qc *c, const qc_gate *g, const qc_body_op *op, const qc_param *params, const int32_t *q,
                        const qc_controls *outer, double sign) {
    int32_t few_q[8], *to = few_q;
    qc_param few_p[8], *p = few_p;
    qc_mark_t mark = qc_mark(c);
    if (op->nq > 8) to = qc_alloc(c, (size_t)op->nq * sizeof *to);
    if (op->nparams > 8) p = qc_alloc(c, (size_t)op->nparams * sizeof *p);
    for (int32_t k = 0; k < op->nq; k++) to[k] = q[op->q[k]];
    for (int32_t k = 0; k < op->nparams; k++) p[k] = qc_evaluate(c, &op->params[k], params, g->nparams);
    double power = (op->has_power ? op->power : 1) * sign;
    if (op->is_barrier) {
        if (outer == NULL || outer->nctrl == 0) {
            double *none;
            memcpy(qc_emit_gate(c, QF_BARRIER, 0, 0, op->nq, 0, &none), to, (size_t)op->nq * sizeof *to);
        }
    } else if (!op->is_definition) {
        qc_emit_power(c, op->op, outer, op->nctrl, op->ctrl_state, to, op->nq, p, op->nparams, power);
    } else if (op->nctrl == 0) {
        qc_apply(c, op->gate, p, to, outer, power);
    } else {
        qc_controls all = {0, 0, {0}};
        if (outer) all = *outer;
        if (all.nctrl + op->nctrl > QC_MAX_CONTROLS)
            qc_fail(c, QC_LIMIT, "more than %d control qubits", QC_MAX_CONTROLS);
        all.ctrl_state |= op->ctrl_state << all.nctrl;
        for (int k = 0; k < op->nctrl; k++) all.ctrl[all.nctrl++] = to[k];
        qc_apply(c, op->gate, p, to + op->nctrl, &all, power);
    }
    qc_release(c, mark);
}

/* Whether a power of a definition is worked out from its eigenvalues, and not by repeating it. */
static int qc_is_diagonalised(const qc_gate *g, double power) {
    double times = fabs(power);
    return g->is_definition && (times != floor(times) || (g->nq == 1 && times > 4));
}

/* The definition is expanded on qubits 0 to n - 1, its unitary taken from that, and its power written in its place. */
static void qc_apply_power(qc *c, const qc_gate *g, const qc_param *params, const int32_t *q, const qc_controls *outer,
                           double power) {
    int32_t own[QC_MAX_POWER_QUBITS] = {0, 1, 2, 3, 4, 5}, size = 1 << (g->nq > 6 ? 6 : g->nq);
    qc_buffer *const out = c->out;
    const int32_t n = out->n, num_qubits = out->num_qubits, num_params = out->num_params;
    if (g->nq > QC_MAX_POWER_QUBITS)
        qc_fail(c, QC_UNSUPPORTED, "a fractional power of a defined gate on more than %d qubits is not supported",
                QC_MAX_POWER_QUBITS);
    qc_mark_t mark = qc_mark(c);
    qc_spend(c, (int64_t)(g->size < QC_MAX_WORK ? g->size : QC_MAX_WORK) * size * size / 4);
    qc_apply(c, g, params, own, NULL, 1);
    qc_complex *u = qc_alloc(c, (size_t)(size * size) * sizeof *u);
    for (int32_t k = 0; k < size * size; k++) u[k] = k % (size + 1) == 0;
    for (int32_t k = n; k < out->n; k++) {
        if (out->code[k].op >= QF_JUMP)
            qc_fail(c, QC_UNSUPPORTED, "a power of a gate whose angles depend on measurements is not supported");
        if (qf_is_gate(out->code[k].op)) qc_apply_instruction(c, &out->code[k], u, size);
    }
    out->n = n;
    out->num_qubits = num_qubits;
    out->num_params = num_params;
    qc_unitary_power(c, u, size, power);
    if (g->nq == 0) {
        qc_param phase = {-1, carg(u[0])};
        qc_emit_base(c, QF_GPHASE, outer, 0, 0, q, 0, &phase, 1);
    } else {
        qc_emit_unitary(c, outer, q, g->nq, u);
    }
    qc_release(c, mark);
}

/* Emits a defined gate (nparams parameters, nq qubits) with outer controls to a power. The cost has been checked. */
static void qc_apply(qc *c, const qc_gate *g, const qc_param *params, const int32_t *q, const qc_controls *outer,
                     double power) {
    double times = fabs(power);
    if (g->size == 0 || power == 0) return;
    if (qc_is_diagonalised(g, power)) {
        qc_apply_power(c, g, params, q, outer, power);
        return;
    }
    for (int64_t k = 0; k < (int64_t)times; k++)
        for (int32_t j = 0; j < g->num_ops; j++)
            qc_apply_op(c, g, &g->ops[power < 0 ? g->num_ops - 1 - j : j], params, q, outer, power < 0 ? -1 : 1);
}

static uint64_t qc_saturating(uint64_t a, uint64_t b) {
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t qc_saturating_sum(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

/* How often a gate is repeated for that power. */
static uint64_t qc_repeats(const qc_gate *g, double power) {
    double times = fabs(power);
    if (!g->is_definition || qc_is_diagonalised(g, power)) return 1;
    return times >= 1e18 ? UINT64_MAX : (uint64_t)times;
}

/* How many instructions the gate is at most, once: swap to a fractional power is three. */
static uint64_t qc_size(const qc_gate *g, double power) {
    if (qc_is_diagonalised(g, power)) return g->size > QC_POWER_SIZE ? g->size : QC_POWER_SIZE;
    return g->size * (g->op == QF_SWAP && !g->is_definition ? 3 : 1);
}

static void qc_check_cost(qc *c, const qc_tok *name, const qc_gate *g, double power, uint64_t copies) {
    uint64_t times = qc_saturating(copies, qc_repeats(g, power));
    if (qc_saturating(qc_size(g, power), times) > (uint64_t)(QC_MAX_INSTR - c->main.n) || qc_saturating(g->nodes,
            times) > (uint64_t)(QC_MAX_WORK - c->work))
        qc_fail_tok(c, QC_LIMIT, name, "the program expands to more than %d instructions", QC_MAX_INSTR);
    c->work += (int64_t)(g->nodes * times);
}

/* ---- operands */

static void qc_no_duplicates(qc *c, const int32_t *q, int32_t n, const qc_tok *name) {
    if (n <= 32) {
        for (int32_t k = 1; k < n; k++)
            for (int32_t j = 0; j < k; j++)
                if (q[j] == q[k]) qc_fail_tok(c, QC_VALUE, name, "duplicate qubits: the operands of %s must differ",
                                              qc_named(c, name));
        return;
    }
    int64_t size = 2;
    while (size < 2 * (int64_t)n) size *= 2;
    qc_mark_t mark = qc_mark(c);
    int32_t *seen = qc_alloc(c, (size_t)size * sizeof *seen);
    memset(seen, -1, (size_t)size * sizeof *seen);
    qc_spend(c, n);
    for (int32_t k = 0; k < n; k++) {
        uint64_t slot = (uint64_t)((uint32_t)q[k] * UINT32_C(2654435769)) & (uint64_t)(size - 1);
        for (; seen[slot] >= 0; slot = (slot + 1) & (uint64_t)(size - 1))
            if (seen[slot] == q[k]) qc_fail_tok(c, QC_VALUE, name, "duplicate qubits: the operands of %s must differ",
                                                qc_named(c, name));
        seen[slot] = q[k];
    }
    qc_release(c, mark);
}

/* How many gates a call on these operands makes: the common length of the registers among them. */
static int32_t qc_broadcast(qc *c, const qc_refs *operands, int32_t n, const qc_tok *name) {
    int32_t length = -1;
    for (int32_t k = 0; k < n; k++) {
        if (!operands[k].is_register) continue;
        if (length >= 0 && operands[k].count != length)
            qc_fail_tok(c, QC_VALUE, name, "registers of %d and %d qubits can't be broadcast together", length,
                        operands[k].count);
        length = operands[k].count;
    }
    return length < 0 ? 1 : length;
}

/* The first gate of a call that is not executed. */
static void qc_check_operands(qc *c, const qc_refs *operands, int32_t n, const qc_tok *name) {
    qc_mark_t mark = qc_mark(c);
    int32_t *q = qc_alloc(c, ((size_t)n + 1) * sizeof *q);
    for (int32_t k = 0; k < n; k++) {
        if (operands[k].count == 0) return;
        q[k] = qc_ref(&operands[k], 0);
    }
    qc_no_duplicates(c, q, n, name);
    qc_release(c, mark);
}

/* The hint for a call with too few or too many parameters or qubits: how the gate is written. */
static void qc_hint_usage(qc *c, const qc_tok *name, const qc_gate *g, int32_t nctrl) {
    int n = snprintf(c->hint, sizeof c->hint, "write: ");
    if (name->end - name->begin > 20 || g->nparams > 6 || g->nq + nctrl > 6) {
        c->hint[0] = 0;
        return;
    }
    for (int32_t k = 0; k < nctrl; k++) n += snprintf(c->hint + n, sizeof c->hint - (size_t)n, "ctrl @ ");
    n += snprintf(c->hint + n, sizeof c->hint - (size_t)n, "%.*s", (int)(name->end - name->begin), name->begin);
    for (int32_t k = 0; k < g->nparams; k++)
        n += snprintf(c->hint + n, sizeof c->hint - (size_t)n, "%sangle%s", k ? ", " : "(", k == g->nparams - 1 ? ")"
                      : "");
    for (int32_t k = 0; k < g->nq + nctrl; k++)
        n += snprintf(c->hint + n, sizeof c->hint - (size_t)n, "%s qubit", k ? "," : "");
    snprintf(c->hint + n, sizeof c->hint - (size_t)n, ";");
}

static void qc_check_arity(qc *c, const qc_tok *name, const qc_gate *g, int32_t nctrl, int32_t operands) {
    char controls[40] = "";
    if (operands == g->nq + nctrl) return;
    qc_hint_usage(c, name, g, nctrl);
    if (nctrl) snprintf(controls, sizeof controls, " with %d control%s", nctrl, nctrl == 1 ? "" : "s");
    qc_fail_tok(c, QC_SYNTAX, name, "gate %s%s takes %d qubit%s, but %d %s given", qc_named(c, name), controls,
                g->nq + nctrl,
                g->nq + nctrl == 1 ? "" : "s", operands, operands == 1 ? "is" : "are");
}

/* Applies a gate to operands, which the modifiers' controls lead. `params` has room for one more than the gate's (u2).
 */
static void qc_call(qc *c, const qc_tok *name, const qc_gate *g, qc_param *params, const qc_refs *operands, int32_t n,
                    const qc_modifiers *m) {
    int32_t few[16], *q = few, nparams = g->nparams;
    qc_controls controls;
    qc_check_arity(c, name, g, m->nctrl, n);
    int32_t copies = qc_broadcast(c, operands, n, name);
    if (c->checking) {
        qc_check_operands(c, operands, n, name);
        return;
    }
    qc_check_cost(c, name, g, m->power, (uint64_t)copies);
    if (g->special == SPECIAL_U2) {
        params[2] = params[1];
        params[1] = params[0];
        params[0] = (qc_param){-1, M_PI_2};
        nparams = 3;
    } else if (g->special == SPECIAL_NO_PARAM) {
        nparams = 0;
    }
    qc_mark_t mark = qc_mark(c);
    if (n > 16) q = qc_alloc(c, (size_t)n * sizeof *q);
    for (int32_t k = 0; k < copies; k++) {
        for (int32_t j = 0; j < n; j++) q[j] = qc_ref(&operands[j], operands[j].is_register ? k : 0);
        if (n > 1) qc_no_duplicates(c, q, n, name);
        if (!g->is_definition) {
            qc_emit_power(c, g->op, NULL, g->nctrl + m->nctrl, m->ctrl_state | (g->nctrl
                    ? ((UINT32_C(1) << g->nctrl) - 1) << m->nctrl : 0), q,
                          n, params, nparams, m->power);
        } else if (m->nctrl == 0) {
            qc_apply(c, g, params, q, NULL, m->power);
        } else {
            controls.nctrl = m->nctrl;
            controls.ctrl_state = m->ctrl_state;
            memcpy(controls.ctrl, q, (size_t)m->nctrl * sizeof *q);
            qc_apply(c, g, params, q + m->nctrl, &controls, m->power);
        }
    }
    qc_release(c, mark);
}

/* ---- definitions */

typedef struct qc_body {
    qc_body_op *ops;
    int32_t n, cap;
    uint64_t size, nodes;
    int32_t level;
} qc_body;

/* Adds a call to the body of the gate that is being defined; `params` has room for one more than the gate's. */
static void qc_body_call(qc *c, qc_body *body, const qc_tok *name, const qc_gate *g, qc_expression *params,
                         const qc_refs *operands, int32_t n,
                         const qc_modifiers *m) {
    qc_check_arity(c, name, g, m->nctrl, n);
    int32_t nparams = g->nparams, *q = qc_alloc(c, (size_t)n * sizeof *q);
    if (g->special == SPECIAL_U2) {
        params[2] = params[1];
        params[1] = params[0];
        params[0] = (qc_expression){0, M_PI_2, 0, 0};
        nparams = 3;
    } else if (g->special == SPECIAL_NO_PARAM) {
        nparams = 0;
    }
    for (int32_t k = 0; k < n; k++) q[k] = qc_ref(&operands[k], 0);
    qc_no_duplicates(c, q, n, name);
    if (m->nctrl + g->nctrl > QC_MAX_CONTROLS)
        qc_fail_tok(c, QC_LIMIT, name, "more than %d control qubits", QC_MAX_CONTROLS);
    if (g->level + 1 > QC_MAX_NESTING)
        qc_fail_tok(c, QC_LIMIT, name, "gate definitions are nested more than %d deep", QC_MAX_NESTING);
    if (body->n == body->cap) {
        int32_t cap = body->cap ? body->cap * 2 : 16;
        qc_body_op *ops = qc_alloc(c, (size_t)cap * sizeof *ops);
        if (body->n) memcpy(ops, body->ops, (size_t)body->n * sizeof *ops);
        body->ops = ops;
        body->cap = cap;
    }
    qc_body_op *op = &body->ops[body->n++];
    memset(op, 0, sizeof *op);
    op->is_definition = g->is_definition;
    op->op = g->op;
    op->nctrl = (uint8_t)(m->nctrl + (g->is_definition ? 0 : g->nctrl));
    op->ctrl_state = m->ctrl_state | (!g->is_definition && g->nctrl ? ((UINT32_C(1) << g->nctrl) - 1) << m->nctrl : 0);
    op->nq = n;
    op->nparams = nparams;
    op->q = q;
    op->params = params;
    op->has_power = m->power != 1;
    op->power = m->power;
    op->gate = g;
    uint64_t times = qc_repeats(g, m->power);
    body->size = qc_saturating_sum(body->size, qc_saturating(times, qc_size(g, m->power)));
    body->nodes = qc_saturating_sum(body->nodes, qc_saturating(times, qc_saturating_sum(g->nodes, 1)));
    if (g->level + 1 > body->level) body->level = g->level + 1;
}

static void qc_body_barrier(qc *c, qc_body *body, const int32_t *q, int32_t n) {
    static const qc_gate barrier = {"", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, 1, 1};
    qc_gate sized = barrier;
    qc_refs *refs = qc_alloc(c, (size_t)n * sizeof *refs);
    sized.nq = n;
    for (int32_t k = 0; k < n; k++) refs[k] = (qc_refs){1, q[k], 0, 0, NULL};
    qc_body_call(c, body, &c->t, &sized, NULL, refs, n, &qc_plain);
    body->ops[body->n - 1].is_barrier = 1;
    body->ops[body->n - 1].gate = NULL;
}

static qc_gate *qc_define(qc *c, const qc_body *body, int32_t nparams, int32_t nq) {
    qc_gate *g = qc_alloc(c, sizeof *g);
    memset(g, 0, sizeof *g);
    g->is_definition = 1;
    g->nq = nq;
    g->nparams = nparams;
    g->num_ops = body->n;
    g->ops = body->ops;
    g->size = body->size;
    g->nodes = body->nodes;
    g->level = body->level;
    return g;
}

#endif

/* OpenQASM 3 (openqasm.com, version 3.1): gates and the dispatch of statements. */
#ifndef QFAST_QASM3_H
#define QFAST_QASM3_H
#include "qasm3_assign.h"

/* ---- gates */

static const qc_gate *qc3_gate(qc *c, const qc_tok *name) {
    const qc_symbol *s = qc_find(c, name);
    if (s != NULL && s->kind == S_GATE) return s->gate;
    if (s != NULL && s->kind == S_OPAQUE)
        qc_fail_tok(c, QC_IMPOSSIBLE, name, "gate %s is opaque: nothing says what it does", qc_named(c, name));
    const qc_gate *g = qc_library_gate(c, name->key);
    if (g == NULL && s != NULL) qc_fail_tok(c, QC_SYNTAX, name, "%s is not a gate", qc_named(c, name));
    if (g == NULL) qc_unknown(c, name, "gate", S_GATE);
    return g;
}

/* ctrl(n) @, negctrl(n) @, inv @, pow(p) @ */
static qc_modifiers qc3_modifiers(qc *c) {
    qc_modifiers m = qc_plain;
    for (;;) {
        uint64_t key = c->t.kind == T_IDENT ? c->t.key : 0;
        int is_negative = key == QC_KEY('n', 'e', 'g', 'c', 't', 'r', 'l', 0);
        if (key == QC_KEY('i', 'n', 'v', 0, 0, 0, 0, 0)) {
            qc_next(c);
            m.power = -m.power;
        } else if (key == QC_KEY('p', 'o', 'w', 0, 0, 0, 0, 0)) {
            qc_next(c);
            qc_expect(c, '(', "'('");
            qc_tok at = c->t;
            qc_value v = qc_to_float(c, qc3_expression(c, 0), &at);
            if (!v.known)
                qc_fail_tok(c, QC_UNSUPPORTED, &at,
                            "a power that depends on a measurement or a parameter is not supported");
            m.power *= qf_as_double(v.bits);
            if (!(fabs(m.power) <= DBL_MAX)) qc_fail_tok(c, QC_VALUE, &at, "the power is not a finite number");
            qc_expect(c, ')', "')'");
        } else if (is_negative || key == QC_KEY('c', 't', 'r', 'l', 0, 0, 0, 0)) {
            int64_t n = 1;
            qc_tok at = c->t;
            qc_next(c);
            if (qc_accept(c, '(')) {
                at = c->t;
                n = qc3_known_int(c, "a number of controls");
                if (n < 1) qc_fail_tok(c, QC_VALUE, &at, "%lld controls, expected at least 1", (long long)n);
                qc_expect(c, ')', "')'");
            }
            if (n > QC_MAX_CONTROLS || m.nctrl + n > QC_MAX_CONTROLS)
                qc_fail_tok(c, QC_LIMIT, &at, "more than %d control qubits", QC_MAX_CONTROLS);
            if (!is_negative) m.ctrl_state |= (uint32_t)(((UINT64_C(1) << n) - 1) << m.nctrl);
            m.nctrl += (int32_t)n;
        } else {
            return m;
        }
        qc_expect(c, '@', "'@'");
    }
}

/* The parameters in parentheses as the gate takes them, with room for one more. Those of a gate's body are expressions
 * in the formal parameters; otherwise they are numbers or variables of the machine. */
static void qc3_params(qc *c, const qc_tok *name, const qc_gate *g, qc_param *numbers, qc_expression *expressions) {
    int32_t n = 0;
    if (c->t.kind == '(') {
        qc_next(c);
        while (c->t.kind != ')') {
            qc_tok at = c->t;
            int32_t start = c->out->n;
            qc_value v = qc_to_float(c, qc3_expression(c, 0), &at);
            if (n < g->nparams && !c->in_gate) {
                numbers[n] = (qc_param){-1, qf_as_double(v.bits)};
                if (!v.known) {
                    numbers[n] = (qc_param){qc_temporary(c), 1};
                    qc_op(c, QF_STVAR, numbers[n].slot);
                }
            } else if (n < g->nparams && v.known) {
                expressions[n] = (qc_expression){0, qf_as_double(v.bits), 0, 0};
            } else if (n < g->nparams) {
                expressions[n] = (qc_expression){2, 0, start, c->out->n};
                if (c->out->n == start + 1)
                    expressions[n] = (qc_expression){1, 0, c->out->code[start].c, 0}, c->out->n = start;
                c->stack_depth--;
            }
            n++;
            if (!qc_accept(c, ',')) break;
        }
        qc_expect(c, ')', "')' or ','");
    }
    if (n != g->nparams) qc_wrong_params(c, name, g, n);
}

/* [duration] of a delay, a box or a gate, if there is one: checked, without effect. */
static void qc3_duration(qc *c) {
    if (!qc_accept(c, '[')) return;
    qc_tok at = c->t;
    qc_value v = qc3_expression(c, 0);
    if (v.type != TY_DURATION) qc_no_conversion(c, &at, &v, TY_DURATION, 64);
    qc_expect(c, ']', "']'");
}

static void qc3_gate_call(qc *c) {
    qc_mark_t mark = qc_mark(c);
    int32_t cells = c->num_cells;
    qc_modifiers m = qc3_modifiers(c);
    qc_tok name = qc_name(c, "a gate");
    const qc_gate *g = qc3_gate(c, &name);
    qc_param *numbers = NULL;
    qc_expression *expressions = NULL;
    qc_refs *operands;
    if (c->in_gate) expressions = qc_alloc(c, ((size_t)g->nparams + 1) * sizeof *expressions);
    else numbers = qc_alloc(c, ((size_t)g->nparams + 1) * sizeof *numbers);
    qc3_params(c, &name, g, numbers, expressions);
    qc3_duration(c);
    int32_t n = qc3_operands(c, &operands);
    qc3_semicolon(c);
    if (c->in_gate) {
        qc_body_call(c, c->body, &name, g, expressions, operands, n, &m);
        return;
    }
    if (qc_has_choices(c, operands, n, &name)) qc_call_chosen(c, &name, g, numbers, operands, n, &m);
    else qc_call(c, &name, g, numbers, operands, n, &m);
    qc_release(c, mark);
    c->num_cells = cells;
}

/* gate NAME(params) qubits { body } */
static void qc3_gate_definition(qc *c) {
    qc_body body = {NULL, 0, 0, 0, 0, 0};
    qc_tok at = c->t;
    int32_t nparams = 0, nq = 0;
    qc_only_global(c, &at, "a gate");
    qc_next(c);
    qc_tok name = qc_name(c, "the name of the gate");
    qc_check_free(c, &name);
    qc_open_scope(c);
    c->in_gate = 1;
    c->wall = c->scope;
    c->out = &c->definitions;
    c->body = &body;
    if (qc_accept(c, '(')) {
        while (c->t.kind == T_IDENT) {
            qc_tok formal = qc_name(c, "a parameter");
            qc_declare(c, &formal, S_PARAMETER)->cell = nparams++;
            if (!qc_accept(c, ',')) break;
        }
        qc_expect(c, ')', "')' or ','");
    }
    while (c->t.kind == T_IDENT) {
        qc_tok formal = qc_name(c, "a qubit");
        qc_declare(c, &formal, S_QUBITS)->refs = (qc_refs){1, nq++, 0, 0, NULL};
        if (!qc_accept(c, ',')) break;
    }
    qc_expect(c, '{', "'{'");
    qc3_block_rest(c);
    qc_close_scope(c);
    c->in_gate = c->wall = 0;
    c->out = &c->main;
    c->body = NULL;
    qc_gate *g = qc_define(c, &body, nparams, nq);
    qc_declare(c, &name, S_GATE)->gate = g;
}

/* ---- statements without results */

static void qc3_reset(qc *c) {
    qc_tok at = c->t;
    int32_t cells = c->num_cells;
    qc_not_in_gate(c, &at);
    qc_next(c);
    qc_refs r = qc3_operand(c);
    qc_reset_refs(c, &r);
    c->num_cells = cells;
}

static void qc3_barrier(qc *c) {
    qc_refs *refs;
    qc_next(c);
    qc_mark_t mark = qc_mark(c);
    int32_t n = qc3_operands(c, &refs);
    if (c->in_gate) {
        int32_t *q = qc_alloc(c, ((size_t)n + 1) * sizeof *q);
        for (int32_t k = 0; k < n; k++) q[k] = refs[k].first;
        if (n) qc_body_barrier(c, c->body, q, n);
        return;
    }
    if (c->max_hardware > c->num_qubits && n == 0) return; /* physical qubits are not all known yet */
    if (!c->checking) qc_emit_barrier(c, refs, n);
    qc_release(c, mark);
}

/* delay[t] qubits; and nop qubits; do nothing here, but their operands must exist. */
static void qc3_nothing(qc *c) {
    qc_refs *refs;
    qc_next(c);
    qc_mark_t mark = qc_mark(c);
    qc3_duration(c);
    qc3_operands(c, &refs);
    if (!c->in_gate) qc_release(c, mark);
}

static int qc3_box(qc *c) {
    qc_next(c);
    qc3_duration(c);
    if (c->t.kind != '{') qc_unexpected(c, "'{'");
    return qc3_body(c);
}

static void qc3_stretch(qc *c) {
    qc_next(c);
    qc_tok name = qc_name(c, "a name");
    qc_declare(c, &name, S_NOTHING);
    while (c->t.kind != ';') {
        if (c->t.kind == T_EOF) qc_unexpected(c, "';'");
        qc_next(c);
    }
    qc_next(c);
}

/* end; ends the run. Where all paths come here, it ends the compilation too. */
static int qc3_end(qc *c) {
    int open = c->dynamic || qc_jumps_pending(c->loop);
    for (const qc_frame *f = c->frame; f != NULL; f = f->outer) open |= f->returns >= 0 || qc_jumps_pending(f->loop);
    qc_tok at = c->t;
    qc_not_in_gate(c, &at);
    qc_next(c);
    qc3_semicolon(c);
    if (!open && !c->checking) { /* what follows is checked, and that is all */
        c->at_end = qc_take(c);
        c->has_ended = c->checking = 1;
        qc_abandon(c);
    }
    qc_op(c, QF_END, 0);
    return FLOW_DEAD;
}

/* A branch whose condition was given up, or that has none. */
static int qc3_else(qc *c) {
    if (!c->num_errors && !c->checking) qc_fail(c, QC_SYNTAX, "'else' has no 'if' before it");
    qc_next(c);
    return qc3_body(c);
}

static int qc3_named(qc *c) {
    qc_tok name = c->t;
    const qc_symbol *s = qc_find(c, &name);
    if (s != NULL && (s->kind == S_VARIABLE || s->kind == S_BITS || s->kind == S_ARRAY || s->kind == S_CONSTANT)) {
        qc_mark_t mark = qc_mark(c);
        int32_t cells = c->num_cells;
        qc_next(c);
        qc3_assignment(c, &name, s);
        qc_release(c, mark);
        c->num_cells = cells;
    } else if (s != NULL && s->kind == S_SUBROUTINE) {
        qc_next(c);
        qc_drop(c, qc3_call_subroutine(c, &name, s->subroutine, 1));
    } else if (s != NULL && s->kind == S_NOTHING) {
        qc_skip_statement(c);
        return FLOW_NEXT;
    } else {
        qc3_gate_call(c);
        return FLOW_NEXT;
    }
    qc3_semicolon(c);
    return FLOW_NEXT;
}

static int qc3_statement(qc *c) {
    if (c->scope > 0) qc_count_statement(c);
    if (c->t.kind == '{') return qc3_is_wrong(c) ? FLOW_NEXT : qc3_body(c);
    if (c->t.kind == ';') {
        qc_next(c);
        return FLOW_NEXT;
    }
    if (qc_at_line(c)) {
        qc_skip_line(c);
        return FLOW_NEXT;
    }
    if (c->t.kind == '}') snprintf(c->hint, sizeof c->hint, "no '{' is open that it could close");
    if (c->t.kind != T_IDENT) qc_unexpected(c, "a statement");
    switch (c->t.key) {
    case QC_KEY('m', 'e', 'a', 's', 'u', 'r', 'e', 0): qc3_measure(c); break;
    case QC_KEY('r', 'e', 's', 'e', 't', 0, 0, 0): qc3_reset(c); break;
    case QC_KEY('b', 'a', 'r', 'r', 'i', 'e', 'r', 0): qc3_barrier(c); break;
    case QC_KEY('d', 'e', 'l', 'a', 'y', 0, 0, 0): case QC_KEY('n', 'o', 'p', 0, 0, 0, 0, 0): qc3_nothing(c); break;
    case QC_KEY('c', 't', 'r', 'l', 0, 0, 0, 0): case QC_KEY('n', 'e', 'g', 'c', 't', 'r', 'l', 0):
    case QC_KEY('i', 'n', 'v', 0, 0, 0, 0, 0):
    case QC_KEY('p', 'o', 'w', 0, 0, 0, 0, 0):
    case QC_KEY('U', 0, 0, 0, 0, 0, 0, 0): qc3_gate_call(c); return FLOW_NEXT;
    case QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0): return qc3_is_wrong(c) ? FLOW_NEXT : qc3_if(c);
    case QC_KEY('e', 'l', 's', 'e', 0, 0, 0, 0): return qc3_else(c);
    case QC_KEY('f', 'o', 'r', 0, 0, 0, 0, 0): return qc3_is_wrong(c) ? FLOW_NEXT : qc3_for(c);
    case QC_KEY('w', 'h', 'i', 'l', 'e', 0, 0, 0): return qc3_is_wrong(c) ? FLOW_NEXT : qc3_while(c);
    case QC_KEY('s', 'w', 'i', 't', 'c', 'h', 0, 0): return qc3_is_wrong(c) ? FLOW_NEXT : qc3_switch(c);
    case QC_KEY('b', 'r', 'e', 'a', 'k', 0, 0, 0): return qc3_jump_statement(c, 1);
    case QC_KEY('c', 'o', 'n', 't', 'i', 'n', 'u', 'e'): return qc3_jump_statement(c, 0);
    case QC_KEY('r', 'e', 't', 'u', 'r', 'n', 0, 0): return qc3_return(c);
    case QC_KEY('e', 'n', 'd', 0, 0, 0, 0, 0): return qc3_end(c);
    case QC_KEY('b', 'o', 'x', 0, 0, 0, 0, 0): return qc3_is_wrong(c) ? FLOW_NEXT : qc3_box(c);
    case QC_KEY('q', 'u', 'b', 'i', 't', 0, 0, 0): qc3_register(c, 0, 0); return FLOW_NEXT;
    case QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0): qc3_register(c, 0, 1); return FLOW_NEXT;
    case QC_KEY('c', 'r', 'e', 'g', 0, 0, 0, 0): qc3_register(c, 1, 1); return FLOW_NEXT;
    case QC_KEY('b', 'i', 't', 0, 0, 0, 0, 0): case QC_KEY('i', 'n', 't', 0, 0, 0, 0, 0):
    case QC_KEY('u', 'i', 'n', 't', 0, 0, 0, 0):
    case QC_KEY('f', 'l', 'o', 'a', 't', 0, 0, 0): case QC_KEY('a', 'n', 'g', 'l', 'e', 0, 0, 0):
    case QC_KEY('b', 'o', 'o', 'l', 0, 0, 0, 0):
    case QC_KEY('c', 'o', 'm', 'p', 'l', 'e', 'x', 0): case QC_KEY('d', 'u', 'r', 'a', 't', 'i', 'o', 'n'):
        qc3_declaration(c, 0);
        return FLOW_NEXT;
    case QC_KEY('o', 'u', 't', 'p', 'u', 't', 0, 0):
        qc_next(c);
        if (qc_is_word(c, QC_KEY('a', 'r', 'r', 'a', 'y', 0, 0, 0))) qc3_array(c, 0);
        else qc3_declaration(c, 0);
        return FLOW_NEXT;
    case QC_KEY('c', 'o', 'n', 's', 't', 0, 0, 0):
        qc_next(c);
        if (qc_is_word(c, QC_KEY('a', 'r', 'r', 'a', 'y', 0, 0, 0))) qc3_array(c, 1);
        else qc3_declaration(c, 1);
        return FLOW_NEXT;
    case QC_KEY('a', 'r', 'r', 'a', 'y', 0, 0, 0): qc3_array(c, 0); return FLOW_NEXT;
    case QC_KEY('l', 'e', 't', 0, 0, 0, 0, 0): qc3_alias(c); return FLOW_NEXT;
    case QC_KEY('s', 't', 'r', 'e', 't', 'c', 'h', 0): qc3_stretch(c); return FLOW_NEXT;
    case QC_KEY('g', 'a', 't', 'e', 0, 0, 0, 0): qc3_gate_definition(c); return FLOW_NEXT;
    case QC_KEY('d', 'e', 'f', 0, 0, 0, 0, 0): qc3_definition(c); return FLOW_NEXT;
    case QC_KEY('i', 'n', 'c', 'l', 'u', 'd', 'e', 0): qc_include(c); break;
    case QC_KEY('i', 'n', 'p', 'u', 't', 0, 0, 0): qc3_input(c); return FLOW_NEXT;
    case QC_KEY('e', 'x', 't', 'e', 'r', 'n', 0, 0):
        qc_fail(c, QC_IMPOSSIBLE, "an extern function is not there to be called");
    case QC_KEY('c', 'a', 'l', 0, 0, 0, 0, 0): case QC_KEY('d', 'e', 'f', 'c', 'a', 'l', 0, 0):
        qc_fail(c, QC_IMPOSSIBLE, "calibrations are not supported: nothing here plays pulses");
    case QC_KEY('O', 'P', 'E', 'N', 'Q', 'A', 'S', 'M'):
        qc_fail(c, QC_SYNTAX, "the version must be the first statement");
    default:
        if (qc_token_is(&c->t, "defcalgrammar"))
            qc_fail(c, QC_IMPOSSIBLE, "calibrations are not supported: nothing here plays pulses");
        return qc3_named(c);
    }
    qc3_semicolon(c);
    return FLOW_NEXT;
}

#endif

/* OpenQASM 3: assignments and measurement. */
#ifndef QFAST_QASM3_ASSIGN_H
#define QFAST_QASM3_ASSIGN_H
#include "qasm3_declare.h"

/* What an assignment writes to. */
typedef struct {
    /* dynamic: the index lies on the stack; of type TY_VOID: `view`, an array or a part of one */
    int is_bits, is_dynamic, type, width;
    qc_refs refs;
    int32_t cell;
    qc_view view;
} qc_target;

static qc_target qc3_target(qc *c, const qc_symbol *s) {
    qc_target t;
    memset(&t, 0, sizeof t);
    t.type = s->type;
    t.width = s->width;
    t.cell = s->cell;
    if (s->kind == S_ARRAY) {
        t.view = qc3_view(c, s->view, &t.is_dynamic);
        t.cell = t.view.first;
        if (t.view.num_dims) t.type = TY_VOID;
        return t;
    }
    if (s->kind == S_VARIABLE && c->t.kind != '[') return t;
    if (s->kind == S_VARIABLE && s->type != TY_INT && s->type != TY_UINT && s->type != TY_ANGLE)
        qc_fail(c, QC_SYNTAX, "a %s has no bits", qc_type_name(s->type));
    t.is_bits = 1;
    t.refs = s->kind == S_VARIABLE ? qc_word_bits(s->cell, s->width) : s->refs;
    while (c->t.kind == '[' && !t.is_dynamic) t.refs = qc3_index(c, t.refs, &t.is_dynamic);
    t.type = TY_BITS;
    t.width = t.is_dynamic ? 1 : t.refs.count;
    return t;
}

static qc_value qc_load_target(qc *c, const qc_target *t) {
    if (t->is_dynamic) qc_op(c, QF_DUP, 0);
    if (t->is_bits) return t->is_dynamic ? qc_load_dynamic_bit(c, &t->refs) : qc_load_refs(c, &t->refs);
    if (!t->is_dynamic) return qc_load_cell(c, t->cell, t->type, t->width);
    return qc_load_element(c, &t->view, t->type, t->width, 1);
}

/* Stores where the index lies on the stack, below the value when that is there too. */
static void qc_store_dynamic(qc *c, const qc_target *t, qc_value v) {
    if (v.known) qc_push_value(c, &v);
    qc_op(c, QF_EXCH, 0);
    if (!t->is_bits) {
        if (t->type == TY_COMPLEX) qc_no_runtime_complex(c);
        qc_spill(c, t->view.base, t->view.span, 1);
        qc_op(c, QF_STVARAT, t->view.base)->nq = t->view.span;
        return;
    }
    qc_store_dynamic_bit(c, &t->refs);
}

/* name[index] = value; name op= value; the name has been read */
static void qc3_assignment(qc *c, const qc_tok *name, const qc_symbol *symbol) {
    qc_symbol s = *symbol;
    qc_not_in_gate(c, name);
    if (s.is_const || s.kind == S_CONSTANT)
        qc_fail_tok(c, QC_SYNTAX, name, "%s is a constant", qc_named(c, name));
    qc_target t = qc3_target(c, &s);
    int op = c->t.kind == T_ASSIGN_OP ? c->t.assign_op : 0;
    qc_tok at = c->t;
    if (c->t.kind != '=' && !op) qc_unexpected(c, "an assignment");
    qc_next(c);
    qc_tok value_at = c->t;
    if (t.type == TY_VOID) { /* an array, or a part of one: as many of its last dimensions as have no index */
        if (op || t.is_dynamic) qc_fail_tok(c, QC_UNSUPPORTED, &at, "this assignment to an array is not supported");
        if (c->t.kind == '{') qc3_initializer(c, &t.view, s.type, s.width, 0, t.view.first);
        else qc3_copy_array(c, &t.view, s.type, s.width);
        return;
    }
    if (t.is_bits && !t.is_dynamic && !op) {
        qc3_assign_bits(c, &t.refs);
        return;
    }
    qc_value v;
    if (op) {
        qc_value old = qc_load_target(c, &t);
        qc_value by = qc3_expression(c, 0);
        v = op == '~' ? qc_binary(c, '^', old, by, &at) : qc_binary(c, op, old, by, &at);
    } else {
        v = qc3_expression(c, 0);
    }
    v = qc_convert(c, v, t.type, t.width, t.type != TY_BITS, &value_at);
    if (t.is_dynamic) qc_store_dynamic(c, &t, v);
    else if (t.is_bits) qc_store_refs(c, &t.refs, v);
    else qc_store_cell(c, t.cell, v);
}

/* measure q; measure q -> c; */
static void qc3_measure(qc *c) {
    qc_tok at = c->t;
    qc_not_in_gate(c, &at);
    qc_next(c);
    qc_refs from = qc3_operand(c);
    if (!qc_accept(c, T_ARROW)) {
        for (int32_t k = 0; k < from.count; k++) qc_drop(c, qc_measure_ref(c, &from, k));
        return;
    }
    qc_tok name = c->t;
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &name) : NULL;
    if (c->t.kind != T_IDENT) qc_unexpected(c, "a bit");
    if (s == NULL) qc_unknown(c, &name, "bit", S_BITS);
    if ((s->kind != S_BITS && s->kind != S_VARIABLE) || s->is_const)
        qc_fail_tok(c, QC_SYNTAX, &name, "%s is not a bit", qc_named(c, &name));
    qc_symbol copy = *s;
    qc_next(c);
    qc_target t = qc3_target(c, &copy);
    if (t.is_dynamic) {
        if (from.count != 1) qc_fail_tok(c, QC_VALUE, &at, "can't measure %d qubits into 1 bit", from.count);
        qc_store_dynamic(c, &t, qc_measure_ref(c, &from, 0));
    } else if (t.is_bits) {
        qc_measure_refs(c, &from, &t.refs, &at);
    } else {
        if (t.type != TY_BOOL || from.count != 1)
            qc_fail_tok(c, QC_SYNTAX, &name, "%s is not a bit", qc_named(c, &name));
        qc_store_cell(c, t.cell, qc_to_bool(c, qc_measure_ref(c, &from, 0)));
    }
}

#endif

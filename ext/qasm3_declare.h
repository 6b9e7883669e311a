/* OpenQASM 3: declarations of registers, variables, arrays, inputs and aliases. */
#ifndef QFAST_QASM3_DECLARE_H
#define QFAST_QASM3_DECLARE_H
#include "qasm3_subroutine.h"

static void qc3_semicolon(qc *c) { qc_expect(c, ';', "';'"); }

static void qc_not_in_gate(qc *c, const qc_tok *at) {
    if (c->in_gate) qc_fail_tok(c, QC_SYNTAX, at, "%s can't stand in the body of a gate", qc_named(c, at));
}

static void qc_only_global(qc *c, const qc_tok *at, const char *what) {
    if (c->scope != 0) qc_fail_tok(c, QC_SYNTAX, at, "%s must be declared outside of all blocks", what);
}

/* A new name must not hide a gate of the library. */
static void qc_check_free(qc *c, const qc_tok *name) {
    if (c->scope == 0 && qc_library_gate(c, name->key) != NULL)
        qc_fail_tok(c, QC_SYNTAX, name, "%s is already defined as a gate", qc_named(c, name));
}

/* qubit[n] name; qreg name[n]; creg name[n]; */
static void qc3_register(qc *c, int is_classical, int is_old) {
    qc_tok at = c->t, name;
    int64_t size = 1;
    int is_register = 0;
    qc_only_global(c, &at, is_classical ? "a creg" : "a qubit");
    qc_next(c);
    if (is_old) name = qc_name(c, "a name");
    if (qc_accept(c, '[')) {
        qc_tok here = c->t;
        size = qc3_known_int(c, "a size");
        if (size < 0) qc_fail_tok(c, QC_VALUE, &here, "a register of %lld qubits", (long long)size);
        qc_expect(c, ']', "']'");
        is_register = 1;
    }
    if (!is_old) name = qc_name(c, "a name or '['");
    qc_check_free(c, &name);
    qc_declare_register(c, &name, (uint64_t)size, is_classical, is_register);
    if (is_classical) qc_new_bits(c);
    qc3_semicolon(c);
}

/* measure qubits, where the statement says into what */
static int qc_at_measure(const qc *c) { return qc_is_word(c, QC_KEY('m', 'e', 'a', 's', 'u', 'r', 'e', 0)); }

static void qc3_assign_bits(qc *c, const qc_refs *to) {
    qc_tok at = c->t;
    if (qc_at_measure(c)) {
        qc_next(c);
        qc_refs from = qc3_operand(c);
        qc_measure_refs(c, &from, to, &at);
        return;
    }
    qc_value v = qc3_expression(c, 0);
    qc_store_refs(c, to, qc_convert(c, v, TY_BITS, to->count, 0, &at));
}

static void qc3_bit_declaration(qc *c, int width, int is_register) {
    qc_tok name = qc_name(c, "a name");
    qc_symbol *s;
    if (c->scope == 0) {
        qc_check_free(c, &name);
        s = qc_declare_register(c, &name, (uint64_t)width, 1, is_register);
        qc_new_bits(c);
    } else {
        int32_t cell = qc_new_cells(c, qc_cells_of(TY_BITS, width), &name);
        s = qc_declare(c, &name, S_BITS);
        s->refs = qc_word_bits(cell, width);
        s->refs.is_register = is_register;
    }
    s->type = TY_BITS;
    s->width = (int32_t)width;
    qc_refs refs = s->refs;
    if (qc_accept(c, '=')) qc3_assign_bits(c, &refs);
    qc3_semicolon(c);
}

/* A wide constant keeps cells of its own. */
static qc_value qc_constant_wide(qc *c, const qc_value *v, const qc_tok *at) {
    for (int32_t k = 0; k < qc_cells_of(TY_BITS, v->width); k++)
        if (!c->cells[v->bits + k].known) qc_not_known(c, at, "the value of a constant");
    qc_value own = qc_new_wide(c, v->width);
    qc_copy_wide(c, (int32_t)own.bits, v);
    return own;
}

/* A constant whose value depends on an input that is left open. */
static qc_symbol *qc_open_symbol(qc *c, const qc_tok *name, int type, int32_t width, qc_value v) {
    int32_t cell = qc_new_cells(c, qc_cells_of(type, width), name);
    qc_store_cell(c, cell, v);
    qc_symbol *s = qc_declare(c, name, S_VARIABLE);
    s->cell = cell;
    s->type = (uint8_t)type;
    s->width = width;
    s->is_const = 1;
    return s;
}

/* type name; type name = value; const type name = value; the type is the current token */
static void qc3_declaration(qc *c, int is_const) {
    int type, width, is_register;
    qc_tok at = c->t;
    if (!qc3_type(c, &type, &width)) qc_unexpected(c, "a type");
    is_register = c->previous_end[-1] == ']';
    if (type == TY_BITS && !is_const) {
        qc_not_in_gate(c, &at);
        qc3_bit_declaration(c, width, is_register);
        return;
    }
    qc_tok name = qc_name(c, "a name");
    qc_check_free(c, &name);
    if (is_const || type == TY_DURATION) {
        qc_value v = {TY_DURATION, 1, 0, 0, 64, 0};
        if (is_const || c->t.kind == '=') {
            qc_expect(c, '=', "'='");
            qc_tok here = c->t;
            v = qc_convert(c, qc3_expression(c, 0), type, width, type != TY_BITS, &here);
            if (qc_is_wide(&v)) v = qc_constant_wide(c, &v, &here);
            else if (!v.known && c->is_open && !c->in_gate) {
                qc_open_symbol(c, &name, type, width, v);
                qc3_semicolon(c);
                return;
            } else if (!v.known) qc_not_known(c, &here, "the value of a constant");
        }
        qc_symbol *s = qc_declare(c, &name, is_const ? S_CONSTANT : S_NOTHING);
        s->type = (uint8_t)type;
        s->width = (int32_t)width;
        s->is_const = (uint8_t)is_const;
        s->value = v;
        qc3_semicolon(c);
        return;
    }
    qc_not_in_gate(c, &at);
    qc_value v = {(uint8_t)type, 1, 0, 0, width, 0, 0};
    int32_t cell = qc_new_cells(c, qc_cells_of(type, width), &name);
    if (qc_accept(c, '=')) {
        qc_tok here = c->t;
        v = qc_convert(c, qc3_expression(c, 0), type, width, 1, &here);
    }
    qc_symbol *s = qc_declare(c, &name, S_VARIABLE);
    s->cell = cell;
    s->type = (uint8_t)type;
    s->width = (int32_t)width;
    qc_store_cell(c, cell, v);
    qc3_semicolon(c);
}

/* An input whose value comes later: a cell that the compiler knows nothing of. */
static void qc_open_input(qc *c, const qc_tok *name, int type, int32_t width) {
    if (type != TY_FLOAT && type != TY_ANGLE)
        qc_fail_tok(c, QC_UNSUPPORTED, name, "an open input parameter of type %s is not supported", qc_type_name(type));
    qc_symbol *s = qc_open_symbol(c, name, type, width, (qc_value){(uint8_t)type, 1, 0, 0, width, 0, 0});
    int32_t cell = s->cell;
    s->is_input = 1; /* a constant that the bodies of gates and subroutines do not see */
    c->cells[cell].known = 0;
    if (c->num_opened == c->cap_opened) {
        qc_count_memory(c, (size_t)(c->cap_opened + 16) * 16);
        c->opened = qc_grow(c, c->opened, &c->cap_opened, c->num_opened + 1, 4 * sizeof(int32_t), 1 << 24);
    }
    int32_t *input = &c->opened[4 * c->num_opened++];
    input[0] = (int32_t)(name->begin - c->source);
    input[1] = (int32_t)(name->end - name->begin);
    input[2] = cell;
    input[3] = type == TY_ANGLE ? width : 0;
}

/* input type name; a constant with the value that came along */
static void qc3_input(qc *c) {
    int type, width;
    qc_tok at = c->t;
    const qc_input *given = NULL;
    qc_only_global(c, &at, "an input parameter");
    if (c->inputs == NULL && !c->is_open) qc_fail(c, QC_UNSUPPORTED, "input parameters without values are not supported");
    qc_next(c);
    if (!qc3_type(c, &type, &width)) qc_fail(c, QC_UNSUPPORTED, "an input parameter of this type is not supported");
    qc_tok name = qc_name(c, "a name");
    if (c->is_open) {
        qc_open_input(c, &name, type, width);
        qc3_semicolon(c);
        return;
    }
    for (int32_t k = 0; k < c->num_inputs; k++) {
        if (c->inputs[k].length != name.end - name.begin || memcmp(c->inputs[k].name, name.begin,
                                                                   (size_t)c->inputs[k].length) != 0)
            continue;
        given = &c->inputs[k];
        c->inputs[k].used = 1;
    }
    if (given == NULL)
        qc_fail_tok(c, QC_SYNTAX, &name, "no value is given for the input parameter %s", qc_named(c, &name));
    qc_value v = qc_known_float(given->value);
    if (type != TY_FLOAT && type != TY_ANGLE) {
        if (given->value != floor(given->value))
            qc_fail_tok(c, QC_SYNTAX, &name, "the value %g of this input parameter is no %s", given->value,
                        qc_type_name(type));
        if (type == TY_BITS) qc_check_width(c, width);
        v = qc_to_int(c, v, TY_INT, 64, &name);
    }
    qc_symbol *s = qc_declare(c, &name, S_CONSTANT);
    s->type = (uint8_t)type;
    s->width = (int32_t)width;
    s->value = qc_convert(c, v, type, width, 0, &name);
    qc3_semicolon(c);
}

/* let name = part ++ part ...; */
static void qc3_alias(qc *c) {
    qc_tok at = c->t;
    int kind = 0, parts = 0;
    qc_refs all = {0, 0, 1, 0, NULL};
    qc_not_in_gate(c, &at);
    qc_next(c);
    qc_tok name = qc_name(c, "a name");
    qc_expect(c, '=', "'='");
    do {
        qc_tok here = c->t;
        const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
        qc_refs r;
        if (c->t.kind == T_IDENT && s == NULL) qc_unknown(c, &here, "register", 0);
        if (c->t.kind == T_HARDWARE || (s != NULL && s->kind == S_QUBITS)) {
            r = qc3_operand(c);
            s = NULL;
        } else {
            if (s == NULL || s->kind != S_BITS)
                qc_fail_tok(c, QC_SYNTAX, &here, "only qubits and bits can have an alias");
            r = s->refs;
            qc_next(c);
            while (c->t.kind == '[') r = qc3_index(c, r, NULL);
        }
        int mine = s == NULL ? S_QUBITS : S_BITS;
        if (parts && (mine != kind || r.space != all.space))
            qc_fail_tok(c, QC_SYNTAX, &here, "qubits and bits can't be joined");
        kind = mine;
        if (r.choice && (parts || c->t.kind == T_CONCAT))
            qc_fail_tok(c, QC_UNSUPPORTED, &here, "joining a qubit that depends on a measurement is not supported");
        if (parts++ == 0) {
            all = r;
            continue;
        }
        int64_t count = (int64_t)all.count + r.count;
        if (count > QC_MAX_QUBITS) qc_fail_tok(c, QC_LIMIT, &here, "an alias of more than %d qubits", QC_MAX_QUBITS);
        qc_spend(c, count);
        int32_t *list = qc_alloc(c, (size_t)count * sizeof *list);
        for (int32_t k = 0; k < all.count; k++) list[k] = qc_ref(&all, k);
        for (int32_t k = 0; k < r.count; k++) list[all.count + k] = qc_ref(&r, k);
        all = (qc_refs){(int32_t)count, 0, 1, r.space, list};
    } while (qc_accept(c, T_CONCAT));
    qc_check_free(c, &name);
    qc_symbol *s = qc_declare(c, &name, kind);
    s->refs = all;
    s->type = kind == S_BITS ? TY_BITS : TY_VOID;
    s->width = (int32_t)(all.count > 64 ? 65 : all.count);
    qc3_semicolon(c);
}

#endif

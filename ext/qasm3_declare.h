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
    if (to->count > 64 && c->t.kind == T_STRING) { /* a literal of any length */
        const char *p = c->t.end - 2;
        for (int32_t k = 0; k < to->count; p--) {
            if (p == c->t.begin) qc_fail(c, QC_VALUE, "this bit string has %d digits, expected %d", k, to->count);
            if (*p == '_') continue;
            if (*p != '0' && *p != '1') qc_fail(c, QC_SYNTAX, "%s is not a bit string", qc_token_text(c));
            qc_value bit = {TY_BITS, 1, 0, 0, 1, *p == '1'};
            qc_store_bit(c, to->space, qc_ref(to, k++), bit);
        }
        if (p != c->t.begin) qc_fail(c, QC_VALUE, "this bit string has more than %d digits", to->count);
        qc_next(c);
        return;
    }
    qc_check_width(c, to->count);
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
        qc_check_width(c, width);
        int32_t cell = qc_new_cells(c, 1, &name);
        s = qc_declare(c, &name, S_BITS);
        s->refs = qc_word_bits(cell, width);
        s->refs.is_register = is_register;
    }
    s->type = TY_BITS;
    s->width = (int16_t)width;
    qc_refs refs = s->refs;
    if (qc_accept(c, '=')) qc3_assign_bits(c, &refs);
    qc3_semicolon(c);
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
            if (type == TY_BITS) qc_check_width(c, width);
            v = qc_convert(c, qc3_expression(c, 0), type, width, type != TY_BITS, &here);
            if (!v.known) qc_not_known(c, &here, "the value of a constant");
        }
        qc_symbol *s = qc_declare(c, &name, is_const ? S_CONSTANT : S_NOTHING);
        s->type = (uint8_t)type;
        s->width = (int16_t)width;
        s->is_const = (uint8_t)is_const;
        s->value = v;
        qc3_semicolon(c);
        return;
    }
    qc_not_in_gate(c, &at);
    qc_value v = {(uint8_t)type, 1, 0, 0, (int16_t)width, 0};
    int32_t cell = qc_new_cells(c, 1, &name);
    if (qc_accept(c, '=')) {
        qc_tok here = c->t;
        v = qc_convert(c, qc3_expression(c, 0), type, width, 1, &here);
    }
    qc_symbol *s = qc_declare(c, &name, S_VARIABLE);
    s->cell = cell;
    s->type = (uint8_t)type;
    s->width = (int16_t)width;
    qc_store_cell(c, cell, v);
    qc3_semicolon(c);
}

/* input type name; a constant with the value that came along */
static void qc3_input(qc *c) {
    int type, width;
    qc_tok at = c->t;
    const qc_input *given = NULL;
    qc_only_global(c, &at, "an input parameter");
    if (c->inputs == NULL) qc_fail(c, QC_UNSUPPORTED, "input parameters without values are not supported");
    qc_next(c);
    if (!qc3_type(c, &type, &width)) qc_fail(c, QC_UNSUPPORTED, "an input parameter of this type is not supported");
    qc_tok name = qc_name(c, "a name");
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
    s->width = (int16_t)width;
    s->value = qc_convert(c, v, type, width, 0, &name);
    qc3_semicolon(c);
}

/* {{1, 2}, {3, 4}} into the cells from `cell` on */
static void qc3_initializer(qc *c, const qc_symbol *array, int dim, int32_t cell) {
    if (dim == array->num_dims) {
        qc_tok at = c->t;
        qc_value v = qc_convert(c, qc3_expression(c, 0), array->type, array->width, 1, &at);
        qc_store_cell(c, cell, v);
        return;
    }
    int32_t part = 1, n = 0;
    for (int k = dim + 1; k < array->num_dims; k++) part *= array->dims[k];
    qc_nest(c);
    qc_expect(c, '{', "'{'");
    while (c->t.kind != '}') {
        if (n == array->dims[dim]) qc_fail(c, QC_VALUE, "more than %d elements", n);
        qc3_initializer(c, array, dim + 1, cell + n++ * part);
        if (!qc_accept(c, ',')) break;
    }
    if (n != array->dims[dim])
        qc_fail(c, QC_VALUE, "%d element%s, expected %d", n, n == 1 ? "" : "s", array->dims[dim]);
    qc_expect(c, '}', "'}' or ','");
    c->nesting--;
}

static void qc3_copy_array(qc *c, const qc_symbol *to) {
    qc_tok at = c->t;
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
    int left, dynamic;
    if (s == NULL || s->kind != S_ARRAY) qc_unexpected(c, "an array or '{'");
    qc_symbol from = *s;
    qc_next(c);
    int32_t cell = qc3_element(c, &from, &left, &dynamic);
    int skip = from.num_dims - left;
    if (dynamic || left != to->num_dims || memcmp(from.dims + skip, to->dims, (size_t)left * sizeof *to->dims) != 0)
        qc_fail_tok(c, QC_VALUE, &at, "the arrays have different shapes");
    qc_spend(c, to->size);
    for (int32_t k = 0; k < to->size; k++) {
        qc_value v = qc_load_cell(c, cell + k, from.type, from.width);
        qc_store_cell(c, to->cell + k, qc_convert(c, v, to->type, to->width, 1, &at));
    }
}

/* array[type, sizes] name = {...}; */
static void qc3_array(qc *c, int is_const) {
    qc_symbol array;
    int type, width;
    int64_t size = 1;
    qc_tok at = c->t;
    qc_not_in_gate(c, &at);
    memset(&array, 0, sizeof array);
    qc_next(c);
    qc_expect(c, '[', "'['");
    if (!qc3_type(c, &type, &width)) qc_unexpected(c, "a type");
    if (type == TY_BITS) qc_check_width(c, width);
    while (qc_accept(c, ',')) {
        qc_tok here = c->t;
        int64_t dim = qc3_known_int(c, "a size");
        if (array.num_dims == 7) qc_fail_tok(c, QC_SYNTAX, &here, "an array has at most 7 dimensions");
        if (dim < 0) qc_fail_tok(c, QC_VALUE, &here, "an array of %lld elements", (long long)dim);
        if (dim > QC_MAX_CELLS || (size *= dim) > QC_MAX_CELLS)
            qc_fail_tok(c, QC_LIMIT, &here, "an array of more than %d elements", QC_MAX_CELLS);
        array.dims[array.num_dims++] = (int32_t)dim;
    }
    if (array.num_dims == 0) qc_unexpected(c, "','");
    qc_expect(c, ']', "']'");
    qc_tok name = qc_name(c, "a name");
    qc_check_free(c, &name);
    array.type = (uint8_t)type;
    array.width = (int16_t)width;
    array.size = (int32_t)size;
    array.cell = qc_new_cells(c, size, &name);
    if (qc_accept(c, '=')) {
        if (c->t.kind == '{') qc3_initializer(c, &array, 0, array.cell);
        else qc3_copy_array(c, &array);
    }
    qc_symbol *s = qc_declare(c, &name, S_ARRAY);
    s->type = array.type;
    s->width = array.width;
    s->size = array.size;
    s->cell = array.cell;
    s->num_dims = array.num_dims;
    s->is_const = (uint8_t)is_const;
    memcpy(s->dims, array.dims, sizeof s->dims);
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
    s->width = (int16_t)(all.count > 64 ? 65 : all.count);
    qc3_semicolon(c);
}

#endif

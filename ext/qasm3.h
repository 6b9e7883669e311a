/* OpenQASM 3 (openqasm.com, version 3.1): declarations, assignments, gates and the dispatch of statements. */
#ifndef QFAST_QASM3_H
#define QFAST_QASM3_H
#include "qasm3_subroutine.h"

static void qc3_semicolon(qc *c) { qc_expect(c, ';', "';'"); }

static void qc_not_in_gate(qc *c, const qc_tok *at) {
    if (c->in_gate) qc_fail_tok(c, QC_SYNTAX, at, "%s can't stand in the body of a gate", qc_quote(c, at->begin, (size_t)(at->end - at->begin)));
}

static void qc_only_global(qc *c, const qc_tok *at, const char *what) {
    if (c->scope != 0) qc_fail_tok(c, QC_SYNTAX, at, "%s must be declared outside of all blocks", what);
}

/* A new name must not hide a gate of the library. */
static void qc_check_free(qc *c, const qc_tok *name) {
    if (c->scope == 0 && qc_library_gate(c, name->key) != NULL)
        qc_fail_tok(c, QC_SYNTAX, name, "%s is already defined as a gate", qc_quote(c, name->begin, (size_t)(name->end - name->begin)));
}

/* ---- declarations */

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
        if (size < 0) qc_fail_tok(c, QC_SYNTAX, &here, "a register of %lld qubits", (long long)size);
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
            if (p == c->t.begin) qc_fail(c, QC_SYNTAX, "this bit string has %d digits, expected %d", k, to->count);
            if (*p == '_') continue;
            if (*p != '0' && *p != '1') qc_fail(c, QC_SYNTAX, "%s is not a bit string", qc_token_text(c));
            qc_value bit = {TY_BITS, 1, 0, 0, 1, *p == '1'};
            qc_store_bit(c, to->space, qc_ref(to, k++), bit);
        }
        if (p != c->t.begin) qc_fail(c, QC_SYNTAX, "this bit string has more than %d digits", to->count);
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
            if (!v.known) qc_fail_tok(c, QC_SYNTAX, &here, "the value of a constant must be known at compile time");
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
        if (c->inputs[k].length != name.end - name.begin || memcmp(c->inputs[k].name, name.begin, (size_t)c->inputs[k].length) != 0) continue;
        given = &c->inputs[k];
        c->inputs[k].used = 1;
    }
    if (given == NULL) qc_fail_tok(c, QC_SYNTAX, &name, "no value is given for the input parameter %s", qc_quote(c, name.begin, (size_t)(name.end - name.begin)));
    qc_value v = qc_known_float(given->value);
    if (type != TY_FLOAT && type != TY_ANGLE) {
        if (given->value != floor(given->value)) qc_fail_tok(c, QC_SYNTAX, &name, "the value %g of this input parameter is no %s", given->value, qc_type_name(type));
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
        if (n == array->dims[dim]) qc_fail(c, QC_SYNTAX, "more than %d elements", n);
        qc3_initializer(c, array, dim + 1, cell + n++ * part);
        if (!qc_accept(c, ',')) break;
    }
    if (n != array->dims[dim]) qc_fail(c, QC_SYNTAX, "%d element%s, expected %d", n, n == 1 ? "" : "s", array->dims[dim]);
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
        qc_fail_tok(c, QC_SYNTAX, &at, "the arrays have different shapes");
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
        if (dim < 0) qc_fail_tok(c, QC_SYNTAX, &here, "an array of %lld elements", (long long)dim);
        if (dim > QC_MAX_CELLS || (size *= dim) > QC_MAX_CELLS) qc_fail_tok(c, QC_LIMIT, &here, "an array of more than %d elements", QC_MAX_CELLS);
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
            if (s == NULL || s->kind != S_BITS) qc_fail_tok(c, QC_SYNTAX, &here, "only qubits and bits can have an alias");
            r = s->refs;
            qc_next(c);
            while (c->t.kind == '[') r = qc3_index(c, r, NULL);
        }
        int mine = s == NULL ? S_QUBITS : S_BITS;
        if (parts && (mine != kind || r.space != all.space)) qc_fail_tok(c, QC_SYNTAX, &here, "qubits and bits can't be joined");
        kind = mine;
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

/* ---- assignments */

/* What an assignment writes to. */
typedef struct {
    int is_bits, is_dynamic, type, width, dims_left; /* dynamic: the index lies on the stack; dims_left: a part of an array */
    qc_refs refs;
    int32_t cell, count;
} qc_target;

static qc_target qc3_target(qc *c, const qc_symbol *s) {
    qc_target t;
    int left = 0;
    memset(&t, 0, sizeof t);
    t.type = s->type;
    t.width = s->width;
    t.cell = s->cell;
    if (s->kind == S_ARRAY) {
        t.count = s->size;
        int32_t cell = qc3_element(c, s, &left, &t.is_dynamic);
        if (!t.is_dynamic) t.cell = cell;
        t.dims_left = left;
        if (left) t.type = TY_VOID;
        return t;
    }
    if (s->kind == S_VARIABLE && c->t.kind != '[') return t;
    if (s->kind == S_VARIABLE && s->type != TY_INT && s->type != TY_UINT && s->type != TY_ANGLE) qc_fail(c, QC_SYNTAX, "a %s has no bits", qc_type_name(s->type));
    t.is_bits = 1;
    t.refs = s->kind == S_VARIABLE ? qc_word_bits(s->cell, s->width) : s->refs;
    while (c->t.kind == '[' && !t.is_dynamic) t.refs = qc3_index(c, t.refs, &t.is_dynamic);
    t.type = TY_BITS;
    t.width = t.is_dynamic ? 1 : t.refs.count > 64 ? 65 : t.refs.count;
    return t;
}

static qc_value qc_load_target(qc *c, const qc_target *t) {
    if (t->is_dynamic) qc_op(c, QF_DUP, 0);
    if (t->is_bits) return t->is_dynamic ? qc_load_dynamic_bit(c, &t->refs) : qc_load_refs(c, &t->refs);
    if (!t->is_dynamic) return qc_load_cell(c, t->cell, t->type, t->width);
    qc_spill(c, t->cell, t->count, 0);
    qc_op(c, QF_LDVARAT, t->cell)->nq = t->count;
    return qc_on_stack(t->type, t->width);
}

/* Stores where the index lies on the stack, below the value when that is there too. */
static void qc_store_dynamic(qc *c, const qc_target *t, qc_value v) {
    if (v.known) qc_push_value(c, &v);
    qc_op(c, QF_EXCH, 0);
    if (!t->is_bits) {
        qc_spill(c, t->cell, t->count, 1);
        qc_op(c, QF_STVARAT, t->cell)->nq = t->count;
        return;
    }
    if (t->refs.list != NULL || t->refs.space) qc_fail(c, QC_UNSUPPORTED, "writing to an index that depends on a measurement is not supported here");
    for (int32_t k = 0; k < t->refs.count; k++) c->bit_cells[t->refs.first + k].known = 0;
    qc_op(c, QF_STBITAT, t->refs.first)->nq = t->refs.count;
}

/* name[index] = value; name op= value; the name has been read */
static void qc3_assignment(qc *c, const qc_tok *name, const qc_symbol *symbol) {
    qc_symbol s = *symbol;
    qc_not_in_gate(c, name);
    if (s.is_const || s.kind == S_CONSTANT)
        qc_fail_tok(c, QC_SYNTAX, name, "%s is a constant", qc_quote(c, name->begin, (size_t)(name->end - name->begin)));
    qc_target t = qc3_target(c, &s);
    int op = c->t.kind == T_ASSIGN_OP ? c->t.assign_op : 0;
    qc_tok at = c->t;
    if (c->t.kind != '=' && !op) qc_unexpected(c, "an assignment");
    qc_next(c);
    qc_tok value_at = c->t;
    if (t.type == TY_VOID) { /* an array, or a part of one: as many of its last dimensions as have no index */
        if (op || t.is_dynamic) qc_fail_tok(c, QC_UNSUPPORTED, &at, "this assignment to an array is not supported");
        int used = s.num_dims - t.dims_left;
        for (int k = 0; k < used; k++) s.size /= s.dims[k] ? s.dims[k] : 1;
        s.num_dims = t.dims_left;
        memmove(s.dims, s.dims + used, (size_t)t.dims_left * sizeof *s.dims);
        s.cell = t.cell;
        if (c->t.kind == '{') qc3_initializer(c, &s, 0, s.cell);
        else qc3_copy_array(c, &s);
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
        for (int32_t k = 0; k < from.count; k++) qc_drop(c, qc_measure_to_stack(c, qc_ref(&from, k)));
        return;
    }
    qc_tok name = c->t;
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &name) : NULL;
    if (c->t.kind != T_IDENT) qc_unexpected(c, "a bit");
    if (s == NULL) qc_unknown(c, &name, "bit", S_BITS);
    if ((s->kind != S_BITS && s->kind != S_VARIABLE) || s->is_const)
        qc_fail_tok(c, QC_SYNTAX, &name, "%s is not a bit", qc_quote(c, name.begin, (size_t)(name.end - name.begin)));
    qc_symbol copy = *s;
    qc_next(c);
    qc_target t = qc3_target(c, &copy);
    if (t.is_dynamic) {
        if (from.count != 1) qc_fail_tok(c, QC_SYNTAX, &at, "can't measure %d qubits into 1 bit", from.count);
        qc_store_dynamic(c, &t, qc_measure_to_stack(c, qc_ref(&from, 0)));
    } else if (t.is_bits) {
        qc_measure_refs(c, &from, &t.refs, &at);
    } else {
        if (t.type != TY_BOOL || from.count != 1) qc_fail_tok(c, QC_SYNTAX, &name, "%s is not a bit", qc_quote(c, name.begin, (size_t)(name.end - name.begin)));
        qc_store_cell(c, t.cell, qc_to_bool(c, qc_measure_to_stack(c, qc_ref(&from, 0))));
    }
}

/* ---- gates */

static const qc_gate *qc3_gate(qc *c, const qc_tok *name) {
    const qc_symbol *s = qc_find(c, name);
    if (s != NULL && s->kind == S_GATE) return s->gate;
    if (s != NULL && s->kind == S_OPAQUE)
        qc_fail_tok(c, QC_IMPOSSIBLE, name, "gate %s is opaque: nothing says what it does", qc_quote(c, name->begin, (size_t)(name->end - name->begin)));
    const qc_gate *g = qc_library_gate(c, name->key);
    if (g == NULL && s != NULL) qc_fail_tok(c, QC_SYNTAX, name, "%s is not a gate", qc_quote(c, name->begin, (size_t)(name->end - name->begin)));
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
            if (!v.known) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a power that depends on a measurement or a parameter is not supported");
            m.power *= qf_as_double(v.bits);
            if (!(fabs(m.power) <= DBL_MAX)) qc_fail_tok(c, QC_SYNTAX, &at, "the power is not a finite number");
            qc_expect(c, ')', "')'");
        } else if (is_negative || key == QC_KEY('c', 't', 'r', 'l', 0, 0, 0, 0)) {
            int64_t n = 1;
            qc_tok at = c->t;
            qc_next(c);
            if (qc_accept(c, '(')) {
                at = c->t;
                n = qc3_known_int(c, "a number of controls");
                if (n < 1) qc_fail_tok(c, QC_SYNTAX, &at, "%lld controls, expected at least 1", (long long)n);
                qc_expect(c, ')', "')'");
            }
            if (n > QC_MAX_CONTROLS || m.nctrl + n > QC_MAX_CONTROLS) qc_fail_tok(c, QC_LIMIT, &at, "more than %d control qubits", QC_MAX_CONTROLS);
            if (!is_negative) m.ctrl_state |= (uint32_t)(((UINT64_C(1) << n) - 1) << m.nctrl);
            m.nctrl += (int32_t)n;
        } else {
            return m;
        }
        qc_expect(c, '@', "'@'");
    }
}

/* The parameters in parentheses as the gate takes them, with room for one more. Those of a gate's body are expressions in the formal
 * parameters; otherwise they are numbers or variables of the machine. */
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
                if (c->out->n == start + 1) expressions[n] = (qc_expression){1, 0, c->out->code[start].c, 0}, c->out->n = start;
                c->stack_depth--;
            }
            n++;
            if (!qc_accept(c, ',')) break;
        }
        qc_expect(c, ')', "')' or ','");
    }
    if (n != g->nparams) qc_wrong_params(c, name, g, n);
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
    if (c->t.kind == '[') qc_skip_brackets(c); /* a duration */
    int32_t n = qc3_operands(c, &operands);
    qc3_semicolon(c);
    if (c->in_gate) {
        qc_body_call(c, c->body, &name, g, expressions, operands, n, &m);
        return;
    }
    qc_call(c, &name, g, numbers, operands, n, &m);
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
    double *none;
    qc_not_in_gate(c, &at);
    qc_next(c);
    qc_refs r = qc3_operand(c);
    for (int32_t k = 0; k < r.count; k++) *qc_emit_gate(c, QF_RESET, 0, 0, 1, 0, &none) = qc_ref(&r, k);
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
    qc_emit_barrier(c, refs, n);
    qc_release(c, mark);
}

/* delay[t] qubits; and nop qubits; do nothing here, but their operands must exist. */
static void qc3_nothing(qc *c) {
    qc_refs *refs;
    qc_next(c);
    qc_mark_t mark = qc_mark(c);
    if (c->t.kind == '[') qc_skip_brackets(c);
    qc3_operands(c, &refs);
    if (!c->in_gate) qc_release(c, mark);
}

static int qc3_box(qc *c) {
    qc_next(c);
    if (c->t.kind == '[') qc_skip_brackets(c);
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
    if (!open) longjmp(c->leave, 2);
    qc_op(c, QF_END, 0);
    return FLOW_DEAD;
}

/* A pragma or an annotation: the rest of the line. */
static void qc3_skip_line(qc *c) {
    const char *end = memchr(c->t.begin, '\n', (size_t)(c->end - c->t.begin));
    qc_seek(c, end ? end : c->end);
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
        qc_drop(c, qc3_call_subroutine(c, &name, s->subroutine));
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
    qc_count_statement(c);
    if (c->t.kind == '{') return qc3_body(c);
    if (c->t.kind == ';') {
        qc_next(c);
        return FLOW_NEXT;
    }
    if (c->t.kind == '#' || c->t.kind == '@' || qc_is_word(c, QC_KEY('p', 'r', 'a', 'g', 'm', 'a', 0, 0))) {
        qc3_skip_line(c);
        return FLOW_NEXT;
    }
    if (c->t.kind != T_IDENT) qc_unexpected(c, "a statement");
    switch (c->t.key) {
    case QC_KEY('m', 'e', 'a', 's', 'u', 'r', 'e', 0): qc3_measure(c); break;
    case QC_KEY('r', 'e', 's', 'e', 't', 0, 0, 0): qc3_reset(c); break;
    case QC_KEY('b', 'a', 'r', 'r', 'i', 'e', 'r', 0): qc3_barrier(c); break;
    case QC_KEY('d', 'e', 'l', 'a', 'y', 0, 0, 0): case QC_KEY('n', 'o', 'p', 0, 0, 0, 0, 0): qc3_nothing(c); break;
    case QC_KEY('c', 't', 'r', 'l', 0, 0, 0, 0): case QC_KEY('n', 'e', 'g', 'c', 't', 'r', 'l', 0): case QC_KEY('i', 'n', 'v', 0, 0, 0, 0, 0):
    case QC_KEY('p', 'o', 'w', 0, 0, 0, 0, 0): case QC_KEY('U', 0, 0, 0, 0, 0, 0, 0): qc3_gate_call(c); return FLOW_NEXT;
    case QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0): return qc3_if(c);
    case QC_KEY('f', 'o', 'r', 0, 0, 0, 0, 0): return qc3_for(c);
    case QC_KEY('w', 'h', 'i', 'l', 'e', 0, 0, 0): return qc3_while(c);
    case QC_KEY('s', 'w', 'i', 't', 'c', 'h', 0, 0): return qc3_switch(c);
    case QC_KEY('b', 'r', 'e', 'a', 'k', 0, 0, 0): return qc3_jump_statement(c, 1);
    case QC_KEY('c', 'o', 'n', 't', 'i', 'n', 'u', 'e'): return qc3_jump_statement(c, 0);
    case QC_KEY('r', 'e', 't', 'u', 'r', 'n', 0, 0): return qc3_return(c);
    case QC_KEY('e', 'n', 'd', 0, 0, 0, 0, 0): return qc3_end(c);
    case QC_KEY('b', 'o', 'x', 0, 0, 0, 0, 0): return qc3_box(c);
    case QC_KEY('q', 'u', 'b', 'i', 't', 0, 0, 0): qc3_register(c, 0, 0); return FLOW_NEXT;
    case QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0): qc3_register(c, 0, 1); return FLOW_NEXT;
    case QC_KEY('c', 'r', 'e', 'g', 0, 0, 0, 0): qc3_register(c, 1, 1); return FLOW_NEXT;
    case QC_KEY('b', 'i', 't', 0, 0, 0, 0, 0): case QC_KEY('i', 'n', 't', 0, 0, 0, 0, 0): case QC_KEY('u', 'i', 'n', 't', 0, 0, 0, 0):
    case QC_KEY('f', 'l', 'o', 'a', 't', 0, 0, 0): case QC_KEY('a', 'n', 'g', 'l', 'e', 0, 0, 0): case QC_KEY('b', 'o', 'o', 'l', 0, 0, 0, 0):
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
    case QC_KEY('e', 'x', 't', 'e', 'r', 'n', 0, 0): qc_fail(c, QC_IMPOSSIBLE, "an extern function is not there to be called");
    case QC_KEY('c', 'a', 'l', 0, 0, 0, 0, 0): case QC_KEY('d', 'e', 'f', 'c', 'a', 'l', 0, 0):
        qc_fail(c, QC_IMPOSSIBLE, "calibrations are not supported: nothing here plays pulses");
    case QC_KEY('O', 'P', 'E', 'N', 'Q', 'A', 'S', 'M'): qc_fail(c, QC_SYNTAX, "the version must be the first statement");
    default:
        if (qc_token_is(&c->t, "defcalgrammar")) qc_fail(c, QC_IMPOSSIBLE, "calibrations are not supported: nothing here plays pulses");
        return qc3_named(c);
    }
    qc3_semicolon(c);
    return FLOW_NEXT;
}

#endif

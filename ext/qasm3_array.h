/* OpenQASM 3: arrays, their parts, and what is copied into them. */
#ifndef QFAST_QASM3_ARRAY_H
#define QFAST_QASM3_ARRAY_H
#include "qasm3_index.h"

static int64_t qc_view_size(const qc_view *v) {
    int64_t size = 1;
    for (int32_t d = 0; d < v->num_dims; d++) size *= v->dims[d];
    return size;
}

/* The cell of element k in row-major order. */
static int32_t qc_view_cell(const qc_view *v, int64_t k) {
    int32_t cell = v->first;
    for (int32_t d = v->num_dims; d-- > 0; k /= v->dims[d]) cell += (int32_t)(k % v->dims[d]) * v->strides[d];
    return cell;
}

/* One index or range of a bracket, which takes dimension d of `from`. What is left of it is added to `to`. An index
 * that is not known is added to the one on the stack, which counts from the array's first cell (*dynamic). */
static void qc3_part(qc *c, const qc_view *from, int32_t d, qc_view *to, int *dynamic) {
    qc_tok at = c->t;
    qc_value v = {0};
    const int32_t size = from->dims[d], stride = from->strides[d];
    if (c->t.kind != ':') v = qc3_word_value(c, "an index");
    if (c->t.kind == ':') {
        if (v.type != TY_VOID && !v.known)
            qc_fail_tok(c, QC_UNSUPPORTED, &at, "a range that depends on a measurement is not supported");
        qc_range range = qc3_range_rest(c, v.type != TY_VOID, v.bits);
        int32_t n = (int32_t)qc3_resolve(c, &range, size, &at);
        if (n) to->first += (int32_t)range.start * stride;
        to->dims[to->num_dims] = n;
        to->strides[to->num_dims++] = n > 1 ? (int32_t)range.step * stride : stride;
        return;
    }
    if (v.known) {
        if (v.type != TY_INT && v.bits < 0) v.bits = INT64_MAX;
        to->first += qc_checked_index(c, v.bits, size, &at) * stride;
        return;
    }
    qc_bound(c, size);
    qc_push_int(c, stride);
    qc_op(c, QF_IMUL, 0);
    if (*dynamic) qc_op(c, QF_IADD, 0);
    *dynamic = 1;
}

/* The part of an array that brackets name; without any, all of it. With *dynamic it is one element, whose index in the
 * array's cells lies on the stack. */
static qc_view qc3_view(qc *c, qc_view v, int *dynamic) {
    qc_tok at = c->t;
    *dynamic = 0;
    while (c->t.kind == '[') {
        qc_view part = {v.first, v.base, v.span, 0, {0}, {0}};
        int32_t d = 0;
        do {
            qc_next(c);
            if (d == v.num_dims)
                qc_fail(c, QC_SYNTAX, "this array has only %d dimension%s", d, d == 1 ? "" : "s");
            qc3_part(c, &v, d++, &part, dynamic);
        } while (c->t.kind == ',');
        qc_expect(c, ']', "']'");
        for (; d < v.num_dims; d++) {
            part.dims[part.num_dims] = v.dims[d];
            part.strides[part.num_dims++] = v.strides[d];
        }
        v = part;
    }
    if (*dynamic && v.num_dims)
        qc_fail_tok(c, QC_UNSUPPORTED, &at,
                    "a part of an array at an index that depends on a measurement is not supported");
    if (*dynamic) {
        qc_push_int(c, v.first - v.base);
        qc_op(c, QF_IADD, 0);
    }
    return v;
}

static qc_value qc_load_element(qc *c, const qc_view *v, int type, int width, int is_dynamic) {
    if (!is_dynamic) return qc_load_cell(c, v->first, type, width);
    qc_spill(c, v->base, v->span, 0);
    if (type == TY_COMPLEX) qc_no_runtime_complex(c);
    qc_op(c, QF_LDVARAT, v->base)->nq = v->span;
    return qc_on_stack(type, width);
}

/* {{1, 2}, {3, 4}} into the part of `to` from dimension `dim` on, whose first cell is `cell`. */
static void qc3_initializer(qc *c, const qc_view *to, int type, int width, int dim, int32_t cell) {
    int32_t n = 0;
    if (dim == to->num_dims) {
        qc_tok at = c->t;
        qc_store_cell(c, cell, qc_convert(c, qc3_expression(c, 0), type, width, 1, &at));
        return;
    }
    qc_nest(c);
    qc_expect(c, '{', "'{'");
    while (c->t.kind != '}') {
        if (n == to->dims[dim]) qc_fail(c, QC_VALUE, "more than %d elements", n);
        qc3_initializer(c, to, type, width, dim + 1, cell + n++ * to->strides[dim]);
        if (!qc_accept(c, ',')) break;
    }
    if (n != to->dims[dim])
        qc_fail(c, QC_VALUE, "%d element%s, expected %d", n, n == 1 ? "" : "s", to->dims[dim]);
    qc_expect(c, '}', "'}' or ','");
    c->nesting--;
}

static void qc_copy_cells(qc *c, const qc_view *to, int type, int width, const qc_view *from, int from_type,
                          int from_width, const qc_tok *at) {
    int64_t size = qc_view_size(to);
    qc_spend(c, 8 * size);
    for (int64_t k = 0; k < size; k++) {
        qc_value v = qc_load_cell(c, qc_view_cell(from, k), from_type, from_width);
        qc_store_cell(c, qc_view_cell(to, k), qc_convert(c, v, type, width, 1, at));
    }
}

/* The array at the current token, or a part of it, into `to`; by way of other cells where both are of one array. */
static void qc3_copy_array(qc *c, const qc_view *to, int type, int width) {
    qc_tok at = c->t;
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
    int dynamic;
    if (s == NULL || s->kind != S_ARRAY) qc_unexpected(c, "an array or '{'");
    int from_type = s->type, from_width = s->width;
    qc_view from = s->view;
    qc_next(c);
    from = qc3_view(c, from, &dynamic);
    if (dynamic || from.num_dims != to->num_dims ||
        memcmp(from.dims, to->dims, (size_t)to->num_dims * sizeof *to->dims) != 0)
        qc_fail_tok(c, QC_VALUE, &at, "the arrays have different shapes");
    if (from.base == to->base) {
        qc_view between = *to;
        between.base = between.first = qc_new_cells(c, qc_view_size(to) * qc_cells_of(type, width), &at);
        int32_t stride = qc_cells_of(type, width);
        for (int d = to->num_dims; d-- > 0; stride *= to->dims[d]) between.strides[d] = stride;
        qc_copy_cells(c, &between, from_type, from_width, &from, from_type, from_width, &at);
        from = between;
    }
    qc_copy_cells(c, to, type, width, &from, from_type, from_width, &at);
}

/* The sizes of an array's dimensions, up to the closing bracket; *size is the number of its cells. */
static qc_view qc3_shape(qc *c, int type, int width, int64_t *size) {
    qc_view v = {0, 0, 0, 0, {0}, {0}};
    while (qc_accept(c, ',')) {
        qc_tok here = c->t;
        int64_t dim = qc3_known_int(c, "a size");
        if (v.num_dims == 7) qc_fail_tok(c, QC_SYNTAX, &here, "an array has at most 7 dimensions");
        if (dim < 0) qc_fail_tok(c, QC_VALUE, &here, "an array of %lld elements", (long long)dim);
        if (dim > QC_MAX_CELLS || (*size *= dim) > QC_MAX_CELLS)
            qc_fail_tok(c, QC_LIMIT, &here, "an array of more than %d elements", QC_MAX_CELLS);
        v.dims[v.num_dims++] = (int32_t)dim;
    }
    if (v.num_dims == 0) qc_unexpected(c, "','");
    int32_t stride = qc_cells_of(type, width);
    for (int d = v.num_dims; d-- > 0; stride *= v.dims[d]) v.strides[d] = stride;
    *size *= qc_cells_of(type, width);
    return v;
}

/* array[type, sizes] name = {...}; */
static void qc3_array(qc *c, int is_const) {
    int type, width;
    int64_t size = 1;
    qc_tok at = c->t;
    qc_not_in_gate(c, &at);
    qc_next(c);
    qc_expect(c, '[', "'['");
    if (!qc3_type(c, &type, &width)) qc_unexpected(c, "a type");
    if (type == TY_BITS) qc_check_width(c, width);
    qc_view v = qc3_shape(c, type, width, &size);
    qc_expect(c, ']', "']'");
    qc_tok name = qc_name(c, "a name");
    qc_check_free(c, &name);
    v.first = v.base = qc_new_cells(c, size, &name);
    v.span = (int32_t)size;
    if (qc_accept(c, '=')) {
        if (c->t.kind == '{') qc3_initializer(c, &v, type, width, 0, v.first);
        else qc3_copy_array(c, &v, type, width);
    } else if (is_const) {
        qc_unexpected(c, "'='");
    }
    qc_symbol *s = qc_declare(c, &name, S_ARRAY);
    s->type = (uint8_t)type;
    s->width = width;
    s->view = v;
    s->is_const = (uint8_t)is_const;
    qc3_semicolon(c);
}

#endif

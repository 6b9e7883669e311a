/* OpenQASM 3: subroutines. A call is compiled in place: the text of the body is read again with the parameters bound.
 */
#ifndef QFAST_QASM3_SUBROUTINE_H
#define QFAST_QASM3_SUBROUTINE_H
#include "qasm3_loops.h"

typedef struct {
    qc_tok name;
    uint8_t kind, type, is_mutable; /* kind: S_QUBITS, S_VARIABLE, S_BITS or S_ARRAY */
    int32_t size;                   /* qubits (-1: a single one) */
    qc_view shape;                  /* of an array; a dimension of -1 may have any size */
    int32_t width;
} qc_formal;

typedef struct qc_subroutine {
    qc_tok name;
    const char *body; /* its opening brace */
    int32_t num_formals;
    const qc_formal *formals;
    int type, width;
    int *active; /* being compiled: recursion is not allowed */
} qc_subroutine;

/* The dimensions of an array parameter, up to the closing bracket: sizes, or #dim = their number. */
static void qc3_formal_shape(qc *c, qc_formal *f) {
    int64_t size = 1;
    if (c->t.kind == ',' && *qc_text_space(c, c->t.end) == '#') {
        qc_next(c);
        qc_next(c);
        if (!qc_is_word(c, QC_KEY('d', 'i', 'm', 0, 0, 0, 0, 0))) qc_unexpected(c, "'dim'");
        qc_next(c);
        qc_expect(c, '=', "'='");
        qc_tok at = c->t;
        int64_t n = qc3_known_int(c, "a number of dimensions");
        if (n < 1 || n > 7) qc_fail_tok(c, QC_VALUE, &at, "an array of %lld dimensions, expected 1 to 7", (long long)n);
        f->shape.num_dims = (int32_t)n;
        for (int k = 0; k < n; k++) f->shape.dims[k] = -1;
    } else {
        f->shape = qc3_shape(c, f->type, f->width, &size);
    }
    qc_expect(c, ']', "']' or ','");
}

static qc_formal qc3_formal(qc *c) {
    qc_formal f;
    int type, width;
    memset(&f, 0, sizeof f);
    if (qc_is_word(c, QC_KEY('q', 'u', 'b', 'i', 't', 0, 0, 0)) || qc_is_word(c,
                                                                              QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0))) {
        int is_old = c->t.key == QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0);
        qc_next(c);
        f.kind = S_QUBITS;
        f.size = -1;
        if (is_old) f.name = qc_name(c, "a name");
        if (qc_accept(c, '[')) {
            int64_t size = qc3_known_int(c, "a size");
            if (size < 0 || size > QC_MAX_QUBITS) qc_fail(c, QC_VALUE, "a size of %lld", (long long)size);
            f.size = (int32_t)size;
            qc_expect(c, ']', "']'");
        }
        if (!is_old) f.name = qc_name(c, "the name of a parameter");
        return f;
    }
    if (qc_is_word(c, QC_KEY('r', 'e', 'a', 'd', 'o', 'n', 'l', 'y')) || qc_is_word(c,
            QC_KEY('m', 'u', 't', 'a', 'b', 'l', 'e', 0))) {
        f.is_mutable = c->t.key == QC_KEY('m', 'u', 't', 'a', 'b', 'l', 'e', 0);
        f.kind = S_ARRAY;
        qc_next(c);
        if (!qc_is_word(c, QC_KEY('a', 'r', 'r', 'a', 'y', 0, 0, 0))) qc_unexpected(c, "'array'");
        qc_next(c);
        qc_expect(c, '[', "'['");
        if (!qc3_type(c, &type, &width)) qc_unexpected(c, "a type");
        f.type = (uint8_t)type;
        f.width = (int32_t)width;
        qc3_formal_shape(c, &f);
        f.name = qc_name(c, "the name of a parameter");
        return f;
    }
    if (!qc3_type(c, &type, &width)) qc_unexpected(c, "the type of a parameter");
    f.kind = type == TY_BITS ? S_BITS : S_VARIABLE;
    f.type = (uint8_t)type;
    f.width = (int32_t)width;
    f.name = qc_name(c, "the name of a parameter");
    return f;
}

/* An argument: what it is bound to, still in the caller's scope. Values lie in cells of their own. */
typedef struct {
    qc_refs refs;
    int32_t cell;
    qc_symbol array;
} qc_argument;

static qc_argument qc3_argument(qc *c, const qc_formal *f) {
    qc_argument a;
    qc_tok at = c->t;
    memset(&a, 0, sizeof a);
    if (f->kind == S_QUBITS) {
        a.refs = qc3_operand(c);
        int32_t wanted = f->size < 0 ? 1 : f->size;
        if (a.refs.count != wanted)
            qc_fail_tok(c, QC_VALUE, &at, "%d qubit%s given for a parameter of %d", a.refs.count, a.refs.count == 1
                        ? " is" : "s are", wanted);
        a.refs.is_register = f->size >= 0;
        return a;
    }
    if (f->kind == S_ARRAY) {
        const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
        int dynamic;
        if (s == NULL || s->kind != S_ARRAY) qc_unexpected(c, "an array");
        a.array = *s;
        if (s->type != f->type || s->width != f->width)
            qc_fail(c, QC_SYNTAX, "the elements of this array have another type than the parameter's");
        if (s->is_const && f->is_mutable)
            qc_fail(c, QC_SYNTAX, "this array can't be changed, but the parameter is mutable");
        qc_next(c);
        a.array.view = qc3_view(c, a.array.view, &dynamic);
        if (dynamic || a.array.view.num_dims == 0) qc_fail_tok(c, QC_SYNTAX, &at, "an array must stand here");
        int fits = a.array.view.num_dims == f->shape.num_dims;
        for (int k = 0; fits && k < f->shape.num_dims; k++)
            fits = f->shape.dims[k] < 0 || f->shape.dims[k] == a.array.view.dims[k];
        if (!fits) qc_fail_tok(c, QC_VALUE, &at, "this array has another shape than the parameter");
        return a;
    }
    qc_value v = qc_convert(c, qc3_expression(c, 0), f->type, f->width, f->type != TY_BITS, &at);
    a.cell = qc_new_cells(c, qc_cells_of(f->type, f->width), &at);
    qc_store_cell(c, a.cell, v);
    return a;
}

static void qc_bind(qc *c, const qc_formal *f, const qc_argument *a) {
    qc_symbol *s = qc_declare(c, &f->name, f->kind);
    s->type = f->type;
    s->width = f->width;
    if (f->kind == S_QUBITS) {
        s->refs = a->refs;
    } else if (f->kind == S_ARRAY) {
        s->view = a->array.view;
        s->is_const = !f->is_mutable;
    } else {
        s->cell = a->cell;
        s->refs = qc_word_bits(a->cell, f->width);
        s->refs.is_register = f->width != 1;
    }
}

/* Pins the arrays that a subroutine may change, since its paths may join at its end. */
static qc_pins qc_pin_arrays(qc *c, const qc_subroutine *s, const qc_argument *arguments) {
    qc_pins p = {0, 0, NULL, NULL, NULL};
    int32_t stamp = ++c->stamp;
    for (int32_t k = 0; k < s->num_formals; k++)
        if (s->formals[k].kind == S_ARRAY && s->formals[k].is_mutable) qc_pin_symbol(c, &p, &arguments[k].array, stamp);
    qc_pin(c, &p);
    return p;
}

static _Noreturn void qc_no_result(qc *c, const qc_subroutine *s) {
    qc_fail_tok(c, QC_SYNTAX, &s->name, "subroutine %s may end without a result", qc_named(c, &s->name));
}

/* Where nothing is executed: a value of that type. */
static qc_value qc_unknown_value(qc *c, int type, int32_t width) {
    if (type == TY_VOID) return (qc_value){0};
    if (type == TY_COMPLEX) qc_abandon(c);
    if (type == TY_BITS && width > 64) {
        qc_value wide = qc_new_wide(c, width);
        for (int32_t k = 0; k < qc_cells_of(type, width); k++) c->cells[wide.bits + k].known = 0;
        return wide;
    }
    qc_push_int(c, 0);
    return qc_on_stack(type, width);
}

/* Arguments from number n on, up to the closing token; how many there are then. */
static int32_t qc3_arguments(qc *c, const qc_tok *name, const qc_subroutine *s, qc_argument *arguments, int32_t n,
                             int closing) {
    while (c->t.kind != closing) {
        if (n == s->num_formals)
            qc_fail(c, QC_SYNTAX, "subroutine %s takes %d argument%s", qc_named(c, name), n, n == 1 ? "" : "s");
        arguments[n] = qc3_argument(c, &s->formals[n]);
        n++;
        if (!qc_accept(c, ',')) break;
    }
    return n;
}

/* A call; the current token is the opening parenthesis. A statement may also be written as that of a gate, as the
 * specification's own examples do: the values in parentheses, then the qubits. */
static qc_value qc3_call_subroutine(qc *c, const qc_tok *name, const qc_subroutine *s, int is_statement) {
    int32_t cells = c->num_cells, wall = c->wall, n = 0;
    qc_frame frame;
    qc_value result = {0};
    if (c->in_gate) qc_fail_tok(c, QC_SYNTAX, name, "a subroutine can't be called in the body of a gate");
    if (*s->active) qc_fail_tok(c, QC_SYNTAX, name, "subroutine %s calls itself", qc_named(c, name));
    c->statements += 4; /* a call costs as much as a few statements */
    qc_count_statement(c);
    qc_mark_t mark = qc_mark(c);
    qc_argument *arguments = qc_alloc(c, (size_t)s->num_formals * sizeof *arguments);
    int is_old = is_statement && c->t.kind != '(';
    if (!is_old) {
        qc_expect(c, '(', "'('");
        n = qc3_arguments(c, name, s, arguments, 0, ')');
        if (c->t.kind != ')') qc_unexpected(c, "')' or ','");
        const char *next = qc_text_space(c, c->t.end);
        is_old = is_statement && n < s->num_formals && next < c->end && *next != ';';
        if (is_old) qc_next(c);
    }
    if (is_old) n = qc3_arguments(c, name, s, arguments, n, ';');
    if (n < s->num_formals)
        qc_fail_tok(c, QC_SYNTAX, name, "subroutine %s takes %d arguments, but %d %s given", qc_named(c, name),
                    s->num_formals, n,
                    n == 1 ? "is" : "are");
    const char *after = is_old ? c->t.begin : c->at;
    qc_pins pins = qc_pin_arrays(c, s, arguments);
    if (c->checking) {
        qc_forget(c, &pins);
        qc_unpin(c, &pins);
        qc_seek(c, after);
        qc_release(c, mark);
        c->num_cells = cells;
        return qc_unknown_value(c, s->type, s->width);
    }
    frame = (qc_frame){c->frame, c->loop, s->type, s->width, -1, -1, c->dynamic, s->active};
    if (s->type != TY_VOID) frame.cell = qc_new_cells(c, qc_cells_of(s->type, s->width), name);
    qc_open_scope(c);
    c->wall = c->scope;
    for (int32_t k = 0; k < s->num_formals; k++) qc_bind(c, &s->formals[k], &arguments[k]);
    c->frame = &frame;
    c->loop = NULL;
    *s->active = 1;
    qc_seek(c, s->body);
    qc_next(c);
    int flow = qc3_block_rest(c);
    qc_spend(c, c->previous_end - s->body);
    *s->active = 0;
    c->loop = frame.loop;
    c->frame = frame.outer;
    qc_close_scope(c);
    c->wall = wall;
    if (s->type != TY_VOID && flow != FLOW_RETURN && flow != FLOW_DEAD) qc_no_result(c, s);
    if (frame.returns >= 0) {
        qc_patch(c, frame.returns, c->out->n);
        qc_forget(c, &pins);
        for (int32_t k = 0; frame.cell >= 0 && k < qc_cells_of(s->type, s->width); k++)
            c->cells[frame.cell + k].known = 0;
    }
    qc_unpin(c, &pins);
    if (s->type != TY_VOID) result = qc_load_cell(c, frame.cell, s->type, s->width);
    qc_release(c, mark);
    c->num_cells = cells;
    qc_seek(c, after);
    return result;
}

/* A parameter of which nothing but its type is known. */
static void qc_bind_unknown(qc *c, const qc_formal *f, int32_t *qubits) {
    qc_argument a;
    memset(&a, 0, sizeof a);
    if (f->kind == S_QUBITS) {
        a.refs = (qc_refs){f->size < 0 ? 1 : f->size, QC_MAX_QUBITS + *qubits, f->size >= 0, 0, NULL};
        *qubits += a.refs.count;
    } else if (f->kind != S_ARRAY) {
        a.cell = qc_new_cells(c, qc_cells_of(f->type, f->width), &f->name);
        for (int32_t k = 0; k < qc_cells_of(f->type, f->width); k++) c->cells[a.cell + k].known = 0;
    } else if (f->shape.dims[0] < 0) { /* of any size: what uses it is not checked */
        qc_declare(c, &f->name, S_BROKEN);
        return;
    } else {
        int64_t size = qc_view_size(&f->shape) * qc_cells_of(f->type, f->width);
        a.array.view = f->shape;
        a.array.view.first = a.array.view.base = qc_new_cells(c, size, &f->name);
        a.array.view.span = (int32_t)size;
        for (int64_t k = 0; k < size; k++) c->cells[a.array.view.base + k].known = 0;
    }
    qc_bind(c, f, &a);
}

/* Checks the body of a subroutine, the current token, which it reads over. */
static void qc3_check_subroutine(qc *c, const qc_subroutine *s) {
    qc_recovery guard;
    qc_frame frame = {NULL, NULL, s->type, s->width, -1, -1, 1, s->active};
    const qc_snapshot before = qc_take(c);
    const int was_checking = c->checking;
    c->checking = 1;
    qc_guard(c, &guard);
    if (setjmp(guard.jump) == 0) {
        const char *body = c->t.begin;
        const int abandoned = c->num_abandoned;
        int32_t qubits = 0;
        qc_open_scope(c);
        c->wall = c->scope;
        for (int32_t k = 0; k < s->num_formals; k++) qc_bind_unknown(c, &s->formals[k], &qubits);
        if (s->type != TY_VOID) frame.cell = qc_new_cells(c, qc_cells_of(s->type, s->width), &s->name);
        c->frame = &frame;
        c->dynamic++;
        *s->active = 1;
        qc_next(c);
        int flow = qc3_block_rest(c);
        const char *end = c->t.begin;
        int has_loops = qc_has_words(c, body, end, QC_KEY('f', 'o', 'r', 0, 0, 0, 0, 0),
                                     QC_KEY('w', 'h', 'i', 'l', 'e', 0, 0, 0));
        qc_seek(c, end);
        qc_close_scope(c);
        c->dynamic--;
        c->frame = NULL;
        c->wall = 0;
        if (s->type != TY_VOID && flow == FLOW_NEXT && !has_loops && c->num_abandoned == abandoned) {
            c->resume = end;
            qc_no_result(c, s);
        }
    } else {
        qc_recover(c);
    }
    *s->active = 0;
    c->recovery = guard.outer;
    qc_put_back(c, &before);
    c->checking = was_checking || c->num_errors > 0;
}

/* def NAME(parameters) -> type { body } */
static void qc3_definition(qc *c) {
    qc_subroutine s;
    int32_t cap = 8;
    memset(&s, 0, sizeof s);
    if (c->scope != 0) qc_fail(c, QC_SYNTAX, "a subroutine must be defined outside of all blocks");
    qc_next(c);
    s.name = qc_name(c, "the name of the subroutine");
    qc_formal *formals = qc_alloc(c, (size_t)cap * sizeof *formals);
    qc_expect(c, '(', "'('");
    while (c->t.kind != ')') {
        if (s.num_formals == cap) {
            qc_formal *more = qc_alloc(c, 2 * (size_t)cap * sizeof *more);
            memcpy(more, formals, (size_t)cap * sizeof *more);
            formals = more;
            cap *= 2;
        }
        formals[s.num_formals++] = qc3_formal(c);
        if (!qc_accept(c, ',')) break;
    }
    qc_expect(c, ')', "')' or ','");
    if (qc_accept(c, T_ARROW) && !qc3_type(c, &s.type, &s.width)) qc_unexpected(c, "the type of the result");
    s.formals = formals;
    s.body = c->t.begin;
    if (c->t.kind != '{') qc_unexpected(c, "'{'");
    s.active = qc_alloc(c, sizeof *s.active);
    *s.active = 0;
    qc_subroutine *kept = qc_alloc(c, sizeof *kept);
    *kept = s;
    qc_declare(c, &s.name, S_SUBROUTINE)->subroutine = kept;
    qc3_check_subroutine(c, kept);
}

static int qc3_return(qc *c) {
    qc_frame *f = c->frame;
    qc_tok at = c->t;
    if (f == NULL) qc_fail(c, QC_SYNTAX, "'return' stands outside of a subroutine");
    qc_next(c);
    int is_jump = c->dynamic != f->dynamic || f->returns >= 0 || qc_jumps_pending(c->loop);
    if (c->t.kind != ';') {
        qc_tok value_at = c->t;
        qc_value v = qc3_expression(c, 0);
        if (f->type == TY_VOID) {
            if (v.type != TY_VOID) qc_fail_tok(c, QC_SYNTAX, &value_at, "this subroutine has no result");
        } else {
            v = qc_convert(c, v, f->type, f->width, f->type != TY_BITS, &value_at);
            for (int32_t k = 0; is_jump && k < qc_cells_of(f->type, f->width); k++) c->cells[f->cell + k].pinned = 1;
            qc_store_cell(c, f->cell, v);
        }
    } else if (f->type != TY_VOID) {
        qc_fail_tok(c, QC_SYNTAX, &at, "this subroutine must return a %s", qc_type_name(f->type));
    }
    qc_expect(c, ';', "';'");
    if (!is_jump) return FLOW_RETURN;
    qc_jump(c, &f->returns);
    return FLOW_DEAD;
}

#endif

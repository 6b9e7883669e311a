/* OpenQASM 3: control flow. What is known at compile time is executed here; what depends on measurements becomes jumps. */
#ifndef QFAST_QASM3_FLOW_H
#define QFAST_QASM3_FLOW_H
#include "qasm3_expr.h"

/* How a statement ended. DEAD: every path left by a jump, so that what follows in the block is never reached. */
enum qc_flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_RETURN, FLOW_DEAD };

/* Pending jumps are chained through their targets; -1 ends the chain. */
typedef struct qc_loop {
    struct qc_loop *outer;
    int32_t breaks, continues, dynamic; /* dynamic: c->dynamic outside of the loop's body */
    int is_dynamic;
} qc_loop;

typedef struct qc_frame {
    struct qc_frame *outer;
    qc_loop *loop; /* of the caller */
    int type, width; /* of the result */
    int32_t cell, returns, dynamic;
    int has_dynamic_return;
} qc_frame;

static int qc3_statement(qc *c);

static void qc_jump(qc *c, int32_t *chain) {
    qc_op(c, QF_JUMP, *chain);
    *chain = c->out->n - 1;
}

static void qc_patch(qc *c, int32_t chain, int32_t target) {
    while (chain >= 0) {
        int32_t next = c->out->code[chain].c;
        c->out->code[chain].c = target;
        chain = next;
    }
}

static void qc_count_statement(qc *c) {
    if (++c->statements > QC_MAX_STATEMENTS)
        qc_fail(c, QC_LIMIT, "the program executes more than %d statements at compile time", QC_MAX_STATEMENTS);
}

/* ---- reading over statements */

/* Reads over balanced brackets; the opening one is the current token. */
static void qc_skip_brackets(qc *c) {
    const char *begin = c->t.begin, *end = c->t.end;
    for (int64_t depth = 0;; qc_next(c)) {
        int k = c->t.kind;
        if (k == '(' || k == '[' || k == '{') depth++;
        if (k == T_EOF) qc_fail_at(c, QC_SYNTAX, begin, end, "%s is not closed", qc_quote(c, begin, 1));
        if ((k == ')' || k == ']' || k == '}') && --depth == 0) break;
    }
    qc_next(c);
}

static void qc_skip_statement(qc *c) {
    qc_nest(c);
    if (c->t.kind == '{') {
        qc_skip_brackets(c);
    } else {
        uint64_t key = c->t.kind == T_IDENT ? c->t.key : 0;
        switch (key) {
        case QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0): case QC_KEY('w', 'h', 'i', 'l', 'e', 0, 0, 0):
            qc_next(c);
            if (c->t.kind != '(') qc_unexpected(c, "'('");
            qc_skip_brackets(c);
            qc_skip_statement(c);
            if (key == QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0) && qc_is_word(c, QC_KEY('e', 'l', 's', 'e', 0, 0, 0, 0))) {
                qc_next(c);
                qc_skip_statement(c);
            }
            break;
        case QC_KEY('f', 'o', 'r', 0, 0, 0, 0, 0):
            while (!qc_is_word(c, QC_KEY('i', 'n', 0, 0, 0, 0, 0, 0))) {
                if (c->t.kind == T_EOF || c->t.kind == ';') qc_unexpected(c, "'in'");
                qc_next(c);
            }
            qc_next(c);
            if (c->t.kind == '[' || c->t.kind == '{') qc_skip_brackets(c);
            else qc_next(c);
            qc_skip_statement(c);
            break;
        case QC_KEY('s', 'w', 'i', 't', 'c', 'h', 0, 0): case QC_KEY('b', 'o', 'x', 0, 0, 0, 0, 0):
            while (c->t.kind != '{') {
                if (c->t.kind == T_EOF || c->t.kind == ';') qc_unexpected(c, "'{'");
                if (c->t.kind == '(' || c->t.kind == '[') qc_skip_brackets(c);
                else qc_next(c);
            }
            qc_skip_brackets(c);
            break;
        default:
            while (c->t.kind != ';') {
                if (c->t.kind == T_EOF || c->t.kind == '}') qc_unexpected(c, "';'");
                if (c->t.kind == '(' || c->t.kind == '[' || c->t.kind == '{') qc_skip_brackets(c);
                else qc_next(c);
            }
            qc_next(c);
        }
    }
    c->nesting--;
}

/* ---- cells that a stretch of the program may assign */

typedef struct {
    int32_t n, cap, *id; /* a cell, or ~bit */
    qc_cell *before, *then;
} qc_pins;

static qc_cell *qc_pinned_cell(qc *c, int32_t id) { return id >= 0 ? &c->cells[id] : &c->bit_cells[~id]; }

static void qc_pin_one(qc *c, qc_pins *p, int32_t id, int32_t stamp) {
    qc_cell *cell = qc_pinned_cell(c, id);
    if (cell->stamp == stamp) return;
    cell->stamp = stamp;
    if (p->n == p->cap) {
        int32_t cap = p->cap ? 2 * p->cap : 16, *id2 = qc_alloc(c, (size_t)cap * sizeof *id2);
        if (p->n) memcpy(id2, p->id, (size_t)p->n * sizeof *id2);
        p->id = id2;
        p->cap = cap;
    }
    p->id[p->n++] = id;
}

static void qc_pin_symbol(qc *c, qc_pins *p, const qc_symbol *s, int32_t stamp) {
    if (s->kind == S_VARIABLE) qc_pin_one(c, p, s->cell, stamp);
    if (s->kind == S_ARRAY) {
        qc_spend(c, s->size);
        for (int32_t k = 0; k < s->size; k++) qc_pin_one(c, p, s->cell + k, stamp);
    }
    if (s->kind == S_BITS) {
        qc_spend(c, s->refs.count);
        for (int32_t k = 0; k < s->refs.count; k++)
            qc_pin_one(c, p, s->refs.space ? qc_ref(&s->refs, k) >> 6 : ~qc_ref(&s->refs, k), stamp);
    }
}

/* Finds what the text from `from` to `to` may assign: names before an assignment operator or after an arrow, and arrays that are
 * arguments. Names that are declared within the stretch may hide others, which are then found needlessly; that only costs speed. */
static qc_pins qc_find_assigned(qc *c, const char *from, const char *to) {
    qc_pins p = {0, 0, NULL, NULL, NULL};
    int32_t stamp = ++c->stamp;
    int arrow = 0;
    qc_seek(c, from);
    while (c->t.begin < to && c->t.kind != T_EOF) {
        if (c->t.kind != T_IDENT) {
            arrow = c->t.kind == T_ARROW;
            qc_spend(c, 1);
            qc_next(c);
            continue;
        }
        qc_tok name = c->t;
        const qc_symbol *s = qc_find(c, &name);
        qc_next(c);
        if (s == NULL || (s->kind != S_VARIABLE && s->kind != S_ARRAY && s->kind != S_BITS)) {
            arrow = 0;
            continue;
        }
        const char *after = c->t.begin;
        while (c->t.kind == '[') qc_skip_brackets(c);
        int is_argument = s->kind == S_ARRAY && (c->t.kind == ',' || c->t.kind == ')');
        if (arrow || c->t.kind == '=' || c->t.kind == T_ASSIGN_OP || is_argument) qc_pin_symbol(c, &p, s, stamp);
        arrow = 0;
        qc_seek(c, after);
    }
    return p;
}

static void qc_pin(qc *c, qc_pins *p) {
    qc_spend(c, p->n);
    for (int32_t k = 0; k < p->n; k++) {
        qc_cell *cell = qc_pinned_cell(c, p->id[k]);
        if (p->id[k] >= 0 && cell->known && !cell->pinned) {
            qc_push_int(c, cell->bits);
            qc_op(c, QF_STVAR, p->id[k]);
        }
        cell->pinned++;
    }
}

static void qc_unpin(qc *c, const qc_pins *p) {
    for (int32_t k = 0; k < p->n; k++) qc_pinned_cell(c, p->id[k])->pinned--;
}

static void qc_forget(qc *c, const qc_pins *p) {
    for (int32_t k = 0; k < p->n; k++) qc_pinned_cell(c, p->id[k])->known = 0;
}

static qc_cell *qc_save(qc *c, const qc_pins *p) {
    qc_cell *saved = qc_alloc(c, (size_t)p->n * sizeof *saved);
    for (int32_t k = 0; k < p->n; k++) saved[k] = *qc_pinned_cell(c, p->id[k]);
    return saved;
}

static void qc_restore(qc *c, const qc_pins *p, const qc_cell *saved) {
    for (int32_t k = 0; k < p->n; k++) {
        qc_cell *cell = qc_pinned_cell(c, p->id[k]);
        cell->known = saved[k].known;
        cell->bits = saved[k].bits;
    }
}

/* The state where two paths join: this one and `other`. */
static void qc_join(qc *c, const qc_pins *p, const qc_cell *other) {
    for (int32_t k = 0; k < p->n; k++) {
        qc_cell *cell = qc_pinned_cell(c, p->id[k]);
        if (!other[k].known || other[k].bits != cell->bits) cell->known = 0;
    }
}

/* ---- blocks */

/* Executes the statements up to the closing brace, which it reads over; after one that does not end normally the rest is skipped. */
static int qc3_block_rest(qc *c) {
    int flow = FLOW_NEXT;
    const char *begin = c->previous_end - 1;
    while (c->t.kind != '}') {
        if (c->t.kind == T_EOF) qc_fail_at(c, QC_SYNTAX, begin, begin + 1, "this '{' is not closed, expected '}'");
        if (flow == FLOW_NEXT) flow = qc3_statement(c);
        else qc_skip_statement(c);
    }
    qc_next(c);
    return flow;
}

/* A statement or a block in a scope of its own, whose variables and memory are given back. */
static int qc3_body(qc *c) {
    int32_t cells = c->num_cells;
    qc_mark_t mark = qc_mark(c);
    qc_open_scope(c);
    int flow = qc_accept(c, '{') ? qc3_block_rest(c) : qc3_statement(c);
    qc_close_scope(c);
    qc_release(c, mark);
    c->num_cells = cells;
    return flow;
}

static int qc3_if(qc *c) {
    qc_next(c);
    qc_expect(c, '(', "'('");
    qc_tok at = c->t;
    qc_value condition = qc_to_bool(c, qc3_expression(c, 0));
    qc_expect(c, ')', "')'");
    const uint64_t word_else = QC_KEY('e', 'l', 's', 'e', 0, 0, 0, 0);
    int flow = FLOW_NEXT;
    if (condition.known) {
        if (condition.bits) flow = qc3_body(c);
        else qc_skip_statement(c);
        if (!qc_is_word(c, word_else)) return flow;
        qc_next(c);
        if (condition.bits) qc_skip_statement(c);
        else flow = qc3_body(c);
        return flow;
    }
    if (c->in_gate) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a condition on the parameters of a gate is not supported");
    const char *then_at = c->t.begin, *else_at = NULL, *end;
    qc_mark_t mark = qc_mark(c);
    qc_skip_statement(c);
    if (qc_is_word(c, word_else)) {
        qc_next(c);
        else_at = c->t.begin;
        qc_skip_statement(c);
    }
    end = c->t.begin;
    qc_pins pins = qc_find_assigned(c, then_at, end);
    qc_pin(c, &pins);
    int32_t to_else = c->out->n, to_end = -1;
    qc_op(c, QF_JUMPZ, 0);
    c->dynamic++;
    qc_cell *before = qc_save(c, &pins);
    qc_seek(c, then_at);
    int then_flow = qc3_body(c), else_flow = FLOW_NEXT;
    qc_cell *then_state = qc_save(c, &pins);
    if (else_at != NULL && then_flow == FLOW_NEXT) qc_jump(c, &to_end);
    c->out->code[to_else].c = c->out->n;
    qc_restore(c, &pins, before);
    if (else_at != NULL) {
        qc_seek(c, else_at);
        else_flow = qc3_body(c);
    }
    qc_patch(c, to_end, c->out->n);
    c->dynamic--;
    if (else_flow != FLOW_NEXT) qc_restore(c, &pins, then_state);
    else if (then_flow == FLOW_NEXT) qc_join(c, &pins, then_state);
    qc_unpin(c, &pins);
    qc_release(c, mark);
    qc_seek(c, end);
    return then_flow != FLOW_NEXT && else_flow != FLOW_NEXT ? FLOW_DEAD : FLOW_NEXT;
}

/* ---- loops */

/* Whether a jump out of the body of a loop (or of a subroutine) stands in the text. */
static int qc_has_jumps(qc *c, const char *from, const char *to) {
    int found = 0;
    qc_seek(c, from);
    for (; c->t.begin < to && c->t.kind != T_EOF && !found; qc_next(c)) {
        qc_spend(c, 1);
        found = qc_is_word(c, QC_KEY('b', 'r', 'e', 'a', 'k', 0, 0, 0)) || qc_is_word(c, QC_KEY('c', 'o', 'n', 't', 'i', 'n', 'u', 'e'));
    }
    return found;
}

/* One round of a loop that is unrolled. Returns whether there is a next one; *flow is what the loop hands on where not. */
static int qc3_round(qc *c, qc_loop *loop, const qc_pins *pins, const char *body, int *flow) {
    loop->continues = -1;
    qc_seek(c, body);
    c->loop = loop;
    int ended = qc3_body(c);
    c->loop = loop->outer;
    if (loop->continues >= 0) {
        qc_patch(c, loop->continues, c->out->n);
        qc_forget(c, pins);
        if (ended == FLOW_DEAD) ended = FLOW_NEXT;
    }
    *flow = ended == FLOW_BREAK || ended == FLOW_CONTINUE ? FLOW_NEXT : ended;
    return ended == FLOW_NEXT || ended == FLOW_CONTINUE;
}

static void qc_begin_loop(qc *c, qc_loop *loop, int is_dynamic) {
    *loop = (qc_loop){c->loop, -1, -1, c->dynamic, is_dynamic};
}

/* Ends an unrolled loop, to whose end paths may have jumped. */
static int qc_end_unrolled(qc *c, qc_loop *loop, qc_pins *pins, int flow) {
    if (loop->breaks >= 0) {
        qc_patch(c, loop->breaks, c->out->n);
        qc_forget(c, pins);
        if (flow == FLOW_DEAD) flow = FLOW_NEXT;
    }
    qc_unpin(c, pins);
    return flow;
}

/* while on values of the running program; the condition begins at `condition`. */
static int qc3_dynamic_while(qc *c, const char *condition, const char *body, const char *end) {
    qc_loop loop;
    int32_t to_end;
    qc_pins pins = qc_find_assigned(c, condition, end);
    qc_pin(c, &pins);
    qc_forget(c, &pins);
    qc_begin_loop(c, &loop, 1);
    int32_t head = c->out->n;
    qc_seek(c, condition);
    c->dynamic++;
    qc_value v = qc_to_bool(c, qc3_expression(c, 0));
    qc_push_value(c, &v);
    to_end = c->out->n;
    qc_op(c, QF_JUMPZ, 0);
    qc_seek(c, body);
    c->loop = &loop;
    int flow = qc3_body(c);
    c->loop = loop.outer;
    qc_patch(c, loop.continues, head);
    if (flow == FLOW_NEXT) qc_op(c, QF_JUMP, head);
    c->dynamic--;
    c->out->code[to_end].c = c->out->n;
    qc_patch(c, loop.breaks, c->out->n);
    qc_forget(c, &pins);
    qc_unpin(c, &pins);
    qc_seek(c, end);
    return FLOW_NEXT;
}

static int qc3_while(qc *c) {
    qc_loop loop;
    int flow = FLOW_NEXT;
    qc_next(c);
    if (c->t.kind != '(') qc_unexpected(c, "'('");
    qc_mark_t mark = qc_mark(c);
    qc_tok at = c->t;
    const char *condition = c->at, *body, *end;
    qc_skip_brackets(c);
    body = c->t.begin;
    qc_skip_statement(c);
    end = c->t.begin;
    qc_pins pins = {0, 0, NULL, NULL, NULL};
    if (qc_has_jumps(c, body, end)) pins = qc_find_assigned(c, condition, end);
    int changes = qc_find_assigned(c, condition, body).n;
    qc_pin(c, &pins);
    qc_begin_loop(c, &loop, 0);
    for (;;) {
        qc_count_statement(c);
        int32_t n = c->out->n, qubits = c->out->num_qubits, params = c->out->num_params, depth = c->stack_depth, measured = c->measurements;
        qc_seek(c, condition);
        qc_value v = qc_to_bool(c, qc3_expression(c, 0));
        qc_expect(c, ')', "')'");
        if (!v.known) {
            if (c->in_gate) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a condition on the parameters of a gate is not supported");
            if (changes) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a condition on measured values that may change an array is not supported");
            c->out->n = n;
            c->out->num_qubits = qubits;
            c->out->num_params = params;
            c->stack_depth = depth;
            c->measurements = measured;
            flow = qc3_dynamic_while(c, condition, body, end);
            break;
        }
        if (!v.bits || !qc3_round(c, &loop, &pins, body, &flow)) break;
    }
    flow = qc_end_unrolled(c, &loop, &pins, flow);
    qc_release(c, mark);
    qc_seek(c, end);
    return flow;
}

/* What a for loop runs over: a range, values, or a range whose ends only the running program knows. */
typedef struct {
    qc_range range;
    uint64_t count;
    const qc_value *values; /* NULL for a range */
    int is_dynamic;
    int32_t start_cell, stop_cell; /* where an end that is not known lies; -1 for one that is */
} qc_iterable;

static qc_iterable qc3_for_set(qc *c) {
    qc_iterable it = {{0, 0, 0, 0, 0}, 0, NULL, 0, -1, -1};
    int32_t cap = 16;
    qc_value *values = qc_alloc(c, (size_t)cap * sizeof *values);
    do {
        qc_next(c);
        if (c->t.kind == '}') break;
        if (it.count == (uint64_t)cap) {
            qc_value *more = qc_alloc(c, 2 * (size_t)cap * sizeof *more);
            memcpy(more, values, (size_t)cap * sizeof *more);
            values = more;
            cap *= 2;
        }
        qc_tok at = c->t;
        qc_value v = qc3_expression(c, 0);
        if (!v.known) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a set that depends on a measurement is not supported");
        values[it.count++] = v;
    } while (c->t.kind == ',');
    qc_expect(c, '}', "'}'");
    it.values = values;
    return it;
}

/* The elements of an array or the bits of a value. */
static qc_iterable qc3_for_elements(qc *c) {
    qc_iterable it = {{0, 0, 0, 0, 0}, 0, NULL, 0, -1, -1};
    qc_tok at = c->t;
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
    qc_value *values;
    if (s != NULL && s->kind == S_ARRAY) {
        qc_symbol array = *s;
        int left, dynamic;
        qc_next(c);
        int32_t cell = qc3_element(c, &array, &left, &dynamic);
        if (left != 1 || dynamic) qc_fail_tok(c, QC_SYNTAX, &at, "a loop runs over an array of one dimension");
        it.count = (uint64_t)array.dims[array.num_dims - 1];
        values = qc_alloc(c, it.count * sizeof *values);
        for (uint64_t k = 0; k < it.count; k++) {
            const qc_cell *element = &c->cells[cell + (int32_t)k];
            if (!element->known) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a loop over values that depend on a measurement is not supported");
            values[k] = (qc_value){array.type, 1, 0, 0, array.width, element->bits};
        }
        it.values = values;
        return it;
    }
    qc_value v = qc3_expression(c, 0);
    if (!v.known) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a loop over values that depend on a measurement is not supported");
    if (v.type != TY_BITS) qc_fail_tok(c, QC_SYNTAX, &at, "a loop runs over a range, a set, an array or a bit register");
    it.count = (uint64_t)v.width;
    values = qc_alloc(c, it.count * sizeof *values);
    for (int k = 0; k < v.width; k++) values[k] = (qc_value){TY_BITS, 1, 0, 0, 1, (int64_t)((uint64_t)v.bits >> k & 1)};
    it.values = values;
    return it;
}

/* One of the up to three parts of a range; *cell is where it lies when it is not known. */
static int64_t qc3_for_part(qc *c, int32_t *cell) {
    qc_tok at = c->t;
    qc_value v = qc3_expression(c, 0);
    *cell = -1;
    if (!qc_is_word_type(v.type)) qc_fail_tok(c, QC_SYNTAX, &at, "a range must be of integers, not of %ss", qc_type_name(v.type));
    if (v.known && v.type != TY_INT && v.bits < 0) qc_fail_tok(c, QC_LIMIT, &at, "a range is too large");
    if (v.known) return v.bits;
    *cell = qc_new_cells(c, 1, &at);
    qc_store_cell(c, *cell, v);
    return 0;
}

static qc_iterable qc3_for_range(qc *c) {
    qc_iterable it = {{0, 1, 0, 1, 1}, 0, NULL, 0, -1, -1};
    int32_t step_cell = -1;
    qc_next(c);
    qc_tok at = c->t;
    if (c->t.kind != ':') it.range.start = qc3_for_part(c, &it.start_cell);
    qc_expect(c, ':', "':'");
    if (c->t.kind == ']') qc_unexpected(c, "the end of the range");
    it.range.stop = qc3_for_part(c, &it.stop_cell);
    if (c->t.kind == ':') {
        qc_next(c);
        it.range.step = it.range.stop;
        step_cell = it.stop_cell;
        if (c->t.kind == ']') qc_unexpected(c, "the end of the range");
        it.range.stop = qc3_for_part(c, &it.stop_cell);
    }
    qc_expect(c, ']', "']'");
    if (step_cell >= 0) qc_fail_tok(c, QC_UNSUPPORTED, &at, "a step that depends on a measurement is not supported");
    if (it.range.step == 0) qc_fail_tok(c, QC_SYNTAX, &at, "a range with a step of 0");
    it.is_dynamic = it.start_cell >= 0 || it.stop_cell >= 0;
    it.count = it.is_dynamic ? 0 : qc_range_count(&it.range);
    if (it.count > QC_MAX_STATEMENTS)
        qc_fail_tok(c, QC_LIMIT, &at, "a loop of %llu rounds is more than %d", (unsigned long long)it.count, QC_MAX_STATEMENTS);
    return it;
}

static void qc_push_end(qc *c, int32_t cell, int64_t value) {
    if (cell >= 0) qc_op(c, QF_LDVAR, cell);
    else qc_push_int(c, value);
}

/* A loop over a range that the running program knows. The variable's cell is `cell`; a counter of its own drives the loop. */
static void qc3_dynamic_for(qc *c, const qc_iterable *it, int32_t cell, int type, int width, const char *body, const char *end, const qc_tok *at) {
    qc_loop loop;
    int32_t counter = qc_new_cells(c, 1, at), to_end;
    qc_pins pins = qc_find_assigned(c, body, end);
    qc_pin(c, &pins);
    qc_forget(c, &pins);
    qc_begin_loop(c, &loop, 1);
    qc_push_end(c, it->start_cell, it->range.start);
    qc_op(c, QF_STVAR, counter);
    int32_t head = c->out->n;
    qc_op(c, QF_LDVAR, counter);
    qc_push_end(c, it->stop_cell, it->range.stop);
    qc_op(c, it->range.step > 0 ? QF_ILE : QF_IGE, 0);
    to_end = c->out->n;
    qc_op(c, QF_JUMPZ, 0);
    qc_op(c, QF_LDVAR, counter);
    qc_store_cell(c, cell, qc_convert(c, qc_on_stack(TY_INT, 64), type, width, 1, at));
    c->dynamic++;
    c->loop = &loop;
    qc_seek(c, body);
    int flow = qc3_body(c);
    c->loop = loop.outer;
    c->dynamic--;
    qc_patch(c, loop.continues, c->out->n);
    if (flow == FLOW_NEXT || loop.continues >= 0) {
        qc_op(c, QF_LDVAR, counter);
        qc_push_int(c, it->range.step);
        qc_op(c, QF_IADD, 0);
        qc_op(c, QF_STVAR, counter);
        qc_op(c, QF_JUMP, head);
    }
    c->out->code[to_end].c = c->out->n;
    qc_patch(c, loop.breaks, c->out->n);
    qc_forget(c, &pins);
    qc_unpin(c, &pins);
}

static int qc3_for(qc *c) {
    qc_loop loop;
    int type, width, flow = FLOW_NEXT, goes_on = 1;
    qc_next(c);
    if (!qc3_type(c, &type, &width)) type = TY_INT, width = 64; /* OpenQASM 3 before its release, and Qiskit 0.x, wrote no type */
    qc_tok name = qc_name(c, "the name of the loop variable");
    if (!qc_is_word(c, QC_KEY('i', 'n', 0, 0, 0, 0, 0, 0))) qc_unexpected(c, "'in'");
    qc_next(c);
    qc_mark_t mark = qc_mark(c);
    int32_t cells = c->num_cells;
    qc_tok at = c->t;
    qc_iterable it = c->t.kind == '[' ? qc3_for_range(c) : c->t.kind == '{' ? qc3_for_set(c) : qc3_for_elements(c);
    const char *body = c->t.begin, *end;
    qc_skip_statement(c);
    end = c->t.begin;
    qc_pins pins = {0, 0, NULL, NULL, NULL};
    if (qc_has_jumps(c, body, end)) pins = qc_find_assigned(c, body, end);
    qc_pin(c, &pins);
    qc_begin_loop(c, &loop, 0);
    qc_open_scope(c);
    qc_symbol *s = qc_declare(c, &name, S_VARIABLE);
    int32_t cell = qc_new_cells(c, 1, &name);
    s->cell = cell;
    s->type = (uint8_t)type;
    s->width = (int16_t)width;
    if (type == TY_BITS) {
        s->kind = S_BITS;
        s->refs = qc_word_bits(cell, width);
        s->refs.is_register = 0;
    }
    if (it.is_dynamic) {
        qc_no_runtime_in_gate(c);
        qc3_dynamic_for(c, &it, cell, type, width, body, end, &at);
    }
    for (uint64_t k = 0; k < it.count && goes_on; k++) {
        qc_value v = it.values ? it.values[k] : qc_known_int(it.range.start + (int64_t)k * it.range.step);
        qc_count_statement(c);
        v = qc_convert(c, v, type, width, 1, &at);
        c->cells[cell] = (qc_cell){v.bits, 0, 0, 1};
        goes_on = qc3_round(c, &loop, &pins, body, &flow);
    }
    qc_close_scope(c);
    flow = qc_end_unrolled(c, &loop, &pins, flow);
    qc_release(c, mark);
    c->num_cells = cells;
    qc_seek(c, end);
    return flow;
}

/* Whether a path has left one of these loops by a jump, so that what follows does not end all paths. */
static int qc_jumps_pending(const qc_loop *loop) {
    for (; loop != NULL; loop = loop->outer)
        if (loop->breaks >= 0 || loop->continues >= 0) return 1;
    return 0;
}

/* break and continue */
static int qc3_jump_statement(qc *c, int is_break) {
    qc_loop *loop = c->loop;
    if (loop == NULL) qc_fail(c, QC_SYNTAX, "%s stands outside of a loop", qc_token_text(c));
    qc_next(c);
    qc_expect(c, ';', "';'");
    if (!loop->is_dynamic && c->dynamic == loop->dynamic && !(is_break && loop->continues >= 0)) return is_break ? FLOW_BREAK : FLOW_CONTINUE;
    qc_jump(c, is_break ? &loop->breaks : &loop->continues);
    return FLOW_DEAD;
}

/* ---- switch */

/* One case's labels against the value; the current token follows `case`. Known: whether one fits. Else leaves the answer on the stack. */
static qc_value qc3_case_labels(qc *c, const qc_value *target, int32_t cell) {
    qc_value any = qc_known_bool(0);
    do {
        qc_next(c);
        qc_tok at = c->t;
        qc_value label = qc3_expression(c, 0), value = *target;
        if (!label.known) qc_fail_tok(c, QC_SYNTAX, &at, "a case must be known at compile time");
        if (!qc_is_word_type(label.type)) qc_fail_tok(c, QC_SYNTAX, &at, "a case must be an integer, not a %s", qc_type_name(label.type));
        label.literal = 1;
        if (!value.known) qc_op(c, QF_LDVAR, cell);
        qc_value same = qc_compare(c, T_EQ, value, label, &at);
        if (same.known) {
            if (any.known) any.bits |= same.bits;
        } else if (any.known) {
            any = same;
        } else {
            qc_op(c, QF_IOR, 0);
        }
    } while (c->t.kind == ',');
    return any;
}

static int qc3_switch(qc *c) {
    const uint64_t word_case = QC_KEY('c', 'a', 's', 'e', 0, 0, 0, 0), word_default = QC_KEY('d', 'e', 'f', 'a', 'u', 'l', 't', 0);
    int done = 0, all_dead = 1, has_default = 0, flow = FLOW_NEXT;
    int32_t to_end = -1, cells = c->num_cells, cell = -1;
    qc_next(c);
    qc_expect(c, '(', "'('");
    qc_tok at = c->t;
    qc_value target = qc3_expression(c, 0);
    if (!qc_is_word_type(target.type)) qc_fail_tok(c, QC_SYNTAX, &at, "a switch is on an integer, not on a %s", qc_type_name(target.type));
    qc_expect(c, ')', "')'");
    qc_mark_t mark = qc_mark(c);
    const char *body = c->t.begin, *end;
    if (c->t.kind != '{') qc_unexpected(c, "'{'");
    qc_skip_brackets(c);
    end = c->t.begin;
    qc_pins pins = {0, 0, NULL, NULL, NULL};
    qc_cell *before = NULL, *joined = NULL;
    if (!target.known) {
        qc_no_runtime_in_gate(c);
        cell = qc_new_cells(c, 1, &at);
        qc_store_cell(c, cell, target);
        pins = qc_find_assigned(c, body, end);
        qc_pin(c, &pins);
        before = qc_save(c, &pins);
        c->dynamic++;
    }
    qc_seek(c, body);
    qc_next(c);
    while (c->t.kind != '}') {
        int32_t to_next = -1;
        int is_default = qc_is_word(c, word_default), taken;
        if (!is_default && !qc_is_word(c, word_case)) qc_unexpected(c, "'case', 'default' or '}'");
        if (has_default) qc_fail(c, QC_SYNTAX, "nothing may follow 'default'");
        if (is_default) {
            qc_next(c);
            taken = !done;
            has_default = 1;
        } else {
            qc_value fits = qc3_case_labels(c, &target, cell);
            if (!fits.known) {
                to_next = c->out->n;
                qc_op(c, QF_JUMPZ, 0);
            }
            taken = !done && (!fits.known || fits.bits);
        }
        if (c->t.kind != '{') qc_unexpected(c, "'{'");
        if (!taken) {
            qc_skip_statement(c);
            continue;
        }
        if (!target.known) qc_restore(c, &pins, before);
        int ended = qc3_body(c);
        if (target.known) {
            done = 1;
            flow = ended;
            continue;
        }
        if (ended == FLOW_NEXT) {
            qc_jump(c, &to_end);
            if (joined == NULL) joined = qc_save(c, &pins);
            for (int32_t k = 0; k < pins.n; k++) {
                const qc_cell *now = qc_pinned_cell(c, pins.id[k]);
                if (!now->known || now->bits != joined[k].bits) joined[k].known = 0;
            }
            all_dead = 0;
        }
        if (to_next >= 0) c->out->code[to_next].c = c->out->n;
    }
    if (!target.known) {
        c->dynamic--;
        qc_patch(c, to_end, c->out->n);
        qc_restore(c, &pins, before);
        if (has_default && joined != NULL) qc_restore(c, &pins, joined);
        else if (joined != NULL) qc_join(c, &pins, joined);
        qc_unpin(c, &pins);
        flow = has_default && all_dead ? FLOW_DEAD : FLOW_NEXT;
    }
    qc_release(c, mark);
    c->num_cells = cells;
    qc_seek(c, end);
    return flow;
}

#endif

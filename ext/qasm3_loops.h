/* OpenQASM 3: loops, unrolled where their rounds are known at compile time, else jumps. */
#ifndef QFAST_QASM3_LOOPS_H
#define QFAST_QASM3_LOOPS_H
#include "qasm3_flow.h"

/* Whether one of two words stands in the text. */
static int qc_has_words(qc *c, const char *from, const char *to, uint64_t one, uint64_t other) {
    int found = 0;
    qc_seek(c, from);
    for (; c->t.begin < to && c->t.kind != T_EOF && !found; qc_next(c)) {
        qc_spend(c, 1);
        found = qc_is_word(c, one) || qc_is_word(c, other);
    }
    return found;
}

/* Whether a jump out of the body of a loop stands in the text. */
static int qc_has_jumps(qc *c, const char *from, const char *to) {
    return qc_has_words(c, from, to, QC_KEY('b', 'r', 'e', 'a', 'k', 0, 0, 0),
                        QC_KEY('c', 'o', 'n', 't', 'i', 'n', 'u', 'e'));
}

/* One round of a loop that is unrolled. Returns whether there is a next one; *flow is what the loop hands on where not.
 */
static int qc3_round(qc *c, qc_loop *loop, const qc_pins *pins, const char *body, const char *end, int *flow) {
    loop->continues = -1;
    qc_spend(c, 4 * (end - body));
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
    const int is_doubtful = c->checking && !(v.known && v.bits);
    if (c->checking) qc_expect(c, ')', "')'");
    qc_push_value(c, &v);
    to_end = c->out->n;
    qc_op(c, QF_JUMPZ, 0);
    qc_seek(c, body);
    c->loop = &loop;
    c->doubtful += is_doubtful;
    int flow = qc3_body(c);
    c->doubtful -= is_doubtful;
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
    if (c->checking) {
        qc3_dynamic_while(c, condition, body, end);
        qc_release(c, mark);
        return FLOW_NEXT;
    }
    if (qc_has_jumps(c, body, end)) pins = qc_find_assigned(c, condition, end);
    int changes = qc_find_assigned(c, condition, body).n;
    qc_pin(c, &pins);
    qc_begin_loop(c, &loop, 0);
    for (;;) {
        qc_count_statement(c);
        qc_spend(c, body - condition);
        int32_t n = c->out->n, qubits = c->out->num_qubits, params = c->out->num_params, depth = c->stack_depth,
            measured = c->measurements;
        qc_seek(c, condition);
        qc_value v = qc_to_bool(c, qc3_expression(c, 0));
        qc_expect(c, ')', "')'");
        if (!v.known) {
            if (c->in_gate)
                qc_fail_tok(c, QC_UNSUPPORTED, &at, "a condition on the parameters of a gate is not supported");
            if (changes)
                qc_fail_tok(c, QC_UNSUPPORTED, &at,
                            "a condition on measured values that may change an array is not supported");
            c->out->n = n;
            c->out->num_qubits = qubits;
            c->out->num_params = params;
            c->stack_depth = depth;
            c->measurements = measured;
            flow = qc3_dynamic_while(c, condition, body, end);
            break;
        }
        if (!v.bits || !qc3_round(c, &loop, &pins, body, end, &flow)) break;
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
    const qc_value *values; /* of a set; else NULL */
    int is_view, is_bits;
    qc_view view; /* the elements of an array of this type */
    int type, width;
    qc_refs bits; /* the bits of a register or of a value */
    int is_dynamic;
    int32_t start_cell, stop_cell; /* where an end that is not known lies; -1 for one that is */
} qc_iterable;

static qc_iterable qc3_for_set(qc *c) {
    qc_iterable it = {.start_cell = -1, .stop_cell = -1};
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
    qc_iterable it = {.start_cell = -1, .stop_cell = -1};
    qc_tok at = c->t;
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
    if (s != NULL && s->kind == S_ARRAY) {
        int dynamic;
        it.type = s->type;
        it.width = s->width;
        it.view = s->view;
        qc_next(c);
        it.view = qc3_view(c, it.view, &dynamic);
        if (it.view.num_dims != 1 || dynamic)
            qc_fail_tok(c, QC_SYNTAX, &at, "a loop runs over an array of one dimension");
        it.count = (uint64_t)it.view.dims[0];
        it.is_view = 1;
        return it;
    }
    qc_value v = qc3_expression(c, 0);
    if (v.type != TY_BITS)
        qc_fail_tok(c, QC_SYNTAX, &at, "a loop runs over a range, a set, an array or a bit register");
    int32_t cell = qc_new_cells(c, qc_cells_of(TY_BITS, v.width), &at);
    qc_store_cell(c, cell, v);
    it.bits = qc_word_bits(cell, v.width);
    it.count = (uint64_t)v.width;
    it.is_bits = 1;
    return it;
}

/* The value of the loop's variable in round k. */
static qc_value qc_iterated(qc *c, const qc_iterable *it, uint64_t k) {
    if (it->values) return it->values[k];
    if (it->is_view) return qc_load_cell(c, qc_view_cell(&it->view, (int64_t)k), it->type, it->width);
    if (it->is_bits) return qc_load_bit(c, it->bits.space, qc_ref(&it->bits, (int32_t)k));
    return qc_known_int(it->range.start + (int64_t)k * it->range.step);
}

/* One of the up to three parts of a range; *cell is where it lies when it is not known. */
static int64_t qc3_for_part(qc *c, int32_t *cell) {
    qc_tok at = c->t;
    qc_value v = qc3_expression(c, 0);
    *cell = -1;
    if (!qc_is_word_type(v.type) || qc_is_wide(&v))
        qc_fail_tok(c, QC_SYNTAX, &at, "a range must be of integers, not of %ss", qc_type_name(v.type));
    if (v.known && v.type != TY_INT && v.bits < 0) qc_fail_tok(c, QC_LIMIT, &at, "a range is too large");
    if (v.known) return v.bits;
    *cell = qc_new_cells(c, 1, &at);
    qc_store_cell(c, *cell, v);
    return 0;
}

static qc_iterable qc3_for_range(qc *c) {
    qc_iterable it = {.range = {0, 1, 0, 1, 1}, .start_cell = -1, .stop_cell = -1};
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
    if (it.range.step == 0) qc_fail_tok(c, QC_VALUE, &at, "a range with a step of 0");
    it.is_dynamic = it.start_cell >= 0 || it.stop_cell >= 0;
    it.count = it.is_dynamic ? 0 : qc_range_count(&it.range);
    if (it.count > QC_MAX_STATEMENTS)
        qc_fail_tok(c, QC_LIMIT, &at, "a loop of %llu rounds is more than %d", (unsigned long long)it.count,
                    QC_MAX_STATEMENTS);
    return it;
}

static void qc_push_end(qc *c, int32_t cell, int64_t value) {
    if (cell >= 0) qc_op(c, QF_LDVAR, cell);
    else qc_push_int(c, value);
}

/* A loop over a range that the running program knows. The variable's cell is `cell`; a counter of its own drives the
 * loop. */
static void qc3_dynamic_for(qc *c, const qc_iterable *it, int32_t cell, int type, int width, const char *body,
                            const char *end, const qc_tok *at) {
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
    /* OpenQASM 3 before its release, and Qiskit 0.x, wrote no type */
    if (!qc3_type(c, &type, &width)) type = TY_INT, width = 64;
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
    if (c->checking || qc_has_jumps(c, body, end)) pins = qc_find_assigned(c, body, end);
    qc_pin(c, &pins);
    if (c->checking) qc_forget(c, &pins);
    qc_begin_loop(c, &loop, c->checking);
    qc_open_scope(c);
    qc_symbol *s = qc_declare(c, &name, S_VARIABLE);
    int32_t cell = qc_new_cells(c, qc_cells_of(type, width), &name);
    s->cell = cell;
    s->type = (uint8_t)type;
    s->width = (int32_t)width;
    if (type == TY_BITS) {
        s->kind = S_BITS;
        s->refs = qc_word_bits(cell, width);
        s->refs.is_register = 0;
    }
    if (c->checking) {
        c->cells[cell].known = 0;
        qc3_check_rounds(c, &loop, body, it.count > 0 && !it.is_dynamic);
        goes_on = 0;
    } else if (it.is_dynamic) {
        qc_no_runtime_in_gate(c);
        qc3_dynamic_for(c, &it, cell, type, width, body, end, &at);
    }
    for (uint64_t k = 0; k < it.count && goes_on; k++) {
        qc_count_statement(c);
        qc_store_cell(c, cell, qc_convert(c, qc_iterated(c, &it, k), type, width, 1, &at));
        goes_on = qc3_round(c, &loop, &pins, body, end, &flow);
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
    if (!loop->is_dynamic && c->dynamic == loop->dynamic && !(is_break && loop->continues >= 0))
        return is_break ? FLOW_BREAK : FLOW_CONTINUE;
    qc_jump(c, is_break ? &loop->breaks : &loop->continues);
    return FLOW_DEAD;
}

#endif

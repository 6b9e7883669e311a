/* OpenQASM 3: blocks, if and switch. What is known at compile time is executed here; what depends on measurements
 * becomes jumps. */
#ifndef QFAST_QASM3_FLOW_H
#define QFAST_QASM3_FLOW_H
#include "qasm3_check.h"

/* Executes the statements up to the closing brace, which it reads over; after one that does not end normally the rest
 * is skipped. */
static int qc3_block_rest(qc *c) {
    int flow = FLOW_NEXT;
    const char *begin = c->previous_end - 1;
    if (c->checking || c->in_gate) return qc3_guarded_block(c);
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
    int flow = FLOW_NEXT, is_static = condition.known;
    if (is_static && (!c->checking || c->in_gate)) {
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
    const int not_then = c->checking && !(is_static && condition.bits);
    const int not_else = c->checking && !(is_static && !condition.bits);
    qc_push_value(c, &condition);
    int32_t to_else = c->out->n, to_end = -1;
    qc_op(c, QF_JUMPZ, 0);
    c->dynamic++;
    qc_cell *before = qc_save(c, &pins);
    qc_seek(c, then_at);
    c->doubtful += not_then;
    int then_flow = qc3_body(c), else_flow = FLOW_NEXT;
    c->doubtful -= not_then;
    qc_cell *then_state = qc_save(c, &pins);
    if (else_at != NULL && then_flow == FLOW_NEXT) qc_jump(c, &to_end);
    c->out->code[to_else].c = c->out->n;
    qc_restore(c, &pins, before);
    if (else_at != NULL) {
        qc_seek(c, else_at);
        c->doubtful += not_else;
        else_flow = qc3_body(c);
        c->doubtful -= not_else;
    }
    qc_patch(c, to_end, c->out->n);
    c->dynamic--;
    if (else_flow != FLOW_NEXT) qc_restore(c, &pins, then_state);
    else if (then_flow == FLOW_NEXT) qc_join(c, &pins, then_state);
    qc_unpin(c, &pins);
    qc_release(c, mark);
    qc_seek(c, end);
    if (is_static) return not_then ? else_flow : then_flow;
    return then_flow != FLOW_NEXT && else_flow != FLOW_NEXT ? FLOW_DEAD : FLOW_NEXT;
}

/* One case's labels against the value; the current token follows `case`. Known: whether one fits. Else leaves the
 * answer on the stack. */
static qc_value qc3_case_labels(qc *c, const qc_value *target, int32_t cell) {
    qc_value any = qc_known_bool(0);
    do {
        qc_next(c);
        qc_tok at = c->t;
        qc_value label = qc3_expression(c, 0), value = *target;
        if (!label.known) qc_not_known(c, &at, "a case");
        if (!qc_is_word_type(label.type))
            qc_fail_tok(c, QC_SYNTAX, &at, "a case must be an integer, not a %s", qc_type_name(label.type));
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
    const uint64_t word_case = QC_KEY('c', 'a', 's', 'e', 0, 0, 0, 0), word_default = QC_KEY('d', 'e', 'f', 'a', 'u',
                                                                                             'l', 't', 0);
    int done = 0, all_dead = 1, has_default = 0, flow = FLOW_NEXT;
    int32_t to_end = -1, cells = c->num_cells, cell = -1;
    qc_next(c);
    qc_expect(c, '(', "'('");
    qc_tok at = c->t;
    qc_value target = qc3_expression(c, 0);
    if (!qc_is_word_type(target.type) || qc_is_wide(&target))
        qc_fail_tok(c, QC_SYNTAX, &at, "a switch is on an integer, not on a %s", qc_type_name(target.type));
    qc_expect(c, ')', "')'");
    qc_mark_t mark = qc_mark(c);
    const char *body = c->t.begin, *end;
    if (c->t.kind != '{') qc_unexpected(c, "'{'");
    qc_skip_brackets(c);
    end = c->t.begin;
    qc_pins pins = {0, 0, NULL, NULL, NULL};
    qc_cell *before = NULL, *joined = NULL;
    const int is_static = target.known && !c->checking;
    if (!is_static) {
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
            taken = !done && (c->checking || !fits.known || fits.bits);
        }
        if (c->t.kind != '{') qc_unexpected(c, "'{'");
        if (!taken) {
            qc_skip_statement(c);
            continue;
        }
        if (!is_static) qc_restore(c, &pins, before);
        c->doubtful += c->checking;
        int ended = qc3_body(c);
        c->doubtful -= c->checking;
        if (is_static) {
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
    if (!is_static) {
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

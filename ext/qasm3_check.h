/* OpenQASM 3: a look at statements before they are executed, or where they never are.
 *
 * Executing a program reads only what its constants lead to. So each compound statement and each body of a subroutine
 * is first read as a whole: both branches, every loop once, its variable unknown, calls without their bodies. What that
 * emits is thrown away. Names, types and numbers of operands are judged for good; what depends on a value is not an
 * error where it is doubtful that any run comes there (c->doubtful).
 */
#ifndef QFAST_QASM3_CHECK_H
#define QFAST_QASM3_CHECK_H
#include "qasm3_paths.h"

static qc_snapshot qc_take(const qc *c) {
    return (qc_snapshot){c->main.n, c->main.num_qubits, c->main.num_params, c->measurements, c->has_classical,
                         c->num_cells, c->max_cells, c->num_regs, c->hardware_at, c->num_qubits, c->num_clbits,
                         c->max_hardware, c->statements, c->work};
}

static void qc_put_back(qc *c, const qc_snapshot *s) {
    c->main.n = s->n;
    c->main.num_qubits = s->num_operands;
    c->main.num_params = s->num_params;
    c->measurements = s->measurements;
    c->has_classical = s->has_classical;
    c->num_cells = s->num_cells;
    c->max_cells = s->max_cells;
    c->num_regs = s->num_regs;
    c->hardware_at = s->hardware_at;
    c->num_qubits = s->num_qubits;
    c->num_clbits = s->num_clbits;
    c->max_hardware = s->max_hardware;
    c->statements = s->statements;
    c->work = s->work;
}

/* A block that is checked, or a gate's body: each wrong statement is given up by itself. Statements behind a jump are
 * checked, too, or in a gate's body skipped. */
static int qc3_guarded_block(qc *c) {
    qc_recovery guard;
    volatile int flow = FLOW_NEXT;
    const char *const begin = c->previous_end - 1;
    qc_guard(c, &guard);
    if (setjmp(guard.jump)) qc_recover(c);
    while (c->t.kind != '}') {
        guard.statement = c->t.begin;
        if (c->t.kind == T_EOF) {
            c->recovery = guard.outer;
            if (c->is_unclosed++) qc_abandon(c);
            qc_fail_at(c, QC_SYNTAX, begin, begin + 1, "this '{' is not closed, expected '}'");
        }
        if (flow == FLOW_NEXT) {
            flow = qc3_statement(c);
        } else if (c->checking) {
            c->doubtful++;
            qc3_statement(c);
            c->doubtful--;
        } else {
            qc_skip_statement(c);
        }
    }
    guard.statement = c->t.begin;
    c->recovery = guard.outer;
    qc_next(c);
    return flow;
}

/* Whether the statement is wrong; then it has been reported and read over, else it has yet to be executed. */
static int qc3_is_wrong(qc *c) {
    qc_recovery guard;
    const char *const begin = c->t.begin;
    if (c->checking || c->scope != 0 || c->in_gate) return 0;
    const qc_mark_t mark = qc_mark(c);
    const qc_snapshot before = qc_take(c);
    const qc_pins pins = qc_find_assigned(c, begin, qc_next_statement(c, begin, c->end));
    const qc_cell *const cells = qc_save(c, &pins);
    qc_seek(c, begin);
    c->checking = 1;
    qc_guard(c, &guard);
    if (setjmp(guard.jump) == 0) qc3_statement(c);
    else qc_recover(c);
    c->recovery = guard.outer;
    if (c->num_errors) return 1;
    c->checking = 0;
    for (int32_t k = 0; k < pins.n; k++) *qc_pinned_cell(c, pins.id[k]) = cells[k];
    qc_put_back(c, &before);
    qc_release(c, mark);
    qc_seek(c, begin);
    return 0;
}

/* A loop is checked in one round. */
static void qc3_check_rounds(qc *c, qc_loop *loop, const char *body, int is_certain) {
    qc_seek(c, body);
    c->loop = loop;
    c->dynamic++;
    c->doubtful += !is_certain;
    qc3_body(c);
    c->doubtful -= !is_certain;
    c->dynamic--;
    c->loop = loop->outer;
}

#endif

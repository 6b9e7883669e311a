/* OpenQASM 3: the paths of control flow: how statements end, jumps that wait for their target, and the cells that
 * several paths assign. */
#ifndef QFAST_QASM3_PATHS_H
#define QFAST_QASM3_PATHS_H
#include "qasm3_expr.h"

/* How a statement ended. DEAD: every path left by a jump, so that what follows in the block is never reached. */
enum qc_flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_RETURN, FLOW_DEAD };

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
    int *active; /* of the subroutine */
} qc_frame;

static int qc3_statement(qc *c);
static int qc3_body(qc *c);

/* A statement in a subroutine is given up: its calls have ended. */
static void qc_unwind_frames(qc *c, qc_frame *to) {
    for (qc_frame *f = c->frame; f != NULL && f != to; f = f->outer)
        if (f->active != NULL) *f->active = 0;
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
    qc_spend(c, (c->t.begin - begin) / 16);
    qc_next(c);
}

/* Reads to the end of the line: a pragma or an annotation. */
static void qc_skip_line(qc *c) {
    const char *end = memchr(c->t.begin, '\n', (size_t)(c->end - c->t.begin));
    qc_seek(c, end ? end : c->end);
}

static int qc_at_line(const qc *c) {
    return c->t.kind == '#' || c->t.kind == '@' || qc_is_word(c, QC_KEY('p', 'r', 'a', 'g', 'm', 'a', 0, 0));
}

/* Reads over a statement that is not executed, now or at all: its brackets and semicolons are checked, no more. */
static void qc_skip_statement(qc *c) {
    const char *begin = c->t.begin;
    if (++c->skipping > 2 * QC_MAX_NESTING) /* a conditional block counts twice here */
        qc_fail(c, QC_LIMIT, "nested more than %d deep", QC_MAX_NESTING);
    if (c->t.kind == '{') {
        qc_next(c);
        while (c->t.kind != '}') {
            if (c->t.kind == T_EOF) qc_fail_at(c, QC_SYNTAX, begin, begin + 1, "this '{' is not closed, expected '}'");
            qc_skip_statement(c);
        }
        qc_next(c);
    } else if (qc_at_line(c)) {
        qc_skip_line(c);
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
            qc_spend(c, (c->t.begin - begin) / 16 + 1);
            qc_next(c);
        }
    }
    c->skipping--;
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
    if (s->kind == S_VARIABLE)
        for (int32_t k = 0; k < qc_cells_of(s->type, s->width); k++) qc_pin_one(c, p, s->cell + k, stamp);
    if (s->kind == S_ARRAY) {
        qc_spend(c, s->view.span);
        for (int32_t k = 0; k < s->view.span; k++) qc_pin_one(c, p, s->view.base + k, stamp);
    }
    if (s->kind == S_BITS) {
        qc_spend(c, s->refs.count);
        for (int32_t k = 0; k < s->refs.count; k++)
            qc_pin_one(c, p, s->refs.space ? qc_ref(&s->refs, k) >> 6 : ~qc_ref(&s->refs, k), stamp);
    }
}

/* Finds what the text from `from` to `to` may assign: names before an assignment operator or after an arrow, and arrays
 * that are arguments. Names that are declared within the stretch may hide others, which are then found needlessly; that
 * only costs speed. */
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
        const qc_symbol *s = qc_look_up(c, &name);
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

#endif

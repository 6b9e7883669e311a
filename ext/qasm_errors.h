/* Errors: a wrong statement is reported and given up, and compilation goes on after it, so that one answer tells them
 * all (the recovery itself: qasm_recover.h). What follows from an error is not reported again. */
#ifndef QFAST_QASM_ERRORS_H
#define QFAST_QASM_ERRORS_H
#include "qasm_state.h"

/* The text in quotes, cut to QC_QUOTED characters, control characters masked; valid until four more are made. */
static const char *qc_quote(qc *c, const char *begin, size_t length) {
    char *buffer = c->quoted[c->num_quoted++ & 3], *out = buffer;
    const char *end = begin + length;
    int characters = 0;
    *out++ = '\'';
    for (; begin < end; begin++) {
        if (((uint8_t)*begin & 0xC0) != 0x80 && characters++ == QC_QUOTED) break;
        if (out - buffer > 4 * QC_QUOTED) break;
        *out++ = (uint8_t)*begin < 32 || *begin == 127 ? '?' : *begin;
    }
    if (begin < end) {
        memcpy(out, "...", 3);
        out += 3;
    }
    *out++ = '\'';
    *out = 0;
    return buffer;
}

/* The text of a token in quotes. */
static const char *qc_named(qc *c, const qc_tok *t) { return qc_quote(c, t->begin, (size_t)(t->end - t->begin)); }

typedef struct qc_recovery {
    struct qc_recovery *outer;
    const char *volatile statement; /* that is being read */
    int nesting, skipping, scope, wall, in_gate, dynamic, stack_depth, num_cells, doubtful;
    struct qc_frame *frame;
    struct qc_loop *loop;
    struct qc_body *body;
    qc_buffer *out;
    jmp_buf jump;
} qc_recovery;

static void qc_unwind_frames(qc *c, struct qc_frame *to);

/* Gives up the statement. */
static _Noreturn void qc_abandon(qc *c) {
    c->hint[0] = 0;
    c->num_abandoned++;
    if (c->recovery == NULL) longjmp(c->leave, 1);
    qc_unwind_frames(c, c->recovery->frame);
    longjmp(c->recovery->jump, 1);
}

/* Whether a statement that is only checked may hold this. What is beyond this compiler is told when it is executed. */
static int qc_is_excused(const qc *c, int kind) {
    return (kind == QC_UNSUPPORTED && c->checking) || (kind == QC_VALUE && c->doubtful);
}

static _Noreturn void qc_fail_at(qc *c, int kind, const char *begin, const char *end, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static _Noreturn void qc_fail_at(qc *c, int kind, const char *begin, const char *end, const char *format, ...) {
    va_list arguments;
    qc_report *e = &c->errors[c->num_errors];
    if (qc_is_excused(c, kind) || (c->num_errors > 0 && e[-1].begin == begin)) qc_abandon(c);
    e->kind = kind == QC_VALUE ? QC_SYNTAX : kind;
    e->begin = begin;
    e->end = end > begin ? end : begin + 1;
    memcpy(e->hint, c->hint, sizeof e->hint);
    va_start(arguments, format);
    vsnprintf(e->message, sizeof e->message, format, arguments);
    va_end(arguments);
    c->num_errors++;
    if (kind == QC_LIMIT || kind == QC_MEMORY || c->num_errors == QC_MAX_ERRORS) longjmp(c->leave, 1);
    qc_abandon(c);
}

/* At the current token. */
#define qc_fail(c, error, ...) qc_fail_at(c, error, (c)->t.begin, (c)->t.end, __VA_ARGS__)
#define qc_fail_tok(c, error, tok, ...) qc_fail_at(c, error, (tok)->begin, (tok)->end, __VA_ARGS__)

static const char *qc_token_text(qc *c) {
    return c->t.kind == T_EOF ? "the end of the program" : qc_named(c, &c->t);
}

/* The current token can't stand here. Where something is missing at the end of a line, the position is there and not in
 * the next one. */
static _Noreturn void qc_unexpected(qc *c, const char *expected) {
    const char *begin = c->t.begin, *end = c->t.end;
    int next_line = c->t.kind == T_EOF || memchr(c->previous_end, '\n', (size_t)(begin - c->previous_end)) != NULL;
    int after_statement = c->previous_end > c->source && strchr(";{}", c->previous_end[-1]) != NULL;
    if (next_line && !after_statement && c->previous_end > c->source) {
        begin = c->previous_end;
        end = begin + 1;
    }
    if (strcmp(expected, "';'") == 0) {
        snprintf(c->hint, sizeof c->hint, "end the statement with ';'");
        if (next_line) c->resume = c->t.begin;
    }
    qc_fail_at(c, QC_SYNTAX, begin, end, "can not parser the sentence at token: %s, expected %s", qc_token_text(c),
               expected);
}

#endif

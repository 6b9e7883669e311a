/* How compilation goes on after a wrong statement: at the next one, with the names that the wrong one declares marked
 * as broken and nothing known about the values of variables. */
#ifndef QFAST_QASM_RECOVER_H
#define QFAST_QASM_RECOVER_H
#include "qasm_expand.h"

/* Remembers the state to which a wrong statement returns; setjmp(r->jump) follows, and c->recovery = r->outer. */
static void qc_guard(qc *c, qc_recovery *r) {
    r->outer = c->recovery;
    r->statement = c->t.begin;
    r->nesting = c->nesting;
    r->skipping = c->skipping;
    r->scope = c->scope;
    r->wall = c->wall;
    r->in_gate = c->in_gate;
    r->dynamic = c->dynamic;
    r->stack_depth = c->stack_depth;
    r->num_cells = c->num_cells;
    r->doubtful = c->doubtful;
    r->frame = c->frame;
    r->loop = c->loop;
    r->body = c->body;
    r->out = c->out;
    c->recovery = r;
}

/* Where the next statement begins: behind the semicolon or the block of the wrong one, or before the brace that ends
 * the block around it. After the place of the error a line that begins with the word of a statement is one, too. So is
 * the block of a conditional statement or a loop that is wrong before it. */
static const char *qc_next_statement(const qc *c, const char *begin, const char *error) {
    const char *p = qc_text_space(c, begin), *end = qc_text_word(c, p), *before = p, *before_end = p;
    int depth = 0, has_header = c->version == 3 && qc_text_is(p, end, "if while for");
    if (p < c->end && *p == '}') return p + 1;
    for (; p < c->end; before = p, before_end = end, p = qc_text_space(c, end)) {
        end = qc_text_next(c, p);
        if (depth == 0 && p > error && p > begin && memchr(before_end, '\n', (size_t)(p - before_end)) != NULL &&
            qc_text_is(p, end, QC_STATEMENTS))
            return p;
        if (*p == '{') {
            if (has_header && depth == 0 && error < p && !qc_text_is(before, before_end, "in")) return p;
            depth++;
        }
        if (depth == 0 && *p == ';') return end;
        if (*p != '}') continue;
        if (depth == 0) return p;
        if (--depth > 0) continue;
        const char *after = qc_text_space(c, end);
        if (after >= c->end || (strchr(";,)]{+-*/=", *after) == NULL &&
                                !qc_text_is(after, qc_text_word(c, after), "else")))
            return end;
    }
    return c->end;
}

/* Marks the name that the wrong statement declares, so that its uses are no further errors. */
static void qc_break_name(qc *c, const char *begin) {
    const char *p = qc_text_space(c, begin), *end = qc_text_word(c, p);
    if (!qc_text_is(p, end, QC_DECLARES " for") && !c->is_declaring) return;
    if (c->is_declaring) p = qc_text_space(c, end); /* a typing mistake in the first word */
    c->is_declaring = 0;
    for (end = qc_text_word(c, p);;) {
        if (p < c->end && *p == '[') {
            for (int depth = 0; p < c->end && *p != ';' && *p != '{'; p = qc_text_space(c, p + 1)) {
                depth += *p == '[' ? 1 : *p == ']' ? -1 : 0;
                if (depth == 0) break;
            }
            p = qc_text_space(c, p < c->end ? p + 1 : p);
        } else if (qc_text_is(p, end, QC_DECLARES " for")) {
            p = qc_text_space(c, end);
        } else {
            break;
        }
        end = qc_text_word(c, p);
    }
    if (end == p || end - p > QC_MAX_NAME) return;
    if (qc_class[(uint8_t)*p] != C_LETTER && (c->version != 3 || !qc_high_letter(p, c->end))) return;
    qc_seek(c, p); /* a name begins there: this cannot fail */
    qc_tok name = c->t;
    for (int32_t k = c->buckets[qc_bucket(c, name.key)]; k >= 0; k = c->symbols[k].next)
        if (c->symbols[k].scope == c->scope && qc_same_name(&c->symbols[k], &name)) return;
    qc_declare(c, &name, S_BROKEN);
}

/* Operands must be followed by a semicolon. */
static void qc_end_operands(qc *c) {
    if (c->t.kind == ';') return;
    int same_line = memchr(c->previous_end, '\n', (size_t)(c->t.begin - c->previous_end)) == NULL;
    qc_unexpected(c, same_line && c->t.kind != T_EOF ? "',' or ';'" : "';'");
}

static void qc_forget_all(qc *c);

/* Back to the state before the statement that was given up, at the next one. */
static void qc_recover(qc *c) {
    qc_recovery *r = c->recovery;
    const char *begin = r->statement, *at = c->num_errors ? c->errors[c->num_errors - 1].begin : c->t.begin;
    while (c->num_symbols > 0 && c->symbols[c->num_symbols - 1].scope > r->scope) {
        qc_symbol *s = &c->symbols[--c->num_symbols];
        c->buckets[qc_bucket(c, s->key)] = s->next;
    }
    c->nesting = r->nesting;
    c->skipping = r->skipping;
    c->scope = r->scope;
    c->wall = r->wall;
    c->in_gate = r->in_gate;
    c->dynamic = r->dynamic;
    c->stack_depth = r->stack_depth;
    c->num_cells = r->num_cells;
    c->doubtful = r->doubtful + (c->has_ended && r->outer == NULL);
    c->frame = r->frame;
    c->loop = r->loop;
    c->body = r->body;
    c->out = r->out;
    const char *next = c->resume ? c->resume : qc_next_statement(c, begin, at);
    c->resume = NULL;
    qc_spend(c, 50 + (next - begin) / 4);
    if (next <= begin) next = begin + 1; /* a lexical error is told once, and passed */
    r->statement = next;
    if (c->num_errors) {
        c->checking = 1;
        qc_forget_all(c);
    }
    qc_break_name(c, begin);
    qc_seek(c, next);
}

#endif

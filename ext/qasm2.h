/* OpenQASM 2, after Cross et al., arXiv:1707.03429, with the reading of Qiskit's LEGACY_CUSTOM_INSTRUCTIONS. */
#ifndef QFAST_QASM2_H
#define QFAST_QASM2_H
#include "qasm2_expr.h"

static const qc_gate *qc2_gate(qc *c, const qc_tok *name) {
    const qc_symbol *s = c->num_symbols ? qc_find_kind(c, name, S_GATE, S_OPAQUE) : NULL;
    if (s != NULL && s->kind == S_OPAQUE)
        qc_fail_tok(c, QC_IMPOSSIBLE, name, "gate %s is opaque: nothing says what it does", qc_quote(c, s->name,
                (size_t)s->length));
    if (s != NULL) return s->gate;
    const qc_gate *g = qc_library_gate(c, name->key);
    if (g == NULL) {
        const qc_symbol *other = qc_find(c, name);
        if (other != NULL) {
            if (other->kind == S_BITS && *qc_text_space(c, name->end) == '=')
                snprintf(c->hint, sizeof c->hint, "OpenQASM 2 measures by: measure QUBIT -> BIT;");
            qc_fail_tok(c, QC_SYNTAX, name, "%s is not a gate", qc_quote(c, other->name, (size_t)other->length));
        }
        qc_unknown(c, name, "gate", S_GATE);
    }
    return g;
}

static void qc_wrong_params(qc *c, const qc_tok *name, const qc_gate *g, int32_t given) {
    qc_hint_usage(c, name, g, 0);
    qc_fail_tok(c, QC_SYNTAX, name, "gate %s takes %d parameter%s, but %d %s given", qc_named(c, name),
                g->nparams, g->nparams == 1 ? "" : "s", given, given == 1 ? "is" : "are");
}

/* The parameters in parentheses, or none. */
static qc_expression *qc2_params(qc *c, const qc_tok *name, const qc_gate *g) {
    int32_t n = 0;
    if (c->t.kind != '(') {
        if (g->nparams) qc_wrong_params(c, name, g, 0);
        return NULL;
    }
    qc_expression *params = qc_alloc(c, ((size_t)g->nparams + 1) * sizeof *params);
    qc_next(c);
    while (c->t.kind != ')') {
        qc_expression e = qc2_angle(c);
        if (n < g->nparams) params[n] = e;
        n++;
        if (!qc_accept(c, ',')) break;
    }
    qc_expect(c, ')', "')' or ','");
    if (n != g->nparams) qc_wrong_params(c, name, g, n);
    return params;
}

/* The usual case, a library gate on single qubits outside a definition, without detours. */
static int qc2_quick_call(qc *c, const qc_tok *name, const qc_gate *g, const qc_expression *params) {
    const char *start = c->t.begin;
    int32_t q[5];
    if (g->is_definition || g->special || g->nq > 5) return 0;
    for (int32_t k = 0; k < g->nq; k++) {
        if (k && !qc_accept(c, ',')) goto slow;
        qc_refs r = qc2_operand(c, S_QUBITS, "qubit register");
        if (r.is_register) goto slow;
        q[k] = r.first;
        for (int32_t j = 0; j < k; j++)
            if (q[j] == q[k]) goto slow;
    }
    if (c->t.kind != ';') goto slow;
    double *p;
    int32_t *to = qc_emit_gate(c, g->op, g->nctrl, (UINT32_C(1) << g->nctrl) - 1, g->nq, g->nparams, &p);
    for (int32_t k = 0; k < g->nparams; k++) p[k] = params[k].value;
    for (int32_t k = 0; k < g->nq; k++) to[k] = q[k];
    (void)name;
    return 1;
slow:
    qc_seek(c, start);
    return 0;
}

static void qc2_call(qc *c, qc_body *body) {
    qc_tok name = c->t;
    const qc_gate *g = qc2_gate(c, &name);
    qc_refs *operands;
    qc_next(c);
    if (body != NULL) {
        qc_expression *params = qc2_params(c, &name, g);
        int32_t n = qc2_operands(c, S_QUBITS, "qubit", &operands);
        qc_body_call(c, body, &name, g, params, operands, n, &qc_plain);
        return;
    }
    qc_mark_t mark = qc_mark(c);
    qc_expression *params = qc2_params(c, &name, g);
    if (!qc2_quick_call(c, &name, g, params)) {
        qc_param *numbers = qc_alloc(c, ((size_t)g->nparams + 1) * sizeof *numbers);
        for (int32_t k = 0; k < g->nparams; k++) numbers[k] = (qc_param){-1, params[k].value};
        int32_t n = qc2_operands(c, S_QUBITS, "qubit register", &operands);
        qc_call(c, &name, g, numbers, operands, n, &qc_plain);
    }
    qc_release(c, mark);
}

static void qc2_measure(qc *c) {
    qc_tok at = c->t;
    double *none;
    qc_next(c);
    qc_refs from = qc2_operand(c, S_QUBITS, "qubit register");
    qc_expect(c, T_ARROW, "'->'");
    qc_refs to = qc2_operand(c, S_BITS, "classical register");
    if (from.is_register != to.is_register || from.count != to.count)
        qc_fail_tok(c, QC_SYNTAX, &at, "can't measure %d qubit%s into %d bit%s%s", from.count, from.count == 1 ? ""
                    : "s", to.count,
                    to.count == 1 ? "" : "s", from.count == to.count ? ": one is a register, the other is not" : "");
    for (int32_t k = 0; k < from.count; k++) {
        *qc_emit_gate(c, QF_MEASURE, 0, 0, 1, 0, &none) = from.first + k;
        c->out->code[c->out->n - 1].c = to.first + k;
        c->measurements = 1;
    }
}

static void qc2_reset(qc *c) {
    double *none;
    qc_next(c);
    qc_refs r = qc2_operand(c, S_QUBITS, "qubit register");
    for (int32_t k = 0; k < r.count; k++) *qc_emit_gate(c, QF_RESET, 0, 0, 1, 0, &none) = r.first + k;
}

/* A barrier on each qubit of the operands once; on all qubits where there are no operands. */
static void qc_emit_barrier(qc *c, const qc_refs *refs, int32_t n) {
    int64_t total = 0;
    double *none;
    for (int32_t k = 0; k < n; k++) total += refs[k].choice ? refs[k].among : refs[k].count;
    if (n == 0) total = c->num_qubits;
    qc_spend(c, total);
    qc_mark_t mark = qc_mark(c);
    uint8_t *seen = n > 1 ? qc_alloc(c, (size_t)c->num_qubits) : NULL;
    if (seen) memset(seen, 0, (size_t)c->num_qubits), qc_spend(c, c->num_qubits / 16);
    int32_t *to = qc_emit_gate(c, QF_BARRIER, 0, 0, 0, 0, &none), at = 0;
    to = qc_emit_qubits(c, (int32_t)total);
    if (n == 0)
        for (; at < total; at++) to[at] = at;
    for (int32_t k = 0; k < n; k++) {
        for (int32_t j = 0; j < (refs[k].choice ? refs[k].among : refs[k].count); j++) {
            int32_t q = qc_ref(&refs[k], j);
            if (seen && seen[q]++) continue;
            to[at++] = q;
        }
    }
    c->out->num_qubits -= (int32_t)total - at;
    c->out->code[c->out->n - 1].nq = at;
    qc_release(c, mark);
}

static void qc2_barrier(qc *c, qc_body *body) {
    qc_refs *refs;
    qc_next(c);
    qc_mark_t mark = qc_mark(c);
    int32_t n = qc2_operands(c, S_QUBITS, "qubit register", &refs);
    if (body != NULL) {
        int32_t *q = qc_alloc(c, ((size_t)n + 1) * sizeof *q);
        for (int32_t k = 0; k < n; k++) q[k] = refs[k].first;
        if (n) qc_body_barrier(c, body, q, n);
        return;
    }
    if (!c->checking) qc_emit_barrier(c, refs, n);
    qc_release(c, mark);
}

static void qc2_register(qc *c, int is_classical) {
    qc_next(c);
    qc_tok name = qc_name(c, "a name");
    qc_expect(c, '[', "'['");
    uint64_t size = qc2_integer(c, "an integer size");
    qc_expect(c, ']', "']'");
    if (!c->num_symbols || qc_find_kind(c, &name, S_GATE, S_OPAQUE) == NULL) {
        const qc_gate *g = qc_library_gate(c, name.key);
        if (g != NULL && !(g->library & LIB_REDEFINABLE))
            qc_fail_tok(c, QC_SYNTAX, &name, "%s is already defined as a gate", qc_named(c, &name));
    }
    qc_declare_register(c, &name, size, is_classical, 1);
}

/* The statements of a gate's body and the brace behind them; a wrong one is given up by itself. */
static void qc2_body(qc *c, qc_body *body) {
    qc_recovery guard;
    qc_guard(c, &guard);
    if (setjmp(guard.jump)) qc_recover(c);
    while (c->t.kind != '}') {
        guard.statement = c->t.begin;
        if (c->t.kind == T_EOF) c->recovery = guard.outer;
        switch (c->t.kind == T_IDENT ? c->t.key : 0) {
        case 0: qc_unexpected(c, "a gate or '}'");
        case QC_KEY('b', 'a', 'r', 'r', 'i', 'e', 'r', 0): qc2_barrier(c, body); break;
        case QC_KEY('m', 'e', 'a', 's', 'u', 'r', 'e', 0): case QC_KEY('r', 'e', 's', 'e', 't', 0, 0, 0):
        case QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0):
            qc_fail(c, QC_SYNTAX, "%s can't stand in the body of a gate", qc_token_text(c));
        default: qc2_call(c, body);
        }
        qc2_semicolon(c);
    }
    guard.statement = c->t.begin;
    c->recovery = guard.outer;
    qc_next(c);
}

/* gate NAME (params) qubits { body }, or opaque NAME (params) qubits; */
static void qc2_definition(qc *c, int is_opaque) {
    qc_body body = {NULL, 0, 0, 0, 0, 0};
    int32_t nparams = 0, nq = 0;
    qc_next(c);
    qc_tok name = qc_name(c, "a name");
    const qc_gate *old = qc_library_gate(c, name.key);
    if (old != NULL && !(old->library & LIB_REDEFINABLE))
        qc_fail_tok(c, QC_SYNTAX, &name, "gate %s is already defined", qc_named(c, &name));
    qc_open_scope(c);
    c->in_gate = 1;
    c->wall = c->scope;
    c->out = &c->definitions;
    if (qc_accept(c, '(')) {
        while (c->t.kind == T_IDENT) {
            if (qc_is_word(c, QC_KEY('p', 'i', 0, 0, 0, 0, 0, 0)))
                qc_fail(c, QC_SYNTAX, "'pi' can't be the name of a parameter");
            qc_tok formal = qc_name(c, "a parameter");
            qc_declare(c, &formal, S_PARAMETER)->cell = nparams++;
            if (!qc_accept(c, ',')) break;
        }
        qc_expect(c, ')', "')' or ','");
    }
    do {
        if (nq && (c->t.kind == '{' || c->t.kind == ';')) break; /* a trailing comma */
        qc_tok formal = qc_name(c, "a qubit");
        qc_declare(c, &formal, S_QUBITS)->refs = (qc_refs){1, nq++, 0, 0, NULL};
    } while (qc_accept(c, ','));
    if (is_opaque) {
        qc2_semicolon(c);
    } else {
        qc_expect(c, '{', "'{'");
        qc2_body(c, &body);
    }
    qc_close_scope(c);
    c->in_gate = c->wall = 0;
    c->out = &c->main;
    qc_symbol *s = qc_declare(c, &name, is_opaque ? S_OPAQUE : S_GATE);
    if (!is_opaque) s->gate = qc_define(c, &body, nparams, nq);
}

static void qc2_statement(qc *c);

/* The value that a register is compared with, as words; 0 when it has more bits than the register. */
static int qc2_constant(qc *c, int32_t bits, uint64_t *words, int32_t num_words) {
    const char *p = c->t.begin, *end = c->t.end;
    if (c->t.kind != T_INT) qc_unexpected(c, "an integer");
    memset(words, 0, (size_t)num_words * sizeof *words);
    if (end - p > 400) qc_fail(c, QC_LIMIT, "an integer of more than 400 digits");
    for (; p < end; p++) {
        unsigned __int128 carry = (unsigned __int128)(*p - '0');
        for (int32_t k = 0; k < num_words; k++) {
            carry += (unsigned __int128)words[k] * 10;
            words[k] = (uint64_t)carry;
            carry >>= 64;
        }
        if (carry) return 0;
    }
    for (int32_t k = 0; k < num_words; k++) {
        int32_t own = bits - 64 * k;
        if (own < 64 && words[k] >> (own < 0 ? 0 : own)) return 0;
    }
    return 1;
}

/* if (creg == n) statement: a chain of comparisons, 64 bits each, that jump over the statement. */
static void qc2_if(qc *c) {
    enum { WORDS = 24 }; /* 400 decimal digits */
    uint64_t words[WORDS];
    int32_t jumps[WORDS + 1], num_jumps = 0, fits;
    qc_next(c);
    qc_expect(c, '(', "'('");
    qc_refs r = qc2_operand(c, S_BITS, "classical register");
    if (!r.is_register)
        qc_fail_at(c, QC_SYNTAX, c->previous_end - 1, c->previous_end, "a whole register must stand here, not one bit");
    qc_expect(c, T_EQ, "'=='");
    fits = qc2_constant(c, r.count, words, WORDS);
    int is_zero = 1;
    for (int k = 0; k < WORDS; k++) is_zero &= words[k] == 0;
    qc_next(c);
    qc_expect(c, ')', "')'");
    int32_t start = c->main.n, measured = c->measurements, qubits = c->main.num_qubits, params = c->main.num_params;
    if (measured && fits) {
        for (int32_t at = 0; at < r.count; at += 64) {
            int32_t own = r.count - at < 64 ? r.count - at : 64;
            int64_t want = at / 64 < WORDS ? (int64_t)words[at / 64] : 0;
            if (num_jumps > WORDS)
                qc_fail(c, QC_UNSUPPORTED, "a condition on more than %d bits is not supported", 64 * WORDS);
            qf_instr *load = qc_op(c, QF_LDREG, r.first + at);
            load->nq = own;
            qc_push_int(c, want);
            qc_op(c, QF_IEQ, 0);
            jumps[num_jumps++] = c->main.n;
            qc_op(c, QF_JUMPZ, 0);
        }
    }
    if (c->t.kind == T_IDENT) {
        switch (c->t.key) {
        case QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0): case QC_KEY('g', 'a', 't', 'e', 0, 0, 0, 0):
        case QC_KEY('o', 'p', 'a', 'q', 'u', 'e', 0, 0):
        case QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0): case QC_KEY('c', 'r', 'e', 'g', 0, 0, 0, 0):
        case QC_KEY('i', 'n', 'c', 'l', 'u', 'd', 'e', 0):
            qc_fail(c, QC_SYNTAX, "%s can't be conditional, expected a gate, measure, reset or barrier",
                    qc_token_text(c));
        default: qc2_statement(c);
        }
    } else {
        qc_unexpected(c, "a gate, measure, reset or barrier");
    }
    for (int32_t k = 0; k < num_jumps; k++) c->main.code[jumps[k]].c = c->main.n;
    if (!fits || (!measured && !is_zero)) { /* never true: as if it were not there */
        c->main.n = start;
        c->main.num_qubits = qubits;
        c->main.num_params = params;
        c->measurements = measured;
    }
}

static void qc2_statement(qc *c) {
    if (c->t.kind == '}') snprintf(c->hint, sizeof c->hint, "no '{' is open that it could close");
    if (c->t.kind != T_IDENT) qc_unexpected(c, "a statement");
    switch (c->t.key) {
    case QC_KEY('m', 'e', 'a', 's', 'u', 'r', 'e', 0): qc2_measure(c); break;
    case QC_KEY('b', 'a', 'r', 'r', 'i', 'e', 'r', 0): qc2_barrier(c, NULL); break;
    case QC_KEY('r', 'e', 's', 'e', 't', 0, 0, 0): qc2_reset(c); break;
    case QC_KEY('i', 'f', 0, 0, 0, 0, 0, 0): qc2_if(c); return;
    case QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0): qc2_register(c, 0); break;
    case QC_KEY('c', 'r', 'e', 'g', 0, 0, 0, 0): qc2_register(c, 1); break;
    case QC_KEY('g', 'a', 't', 'e', 0, 0, 0, 0): qc2_definition(c, 0); return;
    case QC_KEY('o', 'p', 'a', 'q', 'u', 'e', 0, 0): qc2_definition(c, 1); return;
    case QC_KEY('i', 'n', 'c', 'l', 'u', 'd', 'e', 0): qc_include(c); break;
    case QC_KEY('O', 'P', 'E', 'N', 'Q', 'A', 'S', 'M'):
        qc_fail(c, QC_SYNTAX, "the version must be the first statement");
    default: qc2_call(c, NULL);
    }
    qc2_semicolon(c);
}

#endif

/* OpenQASM 2: expressions and operands. */
#ifndef QFAST_QASM2_EXPR_H
#define QFAST_QASM2_EXPR_H
#include "qasm_recover.h"

/* ---- expressions: real numbers; formal parameters leave code in c->definitions */

typedef struct {
    int known, formal; /* formal: index of the parameter that this is, -1 when it is more than one */
    double value;
} qc2_value;

static qc2_value qc2_expression(qc *c, int precedence);

static qc2_value qc2_known(qc *c, const qc_tok *at, double value) {
    if (!(fabs(value) <= DBL_MAX)) qc_fail_tok(c, QC_SYNTAX, at, "the value of this expression is not a finite number");
    return (qc2_value){1, -1, value};
}

static qc2_value qc2_function(qc *c, const qc_tok *name, uint8_t op) {
    qc_next(c);
    qc_expect(c, '(', "'('");
    qc2_value v = qc2_expression(c, 0);
    if (c->t.kind != ')') qc_unexpected(c, "')'");
    qc_next(c);
    if (!v.known) {
        qc_op(c, op, 0);
        return (qc2_value){0, -1, 0};
    }
    int64_t bits = 0;
    qf_unary(op, qf_from_double(v.value), 0, &bits);
    return qc2_known(c, name, qf_as_double(bits));
}

static qc2_value qc2_word(qc *c) {
    qc_tok name = c->t;
    const qc_symbol *s = c->in_gate ? qc_find(c, &name) : NULL;
    if (s != NULL && s->kind == S_PARAMETER) {
        qc_next(c);
        qc_op(c, QF_LDVAR, s->cell);
        return (qc2_value){0, s->cell, 0};
    }
    switch (name.key) {
    case QC_KEY('p', 'i', 0, 0, 0, 0, 0, 0): qc_next(c); return (qc2_value){1, -1, M_PI};
    case QC_KEY('s', 'i', 'n', 0, 0, 0, 0, 0): return qc2_function(c, &name, QF_FSIN);
    case QC_KEY('c', 'o', 's', 0, 0, 0, 0, 0): return qc2_function(c, &name, QF_FCOS);
    case QC_KEY('t', 'a', 'n', 0, 0, 0, 0, 0): return qc2_function(c, &name, QF_FTAN);
    case QC_KEY('e', 'x', 'p', 0, 0, 0, 0, 0): return qc2_function(c, &name, QF_FEXP);
    case QC_KEY('l', 'n', 0, 0, 0, 0, 0, 0): return qc2_function(c, &name, QF_FLOG);
    case QC_KEY('s', 'q', 'r', 't', 0, 0, 0, 0): return qc2_function(c, &name, QF_FSQRT);
    case QC_KEY('a', 's', 'i', 'n', 0, 0, 0, 0): return qc2_function(c, &name, QF_FASIN);
    case QC_KEY('a', 'c', 'o', 's', 0, 0, 0, 0): return qc2_function(c, &name, QF_FACOS);
    case QC_KEY('a', 't', 'a', 'n', 0, 0, 0, 0): return qc2_function(c, &name, QF_FATAN);
    default: qc_unknown(c, &name, "parameter", S_PARAMETER);
    }
}

static qc2_value qc2_prefix(qc *c) {
    qc_tok at = c->t;
    qc2_value v;
    switch (c->t.kind) {
    case T_INT: case T_REAL:
        v = qc2_known(c, &at, at.real);
        qc_next(c);
        return v;
    case T_IDENT: return qc2_word(c);
    case '+': case '-':
        qc_next(c);
        qc_nest(c);
        v = qc2_expression(c, 3);
        c->nesting--;
        if (at.kind == '+') return v;
        if (!v.known) qc_op(c, QF_FNEG, 0);
        return (qc2_value){v.known, -1, -v.value};
    case '(':
        qc_next(c);
        qc_nest(c);
        v = qc2_expression(c, 0);
        c->nesting--;
        qc_expect(c, ')', "')'");
        return v;
    case '*':
        if (c->previous_end[-1] == '*') snprintf(c->hint, sizeof c->hint, "a power is written '^' in OpenQASM 2");
        break;
    default: break;
    }
    qc_unexpected(c, "a number, a parameter or '('");
}

/* Precedence 1: + -; 2: * /; 3: sign; 4: ^, which groups to the right. */
static qc2_value qc2_expression(qc *c, int precedence) {
    qc2_value left = qc2_prefix(c);
    for (;;) {
        qc_tok at = c->t;
        uint8_t op;
        int mine;
        switch (at.kind) {
        case '+': op = QF_FADD; mine = 1; break;
        case '-': op = QF_FSUB; mine = 1; break;
        case '*': op = QF_FMUL; mine = 2; break;
        case '/': op = QF_FDIV; mine = 2; break;
        case '^': op = QF_FPOW; mine = 4; break;
        default: return left;
        }
        if (mine <= precedence && !(mine == 4 && precedence == 4)) return left;
        qc_next(c);
        qc_nest(c);
        qc2_value right = qc2_expression(c, mine == 4 ? 3 : mine);
        c->nesting--;
        if (op == QF_FDIV && right.known && right.value == 0) qc_fail_tok(c, QC_SYNTAX, &at, "division by zero");
        if (left.known && right.known) {
            int64_t bits = 0;
            qf_float_binary(op, left.value, right.value, &bits);
            left = qc2_known(c, &at, qf_as_double(bits));
            continue;
        }
        if (left.known) {
            qc_push_float(c, left.value);
            qc_op(c, QF_EXCH, 0);
        } else if (right.known) {
            qc_push_float(c, right.value);
        }
        qc_op(c, op, 0);
        left = (qc2_value){0, -1, 0};
    }
}

static qc_expression qc2_angle(qc *c) {
    if ((c->t.kind == T_REAL || c->t.kind == T_INT) && (*c->at == ',' || *c->at == ')')) { /* a plain number */
        double value = qc2_known(c, &c->t, c->t.real).value;
        qc_next(c);
        return (qc_expression){0, value, 0, 0};
    }
    int32_t start = c->definitions.n;
    qc2_value v = qc2_expression(c, 0);
    if (v.known) return (qc_expression){0, v.value, 0, 0};
    c->stack_depth--;
    if (v.formal < 0) return (qc_expression){2, 0, start, c->definitions.n};
    c->definitions.n = start;
    return (qc_expression){1, 0, v.formal, 0};
}

/* ---- operands */

static uint64_t qc2_integer(qc *c, const char *what) {
    if (c->t.kind != T_INT) qc_unexpected(c, what);
    uint64_t value = c->t.has_number_overflow ? UINT64_MAX : c->t.integer;
    qc_next(c);
    return value;
}

static qc_refs qc2_operand(qc *c, int kind, const char *what) {
    qc_tok name = c->t;
    if (name.kind != T_IDENT) qc_unexpected(c, what);
    const qc_symbol *s = qc_find(c, &name);
    if (s == NULL) qc_unknown(c, &name, what, kind);
    if (s->kind != kind) qc_fail_tok(c, QC_SYNTAX, &name, "%s is not a %s", qc_named(c, &name), what);
    qc_refs refs = s->refs;
    qc_next(c);
    if (c->in_gate) {
        if (c->t.kind == '[') qc_fail(c, QC_SYNTAX, "a qubit of a gate's body can't be indexed");
        return refs;
    }
    if (c->t.kind != '[') return refs;
    qc_next(c);
    qc_tok at = c->t;
    uint64_t index = qc2_integer(c, "an integer index");
    if (index >= (uint64_t)refs.count) {
        if (refs.count > 0) snprintf(c->hint, sizeof c->hint, "the indices are 0 to %d", refs.count - 1);
        qc_fail_tok(c, QC_SYNTAX, &at, "index %s is out of range for register %s of size %d", qc_named(c, &at),
                    qc_named(c, &name), refs.count);
    }
    qc_expect(c, ']', "']'");
    return (qc_refs){1, refs.first + (int32_t)index, 0, 0, NULL};
}

/* Operands up to the semicolon, in the arena; returns how many. */
static int32_t qc2_operands(qc *c, int kind, const char *what, qc_refs **out) {
    int32_t n = 0, cap = 8;
    qc_refs *refs = qc_alloc(c, (size_t)cap * sizeof *refs);
    while (c->t.kind != ';') {
        if (n == cap) {
            qc_refs *more = qc_alloc(c, 2 * (size_t)cap * sizeof *more);
            memcpy(more, refs, (size_t)cap * sizeof *more);
            refs = more;
            cap *= 2;
        }
        refs[n++] = qc2_operand(c, kind, what);
        if (!qc_accept(c, ',')) break;
    }
    qc_end_operands(c);
    *out = refs;
    return n;
}

static void qc2_semicolon(qc *c) { qc_expect(c, ';', "';'"); }

#endif

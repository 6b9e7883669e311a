/* OpenQASM 3: the built-in functions. */
#ifndef QFAST_QASM3_FUNCTIONS_H
#define QFAST_QASM3_FUNCTIONS_H
#include "qasm3_array.h"

static void qc_skip_brackets(qc *c);

static const char *const qc3_functions[] = {"arccos", "arcsin", "arctan", "ceiling", "cos", "exp", "floor", "log",
                                            "sin", "sqrt", "tan", NULL};
static const uint8_t qc3_function_ops[] = {QF_FACOS, QF_FASIN, QF_FATAN, QF_FCEIL, QF_FCOS, QF_FEXP, QF_FFLOOR, QF_FLOG,
                                           QF_FSIN, QF_FSQRT, QF_FTAN};

static int qc_token_is(const qc_tok *t, const char *text) {
    size_t n = strlen(text);
    return (size_t)(t->end - t->begin) == n && memcmp(t->begin, text, n) == 0;
}

static qc_value qc3_rotate(qc *c, const qc_tok *name, uint8_t op, qc_value word, qc_value count) {
    if (word.type != TY_BITS && word.type != TY_UINT && word.type != TY_ANGLE)
        qc_fail_tok(c, QC_SYNTAX, name, "%s takes a bit register, a uint or an angle", qc_named(c, name));
    if (!qc_is_word_type(count.type) || qc_is_wide(&count)) qc_no_conversion(c, name, &count, TY_INT, 64);
    if (word.width == 0) return word;
    if (qc_is_wide(&word)) {
        if (!count.known)
            qc_fail_tok(c, QC_UNSUPPORTED, name,
                        "a rotation of more than 64 bits by a measured count is not supported");
        return qc_wide_rotate(c, &word, op == QF_ROTL ? count.bits % word.width : -(count.bits % word.width));
    }
    if (word.known && count.known) {
        word.bits = qf_rotate_left(word.bits, op == QF_ROTL ? count.bits % word.width : -(count.bits % word.width),
                                   word.width);
        return word;
    }
    int type = word.type, width = word.width;
    qc_apply_on_stack(c, &word, &count, op);
    c->out->code[c->out->n - 1].c = width;
    return qc_on_stack(type, width);
}

/* sizeof(array), sizeof(array, dimension): of a register the number of its bits or qubits. */
static qc_value qc3_sizeof(qc *c, const qc_tok *name) {
    const qc_symbol *s = c->t.kind == T_IDENT ? qc_find(c, &c->t) : NULL;
    qc_view v = {0, 0, 0, 1, {1}, {0}};
    int dynamic = 0;
    if (s == NULL || (s->kind != S_ARRAY && s->kind != S_BITS && s->kind != S_QUBITS))
        qc_unexpected(c, "an array or a register");
    if (s->kind == S_ARRAY) v = s->view;
    else v.dims[0] = s->refs.count;
    int is_array = s->kind == S_ARRAY;
    int64_t dim = 0;
    qc_next(c);
    if (is_array) v = qc3_view(c, v, &dynamic);
    if (qc_accept(c, ',')) dim = qc3_known_int(c, "a dimension");
    qc_expect(c, ')', "')'");
    c->nesting--;
    if (dynamic || dim < 0 || dim >= v.num_dims)
        qc_fail_tok(c, QC_VALUE, name, "dimension %lld does not exist", (long long)dim);
    return (qc_value){TY_UINT, 1, 0, 0, 64, v.dims[dim], 0};
}

/* durationof({...}): no operation takes time on an ideal simulator. */
static qc_value qc3_durationof(qc *c) {
    if (c->t.kind != '{') qc_unexpected(c, "'{'");
    qc_skip_brackets(c);
    qc_expect(c, ')', "')'");
    c->nesting--;
    return (qc_value){TY_DURATION, 1, 0, 0, 64, 0, 0};
}

/* A built-in function; the opening parenthesis is the current token. */
static qc_value qc3_function(qc *c, const qc_tok *name) {
    qc_value args[2];
    int n = 0, known = -1;
    qc_next(c);
    qc_nest(c);
    if (qc_token_is(name, "sizeof")) return qc3_sizeof(c, name);
    if (qc_token_is(name, "durationof")) return qc3_durationof(c);
    do {
        if (n == 2) qc_fail_tok(c, QC_SYNTAX, name, "too many arguments of %s", qc_named(c, name));
        args[n++] = qc3_expression(c, 0);
    } while (qc_accept(c, ','));
    qc_expect(c, ')', "')'");
    c->nesting--;
    int wanted = qc_token_is(name, "pow") || qc_token_is(name, "mod") || qc_token_is(name, "rotl") || qc_token_is(name,
            "rotr") ? 2 : 1;
    if (n != wanted)
        qc_fail_tok(c, QC_SYNTAX, name, "%s takes %d argument%s", qc_named(c, name), wanted, wanted == 1 ? "" : "s");
    if (qc_token_is(name, "real") || qc_token_is(name, "imag")) {
        double complex z = qc_as_complex(c, &args[0], name);
        return qc_known_float(name->begin[0] == 'r' ? creal(z) : cimag(z));
    }
    if (qc_token_is(name, "pow")) return qc_binary(c, T_POW, args[0], args[1], name);
    if (qc_token_is(name, "mod")) return qc_binary(c, '%', args[0], args[1], name);
    if (wanted == 2) return qc3_rotate(c, name, name->begin[3] == 'l' ? QF_ROTL : QF_ROTR, args[0], args[1]);
    if (qc_token_is(name, "popcount")) {
        if (qc_is_wide(&args[0])) return qc_wide_popcount(c, &args[0]);
        if (!qc_is_word_type(args[0].type)) qc_no_conversion(c, name, &args[0], TY_BITS, 64);
        if (args[0].known)
            return (qc_value){TY_UINT, 1, 0, 0, 64, __builtin_popcountll((uint64_t)qf_wrap_unsigned(args[0].bits,
                                                                                                    args[0].width))};
        if (args[0].type == TY_INT && args[0].width < 64) qc_op(c, QF_WRAPU, args[0].width);
        qc_op(c, QF_IPOPCOUNT, 0);
        return qc_on_stack(TY_UINT, 64);
    }
    for (int k = 0; qc3_functions[k] != NULL; k++)
        if (qc_token_is(name, qc3_functions[k])) known = k;
    if (known < 0) qc_fail_tok(c, QC_UNSUPPORTED, name, "%s is not supported", qc_named(c, name));
    if (args[0].type == TY_COMPLEX) return qc_complex_function(c, qc3_function_ops[known], &args[0], name);
    qc_value x = qc_to_float(c, args[0], name);
    if (!x.known) {
        qc_op(c, qc3_function_ops[known], 0);
        return x;
    }
    qf_unary(qc3_function_ops[known], x.bits, 0, &x.bits);
    if (!(fabs(qf_as_double(x.bits)) <= DBL_MAX))
        qc_fail_tok(c, QC_VALUE, name, "the value of this expression is not a finite number");
    return x;
}

static int qc_is_function(const qc_tok *t) {
    for (int k = 0; qc3_functions[k] != NULL; k++)
        if (qc_token_is(t, qc3_functions[k])) return 1;
    return qc_token_is(t, "pow") || qc_token_is(t, "mod") || qc_token_is(t, "rotl") || qc_token_is(t, "rotr") ||
        qc_token_is(t, "popcount") ||
           qc_token_is(t, "sizeof") || qc_token_is(t, "real") || qc_token_is(t, "imag") || qc_token_is(t, "durationof");
}

#endif

/* OpenQASM 3: expressions and quantum operands. */
#ifndef QFAST_QASM3_EXPR_H
#define QFAST_QASM3_EXPR_H
#include "qasm3_functions.h"

/* ---- primaries */

/* A scalar type at the current token, with its width in brackets. 0 when there is none. */
static int qc3_type(qc *c, int *type, int32_t *width) {
    int standard;
    if (c->t.kind != T_IDENT) return 0;
    switch (c->t.key) {
    case QC_KEY('b', 'o', 'o', 'l', 0, 0, 0, 0): *type = TY_BOOL; standard = 1; break;
    case QC_KEY('b', 'i', 't', 0, 0, 0, 0, 0): *type = TY_BITS; standard = 1; break;
    case QC_KEY('i', 'n', 't', 0, 0, 0, 0, 0): *type = TY_INT; standard = 64; break;
    case QC_KEY('u', 'i', 'n', 't', 0, 0, 0, 0): *type = TY_UINT; standard = 64; break;
    case QC_KEY('f', 'l', 'o', 'a', 't', 0, 0, 0): *type = TY_FLOAT; standard = 64; break;
    case QC_KEY('a', 'n', 'g', 'l', 'e', 0, 0, 0): *type = TY_ANGLE; standard = 64; break;
    case QC_KEY('d', 'u', 'r', 'a', 't', 'i', 'o', 'n'): *type = TY_DURATION; standard = 64; break;
    case QC_KEY('c', 'o', 'm', 'p', 'l', 'e', 'x', 0): *type = TY_COMPLEX; standard = 64; break;
    default: return 0;
    }
    qc_next(c);
    *width = standard;
    if (c->t.kind != '[' || *type == TY_BOOL || *type == TY_DURATION) return 1;
    qc_next(c);
    if (*type == TY_COMPLEX) { /* complex[float[64]] */
        int part;
        if (!qc3_type(c, &part, width) || part != TY_FLOAT) qc_unexpected(c, "'float'");
        qc_expect(c, ']', "']'");
        return 1;
    }
    qc_tok at = c->t;
    int64_t given = qc3_known_int(c, "a width");
    if (given < 1 && !(given == 0 && *type == TY_BITS))
        qc_fail_tok(c, QC_VALUE, &at, "a width of %lld", (long long)given);
    if (*type == TY_BITS ? given > QC_MAX_QUBITS : given > 64)
        qc_fail_tok(c, *type == TY_BITS ? QC_LIMIT : QC_UNSUPPORTED, &at, "a width of %lld is more than %d",
                    (long long)given, *type == TY_BITS ? QC_MAX_QUBITS : 64);
    *width = *type == TY_FLOAT ? 64 : (int)given;
    qc_expect(c, ']', "']'");
    return 1;
}

/* Bit k of an integer or angle in a cell: references to the word's bits. */
static qc_refs qc_word_bits(int32_t cell, int width) { return (qc_refs){width, cell * 64, 1, 1, NULL}; }

static qc_value qc3_symbol(qc *c, const qc_tok *name, const qc_symbol *s) {
    int dynamic = 0;
    qc_refs refs;
    switch (s->kind) {
    case S_CONSTANT: return s->value;
    case S_VARIABLE:
        if (c->in_gate && !c->cells[s->cell].known) qc_no_runtime_in_gate(c);
        if (c->t.kind != '[') return qc_load_cell(c, s->cell, s->type, s->width);
        if (s->type != TY_INT && s->type != TY_UINT && s->type != TY_ANGLE)
            qc_fail(c, QC_SYNTAX, "a %s has no bits", qc_type_name(s->type));
        refs = qc3_index(c, qc_word_bits(s->cell, s->width), &dynamic);
        return dynamic ? qc_load_dynamic_bit(c, &refs) : qc_load_refs(c, &refs);
    case S_BITS:
        refs = s->refs;
        while (c->t.kind == '[' && !dynamic) refs = qc3_index(c, refs, &dynamic);
        return dynamic ? qc_load_dynamic_bit(c, &refs) : qc_load_refs(c, &refs);
    case S_ARRAY: {
        int type = s->type, width = s->width;
        qc_view v = qc3_view(c, s->view, &dynamic);
        if (v.num_dims) qc_fail_tok(c, QC_UNSUPPORTED, name, "a whole array is no value here");
        return qc_load_element(c, &v, type, width, dynamic);
    }
    case S_PARAMETER: qc_op(c, QF_LDVAR, s->cell); return qc_on_stack(TY_FLOAT, 64);
    case S_SUBROUTINE: return qc3_call_subroutine(c, name, s->subroutine, 0);
    case S_NOTHING: return (qc_value){TY_DURATION, 1, 0, 0, 64, 0};
    case S_QUBITS: qc_fail_tok(c, QC_SYNTAX, name, "%s is a qubit and has no value, use measure", qc_named(c, name));
    default: qc_fail_tok(c, QC_SYNTAX, name, "%s is a gate and has no value", qc_named(c, name));
    }
}

static qc_value qc3_measure_value(qc *c) {
    qc_tok at = c->t;
    qc_next(c);
    if (c->in_gate) qc_fail_tok(c, QC_SYNTAX, &at, "'measure' can't stand in the body of a gate");
    qc_refs from = qc3_operand(c);
    if (from.count == 0) qc_fail_tok(c, QC_VALUE, &at, "nothing to measure");
    if (from.count > 64) {
        qc_value wide = qc_new_wide(c, from.count);
        qc_refs to = qc_word_bits((int32_t)wide.bits, from.count);
        qc_measure_refs(c, &from, &to, &at);
        return wide;
    }
    for (int32_t k = 0; k < from.count; k++) {
        qc_measure_ref(c, &from, k);
        if (k == 0) continue;
        qc_push_int(c, k);
        qc_op(c, QF_ISHL, 0);
        qc_op(c, QF_IOR, 0);
    }
    return qc_on_stack(TY_BITS, from.count);
}

/* Indices behind a value that is not a name: they take its bits. */
static qc_value qc3_postfix(qc *c, qc_value v) {
    int dynamic = 0;
    if (c->t.kind != '[') return v;
    if (v.type != TY_BITS && v.type != TY_INT && v.type != TY_UINT && v.type != TY_ANGLE)
        qc_fail(c, QC_SYNTAX, "a %s has no bits", qc_type_name(v.type));
    int32_t width = v.width, cell = qc_new_cells(c, qc_cells_of(v.type, width), &c->t);
    qc_store_cell(c, cell, v);
    qc_refs refs = qc_word_bits(cell, width);
    while (c->t.kind == '[' && !dynamic) refs = qc3_index(c, refs, &dynamic);
    return dynamic ? qc_load_dynamic_bit(c, &refs) : qc_load_refs(c, &refs);
}

static qc_value qc3_word(qc *c) {
    qc_tok name = c->t;
    int type, width;
    const qc_symbol *s = qc_find(c, &name);
    if (s != NULL) {
        qc_next(c);
        return qc3_symbol(c, &name, s);
    }
    switch (name.key) {
    case QC_KEY('p', 'i', 0, 0, 0, 0, 0, 0):
    case QC_KEY(0xCF, 0x80, 0, 0, 0, 0, 0, 0): qc_next(c); return qc_known_float(M_PI);
    case QC_KEY('t', 'a', 'u', 0, 0, 0, 0, 0):
    case QC_KEY(0xCF, 0x84, 0, 0, 0, 0, 0, 0): qc_next(c); return qc_known_float(2 * M_PI);
    case QC_KEY('e', 'u', 'l', 'e', 'r', 0, 0, 0):
    case QC_KEY(0xE2, 0x84, 0x87, 0, 0, 0, 0, 0): qc_next(c); return qc_known_float(M_E);
    case QC_KEY('t', 'r', 'u', 'e', 0, 0, 0, 0): qc_next(c); return qc_known_bool(1);
    case QC_KEY('f', 'a', 'l', 's', 'e', 0, 0, 0): qc_next(c); return qc_known_bool(0);
    case QC_KEY('m', 'e', 'a', 's', 'u', 'r', 'e', 0): return qc3_measure_value(c);
    default: break;
    }
    if (qc3_type(c, &type, &width)) {
        qc_expect(c, '(', "'('");
        qc_tok at = c->t;
        qc_nest(c);
        qc_value v = qc3_expression(c, 0);
        c->nesting--;
        qc_expect(c, ')', "')'");
        return qc_convert(c, v, type, width, 1, &at);
    }
    if (qc_is_function(&name)) {
        qc_next(c);
        if (c->t.kind != '(') qc_unexpected(c, "'('");
        return qc3_function(c, &name);
    }
    qc_unknown(c, &name, "variable", 0);
}

/* "0110": the rightmost digit is bit 0. */
static qc_value qc3_string(qc *c) {
    int32_t n = 0, width = 0;
    uint64_t word = 0;
    for (const char *p = c->t.begin + 1; p < c->t.end - 1; p++) {
        if (*p != '_' && *p != '0' && *p != '1') qc_fail(c, QC_SYNTAX, "%s is not a bit string", qc_token_text(c));
        width += *p != '_';
    }
    qc_value wide = width > 64 ? qc_new_wide(c, width) : (qc_value){TY_BITS, 1, 0, 0, width, 0, 0};
    for (const char *p = c->t.end - 2; p > c->t.begin; p--) {
        if (*p == '_') continue;
        word |= (uint64_t)(*p == '1') << (n & 63);
        if (++n < width && (n & 63)) continue;
        if (width <= 64) wide.bits = (int64_t)word;
        else qc_store_cell(c, (int32_t)wide.bits + (n - 1) / 64, qc_known_word((int64_t)word));
        word = 0;
    }
    qc_next(c);
    return wide;
}

static qc_value qc3_sign(qc *c, const qc_tok *at);

static qc_value qc3_unary(qc *c) {
    qc_tok at = c->t;
    qc_value v;
    switch (c->t.kind) {
    case T_INT:
        qc_next(c);
        if (at.has_number_overflow)
            qc_fail_tok(c, QC_SYNTAX, &at, "the integer %s does not fit into 64 bits", qc_named(c, &at));
        v = qc_known_int((int64_t)at.integer);
        v.literal = 1;
        if (at.integer >> 63) v.type = TY_UINT, v.literal = 0;
        return v;
    case T_REAL:
        qc_next(c);
        if (!(at.real <= DBL_MAX)) qc_fail_tok(c, QC_SYNTAX, &at, "the number %s is too large", qc_named(c, &at));
        return qc_known_float(at.real);
    case T_TIMING:
        qc_next(c);
        return (qc_value){TY_DURATION, 1, 0, 0, 64, qf_from_double(at.real)};
    case T_IMAGINARY:
        qc_next(c);
        return qc_known_complex(c, I * at.real, &at);
    case T_STRING: return qc3_postfix(c, qc3_string(c));
    case T_IDENT: return qc3_postfix(c, qc3_word(c));
    case '(':
        qc_next(c);
        v = qc3_expression(c, 0);
        qc_expect(c, ')', "')'");
        return qc3_postfix(c, v);
    case '-': case '~': case '!': return qc3_sign(c, &at);
    default: qc_unexpected(c, "an expression");
    }
}

static qc_value qc3_sign(qc *c, const qc_tok *sign) {
    const qc_tok at = *sign;
    qc_next(c);
    qc_value v = qc3_expression(c, 11);
    switch (at.kind) {
    case '-':
        if (v.type == TY_COMPLEX) return qc_known_complex(c, -qc_as_complex(c, &v, &at), &at);
        if (qc_is_wide(&v)) qc_no_conversion(c, &at, &v, TY_INT, 64);
        if (v.type == TY_FLOAT || v.type == TY_DURATION) {
            if (v.known) v.bits = qf_from_double(-qf_as_double(v.bits));
            else qc_op(c, QF_FNEG, 0);
            return v;
        }
        if (v.type == TY_VOID) qc_fail_tok(c, QC_SYNTAX, &at, "a subroutine without a result has no value");
        if (v.known) {
            if (v.type == TY_INT && v.bits == INT64_MIN)
                qc_fail_tok(c, QC_VALUE, &at, "the result of this operation does not fit into 64 bits");
            if (v.type == TY_UINT && v.width == 64 && v.bits == INT64_MIN) return qc_known_int(INT64_MIN);
            v.bits = (int64_t)(0 - (uint64_t)v.bits);
            v.bits = v.type == TY_INT ? qf_wrap_signed(v.bits, v.width) : qf_wrap_unsigned(v.bits, v.width);
            return v;
        }
        qc_op(c, QF_INEG, 0);
        if (v.width < 64) qc_op(c, v.type == TY_INT ? QF_WRAPI : QF_WRAPU, v.width);
        v.cast_of_bits = 0;
        return v;
    case '~':
        if (qc_is_wide(&v)) return qc_wide_not(c, &v);
        if (!qc_is_word_type(v.type) && v.type != TY_ANGLE) qc_no_conversion(c, &at, &v, TY_BITS, 64);
        if (v.known) {
            v.bits = v.type == TY_INT ? qf_wrap_signed(~v.bits, v.width) : qf_wrap_unsigned(~v.bits, v.width);
            return v;
        }
        qc_op(c, QF_IBNOT, 0);
        if (v.type != TY_INT && v.width < 64) qc_op(c, QF_WRAPU, v.width);
        v.cast_of_bits = 0;
        return v;
    default:
        v = qc_to_bool(c, v);
        if (v.known) return qc_known_bool(!v.bits);
        qc_op(c, QF_INOT, 0);
        return v;
    }
}

static int qc_precedence(int kind) {
    switch (kind) {
    case T_OR: return 1;
    case T_AND: return 2;
    case '|': return 3;
    case '^': return 4;
    case '&': return 5;
    case T_EQ: case T_NE: return 6;
    case '<': case '>': case T_LE: case T_GE: return 7;
    case T_SHL: case T_SHR: return 8;
    case '+': case '-': case T_CONCAT: return 9;
    case '*': case '/': case '%': return 10;
    case T_POW: return 12; /* above the signs, which are 11 */
    default: return 0;
    }
}

/* Reads over the right side of && or || without looking at it. */
static void qc_skip_operand(qc *c, int precedence) {
    int depth = 0;
    for (;; qc_next(c)) {
        int k = c->t.kind;
        if (k == '(' || k == '[' || k == '{') depth++;
        if (depth == 0 && (k == ')' || k == ']' || k == '}' || k == ';' || k == ',' || k == ':' || (qc_precedence(k) &&
                qc_precedence(k) <= precedence)))
            return;
        if (k == ')' || k == ']' || k == '}') depth--;
        if (k == T_EOF) qc_unexpected(c, "an expression");
    }
}

static qc_value qc_short_circuit(qc *c, int kind, qc_value left) {
    int is_and = kind == T_AND, precedence = qc_precedence(kind);
    left = qc_to_bool(c, left);
    qc_next(c);
    if (left.known && (left.bits != 0) != is_and) {
        if (c->checking) {
            c->doubtful++;
            qc_drop(c, qc_to_bool(c, qc3_expression(c, precedence)));
            c->doubtful--;
        } else {
            qc_skip_operand(c, precedence);
        }
        return left;
    }
    if (left.known) return qc_to_bool(c, qc3_expression(c, precedence));
    qc_no_runtime_in_gate(c);
    /* a JUMPZ else; b; JUMP end; else: PUSH 0; end (for ||: NOT a first, and 1) */
    if (!is_and) qc_op(c, QF_INOT, 0);
    int32_t to_else = c->out->n;
    qc_op(c, QF_JUMPZ, 0);
    c->dynamic++;
    qc_value right = qc_to_bool(c, qc3_expression(c, precedence));
    c->dynamic--;
    qc_push_value(c, &right);
    int32_t to_end = c->out->n;
    qc_op(c, QF_JUMP, 0);
    c->out->code[to_else].c = c->out->n;
    c->stack_depth--;
    qc_push_int(c, !is_and);
    c->out->code[to_end].c = c->out->n;
    return qc_on_stack(TY_BOOL, 1);
}

static qc_value qc3_expression(qc *c, int precedence) {
    qc_nest(c);
    qc_value left = qc3_unary(c);
    for (;;) {
        qc_tok at = c->t;
        int mine = qc_precedence(at.kind);
        if (mine == 0 || mine <= precedence) break;
        if (at.kind == T_AND || at.kind == T_OR) {
            left = qc_short_circuit(c, at.kind, left);
            continue;
        }
        qc_next(c);
        qc_value right = qc3_expression(c, at.kind == T_POW ? 10 : mine); /* a ** -b ** c is a ** (-(b ** c)) */
        left = qc_binary(c, at.kind, left, right, &at);
    }
    c->nesting--;
    return left;
}

/* ---- quantum operands */

static qc_refs qc3_operand(qc *c) {
    qc_tok name = c->t;
    if (name.kind == T_HARDWARE) {
        if (name.has_number_overflow || name.integer >= QC_MAX_QUBITS)
            qc_fail(c, QC_LIMIT, "more than %d qubits", QC_MAX_QUBITS);
        if (c->num_qubits) qc_fail(c, QC_UNSUPPORTED, "physical qubits beside declared qubits are not supported");
        if (c->in_gate) qc_fail(c, QC_SYNTAX, "a physical qubit can't stand in the body of a gate");
        if ((int64_t)name.integer + 1 > c->max_hardware) c->max_hardware = (int64_t)name.integer + 1;
        c->hardware_at = (int32_t)(name.begin - c->source);
        qc_next(c);
        return (qc_refs){1, (int32_t)name.integer, 0, 0, NULL};
    }
    if (name.kind != T_IDENT) qc_unexpected(c, "a qubit");
    const qc_symbol *s = qc_find(c, &name);
    if (s == NULL) qc_unknown(c, &name, "qubit", S_QUBITS);
    if (s->kind != S_QUBITS) qc_fail_tok(c, QC_SYNTAX, &name, "%s is not a qubit", qc_named(c, &name));
    qc_refs refs = s->refs;
    qc_next(c);
    if (c->in_gate && c->t.kind == '[') qc_fail(c, QC_SYNTAX, "a qubit of a gate's body can't be indexed");
    while (c->t.kind == '[') {
        int is_dynamic = 0;
        if (!refs.is_register) qc_fail(c, QC_SYNTAX, "%s is one qubit and has no index", qc_named(c, &name));
        refs = qc3_index(c, refs, &is_dynamic);
        if (is_dynamic) refs = qc_choose(c, &refs);
    }
    return refs;
}

/* Operands up to the end of the statement, in the arena. */
static int32_t qc3_operands(qc *c, qc_refs **out) {
    int32_t n = 0, cap = 8;
    qc_refs *refs = qc_alloc(c, (size_t)cap * sizeof *refs);
    while (c->t.kind != ';') {
        if (n == cap) {
            qc_refs *more = qc_alloc(c, 2 * (size_t)cap * sizeof *more);
            memcpy(more, refs, (size_t)n * sizeof *more);
            refs = more;
            cap *= 2;
        }
        refs[n++] = qc3_operand(c);
        if (!qc_accept(c, ',')) break;
    }
    qc_end_operands(c);
    *out = refs;
    return n;
}

#endif

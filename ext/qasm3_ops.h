/* OpenQASM 3: operators on values that are known or lie on the stack. */
#ifndef QFAST_QASM3_OPS_H
#define QFAST_QASM3_OPS_H
#include "qasm3_wide.h"

static void qc_convert_left(qc *c, qc_value *left, const qc_value *right, int type, int width, const qc_tok *at) {
    int below = !left->known && !right->known; /* the right value lies on top of the left one */
    int32_t before;
    if (left->type == type && (left->width == width || type == TY_FLOAT)) return;
    if (below) qc_op(c, QF_EXCH, 0);
    before = c->out->n;
    *left = type == TY_FLOAT ? qc_to_float(c, *left, at) : qc_convert(c, *left, type, width, 1, at);
    if (!below) return;
    if (c->out->n == before) c->out->n--; /* nothing was done, so nothing need be exchanged */
    else qc_op(c, QF_EXCH, 0);
}

/* Brings two values of one type onto the stack and applies op. */
static void qc_apply_on_stack(qc *c, qc_value *left, qc_value *right, uint8_t op) {
    if (left->known) {
        qc_push_value(c, left);
        if (!right->known) qc_op(c, QF_EXCH, 0);
    }
    if (right->known) qc_push_value(c, right);
    qc_op(c, op, 0);
}

/* The integer type of a result, after C99's rules: a literal takes the signedness of its partner. */
static void qc_common_int(const qc_value *l, const qc_value *r, int *type, int *width) {
    int left_signed = l->type == TY_INT, right_signed = r->type == TY_INT;
    *width = l->width > r->width ? l->width : r->width;
    if (left_signed && right_signed) *type = TY_INT;
    else if (!left_signed && !right_signed) *type = TY_UINT;
    else {
        const qc_value *s = left_signed ? l : r, *u = left_signed ? r : l;
        *type = (s->literal ? s->bits >= 0 : u->width >= s->width) ? TY_UINT : TY_INT;
    }
}

static qc_value qc_float_op(qc *c, uint8_t op, int is_comparison, qc_value l, qc_value r, const qc_tok *at) {
    int64_t bits = 0;
    qc_convert_left(c, &l, &r, TY_FLOAT, 64, at);
    r = qc_to_float(c, r, at);
    if (op == QF_FDIV && r.known && qf_as_double(r.bits) == 0) qc_fail_tok(c, QC_VALUE, at, "division by zero");
    if (!l.known || !r.known) {
        qc_apply_on_stack(c, &l, &r, op);
        return is_comparison ? qc_on_stack(TY_BOOL, 1) : qc_on_stack(TY_FLOAT, 64);
    }
    qf_float_binary(op, qf_as_double(l.bits), qf_as_double(r.bits), &bits);
    if (is_comparison) return qc_known_bool(bits != 0);
    if (!(fabs(qf_as_double(bits)) <= DBL_MAX))
        qc_fail_tok(c, QC_VALUE, at, "the value of this expression is not a finite number");
    return (qc_value){TY_FLOAT, 1, 0, 0, 64, bits};
}

static void qc_check_overflow(qc *c, uint8_t op, int64_t a, int64_t b, const qc_tok *at) {
    int64_t r = 1;
    int over = op == QF_IADD   ? __builtin_add_overflow(a, b, &r)
               : op == QF_ISUB ? __builtin_sub_overflow(a, b, &r)
               : op == QF_IMUL ? __builtin_mul_overflow(a, b, &r)
                               : 0;
    if (op == QF_IPOW && a != 0 && a != 1 && a != -1) {
        over = b > 63;
        for (int64_t k = 0; k < b && !over; k++) over = __builtin_mul_overflow(r, a, &r);
    }
    if (over) qc_fail_tok(c, QC_VALUE, at, "the result of this operation does not fit into 64 bits");
}

/* op: an integer operation of qf_int_binary. The operands are words; the result is of `type`, or bool for a comparison.
 */
static qc_value qc_int_op(qc *c, uint8_t op, int is_comparison, int type, int width, qc_value l, qc_value r,
                          const qc_tok *at) {
    int literal = l.literal && r.literal;
    qc_convert_left(c, &l, &r, type, width, at);
    r = qc_convert(c, r, type, width, 1, at);
    if ((op == QF_IDIV || op == QF_IMOD || op == QF_UDIV || op == QF_UMOD) && r.known && r.bits == 0)
        qc_fail_tok(c, QC_VALUE, at, "division by zero");
    if (l.known && r.known) {
        int64_t bits = 0;
        if (type == TY_INT && width == 64) qc_check_overflow(c, op, l.bits, r.bits, at);
        if (qf_int_binary(op, l.bits, r.bits, &bits))
            qc_fail_tok(c, QC_VALUE, at, "this operation is not defined for these values");
        if (is_comparison) return qc_known_bool(bits != 0);
        bits = type == TY_INT ? qf_wrap_signed(bits, width) : qf_wrap_unsigned(bits, width);
        return (qc_value){(uint8_t)type, 1, (uint8_t)literal, 0, (int32_t)width, bits};
    }
    qc_apply_on_stack(c, &l, &r, op);
    if (is_comparison) return qc_on_stack(TY_BOOL, 1);
    if (width < 64 && op != QF_IAND && op != QF_IOR && op != QF_IXOR)
        qc_op(c, type == TY_INT ? QF_WRAPI : QF_WRAPU, width);
    return qc_on_stack(type, width);
}

static qc_value qc_compare(qc *c, int kind, qc_value l, qc_value r, const qc_tok *at) {
    static const uint8_t ops[6][3] = {{QF_IEQ, QF_IEQ, QF_FEQ}, {QF_INE, QF_INE, QF_FNE}, {QF_ILT, QF_ULT, QF_FLT},
                                      {QF_ILE, QF_ULE, QF_FLE}, {QF_IGT, QF_UGT, QF_FGT}, {QF_IGE, QF_UGE, QF_FGE}};
    const uint8_t *op = ops[kind == T_EQ ? 0 : kind == T_NE ? 1 : kind == '<' ? 2 : kind == T_LE ? 3 : kind == '>' ? 4
                            : 5];
    int type, width;
    if (l.type == TY_ANGLE && r.type == TY_ANGLE) {
        width = l.width > r.width ? l.width : r.width;
        qc_convert_left(c, &l, &r, TY_ANGLE, width, at);
        r = qc_to_angle(c, r, width, at);
        l.type = r.type = TY_UINT;
        return qc_int_op(c, op[1], 1, TY_UINT, width, l, r, at);
    }
    if (!qc_is_word_type(l.type) || !qc_is_word_type(r.type)) return qc_float_op(c, op[2], 1, l, r, at);
    if (l.type == TY_BITS && r.type == TY_BITS && l.width != r.width) qc_no_conversion(c, at, &l, TY_BITS, r.width);
    /* int[n](bits) == k for a k that only the unsigned reading has: the examples of the specification mean that one */
    const qc_value *cast = l.cast_of_bits ? &l : &r, *literal = l.cast_of_bits ? &r : &l;
    if ((kind == T_EQ || kind == T_NE) && cast->cast_of_bits && cast->width < 64 && literal->known &&
        literal->bits >= INT64_C(1) << (cast->width - 1) &&
        literal->bits < INT64_C(1) << cast->width)
        return qc_int_op(c, op[1], 1, TY_UINT, cast->width, l, r, at);
    qc_common_int(&l, &r, &type, &width);
    return qc_int_op(c, op[type == TY_UINT], 1, type, width, l, r, at);
}

static qc_value qc_shift(qc *c, int kind, qc_value l, qc_value r, const qc_tok *at) {
    int type = l.type, width = l.width, as = type == TY_INT ? TY_INT : TY_UINT;
    if ((!qc_is_word_type(type) && type != TY_ANGLE) || !qc_is_word_type(r.type))
        qc_fail_tok(c, QC_SYNTAX, at, "a %s can't be shifted by a %s", qc_type_name(type), qc_type_name(r.type));
    l.type = (uint8_t)as;
    if (r.known && r.bits < 0) qc_fail_tok(c, QC_VALUE, at, "a shift by a negative number");
    if (l.known && r.known && type == TY_INT && kind == T_SHL && width == 64 && l.bits != 0 && (r.bits > 62 ||
            l.bits != (int64_t)((uint64_t)l.bits << r.bits) >> r.bits))
        qc_fail_tok(c, QC_VALUE, at, "the result of this operation does not fit into 64 bits");
    uint8_t op = kind == T_SHL ? QF_ISHL : as == TY_INT ? QF_ISHR : QF_USHR;
    r.type = (uint8_t)as; /* the count is a word as it is */
    r.width = (int32_t)width;
    qc_value v = qc_int_op(c, op, 0, as, width, l, r, at);
    v.type = (uint8_t)type;
    v.literal = l.literal;
    return v;
}

static qc_value qc_angle_op(qc *c, int kind, qc_value l, qc_value r, const qc_tok *at) {
    int width = l.type == TY_ANGLE ? l.width : r.width, both = l.type == TY_ANGLE && r.type == TY_ANGLE;
    if (both && r.width > width) width = r.width;
    int word = !both && qc_is_word_type(l.type == TY_ANGLE ? r.type : l.type);
    int fits = both ? (kind == '+' || kind == '-' || kind == '/') : word && (kind == '*' ||
                                                                             (kind == '/' && l.type == TY_ANGLE));
    if (!fits) {
        uint8_t op = kind == '+' ? QF_FADD : kind == '-' ? QF_FSUB : kind == '*' ? QF_FMUL : kind == '/' ? QF_FDIV
            : kind == '%' ? QF_FMOD : QF_FPOW;
        return qc_float_op(c, op, 0, l, r, at);
    }
    if (both) {
        qc_convert_left(c, &l, &r, TY_ANGLE, width, at);
        r = qc_to_angle(c, r, width, at);
    }
    l.type = r.type = TY_UINT;
    l.width = r.width = (int32_t)width;
    l.literal = r.literal = 0;
    qc_value v = qc_int_op(c, kind == '+' ? QF_IADD : kind == '-' ? QF_ISUB : kind == '*' ? QF_IMUL : QF_UDIV, 0,
                           TY_UINT, width, l, r, at);
    if (!(both && kind == '/')) v.type = TY_ANGLE;
    return v;
}

/* Bits of the left register first, so that they are the low ones. */
static qc_value qc_concatenate(qc *c, qc_value l, qc_value r, const qc_tok *at) {
    int low = l.width, width = l.width + r.width;
    if (l.type != TY_BITS || r.type != TY_BITS)
        qc_fail_tok(c, QC_SYNTAX, at, "'++' joins bit registers, not %s and %s", qc_type_name(l.type),
                    qc_type_name(r.type));
    if (width > QC_MAX_QUBITS) qc_fail_tok(c, QC_LIMIT, at, "a value of more than %d bits", QC_MAX_QUBITS);
    if (width > 64) {
        qc_value high = qc_is_wide(&r) ? r : qc_widen(c, r, r.width, at);
        qc_value below = qc_is_wide(&l) ? l : qc_widen(c, l, l.width, at);
        return qc_wide_concatenate(c, &below, &high, width);
    }
    if (r.known) {
        r.bits = low > 63 ? 0 : (int64_t)((uint64_t)r.bits << low);
    } else {
        qc_push_int(c, low);
        qc_op(c, QF_ISHL, 0);
    }
    if (l.known && r.known) return (qc_value){TY_BITS, 1, 0, 0, (int32_t)width, l.bits | r.bits};
    qc_apply_on_stack(c, &l, &r, QF_IOR);
    return qc_on_stack(TY_BITS, width);
}

static qc_value qc_binary(qc *c, int kind, qc_value l, qc_value r, const qc_tok *at) {
    int type, width;
    if (l.type == TY_VOID || r.type == TY_VOID)
        qc_fail_tok(c, QC_SYNTAX, at, "a subroutine without a result has no value");
    if (l.type == TY_COMPLEX || r.type == TY_COMPLEX) return qc_complex_binary(c, kind, l, r, at);
    if ((qc_is_wide(&l) || qc_is_wide(&r)) && kind != T_CONCAT) return qc_wide_binary(c, kind, l, r, at);
    switch (kind) {
    case T_EQ: case T_NE: case '<': case '>': case T_LE: case T_GE: return qc_compare(c, kind, l, r, at);
    case T_SHL: case T_SHR: return qc_shift(c, kind, l, r, at);
    case T_CONCAT: return qc_concatenate(c, l, r, at);
    case '&': case '|': case '^': {
        uint8_t op = kind == '&' ? QF_IAND : kind == '|' ? QF_IOR : QF_IXOR;
        const int both_bool = l.type == TY_BOOL && r.type == TY_BOOL;
        int bits = l.type == TY_BITS && r.type == TY_BITS, angle = l.type == TY_ANGLE && r.type == TY_ANGLE &&
            l.width == r.width;
        if (bits && l.width != r.width) qc_no_conversion(c, at, &l, TY_BITS, r.width);
        if (angle) l.type = r.type = TY_UINT;
        if (!qc_is_word_type(l.type) || !qc_is_word_type(r.type))
            qc_fail_tok(c, QC_SYNTAX, at, "%s between %s and %s", qc_named(c, at), qc_type_name(l.type),
                        qc_type_name(r.type));
        /* a literal is as wide as the register */
        if ((l.type == TY_BITS && r.literal) || (r.type == TY_BITS && l.literal)) {
            width = l.type == TY_BITS ? l.width : r.width;
            bits = 1;
        } else {
            qc_common_int(&l, &r, &type, &width);
        }
        qc_value v = qc_int_op(c, op, 0, bits ? TY_UINT : type, width, l, r, at);
        if (bits) v.type = TY_BITS;
        else if (both_bool) v.type = TY_BOOL;
        else if (angle) v.type = TY_ANGLE;
        return v;
    }
    default: break;
    }
    if (l.type == TY_ANGLE || r.type == TY_ANGLE) return qc_angle_op(c, kind, l, r, at);
    if (l.type == TY_BOOL && r.type == TY_BOOL) { /* as in C, arithmetic is not done on bools */
        l.type = r.type = TY_INT;
        l.width = r.width = 64;
    }
    if (qc_is_word_type(l.type) && qc_is_word_type(r.type)) {
        qc_common_int(&l, &r, &type, &width);
        if (kind == T_POW && r.known && type == TY_INT && r.bits < 0) return qc_float_op(c, QF_FPOW, 0, l, r, at);
        int u = type == TY_UINT;
        uint8_t op = kind == '+' ? QF_IADD : kind == '-' ? QF_ISUB : kind == '*' ? QF_IMUL : kind == '/' ? (u ? QF_UDIV
                                                                                                            : QF_IDIV)
                     : kind == '%' ? (u ? QF_UMOD : QF_IMOD) : QF_IPOW;
        return qc_int_op(c, op, 0, type, width, l, r, at);
    }
    int duration = l.type == TY_DURATION || r.type == TY_DURATION, both = l.type == r.type;
    uint8_t op = kind == '+' ? QF_FADD : kind == '-' ? QF_FSUB : kind == '*' ? QF_FMUL : kind == '/' ? QF_FDIV
        : kind == '%' ? QF_FMOD : QF_FPOW;
    qc_value v = qc_float_op(c, op, 0, l, r, at);
    if (duration && !(both && kind == '/')) v.type = TY_DURATION;
    return v;
}

#endif

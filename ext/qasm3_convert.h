/* OpenQASM 3: how values change type; a value is known, or on top of the stack, or wide. */
#ifndef QFAST_QASM3_CONVERT_H
#define QFAST_QASM3_CONVERT_H
#include "qasm3_values.h"

static double qc_turn(int width) { return ldexp(2 * M_PI, -width); } /* radians of the lowest bit of an angle */

static int64_t qc_angle_of(double x, int width) {
    long double turns = (long double)x / (2 * M_PIl), fraction = turns - floorl(turns);
    uint64_t top = (uint64_t)roundl(ldexpl(fraction, width > 63 ? 63 : width));
    return qf_wrap_unsigned((int64_t)(width > 63 ? top << 1 : top), width);
}

static void qc_angle_on_stack(qc *c, int width) {
    int exact = width > 53 ? 53 : width;
    qc_push_float(c, 2 * M_PI);
    qc_op(c, QF_FDIV, 0);
    qc_op(c, QF_DUP, 0);
    qc_op(c, QF_FFLOOR, 0);
    qc_op(c, QF_FSUB, 0);
    qc_push_float(c, ldexp(1, exact));
    qc_op(c, QF_FMUL, 0);
    qc_push_float(c, 0.5);
    qc_op(c, QF_FADD, 0);
    qc_op(c, QF_F2I, 0);
    if (width > exact) {
        qc_push_int(c, width - exact);
        qc_op(c, QF_ISHL, 0);
    }
    if (width < 64) qc_op(c, QF_WRAPU, width);
}

static _Noreturn void qc_no_conversion(qc *c, const qc_tok *at, const qc_value *v, int type, int width) {
    if (v->type == TY_BITS || type == TY_BITS)
        qc_fail_tok(c, QC_SYNTAX, at, "a value of type %s[%d] is no %s[%d]", qc_type_name(v->type), v->width,
                    qc_type_name(type), width);
    qc_fail_tok(c, QC_SYNTAX, at, "a value of type %s is no %s", qc_type_name(v->type), qc_type_name(type));
}

static inline int qc_is_word_type(int type) { return type == TY_BOOL || type == TY_BITS || type == TY_INT ||
                                             type == TY_UINT; }

static qc_value qc_wide_to_bool(qc *c, const qc_value *v);

static qc_value qc_to_bool(qc *c, qc_value v) {
    if (qc_is_wide(&v)) return qc_wide_to_bool(c, &v);
    if (v.known) return qc_known_bool(v.type == TY_FLOAT ? qf_as_double(v.bits) != 0 : v.bits != 0);
    if (v.type == TY_FLOAT) {
        qc_push_float(c, 0);
        qc_op(c, QF_FNE, 0);
    } else if (v.type != TY_BOOL && !(v.type == TY_BITS && v.width == 1)) {
        qc_push_int(c, 0);
        qc_op(c, QF_INE, 0);
    }
    return qc_on_stack(TY_BOOL, 1);
}

static qc_value qc_to_float(qc *c, qc_value v, const qc_tok *at) {
    switch (v.type) {
    case TY_FLOAT: case TY_DURATION: v.type = TY_FLOAT; return v;
    case TY_ANGLE:
        if (v.known) return qc_known_float((double)(uint64_t)v.bits * qc_turn(v.width));
        qc_op(c, QF_U2F, 0);
        qc_push_float(c, qc_turn(v.width));
        qc_op(c, QF_FMUL, 0);
        return qc_on_stack(TY_FLOAT, 64);
    case TY_VOID: case TY_COMPLEX: qc_no_conversion(c, at, &v, TY_FLOAT, 64);
    default:
        if (qc_is_wide(&v)) qc_no_conversion(c, at, &v, TY_FLOAT, 64);
        if (v.known) return qc_known_float(v.type == TY_INT ? (double)v.bits : (double)(uint64_t)v.bits);
        qc_op(c, v.type == TY_INT ? QF_I2F : QF_U2F, 0);
        return qc_on_stack(TY_FLOAT, 64);
    }
}

static qc_value qc_to_int(qc *c, qc_value v, int type, int width, const qc_tok *at) {
    if (v.type == TY_FLOAT) {
        int64_t whole;
        if (v.known) {
            if (qf_unary(QF_F2I, v.bits, 0, &whole))
                qc_fail_tok(c, QC_VALUE, at, "this number does not fit into %s[%d]", qc_type_name(type), width);
            v = qc_known_int(whole);
        } else {
            qc_op(c, QF_F2I, 0);
            v = qc_on_stack(TY_INT, 64);
        }
    } else if (qc_is_wide(&v)) {
        qc_no_conversion(c, at, &v, type, width);
    } else if (!qc_is_word_type(v.type) && !(v.type == TY_ANGLE && type == TY_UINT)) {
        qc_no_conversion(c, at, &v, type, width);
    }
    int of_bits = v.type == TY_BITS && v.width == width && type == TY_INT;
    if (v.known) {
        v.bits = type == TY_INT ? qf_wrap_signed(v.bits, width) : qf_wrap_unsigned(v.bits, width);
    } else if (width < 64 && !(v.type == type && v.width <= width) && !(v.type != TY_INT &&
            (v.width < width || (type == TY_UINT && v.width == width)))) {
        qc_op(c, type == TY_INT ? QF_WRAPI : QF_WRAPU, width);
    }
    return (qc_value){(uint8_t)type, v.known, 0, (uint8_t)of_bits, (int32_t)width, v.bits};
}

static qc_value qc_to_angle(qc *c, qc_value v, int width, const qc_tok *at) {
    if (v.type == TY_ANGLE || (v.type == TY_BITS && v.width == width)) {
        int shift = v.type == TY_ANGLE ? width - v.width : 0;
        if (v.known) {
            v.bits = shift >= 0 ? (int64_t)((uint64_t)v.bits << shift) : (int64_t)((uint64_t)v.bits >> -shift);
        } else if (shift) {
            qc_push_int(c, shift > 0 ? shift : -shift);
            qc_op(c, shift > 0 ? QF_ISHL : QF_USHR, 0);
        }
        return (qc_value){TY_ANGLE, v.known, 0, 0, (int32_t)width, v.bits};
    }
    if (v.type == TY_BITS) qc_no_conversion(c, at, &v, TY_ANGLE, width);
    v = qc_to_float(c, v, at);
    if (v.known) return (qc_value){TY_ANGLE, 1, 0, 0, (int32_t)width, qc_angle_of(qf_as_double(v.bits), width)};
    qc_angle_on_stack(c, width);
    return qc_on_stack(TY_ANGLE, width);
}

static qc_value qc_widen(qc *c, qc_value v, int32_t width, const qc_tok *at);
static qc_value qc_to_complex(qc *c, const qc_value *v, const qc_tok *at);

/* The value as another type; `cast`: written as type(value), which may also cut bits. */
static qc_value qc_convert(qc *c, qc_value v, int type, int width, int cast, const qc_tok *at) {
    switch (type) {
    case TY_BOOL:
        if (v.type == TY_VOID || v.type == TY_DURATION || v.type == TY_COMPLEX)
            qc_no_conversion(c, at, &v, type, width);
        return qc_to_bool(c, v);
    case TY_FLOAT: return qc_to_float(c, v, at);
    case TY_ANGLE: return qc_to_angle(c, v, width, at);
    case TY_INT: case TY_UINT: return qc_to_int(c, v, type, width, at);
    case TY_BITS:
        if (v.type == TY_BITS && v.width == width) return v;
        if (width > 64) return qc_widen(c, v, width, at);
        if (v.type == TY_ANGLE && v.width == width) break;
        if (!qc_is_word_type(v.type) || (v.type == TY_BITS && !cast)) qc_no_conversion(c, at, &v, type, width);
        if (v.known && !cast && (uint64_t)v.bits != (uint64_t)qf_wrap_unsigned(v.bits, width))
            qc_fail_tok(c, QC_VALUE, at, "the value %lld does not fit into bit[%d]", (long long)v.bits, width);
        v = qc_to_int(c, v, TY_UINT, width, at);
        break;
    case TY_DURATION:
        if (v.type == TY_DURATION) return v;
        qc_no_conversion(c, at, &v, type, width);
    case TY_COMPLEX: return qc_to_complex(c, &v, at);
    default: qc_no_conversion(c, at, &v, type, width);
    }
    v.type = TY_BITS;
    v.width = (int32_t)width;
    v.cast_of_bits = 0;
    return v;
}

/* Discards a value. */
static void qc_drop(qc *c, qc_value v) {
    if (!v.known && v.type != TY_VOID && !qc_is_wide(&v)) qc_op(c, QF_POP, 0);
}

#endif

/* OpenQASM 3: bit values of more than 64 bits, and complex numbers.
 *
 * A wide value lies in consecutive cells, 64 bits each, the lowest first; the bits above its width are zero. Its cells
 * are known or not like any others, so nothing of it lies on the stack. A complex number is two cells and known at
 * compile time.
 */
#ifndef QFAST_QASM3_WIDE_H
#define QFAST_QASM3_WIDE_H
#include "qasm3_convert.h"

static qc_value qc_new_wide(qc *c, int32_t width) {
    qc_value v = qc_on_stack(TY_BITS, width);
    v.bits = qc_new_cells(c, (width + 63) / 64, &c->t);
    return v;
}

/* Word k of a value, wide or not (then the value itself, and zeros). */
static qc_value qc_wide_word(qc *c, const qc_value *v, int32_t k) {
    if (k < 0 || 64 * k >= v->width) return (qc_value){TY_UINT, 1, 0, 0, 64, 0, 0};
    return qc_load_cell(c, (int32_t)v->bits + k, TY_UINT, 64);
}

/* A bit value or a whole number as a wide one. */
static qc_value qc_widen(qc *c, qc_value v, int32_t width, const qc_tok *at) {
    if (qc_is_wide(&v)) {
        if (v.width != width) qc_no_conversion(c, at, &v, TY_BITS, width);
        return v;
    }
    if (!qc_is_word_type(v.type) || (v.type == TY_INT && !v.literal))
        qc_no_conversion(c, at, &v, TY_BITS, width);
    if (v.type == TY_INT && v.bits < 0) qc_fail_tok(c, QC_VALUE, at, "a negative number is no bit[%d]", width);
    qc_value wide = qc_new_wide(c, width);
    v.type = TY_UINT;
    qc_store_cell(c, (int32_t)wide.bits, v);
    return wide;
}

static void qc_copy_wide(qc *c, int32_t cell, const qc_value *v) {
    for (int32_t k = 0; 64 * k < v->width; k++) qc_store_cell(c, cell + k, qc_wide_word(c, v, k));
}

/* ---- operators */

static qc_value qc_word_op(qc *c, uint8_t op, qc_value l, qc_value r) {
    int64_t bits = 0;
    if (l.known && r.known) {
        qf_int_binary(op, l.bits, r.bits, &bits);
        return (qc_value){TY_UINT, 1, 0, 0, 64, bits, 0};
    }
    if (l.known) {
        qc_push_value(c, &l);
        qc_op(c, QF_EXCH, 0);
    } else if (r.known) {
        qc_push_value(c, &r);
    }
    qc_op(c, op, 0);
    return qc_on_stack(TY_UINT, 64);
}

static qc_value qc_known_word(int64_t bits) { return (qc_value){TY_UINT, 1, 0, 0, 64, bits, 0}; }

/* The bits of word k that belong to the width. */
static int64_t qc_word_mask(int32_t width, int32_t k) {
    int32_t own = width - 64 * k;
    return own >= 64 ? -1 : (int64_t)((UINT64_C(1) << own) - 1);
}

static qc_value qc_wide_bitwise(qc *c, uint8_t op, const qc_value *l, const qc_value *r) {
    qc_value out = qc_new_wide(c, l->width);
    for (int32_t k = 0; 64 * k < l->width; k++) {
        qc_value a = qc_wide_word(c, l, k);
        qc_store_cell(c, (int32_t)out.bits + k, qc_word_op(c, op, a, qc_wide_word(c, r, k)));
    }
    return out;
}

static qc_value qc_wide_not(qc *c, const qc_value *v) {
    qc_value out = qc_new_wide(c, v->width);
    for (int32_t k = 0; 64 * k < v->width; k++)
        qc_store_cell(c, (int32_t)out.bits + k,
                      qc_word_op(c, QF_IXOR, qc_wide_word(c, v, k), qc_known_word(qc_word_mask(v->width, k))));
    return out;
}

/* Shifted to the left, or for a negative count to the right. */
static qc_value qc_wide_shift(qc *c, const qc_value *v, int64_t count, int32_t width) {
    qc_value out = qc_new_wide(c, width);
    int64_t words = count >= 0 ? count / 64 : -((-count + 63) / 64), bits = count - 64 * words;
    if (count >= width || count <= -(int64_t)v->width) return out;
    for (int32_t k = 0; 64 * k < width; k++) {
        qc_value low = qc_wide_word(c, v, (int32_t)(k - words));
        low = qc_word_op(c, QF_ISHL, low, qc_known_word(bits));
        qc_value high = bits ? qc_wide_word(c, v, (int32_t)(k - words) - 1) : qc_known_word(0);
        if (bits) high = qc_word_op(c, QF_USHR, high, qc_known_word(64 - bits));
        low = qc_word_op(c, QF_IOR, low, high);
        qc_store_cell(c, (int32_t)out.bits + k, qc_word_op(c, QF_IAND, low, qc_known_word(qc_word_mask(width, k))));
    }
    return out;
}

/* The bits of l, then those of r above them. */
static qc_value qc_wide_concatenate(qc *c, const qc_value *l, const qc_value *r, int32_t width) {
    qc_value high = qc_wide_shift(c, r, l->width, width), low = *l;
    low.width = width; /* words that it does not have are not asked for: */
    qc_value out = qc_new_wide(c, width);
    for (int32_t k = 0; 64 * k < width; k++) {
        qc_value a = qc_wide_word(c, &high, k);
        if (64 * k < l->width) a = qc_word_op(c, QF_IOR, a, qc_wide_word(c, &low, k));
        qc_store_cell(c, (int32_t)out.bits + k, a);
    }
    return out;
}

/* == != < <= > >= as unsigned numbers; kind is the token. */
static qc_value qc_wide_compare(qc *c, int kind, const qc_value *l, const qc_value *r) {
    int is_equality = kind == T_EQ || kind == T_NE, orders = kind == '<' || kind == T_GE;
    const qc_value *a = orders || is_equality ? l : r, *b = orders || is_equality ? r : l;
    qc_value all = qc_known_word(is_equality);
    for (int32_t k = 0; 64 * k < l->width; k++) { /* lowest word first; all: a < b so far */
        qc_value same = qc_wide_word(c, a, k);
        same = qc_word_op(c, QF_IEQ, same, qc_wide_word(c, b, k));
        all = qc_word_op(c, QF_IAND, all, same);
        if (is_equality) continue;
        qc_value less = qc_wide_word(c, a, k);
        all = qc_word_op(c, QF_IOR, all, qc_word_op(c, QF_ULT, less, qc_wide_word(c, b, k)));
    }
    if (kind == T_NE || kind == T_LE || kind == T_GE) all = qc_word_op(c, QF_IXOR, all, qc_known_word(1));
    all.type = TY_BOOL;
    all.width = 1;
    return all;
}

static qc_value qc_wide_popcount(qc *c, const qc_value *v) {
    qc_value sum = qc_known_word(0);
    for (int32_t k = 0; 64 * k < v->width; k++) {
        qc_value word = qc_wide_word(c, v, k);
        if (word.known) word.bits = __builtin_popcountll((uint64_t)word.bits);
        else qc_op(c, QF_IPOPCOUNT, 0);
        sum = qc_word_op(c, QF_IADD, sum, word);
    }
    return sum;
}

static qc_value qc_wide_rotate(qc *c, const qc_value *v, int64_t count) {
    count = (count % v->width + v->width) % v->width;
    if (count == 0) return *v;
    qc_value up = qc_wide_shift(c, v, count, v->width), down = qc_wide_shift(c, v, count - v->width, v->width);
    return qc_wide_bitwise(c, QF_IOR, &up, &down);
}

static qc_value qc_wide_to_bool(qc *c, const qc_value *v) {
    qc_value zero = qc_new_wide(c, v->width);
    return qc_wide_compare(c, T_NE, v, &zero);
}

/* A binary operator with a wide operand. */
static qc_value qc_wide_binary(qc *c, int kind, qc_value l, qc_value r, const qc_tok *at) {
    int32_t width = qc_is_wide(&l) ? l.width : r.width;
    if (kind == T_SHL || kind == T_SHR) {
        if (!qc_is_wide(&l) || qc_is_wide(&r)) qc_no_conversion(c, at, &r, TY_UINT, 64);
        if (!r.known)
            qc_fail_tok(c, QC_UNSUPPORTED, at, "a shift of more than 64 bits by a measured count is not supported");
        if (!qc_is_word_type(r.type) || r.bits < 0) qc_fail_tok(c, QC_VALUE, at, "a shift by a negative number");
        int64_t count = r.bits > width ? width : r.bits;
        return qc_wide_shift(c, &l, kind == T_SHL ? count : -count, width);
    }
    l = qc_widen(c, l, width, at);
    r = qc_widen(c, r, width, at);
    switch (kind) {
    case T_EQ: case T_NE: case '<': case '>': case T_LE: case T_GE: return qc_wide_compare(c, kind, &l, &r);
    case '&': return qc_wide_bitwise(c, QF_IAND, &l, &r);
    case '|': return qc_wide_bitwise(c, QF_IOR, &l, &r);
    case '^': return qc_wide_bitwise(c, QF_IXOR, &l, &r);
    default: qc_fail_tok(c, QC_SYNTAX, at, "%s does not take bit registers", qc_named(c, at));
    }
}

/* ---- complex numbers */

static double complex qc_as_complex(qc *c, const qc_value *v, const qc_tok *at) {
    if (v->type == TY_COMPLEX) return qf_as_double(v->bits) + I * qf_as_double(v->imag);
    qc_value real = qc_to_float(c, *v, at);
    if (!real.known) qc_no_runtime_complex(c);
    return qf_as_double(real.bits);
}

static qc_value qc_known_complex(qc *c, double complex z, const qc_tok *at) {
    if (!(fabs(creal(z)) <= DBL_MAX && fabs(cimag(z)) <= DBL_MAX))
        qc_fail_tok(c, QC_VALUE, at, "the value of this expression is not a finite number");
    return (qc_value){TY_COMPLEX, 1, 0, 0, 64, qf_from_double(creal(z)), qf_from_double(cimag(z))};
}

static qc_value qc_to_complex(qc *c, const qc_value *v, const qc_tok *at) {
    return qc_known_complex(c, qc_as_complex(c, v, at), at);
}

static double complex qc_complex_power(double complex a, double complex b) {
    double complex out = 1;
    if (cimag(b) != 0 || creal(b) != floor(creal(b)) || fabs(creal(b)) > 64) return cpow(a, b);
    for (int k = 0; k < (int)fabs(creal(b)); k++) out *= a; /* whole powers without logarithms */
    return creal(b) < 0 ? 1 / out : out;
}

static qc_value qc_complex_binary(qc *c, int kind, qc_value l, qc_value r, const qc_tok *at) {
    double complex a = qc_as_complex(c, &l, at), b = qc_as_complex(c, &r, at);
    switch (kind) {
    case '+': return qc_known_complex(c, a + b, at);
    case '-': return qc_known_complex(c, a - b, at);
    case '*': return qc_known_complex(c, a * b, at);
    case '/':
        if (b == 0) qc_fail_tok(c, QC_VALUE, at, "division by zero");
        return qc_known_complex(c, a / b, at);
    case T_POW: return qc_known_complex(c, qc_complex_power(a, b), at);
    case T_EQ: return qc_known_bool(a == b);
    case T_NE: return qc_known_bool(a != b);
    default: qc_fail_tok(c, QC_SYNTAX, at, "%s does not take complex numbers", qc_named(c, at));
    }
}

/* A function of complex numbers; those that are not defined on them take no complex number. */
static qc_value qc_complex_function(qc *c, uint8_t op, const qc_value *v, const qc_tok *name) {
    double complex z = qc_as_complex(c, v, name);
    switch (op) {
    case QF_FSIN: return qc_known_complex(c, csin(z), name);
    case QF_FCOS: return qc_known_complex(c, ccos(z), name);
    case QF_FTAN: return qc_known_complex(c, ctan(z), name);
    case QF_FASIN: return qc_known_complex(c, casin(z), name);
    case QF_FACOS: return qc_known_complex(c, cacos(z), name);
    case QF_FATAN: return qc_known_complex(c, catan(z), name);
    case QF_FEXP: return qc_known_complex(c, cexp(z), name);
    case QF_FLOG: return qc_known_complex(c, clog(z), name);
    case QF_FSQRT: return qc_known_complex(c, csqrt(z), name);
    default: qc_fail_tok(c, QC_SYNTAX, name, "%s does not take a complex number", qc_named(c, name));
    }
}

#endif

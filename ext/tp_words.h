/* What a device takes, and one-qubit turns as words of its gates. */
#ifndef QFAST_TP_WORDS_H
#define QFAST_TP_WORDS_H
#include "tp_steps.h"

#define TP_MOST_MACRO 24

/* How a turn is written in gates with angles; `z` is rz or p. */
enum tp_style { TP_DISCRETE, TP_U, TP_ZSX, TP_ZYZ, TP_ZXZ, TP_XYX, TP_ZHZ };
/* What a two-qubit gate does to a turn on one of its qubits: it commutes with turns about Z, or about X, or reverses those
 * about Z. */
enum tp_axis_kind { TP_NO_AXIS, TP_AXIS_Z, TP_AXIS_X, TP_AXIS_MINUS_Z };

/* A native gate that makes exp(-i phi/2 Z Z) with turns around it: phi is fixed, or its angle is scale * phi. */
typedef struct {
    int32_t op, nctrl, form;
    int32_t symmetric;       /* its qubits may be exchanged */
    int32_t axis[2];
    double phi;              /* fixed: +-pi/2^k, k > 0; 0: any */
    double scale;
    int32_t num_params, angle_at;
    double before[2][4];     /* turns, w x y z */
    double after[2][4];
    double after_rz[2];      /* any: and then Rz(after_rz * phi) */
} tp_entangler;

typedef struct {
    int32_t op;
    int32_t num_params;
    double params[3];
} tp_letter;

/* A rotation that is not native: another one, its angle with a sign, between gates without angle. */
typedef struct {
    int32_t op, base;
    double sign;
    int32_t num_before, num_after;
    int32_t before[TP_MOST_MACRO], after[TP_MOST_MACRO];
} tp_macro;

typedef struct {
    int style;
    int32_t z;                /* QF_RZ, QF_P, or -1 */
    int num_fixed;            /* gates without angle */
    int32_t fixed_op[16];
    tp_turn fixed[16];
    int num_entanglers;
    tp_entangler entanglers[40];
    int iswap, swap;          /* whether they are native */
    uint8_t keeps[QF_MEASURE * TP_CONTROLS];
    int num_macros;
    tp_macro macros[2];
    /* discrete gates: products of few, the shortest word of each */
    int64_t num_words;
    tp_turn *words;
    int32_t *word_start;      /* num_words + 1 */
    int32_t *word_ops;
} tp_basis;

static inline int tp_rotation(tp_letter *out, int32_t op, double angle) {
    angle = tp_wrapped(angle);
    if (fabs(angle) < TP_EPS) return 0;
    *out = (tp_letter){op, 1, {angle, 0, 0}};
    return 1;
}

/* The word of a turn by one gate without angle, or -1. */
static inline int tp_fixed_word(const tp_basis *b, tp_turn m, tp_letter *out) {
    for (int k = 0; k < b->num_fixed; k++)
        if (tp_is_same(m, b->fixed[k])) {
            *out = (tp_letter){b->fixed_op[k], 0, {0, 0, 0}};
            return 1;
        }
    return -1;
}

/* The whole word of a turn in a style with angles; gives its length, at most 5. `open`: a last turn about Z will be taken off. */
static inline int tp_full_word(const tp_basis *b, tp_turn m, int open, tp_letter out[5]) {
    double theta, phi, lambda;
    int n = 0;
    if (tp_is_identity(m)) return 0;
    n = tp_fixed_word(b, m, out);
    if (n >= 0) return n;
    n = 0;
    if (b->style == TP_XYX) m = tp_times(TP_H, tp_times(m, TP_H));
    tp_euler(m, &theta, &phi, &lambda);
    if (b->z >= 0 && tp_is_diagonal(m) && b->style != TP_XYX) return tp_rotation(out, b->z, lambda);
    switch (b->style) {
    case TP_U: out[0] = (tp_letter){QF_U, 3, {theta, tp_wrapped(phi), tp_wrapped(lambda)}}; return 1;
    case TP_ZSX:
        if (fabs(theta - TP_PI / 2) < TP_EPS) {
            n = tp_rotation(out, b->z, lambda - TP_PI / 2);
            out[n++] = (tp_letter){QF_SX, 0, {0, 0, 0}};
            return n + tp_rotation(out + n, b->z, phi + TP_PI / 2);
        }
        for (int k = 0; k < b->num_fixed; k++)
            if (b->fixed_op[k] == QF_X && fabs(theta - TP_PI) < TP_EPS) {
                out[0] = (tp_letter){QF_X, 0, {0, 0, 0}};
                return 1 + tp_rotation(out + 1, b->z, phi - lambda - TP_PI);
            }
        if (fabs(tp_wrapped(lambda - TP_PI)) < TP_EPS || (!open && fabs(tp_wrapped(phi)) < TP_EPS && fabs(tp_wrapped(lambda)) > TP_EPS)) {
            theta = -theta, phi -= TP_PI, lambda -= TP_PI; /* the same gate, and one turn less */
        }
        n = tp_rotation(out, b->z, lambda);
        out[n++] = (tp_letter){QF_SX, 0, {0, 0, 0}};
        n += tp_rotation(out + n, b->z, theta + TP_PI);
        out[n++] = (tp_letter){QF_SX, 0, {0, 0, 0}};
        return n + tp_rotation(out + n, b->z, phi + TP_PI);
    case TP_ZYZ:
    case TP_XYX:
        if (fabs(tp_wrapped(lambda - TP_PI)) < TP_EPS || fabs(tp_wrapped(phi - TP_PI)) < TP_EPS)
            theta = -theta, phi -= TP_PI, lambda -= TP_PI;
        n = tp_rotation(out, b->style == TP_XYX ? QF_RX : b->z, lambda);
        n += tp_rotation(out + n, QF_RY, b->style == TP_XYX ? -theta : theta);
        return n + tp_rotation(out + n, b->style == TP_XYX ? QF_RX : b->z, phi);
    case TP_ZXZ:
        if (fabs(tp_wrapped(lambda + TP_PI / 2)) < TP_EPS || fabs(tp_wrapped(phi - TP_PI / 2)) < TP_EPS)
            theta = -theta, phi -= TP_PI, lambda -= TP_PI;
        n = tp_rotation(out, b->z, lambda - TP_PI / 2);
        n += tp_rotation(out + n, QF_RX, theta);
        return n + tp_rotation(out + n, b->z, phi + TP_PI / 2);
    default: /* TP_ZHZ */
        if (fabs(theta - TP_PI / 2) < TP_EPS) {
            n = tp_rotation(out, b->z, lambda - TP_PI);
            out[n++] = (tp_letter){QF_H, 0, {0, 0, 0}};
            return n + tp_rotation(out + n, b->z, phi);
        }
        n = tp_rotation(out, b->z, lambda - TP_PI / 2);
        out[n++] = (tp_letter){QF_H, 0, {0, 0, 0}};
        n += tp_rotation(out + n, b->z, theta);
        out[n++] = (tp_letter){QF_H, 0, {0, 0, 0}};
        return n + tp_rotation(out + n, b->z, phi + TP_PI / 2);
    }
}

/* A word for what is left when a turn about X is split off the end: `rest` is that turn. In the styles with Z and sx or rx.
 *
 * The turn about X drops out of v = m^-1 X m, the axis X seen from before m. With Rz(beta) Rx(eta) Rz(gamma) for the rest, v is
 * (cos beta, -sin beta cos eta, sin beta sin eta) turned by -gamma; sx is Rx(pi/2), and with rx gamma is 0.
 */
static inline int tp_word_before_x(const tp_basis *b, tp_turn m, tp_letter out[5], tp_turn *rest) {
    int n = 0;
    tp_turn made = TP_ID;
    *rest = TP_ID;
    if (tp_is_x_diagonal(m)) {
        *rest = m;
        return 0;
    }
    const tp_turn v = tp_times(tp_inverse(m), tp_times(TP_X, m)); /* a turn by pi about v */
    if (b->style == TP_ZSX) {
        const double across = hypot(v.x, v.y);
        double beta = atan2(v.z, across), gamma = across < TP_EPS ? 0 : atan2(-v.y, v.x);
        if (fabs(beta) > TP_EPS && fabs(tp_wrapped(gamma - TP_PI)) < TP_EPS) gamma = 0, beta = TP_PI - beta;
        n = tp_rotation(out, b->z, gamma);
        if (n) made = tp_rz(gamma);
        if (fabs(beta) > TP_EPS) {
            out[n++] = (tp_letter){QF_SX, 0, {0, 0, 0}};
            n += tp_rotation(out + n, b->z, beta);
            made = tp_times(tp_rz(beta), tp_times(TP_SX, made));
        }
    } else if (b->style == TP_ZXZ) {
        const int flat = fabs(v.z) < TP_EPS;
        const double beta = flat ? atan2(-v.y, v.x) : atan2(hypot(v.y, v.z), v.x), eta = flat ? 0 : atan2(v.z, -v.y);
        n = tp_rotation(out, QF_RX, eta);
        n += tp_rotation(out + n, b->z, beta);
        made = tp_times(tp_rz(beta), tp_rx(eta));
    } else {
        n = tp_full_word(b, m, 0, out);
        if (b->style == TP_XYX && n && out[n - 1].op == QF_RX) *rest = tp_rx(out[--n].params[0]);
        return n;
    }
    *rest = tp_times(m, tp_inverse(made));
    rest->y = rest->z = 0;
    return n;
}

/* The same for a turn about Z. */
static inline int tp_word_before_z(const tp_basis *b, tp_turn m, tp_letter out[5], tp_turn *rest) {
    *rest = TP_ID;
    if (tp_is_diagonal(m)) {
        *rest = m;
        rest->x = rest->y = 0;
        return 0;
    }
    int n = tp_full_word(b, m, 1, out);
    if (n && b->z >= 0 && out[n - 1].op == b->z) {
        *rest = tp_rz(out[--n].params[0]);
    } else if (n && out[n - 1].op == QF_U && fabs(out[n - 1].params[1]) > TP_EPS) {
        *rest = tp_rz(out[n - 1].params[1]);
        out[n - 1].params[1] = 0;
    }
    return n;
}

/* A word, and the turn that is left over to pass the gate behind it, by that gate's axis. */
static inline int tp_word(const tp_basis *b, tp_turn m, int axis, tp_letter out[5], tp_turn *rest) {
    if (axis == TP_AXIS_Z || axis == TP_AXIS_MINUS_Z) return tp_word_before_z(b, m, out, rest);
    if (axis == TP_AXIS_X) return tp_word_before_x(b, m, out, rest);
    *rest = TP_ID;
    return tp_full_word(b, m, 0, out);
}

/* The entry of the table of discrete words, or -1; a turn about Z has no entry and needs none where `z` is native. */
static inline int64_t tp_find_word(const tp_basis *b, tp_turn m) {
    for (int64_t k = 0; k < b->num_words; k++)
        if (tp_is_same(m, b->words[k])) return k;
    return -1;
}

#endif

/* One-qubit gates up to their global phase: unit quaternions, w - i (x X + y Y + z Z) as a matrix.
 *
 * A product costs 16 multiplications, and what the transpiler asks of a gate stands in its components: a diagonal gate has
 * x = y = 0, one that exchanges |0> and |1> has w = z = 0, a turn about X has y = z = 0. Where the target's one-qubit gates
 * are discrete (Clifford+T) a product also keeps its factors, as a tree of indices, since a long product can only be written
 * as it came.
 */
#ifndef QFAST_TP_TURN_H
#define QFAST_TP_TURN_H
#include <math.h>
#include <stdint.h>

#include "circuit.h"

#define TP_EPS 1e-9 /* amplitudes and angles below this are rounding */
#define TP_PI 3.14159265358979323846
#define TP_HALF 0.70710678118654752440
#define TP_NO_FACTORS (-1)

typedef struct {
    double w, x, y, z;
    int32_t tree; /* node of tp_trees with its factors, or TP_NO_FACTORS */
} tp_turn;

static const tp_turn TP_ID = {1, 0, 0, 0, TP_NO_FACTORS};
static const tp_turn TP_X = {0, 1, 0, 0, TP_NO_FACTORS};
static const tp_turn TP_Z = {0, 0, 0, 1, TP_NO_FACTORS};
static const tp_turn TP_H = {0, TP_HALF, 0, TP_HALF, TP_NO_FACTORS};
static const tp_turn TP_S = {TP_HALF, 0, 0, TP_HALF, TP_NO_FACTORS};
static const tp_turn TP_SDG = {TP_HALF, 0, 0, -TP_HALF, TP_NO_FACTORS};
static const tp_turn TP_SX = {TP_HALF, TP_HALF, 0, 0, TP_NO_FACTORS};
static const tp_turn TP_SXDG = {TP_HALF, -TP_HALF, 0, 0, TP_NO_FACTORS};

static inline tp_turn tp_turn_of(double w, double x, double y, double z) {
    const tp_turn t = {w, x, y, z, TP_NO_FACTORS};
    return t;
}

static inline tp_turn tp_rx(double angle) {
    return tp_turn_of(cos(angle / 2), sin(angle / 2), 0, 0);
}

static inline tp_turn tp_ry(double angle) {
    return tp_turn_of(cos(angle / 2), 0, sin(angle / 2), 0);
}

static inline tp_turn tp_rz(double angle) {
    return tp_turn_of(cos(angle / 2), 0, 0, sin(angle / 2));
}

/* The product without factors: `first` acts first. */
static inline tp_turn tp_times(tp_turn second, tp_turn first) {
    const tp_turn *a = &second, *b = &first;
    return tp_turn_of(a->w * b->w - a->x * b->x - a->y * b->y - a->z * b->z, a->w * b->x + b->w * a->x + a->y * b->z - a->z * b->y,
                      a->w * b->y + b->w * a->y + a->z * b->x - a->x * b->z, a->w * b->z + b->w * a->z + a->x * b->y - a->y * b->x);
}

static inline tp_turn tp_inverse(tp_turn m) {
    return tp_turn_of(m.w, -m.x, -m.y, -m.z);
}

static inline int tp_is_diagonal(tp_turn m) {
    return fabs(m.x) < TP_EPS && fabs(m.y) < TP_EPS;
}

static inline int tp_is_x_diagonal(tp_turn m) {
    return fabs(m.y) < TP_EPS && fabs(m.z) < TP_EPS;
}

static inline int tp_is_antidiagonal(tp_turn m) {
    return fabs(m.w) < TP_EPS && fabs(m.z) < TP_EPS;
}

static inline int tp_is_identity(tp_turn m) {
    return fabs(m.x) < TP_EPS && fabs(m.y) < TP_EPS && fabs(m.z) < TP_EPS;
}

/* Whether two are the same up to the phase -1. */
static inline int tp_is_same(tp_turn a, tp_turn b) {
    const double s = a.w * b.w + a.x * b.x + a.y * b.y + a.z * b.z < 0 ? -1 : 1;
    return fabs(a.w - s * b.w) < TP_EPS && fabs(a.x - s * b.x) < TP_EPS && fabs(a.y - s * b.y) < TP_EPS && fabs(a.z - s * b.z) < TP_EPS;
}

/* The same angle in (-pi, pi]. */
static inline double tp_wrapped(double angle) {
    if (angle > -TP_PI && angle <= TP_PI) return angle;
    angle = fmod(angle, 2 * TP_PI);
    return angle > TP_PI ? angle - 2 * TP_PI : angle <= -TP_PI ? angle + 2 * TP_PI : angle;
}

/* theta in [0, pi], phi and lambda with m = Rz(phi) Ry(theta) Rz(lambda), which is u(theta, phi, lambda). */
static inline void tp_euler(tp_turn m, double *theta, double *phi, double *lambda) {
    const double off = hypot(m.x, m.y), on = hypot(m.w, m.z);
    const double sum = on < TP_EPS ? 0 : 2 * atan2(m.z, m.w), difference = off < TP_EPS ? 0 : 2 * atan2(-m.x, m.y);
    *theta = 2 * atan2(off, on);
    if (off < TP_EPS) {
        *theta = 0, *phi = 0, *lambda = sum;
    } else if (on < TP_EPS) {
        *theta = TP_PI, *phi = difference, *lambda = 0;
    } else {
        *phi = (sum + difference) / 2, *lambda = (sum - difference) / 2;
    }
}

/* The gate of an operation with one target and the phase that goes with it: the gate is exp(i phase) times the turn. */
static inline tp_turn tp_gate(int op, const double *p, double *phase) {
    *phase = 0;
    switch (op) {
    case QF_X: *phase = TP_PI / 2; return TP_X;
    case QF_Y: *phase = TP_PI / 2; return tp_turn_of(0, 0, 1, 0);
    case QF_Z: *phase = TP_PI / 2; return TP_Z;
    case QF_H: *phase = TP_PI / 2; return TP_H;
    case QF_S: *phase = TP_PI / 4; return TP_S;
    case QF_SDG: *phase = -TP_PI / 4; return TP_SDG;
    case QF_T: *phase = TP_PI / 8; return tp_rz(TP_PI / 4);
    case QF_TDG: *phase = -TP_PI / 8; return tp_rz(-TP_PI / 4);
    case QF_SX: *phase = TP_PI / 4; return TP_SX;
    case QF_SXDG: *phase = -TP_PI / 4; return TP_SXDG;
    case QF_RX: return tp_rx(p[0]);
    case QF_RY: return tp_ry(p[0]);
    case QF_RZ: return tp_rz(p[0]);
    case QF_P: *phase = p[0] / 2; return tp_rz(p[0]);
    case QF_U: {
        const double c = cos(p[0] / 2), s = sin(p[0] / 2), sum = (p[1] + p[2]) / 2, difference = (p[1] - p[2]) / 2;
        *phase = sum;
        return tp_turn_of(c * cos(sum), -s * sin(difference), s * cos(difference), c * sin(sum));
    }
    case QF_UNITARY: { /* divided by the square root of its determinant: [[w - iz, -ix - y], [-ix + y, w + iz]] */
        const double re = p[0] * p[6] - p[1] * p[7] - p[2] * p[4] + p[3] * p[5];
        const double im = p[0] * p[7] + p[1] * p[6] - p[2] * p[5] - p[3] * p[4];
        *phase = atan2(im, re) / 2;
        const double c = cos(*phase), s = -sin(*phase);
        double m[8];
        for (int k = 0; k < 8; k += 2) {
            m[k] = p[k] * c - p[k + 1] * s;
            m[k + 1] = p[k] * s + p[k + 1] * c;
        }
        tp_turn t = tp_turn_of((m[0] + m[6]) / 2, -(m[3] + m[5]) / 2, (m[4] - m[2]) / 2, (m[7] - m[1]) / 2);
        const double norm = sqrt(t.w * t.w + t.x * t.x + t.y * t.y + t.z * t.z);
        if (!(norm > TP_EPS)) return TP_ID;
        t.w /= norm, t.x /= norm, t.y /= norm, t.z /= norm;
        return t;
    }
    default: return TP_ID;
    }
}

/* V with m = V Rz(angle) V^-1: the way to the axis about which m turns. */
static inline tp_turn tp_axis(tp_turn m, double *angle) {
    const double length = sqrt(m.x * m.x + m.y * m.y + m.z * m.z);
    if (length < TP_EPS) {
        *angle = m.w > 0 ? 0 : 2 * TP_PI;
        return TP_ID;
    }
    double nx = m.x / length, ny = m.y / length, nz = m.z / length;
    *angle = 2 * atan2(length, m.w);
    if (nz < -TP_EPS) nx = -nx, ny = -ny, nz = -nz, *angle = -*angle;
    const double norm = sqrt(2 * (1 + nz));
    return tp_turn_of((1 + nz) / norm, -ny / norm, nx / norm, 0);
}

#endif

/* From an instruction to at most four operations that the simulator knows: phases on a pattern of qubits, bit flips, swaps, and
 * 2x2 or 4x4 matrices, each with any controls. Diagonal gates become phases, so they touch only the amplitudes that they change. */
#ifndef QFAST_SV_GATES_H
#define QFAST_SV_GATES_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "classical.h"

#define SV_MAX_CONTROLS 36 /* 32 of the instruction and the targets that a phase counts as controls */

enum sv_kind {
    SV_PHASE,   /* multiplies by m[0] + i m[1] where all controls hold; without controls a global phase */
    SV_FLIP,    /* X on t[0] */
    SV_SWAP,    /* swaps t[0] and t[1] */
    SV_MAT1,    /* 2x2 matrix m on t[0] */
    SV_MAT2,    /* 4x4 matrix m on t[0] (row bit 0) and t[1] */
    SV_STAR,    /* phases of which each has the first control and one more of its own: controls 0 and j + 1, m[2 j], m[2 j + 1] */
    SV_NOISE,   /* a site where shots may err: m[0] is -log(1 - probability); stands among the gates, which pass a quiet one */
    SV_DYNAMIC, /* a gate whose parameters come from the stack: lowered when it runs */
    SV_MEASURE,
    SV_READ,    /* after a measurement that may be misread */
    SV_RESET,
    SV_CLASSIC, /* one step of the stack machine */
    SV_LEAF     /* nothing but final measurements is left: sample */
};

typedef struct {
    uint8_t kind;
    uint8_t real;   /* every entry of m is real */
    int16_t nctrl;
    int32_t t[2];   /* targets, as numbers of touched qubits */
    uint32_t ctrl[SV_MAX_CONTROLS]; /* 2 qubit + required value */
    double m[32];   /* row-major, (re, im) pairs */
} sv_item;

typedef struct {
    double re, im;
} sv_complex;

/* Probability of an event at a site. */
static inline double sv_site_probability(const qf_instr *g, const double *p) {
    return g->c == QF_PAULI ? p[0] + p[1] + p[2] : p[0];
}

/* 0, or why the channel is none. */
static inline const char *sv_site_fault(const qf_instr *g, const double *p) {
    for (int j = 0; j < qf_channel_params(g->c); j++)
        if (!(p[j] >= 0 && p[j] <= 1)) return "a probability is not in 0..1";
    if (sv_site_probability(g, p) > 1 + 1e-12) return "the probabilities of a channel exceed 1";
    if (g->c == QF_DAMP && p[0] == 1) return "complete damping is a reset";
    return NULL;
}

static inline sv_complex sv_polar(double angle) {
    sv_complex z = {cos(angle), sin(angle)};
    return z;
}

static inline sv_complex sv_times(sv_complex a, sv_complex b) {
    sv_complex z = {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
    return z;
}

static inline sv_complex sv_over(sv_complex a, sv_complex b) {
    double n = b.re * b.re + b.im * b.im;
    sv_complex z = {(a.re * b.re + a.im * b.im) / n, (a.im * b.re - a.re * b.im) / n};
    return z;
}

/* out = a b for dim x dim matrices; out is neither. */
static inline void sv_matmul(double *out, const double *a, const double *b, int dim) {
    for (int r = 0; r < dim; r++)
        for (int c = 0; c < dim; c++) {
            double re = 0, im = 0;
            for (int j = 0; j < dim; j++) {
                const double *x = a + 2 * (r * dim + j), *y = b + 2 * (j * dim + c);
                re += x[0] * y[0] - x[1] * y[1];
                im += x[0] * y[1] + x[1] * y[0];
            }
            out[2 * (r * dim + c)] = re;
            out[2 * (r * dim + c) + 1] = im;
        }
}

static inline int sv_is_real(const double *m, int entries) {
    for (int e = 0; e < entries; e++)
        if (m[2 * e + 1] != 0) return 0;
    return 1;
}

static inline void sv_put(double *m, int dim, int row, int col, double re, double im) {
    m[2 * (row * dim + col)] = re;
    m[2 * (row * dim + col) + 1] = im;
}

/* The 2x2 matrix of a base operation with one target, row-major; 0 for another operation. */
static inline int sv_matrix2(double *m, uint8_t op, const double *p) {
    const double r = 0.70710678118654752440; /* 1 / sqrt 2 */
    memset(m, 0, 8 * sizeof *m);
    switch (op) {
    case QF_ID: m[0] = m[6] = 1; return 1;
    case QF_X: m[2] = m[4] = 1; return 1;
    case QF_Y: m[3] = -1; m[5] = 1; return 1;
    case QF_Z: m[0] = 1; m[6] = -1; return 1;
    case QF_H: m[0] = m[2] = m[4] = r; m[6] = -r; return 1;
    case QF_S: m[0] = 1; m[7] = 1; return 1;
    case QF_SDG: m[0] = 1; m[7] = -1; return 1;
    case QF_T: m[0] = 1; m[6] = r; m[7] = r; return 1;
    case QF_TDG: m[0] = 1; m[6] = r; m[7] = -r; return 1;
    case QF_SX: case QF_SXDG: {
        double s = op == QF_SX ? 0.5 : -0.5;
        m[0] = m[2] = m[4] = m[6] = 0.5;
        m[1] = m[7] = s;
        m[3] = m[5] = -s;
        return 1;
    }
    case QF_RX: case QF_RY: {
        double c = cos(p[0] / 2), s = sin(p[0] / 2);
        m[0] = m[6] = c;
        if (op == QF_RX) m[3] = m[5] = -s;
        else m[2] = -s, m[4] = s;
        return 1;
    }
    case QF_RZ:
        m[0] = m[6] = cos(p[0] / 2);
        m[7] = sin(p[0] / 2);
        m[1] = -m[7];
        return 1;
    case QF_P:
        m[0] = 1;
        m[6] = cos(p[0]);
        m[7] = sin(p[0]);
        return 1;
    case QF_U: {
        double c = cos(p[0] / 2), s = sin(p[0] / 2);
        sv_complex f = sv_polar(p[1]), l = sv_polar(p[2]), fl = sv_times(f, l);
        m[0] = c;
        m[2] = -l.re * s, m[3] = -l.im * s;
        m[4] = f.re * s, m[5] = f.im * s;
        m[6] = fl.re * c, m[7] = fl.im * c;
        return 1;
    }
    case QF_UNITARY: memcpy(m, p, 8 * sizeof *m); return 1;
    default: return 0;
    }
}

/* The 4x4 matrix of rxx, ryy and rzx = exp(-i t/2 P(first) P(second)); row bit 0 is the first target. */
static inline void sv_matrix4(double *m, uint8_t op, double angle) {
    const double c = cos(angle / 2), s = sin(angle / 2);
    memset(m, 0, 32 * sizeof *m);
    for (int row = 0; row < 4; row++) {
        sv_put(m, 4, row, row, c, 0);
        if (op == QF_RXX) sv_put(m, 4, row, row ^ 3, 0, -s);
        if (op == QF_RYY) sv_put(m, 4, row, row ^ 3, 0, row == 0 || row == 3 ? s : -s); /* YY has -1 at 00,11 and +1 at 01,10 */
        if (op == QF_RZX) sv_put(m, 4, row, row ^ 2, 0, row & 1 ? s : -s);
    }
}

static inline sv_item *sv_new_phase(sv_item *out, const sv_item *controls, sv_complex z) {
    out->kind = SV_PHASE;
    out->nctrl = controls->nctrl;
    out->real = 0;
    out->t[0] = out->t[1] = -1;
    memcpy(out->ctrl, controls->ctrl, sizeof(uint32_t) * (size_t)controls->nctrl);
    out->m[0] = z.re;
    out->m[1] = z.im;
    return out;
}

static inline void sv_require(sv_item *item, int32_t qubit, uint32_t value) {
    item->ctrl[item->nctrl++] = 2 * (uint32_t)qubit + value;
}

/* Lowers a gate whose operands are the touched qubits `q` (controls first). Gives the number of items; *global is multiplied by the
 * global phase that was split off. */
static inline int sv_lower(const qf_instr *g, const int32_t *q, const double *p, sv_item *out, sv_complex *global) {
    sv_item c = {.nctrl = 0};
    const int32_t *t = q + g->nctrl;
    double m[8];
    for (int j = 0; j < g->nctrl; j++) sv_require(&c, q[j], (g->ctrl_state >> j) & 1);
    switch (g->op) {
    case QF_GPHASE:
        if (c.nctrl == 0) {
            *global = sv_times(*global, sv_polar(p[0]));
            return 0;
        }
        sv_new_phase(out, &c, sv_polar(p[0]));
        return 1;
    case QF_ID: return 0;
    case QF_X: case QF_SWAP: case QF_ISWAP: {
        const sv_complex i = {0, 1};
        out[0].kind = g->op == QF_X ? SV_FLIP : SV_SWAP;
        out[0].real = 1;
        out[0].nctrl = c.nctrl;
        memcpy(out[0].ctrl, c.ctrl, sizeof(uint32_t) * (size_t)c.nctrl);
        out[0].t[0] = t[0];
        out[0].t[1] = g->op == QF_X ? -1 : t[1];
        if (g->op != QF_ISWAP) return 1;
        for (uint32_t v = 0; v < 2; v++) {
            sv_new_phase(&out[1 + v], &c, i);
            sv_require(&out[1 + v], t[0], v);
            sv_require(&out[1 + v], t[1], 1 - v);
        }
        return 3;
    }
    case QF_Z: case QF_S: case QF_SDG: case QF_T: case QF_TDG: case QF_P:
        sv_matrix2(m, g->op, p);
        sv_require(sv_new_phase(out, &c, (sv_complex){m[6], m[7]}), t[0], 1);
        return 1;
    case QF_RZ: case QF_RZZ: {
        const sv_complex minus = sv_polar(-p[0] / 2), plus = sv_polar(p[0] / 2), whole = sv_polar(p[0]);
        const int two = g->op == QF_RZZ;
        int n = 0;
        if (c.nctrl == 0) *global = sv_times(*global, minus);
        for (uint32_t v = 0; v < (two ? 4u : 2u); v++) { /* the parity of the targets decides the sign */
            const uint32_t odd = (v ^ (v >> 1)) & 1;
            if (c.nctrl == 0 && !odd) continue;
            sv_new_phase(&out[n], &c, c.nctrl == 0 ? whole : odd ? plus : minus);
            sv_require(&out[n], t[0], v & 1);
            if (two) sv_require(&out[n], t[1], v >> 1);
            n++;
        }
        return n;
    }
    case QF_RXX: case QF_RYY: case QF_RZX:
        out[0].kind = SV_MAT2;
        sv_matrix4(out[0].m, g->op, p[0]);
        break;
    default:
        out[0].kind = SV_MAT1;
        sv_matrix2(out[0].m, g->op, p);
    }
    out[0].nctrl = c.nctrl;
    memcpy(out[0].ctrl, c.ctrl, sizeof(uint32_t) * (size_t)c.nctrl);
    out[0].t[0] = t[0];
    out[0].t[1] = out[0].kind == SV_MAT2 ? t[1] : -1;
    out[0].real = (uint8_t)sv_is_real(out[0].m, out[0].kind == SV_MAT2 ? 16 : 4);
    return 1;
}

#endif

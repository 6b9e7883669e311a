/* Which gates are Clifford, and what they do to a stabilizer state: each becomes a few steps, up to a global phase. */
#ifndef QFAST_STAB_GATES_H
#define QFAST_STAB_GATES_H
#include <math.h>

#include "classical.h"
#include "stab_state.h"

enum stab_kind {
    STAB_X,
    STAB_H,
    STAB_POWER, /* i^(power z) on one qubit */
    STAB_CX,
    STAB_CZ,
    STAB_PARITY, /* i^(power z) on the parity z of two qubits */
    STAB_SWAP
};

typedef struct {
    uint8_t kind, p, q; /* p, q: places among the operands */
    uint8_t power;
} stab_step;

enum { STAB_MAX_STEPS = 12 };

typedef struct {
    stab_step step[STAB_MAX_STEPS];
    int count;
} stab_steps;

static inline void stab_put(stab_steps *to, int kind, int p, int q, int power) {
    if (kind == STAB_POWER && (power & 3) == 0) return;
    to->step[to->count++] = (stab_step){(uint8_t)kind, (uint8_t)p, (uint8_t)q, (uint8_t)(power & 3)};
}

/* The angle as a multiple of pi/2, modulo 8 (that is, 4 pi); -1 when it is none within 1e-12. */
static inline int stab_quarters(double angle) {
    const double half_pi = 1.57079632679489661923;
    if (!(fabs(angle) < 1e6)) return -1;
    const double turns = nearbyint(angle / half_pi);
    return fabs(angle - turns * half_pi) <= 1e-12 ? (int)((int64_t)turns & 7) : -1;
}

/* exp(-i k pi/4 Y) on place p: ry(pi/2) is Z and then H. */
static inline void stab_put_ry(stab_steps *to, int p, int k) {
    if ((k & 3) == 3) stab_put(to, STAB_H, p, 0, 0);
    if (k & 3) stab_put(to, STAB_POWER, p, 0, 2);
    if ((k & 3) == 1) stab_put(to, STAB_H, p, 0, 0);
    if ((k & 3) == 2) stab_put(to, STAB_X, p, 0, 0);
}

/* u(theta, phi, lambda) without controls. At theta = 0 only phi + lambda counts, at pi only lambda - phi. */
static inline int stab_put_u(stab_steps *to, const double *angle) {
    const int theta = stab_quarters(angle[0]);
    if (theta < 0) return 0;
    if ((theta & 1) == 0) {
        const int diagonal = (theta & 3) == 0, k = stab_quarters(diagonal ? angle[1] + angle[2] : angle[2] - angle[1]);
        if (k < 0) return 0;
        stab_put(to, STAB_POWER, 0, 0, diagonal ? k : k + 2);
        if (!diagonal) stab_put(to, STAB_X, 0, 0, 0);
        return 1;
    }
    const int phi = stab_quarters(angle[1]), lambda = stab_quarters(angle[2]);
    if (phi < 0 || lambda < 0) return 0;
    stab_put(to, STAB_POWER, 0, 0, lambda);
    stab_put_ry(to, 0, theta);
    stab_put(to, STAB_POWER, 0, 0, phi);
    return 1;
}

/* exp(-i k pi/4 P(first) P(second)). */
static inline void stab_put_pair(stab_steps *to, uint8_t op, int k) {
    for (int p = 0; p < 2; p++) {
        if (op == QF_RYY) stab_put(to, STAB_POWER, p, 0, 3);
        if (op == QF_RXX || op == QF_RYY || (op == QF_RZX && p == 1)) stab_put(to, STAB_H, p, 0, 0);
    }
    if (k & 3) stab_put(to, STAB_PARITY, 0, 1, k);
    for (int p = 0; p < 2; p++) {
        if (op == QF_RXX || op == QF_RYY || (op == QF_RZX && p == 1)) stab_put(to, STAB_H, p, 0, 0);
        if (op == QF_RYY) stab_put(to, STAB_POWER, p, 0, 1);
    }
}

static inline int stab_lower_plain(stab_steps *to, uint8_t op, const double *angle) {
    const int k = op == QF_U || qf_num_params(op) != 1 ? 0 : stab_quarters(angle[0]);
    if (k < 0) return op == QF_GPHASE;
    switch (op) {
    case QF_GPHASE: case QF_ID: return 1;
    case QF_X: stab_put(to, STAB_X, 0, 0, 0); return 1;
    case QF_Y: stab_put_ry(to, 0, 2); return 1;
    case QF_Z: stab_put(to, STAB_POWER, 0, 0, 2); return 1;
    case QF_H: stab_put(to, STAB_H, 0, 0, 0); return 1;
    case QF_S: stab_put(to, STAB_POWER, 0, 0, 1); return 1;
    case QF_SDG: stab_put(to, STAB_POWER, 0, 0, 3); return 1;
    case QF_RZ: case QF_P: stab_put(to, STAB_POWER, 0, 0, k); return 1;
    case QF_RY: stab_put_ry(to, 0, k); return 1;
    case QF_SX: case QF_SXDG: case QF_RX: {
        const int power = op == QF_SX ? 1 : op == QF_SXDG ? 3 : k & 3;
        if (power == 2) stab_put(to, STAB_X, 0, 0, 0);
        if ((power & 1) == 0) return 1;
        stab_put(to, STAB_H, 0, 0, 0);
        stab_put(to, STAB_POWER, 0, 0, power);
        stab_put(to, STAB_H, 0, 0, 0);
        return 1;
    }
    case QF_U: return stab_put_u(to, angle);
    case QF_SWAP: case QF_ISWAP:
        stab_put(to, STAB_SWAP, 0, 1, 0);
        if (op == QF_ISWAP) stab_put(to, STAB_PARITY, 0, 1, 1);
        return 1;
    case QF_RXX: case QF_RYY: case QF_RZZ: case QF_RZX: stab_put_pair(to, op, k); return 1;
    default: return 0;
    }
}

/* Whether a gate is i^power times a Pauli matrix, given as 0 (I) or its operation. */
static inline int stab_phased_pauli(uint8_t op, const double *angle, int *power, uint8_t *pauli) {
    const int k = op == QF_U || qf_num_params(op) != 1 ? 0 : stab_quarters(angle[0]);
    *power = 0;
    switch (op) {
    case QF_X: case QF_Y: case QF_Z: *pauli = op; return 1;
    case QF_P: *pauli = k & 2 ? QF_Z : 0; return (k & 1) == 0; /* k is odd when it is -1 */
    case QF_RX: case QF_RY: case QF_RZ: /* (-i P)^(k/2) */
        *power = -(k / 2);
        *pauli = (k & 2) == 0 ? 0 : op == QF_RX ? QF_X : op == QF_RY ? QF_Y : QF_Z;
        return (k & 1) == 0;
    case QF_U: {
        const int theta = stab_quarters(angle[0]), sign = theta & 4 ? 2 : 0;
        if (theta & 1) return 0;
        if ((theta & 2) == 0) { /* cos(theta/2) diag(1, e^i(phi + lambda)) */
            const int sum = stab_quarters(angle[1] + angle[2]);
            *power = sign;
            *pauli = sum & 2 ? QF_Z : 0;
            return (sum & 1) == 0;
        }
        /* sin(theta/2) e^(i phi) [[0, -e^i(lambda - phi)], [1, 0]] */
        const int phi = stab_quarters(angle[1]), difference = stab_quarters(angle[2] - angle[1]);
        if (phi < 0 || difference < 0 || (difference & 1)) return 0;
        *pauli = difference & 2 ? QF_X : QF_Y; /* [[0, -1], [1, 0]] = -i Y */
        *power = sign + phi + (difference & 2 ? 0 : 3);
        return 1;
    }
    default: return 0;
    }
}

/* One gate as steps; 0 when it is not Clifford. */
static inline int stab_lower(stab_steps *to, const qf_instr *g, const double *params) {
    int power = 0, k;
    uint8_t pauli = 0;
    to->count = 0;
    if (g->op == QF_ID) return 1;
    if (g->flags & QF_POPS_PARAMS) return 0;
    const double *angle = params + g->p;
    if (g->nctrl == 0) return stab_lower_plain(to, g->op, angle);
    if (g->op == QF_GPHASE) {
        k = stab_quarters(angle[0]);
        if (k < 0 || g->nctrl > 2 || (g->nctrl == 2 && (k & 1))) return 0;
        if (g->nctrl == 1) power = k;
    } else {
        if (g->nctrl != 1 || !stab_phased_pauli(g->op, angle, &power, &pauli)) return 0;
        k = 0;
    }
    for (int c = 0; c < g->nctrl; c++)
        if (!((g->ctrl_state >> c) & 1)) stab_put(to, STAB_X, c, 0, 0);
    if (g->nctrl == 2 && (k & 2)) stab_put(to, STAB_CZ, 0, 1, 0);
    stab_put(to, STAB_POWER, 0, 0, power);
    if (pauli == QF_Z) stab_put(to, STAB_CZ, 0, 1, 0);
    if (pauli == QF_Y) stab_put(to, STAB_POWER, 1, 0, 3);
    if (pauli == QF_X || pauli == QF_Y) stab_put(to, STAB_CX, 0, 1, 0);
    if (pauli == QF_Y) stab_put(to, STAB_POWER, 1, 0, 1);
    for (int c = 0; c < g->nctrl; c++)
        if (!((g->ctrl_state >> c) & 1)) stab_put(to, STAB_X, c, 0, 0);
    return 1;
}

#endif

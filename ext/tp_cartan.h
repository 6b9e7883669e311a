/* Any gate on two qubits as (A1 x B1) rxx(x) ryy(y) rzz(z) (A0 x B0): Cartan's decomposition (Kraus, Cirac, "Optimal creation
 * of entanglement using a two-qubit gate", Phys. Rev. A 63, 062309 (2001)), found by diagonalising U^T U in the magic basis.
 */
#ifndef QFAST_TP_CARTAN_H
#define QFAST_TP_CARTAN_H
#include "tp_turn.h"

typedef struct {
    double re, im;
} tp_complex;

typedef struct {
    tp_complex at[4][4]; /* row, column; the first qubit is the high bit */
} tp_matrix;

typedef struct {
    tp_turn before[2], after[2];
    double angles[3]; /* in (-pi/2, pi/2] */
} tp_parts;

static inline tp_complex tp_mul(tp_complex a, tp_complex b) {
    return (tp_complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

static inline tp_complex tp_plus(tp_complex a, tp_complex b) {
    return (tp_complex){a.re + b.re, a.im + b.im};
}

static inline tp_complex tp_conj(tp_complex a) {
    return (tp_complex){a.re, -a.im};
}

static inline void tp_matmul(tp_matrix *out, const tp_matrix *a, const tp_matrix *b) {
    tp_matrix product;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            tp_complex sum = {0, 0};
            for (int k = 0; k < 4; k++) sum = tp_plus(sum, tp_mul(a->at[i][k], b->at[k][j]));
            product.at[i][j] = sum;
        }
    *out = product;
}

/* The turn's 2x2 matrix, row-major. */
static inline void tp_small(tp_turn m, tp_complex s[4]) {
    s[0] = (tp_complex){m.w, -m.z};
    s[1] = (tp_complex){-m.y, -m.x};
    s[2] = (tp_complex){m.y, -m.x};
    s[3] = (tp_complex){m.w, m.z};
}

static inline void tp_matrix_identity(tp_matrix *m) {
    memset(m, 0, sizeof(*m));
    for (int k = 0; k < 4; k++) m->at[k][k].re = 1;
}

/* A turn on one qubit (side 0: the first) follows. */
static inline void tp_matrix_turn(tp_matrix *m, int side, tp_turn turn) {
    tp_complex s[4];
    const int step = side ? 1 : 2;
    tp_small(turn, s);
    for (int row = 0; row < 4; row++) {
        if (row & step) continue;
        for (int j = 0; j < 4; j++) {
            const tp_complex low = m->at[row][j], high = m->at[row | step][j];
            m->at[row][j] = tp_plus(tp_mul(s[0], low), tp_mul(s[1], high));
            m->at[row | step][j] = tp_plus(tp_mul(s[2], low), tp_mul(s[3], high));
        }
    }
}

static inline void tp_matrix_zz(tp_matrix *m, double phi) {
    for (int row = 0; row < 4; row++) {
        const tp_complex turn = {cos(phi / 2), row == 0 || row == 3 ? -sin(phi / 2) : sin(phi / 2)};
        for (int j = 0; j < 4; j++) m->at[row][j] = tp_mul(turn, m->at[row][j]);
    }
}

/* An exchange, with the phase that makes its determinant 1. */
static inline void tp_matrix_swap(tp_matrix *m) {
    const tp_complex turn = {TP_HALF, TP_HALF};
    for (int j = 0; j < 4; j++) {
        const tp_complex kept = m->at[1][j];
        m->at[1][j] = m->at[2][j];
        m->at[2][j] = kept;
        for (int i = 0; i < 4; i++) m->at[i][j] = tp_mul(turn, m->at[i][j]);
    }
}

/* m <- Q^-1 m Q or Q m Q^-1 for the magic basis Q = [[1,0,0,i],[0,i,1,0],[0,i,-1,0],[1,0,0,-i]] / sqrt 2. */
static inline void tp_magic(tp_matrix *m, int into) {
    static const tp_matrix q = {{{{TP_HALF, 0}, {0, 0}, {0, 0}, {0, TP_HALF}},
                                 {{0, 0}, {0, TP_HALF}, {TP_HALF, 0}, {0, 0}},
                                 {{0, 0}, {0, TP_HALF}, {-TP_HALF, 0}, {0, 0}},
                                 {{TP_HALF, 0}, {0, 0}, {0, 0}, {0, -TP_HALF}}}};
    tp_matrix inverse;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) inverse.at[i][j] = tp_conj(q.at[j][i]);
    tp_matmul(m, into ? &inverse : &q, m);
    tp_matmul(m, m, into ? &q : &inverse);
}

/* Eigenvectors of a real symmetric matrix by Jacobi's rotations: columns of v; a is destroyed. */
static inline void tp_jacobi(double a[4][4], double v[4][4]) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) v[i][j] = i == j;
    for (int sweep = 0; sweep < 30; sweep++) {
        double off = 0;
        for (int p = 0; p < 4; p++)
            for (int q = p + 1; q < 4; q++) off += a[p][q] * a[p][q];
        if (off < 1e-30) return;
        for (int p = 0; p < 4; p++)
            for (int q = p + 1; q < 4; q++) {
                if (fabs(a[p][q]) < 1e-300) continue;
                const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < 4; k++) {
                    const double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < 4; k++) {
                    const double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                }
                for (int k = 0; k < 4; k++) {
                    const double x = v[k][p], y = v[k][q];
                    v[k][p] = c * x - s * y;
                    v[k][q] = s * x + c * y;
                }
            }
    }
}

static inline double tp_det(double m[4][4]) {
    double a[4][4], det = 1;
    memcpy(a, m, sizeof(a));
    for (int k = 0; k < 4; k++) {
        int best = k;
        for (int i = k + 1; i < 4; i++)
            if (fabs(a[i][k]) > fabs(a[best][k])) best = i;
        if (fabs(a[best][k]) < 1e-12) return 0;
        if (best != k) {
            for (int j = 0; j < 4; j++) {
                const double kept = a[k][j];
                a[k][j] = a[best][j];
                a[best][j] = kept;
            }
            det = -det;
        }
        det *= a[k][k];
        for (int i = k + 1; i < 4; i++)
            for (int j = 3; j >= k; j--) a[i][j] -= a[k][j] * a[i][k] / a[k][k];
    }
    return det;
}

/* A turn of a 2x2 block whose determinant is a positive multiple of a phase. */
static inline tp_turn tp_turn_of_block(const tp_complex b[4]) {
    const double p[8] = {b[0].re, b[0].im, b[1].re, b[1].im, b[2].re, b[2].im, b[3].re, b[3].im};
    double phase;
    return tp_gate(QF_UNITARY, p, &phase);
}

/* A and B of a matrix that is their Kronecker product, up to phases. */
static inline void tp_factored(const tp_matrix *m, tp_turn out[2]) {
    int row = 0, column = 0;
    double most = -1;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            double size = 0;
            for (int k = 0; k < 4; k++) {
                const tp_complex c = m->at[2 * i + k / 2][2 * j + k % 2];
                size += c.re * c.re + c.im * c.im;
            }
            if (size > most) most = size, row = i, column = j;
        }
    tp_complex a[4], b[4];
    for (int k = 0; k < 4; k++) b[k] = m->at[2 * row + k / 2][2 * column + k % 2];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            tp_complex sum = {0, 0};
            for (int k = 0; k < 4; k++) sum = tp_plus(sum, tp_mul(m->at[2 * i + k / 2][2 * j + k % 2], tp_conj(b[k])));
            a[2 * i + j] = sum;
        }
    out[0] = tp_turn_of_block(a);
    out[1] = tp_turn_of_block(b);
}

/* 1 when the parts were found; 0 when rounding got in the way. The determinant of u is 1. */
static inline int tp_cartan(const tp_matrix *u, tp_parts *parts) {
    /* both parts of U^T U commute, so a mix of them has common eigenvectors, unless by chance */
    static const double mixes[5][2] = {{1.0, 0.0}, {0.36, 0.93}, {0.8, -0.6}, {0.12, 0.99}, {0.97, 0.26}};
    /* the eigenvalues of XX, YY and ZZ on the magic basis */
    static const double signs[3][4] = {{1, 1, -1, -1}, {-1, 1, -1, 1}, {1, -1, -1, 1}};
    tp_matrix m = *u, symmetric, transposed;
    double p[4][4], half[4], k_real[4][4];
    int found = 0;
    tp_magic(&m, 1);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) transposed.at[i][j] = m.at[j][i];
    tp_matmul(&symmetric, &transposed, &m);
    for (int try = 0; try < 5 && !found; try++) {
        double mixed[4][4];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) mixed[i][j] = mixes[try][0] * symmetric.at[i][j].re + mixes[try][1] * symmetric.at[i][j].im;
        tp_jacobi(mixed, p);
        double worst = 0;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                double re = 0, im = 0;
                for (int r = 0; r < 4; r++)
                    for (int c = 0; c < 4; c++) {
                        re += p[r][i] * symmetric.at[r][c].re * p[c][j];
                        im += p[r][i] * symmetric.at[r][c].im * p[c][j];
                    }
                if (i == j) half[i] = atan2(im, re) / 2;
                else worst = fmax(worst, fmax(fabs(re), fabs(im)));
            }
        found = worst < 1e-9;
    }
    if (!found) return 0;
    if (tp_det(p) < 0)
        for (int r = 0; r < 4; r++) p[r][0] = -p[r][0];
    /* k = m p exp(-i half) is orthogonal */
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            double re = 0, im = 0;
            for (int r = 0; r < 4; r++) re += m.at[i][r].re * p[r][j], im += m.at[i][r].im * p[r][j];
            k_real[i][j] = re * cos(half[j]) + im * sin(half[j]);
        }
    if (tp_det(k_real) < 0) {
        half[0] += TP_PI;
        for (int r = 0; r < 4; r++) k_real[r][0] = -k_real[r][0];
    }
    tp_matrix left, right;
    memset(&left, 0, sizeof(left));
    memset(&right, 0, sizeof(right));
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            left.at[i][j].re = k_real[i][j];
            right.at[i][j].re = p[j][i];
        }
    tp_magic(&left, 0);
    tp_magic(&right, 0);
    tp_factored(&left, parts->after);
    tp_factored(&right, parts->before);
    static const tp_turn paulis[3] = {{0, 1, 0, 0, TP_NO_FACTORS}, {0, 0, 1, 0, TP_NO_FACTORS}, {0, 0, 0, 1, TP_NO_FACTORS}};
    for (int axis = 0; axis < 3; axis++) {
        double angle = 0;
        for (int j = 0; j < 4; j++) angle -= signs[axis][j] * half[j] / 2;
        angle = tp_wrapped(angle);
        if (!(angle > -TP_PI / 2 + TP_EPS && angle <= TP_PI / 2 + TP_EPS)) { /* a turn by pi is the Pauli on both */
            angle = tp_wrapped(angle - TP_PI);
            for (int side = 0; side < 2; side++) parts->before[side] = tp_times(paulis[axis], parts->before[side]);
        }
        parts->angles[axis] = angle;
    }
    return 1;
}

#endif

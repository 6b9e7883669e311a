/* Fractional powers of gates on several qubits: the gate's unitary, its eigenvectors, and the power as gates.
 *
 * The eigenvectors of a unitary U diagonalise the commuting Hermitian matrices (U + U^)/2 and (U - U^)/2i at once;
 * Jacobi rotations find them without trouble from repeated eigenvalues (Cardoso and Souloumiac, Jacobi angles for
 * simultaneous diagonalization, SIAM J. Matrix Anal. Appl. 17, 1996). The power, with arguments of the eigenvalues in
 * (-pi, pi], is brought to the identity by rotations of two basis states each that are neighbours in the Gray code, so
 * that each is a gate on one qubit under the control of all others.
 */
#ifndef QFAST_QASM_POWER_H
#define QFAST_QASM_POWER_H
#include "qasm_gates.h"

enum { QC_MAX_POWER_QUBITS = 6, QC_POWER_SIZE = 1 << 2 * QC_MAX_POWER_QUBITS };

typedef double complex qc_complex;

/* ---- the unitary */

static void qc_two_target_matrix(uint8_t op, double t, qc_complex m[16]) { /* index: first target + 2 x second one */
    static const qc_complex x[4] = {0, 1, 1, 0}, y[4] = {0, -I, I, 0}, z[4] = {1, 0, 0, -1};
    memset(m, 0, 16 * sizeof *m);
    if (op == QF_SWAP || op == QF_ISWAP) {
        m[0] = m[15] = 1;
        m[6] = m[9] = op == QF_SWAP ? 1 : I;
        return;
    }
    const qc_complex *first = op == QF_RXX ? x : op == QF_RYY ? y : z, *second = op == QF_RZX ? x : first;
    for (int r = 0; r < 4; r++)
        for (int k = 0; k < 4; k++)
            m[4 * r + k] = (r == k) * cos(t / 2) - I * sin(t / 2) * first[2 * (r & 1) + (k & 1)] *
                second[(r & 2) + (k >> 1)];
}

/* m <- gate m, for an instruction whose operands are numbers of bits of the row index; size = 2^n. */
static void qc_apply_instruction(const qc *c, const qf_instr *i, qc_complex *m, int32_t size) {
    const int32_t *q = c->main.qubits + i->q, targets = i->nq - i->nctrl, width = 1 << targets;
    const double *p = c->main.params + i->p;
    qc_complex gate[16] = {0}, old[4];
    int32_t mask = 0, want = 0, at[4];
    if (targets == 0) gate[0] = cexp(I * p[0]);
    else if (targets == 1) qc_gate_matrix(i->op, p, gate);
    else qc_two_target_matrix(i->op, i->op == QF_SWAP || i->op == QF_ISWAP ? 0 : p[0], gate);
    for (int k = 0; k < i->nctrl; k++) {
        mask |= 1 << q[k];
        want |= (int32_t)(i->ctrl_state >> k & 1) << q[k];
    }
    const int32_t *t = q + i->nctrl;
    int32_t moved = (targets > 0 ? 1 << t[0] : 0) | (targets > 1 ? 1 << t[1] : 0);
    for (int32_t row = 0; row < size; row++) {
        if ((row & mask) != want || (row & moved)) continue;
        for (int32_t k = 0; k < width; k++) at[k] = row | (k & 1 ? 1 << t[0] : 0) | (k & 2 ? 1 << t[1] : 0);
        for (int32_t column = 0; column < size; column++) {
            for (int32_t k = 0; k < width; k++) old[k] = m[at[k] * size + column];
            for (int32_t k = 0; k < width; k++) {
                qc_complex sum = 0;
                for (int32_t j = 0; j < width; j++) sum += gate[width * k + j] * old[j];
                m[at[k] * size + column] = sum;
            }
        }
    }
}

/* ---- eigenvectors */

/* One rotation of the columns j and k of v that makes both matrices' elements (j, k) small; whether it did anything. */
static int qc_joint_rotation(qc_complex *a, qc_complex *b, qc_complex *v, int32_t size, int32_t j, int32_t k) {
    double g[3][3] = {{0}}, best[3] = {1, 0, 0};
    for (int which = 0; which < 2; which++) {
        const qc_complex *m = which ? b : a;
        double h[3] = {creal(m[j * size + j] - m[k * size + k]), creal(m[j * size + k] + m[k * size + j]),
                       cimag(m[j * size + k] - m[k * size + j])}; /* i (m_kj - m_jk) */
        for (int r = 0; r < 3; r++)
            for (int s = 0; s < 3; s++) g[r][s] += h[r] * h[s];
    }
    double off = g[1][1] + g[2][2];
    if (off < 1e-30) return 0;
    for (int round = 0; round < 12; round++) { /* the leading eigenvector of g: squared again and again */
        double square[3][3], most = 0;
        for (int r = 0; r < 3; r++)
            for (int s = 0; s < 3; s++) {
                square[r][s] = g[r][0] * g[0][s] + g[r][1] * g[1][s] + g[r][2] * g[2][s];
                if (fabs(square[r][s]) > most) most = fabs(square[r][s]);
            }
        for (int r = 0; r < 3; r++)
            for (int s = 0; s < 3; s++) g[r][s] = square[r][s] / most;
    }
    int column = g[0][0] >= g[1][1] && g[0][0] >= g[2][2] ? 0 : g[1][1] >= g[2][2] ? 1 : 2;
    double norm = sqrt(g[0][column] * g[0][column] + g[1][column] * g[1][column] + g[2][column] * g[2][column]);
    for (int r = 0; r < 3; r++) best[r] = g[r][column] / norm * (g[0][column] < 0 ? -1 : 1);
    double cosine = sqrt((best[0] + 1) / 2);
    qc_complex sine = (best[1] - I * best[2]) / (2 * cosine);
    for (int32_t r = 0; r < size; r++) { /* columns of a, b and v */
        qc_complex *m[3] = {a + r * size, b + r * size, v + r * size};
        for (int which = 0; which < 3; which++) {
            qc_complex x = m[which][j], y = m[which][k];
            m[which][j] = cosine * x + sine * y;
            m[which][k] = -conj(sine) * x + cosine * y;
        }
    }
    for (int32_t r = 0; r < size; r++) { /* rows of a and b */
        qc_complex *m[2] = {a, b};
        for (int which = 0; which < 2; which++) {
            qc_complex x = m[which][j * size + r], y = m[which][k * size + r];
            m[which][j * size + r] = cosine * x + conj(sine) * y;
            m[which][k * size + r] = -sine * x + cosine * y;
        }
    }
    return cabs(sine) > 1e-14;
}

/* u <- u^power in place. */
static void qc_unitary_power(qc *c, qc_complex *u, int32_t size, double power) {
    size_t cells = (size_t)size * (size_t)size;
    qc_complex *a = qc_alloc(c, 3 * cells * sizeof *a), *b = a + cells, *v = b + cells;
    for (int32_t r = 0; r < size; r++)
        for (int32_t k = 0; k < size; k++) {
            a[r * size + k] = (u[r * size + k] + conj(u[k * size + r])) / 2;
            b[r * size + k] = (u[r * size + k] - conj(u[k * size + r])) / (2 * I);
            v[r * size + k] = r == k;
        }
    for (int sweep = 0, changed = 1; changed && sweep < 40; sweep++) {
        changed = 0;
        qc_spend(c, 4 * (int64_t)cells * size);
        for (int32_t j = 0; j < size; j++)
            for (int32_t k = j + 1; k < size; k++) changed |= qc_joint_rotation(a, b, v, size, j, k);
    }
    for (int32_t k = 0; k < size; k++) a[k] = cexp(I * power * qc_argument_of(a[k * size + k] + I * b[k * size + k]));
    for (int32_t r = 0; r < size; r++)
        for (int32_t s = 0; s < size; s++) {
            qc_complex sum = 0;
            for (int32_t k = 0; k < size; k++) sum += v[r * size + k] * a[k] * conj(v[s * size + k]);
            u[r * size + s] = sum;
        }
}

/* ---- gates */

/* Emits the gate (2x2, row-major) on the basis states `low` and `high`, which differ in one bit. */
static void qc_emit_two_level(qc *c, const qc_controls *outer, const int32_t *q, int n, int32_t low, int32_t high,
                              const qc_complex gate[4]) {
    int32_t operands[QC_MAX_POWER_QUBITS], bit = __builtin_ctz((unsigned)(low ^ high)), at = 0, flip = low >> bit & 1;
    uint32_t state = 0;
    qc_param p[8];
    if (cabs(gate[0] - 1) + cabs(gate[1]) + cabs(gate[2]) + cabs(gate[3] - 1) < 1e-14) return;
    for (int k = 0; k < n; k++) {
        if (k == bit) continue;
        state |= (uint32_t)(low >> k & 1) << at;
        operands[at++] = q[k];
    }
    operands[at] = q[bit];
    for (int k = 0; k < 4; k++) { /* with |low> as the state 1 of the target both indices are exchanged */
        qc_complex x = gate[flip ? 3 - k : k];
        p[2 * k] = (qc_param){-1, creal(x)};
        p[2 * k + 1] = (qc_param){-1, cimag(x)};
    }
    qc_emit_base(c, QF_UNITARY, outer, n - 1, state, operands, n, p, 8);
}

/* Emits the unitary u, which is overwritten: rotations turn it into a diagonal, their inverses follow in reverse. */
static void qc_emit_unitary(qc *c, const qc_controls *outer, const int32_t *q, int n, qc_complex *u) {
    const int32_t size = 1 << n;
    int32_t count = 0;
    qc_complex(*gates)[4] = qc_alloc(c, (size_t)(size * size / 2) * sizeof *gates);
    int32_t *row = qc_alloc(c, (size_t)(size * size / 2) * sizeof *row);
    for (int32_t j = 0; j < size - 1; j++) { /* the column of the Gray code's j-th state, from its end upwards */
        int32_t column = j ^ j >> 1;
        for (int32_t k = size - 1; k > j; k--) {
            int32_t one = (k - 1) ^ (k - 1) >> 1, two = k ^ k >> 1;
            qc_complex x = u[one * size + column], y = u[two * size + column];
            double norm = sqrt(creal(x * conj(x) + y * conj(y)));
            if (cabs(y) < 1e-15) continue;
            qc_complex g[4] = {conj(x) / norm, conj(y) / norm, -y / norm, x / norm};
            for (int32_t s = 0; s < size; s++) {
                qc_complex top = u[one * size + s], bottom = u[two * size + s];
                u[one * size + s] = g[0] * top + g[1] * bottom;
                u[two * size + s] = g[2] * top + g[3] * bottom;
            }
            gates[count][0] = conj(g[0]);
            gates[count][1] = conj(g[2]);
            gates[count][2] = conj(g[1]);
            gates[count][3] = conj(g[3]);
            row[count++] = k;
        }
    }
    for (int32_t k = 0; k < size; k += 2) { /* the diagonal that is left */
        qc_complex phases[4] = {u[k * size + k], 0, 0, u[(k + 1) * size + k + 1]};
        qc_emit_two_level(c, outer, q, n, k, k + 1, phases);
    }
    while (count-- > 0) {
        int32_t k = row[count];
        qc_emit_two_level(c, outer, q, n, (k - 1) ^ (k - 1) >> 1, k ^ k >> 1, gates[count]);
    }
}

#endif

/* Dense float64 cells: both triangles hold the sum q_ij + q_ji, and what its rounding took stands packed beside them.
 *
 * residue[qd_place(n, i, j)], i < j, belongs to cell (i, j): the true entry is their sum. Without residues it is NULL.
 */
#ifndef QFAST_QUBO_REAL_H
#define QFAST_QUBO_REAL_H
#include "qubo_fold.h"

/* Of a pair i < j in the upper triangle row by row, the diagonal left out */
static inline int64_t qd_place(int64_t n, int64_t i, int64_t j) { return i * n - i * (i + 1) / 2 + j - i - 1; }

/* After qf_fold_dense, which leaves sums above the diagonal and residues below: each goes to its place. OUT diagonal [n];
 * residue [n (n - 1) / 2] or NULL. Gives the number of pairs that are not zero. */
static inline int64_t qd_settle(double *q, int64_t n, double *diagonal, double *residue)
{
    int64_t pairs = 0;
    for (int64_t i = 0; i < n; i++) {
        diagonal[i] = q[i * n + i];
        q[i * n + i] = 0;
    }
    for (int64_t top = 0; top < n; top += QC_BLOCK)
        for (int64_t left = top; left < n; left += QC_BLOCK)
            for (int64_t i = top; i < n && i < top + QC_BLOCK; i++)
                for (int64_t j = left > i ? left : i + 1; j < n && j < left + QC_BLOCK; j++) {
                    if (residue)
                        residue[qd_place(n, i, j)] = q[j * n + i];
                    pairs += q[i * n + j] != 0;
                    q[j * n + i] = q[i * n + j];
                }
    return pairs;
}

/* x^T Q x of each solution, exact and rounded once. IN x [solutions][n]; ones [n]: scratch. OUT out [solutions] */
static inline void qd_values(const double *q, int64_t n, int64_t stride, const double *diagonal, const double *residue,
                             const uint8_t *x, int64_t solutions, int32_t *ones, double *out)
{
    for (int64_t s = 0; s < solutions; s++, x += n) {
        qs_sum sum[2];
        int64_t count = 0;
        qs_clear(&sum[0]);
        qs_clear(&sum[1]);
        for (int64_t i = 0; i < n; i++)
            if (x[i])
                ones[count++] = (int32_t)i;
        for (int64_t a = 0; a < count; a++) {
            int64_t i = ones[a];
            qs_add(&sum[0], diagonal[i]);
            for (int64_t b = a + 1; b < count; b++) {
                qs_add(&sum[b & 1], q[i * stride + ones[b]]);
                if (residue)
                    qs_add(&sum[b & 1], residue[qd_place(n, i, ones[b])]);
            }
        }
        qs_merge(&sum[0], &sum[1]);
        out[s] = qs_value(&sum[0]);
    }
}
#endif

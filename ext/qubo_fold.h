/* Folds a matrix to one form: entries (i, j, v) with i <= j, sorted, without zeros and duplicates.
 *
 * Decimal fractions become integers over one power of ten when that is exact (0.1 + 0.2 is then 0.3), and the sum of all
 * absolute values is at most 2^53, so that every partial sum is exact in float64 and in int64. Otherwise entries stay
 * float64, and what rounding takes from q_ij + q_ji is kept in a residue (Knuth's TwoSum), so that nothing is lost.
 */
#ifndef QFAST_QUBO_FOLD_H
#define QFAST_QUBO_FOLD_H
#include "qubo_json.h"
#include "qubo_sum.h"

#define QF_MAX_DECIMALS 15
#define QF_EXACT_SUM 9007199254740992.0 /* 2^53 */

typedef struct {
    int exact;           /* values are integers over the denominator */
    int64_t denominator; /* 10^decimals */
    double total;        /* of all entries, in the matrix's own unit, rounded once */
} qf_form;

static inline double qf_two_sum(double a, double b, double *residue)
{
    double sum = a + b, part = sum - a;
    *residue = (a - (sum - part)) + (b - part);
    return sum;
}

/* Whether all entries are integers over 10^decimals, whose sums stay exact; scales them if so. */
static inline int qf_scale(const qj_matrix *m, double *value)
{
    if (m->decimals > QF_MAX_DECIMALS)
        return 0;
    double power = (double)QN_POW5[m->decimals] * (double)(1 << m->decimals);
    if (!(m->abs_sum * power <= QF_EXACT_SUM * 0.999))
        return 0;
    if (m->decimals == 0)
        return 1;
    for (int64_t k = 0; k < m->count; k++)
        if (rint(value[k] * power) / power != value[k])
            return 0;
    for (int64_t k = 0; k < m->count; k++)
        value[k] = rint(value[k] * power);
    return 1;
}

static inline void qf_sum(const double *value, int64_t count, qf_form *form)
{
    /* additions to one sum wait for each other: four (exact ones) or two run side by side */
    if (form->exact) {
        double sum[4] = {0, 0, 0, 0};
        int64_t k = 0;
        for (; k + 4 <= count; k += 4)
            for (int way = 0; way < 4; way++)
                sum[way] += value[k + way];
        for (; k < count; k++)
            sum[0] += value[k];
        form->total = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / (double)form->denominator + 0.0;
        return;
    }
    qs_sum sum[2];
    qs_clear(&sum[0]);
    qs_clear(&sum[1]);
    for (int64_t k = 0; k < count; k++)
        qs_add(&sum[k & 1], value[k]);
    qs_merge(&sum[0], &sum[1]);
    form->total = qs_value(&sum[0]);
}

/* Finds the form; dense cells become as narrow as it allows. Tells whether there was memory. */
static inline int qf_prepare(qj_matrix *m, qf_form *form)
{
    int dense = m->cells.at != NULL, narrow = dense && m->cells.kind != QC_FLOAT64;
    if (narrow && !(m->abs_sum <= QF_EXACT_SUM * 0.999)) {
        if (!qc_widen(&m->cells, m->n, QC_FLOAT64))
            return 0;
        narrow = 0;
    }
    double *value = dense ? (double *)m->cells.at : m->value;
    form->exact = narrow || qf_scale(m, value);
    form->denominator = form->exact && !narrow ? (int64_t)QN_POW5[m->decimals] << m->decimals : 1;
    if (narrow)
        form->total = (double)qc_total(&m->cells);
    else
        qf_sum(value, m->count, form);
    if (dense && !narrow && form->exact)
        qc_narrow(&m->cells);
    return 1;
}

/* Dense float64 cells, in place: the upper triangle takes q_ij + q_ji, the lower one the residue. Gives the number of entries left and
 * whether any has a residue. Blocks keep both triangles' lines in the cache. */
static inline int64_t qf_fold_dense(qj_matrix *m, int *residues)
{
    enum { BLOCK = 32 };
    int64_t n = m->n, count = 0;
    double *q = (double *)m->cells.at;
    *residues = 0;
    for (int64_t i = 0; i < n; i++)
        count += q[i * n + i] != 0;
    for (int64_t top = 0; top < n; top += BLOCK)
        for (int64_t left = top; left < n; left += BLOCK)
            for (int64_t i = top; i < n && i < top + BLOCK; i++)
                for (int64_t j = left > i ? left : i + 1; j < n && j < left + BLOCK; j++) {
                    double residue, sum = qf_two_sum(q[i * n + j], q[j * n + i], &residue);
                    q[i * n + j] = sum;
                    q[j * n + i] = residue;
                    *residues |= residue != 0;
                    count += sum != 0; /* a residue without a sum can't be: it is below half an ulp of the sum */
                }
    return count;
}

/* OUT row, col, value [count]; residue [count] or NULL */
static inline void qf_take_dense(const qj_matrix *m, int32_t *row, int32_t *col, double *value, double *residue)
{
    int64_t n = m->n, k = 0;
    const double *q = (const double *)m->cells.at;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++) {
            double v = q[i * n + j];
            if (v == 0)
                continue;
            row[k] = (int32_t)i;
            col[k] = (int32_t)j;
            value[k] = v;
            if (residue)
                residue[k] = i == j ? 0 : q[j * n + i];
            k++;
        }
}

/* Sparse: turns the pairs to i <= j; tells whether keys i n + j already ascend strictly. OUT key [count] */
static inline int qf_keys(qj_matrix *m, int64_t *key)
{
    int ascending = 1;
    for (int64_t k = 0; k < m->count; k++) {
        int64_t i = m->row[k], j = m->col[k];
        key[k] = i <= j ? i * m->n + j : j * m->n + i;
        ascending &= k == 0 || key[k - 1] < key[k];
    }
    return ascending;
}

/* Sparse: the stable order of the keys, by counting sorts on column and then row. OUT order [count]; spare [count];
 * counts [n + 1] */
static inline void qf_order(const int64_t *key, int64_t count, int64_t n, int64_t *order, int64_t *spare, int64_t *counts)
{
    for (int pass = 0; pass < 2; pass++) {
        memset(counts, 0, (size_t)(n + 1) * sizeof *counts);
        for (int64_t k = 0; k < count; k++)
            counts[(pass ? key[k] / n : key[k] % n) + 1]++;
        for (int64_t i = 0; i < n; i++)
            counts[i + 1] += counts[i];
        for (int64_t k = 0; k < count; k++) {
            int64_t from = pass ? spare[k] : k;
            (pass ? order : spare)[counts[pass ? key[from] / n : key[from] % n]++] = from;
        }
    }
}

/* Sparse: adds up equal keys and drops zeros. IN order: a stable sorting permutation of key, or NULL when sorted.
 * OUT row, col, value, residue [m->count]. Gives the number of entries left. */
static inline int64_t qf_take_sparse(const qj_matrix *m, const int64_t *key, const int64_t *order, int32_t *row, int32_t *col,
                                     double *value, double *residue, int *residues)
{
    int64_t out = 0;
    *residues = 0;
    for (int64_t k = 0; k < m->count;) {
        int64_t here = key[order ? order[k] : k];
        double sum = 0, rest = 0, lost;
        for (; k < m->count && key[order ? order[k] : k] == here; k++) {
            sum = qf_two_sum(sum, m->value[order ? order[k] : k], &lost);
            rest += lost;
        }
        sum = qf_two_sum(sum, rest, &lost);
        if (sum == 0)
            continue;
        row[out] = (int32_t)(here / m->n);
        col[out] = (int32_t)(here % m->n);
        value[out] = sum;
        residue[out++] = lost;
        *residues |= lost != 0;
    }
    return out;
}

/* x^T Q x where every partial sum is exact. IN rows ascending; x, picked: [n], picked is x in float64 */
static inline double qf_exact_value(const int32_t *row, const int32_t *col, const double *value, int64_t count, const uint8_t *x,
                                    const double *picked)
{
    double total = 0;
    for (int64_t k = 0, end; k < count; k = end) {
        int32_t i = row[k];
        double sum = 0;
        if (x[i])
            for (end = k; end < count && row[end] == i; end++)
                sum += value[end] * picked[col[end]];
        else
            for (end = k; end < count && row[end] == i; end++)
                ;
        total += sum;
    }
    return total;
}

/* x^T Q x of each solution, exact and rounded once. IN x [solutions][n]; scratch [n]. OUT out [solutions] */
static inline void qf_values(const int32_t *row, const int32_t *col, const double *value, const double *residue, int64_t count,
                             const uint8_t *x, int64_t n, int64_t solutions, int exact, int64_t denominator, double *scratch,
                             double *out)
{
    for (int64_t s = 0; s < solutions; s++, x += n) {
        qs_sum sum[2];
        if (exact) {
            for (int64_t i = 0; i < n; i++)
                scratch[i] = x[i];
            out[s] = qf_exact_value(row, col, value, count, x, scratch) / (double)denominator + 0.0; /* + 0: no negative zero */
            continue;
        }
        qs_clear(&sum[0]);
        qs_clear(&sum[1]);
        for (int64_t k = 0; k < count; k++) {
            if (!x[row[k]])
                continue;
            double picked = x[col[k]]; /* adding zeros is cheaper than guessing */
            qs_add(&sum[k & 1], value[k] * picked);
            if (residue)
                qs_add(&sum[k & 1], residue[k] * picked);
        }
        qs_merge(&sum[0], &sum[1]);
        out[s] = qs_value(&sum[0]);
    }
}
#endif

/* The cells of a dense matrix in the narrowest type that holds all of them: int16, int32 or float64.
 *
 * Integers stand in the rows that tabu search works on: 16 * blocks entries, 64-byte aligned, zeros behind the n-th. A row that
 * needs more makes the whole matrix wider. Float64 rows are n entries.
 */
#ifndef QFAST_QUBO_CELLS_H
#define QFAST_QUBO_CELLS_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum qc_kind { QC_INT16, QC_INT32, QC_FLOAT64 };

#define QC_MAX_INT32 1073741823 /* the sum of two still fits */
#define QC_PAGE ((size_t)1 << 21) /* a large page */

typedef struct {
    int64_t n, stride; /* entries of a row */
    enum qc_kind kind;
    void *at;          /* [n][stride] */
    int64_t largest;   /* bound of the absolute values of integers */
} qc_cells;

static inline size_t qc_width(enum qc_kind kind) { return kind == QC_INT16 ? 2 : kind == QC_INT32 ? 4 : 8; }

static inline int64_t qc_stride(int64_t n, enum qc_kind kind) { return kind == QC_FLOAT64 ? n : (n + 15) / 16 * 16; }

static inline void qc_free(qc_cells *c)
{
    free(c->at);
    c->at = NULL;
}

/* Memory that nothing has been written to. Tells whether there was any. */
static inline int qc_open(qc_cells *c, int64_t n, enum qc_kind kind)
{
    c->n = n;
    c->kind = kind;
    c->stride = qc_stride(n, kind);
    c->largest = 0;
    size_t size = (size_t)n * (size_t)c->stride * qc_width(kind), unit = size < 2 * QC_PAGE ? 64 : QC_PAGE;
    c->at = aligned_alloc(unit, (size + unit - 1) / unit * unit);
#ifdef MADV_HUGEPAGE
    if (c->at && unit == QC_PAGE)
        madvise(c->at, size, MADV_HUGEPAGE); /* faults on small pages cost more than reading integers; a refusal costs nothing */
#endif
    return c->at != NULL;
}

static inline void *qc_row(const qc_cells *c, int64_t i) { return (uint8_t *)c->at + (size_t)i * (size_t)c->stride * qc_width(c->kind); }

/* Makes room for wider cells; `rows` of them are written. Tells whether there was memory. */
static inline int qc_widen(qc_cells *c, int64_t rows, enum qc_kind kind)
{
    qc_cells wide;
    if (!qc_open(&wide, c->n, kind))
        return 0;
    wide.largest = c->largest;
    for (int64_t i = 0; i < rows; i++) {
        const void *from = qc_row(c, i);
        if (kind == QC_INT32) { /* the padding comes along */
            int32_t *to = (int32_t *)qc_row(&wide, i);
            for (int64_t k = 0; k < c->stride; k++)
                to[k] = ((const int16_t *)from)[k];
        } else {
            double *to = (double *)qc_row(&wide, i);
            for (int64_t k = 0; k < c->n; k++)
                to[k] = c->kind == QC_INT16 ? (double)((const int16_t *)from)[k] : (double)((const int32_t *)from)[k];
        }
    }
    free(c->at);
    *c = wide;
    return 1;
}

static inline void qc_pad(qc_cells *c, int64_t i)
{
    size_t width = qc_width(c->kind);
    memset((uint8_t *)qc_row(c, i) + (size_t)c->n * width, 0, (size_t)(c->stride - c->n) * width);
}

/* Row i from integers up to QC_MAX_INT32. IN bits: of all absolute values or'ed. Tells whether there was memory. */
static inline int qc_put_integers(qc_cells *c, int64_t i, const int32_t *row, int64_t bits)
{
    if (bits > INT16_MAX && c->kind == QC_INT16 && !qc_widen(c, i, QC_INT32))
        return 0;
    c->largest |= bits;
    void *to = qc_row(c, i);
    for (int64_t k = 0; k < c->n; k++) {
        if (c->kind == QC_INT16)
            ((int16_t *)to)[k] = (int16_t)row[k];
        else if (c->kind == QC_INT32)
            ((int32_t *)to)[k] = row[k];
        else
            ((double *)to)[k] = row[k];
    }
    qc_pad(c, i);
    return 1;
}

/* Row i from numbers of any kind; scratch: [n]. Tells whether there was memory. */
static inline int qc_put(qc_cells *c, int64_t i, const double *row, int32_t *scratch)
{
    int64_t bits = 0;
    int fits = c->kind != QC_FLOAT64;
    for (int64_t k = 0; k < c->n && fits; k++) {
        double size = fabs(row[k]);
        fits = size <= QC_MAX_INT32 && size == (double)(int64_t)size;
        if (fits) {
            scratch[k] = (int32_t)row[k];
            bits |= (int64_t)size;
        }
    }
    if (fits)
        return qc_put_integers(c, i, scratch, bits);
    if (c->kind != QC_FLOAT64 && !qc_widen(c, i, QC_FLOAT64))
        return 0;
    memcpy(qc_row(c, i), row, (size_t)c->n * sizeof *row);
    return 1;
}

/* Float64 cells that are all integers become narrow ones, in their own memory, since each goes to a place before its own. */
static inline void qc_narrow(qc_cells *c)
{
    double largest = 0;
    const double *from = (const double *)c->at;
    for (int64_t k = 0; k < c->n * c->n; k++)
        largest = fmax(largest, fabs(from[k]));
    enum qc_kind kind = largest <= INT16_MAX ? QC_INT16 : QC_INT32;
    int64_t stride = qc_stride(c->n, kind);
    if (largest > QC_MAX_INT32 || stride * (int64_t)qc_width(kind) > c->n * 8) /* of few cells a row may grow by its padding */
        return;
    c->kind = kind;
    c->stride = stride;
    c->largest = (int64_t)largest;
    for (int64_t i = 0; i < c->n; i++) {
        void *to = qc_row(c, i);
        for (int64_t k = 0; k < c->n; k++) {
            double value = from[i * c->n + k];
            if (kind == QC_INT16)
                memcpy((uint8_t *)to + 2 * k, &(int16_t){(int16_t)value}, 2);
            else
                memcpy((uint8_t *)to + 4 * k, &(int32_t){(int32_t)value}, 4);
        }
        qc_pad(c, i);
    }
    void *less = realloc(c->at, (size_t)c->n * (size_t)stride * qc_width(kind)); /* shrinks in place; its start stays */
    c->at = less ? less : c->at;
}

/* ---- folding: both triangles take q_ij + q_ji, the diagonal goes to a vector of its own and becomes zero ---- */

typedef struct {
    int64_t pairs;    /* couplings that are not zero */
    int64_t entries;  /* these and the diagonal's */
    int64_t bound;    /* most that the absolute values of a row and its diagonal add up to */
} qc_facts;

#define QC_BLOCK 32

#define QC_FOLD(NAME, TYPE, SUM)                                                                                           \
    /* cells (i, j), j > i, of rows top.. and columns left.. up to the ends that are given */                              \
    static inline void NAME##_block(TYPE *q, int64_t stride, int64_t top, int64_t left, int64_t bottom, int64_t right)      \
    {                                                                                                                      \
        for (int64_t i = top; i < bottom; i++)                                                                             \
            for (int64_t j = left > i ? left : i + 1; j < right; j++)                                                      \
                q[i * stride + j] = q[j * stride + i] = (TYPE)(q[i * stride + j] + q[j * stride + i]);                     \
    }                                                                                                                      \
    static inline void NAME##_facts(const TYPE *q, int64_t n, int64_t stride, const double *diagonal, qc_facts *facts)     \
    {                                                                                                                      \
        int64_t twice = 0;                                                                                                 \
        for (int64_t i = 0; i < n; i++) {                                                                                  \
            SUM sum = 0, here = 0;                                                                                         \
            for (int64_t j = 0; j < n; j++) {                                                                              \
                SUM v = q[i * stride + j];                                                                                 \
                sum += v < 0 ? -v : v;                                                                                     \
                here += v != 0;                                                                                            \
            }                                                                                                              \
            int64_t bound = (int64_t)fabs(diagonal[i]) + sum;                                                              \
            twice += here;                                                                                                 \
            facts->bound = bound > facts->bound ? bound : facts->bound;                                                    \
        }                                                                                                                  \
        facts->pairs = twice / 2;                                                                                          \
        facts->entries += facts->pairs;                                                                                    \
    }                                                                                                                      \
    static inline void NAME(TYPE *q, int64_t n, int64_t stride, double *diagonal, qc_facts *facts)                         \
    {                                                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                                  \
            diagonal[i] = q[i * stride + i];                                                                               \
            facts->entries += q[i * stride + i] != 0;                                                                      \
            q[i * stride + i] = 0;                                                                                         \
        }                                                                                                                  \
        for (int64_t top = 0; top < n; top += QC_BLOCK)                                                                    \
            for (int64_t left = top; left < n; left += QC_BLOCK)                                                           \
                NAME##_pair(q, stride, top, left, top + QC_BLOCK < n ? top + QC_BLOCK : n,                                 \
                            left + QC_BLOCK < n ? left + QC_BLOCK : n);                                                    \
        NAME##_facts(q, n, stride, diagonal, facts);                                                                       \
    }

static inline void qc_fold16_block(int16_t *q, int64_t stride, int64_t top, int64_t left, int64_t bottom, int64_t right);
static inline void qc_fold32_block(int32_t *q, int64_t stride, int64_t top, int64_t left, int64_t bottom, int64_t right);

#ifdef __SSE2__
static inline void qc_transpose8(__m128i v[8])
{
    __m128i a[8], b[8];
    for (int k = 0; k < 4; k++) {
        a[2 * k] = _mm_unpacklo_epi16(v[2 * k], v[2 * k + 1]);
        a[2 * k + 1] = _mm_unpackhi_epi16(v[2 * k], v[2 * k + 1]);
    }
    for (int k = 0; k < 2; k++)
        for (int half = 0; half < 2; half++) {
            b[4 * k + 2 * half] = _mm_unpacklo_epi32(a[4 * k + half], a[4 * k + 2 + half]);
            b[4 * k + 2 * half + 1] = _mm_unpackhi_epi32(a[4 * k + half], a[4 * k + 2 + half]);
        }
    for (int k = 0; k < 4; k++) {
        v[2 * k] = _mm_unpacklo_epi64(b[k], b[4 + k]);
        v[2 * k + 1] = _mm_unpackhi_epi64(b[k], b[4 + k]);
    }
}
#endif

/* A block above the diagonal and its mirror image */
static inline void qc_fold16_pair(int16_t *q, int64_t stride, int64_t top, int64_t left, int64_t bottom, int64_t right)
{
#ifdef __SSE2__
    if (top != left && bottom - top == QC_BLOCK && right - left == QC_BLOCK) {
        for (int64_t i = top; i < bottom; i += 8)
            for (int64_t j = left; j < right; j += 8) {
                __m128i sum[8];
                for (int k = 0; k < 8; k++)
                    sum[k] = _mm_loadu_si128((const __m128i *)(q + (j + k) * stride + i));
                qc_transpose8(sum);
                for (int k = 0; k < 8; k++) {
                    __m128i *at = (__m128i *)(q + (i + k) * stride + j);
                    sum[k] = _mm_add_epi16(sum[k], _mm_loadu_si128(at));
                    _mm_storeu_si128(at, sum[k]);
                }
                qc_transpose8(sum);
                for (int k = 0; k < 8; k++)
                    _mm_storeu_si128((__m128i *)(q + (j + k) * stride + i), sum[k]);
            }
        return;
    }
#endif
    qc_fold16_block(q, stride, top, left, bottom, right);
}

static inline void qc_fold32_pair(int32_t *q, int64_t stride, int64_t top, int64_t left, int64_t bottom, int64_t right)
{
    qc_fold32_block(q, stride, top, left, bottom, right);
}

QC_FOLD(qc_fold16, int16_t, int32_t) /* a row of up to 2^15 int16 adds up within int32 */
QC_FOLD(qc_fold32, int32_t, int64_t)

/* Whether the sum of some pair of int16 cells needs more */
static inline int qc_sums_fit16(const qc_cells *c)
{
    if (2 * c->largest <= INT16_MAX)
        return 1;
    const int16_t *q = (const int16_t *)c->at;
    int fit = 1;
    for (int64_t top = 0; top < c->n; top += QC_BLOCK)
        for (int64_t left = top; left < c->n; left += QC_BLOCK)
            for (int64_t i = top; i < c->n && i < top + QC_BLOCK; i++)
                for (int64_t j = left > i ? left : i + 1; j < c->n && j < left + QC_BLOCK; j++) {
                    int32_t sum = q[i * c->stride + j] + q[j * c->stride + i];
                    fit &= sum <= INT16_MAX && sum >= -INT16_MAX;
                }
    return fit;
}

/* IN integer cells. OUT diagonal [n]. Tells whether there was memory. */
static inline int qc_fold(qc_cells *c, double *diagonal, qc_facts *facts)
{
    memset(facts, 0, sizeof *facts);
    if (c->kind == QC_INT16 && !qc_sums_fit16(c) && !qc_widen(c, c->n, QC_INT32))
        return 0;
    if (c->kind == QC_INT16)
        qc_fold16((int16_t *)c->at, c->n, c->stride, diagonal, facts);
    else
        qc_fold32((int32_t *)c->at, c->n, c->stride, diagonal, facts);
    return 1;
}

static inline int64_t qc_total(const qc_cells *c)
{
    int64_t total = 0;
    for (int64_t i = 0; i < c->n; i++) {
        const void *row = qc_row(c, i);
        int64_t sum = 0;
        for (int64_t k = 0; k < c->n; k++)
            sum += c->kind == QC_INT16 ? ((const int16_t *)row)[k] : ((const int32_t *)row)[k];
        total += sum;
    }
    return total;
}

static inline double qc_at(const void *row, enum qc_kind kind, int64_t k)
{
    return kind == QC_INT16 ? ((const int16_t *)row)[k] : kind == QC_INT32 ? ((const int32_t *)row)[k] : ((const double *)row)[k];
}

/* Entries of the upper triangle and the diagonal that are not zero */
static inline int64_t qc_count(const void *cells, enum qc_kind kind, int64_t n, int64_t stride, const double *diagonal)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        const void *from = (const uint8_t *)cells + (size_t)(i * stride) * qc_width(kind);
        count += diagonal[i] != 0;
        for (int64_t j = i + 1; j < n; j++)
            count += qc_at(from, kind, j) != 0;
    }
    return count;
}

/* OUT row, col, value [entries]: what is not zero of the upper triangle. IN cells: folded, stride entries a row */
static inline void qc_take(const void *cells, enum qc_kind kind, int64_t n, int64_t stride, const double *diagonal, int32_t *row,
                           int32_t *col, double *value)
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        const void *from = (const uint8_t *)cells + (size_t)(i * stride) * qc_width(kind);
        for (int64_t j = i; j < n; j++) {
            double v = j == i ? diagonal[i] : qc_at(from, kind, j);
            if (v == 0)
                continue;
            row[k] = (int32_t)i;
            col[k] = (int32_t)j;
            value[k++] = v;
        }
    }
}

/* x^T Q x of each solution, where every partial sum is exact. IN folded cells; x [solutions][n]; scratch [n]. OUT [solutions] */
static inline void qc_values(const void *cells, int wide, int64_t n, int64_t stride, const double *diagonal, const uint8_t *x,
                             int64_t solutions, int64_t denominator, int32_t *scratch, double *out)
{
    for (int64_t s = 0; s < solutions; s++, x += n) {
        int64_t twice = 0, single = 0;
        for (int64_t j = 0; j < n; j++)
            scratch[j] = -(int32_t)x[j];
        for (int64_t i = 0; i < n; i++) {
            if (!x[i])
                continue;
            single += (int64_t)diagonal[i];
            if (wide) {
                const int32_t *row = (const int32_t *)cells + i * stride;
                int64_t sum = 0;
                for (int64_t j = 0; j < n; j++)
                    sum += row[j] & scratch[j];
                twice += sum;
            } else { /* n < 2^15 int16 add up within int32 */
                const int16_t *row = (const int16_t *)cells + i * stride;
                int32_t sum = 0;
                for (int64_t j = 0; j < n; j++)
                    sum += row[j] & scratch[j];
                twice += sum;
            }
        }
        out[s] = (double)(single + twice / 2) / (double)denominator + 0.0; /* + 0: no negative zero */
    }
}
#endif

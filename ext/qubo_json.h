/* Reads a JSON array of QUBO matrices, one matrix at a time, from bytes that need not be JSON at all.
 *
 * A matrix is dense, [[1, 2], [3, 4]], or COO, {"n": 2, "row": [0], "col": [1], "value": [3]}. Nothing is allocated beyond
 * a small multiple of the input's length: a cell takes at least two bytes of JSON.
 */
#ifndef QFAST_QUBO_JSON_H
#define QFAST_QUBO_JSON_H
#include <stdlib.h>

#include "qubo_cells.h"
#include "qubo_number.h"
#include "qubo_rows.h"
#include "qubo_wide.h"

enum qj_error {
    QJ_OK = 0,
    QJ_SYNTAX,       /* not JSON here */
    QJ_NOT_LIST,     /* the whole is no list */
    QJ_NOT_MATRIX,   /* a matrix is neither a list nor an object */
    QJ_EMPTY,        /* a matrix without rows */
    QJ_NOT_ROW,      /* a row is no list */
    QJ_RAGGED,       /* a row of another length than the first; a: its length, b: the first's */
    QJ_NOT_SQUARE,   /* a: rows, b: columns */
    QJ_NOT_NUMBER,   /* a cell is no number */
    QJ_NOT_FINITE,   /* beyond float64 */
    QJ_BIG_INT,      /* an integer beyond 2^53 */
    QJ_LONG_NUMBER,  /* more than QN_MAX_CHARS characters */
    QJ_TOO_LARGE,    /* the sum of absolute values is beyond QJ_MAX_SUM */
    QJ_MANY_VARS,    /* a: n, b: the limit */
    QJ_MANY_CELLS,   /* b: the limit */
    QJ_UNKNOWN_KEY,
    QJ_TWICE_KEY,
    QJ_MISSING_KEY,  /* key */
    QJ_NOT_INDEX,    /* not an integer */
    QJ_BAD_N,        /* n below 1 */
    QJ_RANGE,        /* a: index, b: n */
    QJ_LENGTHS,      /* key, a: its length, b: row's length */
    QJ_NOT_ARRAY,    /* key: not a list */
    QJ_MEMORY,
    QJ_CANCELLED
};

#define QJ_MAX_SUM 1e300

enum qj_key { QJ_N, QJ_ROW, QJ_COL, QJ_VALUE, QJ_KEYS };

typedef double (*qj_slow)(const char *text, size_t length); /* correctly rounded; infinite beyond float64 */

typedef struct {
    const char *p, *end;
    qj_slow slow;
    const volatile unsigned char *cancel; /* or NULL */
    int wide;                             /* whether vectors of 256 bits may be used */
    int64_t max_n, cells_left; /* limits */
    int64_t max_cells;
    int64_t matrices;
    int first;
    /* where the last error is */
    enum qj_error error;
    int key;          /* enum qj_key, or -1 */
    int64_t row, col; /* -1: not inside */
    int64_t a, b;
    const char *at;
} qj_reader;

typedef struct {
    int64_t n;
    int64_t count;  /* entries; n * n when dense */
    qc_cells cells; /* dense */
    double *value;  /* dense: scratch, a row */
    int32_t *quick; /* scratch, QR_WAYS rows and QW_SLACK */
    int64_t *row, *col; /* NULL when dense */
    double abs_sum; /* of all entries */
    int decimals;   /* digits after the point that the entries need; 0: all are integers */
} qj_matrix;

static inline void qj_free(qj_matrix *m)
{
    qc_free(&m->cells);
    free(m->value);
    free(m->quick);
    free(m->row);
    free(m->col);
    memset(m, 0, sizeof *m);
}

static inline int qj_fail(qj_reader *r, enum qj_error error, const char *at)
{
    r->error = error;
    r->at = at;
    return -1;
}

static inline void qj_space(qj_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
}

static inline int qj_take(qj_reader *r, char c)
{
    qj_space(r);
    if (r->p < r->end && *r->p == c) {
        r->p++;
        return 1;
    }
    return 0;
}

/* After an element: 1 for a comma, 0 for the closing bracket, -1 for anything else. */
static inline int qj_next_or_close(qj_reader *r, char close)
{
    qj_space(r);
    if (r->p < r->end && (*r->p == ',' || *r->p == close))
        return *r->p++ == ',';
    return qj_fail(r, QJ_SYNTAX, r->p);
}

/* One number of a matrix: 0, or -1 with the error set. */
static inline int qj_number(qj_reader *r, qj_matrix *m, double *out)
{
    const char *at = r->p;
    double quick;
    int decimals;
    const char *end = r->end - at >= QN_FAST_CHARS ? qn_fast(at, &quick, &decimals) : NULL;
    if (end) { /* below 10^15: nothing to check, a sum near the limit does not feel it */
        m->abs_sum += fabs(quick);
        if (decimals > m->decimals)
            m->decimals = decimals;
        r->p = end;
        *out = quick;
        return 0;
    }
    qn_number number = qn_read(at, r->end);
    if (number.kind == QN_BAD)
        return qj_fail(r, QJ_NOT_NUMBER, at);
    if (number.kind == QN_LONG)
        return qj_fail(r, QJ_LONG_NUMBER, at);
    if (number.kind == QN_SLOW)
        number.value = r->slow(at, (size_t)(number.end - at));
    else if (number.kind == QN_INT && number.huge)
        return qj_fail(r, QJ_BIG_INT, at);
    double size = fabs(number.value);
    if (!(size < HUGE_VAL))
        return qj_fail(r, QJ_NOT_FINITE, at);
    m->abs_sum += size;
    if (m->abs_sum > QJ_MAX_SUM)
        return qj_fail(r, QJ_TOO_LARGE, at);
    if (number.decimals > m->decimals)
        m->decimals = number.decimals;
    r->p = number.end;
    *out = number.value;
    return 0;
}

/* A row of n cells into m->value (n < 0: not known yet, *grown cells fit there). Gives the length, or -1. */
static inline int64_t qj_row(qj_reader *r, qj_matrix *m, int64_t row, int64_t n, int64_t *grown)
{
    r->row = row;
    r->col = -1;
    qj_space(r);
    const char *start = r->p;
    if (!qj_take(r, '['))
        return qj_fail(r, QJ_NOT_ROW, r->p);
    if (qj_take(r, ']')) {
        r->at = start;
        return 0;
    }
    int64_t k = 0;
    for (int more = 1; more > 0; k++) {
        if (n < 0 && k == *grown) {
            int64_t size = *grown ? 2 * *grown : 64;
            double *value = (double *)realloc(m->value, (size_t)size * sizeof *value);
            if (!value)
                return qj_fail(r, QJ_MEMORY, r->p);
            m->value = value;
            *grown = size;
        }
        qj_space(r);
        r->col = k;
        double ignored;
        if (qj_number(r, m, n >= 0 && k >= n ? &ignored : &m->value[k]) < 0)
            return -1;
        more = qj_next_or_close(r, ']');
        if (more < 0)
            return -1;
    }
    r->col = -1;
    r->at = start;
    return k;
}

/* Rows of plain integers by vectors, as long as they are all there. r->p stands behind a row; gives how many it went on. */
static inline int64_t qj_wide_rows(qj_reader *r, qj_matrix *m, int64_t rows)
{
    int64_t from = rows, n = m->cells.n;
    while (rows < n && m->cells.kind != QC_FLOAT64) {
        const char *before = r->p, *behind = NULL;
        uint64_t bits = 0;
        int64_t sum = 0;
        if (!(r->cancel && *r->cancel) && qj_take(r, ',') && qj_take(r, '[')) {
            const char *comma = (const char *)memchr(r->p, ',', (size_t)(r->end - r->p < 16 ? r->end - r->p : 16));
            int gap = comma && r->end - comma > 1 && comma[1] == ' ';
            behind = qw_row(r->p, r->end, n, gap, m->quick + n, m->quick, &bits, &sum);
        }
        r->p = behind ? behind : before;
        if (!behind)
            break;
        m->abs_sum += (double)sum;
        if (!qc_put_integers(&m->cells, rows++, m->quick, (int64_t)bits))
            return qj_fail(r, QJ_MEMORY, r->p);
    }
    return rows - from;
}

/* Rows by fours, as long as they are plain integers and all there. r->p stands behind a row; gives how many it went on. */
static inline int64_t qj_quick_rows(qj_reader *r, qj_matrix *m, int64_t rows)
{
    const char *next[QR_WAYS];
    int64_t from = rows, n = m->cells.n;
    while (rows + QR_WAYS <= n && m->cells.kind != QC_FLOAT64 && r->p < r->end && *r->p == ','
           && qr_find(r->p + 1, r->end, next)) {
        uint64_t bits = 0;
        int64_t sum = 0;
        if ((r->cancel && *r->cancel) || !qr_read(next, r->end, n, m->quick, &bits))
            break;
        for (int64_t k = 0; k < QR_WAYS * n; k++)
            sum += m->quick[k] < 0 ? -m->quick[k] : m->quick[k];
        m->abs_sum += (double)sum;
        for (int way = 0; way < QR_WAYS; way++)
            if (!qc_put_integers(&m->cells, rows++, m->quick + way * n, (int64_t)bits))
                return qj_fail(r, QJ_MEMORY, r->p);
        r->p = next[QR_WAYS - 1];
    }
    return rows - from;
}

/* The rows behind the first one, which is m->value. Gives how many there are in all, or -1. */
static inline int64_t qj_rows(qj_reader *r, qj_matrix *m, int64_t n, int fits)
{
    int64_t rows = 1, grown = n, quick;
    int more;
    for (;;) {
        if (fits && n >= QR_CHUNK) {
            if ((quick = r->wide && n >= QW_LEAST ? qj_wide_rows(r, m, rows) : 0) < 0)
                return -1;
            rows += quick;
            if ((quick = qj_quick_rows(r, m, rows)) < 0)
                return -1;
            rows += quick;
        }
        if ((more = qj_next_or_close(r, ']')) <= 0)
            return more < 0 ? -1 : rows;
        if (r->cancel && *r->cancel)
            return qj_fail(r, QJ_CANCELLED, r->p);
        /* beyond the n-th row, or when the text is too short for n rows, cells are only counted */
        int64_t length = qj_row(r, m, rows, n, &grown);
        r->row = rows;
        if (length < 0)
            return -1;
        r->a = length;
        r->b = n;
        if (length != n)
            return qj_fail(r, QJ_RAGGED, r->at);
        if (fits && rows < n && !qc_put(&m->cells, rows, m->value, m->quick))
            return qj_fail(r, QJ_MEMORY, r->p);
        rows++;
    }
}

static inline int qj_dense(qj_reader *r, qj_matrix *m)
{
    const char *start = r->p - 1;
    int64_t grown = 0;
    if (qj_take(r, ']'))
        return qj_fail(r, QJ_EMPTY, start);
    int64_t n = qj_row(r, m, 0, -1, &grown);
    if (n < 0)
        return -1;
    if (n == 0) {
        r->row = 0;
        return qj_fail(r, QJ_EMPTY, r->at);
    }
    r->a = n;
    r->b = r->max_n;
    r->row = -1;
    if (n > r->max_n)
        return qj_fail(r, QJ_MANY_VARS, start);
    r->b = r->max_cells;
    if (n > r->cells_left / n)
        return qj_fail(r, QJ_MANY_CELLS, start);
    r->cells_left -= n * n;
    /* a cell takes two bytes at least, so a matrix that is cut short can't ask for much memory */
    int fits = n * (n - 1) <= (r->end - r->p) / 2 + 1;
    if (fits) {
        m->quick = (int32_t *)malloc((QR_WAYS * (size_t)n + QW_SLACK) * sizeof *m->quick);
        if (!m->quick || !qc_open(&m->cells, n, QC_INT16) || !qc_put(&m->cells, 0, m->value, m->quick))
            return qj_fail(r, QJ_MEMORY, start);
    }
    int64_t rows = qj_rows(r, m, n, fits);
    if (rows < 0)
        return -1;
    r->row = -1;
    r->a = rows;
    r->b = n;
    if (rows != n)
        return qj_fail(r, QJ_NOT_SQUARE, start);
    m->n = n;
    m->count = n * n;
    return 0;
}

/* A list of integers (indices) or numbers under a key. Gives the length, or -1. */
static inline int64_t qj_list(qj_reader *r, qj_matrix *m, int key, int64_t **indices, double **values)
{
    r->key = key;
    r->col = -1;
    if (!qj_take(r, '['))
        return qj_fail(r, QJ_NOT_ARRAY, r->p);
    if (qj_take(r, ']'))
        return 0;
    int64_t k = 0, room = 0;
    for (int more = 1; more > 0; k++) {
        if (k >= r->max_cells) {
            r->b = r->max_cells;
            return qj_fail(r, QJ_MANY_CELLS, r->p);
        }
        if (k == room) {
            room = room ? 2 * room : 64;
            void *grown = realloc(indices ? (void *)*indices : (void *)*values, (size_t)room * 8);
            if (!grown)
                return qj_fail(r, QJ_MEMORY, r->p);
            if (indices)
                *indices = (int64_t *)grown;
            else
                *values = (double *)grown;
        }
        if (k % 4096 == 0 && r->cancel && *r->cancel)
            return qj_fail(r, QJ_CANCELLED, r->p);
        qj_space(r);
        r->col = k;
        if (indices) {
            qn_number number = qn_read(r->p, r->end);
            if (number.kind != QN_INT)
                return qj_fail(r, QJ_NOT_INDEX, r->p);
            (*indices)[k] = number.huge ? (*r->p == '-' ? -1 : INT64_MAX) : (int64_t)number.value;
            r->p = number.end;
        } else if (qj_number(r, m, *values + k) < 0) {
            return -1;
        }
        more = qj_next_or_close(r, ']');
        if (more < 0)
            return -1;
    }
    r->col = -1;
    return k;
}

static inline int qj_which_key(const char *text, int64_t length)
{
    static const char *const names[QJ_KEYS] = {"n", "row", "col", "value"};
    for (int k = 0; k < QJ_KEYS; k++)
        if ((int64_t)strlen(names[k]) == length && memcmp(text, names[k], (size_t)length) == 0)
            return k;
    return -1;
}

static inline int qj_member(qj_reader *r, qj_matrix *m, int64_t length[QJ_KEYS])
{
    qj_space(r);
    r->key = -1;
    const char *at = r->p;
    if (!qj_take(r, '"'))
        return qj_fail(r, QJ_SYNTAX, at);
    const char *text = r->p;
    while (r->p < r->end && *r->p != '"')
        r->p += *r->p == '\\' && r->end - r->p > 1 ? 2 : 1;
    if (r->p >= r->end)
        return qj_fail(r, QJ_SYNTAX, at);
    int key = qj_which_key(text, r->p - text);
    if (key < 0)
        return qj_fail(r, QJ_UNKNOWN_KEY, at);
    r->key = key;
    if (length[key] >= 0)
        return qj_fail(r, QJ_TWICE_KEY, at);
    r->p++;
    if (!qj_take(r, ':'))
        return qj_fail(r, QJ_SYNTAX, r->p);
    qj_space(r);
    if (key != QJ_N) {
        length[key] = qj_list(r, m, key, key == QJ_ROW ? &m->row : key == QJ_COL ? &m->col : NULL, &m->value);
        return length[key] < 0 ? -1 : 0;
    }
    qn_number number = qn_read(r->p, r->end);
    if (number.kind != QN_INT)
        return qj_fail(r, QJ_NOT_INDEX, r->p);
    if (*r->p == '-' || number.value == 0)
        return qj_fail(r, QJ_BAD_N, r->p);
    r->a = number.huge ? INT64_MAX : (int64_t)number.value;
    r->b = r->max_n;
    if (r->a > r->max_n)
        return qj_fail(r, QJ_MANY_VARS, r->p);
    m->n = r->a;
    length[QJ_N] = 0;
    r->p = number.end;
    return 0;
}

static inline int qj_sparse(qj_reader *r, qj_matrix *m)
{
    const char *start = r->p - 1;
    int64_t length[QJ_KEYS] = {-1, -1, -1, -1};
    int more = !qj_take(r, '}');
    while (more > 0) {
        if (qj_member(r, m, length) < 0)
            return -1;
        more = qj_next_or_close(r, '}');
    }
    if (more < 0)
        return -1;
    for (r->key = 0; r->key < QJ_KEYS; r->key++)
        if (length[r->key] < 0)
            return qj_fail(r, QJ_MISSING_KEY, start);
    for (r->key = QJ_COL; r->key < QJ_KEYS; r->key++) {
        r->a = length[r->key];
        r->b = length[QJ_ROW];
        if (r->a != r->b)
            return qj_fail(r, QJ_LENGTHS, start);
    }
    m->count = length[QJ_ROW];
    if (m->count > r->cells_left) {
        r->key = -1;
        r->b = r->max_cells;
        return qj_fail(r, QJ_MANY_CELLS, start);
    }
    r->cells_left -= m->count;
    for (r->key = QJ_ROW; r->key <= QJ_COL; r->key++) {
        const int64_t *index = r->key == QJ_ROW ? m->row : m->col;
        for (int64_t k = 0; k < m->count; k++) {
            if (index[k] >= 0 && index[k] < m->n)
                continue;
            r->col = k;
            r->a = index[k];
            r->b = m->n;
            return qj_fail(r, QJ_RANGE, NULL);
        }
    }
    r->key = -1;
    return 0;
}

static inline void qj_open(qj_reader *r, const char *text, size_t length, qj_slow slow, int64_t max_n, int64_t max_cells,
                           const unsigned char *cancel, int wide)
{
    memset(r, 0, sizeof *r);
    r->p = text;
    r->end = text + length;
    r->slow = slow;
    r->cancel = cancel;
    r->wide = wide && qw_offered();
    r->max_n = max_n;
    r->cells_left = r->max_cells = max_cells;
    r->first = 1;
    r->key = -1;
    r->row = r->col = -1;
}

/* After the list: 0 when nothing follows */
static inline int qj_outside(qj_reader *r)
{
    qj_space(r);
    if (r->p == r->end)
        return 0;
    r->matrices = -1;
    return qj_fail(r, QJ_SYNTAX, r->p);
}

/* The next matrix: 1, or 0 at the end of the list, or -1 with the error set. The caller frees m in any case. */
static inline int qj_next(qj_reader *r, qj_matrix *m)
{
    memset(m, 0, sizeof *m);
    r->key = -1;
    r->row = r->col = -1;
    if (r->first) {
        r->first = 0;
        r->matrices = -1;
        if (!qj_take(r, '['))
            return qj_fail(r, QJ_NOT_LIST, r->p);
        if (qj_take(r, ']'))
            return qj_outside(r);
    } else {
        int more = qj_next_or_close(r, ']');
        if (more == 0)
            return qj_outside(r);
        if (more < 0) {
            r->matrices = -1;
            return -1;
        }
    }
    r->matrices++;
    qj_space(r);
    if (qj_take(r, '['))
        return qj_dense(r, m) < 0 ? -1 : 1;
    if (qj_take(r, '{'))
        return qj_sparse(r, m) < 0 ? -1 : 1;
    return qj_fail(r, QJ_NOT_MATRIX, r->p);
}
#endif

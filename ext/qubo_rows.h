/* Four rows of plain integers at a time: [12,-3,0] with neither blanks nor fractions, the form that encoders write.
 *
 * Where a number ends is known only when it has been looked at, so that one row is a chain of waits. Four rows have four
 * chains, which a core walks side by side. A row that holds anything else is left to the reader of all JSON.
 */
#ifndef QFAST_QUBO_ROWS_H
#define QFAST_QUBO_ROWS_H
#include <stdint.h>
#include <string.h>

#define QR_WAYS 4
#define QR_CHUNK 32          /* cells between two looks at the text's end */
#define QR_CELL 9            /* characters that a cell advances at most: sign, seven digits, comma */
#define QR_REACH (QR_CHUNK * QR_CELL + 8)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* The integer at *p and what follows it; *bad becomes nonzero where that is no integer of up to seven digits. */
static inline int32_t qr_cell(const char **p, uint64_t *bits, uint64_t *bad, uint64_t *after)
{
    uint64_t v;
    memcpy(&v, *p, 8);
    uint64_t minus = (v & 0xff) == '-';
    v >>= 8 * minus;
    uint64_t t = v ^ 0x3030303030303030ull; /* digits are 0..9 now; adding 0x76 lifts all else to the top bit */
    uint64_t other = ((t + 0x7676767676767676ull) | t) & 0x8080808080808080ull;
    unsigned length = (unsigned)__builtin_ctzll(other | (1ull << 63)) - 7; /* in bits */
    *after = v >> length & 0xff;
    *bad |= (length == 0) | (((v & 0xff) == '0') & (length > 8));
    t = t << (56 - length) << 8; /* behind so many zeros that there are eight digits */
    t = t * 2561 >> 8;           /* pairs: 10 a + b */
    t = (t & 0x00ff00ff00ff00ffull) * 6553601 >> 16;
    t = (t & 0x0000ffff0000ffffull) * 42949672960001ull >> 32;
    *bits |= t;
    *p += minus + length / 8 + 1;
    return (int32_t)((t ^ -minus) + minus);
}

/* Reads QR_WAYS rows; rows[k] is behind the opening bracket of row k and then behind its closing one.
 * OUT out [QR_WAYS][n]; bits: of all absolute values or'ed. Tells whether the rows are of this form and n cells long. */
static inline int qr_read(const char *rows[QR_WAYS], const char *end, int64_t n, int32_t *out, uint64_t *bits)
{
    uint64_t bad = 0, after, all = 0;
    const char *p0 = rows[0], *p1 = rows[1], *p2 = rows[2], *p3 = rows[3]; /* in registers, which an array is not */
    for (int64_t k = 0; k < n;) {
        int64_t to = k + QR_CHUNK < n - 1 ? k + QR_CHUNK : n - 1;
        if (end - p0 < QR_REACH || end - p1 < QR_REACH || end - p2 < QR_REACH || end - p3 < QR_REACH)
            return 0;
        uint64_t stop = k < n - 1 ? ',' : ']';
        for (to = k < n - 1 ? to : n; k < to; k++) {
            out[k] = qr_cell(&p0, &all, &bad, &after);
            bad |= after ^ stop;
            out[n + k] = qr_cell(&p1, &all, &bad, &after);
            bad |= after ^ stop;
            out[2 * n + k] = qr_cell(&p2, &all, &bad, &after);
            bad |= after ^ stop;
            out[3 * n + k] = qr_cell(&p3, &all, &bad, &after);
            bad |= after ^ stop;
        }
        if (bad)
            return 0;
    }
    rows[0] = p0, rows[1] = p1, rows[2] = p2, rows[3] = p3;
    *bits = all;
    return 1;
}
#else
static inline int qr_read(const char *rows[QR_WAYS], const char *end, int64_t n, int32_t *out, uint64_t *bits)
{
    (void)rows, (void)end, (void)n, (void)out, (void)bits;
    return 0;
}
#endif

/* Where the next QR_WAYS rows begin, behind their brackets. IN p: at the first one's bracket. Tells whether there are so many. */
static inline int qr_find(const char *p, const char *end, const char *rows[QR_WAYS])
{
    for (int way = 0; way < QR_WAYS; way++) {
        if (p >= end || *p != '[')
            return 0;
        rows[way] = ++p;
        p = (const char *)memchr(p, ']', (size_t)(end - p));
        if (!p || end - p < 2 || (way < QR_WAYS - 1 && p[1] != ','))
            return 0;
        p += 2;
    }
    return 1;
}
#endif

/* JSON numbers to float64, correctly rounded, without locale and without Python.
 *
 * A number is m * 10^e with an integer m of up to 19 digits. For |e| <= 27 the power 5^|e| fits 64 bits, so one 128-bit
 * product or quotient gives at least 64 correct bits and, by its remainder, whether anything follows them: rounding to 53
 * bits is then exact. What is left (20 digits and more, extreme exponents) goes to the caller's slow path.
 */
#ifndef QFAST_QUBO_NUMBER_H
#define QFAST_QUBO_NUMBER_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#define QN_MAX_EXP5 27
#define QN_MAX_CHARS 1000 /* longer numbers are refused; 767 digits decide any rounding */

enum qn_kind {
    QN_BAD = 0,   /* not a JSON number */
    QN_INT = 1,   /* no fraction and no exponent; the value is exact while |v| <= 2^53 */
    QN_FLOAT = 2,
    QN_SLOW = 3,  /* well formed, but needs the slow path */
    QN_LONG = 4   /* more than QN_MAX_CHARS characters */
};

typedef struct {
    const char *end; /* one past the number */
    double value;
    int kind;
    int decimals; /* digits after the point that the value needs; negative when it ends in zeros by its exponent */
    int huge;     /* an integer beyond 2^53 */
} qn_number;

static const uint64_t QN_POW5[QN_MAX_EXP5 + 1] = {
    1ull, 5ull, 25ull, 125ull, 625ull, 3125ull, 15625ull, 78125ull, 390625ull, 1953125ull, 9765625ull, 48828125ull,
    244140625ull, 1220703125ull, 6103515625ull, 30517578125ull, 152587890625ull, 762939453125ull, 3814697265625ull,
    19073486328125ull, 95367431640625ull, 476837158203125ull, 2384185791015625ull, 11920928955078125ull,
    59604644775390625ull, 298023223876953125ull, 1490116119384765625ull, 7450580596923828125ull};

/* bits * 2^exp, to nearest even; the value is in the normal range here (1e-27 <= it < 2^128) */
static inline double qn_round(uint64_t bits, int exp, int sticky)
{
    int lead = __builtin_clzll(bits);
    bits <<= lead;
    uint64_t tail = bits & 0x7ff, kept = bits >> 11;
    /* without a branch, as it would be a guess; a carry to 2^53 is a power of two and stays exact */
    kept += (tail > 0x400) | ((tail == 0x400) & ((uint64_t)(sticky != 0) | (kept & 1)));
    /* kept * 2^(exp - lead + 11): both factors are exact and so is the product */
    uint64_t scale = (uint64_t)(exp - lead + 11 + 1023) << 52;
    double factor;
    memcpy(&factor, &scale, sizeof factor);
    return (double)(int64_t)kept * factor; /* a signed conversion is one instruction */
}

static inline double qn_scale(uint64_t m, int e)
{
    if (m == 0)
        return 0.0;
    if (e == 0 && m <= (1ull << 53))
        return (double)m;
    int lead = __builtin_clzll(m);
    if (e >= 0) {
        unsigned __int128 product = (unsigned __int128)m * QN_POW5[e];
        uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
        if (high == 0)
            return qn_round(low, e, 0);
        int shift = __builtin_clzll(high);
        uint64_t top = (uint64_t)((product << shift) >> 64);
        return qn_round(top, e + 64 - shift, (uint64_t)(product << shift) != 0);
    }
    /* numerator in [2^126, 2^127), divisor in [2^63, 2^64): the quotient is in (2^62, 2^64) */
    int lead5 = __builtin_clzll(QN_POW5[-e]);
    uint64_t divisor = QN_POW5[-e] << lead5;
    unsigned __int128 numerator = (unsigned __int128)(m << lead) << 63;
    uint64_t quotient, rest;
#ifdef __x86_64__
    /* one instruction, as the quotient fits; the compiler would call a function for the general case */
    __asm__("divq %4" : "=a"(quotient), "=d"(rest) : "a"((uint64_t)numerator), "d"((uint64_t)(numerator >> 64)), "r"(divisor) : "cc");
#else
    quotient = (uint64_t)(numerator / divisor);
    rest = (uint64_t)(numerator - (unsigned __int128)quotient * divisor);
#endif
    return qn_round(quotient, lead5 - lead - 63 + e, rest != 0);
}

static inline int qn_is_digit(char c) { return (unsigned char)(c - '0') < 10; }

/* The value of eight ASCII digits at once, or -1 when they are not all digits. Little-endian arithmetic on bytes. */
static inline int64_t qn_eight(const char *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t v;
    memcpy(&v, p, 8);
    if (((v & 0xf0f0f0f0f0f0f0f0ull) | (((v + 0x0606060606060606ull) & 0xf0f0f0f0f0f0f0f0ull) >> 4)) != 0x3333333333333333ull)
        return -1;
    v = (v & 0x0f0f0f0f0f0f0f0full) * 2561 >> 8;
    v = (v & 0x00ff00ff00ff00ffull) * 6553601 >> 16;
    return (int64_t)((v & 0x0000ffff0000ffffull) * 42949672960001ull >> 32);
#else
    int64_t v = 0;
    for (int k = 0; k < 8; k++) {
        if (!qn_is_digit(p[k]))
            return -1;
        v = v * 10 + (p[k] - '0');
    }
    return v;
#endif
}

/* Reads the number at p; never reads at or beyond end. */
static inline qn_number qn_read(const char *p, const char *end)
{
    qn_number out = {p, 0.0, QN_BAD, 0, 0};
    const char *start = p;
    int negative = p < end && *p == '-';
    p += negative;
    if (p >= end || !qn_is_digit(*p))
        return out;
    uint64_t m = 0;
    const char *digits = p;
    if (*p == '0') {
        p++;
        if (p < end && qn_is_digit(*p))
            return out;
    } else {
        while (p < end && qn_is_digit(*p))
            m = m * 10 + (uint64_t)(*p++ - '0'); /* may wrap: the count of digits below tells */
    }
    int64_t count = p - digits;
    int slow = count > 19;
    if (p == end || (*p != '.' && (*p | 32) != 'e')) {
        out.end = p;
        out.kind = p - start > QN_MAX_CHARS ? QN_LONG : QN_INT;
        out.huge = slow || m > (1ull << 53);
        out.value = negative ? -(double)m : (double)m;
        return out;
    }
    int64_t decimals = 0, trailing = 0, exponent = 0;
    if (*p == '.') {
        const char *fraction = ++p;
        if (p >= end || !qn_is_digit(*p))
            return out;
        int64_t eight;
        while (end - p >= 8 && (eight = qn_eight(p)) >= 0) {
            m = m * 100000000u + (uint64_t)eight;
            p += 8;
        }
        while (p < end && qn_is_digit(*p))
            m = m * 10 + (uint64_t)(*p++ - '0');
        decimals = p - fraction;
        const char *last = p;
        while (last > fraction && last[-1] == '0')
            last--;
        trailing = p - last;
        /* leading zeros of 0.00012 are no digits of m */
        const char *first = digits;
        while (first < p && (*first == '0' || *first == '.'))
            first++;
        slow = first < p && (p - first) - (first < fraction ? 1 : 0) > 19;
    }
    if (p < end && (*p | 32) == 'e') {
        int minus = 0;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            minus = *p++ == '-';
        if (p >= end || !qn_is_digit(*p))
            return out;
        for (; p < end && qn_is_digit(*p); p++)
            if (exponent < 1000000)
                exponent = exponent * 10 + (*p - '0');
        if (minus)
            exponent = -exponent;
    }
    out.end = p;
    if (p - start > QN_MAX_CHARS) {
        out.kind = QN_LONG;
        return out;
    }
    int64_t e = exponent - decimals;
    out.decimals = (int)(decimals - trailing - exponent);
    if (!slow && m == 0) {
        out.kind = QN_FLOAT;
        out.decimals = 0;
        out.value = negative ? -0.0 : 0.0;
        return out;
    }
    if (slow || e < -QN_MAX_EXP5 || e > QN_MAX_EXP5) {
        out.kind = QN_SLOW;
        return out;
    }
    out.kind = QN_FLOAT;
    double value = qn_scale(m, (int)e);
    out.value = negative ? -value : value;
    return out;
}
static const uint64_t QN_POW10[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

/* The leading digits among eight characters: how many, and their value; no branch depends on how many. */
static inline int qn_chunk(const char *p, uint64_t *value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t v;
    memcpy(&v, p, 8);
    uint64_t other = ((v & 0xf0f0f0f0f0f0f0f0ull) ^ 0x3030303030303030ull) | (((v + 0x0606060606060606ull) & 0xf0f0f0f0f0f0f0f0ull) ^ 0x3030303030303030ull);
    int count = other ? __builtin_ctzll(other) >> 3 : 8;
    /* behind so many zeros that there are eight digits; shifted twice, as a shift by 64 is undefined */
    v = ((v & 0x0f0f0f0f0f0f0f0full) << (32 - 4 * count)) << (32 - 4 * count);
    v = v * 2561 >> 8; /* pairs: 10 a + b */
    v = (v & 0x00ff00ff00ff00ffull) * 6553601 >> 16;
    *value = (v & 0x0000ffff0000ffffull) * 42949672960001ull >> 32;
    return count;
#else
    int count = 0;
    for (*value = 0; count < 8 && qn_is_digit(p[count]); count++)
        *value = *value * 10 + (uint64_t)(p[count] - '0');
    return count;
#endif
}

#define QN_FAST_CHARS 48

/* The common case, inline: [-]digits[.digits] of up to 19 digits, followed by anything but a digit, a point or an exponent,
 * and no zero at the fraction's end. Gives the end, or NULL when qn_read has to look. IN p: QN_FAST_CHARS readable bytes */
static inline const char *qn_fast(const char *p, double *value, int *decimals)
{
    uint64_t m = 0;
    int negative = *p == '-';
    p += negative;
    const char *digits = p;
    while (qn_is_digit(*p) && p - digits < 16)
        m = m * 10 + (uint64_t)(*p++ - '0');
    int64_t whole = p - digits, fraction = 0;
    if (whole == 0 || whole > 15 || (*digits == '0' && whole > 1))
        return NULL;
    if (*p == '.') {
        const char *point = ++p;
        int64_t eight;
        uint64_t tail;
        /* a predicted branch lets the next load start at p + 8 at once; only the last chunk's length has to be waited for */
        while (p - point < 16 && (eight = qn_eight(p)) >= 0) {
            m = m * 100000000u + (uint64_t)eight;
            p += 8;
        }
        int count = qn_chunk(p, &tail);
        m = m * QN_POW10[count] + tail;
        p += count;
        fraction = p - point;
        if (fraction + (*digits == '0' ? 0 : whole) > 19)
            return NULL;
        if (fraction == 0 || p[-1] == '0')
            return NULL;
    }
    if (qn_is_digit(*p) || *p == '.' || (*p | 32) == 'e')
        return NULL;
    double size = fraction ? qn_scale(m, -(int)fraction) : (double)m;
    uint64_t bits;
    memcpy(&bits, &size, sizeof bits);
    bits |= (uint64_t)negative << 63;
    memcpy(value, &bits, sizeof bits);
    *decimals = (int)fraction;
    return p;
}
#endif

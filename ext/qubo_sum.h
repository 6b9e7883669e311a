/* Exact sums of float64: a fixed-point number wide enough for every finite double, rounded once at the end.
 *
 * Limb k counts multiples of 2^(32 k - 1074). A term adds less than 2^32 to each of three limbs, so 2^30 terms fit without a
 * carry. (Neal, Fast exact summation using small and large superaccumulators, arXiv:1505.05571, describes the idea.)
 */
#ifndef QFAST_QUBO_SUM_H
#define QFAST_QUBO_SUM_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#define QS_LIMBS 70     /* (2045 + 84) / 32 + 1 = 67, and room for carries */
#define QS_TERMS 0x3fffffff

typedef struct {
    int64_t limb[QS_LIMBS];
    int64_t terms; /* since the last carry */
} qs_sum;

static inline void qs_clear(qs_sum *s) { memset(s, 0, sizeof *s); }

static inline void qs_carry(qs_sum *s)
{
    for (int k = 0; k < QS_LIMBS - 1; k++) {
        int64_t over = s->limb[k] >> 32;
        s->limb[k] -= (int64_t)((uint64_t)over << 32);
        s->limb[k + 1] += over;
    }
    s->terms = 0;
}

/* IN v: finite */
static inline void qs_add(qs_sum *s, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    int exponent = (int)(bits >> 52) & 0x7ff;
    uint64_t m = bits & 0xfffffffffffffull;
    if (exponent)
        m |= 1ull << 52;
    else
        exponent = 1;
    int position = exponent - 1, k = position >> 5;
    unsigned __int128 wide = (unsigned __int128)m << (position & 31);
    int64_t low = (int64_t)(uint32_t)wide, mid = (int64_t)(uint32_t)(wide >> 32), high = (int64_t)(wide >> 64);
    int64_t sign = -(int64_t)(bits >> 63); /* 0 or -1; signs are as good as random, so no branch */
    s->limb[k] += (low ^ sign) - sign;
    s->limb[k + 1] += (mid ^ sign) - sign;
    s->limb[k + 2] += (high ^ sign) - sign;
    if (++s->terms >= QS_TERMS)
        qs_carry(s);
}

/* The sums of two; `other` is left as it is. */
static inline void qs_merge(qs_sum *s, const qs_sum *other)
{
    qs_carry(s);
    for (int k = 0; k < QS_LIMBS; k++)
        s->limb[k] += other->limb[k];
    qs_carry(s);
}

/* The sum, rounded to nearest even; infinite beyond the range. Leaves the sum normalised. */
static inline double qs_value(qs_sum *s)
{
    qs_carry(s);
    qs_sum t = *s;
    int negative = t.limb[QS_LIMBS - 1] < 0;
    if (negative) {
        for (int k = 0; k < QS_LIMBS; k++)
            t.limb[k] = -t.limb[k];
        qs_carry(&t);
    }
    int top = QS_LIMBS - 1;
    while (top >= 0 && t.limb[top] == 0)
        top--;
    if (top < 0)
        return 0.0;
    /* the top three limbs hold at least 65 bits, unless they reach down to 2^-1074 and are exact */
    unsigned __int128 wide = 0;
    int base = top >= 2 ? top - 2 : 0, sticky = 0;
    for (int k = top; k >= base; k--)
        wide = (wide << 32) | (uint64_t)t.limb[k];
    for (int k = 0; k < base; k++)
        sticky |= t.limb[k] != 0;
    int width = 0;
    for (unsigned __int128 rest = wide; rest; rest >>= 1)
        width++;
    int drop = width > 53 ? width - 53 : 0;
    uint64_t kept = (uint64_t)(wide >> drop);
    if (drop) {
        unsigned __int128 tail = wide & (((unsigned __int128)1 << drop) - 1), half = (unsigned __int128)1 << (drop - 1);
        if (tail > half || (tail == half && (sticky || (kept & 1))))
            kept++;
    }
    double value = ldexp((double)kept, 32 * base - 1074 + drop);
    return negative ? -value : value;
}
#endif

/* The fast half of the strict JSON scanner: long arrays of numbers without blanks, 64 characters at a time.
 *
 * Each character class becomes a bit mask, and what may stand beside what is a matter of shifts: a comma, a point or an e follows
 * a digit; a minus a comma or an e; a plus an e. A run of digits behind a point does not end in a point, one behind an
 * exponent ends in a comma; additions carry a bit through a run to its end. (The technique is that of Langdale, Lemire,
 * "Parsing gigabytes of JSON per second", VLDB Journal 28, 2019, arXiv:1902.08318.) What is refused here, and every end of an array, is
 * left to the scanner that goes character by character and knows what is wrong.
 */
#ifndef QFAST_JSON_NUMBERS_H
#define QFAST_JSON_NUMBERS_H
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>

typedef struct {
    uint64_t digit, zero, comma, minus, plus, point, e;
} jn_masks;

static inline uint64_t jn_equal(const __m128i v[4], char c)
{
    __m128i wanted = _mm_set1_epi8(c);
    uint64_t mask = 0;
    for (int k = 0; k < 4; k++)
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v[k], wanted)) << (16 * k);
    return mask;
}

/* Classes of 64 characters; tells whether there are no others. */
static inline int jn_classes(const unsigned char *p, jn_masks *m)
{
    __m128i v[4], lower[4];
    m->digit = 0;
    for (int k = 0; k < 4; k++) {
        v[k] = _mm_loadu_si128((const __m128i *)(p + 16 * k));
        lower[k] = _mm_or_si128(v[k], _mm_set1_epi8(32));
        __m128i over = _mm_subs_epu8(_mm_sub_epi8(v[k], _mm_set1_epi8('0')), _mm_set1_epi8(9));
        m->digit |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(over, _mm_setzero_si128())) << (16 * k);
    }
    m->comma = jn_equal(v, ',');
    m->minus = jn_equal(v, '-');
    m->zero = jn_equal(v, '0');
    uint64_t known = m->digit | m->comma | m->minus;
    m->plus = m->point = m->e = 0;
    if (~known) {
        m->point = jn_equal(v, '.');
        m->e = jn_equal(lower, 'e');
        m->plus = jn_equal(v, '+');
    }
    return !~(known | m->point | m->e | m->plus);
}

typedef struct {
    uint64_t comma, digit, e, first, zero, fraction, exponent; /* bit 0: of the character before this block, or a run that goes on */
} jn_carry;

/* One bit up, the top one into the carry */
static inline uint64_t jn_next(uint64_t mask, uint64_t *carry)
{
    uint64_t shifted = mask << 1 | *carry;
    *carry = mask >> 63;
    return shifted;
}

/* The ends of the digit runs that begin at `start`, the first position behind each */
static inline uint64_t jn_ends(uint64_t digit, uint64_t start, uint64_t *carry)
{
    unsigned long long sum, more;
    int over = __builtin_uaddll_overflow(digit, start & digit, &sum);
    over |= __builtin_uaddll_overflow(sum, *carry & digit, &more);
    uint64_t ends = (more | (start & ~digit) | (*carry & ~digit)) & ~digit;
    *carry = (uint64_t)over;
    return ends;
}

/* Reads on from p, behind the bracket or a comma of an array, and gives the place behind the last comma before which all is
 * well; p itself when there is none. */
static inline const unsigned char *jn_skip(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *good = p;
    jn_carry c = {1, 0, 0, 0, 0, 0, 0};
    jn_masks m;
    for (; end - p >= 64 && jn_classes(p, &m); p += 64) {
        uint64_t after_comma = jn_next(m.comma, &c.comma), after_digit = jn_next(m.digit, &c.digit), after_e = jn_next(m.e, &c.e);
        uint64_t first = after_comma | jn_next(m.minus & after_comma, &c.first);
        uint64_t wrong = (m.comma | m.point | m.e) & ~after_digit;
        wrong |= m.minus & ~(after_comma | after_e);
        wrong |= m.plus & ~after_e;
        wrong |= jn_next(m.zero & first, &c.zero) & m.digit;
        if (m.point | m.e | c.fraction | c.exponent) {
            uint64_t points = m.point << 1, powers = m.e << 1; /* runs begin behind these */
            uint64_t signs = (m.minus | m.plus) & after_e;
            wrong |= jn_ends(m.digit, points, &c.fraction) & m.point;
            wrong |= jn_ends(m.digit, (powers & ~(m.minus | m.plus)) | signs << 1, &c.exponent) & (m.point | m.e);
            c.fraction |= m.point >> 63;
            c.exponent |= (m.e | signs) >> 63;
        }
        if (wrong)
            break;
        if (m.comma)
            good = p + 64 - __builtin_clzll(m.comma);
    }
    return good;
}
#else
static inline const unsigned char *jn_skip(const unsigned char *p, const unsigned char *end)
{
    (void)end;
    return p;
}
#endif
#endif

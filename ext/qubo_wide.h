/* Rows of plain integers by AVX2: [12,-3,0] or [12, -3, 0], the two forms that encoders write.
 *
 * First the ends of all numbers of a row are found, 64 characters at a time, then eight numbers at once are converted, each from
 * the eight characters before its end. As no number has to be read to know where the next one is, nothing waits for anything.
 * (The first pass is that of Langdale, Lemire, "Parsing gigabytes of JSON per second", VLDB Journal 28, 2019, arXiv:1902.08318;
 * pairs of digits by multiply-add: Muła, "SIMD-ized faster parse of IPv4 addresses" and others.) A row that holds anything
 * else is left to the readers of qubo_rows.h and qubo_json.h, which also know what is wrong.
 */
#ifndef QFAST_QUBO_WIDE_H
#define QFAST_QUBO_WIDE_H
#include <stdint.h>
#include <string.h>

#define QW_LEAST 64  /* cells of a row; eight characters before any number's end can then be read */
#define QW_SLACK 80  /* entries behind the last end that may be written */

#ifdef __x86_64__
#include <immintrin.h>

static inline int qw_offered(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"); }

/* Where numbers end, as offsets from p: ends[1..n], the last one at the closing bracket; ends[0] is what comes before the first
 * number. IN p: behind the opening bracket; gap: characters between a comma and its number, 0 or 1, which must be a blank.
 * Tells whether there are n numbers. */
__attribute__((target("avx2,bmi"))) static inline int qw_ends(const char *p, const char *end, int64_t n, int gap, int32_t *ends)
{
    const __m256i comma = _mm256_set1_epi8(','), close = _mm256_set1_epi8(']'), blank = _mm256_set1_epi8(' ');
    uint64_t carry = 0;
    int64_t found = 0;
    ends[0] = -1 - gap;
    for (int32_t offset = 0;; offset += 64) {
        if (end - p < (int64_t)offset + 64 || offset > (1 << 30))
            return 0;
        __m256i low = _mm256_loadu_si256((const __m256i *)(p + offset)), high = _mm256_loadu_si256((const __m256i *)(p + offset + 32));
#define QW_MASK(c) ((uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, c)) | (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, c)) << 32)
        uint64_t commas = QW_MASK(comma), closes = QW_MASK(close), row = closes ? closes ^ (closes - 1) : ~0ull;
        commas &= row;
        if (gap && ((QW_MASK(blank) & row) != ((commas << 1 | carry) & row)))
            return 0;
#undef QW_MASK
        carry = commas >> 63;
        uint64_t stops = commas | (closes & row);
        int64_t count = __builtin_popcountll(stops);
        if (found + count > n)
            return 0;
        for (int64_t k = 0; k < count; k += 8)
            for (int one = 0; one < 8; one++) { /* of those beyond the last, whatever a count of 64 gives */
                ends[found + k + one + 1] = offset + (int32_t)_tzcnt_u64(stops);
                stops &= stops - 1;
            }
        found += count;
        if (closes)
            return found == n;
    }
}

/* Four of the eight numbers, one in each 64-bit lane with its last digit in the top byte, and their lengths. What is no integer of
 * one to eight digits sets the top bit of a byte of *bad. OUT minus: all bits of a lane. Gives two groups of four digits a lane */
__attribute__((target("avx2,bmi"))) static inline __m256i qw_four(__m256i text, __m256i length, __m256i *minus, __m256i *bad)
{
    const __m256i byte = _mm256_set1_epi64x(0xff), eight = _mm256_set1_epi64x(8);
    __m256i shift = _mm256_sub_epi64(_mm256_set1_epi64x(64), _mm256_slli_epi64(length, 3));
    *minus = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_srlv_epi64(text, shift), byte), _mm256_set1_epi64x('-'));
    shift = _mm256_add_epi64(shift, _mm256_and_si256(*minus, eight));
    __m256i digits = _mm256_srlv_epi64(_mm256_xor_si256(text, _mm256_set1_epi8('0')), shift);
    __m256i zero = _mm256_cmpeq_epi64(_mm256_and_si256(digits, byte), _mm256_setzero_si256()); /* the first one */
    __m256i longer = _mm256_cmpgt_epi64(_mm256_set1_epi64x(56), shift), none = _mm256_cmpgt_epi64(shift, _mm256_set1_epi64x(63));
    digits = _mm256_sllv_epi64(digits, shift);
    __m256i over = _mm256_or_si256(_mm256_add_epi8(digits, _mm256_set1_epi8(0x76)), digits);
    *bad = _mm256_or_si256(*bad, _mm256_or_si256(over, _mm256_or_si256(_mm256_and_si256(zero, longer), none)));
    return _mm256_madd_epi16(_mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a)), _mm256_set1_epi32(0x00010064));
}

__attribute__((target("avx2,bmi"))) static inline __m256i qw_texts(const char *p, const int32_t *end, int a, int b, int c, int d)
{
    __m128i low = _mm_loadl_epi64((const __m128i *)(p + end[a] - 8)), high = _mm_loadl_epi64((const __m128i *)(p + end[c] - 8));
    low = _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(low), (const double *)(const void *)(p + end[b] - 8)));
    high = _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(high), (const double *)(const void *)(p + end[d] - 8)));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Reads a row. IN p: behind its opening bracket; ends [n + 1 + QW_SLACK]: scratch. OUT out [n]; bits: of all absolute values or'ed;
 * sum: of them. Gives what is behind the closing bracket, or NULL where the row is not of this form or not n cells long. */
__attribute__((target("avx2,bmi"))) static inline const char *qw_row(const char *p, const char *end, int64_t n, int gap, int32_t *ends,
                                                                    int32_t *out, uint64_t *bits, int64_t *sum)
{
    if (!qw_ends(p, end, n, gap, ends))
        return NULL;
    const __m256i none = _mm256_setzero_si256();
    __m256i bad = none, all = none, low = none, high = none, least = _mm256_set1_epi32(1), most = _mm256_set1_epi32(8);
    for (int64_t k = 0, next; k < n; k = next) {
        next = k + 8;
        int64_t at = next <= n ? k : n - 8; /* the last eight may overlap those before; sums take these cells once */
        __m256i length = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)(ends + at + 1)), _mm256_loadu_si256((const __m256i *)(ends + at)));
        length = _mm256_sub_epi32(length, _mm256_set1_epi32(1 + gap));
        least = _mm256_min_epi32(least, length);
        most = _mm256_max_epi32(most, length);
        __m256i minus_a, minus_b; /* numbers 0, 1, 4, 5 and 2, 3, 6, 7: the order in which lanes are packed */
        __m256i a = qw_four(qw_texts(p, ends + at + 1, 0, 1, 4, 5), _mm256_unpacklo_epi32(length, none), &minus_a, &bad);
        __m256i b = qw_four(qw_texts(p, ends + at + 1, 2, 3, 6, 7), _mm256_unpackhi_epi32(length, none), &minus_b, &bad);
        __m256i size = _mm256_madd_epi16(_mm256_packus_epi32(a, b), _mm256_set1_epi32(0x00012710)); /* 10,000 and 1 */
        __m256i minus = _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(minus_a), _mm256_castsi256_ps(minus_b), 0x88));
        _mm256_storeu_si256((__m256i *)(out + at), _mm256_sub_epi32(_mm256_xor_si256(size, minus), minus));
        all = _mm256_or_si256(all, size);
        if (at < k) /* lanes that were there before */
            size = _mm256_and_si256(size, _mm256_cmpgt_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)(k - at) - 1)));
        low = _mm256_add_epi64(low, _mm256_unpacklo_epi32(size, none));
        high = _mm256_add_epi64(high, _mm256_unpackhi_epi32(size, none));
    }
    uint32_t one[8] __attribute__((aligned(32)));
    uint64_t two[4] __attribute__((aligned(32)));
    _mm256_store_si256((__m256i *)one, all);
    _mm256_store_si256((__m256i *)two, _mm256_add_epi64(low, high));
    for (int k = 0; k < 8; k++)
        *bits |= one[k];
    *sum += (int64_t)(two[0] + two[1] + two[2] + two[3]);
    __m256i fits = _mm256_and_si256(_mm256_cmpeq_epi32(least, _mm256_set1_epi32(1)), _mm256_cmpeq_epi32(most, _mm256_set1_epi32(8)));
    return _mm256_movemask_epi8(fits) != -1 || _mm256_movemask_epi8(bad) ? NULL : p + ends[n] + 1;
}
#else
static inline int qw_offered(void) { return 0; }

static inline const char *qw_row(const char *p, const char *end, int64_t n, int gap, int32_t *ends, int32_t *out, uint64_t *bits,
                                 int64_t *sum)
{
    (void)p, (void)end, (void)n, (void)gap, (void)ends, (void)out, (void)bits, (void)sum;
    return NULL;
}
#endif
#endif

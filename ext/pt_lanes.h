/* The sweeps of parallel tempering, 32 replicas at a time; included once per SIMD level with
 *   PT_FN(name)   the level's name for a function      PT_TARGET  its function attribute
 *   PT_VB         bytes of a vector                     PT_MULHI16(a, b), PT_ANY(v)  on vectors of int16
 *
 * A site of 32 replicas is one cache line (int16) or two (int32). Its word holds twice the local field plus the variable:
 * w = 2 F + x with F_i = q_ii + sum_k q_ik x_k. The cost of a flip is g = (1 - 2x) F, and w gives it without another load:
 * with m = -(w & 1), (w ^ m) - m is 2g for x = 0 and 2g - 1 for x = 1, which is at most an even number 2t exactly when g <= t.
 *
 * Metropolis: accept when g <= -T ln u. -ln u comes from a table of pre-drawn values (row per site, column per replica),
 * walked with a random odd stride and start in each sweep and redrawn steadily by the caller.
 */
typedef int16_t PT_FN(i16) __attribute__((vector_size(PT_VB), may_alias));
typedef int32_t PT_FN(i32) __attribute__((vector_size(PT_VB), may_alias));
typedef float PT_FN(f32) __attribute__((vector_size(PT_VB), may_alias));

/* IN edge: site and twice the coupling; table: [rows][32] -ln u in units of 2^-11; temperature: [32] in units of 2^-(shift + 5)
 * OUT change: [32] energy, added up. field: [n][32], changed in place */
PT_TARGET static void PT_FN(sweep16)(const pt_graph *graph, void *field, int64_t from, int64_t to, const void *table, uint32_t at,
                                     uint32_t stride, const void *temperature, int shift, int64_t *change)
{
    enum { PARTS = 64 / PT_VB };
    typedef PT_FN(i16) i16;
    typedef PT_FN(i32) i32;
    const int64_t *start = graph->start;
    const pt_edge *edge = graph->edge;
    i16 *restrict words = (i16 *)field;
    const i16 *rows = (const i16 *)table, *t = (const i16 *)temperature;
    i32 even[PARTS], odd[PARTS];
    for (int k = 0; k < PARTS; k++)
        even[k] = odd[k] = (i32){0};
    for (int64_t i = from; i < to; i++, at += stride) {
        i16 *restrict word = words + i * PARTS;
        const i16 *e = rows + (at & (PT_TABLE_ROWS - 1)) * PARTS;
        i16 accepted[PARTS], any = (i16){0};
        for (int k = 0; k < PARTS; k++) {
            i16 x = -(word[k] & 1), limit = PT_MULHI16(e[k], t[k]) >> shift;
            accepted[k] = (i16)(((word[k] ^ x) - x) <= limit + limit);
            any |= accepted[k];
        }
        if (!PT_ANY(any))
            continue;
        i16 step[PARTS];
        for (int k = 0; k < PARTS; k++) {
            i16 x = -(word[k] & 1), g = ((((word[k] ^ x) - x) - x) >> 1) & accepted[k];
            even[k] += (i32)((i32)g << 16) >> 16;
            odd[k] += (i32)g >> 16;
            step[k] = (x + x + 1) & accepted[k];
            word[k] ^= accepted[k] & 1;
        }
        for (int64_t p = start[i], end = start[i + 1]; p < end; p++) {
            i16 *restrict other = words + (int64_t)edge[p].site * PARTS;
            int16_t w = (int16_t)edge[p].weight2;
            for (int k = 0; k < PARTS; k++)
                other[k] += step[k] * w;
        }
    }
    for (int k = 0; k < PARTS; k++)
        for (int lane = 0; lane < PT_VB / 4; lane++) {
            change[k * (PT_VB / 2) + 2 * lane] += even[k][lane];
            change[k * (PT_VB / 2) + 2 * lane + 1] += odd[k][lane];
        }
}

/* The same with int32 fields. table: [rows][32] float -ln u; temperature: [32] float. The product stays below 2^29. */
PT_TARGET static void PT_FN(sweep32)(const pt_graph *graph, void *field, int64_t from, int64_t to, const void *table, uint32_t at,
                                     uint32_t stride, const void *temperature, int shift, int64_t *change)
{
    enum { PARTS = 128 / PT_VB };
    typedef PT_FN(i16) i16;
    typedef PT_FN(i32) i32;
    typedef PT_FN(f32) f32;
    const int64_t *start = graph->start;
    const pt_edge *edge = graph->edge;
    i32 *restrict words = (i32 *)field;
    const f32 *rows = (const f32 *)table, *t = (const f32 *)temperature;
    (void)shift;
    /* |g| < 2^30 and n < 2^15: halves of 16 bits add up without overflow */
    i32 low[PARTS], high[PARTS];
    for (int k = 0; k < PARTS; k++)
        low[k] = high[k] = (i32){0};
    for (int64_t i = from; i < to; i++, at += stride) {
        i32 *restrict word = words + i * PARTS;
        const f32 *e = rows + (at & (PT_TABLE_ROWS - 1)) * PARTS;
        i32 accepted[PARTS], any = (i32){0};
        for (int k = 0; k < PARTS; k++) {
            i32 x = -(word[k] & 1), limit = __builtin_convertvector(e[k] * t[k], i32);
            accepted[k] = (i32)(((word[k] ^ x) - x) <= limit + limit);
            any |= accepted[k];
        }
        if (!PT_ANY((i16)any))
            continue;
        i32 step[PARTS];
        for (int k = 0; k < PARTS; k++) {
            i32 x = -(word[k] & 1), g = ((((word[k] ^ x) - x) - x) >> 1) & accepted[k];
            low[k] += g & 0xffff;
            high[k] += g >> 16;
            step[k] = (x + x + 1) & accepted[k];
            word[k] ^= accepted[k] & 1;
        }
        for (int64_t p = start[i], end = start[i + 1]; p < end; p++) {
            i32 *restrict other = words + (int64_t)edge[p].site * PARTS;
            int32_t w = edge[p].weight2;
            for (int k = 0; k < PARTS; k++)
                other[k] += step[k] * w;
        }
    }
    for (int k = 0; k < PARTS; k++)
        for (int lane = 0; lane < PT_VB / 4; lane++)
            change[k * (PT_VB / 4) + lane] += (int64_t)high[k][lane] * 65536 + low[k][lane];
}

/* One node of the enumeration tree: out = from + add + shift, and the least of them.
 * count is a multiple of 16; the order of additions does not depend on the level. */
PT_TARGET static int32_t PT_FN(add_min_i32)(int32_t *restrict out, const int32_t *restrict from,
                                            const int32_t *restrict add, int32_t shift, int64_t count)
{
    int32_t least = INT32_MAX;
    for (int64_t k = 0; k < count; k++) {
        int32_t v = from[k] + add[k] + shift;
        out[k] = v;
        least = v < least ? v : least;
    }
    return least;
}

PT_TARGET static double PT_FN(add_min_f64)(double *out, const double *from, const double *add, double shift, int64_t count)
{
    typedef double f64 __attribute__((vector_size(PT_VB), may_alias));
    typedef int64_t i64 __attribute__((vector_size(PT_VB), may_alias));
    f64 least = (f64){0} + 1.7976931348623157e308;
    for (int64_t k = 0; k < count; k += PT_VB / 8) {
        f64 v = *(const f64 *)(from + k) + (*(const f64 *)(add + k) + shift);
        *(f64 *)(out + k) = v;
        i64 less = v < least;
        least = (f64)(((i64)v & less) | ((i64)least & ~less));
    }
    double best = least[0];
    for (int lane = 1; lane < PT_VB / 8; lane++)
        best = least[lane] < best ? least[lane] : best;
    return best;
}

/* One flip of tabu search: every flip cost takes the row, and the least costs come out of the same pass.
 *
 * With m = 0 or -1 for x = 0 or 1, s_i s_j q = (q ^ m) - m for m = m_i ^ m_j. Sixteen logical columns keep their own least
 * and where it was first met, at every level, so that ties are broken alike. Blocks are visited cyclically from `first`.
 * IN row: [16 blocks] with row[i] = 0; mask, until: [16 blocks]; a variable is free when until <= now. gain changes in place.
 */
#define PT_TABU_STEP(NAME, LOAD_ROW)                                                                                       \
    PT_TARGET static void PT_FN(NAME)(const void *row, int32_t *restrict gain, const int32_t *restrict mask,               \
                                      const int32_t *restrict until, int32_t now, int32_t mask_i, int64_t blocks,          \
                                      int64_t first, pt_pick *pick)                                                        \
    {                                                                                                                      \
        enum { PARTS = 64 / PT_VB, WIDTH = PT_VB / 4 };                                                                    \
        typedef PT_FN(i32) i32;                                                                                            \
        i32 least[PARTS], where[PARTS], any = (i32){0} + INT32_MAX;                                                        \
        for (int k = 0; k < PARTS; k++) {                                                                                  \
            least[k] = (i32){0} + INT32_MAX;                                                                               \
            where[k] = (i32){0};                                                                                           \
        }                                                                                                                  \
        for (int half = 0; half < 2; half++)                                                                               \
            for (int64_t b = half ? 0 : first; b < (half ? first : blocks); b++)                                           \
                for (int k = 0; k < PARTS; k++) {                                                                          \
                    int64_t at = 16 * b + k * WIDTH;                                                                       \
                    i32 q = LOAD_ROW, m = *(const i32 *)(mask + at) ^ mask_i;                                              \
                    i32 g = *(const i32 *)(gain + at) + ((q ^ m) - m);                                                     \
                    *(i32 *)(gain + at) = g;                                                                               \
                    i32 better = (g < least[k]) & (*(const i32 *)(until + at) <= now), lower = g < any;                    \
                    any = (g & lower) | (any & ~lower);                                                                    \
                    least[k] = (g & better) | (least[k] & ~better);                                                        \
                    where[k] = (((i32){0} + (int32_t)b) & better) | (where[k] & ~better);                                  \
                }                                                                                                          \
        pick->any = INT32_MAX;                                                                                             \
        for (int k = 0; k < PARTS; k++) {                                                                                  \
            *(i32 *)(pick->least + k * WIDTH) = least[k];                                                                  \
            *(i32 *)(pick->where + k * WIDTH) = where[k];                                                                  \
        }                                                                                                                  \
        for (int lane = 0; lane < WIDTH; lane++)                                                                           \
            pick->any = any[lane] < pick->any ? any[lane] : pick->any;                                                     \
    }

typedef int16_t PT_FN(half16) __attribute__((vector_size(PT_VB / 2), may_alias));
PT_TABU_STEP(tabu16, __builtin_convertvector(*(const PT_FN(half16) *)((const int16_t *)row + at), i32))
PT_TABU_STEP(tabu32, *(const i32 *)((const int32_t *)row + at))
#undef PT_TABU_STEP

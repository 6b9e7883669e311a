/* The vector kernels of the QUBO solvers at each SIMD level, and the table to choose from.
 *
 * "scalar" is the compiler's baseline (SSE2 on x86-64). All levels give the same bits: the arithmetic is on integers, or
 * single float operations whose order does not depend on the width.
 */
#ifndef QFAST_PT_SIMD_H
#define QFAST_PT_SIMD_H
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define PT_LANES 32
#define PT_TABLE_ROWS 1024 /* a power of two */

typedef struct {
    int32_t site;
    int32_t weight2; /* twice the coupling */
} pt_edge;

typedef struct {
    int64_t n;
    const int64_t *start; /* [n + 1] */
    const pt_edge *edge;  /* both directions */
} pt_graph;

/* What a pass of tabu search found: the least cost of a free variable in each of 16 columns, the block where it was first
 * met, and the least cost of all variables */
typedef struct {
    int32_t least[16] __attribute__((aligned(64)));
    int32_t where[16] __attribute__((aligned(64)));
    int32_t any;
} pt_pick;

typedef struct {
    const char *name;
    void (*sweep[2])(const pt_graph *, void *, int64_t, int64_t, const void *, uint32_t, uint32_t, const void *, int, int64_t *);
    void (*tabu[2])(const void *, int32_t *, const int32_t *, const int32_t *, int32_t, int32_t, int64_t, int64_t, pt_pick *);
    int32_t (*add_min_i32)(int32_t *, const int32_t *, const int32_t *, int32_t, int64_t);
    double (*add_min_f64)(double *, const double *, const double *, double, int64_t);
} pt_level;

#define PT_JOIN_(a, b) a##_##b
#define PT_JOIN(a, b) PT_JOIN_(a, b)
#define PT_FN(name) PT_JOIN(PT_JOIN(pt, PT_SUFFIX), name)

#define PT_SUFFIX scalar
#define PT_TARGET
#define PT_VB 16
#ifdef __x86_64__
#define PT_MULHI16(a, b) ((pt_scalar_i16)_mm_mulhi_epi16((__m128i)(a), (__m128i)(b)))
#define PT_ANY(v) (_mm_movemask_epi8((__m128i)(v)) != 0)
#else
typedef int16_t pt_plain_i16 __attribute__((vector_size(16)));
typedef uint64_t pt_plain_u64 __attribute__((vector_size(16)));
static inline pt_plain_i16 pt_mulhi16(pt_plain_i16 a, pt_plain_i16 b)
{
    for (int k = 0; k < 8; k++)
        a[k] = (int16_t)(((int32_t)a[k] * b[k]) >> 16);
    return a;
}
static inline int pt_any(pt_plain_u64 v) { return (v[0] | v[1]) != 0; }
#define PT_MULHI16(a, b) ((pt_scalar_i16)pt_mulhi16((pt_plain_i16)(a), (pt_plain_i16)(b)))
#define PT_ANY(v) pt_any((pt_plain_u64)(v))
#endif
#include "pt_lanes.h"
#undef PT_SUFFIX
#undef PT_TARGET
#undef PT_VB
#undef PT_MULHI16
#undef PT_ANY

#ifdef __x86_64__
#define PT_SUFFIX avx2
#define PT_TARGET __attribute__((target("avx2")))
#define PT_VB 32
#define PT_MULHI16(a, b) ((pt_avx2_i16)_mm256_mulhi_epi16((__m256i)(a), (__m256i)(b)))
#define PT_ANY(v) (!_mm256_testz_si256((__m256i)(v), (__m256i)(v)))
#include "pt_lanes.h"
#undef PT_SUFFIX
#undef PT_TARGET
#undef PT_VB
#undef PT_MULHI16
#undef PT_ANY

#define PT_SUFFIX avx512
#define PT_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define PT_VB 64
#define PT_MULHI16(a, b) ((pt_avx512_i16)_mm512_mulhi_epi16((__m512i)(a), (__m512i)(b)))
#define PT_ANY(v) (_mm512_test_epi32_mask((__m512i)(v), (__m512i)(v)) != 0)
#include "pt_lanes.h"
#undef PT_SUFFIX
#undef PT_TARGET
#undef PT_VB
#undef PT_MULHI16
#undef PT_ANY
#endif

#define PT_ROW(level)                                                                                                       \
    {#level, {pt_##level##_sweep16, pt_##level##_sweep32}, {pt_##level##_tabu16, pt_##level##_tabu32},                       \
     pt_##level##_add_min_i32, pt_##level##_add_min_f64}

static const pt_level PT_LEVELS[] = {
    PT_ROW(scalar),
#ifdef __x86_64__
    PT_ROW(avx2),
    PT_ROW(avx512),
#endif
};

/* How many of PT_LEVELS this machine can run, from the first on */
static inline int pt_levels_here(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2"))
        return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
               && __builtin_cpu_supports("avx512vl") ? 3 : 2;
#else
    return 1;
#endif
}
#endif

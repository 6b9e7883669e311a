/* The table of statevector kernels and its choice: one set per instruction set, picked at import, never by compiler flags. */
#ifndef QFAST_SV_KERNELS_H
#define QFAST_SV_KERNELS_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* avx512f brings fused multiply-add; it would round differently from the other levels. */
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

#define SV_BLOCK UINT64_C(128) /* amplitudes per entry of the first level of sampling: 2 KiB */
#define SV_FOLD 256 /* a run of 2 SV_FOLD products is the longest that is summed at once (sv_expect.h) */

/* One set of them. States are void: the set knows whether their numbers are double or float. */
typedef struct {
    int bytes; /* of an amplitude: 16 in double, 8 in single precision */
    int block; /* log2 of the amplitudes of the layout's blocks: no state is smaller */
    void (*mat1)(void *state, int k, int t, uint64_t cmask, uint64_t cval, const double *m, int real, int part, int parts);
    void (*mat2)(void *state, int k, int t0, int t1, uint64_t cmask, uint64_t cval, const double *m, int real, int part, int parts);
    void (*phase)(void *state, int k, uint64_t cmask, uint64_t cval, double re, double im, int part, int parts);
    void (*flip)(void *state, int k, int t, uint64_t cmask, uint64_t cval, int part, int parts);
    void (*swap)(void *state, int k, int t0, int t1, uint64_t cmask, uint64_t cval, int part, int parts);
    void (*grow)(void *state, int k, const double *c, int part, int parts);
    void (*star_table)(void *table, uint64_t count, const double *re, const double *im, const double *keep);
    void (*star)(void *state, uint64_t from, uint64_t count, const void *table, const double *c);
    void (*halves)(const void *state, int k, int t, double *out, int part, int parts);
    void (*norms)(const void *state, int k, double *out, int part, int parts);
    void (*block_norms)(const void *state, uint64_t first, uint64_t blocks, double *out);
    void (*weights)(const void *state, uint64_t from, uint64_t count, double *out);
    int (*extract)(const void *state, int k, int t, int v, double scale, void *to, const volatile unsigned char *cancel);
    void (*clear)(void *state);
    /* Of expectation values, in double precision only */
    void (*products)(const void *state, uint64_t from, uint64_t count, uint64_t x, uint64_t fixed, int odd, double *out);
    double (*fold)(const double *f, uint64_t count, uint64_t z);
    void (*walsh)(double *f, uint64_t count);
} sv_kernels;

/* Spreads the bits of x over the positions that are zero in `mask`, in order. */
static inline uint64_t sv_deposit(uint64_t x, uint64_t mask) {
    for (uint64_t m = mask; m; m &= m - 1) {
        uint64_t below = (m & -m) - 1;
        x = ((x & ~below) << 1) | (x & below);
    }
    return x;
}

static inline double sv_sum8(const double *x) {
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

#define REAL double
#define INT int64_t
#define DOUBLE 1
#define W 2
#define LB 1
#define SV_TARGET
#define SV_FN(name) sv_##name##_scalar
#include "sv_simd.h"
#undef REAL
#undef INT
#undef DOUBLE
#undef W
#undef LB
#undef SV_TARGET
#undef SV_FN

#define REAL float
#define INT int32_t
#define DOUBLE 0
#define W 4
#define LB 2
#define SV_TARGET
#define SV_FN(name) sv_##name##_scalar_single
#include "sv_simd.h"
#undef REAL
#undef INT
#undef DOUBLE
#undef W
#undef LB
#undef SV_TARGET
#undef SV_FN

#if defined(__x86_64__)
#define REAL double
#define INT int64_t
#define DOUBLE 1
#define W 4
#define LB 2
#define SV_TARGET __attribute__((target("avx2")))
#define SV_FN(name) sv_##name##_avx2
#include "sv_simd.h"
#undef REAL
#undef INT
#undef DOUBLE
#undef W
#undef LB
#undef SV_TARGET
#undef SV_FN

#define REAL float
#define INT int32_t
#define DOUBLE 0
#define W 8
#define LB 3
#define SV_TARGET __attribute__((target("avx2")))
#define SV_FN(name) sv_##name##_avx2_single
#include "sv_simd.h"
#undef REAL
#undef INT
#undef DOUBLE
#undef W
#undef LB
#undef SV_TARGET
#undef SV_FN

#define REAL double
#define INT int64_t
#define DOUBLE 1
#define W 8
#define LB 3
#define SV_TARGET __attribute__((target("avx512f")))
#define SV_FN(name) sv_##name##_avx512
#include "sv_simd.h"
#undef REAL
#undef INT
#undef DOUBLE
#undef W
#undef LB
#undef SV_TARGET
#undef SV_FN

#define REAL float
#define INT int32_t
#define DOUBLE 0
#define W 16
#define LB 4
#define SV_TARGET __attribute__((target("avx512f")))
#define SV_FN(name) sv_##name##_avx512_single
#include "sv_simd.h"
#undef REAL
#undef INT
#undef DOUBLE
#undef W
#undef LB
#undef SV_TARGET
#undef SV_FN
#endif

#if !defined(__clang__) && defined(__GNUC__)
#pragma GCC pop_options
#endif

static const char *const sv_level_names[3] = {"scalar", "avx2", "avx512"};

static inline int sv_level_supported(int level) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return level == 0 || (level == 1 && __builtin_cpu_supports("avx2")) || (level == 2 && __builtin_cpu_supports("avx512f"));
#else
    return level == 0;
#endif
}

static inline const sv_kernels *sv_kernels_of(int level, int single) {
#if defined(__x86_64__)
    static const sv_kernels *const sets[3][2] = {{&sv_kernels_scalar, &sv_kernels_scalar_single},
                                                 {&sv_kernels_avx2, &sv_kernels_avx2_single},
                                                 {&sv_kernels_avx512, &sv_kernels_avx512_single}};
    return sets[level][single];
#else
    (void)level;
    return single ? &sv_kernels_scalar_single : &sv_kernels_scalar;
#endif
}

#endif

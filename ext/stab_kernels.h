/* The table of the stabilizer simulator's kernels: one set per instruction set, picked at import (levels: sv_kernels.h). */
#ifndef QFAST_STAB_KERNELS_H
#define QFAST_STAB_KERNELS_H
#include <stdint.h>

typedef struct {
    void (*add)(uint64_t *to, const uint64_t *from, int64_t n);
    void (*spread)(uint64_t *rows, int64_t stride, const uint64_t *which, int64_t count, const uint64_t *form, int64_t n);
    void (*sum)(uint64_t *out, const uint64_t *form, int64_t n, const uint64_t *from);
} stab_kernels;

#define W 2
#define STAB_TARGET
#define STAB_FN(name) stab_##name##_scalar
#include "stab_simd.h"
#undef W
#undef STAB_TARGET
#undef STAB_FN

#if defined(__x86_64__)
#define W 4
#define STAB_TARGET __attribute__((target("avx2")))
#define STAB_FN(name) stab_##name##_avx2
#include "stab_simd.h"
#undef W
#undef STAB_TARGET
#undef STAB_FN

#define W 8
#define STAB_TARGET __attribute__((target("avx512f")))
#define STAB_FN(name) stab_##name##_avx512
#include "stab_simd.h"
#undef W
#undef STAB_TARGET
#undef STAB_FN
#endif

static inline const stab_kernels *stab_kernels_of(int level) {
#if defined(__x86_64__)
    return level == 2 ? &stab_kernels_avx512 : level == 1 ? &stab_kernels_avx2 : &stab_kernels_scalar;
#else
    (void)level;
    return &stab_kernels_scalar;
#endif
}

#endif

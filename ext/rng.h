/* A small random generator whose numbers depend on nothing but its seed: xoshiro256++ (Blackman, Vigna, "Scrambled linear
 * pseudorandom number generators", ACM TOMS 47, 2021), its state filled by splitmix64 (Steele, Lea, Flood, OOPSLA 2014) as its
 * authors advise. qf_mix64, the output function of splitmix64, is also the way to derive independent seeds from a key.
 */
#ifndef QFAST_RNG_H
#define QFAST_RNG_H
#include <stdint.h>

typedef struct {
    uint64_t s[4];
} qf_rng;

static inline uint64_t qf_mix64(uint64_t z) {
    z += UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline void qf_rng_seed(qf_rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++) rng->s[i] = qf_mix64(seed + (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t qf_rotl64(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

static inline uint64_t qf_rng_next(qf_rng *rng) {
    uint64_t *s = rng->s, result = qf_rotl64(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = qf_rotl64(s[3], 45);
    return result;
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double qf_rng_double(qf_rng *rng) {
    return (double)(qf_rng_next(rng) >> 11) * 0x1p-53;
}

#endif

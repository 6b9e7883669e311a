/* Randomness and logarithms of the QUBO solvers: the same bits on every machine.
 *
 * xoshiro256++ (Blackman, Vigna, ACM TOMS 47(4), 2021), seeded by splitmix64. log and exp are written out, because a
 * library's last bit differs between machines and would break "same seed, same answer".
 */
#ifndef QFAST_PT_RNG_H
#define QFAST_PT_RNG_H
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t s[4];
} pt_rng;

static inline uint64_t pt_rotl(uint64_t v, int k) { return (v << k) | (v >> (64 - k)); }

static inline uint64_t pt_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline void pt_seed(pt_rng *r, uint64_t seed)
{
    for (int k = 0; k < 4; k++)
        r->s[k] = pt_splitmix(&seed);
}

static inline uint64_t pt_next(pt_rng *r)
{
    uint64_t *s = r->s, out = pt_rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = pt_rotl(s[3], 45);
    return out;
}

/* Below n, n > 0; the bias is below n / 2^64 */
static inline uint64_t pt_below(pt_rng *r, uint64_t n) { return (uint64_t)(((unsigned __int128)pt_next(r) * n) >> 64); }

/* ln x for a positive normal x: ln(m 2^e) = e ln 2 + 2 artanh((m - 1) / (m + 1)), m in [0.7, 1.42): error below 1e-14 */
static inline double pt_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int e = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffull) | (1023ull << 52);
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double t = (m - 1) / (m + 1), square = t * t, sum = 0;
    for (int k = 19; k > 0; k -= 2)
        sum = sum * square + 1.0 / k;
    return e * 0.6931471805599453 + 2 * t * sum;
}

/* e^y for |y| < 100: Taylor at y / 1024, squared ten times; error below 1e-11 relative */
static inline double pt_exp(double y)
{
    double z = y / 1024, sum = 1;
    for (int k = 7; k > 0; k--)
        sum = 1 + sum * z / k;
    for (int k = 0; k < 10; k++)
        sum *= sum;
    return sum;
}

/* -ln u, u uniform in (0, 1] */
static inline double pt_exponential(pt_rng *r)
{
    return -pt_log((double)((pt_next(r) >> 11) + 1) * (1.0 / 9007199254740992.0));
}

/* The same 32 times, for a tenth of the time: u in steps of 2^-24, so at most 16.64, and ln as above to the precision of float.
 * Without branches, so that compilers make vectors of it; each operation rounds once, so that all of them give the same bits. */
static inline void pt_exponentials(pt_rng *r, float *out)
{
    uint32_t bits[32];
    for (int k = 0; k < 32; k += 2) {
        uint64_t two = pt_next(r);
        bits[k] = (uint32_t)two >> 8;
        bits[k + 1] = (uint32_t)(two >> 40);
    }
    for (int k = 0; k < 32; k++) {
        union {
            float f;
            uint32_t u;
        } m = {(float)(int32_t)(bits[k] + 1)};
        int32_t high = (m.u & 0x7fffff) > 0x3504f3, e = (int32_t)(m.u >> 23) - 127 - 24 + high;
        m.u = (m.u & 0x7fffff) | (uint32_t)(127 - high) << 23; /* in [0.707, 1.414] */
        float t = (m.f - 1.0f) / (m.f + 1.0f), square = t * t;
        float series = ((square * (1.0f / 7) + 0.2f) * square + (1.0f / 3)) * square + 1.0f;
        out[k] = -((float)e * 0.69314718f + 2.0f * t * series);
    }
}
#endif

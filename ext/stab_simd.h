/* The stabilizer simulator's inner loops over words of bits, written once for vectors of W words and compiled once per instruction
 * set: stab_kernels.h includes this file with W, STAB_TARGET and STAB_FN(name) defined, and no include guard. They are exclusive ors,
 * so every level gives the same bits.
 */
typedef uint64_t STAB_FN(words) __attribute__((vector_size(8 * W), aligned(8), may_alias));
#if W == 8
typedef uint64_t STAB_FN(half) __attribute__((vector_size(32), aligned(8), may_alias));
#endif

/* to ^= from, n words. */
STAB_TARGET static void STAB_FN(add)(uint64_t *to, const uint64_t *from, int64_t n) {
    int64_t j = 0;
    for (; j + W <= n; j += W) *(STAB_FN(words) *)(to + j) ^= *(const STAB_FN(words) *)(from + j);
    for (; j < n; j++) to[j] ^= from[j];
}

/* Adds the n words of `form` to every row of `rows` (stride words each) that the `count` words of `which` name. */
STAB_TARGET static void STAB_FN(spread)(uint64_t *rows, int64_t stride, const uint64_t *which, int64_t count, const uint64_t *form,
                                        int64_t n) {
    for (int64_t w = 0; w < count; w++)
        for (uint64_t bits = which[w]; bits; bits &= bits - 1) {
            uint64_t *to = rows + (64 * w + __builtin_ctzll(bits)) * stride;
            int64_t j = 0;
            for (; j + W <= n; j += W) *(STAB_FN(words) *)(to + j) ^= *(const STAB_FN(words) *)(form + j);
#if W == 8
            for (; j + 4 <= n; j += 4) *(STAB_FN(half) *)(to + j) ^= *(const STAB_FN(half) *)(form + j);
#endif
            for (; j < n; j++) to[j] ^= form[j];
        }
}

/* out[0..8) ^= the sum of the blocks of 8 words in `from` that the n words of `form` name. */
STAB_TARGET static void STAB_FN(sum)(uint64_t *out, const uint64_t *form, int64_t n, const uint64_t *from) {
    STAB_FN(words) sum[8 / W];
    for (int k = 0; k < 8 / W; k++) sum[k] = *(STAB_FN(words) *)(out + k * W);
    for (int64_t j = 0; j < n; j++)
        for (uint64_t bits = form[j]; bits; bits &= bits - 1) {
            const uint64_t *block = from + 8 * (64 * j + __builtin_ctzll(bits));
            for (int k = 0; k < 8 / W; k++) sum[k] ^= *(const STAB_FN(words) *)(block + k * W);
        }
    for (int k = 0; k < 8 / W; k++) *(STAB_FN(words) *)(out + k * W) = sum[k];
}

static const stab_kernels STAB_FN(kernels) = {STAB_FN(add), STAB_FN(spread), STAB_FN(sum)};

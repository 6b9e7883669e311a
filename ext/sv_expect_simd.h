/* The inner loops of Pauli expectation values, a part of sv_simd.h: included there with its macros defined, and no include guard. */

/* out[n] = w (real part, or imaginary when odd) with w = conj(a[i ^ x]) a[i], for `count` indices i from `from` on that have zeros at
 * the bits of `fixed` (all >= 3). count is a multiple of 8. */
SV_INLINE void SV_FN(products_loop)(const double *a, uint64_t from, uint64_t count, uint64_t x, uint64_t fixed, int odd, int mixed,
                                    double *out) {
    const vx lanes = SV_FN(xor_lanes)(x & SV_LOW);
    const uint64_t far = x & ~SV_LOW;
    for (uint64_t n = 0, i = from; n < count; n += W, i = ((i | fixed) + W) & ~fixed) {
        const vd r0 = LD(i), i0 = LDI(i);
        vd r1 = LD(i ^ far), i1 = LDI(i ^ far);
        if (mixed) {
            r1 = SV_FN(permute)(r1, lanes);
            i1 = SV_FN(permute)(i1, lanes);
        }
        *(vd *)(out + n) = odd ? r1 * i0 - i1 * r0 : r1 * r0 + i1 * i0;
    }
}

SV_TARGET static void SV_FN(products)(const void *a, uint64_t from, uint64_t count, uint64_t x, uint64_t fixed, int odd, double *out) {
    if (x & SV_LOW) {
        if (odd) SV_FN(products_loop)(a, from, count, x, fixed, 1, 1, out);
        else SV_FN(products_loop)(a, from, count, x, fixed, 0, 1, out);
    } else {
        if (odd) SV_FN(products_loop)(a, from, count, x, fixed, 1, 0, out);
        else SV_FN(products_loop)(a, from, count, x, fixed, 0, 0, out);
    }
}

/* The sum of (-1)^(number of common bits of i and z) f[i] over i < count, a power of two from 8 to 2 SV_FOLD, by halving. */
SV_TARGET static double SV_FN(fold)(const double *f, uint64_t count, uint64_t z) {
    double half[SV_FOLD] __attribute__((aligned(64)));
    const double *x = f;
    while (count > 8) {
        count >>= 1;
        if (z & count)
            for (uint64_t i = 0; i < count; i += W) *(vd *)(half + i) = *(const vd *)(x + i) - *(const vd *)(x + i + count);
        else
            for (uint64_t i = 0; i < count; i += W) *(vd *)(half + i) = *(const vd *)(x + i) + *(const vd *)(x + i + count);
        x = half;
    }
    double lane[8];
    for (uint64_t l = 0; l < 8; l++) lane[l] = __builtin_parityll(l & z) ? -x[l] : x[l];
    return sv_sum8(lane);
}

/* The same for every z at once, in place: the Walsh-Hadamard transform of f. */
SV_TARGET static void SV_FN(walsh)(double *f, uint64_t count) {
    for (uint64_t bit = count >> 1; bit >= W; bit >>= 1)
        for (uint64_t base = 0; base < count; base += 2 * bit)
            for (uint64_t i = base; i < base + bit; i += W) {
                const vd p = *(const vd *)(f + i), q = *(const vd *)(f + i + bit);
                *(vd *)(f + i) = p + q;
                *(vd *)(f + i + bit) = p - q;
            }
    for (uint64_t bit = W >> 1; bit; bit >>= 1) {
        const vx lanes = SV_FN(xor_lanes)(bit);
        vi minus; /* the sign bit of the lanes that are subtracted */
        for (uint64_t l = 0; l < W; l++) minus[l] = l & bit ? INT64_MIN : 0;
        for (uint64_t i = 0; i < count; i += W) {
            const vd p = *(const vd *)(f + i);
            *(vd *)(f + i) = SV_FN(permute)(p, lanes) + (vd)((vi)p ^ minus);
        }
    }
}

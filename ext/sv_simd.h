/* The statevector's inner loops, written once for vectors of W reals and compiled once per instruction set and precision:
 * sv_kernels.h includes this file with REAL, INT (the integer of REAL's size), DOUBLE (whether REAL is double), W, LB = log2 W,
 * SV_TARGET and SV_FN(name) defined, and no include guard.
 *
 * Layout: blocks of B amplitudes (8 of double, 16 of float precision: 128 bytes), their B real parts and then their B imaginary parts,
 * so amplitude i has its real part at 2 (i & ~(B - 1)) + (i & (B - 1)) and its imaginary part B numbers further. A state of fewer
 * amplitudes fills one block with zeros.
 *
 * Every level computes every amplitude by the same operations in the same order (sums of two are commutative, sums of four are
 * ((x0 + x1) + (x2 + x3)) with x = row XOR column in that order, no fused multiply-add), and every reduction runs in double over 8
 * lanes: results are equal to the last bit at every level. A qubit below LB lies inside a vector: its partner amplitude comes by a
 * permutation of the lanes, and what differs between rows (or by controls inside the vector) is a vector of coefficients.
 *
 * A kernel does part `part` of `parts` equal parts, so that the caller can poll a flag in between or spread them over threads.
 */
#define BL (DOUBLE ? 3 : 4)
#define B (UINT64_C(1) << BL)
#define N (DOUBLE ? W : W / 2) /* squared magnitudes that are summed at a time: a vector of doubles */
typedef REAL SV_FN(vd) __attribute__((vector_size(sizeof(REAL) * W), aligned(sizeof(REAL) * W), may_alias));
typedef INT SV_FN(vi) __attribute__((vector_size(sizeof(REAL) * W), aligned(sizeof(REAL) * W), may_alias));
typedef REAL SV_FN(vp) __attribute__((vector_size(sizeof(REAL) * N), aligned(sizeof(REAL) * N), may_alias));
typedef double SV_FN(vn) __attribute__((vector_size(8 * N), aligned(8 * N), may_alias));
#if W == 4 && DOUBLE
typedef int32_t SV_FN(vx) __attribute__((vector_size(32)));  /* lane indices as vpermd wants them */
typedef int32_t SV_FN(v8i) __attribute__((vector_size(32), may_alias));
#else
typedef SV_FN(vi) SV_FN(vx);
#endif
#define vd SV_FN(vd)
#define vi SV_FN(vi)
#define vp SV_FN(vp)
#define vn SV_FN(vn)
#define vx SV_FN(vx)
#define SV_INLINE SV_TARGET static inline __attribute__((always_inline))
#define SV_LOW ((uint64_t)W - 1)
#define SV_PLACE(i) (2 * ((i) & ~(B - 1)) + ((i) & (B - 1)))
#define LD(i) (*(const vd *)(a + SV_PLACE(i)))
#define LDI(i) (*(const vd *)(a + SV_PLACE(i) + B))
#define ST(i, re, im) (*(vd *)(a + SV_PLACE(i)) = (re), *(vd *)(a + SV_PLACE(i) + B) = (im))
/* i runs over this part's runs of 2^bits amplitudes whose index has zeros at the bits of `fixed` (all >= bits): adding 2^bits to
 * (i | fixed) lets the carry jump over them. */
#define SV_RUNS(i, fixed, bits) \
    uint64_t count_ = (UINT64_C(1) << ((k < BL ? BL : k) - (bits))) >> __builtin_popcountll(fixed); \
    uint64_t from_ = count_ / (uint64_t)parts * (uint64_t)part, to_ = part + 1 == parts ? count_ : from_ + count_ / (uint64_t)parts; \
    uint64_t i = sv_deposit(from_ << (bits), fixed); \
    for (uint64_t n_ = from_; n_ < to_; n_++, i = ((i | (fixed)) + (UINT64_C(1) << (bits))) & ~(fixed))
#define SV_FOR(i, fixed) SV_RUNS(i, fixed, LB)

SV_INLINE vd SV_FN(fill)(double x) {
    vd v;
    for (int l = 0; l < W; l++) v[l] = (REAL)x;
    return v;
}

/* Lane indices l XOR x. */
SV_INLINE vx SV_FN(xor_lanes)(uint64_t x) {
    vx m;
#if W == 4 && DOUBLE
    for (int l = 0; l < 8; l++) m[l] = (int32_t)((((uint64_t)(l >> 1) ^ x) << 1) | (l & 1));
#else
    for (int l = 0; l < W; l++) m[l] = (INT)((uint64_t)l ^ x);
#endif
    return m;
}

SV_INLINE vd SV_FN(permute)(vd v, vx lanes) {
#if W == 4 && DOUBLE
    return (vd)__builtin_shuffle((SV_FN(v8i))v, (SV_FN(v8i))lanes);
#elif W == 2
    (void)lanes; /* one bit only: the other lane */
    return __builtin_shuffle(v, (vi){1, 0});
#elif W == 4 /* plain SSE2 shuffles by constants only */
    return lanes[0] == 1 ? __builtin_shuffle(v, (vi){1, 0, 3, 2}) : lanes[0] == 2 ? __builtin_shuffle(v, (vi){2, 3, 0, 1})
                                                                                  : __builtin_shuffle(v, (vi){3, 2, 1, 0});
#else
    return __builtin_shuffle(v, lanes);
#endif
}

SV_INLINE vd SV_FN(choose)(vi mask, vd yes, vd no) {
    return (vd)(((vi)yes & mask) | ((vi)no & ~mask));
}

/* Coefficients of the sum over columns for row `row` of a dim x dim matrix m: of each lane c[x] = m[r][r ^ x], where the row's bits
 * that lie inside the vector come from the lane (t[b] is the position of row bit b); a lane whose controls fail gets the identity. */
SV_INLINE void SV_FN(coefficients)(vd *c, const double *m, int bits, int row, const int *t, uint64_t cmask, uint64_t cval) {
    const int dim = 1 << bits;
    for (int l = 0; l < W; l++) {
        int r = row, on = (((uint64_t)l ^ cval) & cmask & SV_LOW) == 0;
        for (int b = 0; b < bits; b++)
            if (t[b] < LB) r |= ((l >> t[b]) & 1) << b;
        for (int x = 0; x < dim; x++) {
            c[2 * x][l] = on ? (REAL)m[2 * (r * dim + (r ^ x))] : x == 0;
            c[2 * x + 1][l] = on ? (REAL)m[2 * (r * dim + (r ^ x)) + 1] : 0;
        }
    }
}

SV_INLINE void SV_FN(row1)(vd *o, const vd *c, vd r0, vd i0, vd r1, vd i1, int real) {
    if (real) {
        o[0] = c[0] * r0 + c[2] * r1;
        o[1] = c[0] * i0 + c[2] * i1;
    } else {
        o[0] = (c[0] * r0 - c[1] * i0) + (c[2] * r1 - c[3] * i1);
        o[1] = (c[0] * i0 + c[1] * r0) + (c[2] * i1 + c[3] * r1);
    }
}

SV_INLINE void SV_FN(row2)(vd *o, const vd *c, const vd *s0, const vd *s1, const vd *s2, const vd *s3, int real) {
    if (real) {
        o[0] = (c[0] * s0[0] + c[2] * s1[0]) + (c[4] * s2[0] + c[6] * s3[0]);
        o[1] = (c[0] * s0[1] + c[2] * s1[1]) + (c[4] * s2[1] + c[6] * s3[1]);
    } else {
        o[0] = ((c[0] * s0[0] - c[1] * s0[1]) + (c[2] * s1[0] - c[3] * s1[1])) +
               ((c[4] * s2[0] - c[5] * s2[1]) + (c[6] * s3[0] - c[7] * s3[1]));
        o[1] = ((c[0] * s0[1] + c[1] * s0[0]) + (c[2] * s1[1] + c[3] * s1[0])) +
               ((c[4] * s2[1] + c[5] * s2[0]) + (c[6] * s3[1] + c[7] * s3[0]));
    }
}

SV_INLINE void SV_FN(mat1_loop)(REAL *a, int k, int t, uint64_t cmask, uint64_t cval, const double *m, int real, int part, int parts) {
    const uint64_t high = cmask & ~SV_LOW, set = cval & high;
    vd c[2][4], o0[2], o1[2];
    if (t >= LB) {
        const uint64_t bit = UINT64_C(1) << t, fixed = high | bit;
        for (int h = 0; h < 2; h++) SV_FN(coefficients)(c[h], m, 1, h, &t, cmask, cval);
        SV_FOR(i, fixed) {
            const uint64_t j = i | set;
            vd r0 = LD(j), i0 = LDI(j), r1 = LD(j | bit), i1 = LDI(j | bit);
            SV_FN(row1)(o0, c[0], r0, i0, r1, i1, real);
            SV_FN(row1)(o1, c[1], r1, i1, r0, i0, real);
            ST(j, o0[0], o0[1]);
            ST(j | bit, o1[0], o1[1]);
        }
    } else {
        const vx lanes = SV_FN(xor_lanes)(UINT64_C(1) << t);
        SV_FN(coefficients)(c[0], m, 1, 0, &t, cmask, cval);
        SV_FOR(i, high) {
            const uint64_t j = i | set;
            vd r0 = LD(j), i0 = LDI(j);
            SV_FN(row1)(o0, c[0], r0, i0, SV_FN(permute)(r0, lanes), SV_FN(permute)(i0, lanes), real);
            ST(j, o0[0], o0[1]);
        }
    }
}

SV_TARGET static void SV_FN(mat1)(void *state, int k, int t, uint64_t cmask, uint64_t cval, const double *m, int real, int part, int parts) {
    if (real)
        SV_FN(mat1_loop)(state, k, t, cmask, cval, m, 1, part, parts);
    else
        SV_FN(mat1_loop)(state, k, t, cmask, cval, m, 0, part, parts);
}

/* Row and column bit 0 of m belong to qubit t0. */
SV_INLINE void SV_FN(mat2_loop)(REAL *a, int k, int t0, int t1, uint64_t cmask, uint64_t cval, const double *m, int real, int part,
                                int parts) {
    const uint64_t high = cmask & ~SV_LOW, set = cval & high, b0 = UINT64_C(1) << t0, b1 = UINT64_C(1) << t1;
    const int t[2] = {t0, t1};
    vd c[4][8], o[2];
    if (t0 >= LB && t1 >= LB) {
        const uint64_t fixed = high | b0 | b1, at[4] = {0, b0, b1, b0 | b1};
        for (int r = 0; r < 4; r++) SV_FN(coefficients)(c[r], m, 2, r, t, cmask, cval);
        SV_FOR(i, fixed) {
            const uint64_t j = i | set;
            vd s[4][2];
            for (int r = 0; r < 4; r++) s[r][0] = LD(j | at[r]), s[r][1] = LDI(j | at[r]);
            for (int r = 0; r < 4; r++) {
                SV_FN(row2)(o, c[r], s[r], s[r ^ 1], s[r ^ 2], s[r ^ 3], real);
                ST(j | at[r], o[0], o[1]);
            }
        }
    } else if (t0 >= LB || t1 >= LB) {
        const int first_low = t0 < LB;
        const uint64_t bit = first_low ? b1 : b0, fixed = high | bit;
        const vx lanes = SV_FN(xor_lanes)(first_low ? b0 : b1);
        for (int h = 0; h < 2; h++) SV_FN(coefficients)(c[h], m, 2, h << first_low, t, cmask, cval);
        SV_FOR(i, fixed) {
            const uint64_t j = i | set;
            vd s[2][2], p[2][2];
            for (int h = 0; h < 2; h++) {
                const uint64_t at = j | (h ? bit : 0);
                s[h][0] = LD(at), s[h][1] = LDI(at);
                for (int z = 0; z < 2; z++) p[h][z] = SV_FN(permute)(s[h][z], lanes);
            }
            for (int h = 0; h < 2; h++) {
                if (first_low)
                    SV_FN(row2)(o, c[h], s[h], p[h], s[h ^ 1], p[h ^ 1], real);
                else
                    SV_FN(row2)(o, c[h], s[h], s[h ^ 1], p[h], p[h ^ 1], real);
                ST(j | (h ? bit : 0), o[0], o[1]);
            }
        }
    } else {
        const vx l0 = SV_FN(xor_lanes)(b0), l1 = SV_FN(xor_lanes)(b1), l2 = SV_FN(xor_lanes)(b0 | b1);
        SV_FN(coefficients)(c[0], m, 2, 0, t, cmask, cval);
        SV_FOR(i, high) {
            const uint64_t j = i | set;
            vd s[4][2];
            s[0][0] = LD(j), s[0][1] = LDI(j);
            for (int z = 0; z < 2; z++) {
                s[1][z] = SV_FN(permute)(s[0][z], l0);
                s[2][z] = SV_FN(permute)(s[0][z], l1);
                s[3][z] = SV_FN(permute)(s[0][z], l2);
            }
            SV_FN(row2)(o, c[0], s[0], s[1], s[2], s[3], real);
            ST(j, o[0], o[1]);
        }
    }
}

SV_TARGET static void SV_FN(mat2)(void *state, int k, int t0, int t1, uint64_t cmask, uint64_t cval, const double *m, int real, int part,
                                  int parts) {
    if (real)
        SV_FN(mat2_loop)(state, k, t0, t1, cmask, cval, m, 1, part, parts);
    else
        SV_FN(mat2_loop)(state, k, t0, t1, cmask, cval, m, 0, part, parts);
}

/* Multiplies the amplitudes whose index agrees with cval at cmask by re + i im. */
SV_TARGET static void SV_FN(phase)(void *state, int k, uint64_t cmask, uint64_t cval, double re, double im, int part, int parts) {
    REAL *a = state;
    const uint64_t high = cmask & ~SV_LOW, set = cval & high;
    vd cr, ci;
    for (int l = 0; l < W; l++) {
        int on = (((uint64_t)l ^ cval) & cmask & SV_LOW) == 0;
        cr[l] = on ? (REAL)re : 1;
        ci[l] = on ? (REAL)im : 0;
    }
    SV_FOR(i, high) {
        const uint64_t j = i | set;
        vd r = LD(j), q = LDI(j);
        ST(j, cr * r - ci * q, cr * q + ci * r);
    }
}

SV_INLINE vi SV_FN(controlled)(uint64_t cmask, uint64_t cval) {
    vi on;
    for (int l = 0; l < W; l++) on[l] = -(INT)((((uint64_t)l ^ cval) & cmask & SV_LOW) == 0);
    return on;
}

SV_TARGET static void SV_FN(flip)(void *state, int k, int t, uint64_t cmask, uint64_t cval, int part, int parts) {
    REAL *a = state;
    const uint64_t high = cmask & ~SV_LOW, set = cval & high, bit = UINT64_C(1) << t;
    const vi on = SV_FN(controlled)(cmask, cval);
    if (t < LB) {
        const vx lanes = SV_FN(xor_lanes)(bit);
        SV_FOR(i, high) {
            const uint64_t j = i | set;
            vd r = LD(j), q = LDI(j);
            ST(j, SV_FN(choose)(on, SV_FN(permute)(r, lanes), r), SV_FN(choose)(on, SV_FN(permute)(q, lanes), q));
        }
    } else if (cmask & SV_LOW) {
        const uint64_t fixed = high | bit;
        SV_FOR(i, fixed) {
            const uint64_t j = i | set;
            vd r0 = LD(j), i0 = LDI(j), r1 = LD(j | bit), i1 = LDI(j | bit);
            ST(j, SV_FN(choose)(on, r1, r0), SV_FN(choose)(on, i1, i0));
            ST(j | bit, SV_FN(choose)(on, r0, r1), SV_FN(choose)(on, i0, i1));
        }
    } else {
        const uint64_t fixed = high | bit;
        SV_FOR(i, fixed) {
            const uint64_t j = i | set;
            vd r0 = LD(j), i0 = LDI(j), r1 = LD(j | bit), i1 = LDI(j | bit);
            ST(j, r1, i1);
            ST(j | bit, r0, i0);
        }
    }
}

SV_TARGET static void SV_FN(swap)(void *state, int k, int t0, int t1, uint64_t cmask, uint64_t cval, int part, int parts) {
    REAL *a = state;
    const int lo = t0 < t1 ? t0 : t1, hi = t0 < t1 ? t1 : t0;
    const uint64_t high = cmask & ~SV_LOW, set = cval & high, bl = UINT64_C(1) << lo, bh = UINT64_C(1) << hi;
    const vi on = SV_FN(controlled)(cmask, cval);
    if (lo >= LB) {
        const uint64_t fixed = high | bl | bh;
        SV_FOR(i, fixed) {
            const uint64_t j = i | set | bl, h = i | set | bh;
            vd r0 = LD(j), i0 = LDI(j), r1 = LD(h), i1 = LDI(h);
            ST(j, SV_FN(choose)(on, r1, r0), SV_FN(choose)(on, i1, i0));
            ST(h, SV_FN(choose)(on, r0, r1), SV_FN(choose)(on, i0, i1));
        }
    } else {
        vi one = on, differ = on; /* lanes whose bit lo is set; lanes whose bits lo and hi differ */
        for (int l = 0; l < W; l++) {
            one[l] &= -(INT)((l >> lo) & 1);
            if (hi < LB) differ[l] &= -(INT)(((l >> lo) ^ (l >> hi)) & 1);
        }
        const vi zero = on & ~one;
        const vx lanes = SV_FN(xor_lanes)(hi < LB ? bl | bh : bl);
        const uint64_t fixed = hi < LB ? high : high | bh;
        SV_FOR(i, fixed) {
            const uint64_t j = i | set;
            vd r0 = LD(j), i0 = LDI(j);
            if (hi < LB) {
                ST(j, SV_FN(choose)(differ, SV_FN(permute)(r0, lanes), r0), SV_FN(choose)(differ, SV_FN(permute)(i0, lanes), i0));
            } else {
                vd r1 = LD(j | bh), i1 = LDI(j | bh);
                ST(j, SV_FN(choose)(one, SV_FN(permute)(r1, lanes), r0), SV_FN(choose)(one, SV_FN(permute)(i1, lanes), i0));
                ST(j | bh, SV_FN(choose)(zero, SV_FN(permute)(r0, lanes), r1), SV_FN(choose)(zero, SV_FN(permute)(i0, lanes), i1));
            }
        }
    }
}

/* Adds qubit k on top: the new upper half is (c[2], c[3]) times the state, the lower half (c[0], c[1]) times it. */
SV_TARGET static void SV_FN(grow)(void *state, int k, const double *c, int part, int parts) {
    REAL *a = state;
    const vd c0 = SV_FN(fill)(c[0]), d0 = SV_FN(fill)(c[1]), c1 = SV_FN(fill)(c[2]), d1 = SV_FN(fill)(c[3]);
    const uint64_t bit = UINT64_C(1) << k, none = 0;
    const int keep = c[0] == 1 && c[1] == 0;
    if (k < BL) { /* within the one block */
        const REAL x0 = (REAL)c[0], y0 = (REAL)c[1], x1 = (REAL)c[2], y1 = (REAL)c[3];
        for (uint64_t i = 0; i < bit; i++) {
            const REAL re = a[i], im = a[i + B];
            a[i] = x0 * re - y0 * im;
            a[i + B] = x0 * im + y0 * re;
            a[i | bit] = x1 * re - y1 * im;
            a[(i | bit) + B] = x1 * im + y1 * re;
        }
        return;
    }
    SV_FOR(i, none) {
        vd r = LD(i), q = LDI(i);
        ST(i | bit, c1 * r - d1 * q, c1 * q + d1 * r);
        if (!keep) ST(i, c0 * r - d0 * q, c0 * q + d0 * r);
    }
}

/* The table of star: of each amplitude the factor's real and imaginary part and what is added to it, block by block. */
SV_TARGET static void SV_FN(star_table)(void *table, uint64_t count, const double *re, const double *im, const double *keep) {
    REAL *x = table;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = 3 * (i & ~(B - 1)) + (i & (B - 1));
        x[at] = (REAL)re[i];
        x[at + B] = (REAL)im[i];
        x[at + 2 * B] = (REAL)keep[i];
    }
}

/* Multiplies `count` amplitudes from `from` on by (t c + keep) each, t and keep standing in the table. */
SV_TARGET static void SV_FN(star)(void *state, uint64_t from, uint64_t count, const void *table, const double *c) {
    const vd cr = SV_FN(fill)(c[0]), ci = SV_FN(fill)(c[1]);
    REAL *a = (REAL *)state + 2 * from;
    for (uint64_t i = 0; i < count; i += W) {
        const REAL *t = (const REAL *)table + 3 * (i & ~(B - 1)) + (i & (B - 1));
        const vd tr = *(const vd *)t, ti = *(const vd *)(t + B), keep = *(const vd *)(t + 2 * B);
        const vd fr = (tr * cr - ti * ci) + keep, fi = tr * ci + ti * cr;
        vd r = LD(i), q = LDI(i);
        ST(i, fr * r - fi * q, fr * q + fi * r);
    }
}

/* The squared magnitudes of the N amplitudes from i on, squared in REAL. */
SV_INLINE vn SV_FN(squares)(const REAL *a, uint64_t i) {
    const vp r = *(const vp *)(a + SV_PLACE(i)), q = *(const vp *)(a + SV_PLACE(i) + B);
    return __builtin_convertvector(r * r + q * q, vn);
}

/* Eight partial sums (by amplitude index modulo 8) of the squared magnitudes, separately where bit t >= 3 is 0 (out[0..7]) and 1. */
SV_TARGET static void SV_FN(halves)(const void *state, int k, int t, double *out, int part, int parts) {
    const REAL *a = state;
    const uint64_t bit = UINT64_C(1) << t, fixed = bit;
    vn sum[2][8 / N];
    for (int h = 0; h < 2; h++)
        for (int v = 0; v < 8 / N; v++) sum[h][v] = (vn){0};
    SV_RUNS(i, fixed, 3) {
        for (int h = 0; h < 2; h++)
            for (int v = 0; v < 8 / N; v++) sum[h][v] += SV_FN(squares)(a, (h ? i | bit : i) + (uint64_t)(v * N));
    }
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 8; l++) out[8 * h + l] = sum[h][l / N][l % N];
}

/* The same over the whole state, without telling a bit apart. */
SV_TARGET static void SV_FN(norms)(const void *state, int k, double *out, int part, int parts) {
    const REAL *a = state;
    const uint64_t none = 0;
    vn sum[8 / N];
    for (int v = 0; v < 8 / N; v++) sum[v] = (vn){0};
    SV_RUNS(i, none, 3) {
        for (int v = 0; v < 8 / N; v++) sum[v] += SV_FN(squares)(a, i + (uint64_t)(v * N));
    }
    for (int l = 0; l < 8; l++) out[l] = sum[l / N][l % N];
}

/* out[b] = the squared norm of run first + b of SV_BLOCK amplitudes, for so many runs. */
SV_TARGET static void SV_FN(block_norms)(const void *state, uint64_t first, uint64_t blocks, double *out) {
    const REAL *a = (const REAL *)state + 2 * SV_BLOCK * first;
    for (uint64_t b = 0; b < blocks; b++, a += 2 * SV_BLOCK) {
        vn sum[8 / N];
        for (int v = 0; v < 8 / N; v++) sum[v] = (vn){0};
        for (uint64_t i = 0; i < SV_BLOCK; i += 8)
            for (int v = 0; v < 8 / N; v++) sum[v] += SV_FN(squares)(a, i + (uint64_t)(v * N));
        double lane[8];
        for (int l = 0; l < 8; l++) lane[l] = sum[l / N][l % N];
        out[b] = sv_sum8(lane);
    }
}

/* out[j] = the squared magnitude of amplitude from + j; both are multiples of 8. */
SV_TARGET static void SV_FN(weights)(const void *state, uint64_t from, uint64_t count, double *out) {
    for (uint64_t i = 0; i < count; i += N) *(vn *)(out + i) = SV_FN(squares)(state, from + i);
}

/* Writes to `to` the half of a state of k qubits in which the qubit at bit t is v, times `scale`; the top qubit takes over bit t.
 * `to` may be the state itself: no amplitude is read after its place was written. 1 when the flag stopped it. */
SV_TARGET static int SV_FN(extract)(const void *state, int k, int t, int v, double scale, void *to, const volatile unsigned char *cancel) {
    const uint64_t half = UINT64_C(1) << (k - 1), bit = UINT64_C(1) << t, set = v ? bit : 0;
    const REAL *a = state, factor = (REAL)scale;
    REAL *out = to;
    REAL block[2 * B] __attribute__((aligned(64))); /* complete before it is written */
    const uint64_t end = half < B ? B : half;
    for (uint64_t base = 0; base < end; base += B) {
        if ((base & 0xfffff) == 0 && cancel && *cancel) return 1;
        if (half >= 2 * B && bit >= B) {
            const REAL *from = a + 2 * ((base & ~bit) | set | (bit != half && (base & bit) ? half : 0));
            for (uint64_t l = 0; l < 2 * B; l++) block[l] = factor * from[l];
        } else {
            for (uint64_t l = 0; l < B; l++) {
                const uint64_t i = base | l, j = (i & ~bit) | set | (bit != half && (i & bit) ? half : 0);
                block[l] = i < half ? factor * a[SV_PLACE(j)] : 0;
                block[l + B] = i < half ? factor * a[SV_PLACE(j) + B] : 0;
            }
        }
        memcpy(out + 2 * base, block, sizeof block);
    }
    return 0;
}

/* |0...0> of no qubit. */
SV_TARGET static void SV_FN(clear)(void *state) {
    REAL *a = state;
    memset(a, 0, 2 * B * sizeof *a);
    a[0] = 1;
}

#if DOUBLE
#include "sv_expect_simd.h"
#endif

static const sv_kernels SV_FN(kernels) = {
    .bytes = 2 * sizeof(REAL), .block = BL, .mat1 = SV_FN(mat1), .mat2 = SV_FN(mat2), .phase = SV_FN(phase), .flip = SV_FN(flip),
    .swap = SV_FN(swap), .grow = SV_FN(grow), .star_table = SV_FN(star_table), .star = SV_FN(star), .halves = SV_FN(halves),
    .norms = SV_FN(norms), .block_norms = SV_FN(block_norms), .weights = SV_FN(weights), .extract = SV_FN(extract),
    .clear = SV_FN(clear),
#if DOUBLE
    .products = SV_FN(products), .fold = SV_FN(fold), .walsh = SV_FN(walsh),
#endif
};
#undef BL
#undef B
#undef N
#undef vd
#undef vi
#undef vp
#undef vn
#undef vx
#undef SV_INLINE
#undef SV_LOW
#undef SV_PLACE
#undef LD
#undef LDI
#undef ST
#undef SV_RUNS
#undef SV_FOR

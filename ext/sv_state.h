/* A state in the middle of a run. Only qubits in superposition occupy the vector: one that is known to be |0> or |1>, because nothing
 * has touched it yet or because it was measured, is a single byte. The vector doubles when a gate takes a qubit out of its basis
 * state and halves when a measurement puts it back, and qubit q sits at bit loc[q] of the index, in order of arrival.
 */
#ifndef QFAST_SV_STATE_H
#define QFAST_SV_STATE_H
#include "sv_kernels.h"
#include "sv_plan.h"
#include "crew.h"

#define SV_ZERO (-1) /* loc of a qubit that is |0> */
#define SV_ONE (-2)
#define SV_THREADS_FROM 20 /* qubits; below, a pass takes about as long as starting a thread */
#define SV_PIECE 18 /* a pass is cut into pieces of 2^18 amplitudes (4 MiB in double, well under a millisecond) to poll the flag */

typedef struct {
    const sv_kernels *kernels;
    void *a;       /* amplitudes, layout in sv_simd.h */
    int8_t *loc;   /* of each touched qubit: its bit in the index, SV_ZERO or SV_ONE */
    int k;         /* qubits in the vector */
    int room;      /* and how many it can hold */
    int threads;   /* for large states */
    sv_complex global; /* factor of the whole state */
    const volatile unsigned char *cancel; /* nonzero: stop; may be NULL */
} sv_state;

/* Where amplitude `from` begins, a multiple of the layout's blocks. */
static inline void *sv_from(const sv_kernels *k, void *a, uint64_t from) {
    return (char *)a + from * (uint64_t)k->bytes;
}

static inline sv_complex sv_amplitude(const sv_state *s, uint64_t i) {
    const uint64_t size = UINT64_C(1) << s->kernels->block, at = 2 * (i & ~(size - 1)) + (i & (size - 1));
    if (s->kernels->bytes == 16) {
        const double *a = s->a;
        return (sv_complex){a[at], a[at + size]};
    }
    const float *a = s->a;
    return (sv_complex){a[at], a[at + size]};
}

static inline int sv_cancelled(const sv_state *s) {
    return s->cancel && *s->cancel;
}

static inline int sv_parts(const sv_state *s) {
    return s->k > SV_PIECE ? 1 << (s->k - SV_PIECE) : 1;
}

/* One pass over the state, to be cut into parts. */
typedef struct {
    const sv_state *state;
    int kind, real, t0, t1, parts;
    uint64_t mask, value;
    const double *m;
} sv_pass;

static inline void sv_pass_part(void *context, int worker, int64_t part) {
    const sv_pass *p = context;
    const sv_kernels *k = p->state->kernels;
    void *a = p->state->a;
    const int n = p->state->k, j = (int)part;
    (void)worker;
    switch (p->kind) {
    case SV_PHASE: k->phase(a, n, p->mask, p->value, p->m[0], p->m[1], j, p->parts); break;
    case SV_FLIP: k->flip(a, n, p->t0, p->mask, p->value, j, p->parts); break;
    case SV_SWAP: k->swap(a, n, p->t0, p->t1, p->mask, p->value, j, p->parts); break;
    case SV_MAT1: k->mat1(a, n, p->t0, p->mask, p->value, p->m, p->real, j, p->parts); break;
    case SV_MAT2: k->mat2(a, n, p->t0, p->t1, p->mask, p->value, p->m, p->real, j, p->parts); break;
    default: k->grow(a, n, p->m, j, p->parts);
    }
}

static inline int sv_run_pass(const sv_state *s, sv_pass *p) {
    p->state = s;
    p->parts = sv_parts(s);
    if (p->parts == 1) {
        sv_pass_part(p, 0, 0);
        return SV_OK;
    }
    return crew_share(s->k >= SV_THREADS_FROM ? s->threads : 1, p->parts, s->cancel, sv_pass_part, p) ? SV_CANCELLED : SV_OK;
}

static inline void sv_state_reset(sv_state *s, int32_t num_touched) {
    memset(s->loc, SV_ZERO, (size_t)num_touched);
    s->kernels->clear(s->a);
    s->k = 0;
    s->global = (sv_complex){1, 0};
}

/* Takes qubit q out of its basis state, into column |value> of the matrix m, or unchanged when m is NULL. */
static inline int sv_grow(sv_state *s, int32_t q, const double *m) {
    const int one = s->loc[q] == SV_ONE;
    double c[4] = {!one, 0, one, 0}; /* factors of the lower and of the upper half */
    if (s->k == s->room) return SV_MEMORY;
    if (m) c[0] = m[2 * one], c[1] = m[2 * one + 1], c[2] = m[4 + 2 * one], c[3] = m[5 + 2 * one];
    sv_pass pass = {.kind = -1, .m = c};
    int result = sv_run_pass(s, &pass);
    if (result) return result;
    s->loc[q] = (int8_t)s->k++;
    return SV_OK;
}

/* Applies a gate. A control on a known qubit decides at once; a flip or a swap of known qubits costs nothing. */
static inline int sv_apply(sv_state *s, int kind, int real, const int32_t *t, const uint32_t *ctrl, int nctrl, const double *m) {
    uint64_t mask = 0, value = 0;
    for (int j = 0; j < nctrl; j++) {
        const int8_t at = s->loc[ctrl[j] >> 1];
        const uint64_t wanted = ctrl[j] & 1;
        if (at >= 0) {
            mask |= UINT64_C(1) << at;
            value |= wanted << at;
        } else if ((at == SV_ONE) != (int)wanted) {
            return SV_OK;
        }
    }
    if (kind == SV_PHASE) {
        if (mask == 0) s->global = sv_times(s->global, (sv_complex){m[0], m[1]});
        sv_pass pass = {.kind = kind, .mask = mask, .value = value, .m = m};
        return mask ? sv_run_pass(s, &pass) : SV_OK;
    }
    int8_t *l0 = &s->loc[t[0]], *l1 = kind == SV_SWAP || kind == SV_MAT2 ? &s->loc[t[1]] : l0;
    if (mask == 0) {
        if (kind == SV_FLIP && *l0 < 0) {
            *l0 = *l0 == SV_ZERO ? SV_ONE : SV_ZERO;
            return SV_OK;
        }
        if (kind == SV_SWAP) {
            const int8_t keep = *l0;
            *l0 = *l1;
            *l1 = keep;
            return SV_OK;
        }
        if (kind == SV_MAT1 && *l0 < 0) return sv_grow(s, t[0], m);
    }
    if (kind == SV_SWAP && *l0 < 0 && *l0 == *l1) return SV_OK;
    for (int j = 0; j < 2; j++) {
        int8_t *l = j ? l1 : l0;
        if (*l < 0) {
            int result = sv_grow(s, t[l == l0 ? 0 : 1], NULL);
            if (result) return result;
        }
    }
    sv_pass pass = {.kind = kind, .real = real, .t0 = *l0, .t1 = *l1, .mask = mask, .value = value, .m = m};
    return sv_run_pass(s, &pass);
}

enum { SV_STAR_FROM = 4, SV_STAR_LOW = 8, SV_STAR_HIGH = 10 };

/* entries of the product of the phases whose bits lie in from..from + bits - 1, by doubling; 2^bits entries. */
static inline void sv_star_table(const sv_complex phase[64][2], int from, int bits, sv_complex *out) {
    out[0] = (sv_complex){1, 0};
    for (int b = 0; b < bits; b++)
        for (uint64_t i = 0; i < UINT64_C(1) << b; i++) {
            out[i | (UINT64_C(1) << b)] = sv_times(out[i], phase[from + b][1]);
            out[i] = sv_times(out[i], phase[from + b][0]);
        }
}

/* Phases with a common control: one multiplication per amplitude by a product from two tables, for the low and the high bits. */
static inline int sv_apply_star(sv_state *s, const uint32_t *ctrl, int nctrl, const double *m) {
    const int8_t centre = s->loc[ctrl[0] >> 1];
    const uint64_t on = ctrl[0] & 1;
    int active = 0;
    if (centre < 0 && (centre == SV_ONE) != (int)on) return SV_OK;
    for (int j = 1; j < nctrl; j++) active += s->loc[ctrl[j] >> 1] >= 0;
    if (centre < 0 || active < SV_STAR_FROM || s->k < SV_STAR_LOW || s->k > SV_STAR_LOW + SV_STAR_HIGH) {
        for (int j = 1; j < nctrl; j++) {
            const uint32_t both[2] = {ctrl[0], ctrl[j]};
            int result = sv_apply(s, SV_PHASE, 0, NULL, both, 2, m + 2 * (j - 1));
            if (result) return result;
        }
        return SV_OK;
    }
    sv_complex phase[64][2], whole = {1, 0}, low[1 << SV_STAR_LOW], high[1 << SV_STAR_HIGH];
    for (int b = 0; b < s->k; b++) phase[b][0] = phase[b][1] = (sv_complex){1, 0};
    for (int j = 1; j < nctrl; j++) {
        const int8_t at = s->loc[ctrl[j] >> 1];
        const uint32_t value = ctrl[j] & 1;
        sv_complex *z = at >= 0 ? &phase[at][value] : (at == SV_ONE) == (int)value ? &whole : NULL;
        if (z) *z = sv_times(*z, (sv_complex){m[2 * (j - 1)], m[2 * (j - 1) + 1]});
    }
    double re[1 << SV_STAR_LOW], im[1 << SV_STAR_LOW], keep[1 << SV_STAR_LOW];
    double table[3 << SV_STAR_LOW] __attribute__((aligned(64)));
    sv_star_table((const sv_complex(*)[2])phase, 0, SV_STAR_LOW, low);
    sv_star_table((const sv_complex(*)[2])phase, SV_STAR_LOW, s->k - SV_STAR_LOW, high);
    for (uint64_t i = 0; i < 1 << SV_STAR_LOW; i++) {
        const int held = centre < SV_STAR_LOW && ((i >> centre) & 1) != on; /* the centre is off: stays as it is */
        const sv_complex t = sv_times(low[i], whole);
        re[i] = held ? 0 : t.re;
        im[i] = held ? 0 : t.im;
        keep[i] = held;
    }
    s->kernels->star_table(table, 1 << SV_STAR_LOW, re, im, keep);
    for (uint64_t i = 0; i < UINT64_C(1) << (s->k - SV_STAR_LOW); i++) {
        if (centre >= SV_STAR_LOW && ((i >> (centre - SV_STAR_LOW)) & 1) != on) continue;
        const double c[2] = {high[i].re, high[i].im};
        s->kernels->star(s->a, i << SV_STAR_LOW, 1 << SV_STAR_LOW, table, c);
    }
    return SV_OK;
}

/* p[v] = squared norm of the part of the state in which the qubit at bit t is v, summed in an order that depends on k alone. */
static inline int sv_probabilities(sv_state *s, int t, double p[2]) {
    double lane[16], sum[16] = {0};
    const int parts = s->k > 14 ? 1 << (s->k - 14) : 1;
    for (int part = 0; part < parts; part++) {
        if ((part & 63) == 0 && sv_cancelled(s)) return SV_CANCELLED;
        if (t >= 3) s->kernels->halves(s->a, s->k, t, lane, part, parts);
        else s->kernels->norms(s->a, s->k, lane, part, parts);
        for (int l = 0; l < (t >= 3 ? 16 : 8); l++) sum[l] += lane[l];
    }
    if (t >= 3) {
        p[0] = sv_sum8(sum);
        p[1] = sv_sum8(sum + 8);
        return SV_OK;
    }
    p[0] = p[1] = 0;
    for (int l = 0; l < 8; l++) p[(l >> t) & 1] += sum[l];
    return SV_OK;
}

/* Writes to `out`, which may be the state itself, the half in which the qubit at bit t is v, times `scale`. */
static inline int sv_extract(const sv_state *s, int t, int v, double scale, void *out) {
    return s->kernels->extract(s->a, s->k, t, v, scale, out, s->cancel) ? SV_CANCELLED : SV_OK;
}

/* The bookkeeping of sv_extract: qubit q is known to be v, the qubit at the top moves to its bit. */
static inline void sv_settle(int8_t *loc, int32_t num_touched, int *k, int32_t q, int v) {
    const int8_t t = loc[q];
    const int8_t top = (int8_t)(*k - 1);
    if (t != top)
        for (int32_t j = 0; j < num_touched; j++)
            if (loc[j] == top) {
                loc[j] = t;
                break;
            }
    loc[q] = v ? SV_ONE : SV_ZERO;
    *k = top;
}

#endif

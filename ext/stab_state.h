/* A stabilizer state as a sum over bits:  sum over u of i^(d.u + 2 sum J_ij u_i u_j) |A u + b>, exact up to a factor.
 *
 * Every stabilizer state has this form (Dehaene, De Moor, quant-ph/0304125); keeping it up to date instead of a tableau is due to
 * de Beaudrap and Herbert, "Fast stabiliser simulation with quadratic form expansions", Quantum 6, 803 (2022). It suits sampling:
 * the outcomes of all qubits are A u + b for uniform u, without any elimination at the end, and a gate costs as many words as
 * there are variables in its rows, so circuits of little superposition or local entanglement cost next to nothing.
 *
 * Row q of A and b is the affine form of qubit q. A classical bit has a row, too: measuring copies the qubit's form there. A variable
 * is summed coherently (in `quantum`) or, once a measured form fixes it, a coin: the state is then a mixture over its values.
 * Invariant: each quantum variable v has a pivot, a qubit row that is exactly u_v; so different u give different basis states.
 * J is symmetric with a zero diagonal; A is kept by rows and by columns.
 */
#ifndef QFAST_STAB_STATE_H
#define QFAST_STAB_STATE_H
#include <stdlib.h>
#include <string.h>

#include "stab_kernels.h"

typedef struct {
    const stab_kernels *kernels;
    int64_t num_qubits, num_rows; /* rows: qubits, then classical bits */
    int64_t stride;    /* words of a form: room for 64 stride variables */
    int64_t words;     /* and how many of them are in use */
    int64_t row_words; /* words of a column */
    int64_t sweep_at;  /* when so many words are full, coins that nothing needs are looked for */
    size_t bytes;
    uint64_t *memory;  /* everything below, in one piece */
    uint64_t *d0, *d1; /* d modulo 4, low and high bits */
    uint64_t *quantum, *used;
    uint64_t *f, *g;   /* scratch forms */
    uint64_t *a;       /* num_rows x stride */
    uint64_t *columns; /* 64 stride x row_words */
    uint64_t *j;       /* 64 stride x stride */
    int32_t *row_of;   /* of each qubit: swaps exchange rows by name */
    int32_t *pivots;   /* of each qubit row: the variable it is the pivot of, or -1 */
    int32_t *pivot_of; /* of each variable: its pivot row, or -1 */
    uint8_t *b;        /* of each row */
} stab_state;

#define STAB_EACH(i, form) \
    for (int64_t w_##i = 0; w_##i < s->words; w_##i++) \
        for (uint64_t bits_##i = (form)[w_##i], i = 0; \
             bits_##i && (i = 64 * (uint64_t)w_##i + (uint64_t)__builtin_ctzll(bits_##i), 1); bits_##i &= bits_##i - 1)

static inline int stab_bit(const uint64_t *form, int64_t i) {
    return (form[i >> 6] >> (i & 63)) & 1;
}

static inline void stab_flip(uint64_t *form, int64_t i) {
    form[i >> 6] ^= UINT64_C(1) << (i & 63);
}

static inline uint64_t *stab_row(const stab_state *s, int64_t row) {
    return s->a + row * s->stride;
}

static inline uint64_t *stab_column(const stab_state *s, int64_t v) {
    return s->columns + v * s->row_words;
}

static inline uint64_t *stab_coupling(const stab_state *s, int64_t v) {
    return s->j + v * s->stride;
}

static inline void stab_add(const stab_state *s, uint64_t *to, const uint64_t *from) {
    if (s->words > 4) s->kernels->add(to, from, s->words);
    else for (int64_t k = 0; k < s->words; k++) to[k] ^= from[k];
}

/* J_i += f for all i of `which`. */
static inline void stab_couple(const stab_state *s, const uint64_t *which, const uint64_t *f) {
    s->kernels->spread(s->j, s->stride, which, s->words, f, s->words);
}

static inline int stab_is_zero(const stab_state *s, const uint64_t *form) {
    for (int64_t k = 0; k < s->words; k++)
        if (form[k]) return 0;
    return 1;
}

/* Words of a state of so many rows and so many words a form; SIZE_MAX / 64 where that is beyond all measure. */
static inline size_t stab_words_needed(int64_t num_qubits, int64_t num_rows, int64_t stride) {
    const double rows = (double)num_rows, width = (double)stride, row_words = (double)(num_rows / 64 + 1);
    if (rows * width + 64 * width * row_words + 64 * width * width > 1e15) return SIZE_MAX / 64;
    const size_t w = (size_t)stride, n = (size_t)num_rows;
    return 6 * w + n * w + 64 * w * (n / 64 + 1) + 64 * w * w + (size_t)num_qubits + 1 + 32 * w + n / 8 + 1;
}

/* Allocates |0...0>; 0 when memory is out. */
static inline int stab_state_make(stab_state *s, const stab_kernels *kernels, int64_t num_qubits, int64_t num_rows, int64_t stride) {
    const size_t words = stab_words_needed(num_qubits, num_rows, stride);
    *s = (stab_state){.kernels = kernels, .num_qubits = num_qubits, .num_rows = num_rows, .stride = stride,
                      .row_words = num_rows / 64 + 1, .sweep_at = 1, .bytes = 8 * words};
    uint64_t *at = s->memory = calloc(words, sizeof *at); /* pages that nothing touches cost nothing */
    if (!at) return 0;
    uint64_t **const forms[6] = {&s->d0, &s->d1, &s->quantum, &s->used, &s->f, &s->g};
    for (int k = 0; k < 6; k++, at += stride) *forms[k] = at;
    s->a = at;
    s->columns = s->a + num_rows * stride;
    s->j = s->columns + 64 * stride * s->row_words;
    s->row_of = (int32_t *)(void *)(s->j + 64 * stride * stride);
    s->pivots = s->row_of + num_qubits;
    s->pivot_of = s->pivots + num_qubits;
    s->b = (uint8_t *)(s->pivot_of + 64 * stride);
    for (int64_t q = 0; q < num_qubits; q++) {
        s->row_of[q] = (int32_t)q;
        s->pivots[q] = -1;
    }
    return 1;
}

static inline void stab_state_free(stab_state *s) {
    free(s->memory);
    s->memory = NULL;
}

/* Copies into a new state with room for as many variables or more; 0 when memory is out. */
static inline int stab_state_copy(stab_state *to, const stab_state *s, int64_t stride) {
    if (!stab_state_make(to, s->kernels, s->num_qubits, s->num_rows, stride)) return 0;
    const size_t form = sizeof(uint64_t) * (size_t)s->words, ids = sizeof(int32_t) * (size_t)s->num_qubits;
    uint64_t *const from_forms[4] = {s->d0, s->d1, s->quantum, s->used}, *const to_forms[4] = {to->d0, to->d1, to->quantum, to->used};
    for (int k = 0; k < 4; k++) memcpy(to_forms[k], from_forms[k], form);
    for (int64_t r = 0; r < s->num_rows && s->words; r++) memcpy(stab_row(to, r), stab_row(s, r), form);
    for (int64_t v = 0; v < 64 * s->words; v++) {
        if (!stab_bit(s->used, v)) continue;
        memcpy(stab_column(to, v), stab_column(s, v), sizeof(uint64_t) * (size_t)s->row_words);
        memcpy(stab_coupling(to, v), stab_coupling(s, v), form);
        to->pivot_of[v] = s->pivot_of[v];
    }
    memcpy(to->row_of, s->row_of, ids);
    memcpy(to->pivots, s->pivots, ids);
    memcpy(to->b, s->b, (size_t)s->num_rows);
    to->words = s->words;
    to->sweep_at = s->sweep_at;
    return 1;
}

/* row += form + c. */
static inline void stab_row_add(stab_state *s, int64_t row, const uint64_t *form, int c) {
    STAB_EACH(i, form) stab_flip(stab_column(s, (int64_t)i), row);
    stab_add(s, stab_row(s, row), form);
    s->b[row] ^= (uint8_t)c;
}

static inline void stab_row_clear(stab_state *s, int64_t row) {
    uint64_t *a = stab_row(s, row);
    STAB_EACH(i, a) stab_flip(stab_column(s, (int64_t)i), row);
    memset(a, 0, sizeof *a * (size_t)s->words);
    s->b[row] = 0;
}

/* Multiplies by i^(power y) for the bit y = f.u + c. A parity is sum u_i - 2 sum u_i u_j modulo 4. */
static inline void stab_phase(stab_state *s, const uint64_t *f, int c, int power) {
    power = (c ? -power : power) & 3; /* 1 - y instead of y: the constant is a global phase */
    if (power & 1) {
        stab_couple(s, f, f);
        STAB_EACH(i, f) stab_flip(stab_coupling(s, (int64_t)i), (int64_t)i);
        for (int64_t k = 0; k < s->words; k++) {
            s->d1[k] ^= s->d0[k] & f[k];
            s->d0[k] ^= f[k];
        }
    }
    if (power & 2) stab_add(s, s->d1, f);
}

/* Multiplies by -1 where both bits f.u + c and g.u + e are one. */
static inline void stab_phase_both(stab_state *s, const uint64_t *f, int c, const uint64_t *g, int e) {
    stab_couple(s, f, g);
    stab_couple(s, g, f);
    for (int64_t k = 0; k < s->words; k++) s->d1[k] ^= (f[k] & g[k]) ^ (c ? g[k] : 0) ^ (e ? f[k] : 0); /* u_i u_i = u_i */
}

/* Names anew: u_v becomes u_v + w.u + c everywhere. w has no u_v and is not a row; `g` is overwritten. */
static inline void stab_substitute(stab_state *s, int64_t v, const uint64_t *w, int c) {
    uint64_t *column = stab_column(s, v), *coupling = stab_coupling(s, v);
    const int power = stab_bit(s->d0, v) | stab_bit(s->d1, v) << 1;
    memcpy(s->g, coupling, sizeof *s->g * (size_t)s->words);
    stab_phase(s, w, c, power);
    if (power & 1) { /* i^(u + y - 2 u y) for the sum of two bits */
        STAB_EACH(i, w) stab_flip(stab_coupling(s, (int64_t)i), v);
        stab_add(s, coupling, w);
        if (c) stab_flip(s->d1, v);
    }
    stab_phase_both(s, w, c, s->g, 0);
    s->kernels->spread(s->a, s->stride, column, s->row_words, w, s->words);
    s->kernels->spread(s->columns, s->row_words, w, s->words, column, s->row_words);
    for (int64_t k = 0; c && k < s->row_words; k++)
        for (uint64_t bits = column[k]; bits; bits &= bits - 1) s->b[64 * k + __builtin_ctzll(bits)] ^= 1;
}

/* Puts u_v = 0 and frees it. */
static inline void stab_drop(stab_state *s, int64_t v) {
    uint64_t *column = stab_column(s, v), *coupling = stab_coupling(s, v);
    for (int64_t k = 0; k < s->row_words; k++) {
        for (uint64_t bits = column[k]; bits; bits &= bits - 1) stab_flip(stab_row(s, 64 * k + __builtin_ctzll(bits)), v);
        column[k] = 0;
    }
    STAB_EACH(i, coupling) stab_flip(stab_coupling(s, (int64_t)i), v);
    memset(coupling, 0, sizeof *coupling * (size_t)s->words);
    uint64_t *const forms[4] = {s->d0, s->d1, s->quantum, s->used};
    for (int k = 0; k < 4; k++) forms[k][v >> 6] &= ~(UINT64_C(1) << (v & 63));
}

/* Frees coins that nothing depends on any more; gives how many. */
static inline int64_t stab_sweep(stab_state *s) {
    int64_t freed = 0;
    for (int64_t v = 0; v < 64 * s->words; v++) {
        if (!stab_bit(s->used, v) || stab_bit(s->quantum, v)) continue;
        uint64_t any = 0;
        for (int64_t k = 0; k < s->row_words; k++) any |= stab_column(s, v)[k];
        for (int64_t k = 0; k < s->words; k++) any |= stab_coupling(s, v)[k] & s->quantum[k];
        if (any) continue;
        stab_drop(s, v);
        freed++;
    }
    return freed;
}

/* A free variable, or -1 when there is no room for more. Forms get longer only when a sweep does not free half of the variables, so
 * one has at least half as many new variables before it as it looks at. */
static inline int64_t stab_free_variable(stab_state *s) {
    for (int pass = 0;; pass++) {
        for (int64_t k = 0; k < s->words; k++)
            if (s->used[k] != UINT64_MAX) return 64 * k + __builtin_ctzll(~s->used[k]);
        if (pass || s->words < s->sweep_at) break;
        s->sweep_at = stab_sweep(s) >= 32 * s->words ? s->words : 2 * s->words;
    }
    return s->words < s->stride ? 64 * s->words++ : -1;
}

/* Makes `row`, which has u_v, the pivot of the quantum variable v; the row that was is one no more. */
static inline void stab_repivot(stab_state *s, int64_t v, int64_t row) {
    const int c = s->b[row];
    memcpy(s->f, stab_row(s, row), sizeof *s->f * (size_t)s->words);
    stab_flip(s->f, v);
    if (c || !stab_is_zero(s, s->f)) stab_substitute(s, v, s->f, c);
    s->pivots[s->pivot_of[v]] = -1;
    s->pivots[row] = (int32_t)v;
    s->pivot_of[v] = (int32_t)row;
}

/* Another qubit row than `row` that has u_v, or -1. */
static inline int64_t stab_other_row(const stab_state *s, int64_t v, int64_t row) {
    const uint64_t *column = stab_column(s, v);
    for (int64_t k = 0; 64 * k < s->num_qubits; k++) {
        uint64_t bits = column[k];
        if (k == row >> 6) bits &= ~(UINT64_C(1) << (row & 63));
        if (bits) {
            const int64_t found = 64 * k + __builtin_ctzll(bits);
            return found < s->num_qubits ? found : -1;
        }
    }
    return -1;
}

/* H on a pivot whose variable v occurs in no other row: the sum over u_v can be done. */
static inline void stab_sum_out(stab_state *s, int64_t v, int64_t row) {
    const int power = stab_bit(s->d0, v) | stab_bit(s->d1, v) << 1, c = s->b[row];
    memcpy(s->f, stab_coupling(s, v), sizeof *s->f * (size_t)s->words);
    s->b[row] = 0;
    if (power & 1) { /* 1 + i^p (-1)^y is proportional to i^(-p y), y = J_v.u + the new bit, which takes over v */
        STAB_EACH(i, s->f) stab_flip(stab_coupling(s, (int64_t)i), v);
        memset(stab_coupling(s, v), 0, sizeof *s->f * (size_t)s->words);
        s->d0[v >> 6] &= ~(UINT64_C(1) << (v & 63));
        s->d1[v >> 6] &= ~(UINT64_C(1) << (v & 63));
        stab_flip(s->f, v);
        stab_phase(s, s->f, 0, 4 - power);
        if (c) stab_flip(s->d1, v);
        return;
    }
    stab_drop(s, v); /* 1 + (-1)^y vanishes unless the new bit is J_v.u + d/2 */
    s->pivots[row] = -1;
    if (c) stab_add(s, s->d1, s->f);
    stab_row_add(s, row, s->f, power >> 1);
}

/* H on a qubit; 0 when there is no free variable (nothing has changed then). */
static inline int stab_hadamard(stab_state *s, int64_t q) {
    const int64_t row = s->row_of[q], v = s->pivots[row];
    if (v >= 0) {
        const int64_t other = stab_other_row(s, v, row);
        if (other < 0) {
            stab_sum_out(s, v, row);
            return 1;
        }
        if (stab_free_variable(s) < 0) return 0;
        stab_repivot(s, v, other);
    }
    const int64_t k = stab_free_variable(s);
    if (k < 0) return 0;
    uint64_t *a = stab_row(s, row), *coupling = stab_coupling(s, k);
    STAB_EACH(i, a) {
        stab_flip(stab_coupling(s, (int64_t)i), k);
        stab_flip(stab_column(s, (int64_t)i), row);
    }
    memcpy(coupling, a, sizeof *a * (size_t)s->words);
    memset(a, 0, sizeof *a * (size_t)s->words);
    stab_flip(a, k);
    stab_flip(stab_column(s, k), row);
    stab_flip(s->used, k);
    stab_flip(s->quantum, k);
    if (s->b[row]) stab_flip(s->d1, k);
    s->b[row] = 0;
    s->pivots[row] = (int32_t)k;
    s->pivot_of[k] = (int32_t)row;
    return 1;
}

static inline void stab_cx(stab_state *s, int64_t control, int64_t target) {
    const int64_t from = s->row_of[control], to = s->row_of[target], v = s->pivots[to];
    const uint64_t *a = stab_row(s, from);
    const int c = s->b[from];
    if (v >= 0 && stab_bit(a, v)) {
        stab_repivot(s, v, from);
        stab_row_add(s, to, a, s->b[from]);
    } else if (v >= 0 && !stab_is_zero(s, a)) { /* the pivot stays as it is under a new name: all other rows change */
        memcpy(s->f, a, sizeof *a * (size_t)s->words);
        stab_substitute(s, v, s->f, c);
        stab_row_add(s, to, s->f, c);
    } else {
        stab_row_add(s, to, a, c);
    }
}

static inline void stab_cz(stab_state *s, int64_t p, int64_t q) {
    const int64_t x = s->row_of[p], y = s->row_of[q];
    stab_phase_both(s, stab_row(s, x), s->b[x], stab_row(s, y), s->b[y]);
}

/* i^(power z) on a qubit's bit z. */
static inline void stab_power(stab_state *s, int64_t q, int power) {
    stab_phase(s, stab_row(s, s->row_of[q]), s->b[s->row_of[q]], power);
}

/* i^(power z) on the parity z of two qubits. */
static inline void stab_parity_power(stab_state *s, int64_t p, int64_t q, int power) {
    const int64_t x = s->row_of[p], y = s->row_of[q];
    memcpy(s->f, stab_row(s, x), sizeof *s->f * (size_t)s->words);
    stab_add(s, s->f, stab_row(s, y));
    stab_phase(s, s->f, s->b[x] ^ s->b[y], power);
}

/* Makes a row's form depend on coins only, as a measurement does. */
static inline void stab_decohere(stab_state *s, int64_t row) {
    int64_t v = s->pivots[row];
    const uint64_t *a = stab_row(s, row);
    for (int64_t k = 0; v < 0 && k < s->words; k++)
        if (a[k] & s->quantum[k]) v = 64 * k + __builtin_ctzll(a[k] & s->quantum[k]);
    if (v < 0) return;
    if (s->pivots[row] < 0) stab_repivot(s, v, row);
    s->pivots[row] = -1;
    s->pivot_of[v] = -1;
    stab_flip(s->quantum, v);
}

#endif

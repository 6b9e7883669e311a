/* Exact expectation values of Pauli strings.
 *
 * With a string written as i^y X^x Z^z (y counts its Ys, x and z are masks of bits of the index),
 *     <P> = i^y sum over j of (-1)^|z & j| w(j),  w(j) = conj(a[j ^ x]) a[j].
 * The pair j, j ^ x adds 2 Re w or 2 i Im w, as y is even or odd, so half of the indices will do: those with a zero at the pivot, the
 * highest bit of x (unless that lies within a block of 8). Strings that share x and the parity of y share the products w: taken in
 * runs of SV_RUN, each run is summed with the signs of each string by halving, or, when the strings are many, by one Walsh-Hadamard
 * transform that gives the sums for all z. Either costs a few additions per amplitude. A qubit outside of the vector gives a factor:
 * 0 for X and Y, its sign for Z.
 *
 * Strings whose x agrees above SV_NEAR are taken together, pair of tiles by pair of tiles, so that a large state crosses the memory
 * bus once for all of them. The order of all sums depends on the number of qubits in the vector and on the strings, nothing else.
 */
#ifndef QFAST_SV_EXPECT_H
#define QFAST_SV_EXPECT_H
#include "sv_run.h"

#define SV_RUN 9    /* 2^9 products: 4 KiB */
#define SV_NEAR 13  /* tiles of 2^13 amplitudes, 128 KiB: a pair fits in the second-level cache */
#define SV_DIRECT 6 /* so many different sums of a run cost as much as its transform */

typedef struct {
    uint64_t x, z; /* z: without the pivot's bit */
    double sum;
    int64_t index; /* among the strings asked for */
    int8_t odd;    /* parity of y */
    int8_t sign;   /* of the whole; 0: the value is 0 */
} sv_term;

/* Terms of equal x and odd, one after the other. */
typedef struct {
    int64_t first, count;
    int whole; /* sums for all z are made */
} sv_family;

typedef struct {
    sv_term *terms;
    sv_family *families;
    int64_t num_terms, num_families;
} sv_expect;

static inline void sv_expect_free(sv_expect *e) {
    free(e->terms);
    free(e->families);
}

static inline int sv_pivot(uint64_t x) {
    return x < 8 ? -1 : 63 - __builtin_clzll(x);
}

/* Reads one string, its last character being qubit 0; 0 when it has another character than I, X, Y, Z. */
static inline int sv_read_term(const sv_run *r, const char *text, sv_term *t) {
    const int64_t n = r->circuit->num_qubits;
    int ys = 0, minus = 0, none = 0;
    for (int64_t q = 0; q < n; q++) {
        const char p = text[n - 1 - q];
        if (p == 'I') continue;
        if (p != 'X' && p != 'Y' && p != 'Z') return 0;
        const int32_t id = r->plan->touched[q];
        const int8_t at = id ? r->state.loc[id - 1] : SV_ZERO;
        if (at < 0) {
            if (p == 'Z') minus ^= at == SV_ONE;
            else none = 1;
            continue;
        }
        if (p != 'Z') t->x |= UINT64_C(1) << at;
        if (p != 'X') t->z |= UINT64_C(1) << at;
        ys += p == 'Y';
    }
    t->odd = (int8_t)(ys & 1);
    t->sign = none ? 0 : (minus ^ ((ys + 1) >> 1)) & 1 ? -1 : 1; /* i^y, or i^y i when y is odd */
    if (none) t->x = t->z = 0, t->odd = 0;
    const int pivot = sv_pivot(t->x);
    if (pivot >= 0) {
        const uint64_t below = (UINT64_C(1) << pivot) - 1;
        t->z = (t->z & below) | ((t->z >> 1) & ~below);
    }
    return 1;
}

static inline int sv_compare(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

static inline int sv_compare_terms(const void *a, const void *b) {
    const sv_term *s = a, *t = b;
    const uint64_t low = (1u << SV_RUN) - 1;
    if (s->x != t->x) return sv_compare(s->x, t->x);
    if (s->odd != t->odd) return s->odd - t->odd;
    if ((s->z & low) != (t->z & low)) return sv_compare(s->z & low, t->z & low);
    return sv_compare((uint64_t)s->index, (uint64_t)t->index);
}

/* Reads `count` strings of num_qubits characters, one after the other, and the identity, whose value is the squared norm. */
static inline int sv_expect_init(sv_expect *e, const sv_run *r, const char *text, int64_t count) {
    const uint64_t low = (1u << SV_RUN) - 1;
    e->num_terms = count + 1;
    e->terms = calloc((size_t)count + 1, sizeof *e->terms);
    e->families = malloc(((size_t)count + 1) * sizeof *e->families);
    if (!e->terms || !e->families) return SV_MEMORY;
    for (int64_t j = 0; j < count; j++) {
        if ((j & 63) == 0 && sv_cancelled(&r->state)) return SV_CANCELLED;
        e->terms[j].index = j;
        if (!sv_read_term(r, text + j * r->circuit->num_qubits, &e->terms[j])) return SV_INVALID;
    }
    e->terms[count].index = count;
    e->terms[count].sign = 1;
    qsort(e->terms, (size_t)e->num_terms, sizeof *e->terms, sv_compare_terms);
    int64_t different = 0;
    for (int64_t j = 0; j < e->num_terms; j++) {
        const sv_term *t = &e->terms[j], *before = t - (j > 0);
        if (j == 0 || t->x != before->x || t->odd != before->odd) {
            e->families[e->num_families++] = (sv_family){j, 0, 0};
            different = 0;
        }
        sv_family *f = &e->families[e->num_families - 1];
        if (f->count == 0 || ((t->z ^ before->z) & low)) different++;
        f->whole = different > SV_DIRECT;
        f->count++;
    }
    return SV_OK;
}

/* Adds run `number` of a family's products to the sums of its terms; a run has 2^bits of them. */
static inline void sv_add_run(const sv_state *s, const sv_family *f, sv_term *terms, int bits, uint64_t number) {
    double products[1 << SV_RUN] __attribute__((aligned(64))), value = 0;
    const uint64_t count = UINT64_C(1) << bits, low = count - 1;
    sv_term *t = terms + f->first;
    const int pivot = sv_pivot(t->x);
    const uint64_t fixed = pivot < 0 ? 0 : UINT64_C(1) << pivot;
    s->kernels->products(s->a, sv_deposit(number << bits, fixed), count, t->x, fixed, t->odd, products);
    if (f->whole) s->kernels->walsh(products, count);
    for (int64_t j = 0; j < f->count; j++, t++) {
        if (f->whole) value = products[t->z & low];
        else if (j == 0 || ((t->z ^ t[-1].z) & low)) value = s->kernels->fold(products, count, t->z & low);
        t->sum += __builtin_parityll((t->z >> bits) & number) ? -value : value;
    }
}

/* All sums of families first..end - 1, whose x agrees from bit SV_NEAR on. */
static inline int sv_add_families(const sv_state *s, sv_expect *e, int64_t first, int64_t end) {
    const int k = s->k < 3 ? 3 : s->k, near = k < SV_NEAR ? k : SV_NEAR;
    const int far = e->terms[e->families[first].first].x >> near != 0; /* the pivot chooses among the tiles */
    for (uint64_t tile = 0; tile < UINT64_C(1) << (k - near - far); tile++)
        for (int64_t j = first; j < end; j++) {
            const sv_family *f = &e->families[j];
            const int inside = near - (!far && sv_pivot(e->terms[f->first].x) >= 0), bits = inside < SV_RUN ? inside : SV_RUN;
            const uint64_t runs = UINT64_C(1) << (inside - bits);
            for (uint64_t n = tile * runs; n < (tile + 1) * runs; n++) {
                if (sv_cancelled(s)) return SV_CANCELLED;
                sv_add_run(s, f, e->terms, bits, n);
            }
        }
    return SV_OK;
}

/* out[j] = the expectation value of string j in the state of the run, which is normalized. */
static inline int sv_expect_all(sv_run *r, sv_expect *e, double *out) {
    double norm = 0;
    for (int64_t j = 0, end; j < e->num_families; j = end) {
        const uint64_t far = e->terms[e->families[j].first].x >> SV_NEAR;
        end = j + 1;
        while (end < e->num_families && e->terms[e->families[end].first].x >> SV_NEAR == far) end++;
        const int result = sv_add_families(&r->state, e, j, end);
        if (result) return result;
    }
    for (int64_t j = 0; j < e->num_terms; j++)
        if (e->terms[j].index == e->num_terms - 1) norm = e->terms[j].sum;
    if (!(norm > 0 && isfinite(norm))) {
        r->error = "the state lost its norm";
        return SV_RUNTIME;
    }
    for (int64_t j = 0; j < e->num_terms; j++) {
        const sv_term *t = &e->terms[j];
        const double value = t->sign * (sv_pivot(t->x) < 0 ? 1 : 2) * t->sum / norm;
        if (t->index < e->num_terms - 1) out[t->index] = value < -1 ? -1 : value > 1 ? 1 : value + 0.0; /* no -0 */
    }
    return SV_OK;
}

#endif

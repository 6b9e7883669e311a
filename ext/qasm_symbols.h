/* Names and their scopes, registers, and the hints that unknown names get. */
#ifndef QFAST_QASM_SYMBOLS_H
#define QFAST_QASM_SYMBOLS_H
#include "qasm_text.h"

enum qc_symbol_kind {
    S_QUBITS = 1, /* a register, one qubit, an alias, or a formal qubit of a gate */
    S_BITS,       /* classical bits: a register, an alias, or one bit */
    S_GATE,
    S_OPAQUE,
    S_VARIABLE,  /* one cell */
    S_CONSTANT,  /* a value known for good */
    S_ARRAY,     /* cells in row-major order */
    S_PARAMETER, /* a formal parameter of a gate */
    S_SUBROUTINE,
    S_NOTHING, /* a duration or stretch: declared, without effect */
    S_BROKEN   /* its declaration is wrong: statements that use it are given up without a further report */
};

struct qc_gate;
struct qc_subroutine;

/* Qubits or bits, in order: first, first + 1, ... or the list. A bit of space 1 is bit (index & 63) of the cell (index
 * >> 6). */
typedef struct {
    int32_t count, first, is_register, space;
    const int32_t *list;
    int32_t choice, among; /* choice: 0, or 1 + the variable that says at run time which of `among` ones it is */
} qc_refs;

typedef struct {
    uint8_t type, known, literal; /* enum qc_type; literal: an integer literal, which takes the type of its partner */
    uint8_t cast_of_bits;         /* int[n] of a bit register: compared with literals modulo 2^n */
    int32_t width;                /* bits */
    int64_t bits;                 /* when known: int64, or the pattern of a float64; of a wide value the first cell */
    int64_t imag;                 /* of a complex number */
} qc_value;

/* An array or a part of one. first: the cell of its first element; the array's own cells are base .. base + span - 1 */
typedef struct {
    int32_t first, base, span, num_dims, dims[7], strides[7];
} qc_view;

typedef struct qc_symbol {
    uint64_t key;
    const char *name;
    int32_t length, next, scope;
    uint8_t kind, type, is_const, is_input;
    int32_t width;
    qc_refs refs;  /* S_QUBITS, S_BITS */
    int32_t cell;  /* S_VARIABLE, first of S_ARRAY; index of S_PARAMETER */
    qc_value value;
    qc_view view; /* S_ARRAY */
    const struct qc_gate *gate;
    const struct qc_subroutine *subroutine;
} qc_symbol;

static inline int32_t qc_ref(const qc_refs *r, int32_t k) { return r->list ? r->list[k] : r->first + k; }

static int qc_refer_to(const qc_refs *r, int32_t index) {
    for (int32_t k = 0; k < r->count; k++)
        if (qc_ref(r, k) == index) return 1;
    return 0;
}

static inline uint32_t qc_bucket(const qc *c, uint64_t key) {
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - c->bucket_bits));
}

static void qc_rehash(qc *c) {
    int32_t bits = c->bucket_bits + 2, size = 1 << bits;
    qc_count_memory(c, (size_t)size * sizeof(int32_t));
    int32_t *buckets = malloc((size_t)size * sizeof *buckets);
    if (buckets == NULL) qc_fail(c, QC_MEMORY, "out of memory");
    memset(buckets, -1, (size_t)size * sizeof *buckets);
    if (c->buckets != c->first_buckets) free(c->buckets);
    c->buckets = buckets;
    c->bucket_bits = bits;
    for (int32_t k = 0; k < c->num_symbols; k++) { /* oldest first, so that the newest stands at the head */
        uint32_t b = qc_bucket(c, c->symbols[k].key);
        c->symbols[k].next = buckets[b];
        buckets[b] = k;
    }
}

static inline int qc_same_name(const qc_symbol *s, const qc_tok *t) {
    return s->key == t->key && (s->length <= 8 || (s->length == t->end - t->begin && memcmp(s->name, t->begin,
                                                                                            (size_t)s->length) == 0));
}

/* The innermost visible symbol of that name, NULL where there is none. Below the wall, that is from within the body of
 * a gate or a subroutine, only global gates, subroutines and constants are seen. */
static qc_symbol *qc_look_up(qc *c, const qc_tok *t) {
    for (int32_t k = c->buckets[qc_bucket(c, t->key)]; k >= 0; k = c->symbols[k].next) {
        qc_symbol *s = &c->symbols[k];
        if (!qc_same_name(s, t)) continue;
        if (s->scope >= c->wall || s->kind == S_BROKEN) return s;
        if (s->scope == 0 && (s->kind == S_GATE || s->kind == S_OPAQUE || s->kind == S_SUBROUTINE ||
                              (s->is_const && !s->is_input) || s->kind == S_NOTHING))
            return s;
    }
    return NULL;
}

/* The same; a statement that uses a broken name is given up. */
static qc_symbol *qc_find(qc *c, const qc_tok *t) {
    qc_symbol *s = qc_look_up(c, t);
    if (s != NULL && s->kind == S_BROKEN) qc_abandon(c);
    return s;
}

static qc_symbol *qc_find_kind(qc *c, const qc_tok *t, int kind, int other) {
    for (int32_t k = c->buckets[qc_bucket(c, t->key)]; k >= 0; k = c->symbols[k].next)
        if ((c->symbols[k].kind == kind || c->symbols[k].kind == other) && qc_same_name(&c->symbols[k], t))
            return &c->symbols[k];
    return NULL;
}

/* Adds a symbol to the current scope. The pointer holds until the next declaration. */
static qc_symbol *qc_declare(qc *c, const qc_tok *name, int kind) {
    for (int32_t k = c->buckets[qc_bucket(c, name->key)]; k >= 0; k = c->symbols[k].next) {
        if (c->symbols[k].scope == c->scope && qc_same_name(&c->symbols[k], name) && c->symbols[k].kind != S_BROKEN)
            qc_fail_tok(c, QC_SYNTAX, name, "%s is already defined", qc_named(c, name));
    }
    if (c->num_symbols == c->cap_symbols) {
        qc_count_memory(c, (size_t)(c->cap_symbols + 16) * sizeof *c->symbols);
        c->symbols = qc_grow(c, c->symbols, &c->cap_symbols, c->num_symbols + 1, sizeof *c->symbols, 1 << 23);
    }
    if (c->num_symbols >> c->bucket_bits > 1) qc_rehash(c);
    qc_symbol *s = &c->symbols[c->num_symbols];
    memset(s, 0, sizeof *s);
    uint32_t b = qc_bucket(c, name->key);
    s->key = name->key;
    s->name = name->begin;
    s->length = (int32_t)(name->end - name->begin);
    s->scope = c->scope;
    s->kind = (uint8_t)kind;
    s->next = c->buckets[b];
    c->buckets[b] = c->num_symbols++;
    return s;
}

static void qc_open_scope(qc *c) {
    qc_nest(c);
    c->scope++;
}

static void qc_close_scope(qc *c) {
    while (c->num_symbols > 0 && c->symbols[c->num_symbols - 1].scope == c->scope) {
        qc_symbol *s = &c->symbols[--c->num_symbols];
        c->buckets[qc_bucket(c, s->key)] = s->next;
    }
    c->scope--;
    c->nesting--;
}

/* The name of a new thing: the current token, which it reads over. */
static qc_tok qc_name(qc *c, const char *of_what) {
    qc_tok name = c->t;
    if (name.kind != T_IDENT) qc_unexpected(c, of_what);
    qc_next(c);
    return name;
}

static void qc_add_register(qc *c, const qc_tok *name, int32_t size, int is_classical) {
    if (c->num_regs == c->cap_regs) {
        qc_count_memory(c, (size_t)(c->cap_regs + 16) * 16);
        c->regs = qc_grow(c, c->regs, &c->cap_regs, c->num_regs + 1, 4 * sizeof(int32_t), 1 << 24);
    }
    int32_t *r = &c->regs[4 * c->num_regs++];
    r[0] = (int32_t)(name->begin - c->source);
    r[1] = (int32_t)(name->end - name->begin);
    r[2] = size;
    r[3] = is_classical;
}

/* Declares a register of qubits or global bits. */
static qc_symbol *qc_declare_register(qc *c, const qc_tok *name, uint64_t size, int is_classical, int is_register) {
    int64_t *total = is_classical ? &c->num_clbits : &c->num_qubits;
    if (size > QC_MAX_QUBITS || *total + (int64_t)size > QC_MAX_QUBITS)
        qc_fail_tok(c, QC_LIMIT, name, "the program declares more than %d %s", QC_MAX_QUBITS, is_classical
                    ? "classical bits" : "qubits");
    if (!is_classical && c->max_hardware)
        qc_fail_tok(c, QC_UNSUPPORTED, name, "declared qubits beside physical qubits are not supported");
    qc_symbol *s = qc_declare(c, name, is_classical ? S_BITS : S_QUBITS);
    s->refs = (qc_refs){(int32_t)size, (int32_t)*total, is_register, 0, NULL};
    *total += (int64_t)size;
    qc_add_register(c, name, (int32_t)size, is_classical);
    return s;
}

/* ---- hints */

/* Damerau-Levenshtein distance (adjacent exchanges count one), for names of up to 23 bytes; 99 for longer ones. */
static int qc_distance(const char *a, size_t n, const char *b, size_t m) {
    int d[24][24];
    if (n > 23 || m > 23) return 99;
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = (int)(i + j);
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

typedef struct {
    const char *name;
    size_t length;
    int distance;
} qc_guess;

static void qc_consider(qc_guess *g, const qc_tok *t, const char *name, size_t length) {
    ptrdiff_t own = t->end - t->begin;
    int limit = own > 4 ? 2 : own > 2 ? 1 : 0, d = qc_distance(t->begin, (size_t)(t->end - t->begin), name, length);
    if (d > 0 && d <= limit && d < g->distance) *g = (qc_guess){name, length, d};
}

static void qc_consider_gates(qc *c, qc_guess *g, const qc_tok *t);
static void qc_consider_words(qc *c, qc_guess *g, const qc_tok *t, int kind);

/* Whether the name was reported before; what else uses it is no new error. */
static int qc_is_reported(qc *c, const qc_tok *t) {
    for (int k = 0; k < c->num_unknown; k++)
        if (c->unknown[k] == t->key) return 1;
    if (c->num_unknown < QC_MAX_ERRORS) c->unknown[c->num_unknown++] = t->key;
    return 0;
}

/* A name means nothing here. `kind`: the kind of symbol that was looked for, 0 for any but gates. */
static _Noreturn void qc_unknown(qc *c, const qc_tok *t, const char *what, int kind) {
    qc_guess guess = {NULL, 0, 99};
    const char *name = qc_named(c, t);
    if (qc_is_reported(c, t) || (kind == S_GATE && c->library_is_missing)) qc_abandon(c);
    for (int32_t k = c->num_symbols - 1; k >= 0 && c->num_symbols - k < 20000; k--) {
        const qc_symbol *s = &c->symbols[k];
        if (kind == S_GATE ? s->kind == S_GATE || s->kind == S_SUBROUTINE : kind ? s->kind == kind : s->kind != S_GATE)
            qc_consider(&guess, t, s->name, (size_t)s->length);
    }
    if (kind == S_GATE) qc_consider_gates(c, &guess, t);
    qc_consider_words(c, &guess, t, kind);
    if (guess.name != NULL)
        c->is_declaring = qc_text_is(guess.name, guess.name + guess.length, QC_DECLARES);
    if (guess.name != NULL)
        snprintf(c->hint, sizeof c->hint, "did you mean %s?", qc_quote(c, guess.name, guess.length));
    qc_fail_tok(c, QC_SYNTAX, t, "%s %s is not defined%s%s", what, name, c->hint[0] ? ", " : "", c->hint);
}

#endif

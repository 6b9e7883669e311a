/* The front end's state, its limits, its errors and its memory.
 *
 * A program is compiled in one pass straight from its UTF-8 text: the lexer holds one token, and going back (a loop
 * body, a subroutine) means to set the position back. An error leaves by longjmp to qc_compile; whatever was allocated
 * hangs on the state and is freed there. Nothing here touches Python, so the compiler runs without the GIL.
 */
#ifndef QFAST_QASM_STATE_H
#define QFAST_QASM_STATE_H
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classical.h"

#define QC_MAX_SOURCE (10 << 20)   /* bytes of a program */
#define QC_MAX_INSTR 10000000      /* instructions after expansion */
#define QC_MAX_WORK 40000000       /* nodes visited in an expansion, and the like */
#define QC_MAX_STATEMENTS 4000000  /* statements executed at compile time */
#define QC_MAX_QUBITS (1 << 24)
#define QC_MAX_NESTING 200         /* parentheses, blocks, calls */
#define QC_MAX_CONTROLS 32
#define QC_MAX_MEMORY (512u << 20) /* bytes of tables */
#define QC_MAX_NAME 1024           /* bytes of a name */
#define QC_QUOTED 60               /* characters of the program that a message repeats */

enum qc_error {
    QC_OK = 0,
    QC_SYNTAX = 102,      /* the program is wrong */
    QC_IMPOSSIBLE = 103,  /* right, but nothing can run it */
    QC_UNSUPPORTED = 104, /* right, but beyond this front end */
    QC_LIMIT = 120,
    QC_MEMORY = 1
};

enum qc_token {
    T_EOF = 0, /* single characters stand for themselves */
    T_IDENT = 128, T_INT, T_REAL, T_STRING, T_HARDWARE, T_TIMING, T_IMAGINARY,
    T_ARROW, T_EQ, T_NE, T_LE, T_GE, T_SHL, T_SHR, T_AND, T_OR, T_POW, T_CONCAT,
    T_ASSIGN_OP /* compound assignment; the operator's token stands in c->assign_op */
};

/* An identifier of at most eight bytes as one number, so that keywords are cases of a switch. */
#define QC_BYTE(x, at) ((uint64_t)(uint8_t)(x) << 8 * (at))
#define QC_KEY(a, b, c, d, e, f, g, h) \
    (QC_BYTE(a, 0) | QC_BYTE(b, 1) | QC_BYTE(c, 2) | QC_BYTE(d, 3) | QC_BYTE(e, 4) | QC_BYTE(f, 5) | \
     QC_BYTE(g, 6) | QC_BYTE(h, 7))

typedef struct qc_chunk {
    struct qc_chunk *next;
    size_t size;
} qc_chunk;

/* Instructions with their operands and parameters. */
typedef struct {
    qf_instr *code;
    int32_t *qubits;
    double *params;
    int32_t n, cap, num_qubits, cap_qubits, num_params, cap_params;
} qc_buffer;

typedef struct {
    int kind, assign_op, has_number_overflow;
    const char *begin, *end;
    uint64_t key;     /* identifiers: the text up to eight bytes, else a hash with the top bit set */
    uint64_t integer; /* T_INT, T_HARDWARE */
    double real;      /* T_INT, T_REAL, T_TIMING (seconds; dt counts as 1) */
} qc_tok;

/* The value of an input parameter of an OpenQASM 3 program. */
typedef struct {
    const char *name;
    int32_t length, used;
    double value;
} qc_input;

struct qc_symbol;
struct qc_cell;
struct qc_frame;
struct qc_loop;
struct qc_body;

typedef struct {
    const char *source, *end, *at, *previous_end;
    qc_tok t; /* the current token */
    int version, nesting, skipping, gates_in_scope;
    qc_input *inputs; /* NULL: none are given */
    int32_t num_inputs;
    int64_t statements, work;

    qc_buffer main, definitions, *out;
    int32_t stack_depth, measurements, has_classical, implicit;

    struct qc_symbol *symbols;
    int32_t num_symbols, cap_symbols, scope, wall; /* wall: the scope of the body that is being compiled */
    int32_t *buckets, bucket_bits;

    int64_t num_qubits, num_clbits, max_hardware;
    int32_t hardware_at; /* byte offset of a dollar sign */
    int32_t *regs; /* symbol-independent list: name offset, name length, size, is classical */
    int32_t num_regs, cap_regs;

    struct qc_cell *cells, *bit_cells;
    int32_t num_cells, max_cells, cap_cells, num_bit_cells, cap_bit_cells;
    struct qc_frame *frame;
    struct qc_loop *loop;
    struct qc_body *body; /* of the gate that is being defined */
    int32_t dynamic, in_gate, stamp;

    char *arena, *arena_end;
    qc_chunk *chunks;
    size_t memory;

    int error, num_quoted;
    const char *error_begin, *error_end;
    char hint[128], message[512];
    /* from here on the members need no initial value */
    char quoted[4][4 * QC_QUOTED + 8];
    int32_t first_buckets[256];
    char first_arena[4096] __attribute__((aligned(16)));
    jmp_buf leave;
} qc;

/* ---- errors */

/* The text in quotes, cut to QC_QUOTED characters, control characters masked; valid until four more are made. */
static const char *qc_quote(qc *c, const char *begin, size_t length) {
    char *buffer = c->quoted[c->num_quoted++ & 3], *out = buffer;
    const char *end = begin + length;
    int characters = 0;
    *out++ = '\'';
    for (; begin < end; begin++) {
        if (((uint8_t)*begin & 0xC0) != 0x80 && characters++ == QC_QUOTED) break;
        if (out - buffer > 4 * QC_QUOTED) break;
        *out++ = (uint8_t)*begin < 32 || *begin == 127 ? '?' : *begin;
    }
    if (begin < end) {
        memcpy(out, "...", 3);
        out += 3;
    }
    *out++ = '\'';
    *out = 0;
    return buffer;
}

/* The text of a token in quotes. */
static const char *qc_named(qc *c, const qc_tok *t) { return qc_quote(c, t->begin, (size_t)(t->end - t->begin)); }

static _Noreturn void qc_fail_at(qc *c, int error, const char *begin, const char *end, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static _Noreturn void qc_fail_at(qc *c, int error, const char *begin, const char *end, const char *format, ...) {
    va_list arguments;
    c->error = error;
    c->error_begin = begin;
    c->error_end = end > begin ? end : begin + 1;
    va_start(arguments, format);
    vsnprintf(c->message, sizeof c->message, format, arguments);
    va_end(arguments);
    longjmp(c->leave, 1);
}

/* At the current token. */
#define qc_fail(c, error, ...) qc_fail_at(c, error, (c)->t.begin, (c)->t.end, __VA_ARGS__)
#define qc_fail_tok(c, error, tok, ...) qc_fail_at(c, error, (tok)->begin, (tok)->end, __VA_ARGS__)

static const char *qc_token_text(qc *c) {
    return c->t.kind == T_EOF ? "the end of the program" : qc_named(c, &c->t);
}

/* The current token can't stand here. Where something is missing at the end of a line, the position is there and not in
 * the next one. */
static _Noreturn void qc_unexpected(qc *c, const char *expected) {
    const char *begin = c->t.begin, *end = c->t.end;
    int next_line = c->t.kind == T_EOF || memchr(c->previous_end, '\n', (size_t)(begin - c->previous_end)) != NULL;
    int after_statement = c->previous_end > c->source && strchr(";{}", c->previous_end[-1]) != NULL;
    if (next_line && !after_statement && c->previous_end > c->source) {
        begin = c->previous_end;
        end = begin + 1;
    }
    qc_fail_at(c, QC_SYNTAX, begin, end, "can not parser the sentence at token: %s, expected %s", qc_token_text(c),
               expected);
}

static void qc_spend(qc *c, int64_t work) {
    if ((c->work += work) > QC_MAX_WORK)
        qc_fail(c, QC_LIMIT, "the program takes more than %d steps to compile", QC_MAX_WORK);
}

static void qc_nest(qc *c) {
    if (++c->nesting > QC_MAX_NESTING) qc_fail(c, QC_LIMIT, "nested more than %d deep", QC_MAX_NESTING);
}

/* ---- memory */

static void qc_count_memory(qc *c, size_t bytes) {
    if ((c->memory += bytes) > QC_MAX_MEMORY)
        qc_fail(c, QC_LIMIT, "the program's tables take more than %u MiB", QC_MAX_MEMORY >> 20);
}

static void *qc_alloc(qc *c, size_t bytes) {
    bytes = (bytes + 15) & ~(size_t)15;
    if ((size_t)(c->arena_end - c->arena) < bytes) {
        size_t size = bytes > 65536 - sizeof(qc_chunk) ? bytes + sizeof(qc_chunk) : 65536;
        qc_count_memory(c, size);
        qc_chunk *chunk = malloc(size);
        if (chunk == NULL) qc_fail(c, QC_MEMORY, "out of memory");
        chunk->next = c->chunks;
        chunk->size = size;
        c->chunks = chunk;
        c->arena = (char *)chunk + sizeof(qc_chunk);
        c->arena_end = (char *)chunk + size;
    }
    void *result = c->arena;
    c->arena += bytes;
    return result;
}

/* Makes room for `need` elements by doubling. */
static void *qc_grow(qc *c, void *old, int32_t *cap, int64_t need, size_t size, int64_t limit) {
    int64_t next = *cap ? *cap : 16;
    if (need > limit)
        qc_fail(c, QC_LIMIT, "the program expands to more than %lld instructions or operands", (long long)limit);
    while (next < need) next *= 2;
    if (next > limit) next = limit;
    void *result = realloc(old, (size_t)next * size);
    if (result == NULL) qc_fail(c, QC_MEMORY, "out of memory");
    *cap = (int32_t)next;
    return result;
}

#endif

/* The front end's state, its limits and its memory.
 *
 * A program is compiled in one pass straight from its UTF-8 text: the lexer holds one token, and going back (a loop
 * body, a subroutine) means to set the position back. An error leaves by longjmp; whatever was allocated hangs on the
 * state and is freed in the end. Nothing here touches Python, so the compiler runs without the GIL.
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
#define QC_MAX_WORK 40000000       /* nodes visited in an expansion, bytes read again in a loop, and the like */
#define QC_MAX_STATEMENTS 400000   /* statements executed at compile time in loops and subroutines */
#define QC_MAX_QUBITS (1 << 24)
#define QC_MAX_NESTING 200         /* parentheses, blocks, calls */
#define QC_MAX_CONTROLS 32
#define QC_MAX_MEMORY (512u << 20) /* bytes of tables */
#define QC_MAX_NAME 1024           /* bytes of a name */
#define QC_QUOTED 60               /* characters of the program that a message repeats */
#define QC_MAX_ERRORS 20           /* errors that one answer tells */

enum qc_error {
    QC_OK = 0,
    QC_SYNTAX = 102,      /* the program is wrong */
    QC_IMPOSSIBLE = 103,  /* right, but nothing can run it */
    QC_UNSUPPORTED = 104, /* right, but beyond this front end */
    QC_LIMIT = 120,
    QC_MEMORY = 1,
    QC_VALUE = 2 /* the program is wrong where this is executed: told as QC_SYNTAX */
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

typedef struct {
    int kind;
    const char *begin, *end;
    char hint[160], message[512];
} qc_report;

/* The circuit as far as it has been written. */
typedef struct {
    int32_t n, num_operands, num_params, measurements, has_classical, num_cells, max_cells, num_regs, hardware_at;
    int64_t num_qubits, num_clbits, max_hardware, statements, work;
} qc_snapshot;

struct qc_recovery;
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
    int32_t *opened, num_opened, cap_opened; /* inputs left open: name offset, name length, cell, width of an angle or 0 */
    int is_open;                             /* the inputs get their values later (qasm_bind.h) */
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

    /* errors (qasm_errors.h). checking: the text is looked at, not executed, and what is emitted is thrown away;
     * doubtful: within that, it may be that no run comes here */
    int checking, doubtful, has_ended, num_errors, num_unknown, library_is_missing, num_quoted;
    int is_declaring, is_unclosed, num_abandoned; /* declaring: the wrong statement has a mistake in its first word */
    struct qc_recovery *recovery;
    qc_snapshot at_end; /* where has_ended */
    const char *resume; /* where to go on after the error, when that is known */
    char hint[160];
    /* from here on the members need no initial value */
    uint64_t unknown[QC_MAX_ERRORS]; /* names that were reported */
    qc_report errors[QC_MAX_ERRORS];
    char quoted[4][4 * QC_QUOTED + 8];
    int32_t first_buckets[256];
    char first_arena[4096] __attribute__((aligned(16)));
    jmp_buf leave;
} qc;

#endif

/* From the text of a program to the compact circuit. */
#ifndef QFAST_QASM_COMPILE_H
#define QFAST_QASM_COMPILE_H
#include "qasm2.h"
#include "qasm3.h"

/* Names of other letters than those of ASCII are OpenQASM 3's. */
static int qc_is_greek(const qc *c) {
    if (c->t.kind != T_IDENT) return 0;
    for (const char *p = c->t.begin; p < c->t.end; p++)
        if ((uint8_t)*p > 127) return 1;
    return 0;
}

/* A program without a version line is OpenQASM 3 when it carries a mark of it: a statement or a file that OpenQASM 2
 * lacks. */
static int qc_guess_version(qc *c) {
    const char *start = c->t.begin;
    int statement = 1, version = 2;
    for (int32_t seen = 0; c->t.kind != T_EOF && seen < 10000; seen++) {
        if (c->t.kind == T_STRING && c->t.end - c->t.begin == 14 && memcmp(c->t.begin, "\"stdgates.inc\"", 14) == 0)
            version = 3;
        if (statement && c->t.kind == T_IDENT) {
            switch (c->t.key) {
            case QC_KEY('q', 'u', 'b', 'i', 't', 0, 0, 0): case QC_KEY('b', 'i', 't', 0, 0, 0, 0, 0):
            case QC_KEY('d', 'e', 'f', 0, 0, 0, 0, 0): case QC_KEY('c', 'o', 'n', 's', 't', 0, 0, 0):
            case QC_KEY('l', 'e', 't', 0, 0, 0, 0, 0): case QC_KEY('i', 'n', 't', 0, 0, 0, 0, 0):
            case QC_KEY('u', 'i', 'n', 't', 0, 0, 0, 0): case QC_KEY('f', 'l', 'o', 'a', 't', 0, 0, 0):
            case QC_KEY('a', 'n', 'g', 'l', 'e', 0, 0, 0): case QC_KEY('b', 'o', 'o', 'l', 0, 0, 0, 0):
            case QC_KEY('a', 'r', 'r', 'a', 'y', 0, 0, 0): case QC_KEY('i', 'n', 'p', 'u', 't', 0, 0, 0):
            case QC_KEY('o', 'u', 't', 'p', 'u', 't', 0, 0): case QC_KEY('e', 'x', 't', 'e', 'r', 'n', 0, 0):
            case QC_KEY('c', 't', 'r', 'l', 0, 0, 0, 0): case QC_KEY('i', 'n', 'v', 0, 0, 0, 0, 0):
            case QC_KEY('c', 'a', 'l', 0, 0, 0, 0, 0): case QC_KEY('d', 'e', 'f', 'c', 'a', 'l', 0, 0):
            case QC_KEY('s', 't', 'r', 'e', 't', 'c', 'h', 0): case QC_KEY('d', 'u', 'r', 'a', 't', 'i', 'o', 'n'):
            case QC_KEY('b', 'o', 'x', 0, 0, 0, 0, 0): case QC_KEY('s', 'w', 'i', 't', 'c', 'h', 0, 0):
            case QC_KEY('n', 'e', 'g', 'c', 't', 'r', 'l', 0): case QC_KEY('g', 'p', 'h', 'a', 's', 'e', 0, 0):
            case QC_KEY('c', 'o', 'm', 'p', 'l', 'e', 'x', 0): case QC_KEY('d', 'e', 'l', 'a', 'y', 0, 0, 0):
            case QC_KEY('f', 'o', 'r', 0, 0, 0, 0, 0):
            case QC_KEY('w', 'h', 'i', 'l', 'e', 0, 0, 0): version = 3; break;
            case QC_KEY('q', 'r', 'e', 'g', 0, 0, 0, 0):
            case QC_KEY('c', 'r', 'e', 'g', 0, 0, 0, 0): seen = 10000; break;
            default: break;
            }
        }
        if (qc_token_is(&c->t, "defcalgrammar") || qc_is_greek(c)) version = 3;
        if (version == 3 || c->t.kind == T_HARDWARE) break;
        statement = c->t.kind == ';' || c->t.kind == '{' || c->t.kind == '}';
        qc_next(c);
    }
    c->version = 0;
    qc_seek(c, start);
    return version;
}

/* The version line, if there is one; sets c->version. `wanted`: 2, 3, or 0 for any. */
static void qc_version(qc *c, int wanted) {
    if (!qc_is_word(c, QC_KEY('O', 'P', 'E', 'N', 'Q', 'A', 'S', 'M'))) {
        const char *start = c->t.begin;
        c->version = wanted ? wanted : qc_guess_version(c);
        qc_seek(c, start);
        return;
    }
    qc_next(c);
    if (c->t.kind != T_INT && c->t.kind != T_REAL) qc_unexpected(c, "a version number");
    size_t length = (size_t)(c->t.end - c->t.begin);
    const char *text = c->t.begin;
    int is_two = *text == '2' && (length == 1 || (length == 3 && text[1] == '.' && text[2] == '0'));
    int is_three = *text == '3' && (length == 1 || (length == 3 && text[1] == '.'));
    if (!is_two && !is_three)
        snprintf(c->hint, sizeof c->hint, "write: OPENQASM 3.0; or OPENQASM 2.0;");
    if (!is_two && !is_three)
        qc_fail(c, QC_SYNTAX, "OpenQASM version %s is not known, expected 2.0 or 3.0", qc_token_text(c));
    if (wanted && wanted != (is_two ? 2 : 3)) {
        snprintf(c->hint, sizeof c->hint, "submit it with code_type qasm%d or qasm", 5 - wanted);
        qc_fail(c, QC_SYNTAX, "the program is OpenQASM %s, expected version %d, %s", qc_token_text(c), wanted, c->hint);
    }
    qc_next(c);
    if (c->t.kind != ';') qc_unexpected(c, "';'");
    c->version = is_two ? 2 : 3;
    qc_next(c);
}

static int qc_reads_variables(const qc *c) {
    for (int32_t k = 0; k < c->main.n; k++)
        if (c->main.code[k].op == QF_LDVAR || c->main.code[k].op == QF_LDVARAT) return 1;
    return 0;
}

/* Leaves out what has no effect: with no measurement, all that is classical (every value was known); without a variable
 * that is read, the stores to variables. Jump targets move along. */
static void qc_tidy(qc *c) {
    qf_instr *code = c->main.code;
    int32_t n = c->main.n, to = 0;
    int all = !c->measurements && !c->num_opened, stores = !qc_reads_variables(c);
    if (!all && !stores) return;
    qc_mark_t mark = qc_mark(c);
    int32_t *moved = qc_alloc(c, ((size_t)n + 1) * sizeof *moved);
    for (int32_t k = 0; k < n; k++) {
        int is_push = code[k].op == QF_PUSHI || code[k].op == QF_PUSHF;
        moved[k] = to;
        if (all && code[k].op >= QF_JUMP) continue;
        if (stores && is_push && k + 1 < n && code[k + 1].op == QF_STVAR) {
            moved[++k] = to;
            continue;
        }
        code[to++] = code[k];
    }
    moved[n] = to;
    c->main.n = to;
    for (int32_t k = 0; k < to; k++)
        if (code[k].op == QF_JUMP || code[k].op == QF_JUMPZ) code[k].c = moved[code[k].c];
    qc_release(c, mark);
}

/* The stack machine relies on the check; that it fails would be a defect of this compiler. */
static void qc_prove(qc *c) {
    int64_t where, clbits = c->implicit ? c->num_qubits : c->num_clbits;
    int8_t *depth = malloc((size_t)c->main.n + 1);
    if (depth == NULL) qc_fail(c, QC_MEMORY, "out of memory");
    int32_t error = qf_classical_check(c->main.code, c->main.n, c->main.num_qubits, c->main.num_params, clbits,
                                       c->max_cells, depth, &where);
    free(depth);
    if (error)
        qc_fail(c, QC_UNSUPPORTED, "this program is not supported: %s at instruction %lld", qf_machine_text(error),
                (long long)where);
}

/* A program that measures nothing is measured on all qubits at its end. */
static void qc_measure_all(qc *c) {
    double *none;
    for (int64_t q = 0; q < c->num_qubits; q++) {
        *qc_emit_gate(c, QF_MEASURE, 0, 0, 1, 0, &none) = (int32_t)q;
        c->out->code[c->out->n - 1].c = (int32_t)q;
    }
}

/* All statements; a wrong one is reported and given up, and the others are checked. */
static void qc_program(qc *c, int wanted) {
    qc_recovery guard;
    c->t.begin = c->at;
    qc_guard(c, &guard);
    if (setjmp(guard.jump)) {
        if (c->version == 0) c->version = wanted ? wanted : 3;
        qc_recover(c);
    } else {
        qc_next(c);
        qc_version(c, wanted);
    }
    while (c->t.kind != T_EOF) {
        guard.statement = c->t.begin;
        if (c->version == 3) qc3_statement(c);
        else if (!qc_accept(c, ';')) qc2_statement(c);
    }
    c->recovery = NULL;
}

/* How much an error says about the program as a whole: the first one to be told is of the lowest rank. */
static int qc_rank(int kind) {
    return kind == QC_MEMORY ? 0 : kind == QC_SYNTAX ? 1 : kind == QC_LIMIT ? 2 : kind == QC_IMPOSSIBLE ? 3 : 4;
}

/* The error to be told first comes first, the others in the order of their places. What is beyond this compiler is no
 * news in a program that is wrong. */
static int qc_compare_errors(const void *one, const void *other) {
    const qc_report *a = one, *b = other;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

static void qc_sort_errors(qc *c) {
    int best = 0, n = 0;
    qsort(c->errors, (size_t)c->num_errors, sizeof *c->errors, qc_compare_errors);
    for (int k = 0; k < c->num_errors; k++)
        if (qc_rank(c->errors[k].kind) < qc_rank(c->errors[best].kind)) best = k;
    qc_report first = c->errors[best];
    memmove(c->errors + 1, c->errors, (size_t)best * sizeof first);
    c->errors[0] = first;
    for (int k = 0; k < c->num_errors; k++)
        if (c->errors[k].kind == first.kind || c->errors[k].kind != QC_UNSUPPORTED) c->errors[n++] = c->errors[k];
    c->num_errors = n;
}

static void qc_finish(qc *c) {
    if (c->num_errors) return;
    if (c->has_ended) qc_put_back(c, &c->at_end);
    if (c->max_hardware) {
        qc_tok name = c->t;
        name.begin = c->source + c->hardware_at;
        name.end = name.begin + 1;
        c->num_qubits = c->max_hardware;
        qc_add_register(c, &name, (int32_t)c->num_qubits, 0);
    }
    for (int32_t k = 0; k < c->num_inputs; k++)
        if (!c->inputs[k].used)
            qc_fail_at(c, QC_SYNTAX, c->source, c->source, "the program has no input parameter %s", qc_quote(c,
                    c->inputs[k].name, (size_t)c->inputs[k].length));
    if (c->num_qubits == 0)
        qc_fail_at(c, QC_IMPOSSIBLE, c->source, c->source, "the program declares no qubits");
    if (!c->measurements || c->num_clbits == 0) {
        c->implicit = 1;
        qc_measure_all(c);
    }
    if (c->has_classical) {
        qc_tidy(c);
        qc_prove(c);
    }
}

/* Compiles `length` bytes, which a zero byte must follow; 0 or the kind of the first of the errors in c->errors.
 * qc_free must follow. */
static int qc_compile(qc *c, const char *source, size_t length, int wanted, qc_input *inputs, int32_t num_inputs,
                      int is_open) {
    memset(c, 0, (size_t)((char *)&c->unknown - (char *)c));
    memset(c->first_buckets, -1, sizeof c->first_buckets);
    c->inputs = inputs;
    c->num_inputs = num_inputs;
    c->is_open = is_open;
    c->source = c->at = source;
    c->end = source + length;
    c->t.begin = c->t.end = c->previous_end = source;
    c->out = &c->main;
    c->buckets = c->first_buckets;
    c->bucket_bits = 8;
    c->arena = c->first_arena;
    c->arena_end = c->first_arena + sizeof c->first_arena;
    if (setjmp(c->leave)) {
        qc_sort_errors(c);
        return c->errors[0].kind;
    }
    if (length > QC_MAX_SOURCE)
        qc_fail_at(c, QC_LIMIT, source, source, "the program has more than %d bytes", QC_MAX_SOURCE);
    if (length >= 3 && memcmp(source, "\xEF\xBB\xBF", 3) == 0) c->at += 3; /* a byte order mark */
    int32_t guess = (int32_t)(length / 12) + 16;
    qc_grow_code(c, &c->main, guess);
    qc_program(c, wanted);
    qc_finish(c);
    if (c->num_errors) longjmp(c->leave, 1);
    return QC_OK;
}

static void qc_free(qc *c) {
    c->in_gate = 0;
    qc_release(c, (qc_mark_t){NULL, NULL, NULL});
    if (c->buckets != c->first_buckets) free(c->buckets);
    free(c->symbols);
    free(c->regs);
    free(c->opened);
    free(c->cells);
    free(c->bit_cells);
    free(c->main.code);
    free(c->main.qubits);
    free(c->main.params);
    free(c->definitions.code);
    free(c->definitions.qubits);
    free(c->definitions.params);
}

#endif

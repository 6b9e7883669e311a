/* A program whose inputs are open, compiled once and bound many times.
 *
 * The compiler treats an open input as it treats a value that is measured: it lies in a cell of the stack machine, and
 * gates pop the angles that depend on it. Where nothing else is left to the machine the program is a straight line,
 * and its machine can run before the program does: it is split into the gates, which stay as they are, and a tape of
 * arithmetic that writes their angles. To bind is to run the tape: no text is read, and nothing but angles changes.
 */
#ifndef QFAST_QASM_BIND_H
#define QFAST_QASM_BIND_H
#include "qasm_compile.h"

/* Whether the instruction needs nothing but the inputs: no bits, no jump, no end. */
static inline int qb_is_arithmetic(uint8_t op) {
    switch (op) {
    case QF_LDBIT: case QF_STBIT: case QF_LDREG: case QF_STREG: case QF_LDBITAT: case QF_STBITAT: case QF_FAIL: return 0;
    default: return op >= QF_PUSHI;
    }
}

/* Sizes of the two parts of a program of n instructions; 0 when it cannot be split. */
static int qb_count(const qf_instr *code, int32_t n, int32_t *num_gates, int32_t *num_tape, int64_t *num_params) {
    *num_gates = *num_tape = 0;
    *num_params = 0;
    for (int32_t k = 0; k < n; k++) {
        if (code[k].op >= QF_JUMP && !qb_is_arithmetic(code[k].op)) return 0;
        *num_gates += code[k].op < QF_JUMP;
        *num_tape += code[k].op >= QF_JUMP || code[k].flags & QF_POPS_PARAMS;
        *num_params += qf_num_params(code[k].op);
    }
    return *num_params <= INT32_MAX;
}

/* Writes the parts. A gate on the tape stands for the popping of its angles into bound[p], where the gate reads them. */
static void qb_split(const qf_instr *code, int32_t n, const double *params, /* IN */
                     qf_instr *gates, qf_instr *tape, double *bound) {      /* OUT */
    int32_t free_param = 0;
    for (int32_t k = 0; k < n; k++) {
        int count = qf_num_params(code[k].op);
        if (code[k].op >= QF_JUMP) {
            *tape++ = code[k];
            continue;
        }
        *gates = code[k];
        gates->p = free_param;
        if (code[k].flags & QF_POPS_PARAMS) {
            *tape++ = *gates;
            gates->flags &= (uint16_t)~QF_POPS_PARAMS;
            memset(bound + free_param, 0, (size_t)count * sizeof *bound);
        } else if (count) {
            memcpy(bound + free_param, params + code[k].p, (size_t)count * sizeof *bound);
        }
        free_param += count;
        gates++;
    }
}

/* Runs the tape; 0 or an error of enum qf_machine_result. vars: the inputs in their cells, the other cells zero. */
static int32_t qb_run(const qf_instr *tape, int32_t n, const double *constants, /* IN */
                      int64_t *vars, double *bound) {                           /* IN and OUT, OUT */
    qf_machine m;
    m.bits = NULL;
    m.vars = vars;
    m.sp = 0;
    m.fuel = INT64_MAX;
    for (int32_t pc = 0; pc < n;) {
        int32_t error = 0;
        if (tape[pc].op < QF_JUMP) {
            error = qf_pop_params(&m, qf_num_params(tape[pc].op), bound + tape[pc].p);
            pc++;
        } else {
            pc = error = qf_classical_step(tape, constants, pc, &m);
        }
        if (error < 0) return error;
    }
    return 0;
}

/* The value of an input as its cell holds it; width: of an angle, or 0. */
static inline int64_t qb_cell(double value, int32_t width) {
    return width ? qc_angle_of(value, width) : qf_from_double(value);
}

#endif

/* The stack machine for control flow and arithmetic on measured values (opcodes: circuit.h).
 *
 * A slot holds 64 bits, which an instruction reads as int64, as uint64 or as the pattern of a float64. Integer
 * arithmetic wraps modulo 2^64; WRAPU and WRAPI cut a result to the width of its type. Whatever the operands are, a
 * step ends in a defined state: it returns the next instruction, QF_ENDED, or one of the errors below.
 *
 * qf_classical_check proves once, before a run, that every reachable instruction finds a fixed stack depth and only
 * slots, bits, parameters and targets that exist. The step relies on that proof for them and checks only what depends
 * on values: divisors, array indices, shift counts, conversions, and the fuel that bounds a run.
 *
 * A run looks like this, for a program of n instructions (m.bits and m.vars zeroed, m.sp = 0):
 *     for (pc = 0; pc < n;)
 *         if (code[pc].op >= QF_JUMP) { pc = qf_classical_step(code, params, pc, &m); if (pc < 0) break; }
 *         else {
 *             if (code[pc].flags & QF_POPS_PARAMS) error = qf_pop_params(&m, qf_num_params(code[pc].op), p);
 *             ... the gate, measurement (m.bits[code[pc].c] = outcome), reset or barrier ...; pc++;
 *         }
 */
#ifndef QFAST_CLASSICAL_H
#define QFAST_CLASSICAL_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "circuit.h"

#define QF_STACK_DEPTH 64

typedef struct {
    uint8_t *bits; /* the classical bits, one 0 or 1 a byte */
    int64_t *vars;
    int64_t stack[QF_STACK_DEPTH];
    int32_t sp;   /* slots in use; the top is stack[sp - 1] */
    int64_t fuel; /* classical steps that the run may still take */
} qf_machine;

enum qf_machine_result {
    QF_ENDED = -1,        /* END: the run is complete */
    QF_ERR_CODE = -2,     /* not an instruction, or one that the check refuses */
    QF_ERR_STACK = -3,    /* under- or overflow, or a depth that depends on the path (check only) */
    QF_ERR_TARGET = -4,   /* a jump out of the program (check only) */
    QF_ERR_SLOT = -5,     /* a bit, variable, operand or parameter that does not exist (check only) */
    QF_ERR_INDEX = -6,    /* index out of range */
    QF_ERR_DIVISION = -7, /* integer division by zero */
    /* negative shift count or power, a conversion out of range, a gate parameter that is not finite */
    QF_ERR_DOMAIN = -8,
    QF_ERR_FUEL = -9,     /* the run takes too long */
    QF_ERR_EQUAL = -10    /* two operands of a gate are the same qubit */
};

static inline const char *qf_machine_text(int32_t result) {
    switch (result) {
    case QF_ENDED: return "the program ended";
    case QF_ERR_CODE: return "invalid instruction";
    case QF_ERR_STACK: return "the stack machine's stack under- or overflows";
    case QF_ERR_TARGET: return "jump out of the program";
    case QF_ERR_SLOT: return "operand does not exist";
    case QF_ERR_INDEX: return "index out of range";
    case QF_ERR_DIVISION: return "division by zero";
    case QF_ERR_DOMAIN: return "value outside the domain of the operation";
    case QF_ERR_EQUAL: return "two operands of a gate are the same qubit";
    case QF_ERR_FUEL: return "the classical part of the program runs too long";
    default: return "unknown error";
    }
}

/* Parameters of a gate; 0 for whatever has none. */
static inline int qf_num_params(uint8_t op) {
    switch (op) {
    case QF_GPHASE: case QF_RX: case QF_RY: case QF_RZ: case QF_P:
    case QF_RXX: case QF_RYY: case QF_RZZ: case QF_RZX: return 1;
    case QF_U: return 3;
    case QF_UNITARY: return 8;
    default: return 0;
    }
}

/* Target qubits of a gate (controls not counted). */
static inline int qf_num_targets(uint8_t op) {
    return op == QF_GPHASE ? 0 : op <= QF_UNITARY ? 1 : 2;
}

/* Parameters and qubits of a channel; none for whatever is no channel. */
static inline int qf_channel_params(int32_t channel) {
    return channel == QF_PAULI ? 3 : channel == QF_DEPOLARIZE || channel == QF_DAMP ? 1 : 0;
}

static inline int qf_channel_qubits(int32_t channel) {
    return channel == QF_DEPOLARIZE ? 2 : 1;
}

static inline int qf_is_gate(uint8_t op) {
    return op <= QF_UNITARY || (op >= QF_SWAP && op <= QF_RZX);
}

static inline double qf_as_double(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int64_t qf_from_double(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline int64_t qf_wrap_unsigned(int64_t x, int32_t width) {
    return width >= 64 ? x : (int64_t)((uint64_t)x & ((UINT64_C(1) << width) - 1));
}

static inline int64_t qf_wrap_signed(int64_t x, int32_t width) {
    if (width >= 64) return x;
    uint64_t sign = UINT64_C(1) << (width - 1);
    return (int64_t)((((uint64_t)x & ((sign << 1) - 1)) ^ sign) - sign);
}

static inline int64_t qf_rotate_left(int64_t x, int64_t count, int32_t width) {
    uint64_t word = (uint64_t)qf_wrap_unsigned(x, width);
    int64_t k = ((count % width) + width) % width;
    return k == 0 ? (int64_t)word : qf_wrap_unsigned((int64_t)((word << k) | (word >> (width - k))), width);
}

/* a^b modulo 2^64 for b >= 0. */
static inline int64_t qf_int_power(int64_t a, int64_t b) {
    uint64_t result = 1, base = (uint64_t)a;
    for (; b > 0; b >>= 1, base *= base)
        if (b & 1) result *= base;
    return (int64_t)result;
}

/* Binary integer operations; 0 or an error. */
static inline int32_t qf_int_binary(uint8_t op, int64_t a, int64_t b, int64_t *out) {
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    switch (op) {
    case QF_IADD: *out = (int64_t)(ua + ub); return 0;
    case QF_ISUB: *out = (int64_t)(ua - ub); return 0;
    case QF_IMUL: *out = (int64_t)(ua * ub); return 0;
    case QF_IDIV:
        if (b == 0) return QF_ERR_DIVISION;
        *out = b == -1 ? (int64_t)(0 - ua) : a / b; /* INT64_MIN / -1 wraps */
        return 0;
    case QF_IMOD:
        if (b == 0) return QF_ERR_DIVISION;
        *out = b == -1 ? 0 : a % b;
        return 0;
    case QF_UDIV:
        if (b == 0) return QF_ERR_DIVISION;
        *out = (int64_t)(ua / ub);
        return 0;
    case QF_UMOD:
        if (b == 0) return QF_ERR_DIVISION;
        *out = (int64_t)(ua % ub);
        return 0;
    case QF_IAND: *out = a & b; return 0;
    case QF_IOR: *out = a | b; return 0;
    case QF_IXOR: *out = a ^ b; return 0;
    case QF_ISHL:
        if (b < 0) return QF_ERR_DOMAIN;
        *out = b > 63 ? 0 : (int64_t)(ua << b);
        return 0;
    case QF_ISHR:
        if (b < 0) return QF_ERR_DOMAIN;
        *out = a >> (b > 63 ? 63 : b);
        return 0;
    case QF_USHR:
        if (b < 0) return QF_ERR_DOMAIN;
        *out = b > 63 ? 0 : (int64_t)(ua >> b);
        return 0;
    case QF_IEQ: *out = a == b; return 0;
    case QF_INE: *out = a != b; return 0;
    case QF_ILT: *out = a < b; return 0;
    case QF_ILE: *out = a <= b; return 0;
    case QF_IGT: *out = a > b; return 0;
    case QF_IGE: *out = a >= b; return 0;
    case QF_ULT: *out = ua < ub; return 0;
    case QF_ULE: *out = ua <= ub; return 0;
    case QF_UGT: *out = ua > ub; return 0;
    case QF_UGE: *out = ua >= ub; return 0;
    case QF_IPOW:
        if (b < 0) return QF_ERR_DOMAIN;
        *out = qf_int_power(a, b);
        return 0;
    default: return QF_ERR_CODE;
    }
}

/* Binary float64 operations; comparisons give an int64. 0 or an error. */
static inline int32_t qf_float_binary(uint8_t op, double a, double b, int64_t *out) {
    switch (op) {
    case QF_FADD: *out = qf_from_double(a + b); return 0;
    case QF_FSUB: *out = qf_from_double(a - b); return 0;
    case QF_FMUL: *out = qf_from_double(a * b); return 0;
    case QF_FDIV: *out = qf_from_double(a / b); return 0;
    case QF_FPOW: *out = qf_from_double(pow(a, b)); return 0;
    case QF_FMOD: *out = qf_from_double(fmod(a, b)); return 0;
    case QF_FEQ: *out = a == b; return 0;
    case QF_FNE: *out = a != b; return 0;
    case QF_FLT: *out = a < b; return 0;
    case QF_FLE: *out = a <= b; return 0;
    case QF_FGT: *out = a > b; return 0;
    case QF_FGE: *out = a >= b; return 0;
    default: return QF_ERR_CODE;
    }
}

/* Unary operations; `width` is the instruction's c. 0 or an error. */
static inline int32_t qf_unary(uint8_t op, int64_t a, int32_t width, int64_t *out) {
    double x = qf_as_double(a);
    switch (op) {
    case QF_INEG: *out = (int64_t)(0 - (uint64_t)a); return 0;
    case QF_IBNOT: *out = ~a; return 0;
    case QF_INOT: *out = !a; return 0;
    case QF_IPOPCOUNT: *out = __builtin_popcountll((uint64_t)a); return 0;
    case QF_WRAPU: *out = qf_wrap_unsigned(a, width); return 0;
    case QF_WRAPI: *out = qf_wrap_signed(a, width); return 0;
    case QF_FNEG: *out = qf_from_double(-x); return 0;
    case QF_FSIN: *out = qf_from_double(sin(x)); return 0;
    case QF_FCOS: *out = qf_from_double(cos(x)); return 0;
    case QF_FTAN: *out = qf_from_double(tan(x)); return 0;
    case QF_FASIN: *out = qf_from_double(asin(x)); return 0;
    case QF_FACOS: *out = qf_from_double(acos(x)); return 0;
    case QF_FATAN: *out = qf_from_double(atan(x)); return 0;
    case QF_FEXP: *out = qf_from_double(exp(x)); return 0;
    case QF_FLOG: *out = qf_from_double(log(x)); return 0;
    case QF_FSQRT: *out = qf_from_double(sqrt(x)); return 0;
    case QF_FFLOOR: *out = qf_from_double(floor(x)); return 0;
    case QF_FCEIL: *out = qf_from_double(ceil(x)); return 0;
    case QF_I2F: *out = qf_from_double((double)a); return 0;
    case QF_U2F: *out = qf_from_double((double)(uint64_t)a); return 0;
    case QF_F2I: /* -2^63 and 2^63 are exact in float64; NaN fails both comparisons */
        if (!(x >= -9223372036854775808.0 && x < 9223372036854775808.0)) return QF_ERR_DOMAIN;
        *out = (int64_t)x;
        return 0;
    default: return QF_ERR_CODE;
    }
}

/* What an instruction takes from the stack and leaves there; 0, or QF_ERR_CODE for an unknown one. */
static inline int32_t qf_stack_effect(const qf_instr *i, int32_t *pops, int32_t *pushes) {
    uint8_t op = i->op;
    *pops = *pushes = 0;
    if (qf_is_gate(op)) {
        if (i->flags & QF_POPS_PARAMS) *pops = qf_num_params(op);
        return 0;
    }
    switch (op) {
    case QF_MEASURE: case QF_RESET: case QF_BARRIER: case QF_NOISE: case QF_JUMP: case QF_END: case QF_FAIL: return 0;
    case QF_JUMPZ: case QF_STBIT: case QF_STREG: case QF_STVAR: case QF_POP: *pops = 1; return 0;
    case QF_PUSHI: case QF_PUSHF: case QF_LDBIT: case QF_LDREG: case QF_LDVAR: *pushes = 1; return 0;
    case QF_DUP: *pops = 1; *pushes = 2; return 0;
    case QF_EXCH: *pops = *pushes = 2; return 0;
    case QF_LDBITAT: case QF_LDVARAT: case QF_BOUND: *pops = *pushes = 1; return 0;
    case QF_STBITAT: case QF_STVARAT: *pops = 2; return 0;
    case QF_ROTL: case QF_ROTR: *pops = 2; *pushes = 1; return 0;
    default: {
        int64_t unused;
        if (qf_unary(op, 0, 1, &unused) != QF_ERR_CODE) { *pops = *pushes = 1; return 0; }
        if (qf_int_binary(op, 0, 1, &unused) != QF_ERR_CODE || qf_float_binary(op, 0, 1, &unused) != QF_ERR_CODE) {
            *pops = 2;
            *pushes = 1;
            return 0;
        }
        return QF_ERR_CODE;
    }
    }
}

static inline int qf_in_range(int64_t first, int64_t count, int64_t size) {
    return first >= 0 && count >= 0 && first + count <= size;
}

/* Whether the operands of one instruction exist; 0 or an error. */
static inline int32_t qf_check_operands(const qf_instr *i, int64_t num_instr, int64_t num_operands, int64_t num_params,
                                        int64_t num_clbits, int64_t num_vars) {
    uint8_t op = i->op;
    if (qf_is_gate(op)) {
        int own = (i->flags & QF_POPS_PARAMS) ? 0 : qf_num_params(op);
        if (i->nctrl > 32 || i->nq != i->nctrl + qf_num_targets(op)) return QF_ERR_CODE;
        if (!qf_in_range(i->q, i->nq, num_operands) || (own && !qf_in_range(i->p, own, num_params))) return QF_ERR_SLOT;
        return 0;
    }
    switch (op) {
    case QF_NOISE:
        if (!qf_channel_params(i->c) || i->nq != qf_channel_qubits(i->c)) return QF_ERR_CODE;
        return qf_in_range(i->q, i->nq, num_operands) && qf_in_range(i->p, qf_channel_params(i->c), num_params) ? 0 : QF_ERR_SLOT;
    case QF_MEASURE:
        if (i->flags & QF_MISREADS && !qf_in_range(i->p, 2, num_params)) return QF_ERR_SLOT;
        return i->nq == 1 && qf_in_range(i->q, 1, num_operands) && qf_in_range(i->c, 1, num_clbits) ? 0 : QF_ERR_SLOT;
    case QF_RESET: return i->nq == 1 && qf_in_range(i->q, 1, num_operands) ? 0 : QF_ERR_SLOT;
    case QF_BARRIER: return qf_in_range(i->q, i->nq, num_operands) ? 0 : QF_ERR_SLOT;
    case QF_JUMP: case QF_JUMPZ: return i->c >= 0 && i->c <= num_instr ? 0 : QF_ERR_TARGET;
    case QF_PUSHI: case QF_PUSHF: return qf_in_range(i->p, 1, num_params) ? 0 : QF_ERR_SLOT;
    case QF_LDBIT: case QF_STBIT: return qf_in_range(i->c, 1, num_clbits) ? 0 : QF_ERR_SLOT;
    case QF_LDREG: case QF_STREG:
        return i->nq >= 1 && i->nq <= 64 && qf_in_range(i->c, i->nq, num_clbits) ? 0 : QF_ERR_SLOT;
    case QF_LDBITAT: case QF_STBITAT: return qf_in_range(i->c, i->nq, num_clbits) ? 0 : QF_ERR_SLOT;
    case QF_LDVAR: case QF_STVAR: return qf_in_range(i->c, 1, num_vars) ? 0 : QF_ERR_SLOT;
    case QF_LDVARAT: case QF_STVARAT: return qf_in_range(i->c, i->nq, num_vars) ? 0 : QF_ERR_SLOT;
    case QF_WRAPU: case QF_WRAPI: case QF_ROTL: case QF_ROTR: return i->c >= 1 && i->c <= 64 ? 0 : QF_ERR_CODE;
    case QF_BOUND: return i->nq >= 0 ? 0 : QF_ERR_SLOT;
    default: return 0;
    }
}

/* Marks the depth on entry of instruction `pc`; QF_ERR_STACK when it has another one already. */
static inline int32_t qf_mark_depth(int8_t *depth, int64_t pc, int32_t d, int *changed) {
    if (depth[pc] == d) return 0;
    if (depth[pc] >= 0) return QF_ERR_STACK;
    depth[pc] = (int8_t)d;
    *changed = 1;
    return 0;
}

/* Proves a program before it runs.
 *
 * `depth` is scratch of num_instr + 1 bytes; afterwards depth[pc] is the stack depth on entry of pc, -1 where pc can't
 * be reached. Returns 0, or an error with the instruction in *where. Code without backward jumps into unreached code
 * needs one pass; passes are capped, so that hostile code is refused in linear time.
 */
static inline int32_t qf_classical_check(const qf_instr *code, int64_t num_instr, int64_t num_operands,
                                         int64_t num_params,
                                         int64_t num_clbits, int64_t num_vars, int8_t *depth, int64_t *where) {
    enum { MAX_PASSES = 64 };
    int changed = 1;
    memset(depth, -1, (size_t)num_instr + 1);
    depth[0] = 0;
    for (int64_t pc = 0; pc < num_instr; pc++) {
        int32_t error = qf_check_operands(&code[pc], num_instr, num_operands, num_params, num_clbits, num_vars);
        *where = pc;
        if (error) return error;
    }
    for (int pass = 0; changed; pass++) {
        if (pass == MAX_PASSES) return QF_ERR_CODE;
        changed = 0;
        for (int64_t pc = 0; pc < num_instr; pc++) {
            int32_t pops, pushes, backward = 0, error = 0, d = depth[pc];
            int ignored = 0;
            if (d < 0) continue;
            *where = pc;
            if (qf_stack_effect(&code[pc], &pops, &pushes)) return QF_ERR_CODE;
            if (d < pops || d - pops + pushes > QF_STACK_DEPTH) return QF_ERR_STACK;
            d += pushes - pops;
            if (code[pc].op == QF_JUMP || code[pc].op == QF_JUMPZ) {
                backward = code[pc].c <= pc;
                error = qf_mark_depth(depth, code[pc].c, d, backward ? &changed : &ignored);
            }
            if (!error && code[pc].op != QF_JUMP && code[pc].op != QF_END)
                error = qf_mark_depth(depth, pc + 1, d, &ignored);
            if (error) return error;
        }
    }
    return 0;
}

/* Pops the n parameters of a gate, first one deepest; 0, or QF_ERR_DOMAIN when one is not finite. */
static inline int32_t qf_pop_params(qf_machine *m, int n, double *out) {
    int32_t result = 0;
    m->sp -= n;
    for (int k = 0; k < n; k++) {
        out[k] = qf_as_double(m->stack[m->sp + k]);
        if (!(fabs(out[k]) <= 1.7976931348623157e308)) result = QF_ERR_DOMAIN;
    }
    return result;
}

/* One step of a checked program: the next instruction, QF_ENDED or an error. code[pc].op is at least QF_JUMP. */
static inline int32_t qf_classical_step(const qf_instr *code, const double *params, int32_t pc, qf_machine *m) {
    const qf_instr *i = &code[pc];
    int64_t *top = m->stack + m->sp; /* one past the top */
    int32_t error;
    if (--m->fuel < 0) return QF_ERR_FUEL;
    switch (i->op) {
    case QF_JUMP: return i->c;
    case QF_JUMPZ:
        m->sp--;
        return top[-1] == 0 ? i->c : pc + 1;
    case QF_END: return QF_ENDED;
    case QF_FAIL: return QF_ERR_EQUAL;
    case QF_BOUND:
        if (top[-1] < 0) top[-1] += i->nq;
        return top[-1] >= 0 && top[-1] < i->nq ? pc + 1 : QF_ERR_INDEX;
    case QF_PUSHI: case QF_PUSHF:
        memcpy(top, &params[i->p], sizeof *top);
        m->sp++;
        return pc + 1;
    case QF_LDBIT:
        *top = m->bits[i->c];
        m->sp++;
        return pc + 1;
    case QF_STBIT:
        m->bits[i->c] = top[-1] != 0;
        m->sp--;
        return pc + 1;
    case QF_LDREG: {
        uint64_t word = 0;
        for (int32_t k = 0; k < i->nq; k++) word |= (uint64_t)(m->bits[i->c + k] & 1) << k;
        *top = (int64_t)word;
        m->sp++;
        return pc + 1;
    }
    case QF_STREG:
        for (int32_t k = 0; k < i->nq; k++) m->bits[i->c + k] = (uint8_t)(((uint64_t)top[-1] >> k) & 1);
        m->sp--;
        return pc + 1;
    case QF_LDVAR:
        *top = m->vars[i->c];
        m->sp++;
        return pc + 1;
    case QF_STVAR:
        m->vars[i->c] = top[-1];
        m->sp--;
        return pc + 1;
    case QF_POP: m->sp--; return pc + 1;
    case QF_DUP:
        *top = top[-1];
        m->sp++;
        return pc + 1;
    case QF_EXCH: {
        int64_t last = top[-1];
        top[-1] = top[-2];
        top[-2] = last;
        return pc + 1;
    }
    case QF_LDBITAT:
        if (top[-1] < 0 || top[-1] >= i->nq) return QF_ERR_INDEX;
        top[-1] = m->bits[i->c + top[-1]];
        return pc + 1;
    case QF_STBITAT: /* the index is on top, the value below it */
        if (top[-1] < 0 || top[-1] >= i->nq) return QF_ERR_INDEX;
        m->bits[i->c + top[-1]] = top[-2] != 0;
        m->sp -= 2;
        return pc + 1;
    case QF_LDVARAT:
        if (top[-1] < 0 || top[-1] >= i->nq) return QF_ERR_INDEX;
        top[-1] = m->vars[i->c + top[-1]];
        return pc + 1;
    case QF_STVARAT:
        if (top[-1] < 0 || top[-1] >= i->nq) return QF_ERR_INDEX;
        m->vars[i->c + top[-1]] = top[-2];
        m->sp -= 2;
        return pc + 1;
    case QF_ROTL: case QF_ROTR: /* the count is on top, the word below it */
        top[-2] = qf_rotate_left(top[-2], i->op == QF_ROTL ? top[-1] % i->c : -(top[-1] % i->c), i->c);
        m->sp--;
        return pc + 1;
    default: break;
    }
    error = qf_unary(i->op, top[-1], i->c, &top[-1]);
    if (error == QF_ERR_CODE) {
        error = qf_int_binary(i->op, top[-2], top[-1], &top[-2]);
        if (error == QF_ERR_CODE)
            error = qf_float_binary(i->op, qf_as_double(top[-2]), qf_as_double(top[-1]), &top[-2]);
        m->sp--;
    }
    return error ? error : pc + 1;
}

#endif

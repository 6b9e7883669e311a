/* The compact circuit: the one form that the front end writes and the simulator and the transpilers read.
 *
 * A circuit is three flat arrays: instructions (24 bytes each), qubit operands (int32) and parameters (float64).
 * A gate is a base operation plus any number of control qubits, so that ccx is X with two controls and cu1 is P with one;
 * its operands are qubits[q .. q+nq-1], the nctrl controls first, then the targets of the base operation.
 * The classical part is a small stack machine (classical.h) over the classical bits and 64-bit variables; JUMP and JUMPZ
 * make control flow on measured values ordinary instructions. qfast/circuit.py mirrors these numbers.
 */
#ifndef QFAST_CIRCUIT_H
#define QFAST_CIRCUIT_H
#include <stdint.h>

typedef struct {
    uint8_t op;          /* enum qf_op */
    uint8_t nctrl;       /* control qubits, first among the operands; at most 32 */
    uint16_t flags;      /* enum qf_flag */
    uint32_t ctrl_state; /* bit k: the value that control k must have */
    int32_t q;           /* first operand in qubits[] */
    int32_t nq;          /* operands, controls included; for LDREG and STREG the number of classical bits */
    int32_t p;           /* first parameter in params[] */
    int32_t c;           /* MEASURE, LDBIT, STBIT, LDREG, STREG: classical bit; JUMP, JUMPZ: target; LDVAR, STVAR: slot */
} qf_instr;

enum qf_flag {
    QF_POPS_PARAMS = 1, /* the gate's parameters are popped from the stack (last one on top) instead of read from params[] */
    QF_MISREADS = 2     /* the bit that MEASURE writes may be wrong: a 0 with probability params[p], a 1 with params[p + 1] */
};

/* What a NOISE instruction does to its qubits. */
enum qf_channel {
    QF_PAULI = 0,      /* one qubit: X, Y or Z with probabilities params[p], [p + 1], [p + 2] */
    QF_DEPOLARIZE = 1, /* two qubits: one of the 15 other Pauli pairs, together with probability params[p] */
    QF_DAMP = 2        /* one qubit: amplitude damping of params[p] < 1 */
};

enum qf_op {
    /* no target: a global phase exp(i g); with controls a phase on them. 1 parameter */
    QF_GPHASE = 0,
    /* one target, no parameter */
    QF_ID = 1, QF_X = 2, QF_Y = 3, QF_Z = 4, QF_H = 5, QF_S = 6, QF_SDG = 7, QF_T = 8, QF_TDG = 9, QF_SX = 10, QF_SXDG = 11,
    /* one target, one parameter (radians); P is diag(1, exp(i l)), R* are exp(-i t/2 P) */
    QF_RX = 12, QF_RY = 13, QF_RZ = 14, QF_P = 15,
    /* one target, three parameters theta, phi, lambda: [[c, -e^{il} s], [e^{ip} s, e^{i(p+l)} c]], c = cos(theta/2) */
    QF_U = 16,
    /* one target, eight parameters: a 2x2 unitary, row-major, (re, im) pairs */
    QF_UNITARY = 17,
    /* two targets */
    QF_SWAP = 32, QF_ISWAP = 33,                /* no parameter; iswap maps |01> to i|10> */
    QF_RXX = 34, QF_RYY = 35, QF_RZZ = 36, QF_RZX = 37, /* exp(-i t/2 P(first) P(second)) */
    /* not gates */
    QF_MEASURE = 64, /* qubits[q] into bit c */
    QF_RESET = 65,   /* qubits[q] to |0> */
    QF_BARRIER = 66, /* nq operands; nothing to the simulator, a fence to transpilers */
    QF_NOISE = 67,   /* a channel, c, on nq operands; only simulators know it */
    /* control flow and the stack machine; everything from here on is classical.h's */
    QF_JUMP = 80, QF_JUMPZ = 81, /* JUMPZ pops and jumps when zero */
    QF_END = 82,
    QF_PUSHI = 96,  /* int64 whose bit pattern stands in params[p] */
    QF_PUSHF = 97,  /* float64 params[p] */
    QF_LDBIT = 98, QF_STBIT = 99,   /* one classical bit */
    QF_LDREG = 100, QF_STREG = 101, /* nq (at most 64) classical bits from c on as an unsigned integer, bit c lowest */
    QF_LDVAR = 102, QF_STVAR = 103, /* a 64-bit variable */
    QF_POP = 104, QF_DUP = 105, QF_EXCH = 106, /* EXCH exchanges the two topmost */
    QF_BOUND = 107, /* the top must be an index below nq; one of -nq to -1 counts from the end and is made positive */
    QF_FAIL = 108,  /* ends the run with an error: the operands of a gate are equal */
    /* int64 */
    QF_INEG = 112, QF_IBNOT = 113, QF_INOT = 114, QF_IADD = 115, QF_ISUB = 116, QF_IMUL = 117, QF_IDIV = 118, QF_IMOD = 119,
    QF_IAND = 120, QF_IOR = 121, QF_IXOR = 122, QF_ISHL = 123, QF_ISHR = 124, QF_IEQ = 125, QF_INE = 126, QF_ILT = 127,
    QF_ILE = 128, QF_IGT = 129, QF_IGE = 130, QF_IPOPCOUNT = 131, QF_IPOW = 132,
    QF_WRAPU = 133, /* keep the low c bits */
    QF_WRAPI = 134, /* keep the low c bits, sign-extended */
    QF_ROTL = 135, QF_ROTR = 136, /* of a word of c bits */
    QF_LDBITAT = 137, /* pops an index, pushes bit c + index; nq bounds it (out of range ends the run with an error) */
    QF_STBITAT = 138, /* pops an index (on top), then a value */
    QF_LDVARAT = 139, QF_STVARAT = 140, /* the same for variables (arrays) */
    /* float64 */
    QF_FNEG = 144, QF_FADD = 145, QF_FSUB = 146, QF_FMUL = 147, QF_FDIV = 148, QF_FPOW = 149, QF_FMOD = 150, QF_FEQ = 151,
    QF_FNE = 152, QF_FLT = 153, QF_FLE = 154, QF_FGT = 155, QF_FGE = 156, QF_FSIN = 157, QF_FCOS = 158, QF_FTAN = 159,
    QF_FASIN = 160, QF_FACOS = 161, QF_FATAN = 162, QF_FEXP = 163, QF_FLOG = 164, QF_FSQRT = 165, QF_FFLOOR = 166, QF_FCEIL = 167,
    QF_I2F = 176, QF_U2F = 177, QF_F2I = 178, /* F2I truncates */
    /* uint64: what differs from int64 */
    QF_UDIV = 184, QF_UMOD = 185, QF_USHR = 186, QF_ULT = 187, QF_ULE = 188, QF_UGT = 189, QF_UGE = 190
};

#endif

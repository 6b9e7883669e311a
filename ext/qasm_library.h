/* The gate library, and what a wrong name may have meant. */
#ifndef QFAST_QASM_LIBRARY_H
#define QFAST_QASM_LIBRARY_H
#include "qasm_emit.h"

/* ---- parameters: a number, or scale times a variable of the stack machine */

typedef struct {
    int32_t slot; /* -1: the number `value` */
    double value; /* the number, or the scale */
} qc_param;

static qc_param qc_scaled(qc_param p, double by) {
    p.value *= by;
    return p;
}

/* A parameter of a gate in a definition's body. */
typedef struct {
    uint8_t kind; /* 0 number, 1 formal parameter, 2 code in c->definitions */
    double value;
    int32_t start, end; /* of the code; start: the formal parameter */
} qc_expression;

typedef struct {
    uint8_t is_definition, op, nctrl, inverse, has_power, is_barrier;
    uint32_t ctrl_state;
    int32_t nq, nparams;
    const int32_t *q; /* formal qubits: the nctrl controls first */
    const qc_expression *params;
    double power;
    const struct qc_gate *gate;
} qc_body_op;

typedef struct qc_gate {
    char name[8];
    uint64_t key;
    /* library: bit 0 qelib1.inc, bit 1 stdgates.inc, bit 2 may be redefined in OpenQASM 2 */
    uint8_t op, nctrl, is_definition, library;
    uint8_t special;
    int32_t nq, nparams; /* as the program writes it */
    int32_t num_ops, level;
    const qc_body_op *ops;
    uint64_t size, nodes; /* instructions of one application, and nodes visited; saturating */
} qc_gate;

enum { SPECIAL_NONE, SPECIAL_U2, SPECIAL_NO_PARAM };
enum { LIB_QELIB1 = 1, LIB_STDGATES = 2, LIB_REDEFINABLE = 4 };

#define FORMAL(k) {1, 0, k, 0}
static const qc_expression qc_cu_params[] = {FORMAL(3), FORMAL(0), FORMAL(1), FORMAL(2)};
static const int32_t qc_formals[] = {0, 1, 2, 3, 1, 2, 0, 2, 0, 3, 1, 3, 2, 3};
enum { Q_01 = 0, Q_12 = 4, Q_02 = 6, Q_03 = 8, Q_13 = 10, Q_23 = 12, Q_0 = 0, Q_2 = 2, Q_3 = 3 };

/* A body operation without parameters: op, nctrl, nq, operands. */
#define BODY(o, n, count, at) {0, o, n, 0, 0, 0, n, count, 0, qc_formals + (at), NULL, 0, NULL}
static const qc_body_op qc_cu_body[] = {
    {0, QF_P, 0, 0, 0, 0, 0, 1, 1, qc_formals + Q_0, qc_cu_params, 0, NULL},
    {0, QF_U, 1, 0, 0, 0, 1, 2, 3, qc_formals + Q_01, qc_cu_params + 1, 0, NULL},
};
/* rccx and rc3x of qelib1.inc: u2(0, pi) is h, u1(pi/4) is t. */
static const qc_body_op qc_rccx_body[] = {
    BODY(QF_H, 0, 1, Q_2), BODY(QF_T, 0, 1, Q_2), BODY(QF_X, 1, 2, Q_12), BODY(QF_TDG, 0, 1, Q_2), BODY(QF_X, 1, 2,
                                                                                                        Q_02),
    BODY(QF_T, 0, 1, Q_2), BODY(QF_X, 1, 2, Q_12), BODY(QF_TDG, 0, 1, Q_2), BODY(QF_H, 0, 1, Q_2),
};
static const qc_body_op qc_rc3x_body[] = {
    BODY(QF_H, 0, 1, Q_3), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_23), BODY(QF_TDG, 0, 1, Q_3), BODY(QF_H, 0, 1,
                                                                                                        Q_3),
    BODY(QF_X, 1, 2, Q_03), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_13), BODY(QF_TDG, 0, 1, Q_3),
    BODY(QF_X, 1, 2, Q_03), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_13), BODY(QF_TDG, 0, 1, Q_3),
    BODY(QF_H, 0, 1, Q_3), BODY(QF_T, 0, 1, Q_3), BODY(QF_X, 1, 2, Q_23), BODY(QF_TDG, 0, 1, Q_3), BODY(QF_H, 0, 1,
                                                                                                        Q_3),
};

/* BASE: name, op, controls, qubits, parameters, libraries, special. DEFINED has a body in place of op and controls. */
#define BASE(name, op, nctrl, nq, nparams, library, special) \
    {name, 0, op, nctrl, 0, library, special, nq, nparams, 0, 0, NULL, 1, 1}
#define COUNT(body) (sizeof body / sizeof *body)
#define DEFINED(name, body, nq, nparams, library) \
    {name, 0, 0, 0, 1, library, 0, nq, nparams, COUNT(body), 1, body, COUNT(body), COUNT(body)}

static qc_gate qc_library[] = {
    BASE("U", QF_U, 0, 1, 3, 0, 0), BASE("CX", QF_X, 1, 2, 0, LIB_STDGATES, 0), BASE("gphase", QF_GPHASE, 0, 0, 1, 0,
                                                                                     0),
    BASE("u3", QF_U, 0, 1, 3, 3, 0), BASE("u2", QF_U, 0, 1, 2, 3, SPECIAL_U2), BASE("u1", QF_P, 0, 1, 1, 3, 0),
    BASE("cx", QF_X, 1, 2, 0, 3, 0), BASE("id", QF_ID, 0, 1, 0, 3, 0), BASE("u0", QF_ID, 0, 1, 1, 5, SPECIAL_NO_PARAM),
    BASE("u", QF_U, 0, 1, 3, 5, 0), BASE("p", QF_P, 0, 1, 1, 7, 0), BASE("x", QF_X, 0, 1, 0, 3, 0), BASE("y", QF_Y, 0,
                                                                                                         1, 0, 3, 0),
    BASE("z", QF_Z, 0, 1, 0, 3, 0), BASE("h", QF_H, 0, 1, 0, 3, 0), BASE("s", QF_S, 0, 1, 0, 3, 0), BASE("sdg", QF_SDG,
                                                                                                         0, 1, 0, 3, 0),
    BASE("t", QF_T, 0, 1, 0, 3, 0), BASE("tdg", QF_TDG, 0, 1, 0, 3, 0), BASE("rx", QF_RX, 0, 1, 1, 3, 0), BASE("ry",
            QF_RY, 0, 1, 1, 3, 0),
    BASE("rz", QF_RZ, 0, 1, 1, 3, 0), BASE("sx", QF_SX, 0, 1, 0, 7, 0), BASE("sxdg", QF_SXDG, 0, 1, 0, 5, 0), BASE("cz",
            QF_Z, 1, 2, 0, 3, 0),
    BASE("cy", QF_Y, 1, 2, 0, 3, 0), BASE("swap", QF_SWAP, 0, 2, 0, 7, 0), BASE("ch", QF_H, 1, 2, 0, 3, 0), BASE("ccx",
            QF_X, 2, 3, 0, 3, 0),
    BASE("cswap", QF_SWAP, 1, 3, 0, 7, 0), BASE("crx", QF_RX, 1, 2, 1, 7, 0), BASE("cry", QF_RY, 1, 2, 1, 7, 0),
    BASE("crz", QF_RZ, 1, 2, 1, 3, 0), BASE("cu1", QF_P, 1, 2, 1, 1, 0), BASE("cp", QF_P, 1, 2, 1, 7, 0), BASE("cu3",
            QF_U, 1, 2, 3, 1, 0),
    BASE("csx", QF_SX, 1, 2, 0, 5, 0), BASE("rxx", QF_RXX, 0, 2, 1, 5, 0), BASE("rzz", QF_RZZ, 0, 2, 1, 5, 0),
    BASE("c3x", QF_X, 3, 4, 0, 5, 0), BASE("c3sqrtx", QF_SX, 3, 4, 0, 5, 0), BASE("c4x", QF_X, 4, 5, 0, 5, 0),
    BASE("phase", QF_P, 0, 1, 1, 2, 0), BASE("cphase", QF_P, 1, 2, 1, 2, 0), DEFINED("cu", qc_cu_body, 2, 4, 7),
    DEFINED("rccx", qc_rccx_body, 3, 0, 5), DEFINED("rc3x", qc_rc3x_body, 4, 0, 5),
};
enum { QC_LIBRARY_SIZE = sizeof qc_library / sizeof *qc_library };

static int8_t qc_library_index[256];

static inline uint32_t qc_library_slot(uint64_t key) { return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 56); }

/* Once, at import. */
static void qc_init_library(void) {
    qc_init_classes();
    memset(qc_library_index, -1, sizeof qc_library_index);
    for (int k = 0; k < QC_LIBRARY_SIZE; k++) {
        memcpy(&qc_library[k].key, qc_library[k].name, 8);
        uint32_t slot = qc_library_slot(qc_library[k].key);
        while (qc_library_index[slot] >= 0) slot = (slot + 1) & 255;
        qc_library_index[slot] = (int8_t)k;
    }
}

/* The library's gate of that name where the program's includes offer it, else NULL. */
static const qc_gate *qc_library_gate(const qc *c, uint64_t key) {
    for (uint32_t slot = qc_library_slot(key); qc_library_index[slot] >= 0; slot = (slot + 1) & 255) {
        const qc_gate *g = &qc_library[(int)qc_library_index[slot]];
        if (g->key != key) continue;
        if (g == &qc_library[0]) return g;
        if (g == &qc_library[1]) return c->version == 2 || (c->gates_in_scope & 3) ? g : NULL;
        if (g == &qc_library[2]) return c->version == 3 ? g : NULL;
        return (g->library & c->gates_in_scope & 3) ? g : NULL;
    }
    return NULL;
}

/* ---- what a wrong name may have meant */

static void qc_consider_gates(qc *c, qc_guess *guess, const qc_tok *t) {
    for (int k = 0; k < QC_LIBRARY_SIZE; k++)
        if (qc_library_gate(c, qc_library[k].key))
            qc_consider(guess, t, qc_library[k].name, strnlen(qc_library[k].name, 8));
    for (int k = 0; k < QC_LIBRARY_SIZE; k++) { /* a library's gate whose library is missing */
        const int library = qc_library[k].library;
        if (qc_library[k].key != t->key || !library || (c->gates_in_scope & library & 3)) continue;
        guess->name = NULL;
        guess->distance = -1;
        const char *hint = "it is not in stdgates.inc: define it by a gate statement";
        if (c->version == 2) hint = "add: include \"qelib1.inc\";";
        else if (library & LIB_STDGATES) hint = "add: include \"stdgates.inc\";";
        if (c->version == 2 || (library & LIB_STDGATES)) /* told once for all its gates */
            c->gates_in_scope |= c->version == 2 ? LIB_QELIB1 : LIB_STDGATES;
        snprintf(c->hint, sizeof c->hint, "%s", hint);
    }
}

/* Words of the other version, and what to write in their place. */
typedef struct {
    int version; /* that lacks them */
    const char *words, *hint;
} qc_advice;

static const qc_advice qc_advices[] = {
    {2, "qubit", "OpenQASM 2 declares qubits by: qreg NAME[SIZE];"},
    {2, "bit", "OpenQASM 2 declares bits by: creg NAME[SIZE];"},
    {2, "int uint float angle bool complex const array def let for while switch box input output ctrl negctrl inv pow "
        "gphase delay break continue end stretch duration extern", "it is OpenQASM 3's: begin with: OPENQASM 3.0;"},
    {2, "log", "the natural logarithm is 'ln' in OpenQASM 2"},
    {2, "arcsin", "it is 'asin' in OpenQASM 2"}, {2, "arccos", "it is 'acos' in OpenQASM 2"},
    {2, "arctan", "it is 'atan' in OpenQASM 2"},
    {3, "ln", "the natural logarithm is 'log' in OpenQASM 3"},
    {3, "asin", "it is 'arcsin' in OpenQASM 3"}, {3, "acos", "it is 'arccos' in OpenQASM 3"},
    {3, "atan", "it is 'arctan' in OpenQASM 3"},
    {3, "opaque", "OpenQASM 3 has no opaque gates: define the gate by a gate statement"},
    {3, "ceil", "it is 'ceiling' in OpenQASM 3"},
    {3, "elif elseif elsif", "write: else if (...)"},
};

/* The words that a statement may begin with, or functions and constants. */
static const char *const qc_words[2][2] = {
    {"sin cos tan exp ln sqrt asin acos atan pi",
     "qreg creg gate opaque include measure barrier reset if OPENQASM"},
    {"sin cos tan exp log sqrt arcsin arccos arctan ceiling floor mod pow popcount rotl rotr sizeof real imag pi tau "
     "euler true false measure durationof bit int uint float angle bool complex",
     "qubit bit qreg creg gate include measure barrier reset if else for while switch def let const int uint "
     "float angle bool complex array input output extern delay box break continue return end ctrl negctrl inv pow "
     "gphase OPENQASM duration stretch pragma nop"}};

static void qc_consider_words(qc *c, qc_guess *guess, const qc_tok *t, int kind) {
    for (size_t k = 0; k < sizeof qc_advices / sizeof *qc_advices; k++) {
        if (qc_advices[k].version != c->version || !qc_text_is(t->begin, t->end, qc_advices[k].words)) continue;
        snprintf(c->hint, sizeof c->hint, "%s", qc_advices[k].hint);
        guess->name = NULL;
        return;
    }
    if (kind != 0 && kind != S_GATE && kind != S_PARAMETER) return;
    for (const char *w = qc_words[c->version == 3][kind == S_GATE]; *w; w += strcspn(w, " "), w += *w == ' ')
        qc_consider(guess, t, w, strcspn(w, " "));
}

/* include "NAME"; from memory only: no file is ever opened. Reads up to the semicolon. */
static void qc_include(qc *c) {
    qc_next(c);
    if (c->t.kind != T_STRING) qc_unexpected(c, "a string");
    size_t length = (size_t)(c->t.end - c->t.begin) - 2;
    int library = 0;
    if (length == 10 && memcmp(c->t.begin + 1, "qelib1.inc", 10) == 0) library = LIB_QELIB1;
    if (length == 12 && memcmp(c->t.begin + 1, "stdgates.inc", 12) == 0) library = LIB_STDGATES;
    if (library == 0) {
        snprintf(c->hint, sizeof c->hint, "only \"qelib1.inc\" and \"stdgates.inc\" can be included");
        c->gates_in_scope |= c->version == 2 ? LIB_QELIB1 : LIB_STDGATES; /* what it should have brought */
        c->library_is_missing = 1;
        qc_fail(c, QC_SYNTAX, "can't include %s, %s", qc_token_text(c), c->hint);
    }
    if (library == LIB_STDGATES && c->version == 2) {
        snprintf(c->hint, sizeof c->hint, "OpenQASM 2 has \"qelib1.inc\"");
        c->gates_in_scope |= LIB_QELIB1;
        qc_fail(c, QC_SYNTAX, "can't include \"stdgates.inc\", which is OpenQASM 3's, %s", c->hint);
    }
    if (c->gates_in_scope & library) qc_fail(c, QC_SYNTAX, "%s is already included", qc_token_text(c));
    c->gates_in_scope |= library;
    qc_next(c);
}

#endif

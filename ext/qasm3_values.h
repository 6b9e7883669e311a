/* OpenQASM 3: values, where they are kept, and how they change type.
 *
 * A value is known at compile time, or it lies on top of the stack machine's stack when the program runs. Variables are
 * cells: the compiler follows their values, and where a value depends on a measurement the cell's slot of the machine
 * holds it. A cell that is assigned where control flow depends on a measurement is pinned for that stretch: whatever is
 * assigned is also stored in the slot, so that the slot is right wherever paths join. Global bits are the circuit's
 * classical bits, whose slots are always right. Everything else that has bits (local bit registers, integers, angles)
 * is one 64-bit word, of which single bits can be read and written.
 */
#ifndef QFAST_QASM3_VALUES_H
#define QFAST_QASM3_VALUES_H
#include "qasm_recover.h"

enum qc_type { TY_VOID, TY_BOOL, TY_BITS, TY_INT, TY_UINT, TY_FLOAT, TY_ANGLE, TY_DURATION };

typedef struct qc_cell {
    int64_t bits;
    int32_t pinned, stamp;
    uint8_t known;
} qc_cell;

enum { QC_MAX_CELLS = 1 << 22 };

static const char *qc_type_name(int type) {
    static const char *const name[] = {"nothing", "bool", "bit", "int", "uint", "float", "angle", "duration"};
    return name[type];
}

static inline qc_value qc_known_int(int64_t v) { return (qc_value){TY_INT, 1, 0, 0, 64, v}; }
static inline qc_value qc_known_bool(int v) { return (qc_value){TY_BOOL, 1, 0, 0, 1, v}; }
static inline qc_value qc_known_float(double v) { return (qc_value){TY_FLOAT, 1, 0, 0, 64, qf_from_double(v)}; }
static inline qc_value qc_on_stack(int type, int width) { return (qc_value){(uint8_t)type, 0, 0, 0, (int16_t)width,
                                                                            0}; }

/* Where nothing is executed, values are not known that the program's runs know. */
static _Noreturn void qc_not_known(qc *c, const qc_tok *at, const char *what) {
    qc_fail_tok(c, c->checking ? QC_UNSUPPORTED : QC_SYNTAX, at, "%s must be known at compile time", what);
}

/* ---- cells */

static void qc_forget_all(qc *c) {
    for (int32_t k = 0; k < c->num_cells; k++) c->cells[k].known = 0;
    for (int32_t k = 0; k < c->num_bit_cells; k++) c->bit_cells[k].known = 0;
}


static int32_t qc_new_cells(qc *c, int64_t n, const qc_tok *name) {
    if (n > QC_MAX_CELLS || c->num_cells + n > QC_MAX_CELLS)
        qc_fail_tok(c, QC_LIMIT, name, "the program declares more than %d variables", QC_MAX_CELLS);
    if (c->num_cells + n > c->cap_cells)
        c->cells = qc_grow(c, c->cells, &c->cap_cells, c->num_cells + n, sizeof *c->cells, QC_MAX_CELLS);
    qc_spend(c, n);
    for (int64_t k = 0; k < n; k++) c->cells[c->num_cells + k] = (qc_cell){0, 0, 0, 1};
    c->num_cells += (int32_t)n;
    if (c->num_cells > c->max_cells) c->max_cells = c->num_cells;
    return c->num_cells - (int32_t)n;
}

static int32_t qc_temporary(qc *c) { return qc_new_cells(c, 1, &c->t); }

/* Makes the tracking of the global bits as long as there are bits; a new bit is a known 0. */
static void qc_new_bits(qc *c) {
    int32_t old = c->num_bit_cells;
    if (c->num_clbits > QC_MAX_CELLS)
        qc_fail(c, QC_LIMIT, "the program declares more than %d classical bits", QC_MAX_CELLS);
    if (c->num_clbits > c->cap_bit_cells)
        c->bit_cells = qc_grow(c, c->bit_cells, &c->cap_bit_cells, c->num_clbits, sizeof *c->bit_cells, QC_MAX_CELLS);
    for (; old < c->num_clbits; old++) c->bit_cells[old] = (qc_cell){0, 0, 0, 1};
    c->num_bit_cells = old;
}

static void qc_push_value(qc *c, qc_value *v) {
    if (v->known) qc_push_bits(c, v->type == TY_FLOAT || v->type == TY_DURATION ? QF_PUSHF : QF_PUSHI, v->bits);
    v->known = v->literal = 0;
}

static qc_value qc_load_cell(qc *c, int32_t cell, int type, int width) {
    if (c->cells[cell].known) return (qc_value){(uint8_t)type, 1, 0, 0, (int16_t)width, c->cells[cell].bits};
    qc_op(c, QF_LDVAR, cell);
    return qc_on_stack(type, width);
}

static void qc_no_runtime_in_gate(qc *c) {
    if (c->in_gate) qc_fail(c, QC_UNSUPPORTED, "only angles may depend on the parameters of a gate");
}

/* Stores a value that has the cell's type. */
static void qc_store_cell(qc *c, int32_t cell, qc_value v) {
    qc_cell *to = &c->cells[cell];
    if (v.known) {
        to->known = 1;
        to->bits = v.bits;
        if (!to->pinned) return;
        qc_push_value(c, &v);
    } else {
        qc_no_runtime_in_gate(c);
        to->known = 0;
    }
    qc_op(c, QF_STVAR, cell);
}

/* Puts the cells' known values into their slots, so that an index of the running program may reach them. */
static void qc_spill(qc *c, int32_t first, int32_t n, int forget) {
    qc_spend(c, n);
    for (int32_t k = first; k < first + n; k++) {
        if (c->cells[k].known && !c->cells[k].pinned) {
            qc_push_int(c, c->cells[k].bits);
            qc_op(c, QF_STVAR, k);
        }
        if (forget) c->cells[k].known = 0;
    }
}

/* ---- jumps that wait for their target: chained through it; -1 ends the chain */

static void qc_jump(qc *c, int32_t *chain) {
    qc_op(c, QF_JUMP, *chain);
    *chain = c->out->n - 1;
}

static void qc_patch(qc *c, int32_t chain, int32_t target) {
    while (chain >= 0) {
        int32_t next = c->out->code[chain].c;
        c->out->code[chain].c = target;
        chain = next;
    }
}

/* ---- bits: of space 0 (global) or 1 (bit index & 63 of cell index >> 6) */

static qc_value qc_load_bit(qc *c, int space, int32_t index) {
    if (space == 0) {
        if (c->bit_cells[index].known) return (qc_value){TY_BITS, 1, 0, 0, 1, c->bit_cells[index].bits};
        qc_op(c, QF_LDBIT, index);
        return qc_on_stack(TY_BITS, 1);
    }
    qc_value v = qc_load_cell(c, index >> 6, TY_BITS, 1);
    if (v.known) {
        v.bits = (int64_t)((uint64_t)v.bits >> (index & 63) & 1);
        return v;
    }
    if (index & 63) {
        qc_push_int(c, index & 63);
        qc_op(c, QF_USHR, 0);
    }
    qc_push_int(c, 1);
    qc_op(c, QF_IAND, 0);
    return v;
}

static void qc_store_bit(qc *c, int space, int32_t index, qc_value v) {
    if (space == 0) {
        qc_cell *to = &c->bit_cells[index];
        if (v.known && to->known && to->bits == (v.bits & 1)) return;
        to->known = v.known;
        to->bits = v.bits & 1;
        qc_push_value(c, &v);
        qc_op(c, QF_STBIT, index);
        return;
    }
    qc_cell *to = &c->cells[index >> 6];
    int k = index & 63;
    uint64_t mask = UINT64_C(1) << k;
    if (v.known && to->known) {
        v.bits = (int64_t)(((uint64_t)to->bits & ~mask) | ((uint64_t)(v.bits & 1) << k));
        qc_store_cell(c, index >> 6, v);
        return;
    }
    if (!v.known && k) {
        qc_push_int(c, k);
        qc_op(c, QF_ISHL, 0);
    }
    int64_t set = v.known ? (int64_t)((uint64_t)(v.bits & 1) << k) : 0;
    qc_value word = qc_load_cell(c, index >> 6, TY_UINT, 64);
    if (word.known) {
        qc_push_int(c, (int64_t)((uint64_t)word.bits & ~mask));
    } else {
        qc_push_int(c, (int64_t)~mask);
        qc_op(c, QF_IAND, 0);
    }
    if (v.known) qc_push_int(c, set);
    qc_op(c, QF_IOR, 0);
    qc_store_cell(c, index >> 6, qc_on_stack(TY_UINT, 64));
}

/* `count` of the references, from `from` on. */
static qc_refs qc_part(qc *c, const qc_refs *r, int32_t from, int32_t count) {
    (void)c;
    return (qc_refs){count, r->first + from, 1, r->space, r->list ? r->list + from : NULL, 0, 0};
}

static void qc_check_width(qc *c, int32_t count) {
    if (count > 64) qc_fail(c, QC_UNSUPPORTED, "a value of more than 64 bits is not supported");
}

/* The bits as one word, the first one lowest. */
static qc_value qc_load_refs(qc *c, const qc_refs *r) {
    uint64_t word = 0;
    int all = 1, contiguous = r->space == 0;
    qc_check_width(c, r->count);
    for (int32_t k = 0; k < r->count; k++) {
        int32_t index = qc_ref(r, k);
        const qc_cell *cell = r->space ? &c->cells[index >> 6] : &c->bit_cells[index];
        all &= cell->known;
        word |= (uint64_t)(cell->bits >> (r->space ? index & 63 : 0) & 1) << k;
        contiguous &= index == qc_ref(r, 0) + k;
    }
    if (all) return (qc_value){TY_BITS, 1, 0, 0, (int16_t)r->count, (int64_t)word};
    if (r->count == 1) return qc_load_bit(c, r->space, qc_ref(r, 0));
    if (contiguous) {
        qc_op(c, QF_LDREG, qc_ref(r, 0))->nq = r->count;
        return qc_on_stack(TY_BITS, r->count);
    }
    for (int32_t k = 0; k < r->count; k++) {
        qc_value bit = qc_load_bit(c, r->space, qc_ref(r, k));
        qc_push_value(c, &bit);
        if (k == 0) continue;
        qc_push_int(c, k);
        qc_op(c, QF_ISHL, 0);
        qc_op(c, QF_IOR, 0);
    }
    return qc_on_stack(TY_BITS, r->count);
}

/* Stores a word of r->count bits, the lowest one first. */
static void qc_store_refs(qc *c, const qc_refs *r, qc_value v) {
    qc_check_width(c, r->count);
    int contiguous = r->space == 0;
    for (int32_t k = 0; k < r->count; k++) contiguous &= qc_ref(r, k) == qc_ref(r, 0) + k;
    if (v.known) {
        for (int32_t k = 0; k < r->count; k++) {
            qc_value bit = {TY_BITS, 1, 0, 0, 1, (int64_t)((uint64_t)v.bits >> k & 1)};
            qc_store_bit(c, r->space, qc_ref(r, k), bit);
        }
    } else if (r->count == 1) {
        qc_store_bit(c, r->space, qc_ref(r, 0), v);
    } else if (contiguous) {
        for (int32_t k = 0; k < r->count; k++) c->bit_cells[qc_ref(r, k)].known = 0;
        qc_op(c, QF_STREG, qc_ref(r, 0))->nq = r->count;
    } else {
        for (int32_t k = 0; k < r->count; k++) {
            qc_op(c, QF_DUP, 0);
            qc_push_int(c, k);
            qc_op(c, QF_USHR, 0);
            qc_push_int(c, 1);
            qc_op(c, QF_IAND, 0);
            qc_store_bit(c, r->space, qc_ref(r, k), qc_on_stack(TY_BITS, 1));
        }
        qc_op(c, QF_POP, 0);
    }
}

/* ---- measurement */

static void qc_emit_measure(qc *c, int32_t qubit, int32_t bit) {
    double *none;
    *qc_emit_gate(c, QF_MEASURE, 0, 0, 1, 0, &none) = qubit;
    c->out->code[c->out->n - 1].c = bit;
    c->measurements = 1;
}

/* Measures into a value on the stack. MEASURE writes a classical bit, so bit 0 serves and gets its own value back;
 * every circuit has one in the end, since a program without any is given a register. */
static qc_value qc_measure_to_stack(qc *c, int32_t qubit) {
    int known = c->num_bit_cells == 0 || c->bit_cells[0].known;
    int64_t old = c->num_bit_cells == 0 ? 0 : c->bit_cells[0].bits;
    if (!known) qc_op(c, QF_LDBIT, 0);
    qc_emit_measure(c, qubit, 0);
    qc_op(c, QF_LDBIT, 0);
    if (known) qc_push_int(c, old);
    else qc_op(c, QF_EXCH, 0);
    qc_op(c, QF_STBIT, 0);
    return qc_on_stack(TY_BITS, 1);
}

/* ---- conversions; the value is known or on top of the stack */

static double qc_turn(int width) { return ldexp(2 * M_PI, -width); } /* radians of the lowest bit of an angle */

static int64_t qc_angle_of(double x, int width) {
    long double turns = (long double)x / (2 * M_PIl), fraction = turns - floorl(turns);
    uint64_t top = (uint64_t)roundl(ldexpl(fraction, width > 63 ? 63 : width));
    return qf_wrap_unsigned((int64_t)(width > 63 ? top << 1 : top), width);
}

static void qc_angle_on_stack(qc *c, int width) {
    int exact = width > 53 ? 53 : width;
    qc_push_float(c, 2 * M_PI);
    qc_op(c, QF_FDIV, 0);
    qc_op(c, QF_DUP, 0);
    qc_op(c, QF_FFLOOR, 0);
    qc_op(c, QF_FSUB, 0);
    qc_push_float(c, ldexp(1, exact));
    qc_op(c, QF_FMUL, 0);
    qc_push_float(c, 0.5);
    qc_op(c, QF_FADD, 0);
    qc_op(c, QF_F2I, 0);
    if (width > exact) {
        qc_push_int(c, width - exact);
        qc_op(c, QF_ISHL, 0);
    }
    if (width < 64) qc_op(c, QF_WRAPU, width);
}

static _Noreturn void qc_no_conversion(qc *c, const qc_tok *at, const qc_value *v, int type, int width) {
    if (v->type == TY_BITS || type == TY_BITS)
        qc_fail_tok(c, QC_SYNTAX, at, "a value of type %s[%d] is no %s[%d]", qc_type_name(v->type), v->width,
                    qc_type_name(type), width);
    qc_fail_tok(c, QC_SYNTAX, at, "a value of type %s is no %s", qc_type_name(v->type), qc_type_name(type));
}

static inline int qc_is_word_type(int type) { return type == TY_BOOL || type == TY_BITS || type == TY_INT ||
                                             type == TY_UINT; }

static qc_value qc_to_bool(qc *c, qc_value v) {
    if (v.known) return qc_known_bool(v.type == TY_FLOAT ? qf_as_double(v.bits) != 0 : v.bits != 0);
    if (v.type == TY_FLOAT) {
        qc_push_float(c, 0);
        qc_op(c, QF_FNE, 0);
    } else if (v.type != TY_BOOL && !(v.type == TY_BITS && v.width == 1)) {
        qc_push_int(c, 0);
        qc_op(c, QF_INE, 0);
    }
    return qc_on_stack(TY_BOOL, 1);
}

static qc_value qc_to_float(qc *c, qc_value v, const qc_tok *at) {
    switch (v.type) {
    case TY_FLOAT: case TY_DURATION: v.type = TY_FLOAT; return v;
    case TY_ANGLE:
        if (v.known) return qc_known_float((double)(uint64_t)v.bits * qc_turn(v.width));
        qc_op(c, QF_U2F, 0);
        qc_push_float(c, qc_turn(v.width));
        qc_op(c, QF_FMUL, 0);
        return qc_on_stack(TY_FLOAT, 64);
    case TY_VOID: qc_no_conversion(c, at, &v, TY_FLOAT, 64);
    default:
        if (v.known) return qc_known_float(v.type == TY_INT ? (double)v.bits : (double)(uint64_t)v.bits);
        qc_op(c, v.type == TY_INT ? QF_I2F : QF_U2F, 0);
        return qc_on_stack(TY_FLOAT, 64);
    }
}

static qc_value qc_to_int(qc *c, qc_value v, int type, int width, const qc_tok *at) {
    if (v.type == TY_FLOAT) {
        int64_t whole;
        if (v.known) {
            if (qf_unary(QF_F2I, v.bits, 0, &whole))
                qc_fail_tok(c, QC_VALUE, at, "this number does not fit into %s[%d]", qc_type_name(type), width);
            v = qc_known_int(whole);
        } else {
            qc_op(c, QF_F2I, 0);
            v = qc_on_stack(TY_INT, 64);
        }
    } else if (!qc_is_word_type(v.type) && !(v.type == TY_ANGLE && type == TY_UINT)) {
        qc_no_conversion(c, at, &v, type, width);
    }
    int of_bits = v.type == TY_BITS && v.width == width && type == TY_INT;
    if (v.known) {
        v.bits = type == TY_INT ? qf_wrap_signed(v.bits, width) : qf_wrap_unsigned(v.bits, width);
    } else if (width < 64 && !(v.type == type && v.width <= width) && !(v.type != TY_INT &&
            (v.width < width || (type == TY_UINT && v.width == width)))) {
        qc_op(c, type == TY_INT ? QF_WRAPI : QF_WRAPU, width);
    }
    return (qc_value){(uint8_t)type, v.known, 0, (uint8_t)of_bits, (int16_t)width, v.bits};
}

static qc_value qc_to_angle(qc *c, qc_value v, int width, const qc_tok *at) {
    if (v.type == TY_ANGLE || (v.type == TY_BITS && v.width == width)) {
        int shift = v.type == TY_ANGLE ? width - v.width : 0;
        if (v.known) {
            v.bits = shift >= 0 ? (int64_t)((uint64_t)v.bits << shift) : (int64_t)((uint64_t)v.bits >> -shift);
        } else if (shift) {
            qc_push_int(c, shift > 0 ? shift : -shift);
            qc_op(c, shift > 0 ? QF_ISHL : QF_USHR, 0);
        }
        return (qc_value){TY_ANGLE, v.known, 0, 0, (int16_t)width, v.bits};
    }
    if (v.type == TY_BITS) qc_no_conversion(c, at, &v, TY_ANGLE, width);
    v = qc_to_float(c, v, at);
    if (v.known) return (qc_value){TY_ANGLE, 1, 0, 0, (int16_t)width, qc_angle_of(qf_as_double(v.bits), width)};
    qc_angle_on_stack(c, width);
    return qc_on_stack(TY_ANGLE, width);
}

/* The value as another type; `cast`: written as type(value), which may also cut bits. */
static qc_value qc_convert(qc *c, qc_value v, int type, int width, int cast, const qc_tok *at) {
    switch (type) {
    case TY_BOOL:
        if (v.type == TY_VOID || v.type == TY_DURATION) qc_no_conversion(c, at, &v, type, width);
        return qc_to_bool(c, v);
    case TY_FLOAT: return qc_to_float(c, v, at);
    case TY_ANGLE: return qc_to_angle(c, v, width, at);
    case TY_INT: case TY_UINT: return qc_to_int(c, v, type, width, at);
    case TY_BITS:
        if (v.type == TY_BITS && v.width == width) return v;
        if (v.type == TY_ANGLE && v.width == width) break;
        if (!qc_is_word_type(v.type) || (v.type == TY_BITS && !cast)) qc_no_conversion(c, at, &v, type, width);
        if (v.known && !cast && (uint64_t)v.bits != (uint64_t)qf_wrap_unsigned(v.bits, width))
            qc_fail_tok(c, QC_VALUE, at, "the value %lld does not fit into bit[%d]", (long long)v.bits, width);
        v = qc_to_int(c, v, TY_UINT, width, at);
        break;
    case TY_DURATION:
        if (v.type == TY_DURATION) return v;
        qc_no_conversion(c, at, &v, type, width);
    default: qc_no_conversion(c, at, &v, type, width);
    }
    v.type = TY_BITS;
    v.width = (int16_t)width;
    v.cast_of_bits = 0;
    return v;
}

/* Discards a value. */
static void qc_drop(qc *c, qc_value v) {
    if (!v.known && v.type != TY_VOID) qc_op(c, QF_POP, 0);
}

#endif

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

enum qc_type { TY_VOID, TY_BOOL, TY_BITS, TY_INT, TY_UINT, TY_FLOAT, TY_ANGLE, TY_DURATION, TY_COMPLEX };

typedef struct qc_cell {
    int64_t bits;
    int32_t pinned, stamp;
    uint8_t known;
} qc_cell;

enum { QC_MAX_CELLS = 1 << 22 };

static const char *qc_type_name(int type) {
    static const char *const name[] = {"nothing", "bool",  "bit",      "int",    "uint",
                                       "float",   "angle", "duration", "complex"};
    return name[type];
}

static inline qc_value qc_known_int(int64_t v) { return (qc_value){TY_INT, 1, 0, 0, 64, v}; }
static inline qc_value qc_known_bool(int v) { return (qc_value){TY_BOOL, 1, 0, 0, 1, v}; }
static inline qc_value qc_known_float(double v) { return (qc_value){TY_FLOAT, 1, 0, 0, 64, qf_from_double(v)}; }
static inline qc_value qc_on_stack(int type, int width) { return (qc_value){(uint8_t)type, 0, 0, 0, (int32_t)width,
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

static inline int qc_is_wide(const qc_value *v) { return v->type == TY_BITS && v->width > 64; }

/* Cells that a variable of that type takes. */
static inline int32_t qc_cells_of(int type, int32_t width) {
    return type == TY_COMPLEX ? 2 : type == TY_BITS && width > 64 ? (width + 63) / 64 : 1;
}

static _Noreturn void qc_no_runtime_complex(qc *c) {
    qc_fail(c, QC_UNSUPPORTED, "a complex number that depends on a measurement is not supported");
}

static qc_value qc_load_cell(qc *c, int32_t cell, int type, int32_t width) {
    if (type == TY_BITS && width > 64) return (qc_value){TY_BITS, 0, 0, 0, width, cell, 0};
    if (type == TY_COMPLEX && !(c->cells[cell].known && c->cells[cell + 1].known)) qc_no_runtime_complex(c);
    if (type == TY_COMPLEX)
        return (qc_value){TY_COMPLEX, 1, 0, 0, 64, c->cells[cell].bits, c->cells[cell + 1].bits};
    if (c->cells[cell].known) return (qc_value){(uint8_t)type, 1, 0, 0, (int32_t)width, c->cells[cell].bits};
    qc_op(c, QF_LDVAR, cell);
    return qc_on_stack(type, width);
}

static void qc_no_runtime_in_gate(qc *c) {
    if (c->in_gate) qc_fail(c, QC_UNSUPPORTED, "only angles may depend on the parameters of a gate");
}

static void qc_copy_wide(qc *c, int32_t cell, const qc_value *v);

/* Stores a value that has the cell's type. */
static void qc_store_cell(qc *c, int32_t cell, qc_value v) {
    qc_cell *to = &c->cells[cell];
    if (qc_is_wide(&v)) {
        qc_copy_wide(c, cell, &v);
        return;
    }
    if (v.type == TY_COMPLEX) {
        if (to->pinned) qc_no_runtime_complex(c);
        to[0] = (qc_cell){v.bits, 0, to[0].stamp, 1};
        to[1] = (qc_cell){v.imag, 0, to[1].stamp, 1};
        return;
    }
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

static qc_value qc_new_wide(qc *c, int32_t width);
static qc_value qc_wide_word(qc *c, const qc_value *v, int32_t k);

/* The bits as one value, the first one lowest. */
static qc_value qc_load_refs(qc *c, const qc_refs *r) {
    uint64_t word = 0;
    qc_spend(c, r->count);
    if (r->count > 64) {
        if (r->space && r->list == NULL && (r->first & 63) == 0)
            return qc_load_cell(c, r->first >> 6, TY_BITS, r->count);
        qc_value wide = qc_new_wide(c, r->count);
        for (int32_t k = 0; k < r->count; k += 64) {
            qc_refs part = qc_part(c, r, k, r->count - k < 64 ? r->count - k : 64);
            qc_store_cell(c, (int32_t)wide.bits + k / 64, qc_load_refs(c, &part));
        }
        return wide;
    }
    int all = 1, contiguous = r->space == 0;
    for (int32_t k = 0; k < r->count; k++) {
        int32_t index = qc_ref(r, k);
        const qc_cell *cell = r->space ? &c->cells[index >> 6] : &c->bit_cells[index];
        all &= cell->known;
        word |= (uint64_t)(cell->bits >> (r->space ? index & 63 : 0) & 1) << k;
        contiguous &= index == qc_ref(r, 0) + k;
    }
    if (all) return (qc_value){TY_BITS, 1, 0, 0, (int32_t)r->count, (int64_t)word};
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
    qc_spend(c, 4 * (int64_t)r->count);
    if (r->count > 64) {
        for (int32_t k = 0; k < r->count; k += 64) {
            qc_refs part = qc_part(c, r, k, r->count - k < 64 ? r->count - k : 64);
            qc_store_refs(c, &part, qc_wide_word(c, &v, k / 64));
        }
        return;
    }
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

#endif

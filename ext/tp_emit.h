/* The last stage: steps become instructions in a device's gates and directions.
 *
 * First every rotation becomes a native two-qubit gate with the turns that must act before it (tp_ent), linked along the
 * wires. Then, in order of time, the turns are written as words. What of a turn passes the gate behind it is carried on where
 * that makes the words before and behind shorter: a cx lets turns about Z pass at its control and turns about X at its target,
 * so only two of the three angles of a turn are written between two gates.
 */
#ifndef QFAST_TP_EMIT_H
#define QFAST_TP_EMIT_H
#include "classical.h"
#include "tp_words.h"

enum tp_ent_kind { TP_ENT_PAIR, TP_ENT_WRITE, TP_ENT_MEASURED, TP_ENT_STEP };

typedef struct {
    uint8_t kind;
    uint8_t axis[2];
    uint8_t num_params, angle_at;
    int32_t op, nctrl;
    int32_t q[2], next[2];
    int64_t step; /* ENT_STEP: index of the step */
    double angle;
    tp_turn before[2];
} tp_ent;

typedef struct {
    qf_instr *code;
    int64_t size, room;
    int32_t *operands;
    int64_t num_operands, operand_room;
    double *params;
    int64_t num_params, param_room;
    int64_t gates, pairs;
    int64_t depth;
    int failed;
} tp_output;

typedef struct {
    const tp_basis *basis;
    tp_trees *trees;
    const qf_instr *source;
    const double *source_params;
    const int32_t *directions;      /* per first qubit the second ones that a gate may have */
    const int64_t *direction_start; /* n + 1 places in `directions`; NULL: all pairs are allowed both ways */
    int32_t num_qubits;
    int carry; /* turns may pass gates; a phase before a measurement is dropped */
    tp_ent *ents;
    int64_t size, room;
    tp_turn *waiting;
    int32_t *last; /* per wire: the last pair or write since the last fence, or -1 */
    int32_t *touched, num_touched;
    uint8_t *is_touched;
    int32_t *level;  /* depth reached on each wire */
    int32_t *fresh;  /* new index of each source record that is a label, n + 1 of them */
    tp_output *out;
    int failed;
} tp_emit;

static inline int tp_emit_init(tp_emit *e, int32_t num_qubits) {
    const size_t n = (size_t)num_qubits + 1;
    e->num_qubits = num_qubits;
    e->waiting = malloc(n * sizeof(tp_turn));
    e->last = malloc(n * sizeof(int32_t));
    e->touched = malloc(n * sizeof(int32_t));
    e->is_touched = calloc(n, 1);
    e->level = calloc(n, sizeof(int32_t));
    if (!e->waiting || !e->last || !e->touched || !e->is_touched || !e->level) return 0;
    for (int32_t q = 0; q < num_qubits; q++) {
        e->waiting[q] = TP_ID;
        e->last[q] = -1;
    }
    return 1;
}

static inline void tp_emit_free(tp_emit *e) {
    free(e->ents);
    free(e->waiting);
    free(e->last);
    free(e->touched);
    free(e->is_touched);
    free(e->level);
}

static inline void tp_output_free(tp_output *out) {
    free(out->code);
    free(out->operands);
    free(out->params);
    memset(out, 0, sizeof(*out));
}

/* ---- first pass ---- */

static inline void tp_emit_one(tp_emit *e, int32_t q, tp_turn m) {
    if (!e->is_touched[q]) {
        e->is_touched[q] = 1;
        e->touched[e->num_touched++] = q;
    }
    e->waiting[q] = tp_is_identity(e->waiting[q]) ? m : tp_product(e->trees, m, e->waiting[q]);
}

static inline tp_ent *tp_emit_ent(tp_emit *e, int kind) {
    if (!tp_room((void **)&e->ents, &e->room, e->size + 1, sizeof(tp_ent))) {
        e->failed = TP_NO_MEMORY;
        return NULL;
    }
    tp_ent *ent = &e->ents[e->size++];
    ent->kind = (uint8_t)kind;
    ent->next[0] = ent->next[1] = -1;
    ent->axis[0] = ent->axis[1] = TP_NO_AXIS;
    return ent;
}

static inline void tp_emit_link(tp_emit *e, tp_ent *ent, int side, int32_t q) {
    const int32_t here = (int32_t)(ent - e->ents), last = e->last[q];
    ent->q[side] = q;
    ent->before[side] = e->waiting[q];
    e->waiting[q] = TP_ID;
    if (last >= 0) e->ents[last].next[e->ents[last].q[0] != q] = here;
    e->last[q] = here;
}

/* What waits on a wire, and what will be carried there, is written before a fence. */
static inline void tp_emit_settle(tp_emit *e, int32_t q, int kind) {
    if (e->last[q] >= 0 || !tp_is_identity(e->waiting[q])) {
        tp_ent *ent = tp_emit_ent(e, kind);
        if (!ent) return;
        tp_emit_link(e, ent, 0, q);
    }
    e->last[q] = -1;
}

static inline void tp_emit_settle_all(tp_emit *e) {
    for (int32_t k = 0; k < e->num_touched; k++) {
        e->is_touched[e->touched[k]] = 0;
        tp_emit_settle(e, e->touched[k], TP_ENT_WRITE);
    }
    e->num_touched = 0;
}

static inline int tp_allowed(const tp_emit *e, int32_t a, int32_t b) {
    if (!e->direction_start) return 1;
    for (int64_t k = e->direction_start[a]; k < e->direction_start[a + 1]; k++)
        if (e->directions[k] == b) return 1;
    return 0;
}

static inline tp_turn tp_turn_at(const double *v) {
    return tp_turn_of(v[0], v[1], v[2], v[3]);
}

static inline void tp_emit_around(tp_emit *e, const double turns[2][4], int32_t a, int32_t b) {
    const tp_turn on_a = tp_turn_at(turns[0]), on_b = tp_turn_at(turns[1]);
    if (!tp_is_identity(on_a)) tp_emit_one(e, a, on_a);
    if (!tp_is_identity(on_b)) tp_emit_one(e, b, on_b);
}

/* One native gate that is a rotation by phi, or by its own fixed angle, with the turns around it. */
static inline void tp_emit_native(tp_emit *e, const tp_entangler *g, int32_t a, int32_t b, double phi) {
    tp_emit_around(e, g->before, a, b);
    tp_ent *ent = tp_emit_ent(e, TP_ENT_PAIR);
    if (!ent) return;
    ent->op = g->op;
    ent->nctrl = g->nctrl;
    ent->num_params = (uint8_t)g->num_params;
    ent->angle_at = (uint8_t)g->angle_at;
    ent->angle = g->scale * phi; /* phi is in (-pi, pi], and crz has the period 4 pi */
    const int turned = g->symmetric && !tp_allowed(e, a, b); /* such gates have the same turns on both sides */
    for (int side = 0; side < 2; side++) {
        ent->axis[side] = (uint8_t)g->axis[side];
        tp_emit_link(e, ent, side, (side ^ turned) ? b : a);
        if (!e->is_touched[ent->q[side]]) tp_emit_one(e, ent->q[side], TP_ID);
    }
    tp_emit_around(e, g->after, a, b);
    if (g->after_rz[0] != 0) tp_emit_one(e, a, tp_rz(g->after_rz[0] * phi));
    if (g->after_rz[1] != 0) tp_emit_one(e, b, tp_rz(g->after_rz[1] * phi));
}

/* exp(-i phi/2 Z Z) for phi = +-pi/2 by gates of a fixed angle. */
static inline void tp_emit_quarter(tp_emit *e, const tp_entangler *g, int32_t a, int32_t b, double phi) {
    const int copies = (int)lround(TP_PI / 2 / fabs(g->phi));
    for (int k = 0; k < copies; k++) tp_emit_native(e, g, a, b, 0);
    if ((phi < 0) != (g->phi < 0)) { /* a rotation by pi is Z on both */
        tp_emit_one(e, a, TP_Z);
        tp_emit_one(e, b, TP_Z);
    }
}

/* Letters of what would be written before a pair, for either order of its qubits. */
static inline int tp_emit_length(const tp_emit *e, const tp_entangler *g, int32_t a, int32_t b, int flip) {
    tp_letter letters[5];
    tp_turn rest, turn[2] = {e->waiting[a], e->waiting[b]};
    int length = 0;
    if (flip) turn[1] = tp_times(TP_H, turn[1]);
    for (int side = 0; side < 2; side++) {
        const tp_turn m = tp_times(tp_turn_at(g->before[side]), turn[side]);
        length += tp_word(e->basis, m, e->carry ? g->axis[side] : TP_NO_AXIS, letters, &rest);
    }
    return length;
}

/* The gate that writes a rotation: one with the hint's name where it does, else the first that does it at once. */
static inline const tp_entangler *tp_emit_choose(const tp_emit *e, double phi, int form, int simple) {
    const tp_entangler *exact = NULL, *any = NULL, *fixed = NULL;
    for (int k = 0; k < e->basis->num_entanglers; k++) {
        const tp_entangler *g = &e->basis->entanglers[k];
        if (g->phi == 0) {
            if (g->form == form) return g;
            if (!any) any = g;
        } else {
            if (simple && g->form == form) return g;
            if (simple && !exact && fabs(fabs(g->phi) - fabs(phi)) < TP_EPS) exact = g;
            if (!fixed || fabs(g->phi) > fabs(fixed->phi)) fixed = g;
        }
    }
    return exact ? exact : any ? any : fixed;
}

static inline void tp_emit_zz(tp_emit *e, int32_t a, int32_t b, double phi, int form) {
    const int simple = fabs(fabs(phi) - TP_PI / 2) < TP_EPS;
    const tp_entangler *g = tp_emit_choose(e, phi, form, simple);
    if (!g && !e->basis->iswap) {
        e->failed = TP_NO_TWO_QUBIT;
        return;
    }
    if (g) {
        const int there = tp_allowed(e, a, b), back = tp_allowed(e, b, a), flip = g->phi != 0 && !simple;
        int turn = !there && back && !g->symmetric;
        if (there && back && e->carry && e->basis->style != TP_DISCRETE && !g->symmetric)
            turn = tp_emit_length(e, g, b, a, flip) < tp_emit_length(e, g, a, b, flip);
        if (turn) {
            const int32_t kept = a;
            a = b;
            b = kept;
        }
        if (g->phi == 0) {
            tp_emit_native(e, g, a, b, phi);
        } else if (simple) {
            tp_emit_quarter(e, g, a, b, phi);
        } else { /* cx, rz on the target, cx */
            for (int k = 0; k < 2; k++) {
                tp_emit_one(e, b, TP_H);
                tp_emit_quarter(e, g, a, b, -TP_PI / 2);
                tp_emit_one(e, a, TP_S);
                tp_emit_one(e, b, TP_S);
                tp_emit_one(e, b, TP_H);
                if (!k) tp_emit_one(e, b, tp_rz(phi));
            }
        }
        return;
    }
    /* two iswaps turn a rotation about X of one qubit into one about Z and Y of both */
    static const tp_entangler iswap = {QF_ISWAP, 0, 0, 1, {0, 0}, 0, 0, 0, 0, {{1, 0, 0, 0}, {1, 0, 0, 0}}, {{1, 0, 0, 0}, {1, 0, 0, 0}}, {0, 0}};
    tp_emit_one(e, b, TP_SX);
    tp_emit_native(e, &iswap, a, b, 0);
    tp_emit_one(e, a, tp_rx(phi));
    tp_emit_native(e, &iswap, a, b, 0);
    tp_emit_one(e, a, TP_Z);
    tp_emit_one(e, b, TP_SX);
    tp_emit_one(e, b, TP_Z);
}

/* One step; `index` is its number, for the second pass. */
static inline void tp_emit_step(tp_emit *e, const tp_steps *in, int64_t index) {
    const tp_step *step = &in->items[index];
    if (step->kind == TP_ONE) {
        tp_emit_one(e, step->a, step->m);
        return;
    }
    if (step->kind == TP_ZZ) {
        tp_emit_zz(e, step->a, step->b, step->phi, step->form);
        return;
    }
    if (tp_is_border(step)) {
        tp_emit_settle_all(e);
    } else if (step->count) {
        for (int32_t k = 0; k < step->count; k++) tp_emit_settle(e, in->operands[step->at + k], TP_ENT_WRITE);
    } else {
        if (step->kind == TP_RESET) e->waiting[step->a] = TP_ID;
        tp_emit_settle(e, step->a, step->kind == TP_MEASURE && e->carry ? TP_ENT_MEASURED : TP_ENT_WRITE);
        if (step->kind == TP_SWAP) tp_emit_settle(e, step->b, TP_ENT_WRITE);
    }
    tp_ent *ent = tp_emit_ent(e, TP_ENT_STEP);
    if (ent) ent->step = index;
}

/* ---- second pass ---- */

static inline void tp_put(tp_emit *e, int32_t op, int32_t nctrl, const int32_t *qubits, int32_t count, const double *params,
                          int32_t num_params) {
    tp_output *o = e->out;
    if (o->num_operands > INT32_MAX - 64 || o->num_params > INT32_MAX - 64) {
        o->failed = TP_TOO_LARGE;
        return;
    }
    if (!tp_room((void **)&o->code, &o->room, o->size + 1, sizeof(qf_instr)) ||
        !tp_room((void **)&o->operands, &o->operand_room, o->num_operands + count, sizeof(int32_t)) ||
        !tp_room((void **)&o->params, &o->param_room, o->num_params + num_params, sizeof(double))) {
        o->failed = TP_NO_MEMORY;
        return;
    }
    qf_instr *i = &o->code[o->size++];
    *i = (qf_instr){(uint8_t)op, (uint8_t)nctrl, 0, (uint32_t)((UINT64_C(1) << nctrl) - 1), (int32_t)o->num_operands, count,
                    (int32_t)o->num_params, 0};
    int32_t deepest = 0;
    for (int32_t k = 0; k < count; k++) {
        o->operands[o->num_operands++] = qubits[k];
        if (e->level[qubits[k]] > deepest) deepest = e->level[qubits[k]];
    }
    for (int32_t k = 0; k < num_params; k++) o->params[o->num_params++] = params[k];
    deepest += op != QF_BARRIER; /* a barrier takes no time */
    for (int32_t k = 0; k < count; k++) e->level[qubits[k]] = deepest;
    if (deepest > o->depth) o->depth = deepest;
    if (op < QF_MEASURE) {
        o->gates++;
        o->pairs += count == 2;
    }
}

static inline void tp_put_letters(tp_emit *e, int32_t q, const tp_letter *letters, int n) {
    for (int k = 0; k < n; k++) {
        const tp_macro *macro = NULL;
        for (int j = 0; j < e->basis->num_macros; j++)
            if (e->basis->macros[j].op == letters[k].op) macro = &e->basis->macros[j];
        if (!macro) {
            tp_put(e, letters[k].op, 0, &q, 1, letters[k].params, letters[k].num_params);
            continue;
        }
        const double angle = macro->sign * letters[k].params[0];
        for (int j = 0; j < macro->num_before; j++) tp_put(e, macro->before[j], 0, &q, 1, NULL, 0);
        tp_put(e, macro->base, 0, &q, 1, &angle, 1);
        for (int j = 0; j < macro->num_after; j++) tp_put(e, macro->after[j], 0, &q, 1, NULL, 0);
    }
}

/* The word of a turn in discrete gates, and turns about Z where those are native, or nothing. */
static inline int tp_put_known(tp_emit *e, int32_t q, tp_turn m, int write) {
    const tp_basis *b = e->basis;
    const int64_t found = tp_find_word(b, m);
    if (found < 0 && !(b->z >= 0 && tp_is_diagonal(m))) return 0;
    if (!write) return 1;
    if (found >= 0) {
        for (int32_t k = b->word_start[found]; k < b->word_start[found + 1]; k++) tp_put(e, b->word_ops[k], 0, &q, 1, NULL, 0);
    } else {
        tp_letter letter;
        double theta, phi, lambda;
        tp_euler(m, &theta, &phi, &lambda);
        tp_put_letters(e, q, &letter, tp_rotation(&letter, b->z, lambda));
    }
    return 1;
}

/* A product of discrete gates: factor by factor, as many at a time as the table knows. */
static inline void tp_put_discrete(tp_emit *e, int32_t q, tp_turn m) {
    if (tp_is_identity(m) || tp_put_known(e, q, m, 1)) return;
    if (m.tree == TP_NO_FACTORS) {
        e->failed = TP_NO_ONE_QUBIT;
        return;
    }
    int32_t *stack = NULL;
    int64_t size = 0, room = 0;
    tp_turn product = TP_ID;
    if (tp_room((void **)&stack, &room, 1, sizeof(int32_t))) stack[size++] = m.tree;
    else e->failed = TP_NO_MEMORY;
    while (size && !e->failed) {
        const tp_tree node = e->trees->nodes[stack[--size]];
        if (node.left >= 0) {
            if (!tp_room((void **)&stack, &room, size + 2, sizeof(int32_t))) {
                e->failed = TP_NO_MEMORY;
                break;
            }
            stack[size++] = node.right;
            stack[size++] = node.left;
            continue;
        }
        const tp_turn longer = tp_times(node.value, product);
        if (tp_is_identity(longer) || tp_put_known(e, q, longer, 0)) {
            product = longer;
            continue;
        }
        if (!tp_is_identity(product)) tp_put_known(e, q, product, 1);
        product = node.value;
        if (!tp_is_identity(product) && !tp_put_known(e, q, product, 0)) e->failed = TP_NO_ONE_QUBIT;
    }
    if (!e->failed && !tp_is_identity(product)) tp_put_known(e, q, product, 1);
    free(stack);
}

/* The turn that acts before a pair behind the wire's own, when `rest` is carried to it. */
static inline int tp_next_length(const tp_emit *e, int32_t next, int32_t q, tp_turn rest) {
    tp_letter letters[5];
    tp_turn left;
    const tp_ent *ent = &e->ents[next];
    const int side = ent->q[0] != q;
    const tp_turn m = tp_times(ent->before[side], rest);
    const int axis = ent->kind == TP_ENT_MEASURED ? TP_AXIS_Z : ent->axis[side];
    const int full = tp_full_word(e->basis, m, 0, letters);
    if (axis == TP_NO_AXIS || !full) return full;
    const int open = tp_word(e->basis, m, axis, letters, &left);
    return open < full ? open : full;
}

/* Write what acts before one side of a pair; gives the turn that is carried past it. */
static inline tp_turn tp_put_before(tp_emit *e, const tp_ent *ent, int side, tp_turn m) {
    const int32_t q = ent->q[side];
    tp_letter full[5], open[5];
    tp_turn rest, nothing;
    if (tp_is_identity(m)) return TP_ID;
    if (e->basis->style == TP_DISCRETE) {
        tp_put_discrete(e, q, m);
        return TP_ID;
    }
    const int n = tp_word(e->basis, m, TP_NO_AXIS, full, &nothing), axis = ent->axis[side];
    if (e->carry && axis != TP_NO_AXIS && ent->next[side] >= 0) {
        const int less = tp_word(e->basis, m, axis, open, &rest);
        const tp_turn passed = axis == TP_AXIS_MINUS_Z ? tp_inverse(rest) : rest;
        if (!tp_is_identity(rest)) {
            const int kept = n + tp_next_length(e, ent->next[side], q, TP_ID);
            const int carried = less + tp_next_length(e, ent->next[side], q, passed);
            if (carried < kept || (carried == kept && axis != TP_AXIS_X)) {
                tp_put_letters(e, q, open, less);
                return passed;
            }
        }
    }
    tp_put_letters(e, q, full, n);
    return TP_ID;
}

static inline void tp_put_step(tp_emit *e, const tp_steps *in, const tp_step *step) {
    const int32_t *operands = in->operands + step->at;
    const int32_t pair[2] = {step->a, step->b};
    tp_output *o = e->out;
    const qf_instr *source = step->record >= 0 ? &e->source[step->record] : NULL;
    switch (step->kind) {
    case TP_MEASURE:
        tp_put(e, QF_MEASURE, 0, pair, 1, NULL, 0);
        if (!o->failed) o->code[o->size - 1].c = step->b;
        return;
    case TP_RESET: tp_put(e, QF_RESET, 0, pair, 1, NULL, 0); return;
    case TP_BARRIER: tp_put(e, QF_BARRIER, 0, operands, step->count, NULL, 0); return;
    case TP_LABEL: e->fresh[step->record] = (int32_t)o->size; return;
    case TP_SWAP:
        if (tp_allowed(e, pair[0], pair[1])) tp_put(e, QF_SWAP, 0, pair, 2, NULL, 0);
        else tp_put(e, QF_SWAP, 0, (int32_t[]){pair[1], pair[0]}, 2, NULL, 0);
        return;
    case TP_GATE: {
        const int32_t op = source ? source->op : QF_X, nctrl = source ? source->nctrl : -1 - step->record;
        const int32_t count = source ? qf_num_params((uint8_t)op) : 0;
        const double *kept = count ? e->source_params + source->p : NULL;
        const int swaps = nctrl == 0 && (op == QF_SWAP || op == QF_ISWAP);
        if (step->count == 2 && !tp_allowed(e, operands[0], operands[1])) {
            if (!swaps || !tp_allowed(e, operands[1], operands[0])) e->failed = TP_NO_DIRECTION;
            else tp_put(e, op, nctrl, (int32_t[]){operands[1], operands[0]}, 2, kept, count);
        } else {
            tp_put(e, op, nctrl, operands, step->count, kept, count);
        }
        return;
    }
    default: /* TP_RECORD: as it is, with its own parameters or those on the stack */
        if (step->count) {
            tp_put(e, source->op, source->nctrl, operands, step->count, NULL, 0);
            if (o->failed) return;
            o->code[o->size - 1].ctrl_state = source->ctrl_state;
        } else {
            tp_put(e, QF_BARRIER, 0, NULL, 0, NULL, 0);
            if (o->failed) return;
            o->code[o->size - 1] = *source;
        }
        o->code[o->size - 1].flags = source->flags;
    }
}

/* All steps; what fails is told by e->failed or out->failed. */
static inline int tp_emit_all(tp_emit *e, const tp_steps *in, tp_watch *watch) {
    for (int64_t k = 0; k < in->size && !e->failed; k++) {
        if (tp_stop(watch)) return watch->status;
        tp_emit_step(e, in, k);
    }
    tp_emit_settle_all(e);
    if (e->failed) return e->failed;
    for (int64_t k = 0; k < e->size && !e->failed && !e->out->failed; k++) {
        const tp_ent *ent = &e->ents[k];
        tp_letter letters[5];
        tp_turn rest;
        if (tp_stop(watch)) return watch->status;
        if (ent->kind == TP_ENT_STEP) {
            tp_put_step(e, in, &in->items[ent->step]);
            continue;
        }
        const int sides = ent->kind == TP_ENT_PAIR ? 2 : 1;
        for (int side = 0; side < sides; side++) { /* what is carried here waits where pass one left nothing */
            const int32_t q = ent->q[side];
            tp_turn m = ent->before[side];
            if (!tp_is_identity(e->waiting[q])) m = tp_product(e->trees, m, e->waiting[q]);
            e->waiting[q] = TP_ID;
            if (ent->kind == TP_ENT_PAIR || e->basis->style == TP_DISCRETE) e->waiting[q] = tp_put_before(e, ent, side, m);
            else tp_put_letters(e, q, letters, tp_word(e->basis, m, ent->kind == TP_ENT_MEASURED ? TP_AXIS_Z : TP_NO_AXIS, letters, &rest));
        }
        if (ent->kind == TP_ENT_PAIR) {
            double params[4] = {0, 0, 0, 0};
            params[ent->angle_at] = ent->angle;
            tp_put(e, ent->op, ent->nctrl, ent->q, 2, params, ent->num_params);
        }
    }
    return e->failed ? e->failed : e->trees->failed ? e->trees->failed : e->out->failed;
}

#endif

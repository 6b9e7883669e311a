/* OpenQASM 3: operands that the running program chooses, by an index that depends on a measurement.
 *
 * A chosen qubit is one of a register's. What is done to it is written once for each of them, each behind a comparison
 * with the variable that holds the index, which has been proved to be in range when it was stored. Bits are found by
 * their index in the classical bits or, other ones, in the words that hold them.
 */
#ifndef QFAST_QASM3_CHOICE_H
#define QFAST_QASM3_CHOICE_H
#include "qasm3_ops.h"

#define QC_MAX_CHOICES 65536 /* combinations of chosen qubits of one statement */

/* The index on the stack must be one of n; a negative one counts from the end. */
static void qc_bound(qc *c, int32_t n) { qc_op(c, QF_BOUND, 0)->nq = n; }

/* Stores the top of the stack in a variable of its own. */
static int32_t qc_stow(qc *c) {
    int32_t cell = qc_temporary(c);
    c->cells[cell].known = 0;
    qc_op(c, QF_STVAR, cell);
    return cell;
}

/* Opens the case that the variable is k; returns the jump to patch, -1 for the last of n. */
static int32_t qc_open_case(qc *c, int32_t cell, int32_t k, int32_t n) {
    if (k == n - 1) return -1;
    qc_op(c, QF_LDVAR, cell);
    qc_push_int(c, k);
    qc_op(c, QF_IEQ, 0);
    qc_op(c, QF_JUMPZ, 0);
    return c->out->n - 1;
}

static void qc_close_case(qc *c, int32_t opened, int32_t *ends) {
    if (opened < 0) return;
    qc_jump(c, ends);
    c->out->code[opened].c = c->out->n;
}

/* ---- qubits */

static qc_refs qc_choose(qc *c, const qc_refs *among) {
    qc_refs r = *among;
    qc_bound(c, among->count);
    r.choice = qc_stow(c) + 1;
    r.among = among->count;
    r.count = 1;
    r.is_register = 0;
    return r;
}

static qc_refs qc_candidate(const qc_refs *r, int32_t k) { return (qc_refs){1, qc_ref(r, k), 0, r->space, NULL, 0, 0}; }

/* A gate call, some of whose operands may be chosen. Equal operands end the run when they are chosen. */
static void qc_call_chosen(qc *c, const qc_tok *name, const qc_gate *g, const qc_param *params, qc_refs *operands,
                           int32_t n, const qc_modifiers *m) {
    int32_t which = 0, ends = -1;
    while (which < n && operands[which].choice == 0) which++;
    qc_mark_t mark = qc_mark(c);
    if (which == n) {
        qc_param *own = qc_alloc(c, ((size_t)g->nparams + 1) * sizeof *own);
        if (g->nparams) memcpy(own, params, (size_t)g->nparams * sizeof *own);
        qc_call(c, name, g, own, operands, n, m);
        qc_release(c, mark);
        return;
    }
    qc_refs r = operands[which];
    qc_spend(c, r.among);
    for (int32_t k = 0; k < r.among; k++) {
        int32_t opened = qc_open_case(c, r.choice - 1, k, r.among), equal = 0;
        operands[which] = qc_candidate(&r, k);
        for (int32_t j = 0; j < n; j++)
            equal |= j != which && !operands[j].choice && qc_refer_to(&operands[j], operands[which].first);
        if (equal) qc_op(c, QF_FAIL, 0);
        else qc_call_chosen(c, name, g, params, operands, n, m);
        qc_close_case(c, opened, &ends);
    }
    operands[which] = r;
    qc_patch(c, ends, c->out->n);
    qc_release(c, mark);
}

/* Code that is only checked: any candidate stands for a chosen operand, if possible one that no other operand is. */
static void qc_any_candidates(qc *c, qc_refs *operands, int32_t n) {
    for (int32_t k = 0; k < n; k++) {
        qc_refs chosen = operands[k];
        if (!chosen.choice) continue;
        int32_t most = chosen.among < n + 1 ? chosen.among : n + 1, taken = 1;
        for (int32_t j = 0; j < most && taken; j++) {
            operands[k] = qc_candidate(&chosen, j);
            qc_spend(c, n);
            taken = 0;
            for (int32_t i = 0; i < n; i++)
                taken |= i != k && !operands[i].choice && qc_refer_to(&operands[i], operands[k].first);
        }
        if (taken) operands[k] = qc_candidate(&chosen, 0);
    }
}

/* The operands of a call that can't be too many when all choices are written out. */
static int qc_has_choices(qc *c, qc_refs *operands, int32_t n, const qc_tok *at) {
    int64_t combinations = 1;
    if (c->checking) qc_any_candidates(c, operands, n);
    for (int32_t k = 0; k < n; k++)
        if (operands[k].choice && (combinations *= operands[k].among) > QC_MAX_CHOICES)
            qc_fail_tok(c, QC_LIMIT, at, "more than %d choices of qubits by measured values", QC_MAX_CHOICES);
    return combinations > 1;
}

static void qc_reset_refs(qc *c, const qc_refs *r) {
    double *none;
    int32_t ends = -1, n = r->choice ? r->among : r->count;
    for (int32_t k = 0; k < n; k++) {
        int32_t opened = r->choice ? qc_open_case(c, r->choice - 1, k, n) : -1;
        *qc_emit_gate(c, QF_RESET, 0, 0, 1, 0, &none) = qc_ref(r, k);
        qc_close_case(c, opened, &ends);
    }
    qc_patch(c, ends, c->out->n);
}

/* Qubit k of the references, measured onto the stack. */
static qc_value qc_measure_ref(qc *c, const qc_refs *r, int32_t k) {
    int32_t ends = -1;
    if (r->choice == 0) return qc_measure_to_stack(c, qc_ref(r, k));
    for (int32_t j = 0; j < r->among; j++) {
        int32_t opened = qc_open_case(c, r->choice - 1, j, r->among);
        qc_measure_to_stack(c, qc_ref(r, j));
        qc_close_case(c, opened, &ends);
        if (opened >= 0) c->stack_depth--;
    }
    qc_patch(c, ends, c->out->n);
    return qc_on_stack(TY_BITS, 1);
}

static void qc_measure_refs(qc *c, const qc_refs *from, const qc_refs *to, const qc_tok *at) {
    if (from->count != to->count)
        qc_fail_tok(c, QC_VALUE, at, "can't measure %d qubit%s into %d bit%s", from->count, from->count == 1 ? "" : "s",
                    to->count, to->count == 1 ? "" : "s");
    for (int32_t k = 0; k < from->count; k++) {
        int32_t index = qc_ref(to, k);
        if (to->space == 0 && from->choice == 0) {
            qc_emit_measure(c, qc_ref(from, k), index);
            c->bit_cells[index].known = 0;
        } else {
            qc_store_bit(c, to->space, index, qc_measure_ref(c, from, k));
        }
    }
}

/* ---- bits, at an index that lies on the stack and is in range */

/* The words that hold the bits: consecutive cells whose slots are right. *offset is the place of the first bit. */
static int32_t qc_bit_words(qc *c, const qc_refs *r, int32_t *offset, int32_t *num_words) {
    *offset = 0;
    *num_words = (r->count + 63) / 64;
    if (r->space == 1 && r->list == NULL) {
        int32_t cell = r->first >> 6;
        *offset = r->first & 63;
        *num_words = (*offset + r->count + 63) / 64;
        qc_spill(c, cell, *num_words, 0);
        return cell;
    }
    int32_t cell = qc_new_cells(c, *num_words, &c->t);
    for (int32_t w = 0; w < *num_words; w++) {
        qc_refs part = qc_part(c, r, 64 * w, r->count - 64 * w < 64 ? r->count - 64 * w : 64);
        qc_value v = qc_load_refs(c, &part);
        qc_push_value(c, &v);
        qc_op(c, QF_STVAR, cell + w);
        c->cells[cell + w].known = 0;
    }
    return cell;
}

static qc_value qc_load_dynamic_bit(qc *c, const qc_refs *r) {
    int32_t offset, num_words;
    if (r->space == 0 && r->list == NULL) {
        qc_op(c, QF_LDBITAT, r->first)->nq = r->count;
        return qc_on_stack(TY_BITS, 1);
    }
    int32_t index = qc_stow(c), cell = qc_bit_words(c, r, &offset, &num_words);
    qc_op(c, QF_LDVAR, index);
    qc_push_int(c, offset);
    qc_op(c, QF_IADD, 0);
    qc_op(c, QF_DUP, 0);
    qc_push_int(c, 6);
    qc_op(c, QF_USHR, 0);
    qc_op(c, QF_LDVARAT, cell)->nq = num_words;
    qc_op(c, QF_EXCH, 0);
    qc_push_int(c, 63);
    qc_op(c, QF_IAND, 0);
    qc_op(c, QF_USHR, 0);
    qc_push_int(c, 1);
    qc_op(c, QF_IAND, 0);
    return qc_on_stack(TY_BITS, 1);
}

/* The value (0 or 1) lies below the index. */
static void qc_store_dynamic_bit(qc *c, const qc_refs *r) {
    int32_t offset, num_words, ends = -1;
    if (r->space == 0 && r->list == NULL) {
        for (int32_t k = 0; k < r->count; k++) c->bit_cells[r->first + k].known = 0;
        qc_op(c, QF_STBITAT, r->first)->nq = r->count;
        return;
    }
    int32_t index = qc_stow(c), value = qc_stow(c);
    if (r->list != NULL) { /* anywhere: one case for each bit */
        for (int32_t k = 0; k < r->count && r->space; k++) qc_spill(c, qc_ref(r, k) >> 6, 1, 1);
        for (int32_t k = 0; k < r->count; k++) {
            int32_t opened = qc_open_case(c, index, k, r->count);
            qc_op(c, QF_LDVAR, value);
            qc_store_bit(c, r->space, qc_ref(r, k), qc_on_stack(TY_BITS, 1));
            qc_close_case(c, opened, &ends);
        }
        qc_patch(c, ends, c->out->n);
        return;
    }
    int32_t cell = qc_bit_words(c, r, &offset, &num_words);
    for (int32_t w = 0; w < num_words; w++) c->cells[cell + w].known = 0;
    qc_op(c, QF_LDVAR, index);
    qc_push_int(c, offset);
    qc_op(c, QF_IADD, 0);
    qc_op(c, QF_STVAR, index);
    qc_op(c, QF_LDVAR, index);
    qc_push_int(c, 6);
    qc_op(c, QF_USHR, 0);
    qc_op(c, QF_LDVARAT, cell)->nq = num_words;
    for (int32_t with_value = 0; with_value < 2; with_value++) { /* word & ~(1 << s) | value << s */
        if (with_value) qc_op(c, QF_LDVAR, value);
        else qc_push_int(c, 1);
        qc_op(c, QF_LDVAR, index);
        qc_push_int(c, 63);
        qc_op(c, QF_IAND, 0);
        qc_op(c, QF_ISHL, 0);
        if (!with_value) qc_op(c, QF_IBNOT, 0);
        qc_op(c, with_value ? QF_IOR : QF_IAND, 0);
    }
    qc_op(c, QF_LDVAR, index);
    qc_push_int(c, 6);
    qc_op(c, QF_USHR, 0);
    qc_op(c, QF_STVARAT, cell)->nq = num_words;
}

#endif

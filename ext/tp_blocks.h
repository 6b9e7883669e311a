/* Long runs of gates on one pair of qubits, written anew with the fewest two-qubit gates.
 *
 * With cx a run takes three of them at most (Vatan, Williams, "Optimal quantum circuits for general two-qubit gates", Phys. Rev.
 * A 69, 032315 (2004)), two when one of Cartan's angles is 0.
 */
#ifndef QFAST_TP_BLOCKS_H
#define QFAST_TP_BLOCKS_H
#include "tp_cartan.h"
#include "tp_steps.h"

typedef struct {
    int any_angle;   /* a rotation by any angle is one gate */
    int fixed_angle; /* a rotation by +-pi/2 is one gate */
    int swap_cost;   /* gates of an exchange, when those count; 0: they are left alone */
} tp_costs;

/* Runs that grow: per wire the run that it is part of, per run its first and last step, per step the next one of its run. */
typedef struct {
    const tp_steps *in;
    tp_steps *out;
    tp_costs costs;
    int32_t *run_of;                                        /* per wire, or -1 */
    struct tp_run { int32_t a, b, first, last; } *runs;
    int64_t num_runs, run_room;
    int32_t *following; /* per step */
} tp_blocks;

static inline void tp_copy_step(tp_steps *out, const tp_steps *in, const tp_step *step) {
    if (step->count) tp_push_wide(out, step->kind, step->record, in->operands + step->at, step->count);
    else *tp_push(out, 0, 0, 0) = *step;
}

static inline int tp_blocks_cost(const tp_costs *costs, const tp_step *step) {
    if (step->kind == TP_SWAP) return costs->swap_cost;
    if (step->kind != TP_ZZ) return 0;
    return costs->any_angle || (costs->fixed_angle && fabs(fabs(step->phi) - TP_PI / 2) < TP_EPS) ? 1 : 2;
}

static inline void tp_push_both(tp_steps *out, const int32_t pair[2], tp_turn m) {
    tp_push_one(out, pair[0], m);
    tp_push_one(out, pair[1], m);
}

static inline void tp_push_cx(tp_steps *out, int32_t c, int32_t t) {
    tp_push_one(out, t, TP_H);
    tp_push_zz(out, c, t, -TP_PI / 2, TP_FORM_CX);
    tp_push_one(out, c, TP_S);
    tp_push_one(out, t, TP_S);
    tp_push_one(out, t, TP_H);
}

/* Vatan and Williams, figure 6. */
static inline void tp_three_cx(tp_steps *out, const int32_t pair[2], const double angles[3]) {
    const int32_t a = pair[0], b = pair[1];
    tp_push_one(out, b, tp_rz(TP_PI / 2));
    tp_push_cx(out, b, a);
    tp_push_one(out, a, tp_rz(TP_PI / 2 + angles[2]));
    tp_push_one(out, b, tp_ry(TP_PI / 2 + angles[0]));
    tp_push_cx(out, a, b);
    tp_push_one(out, b, tp_ry(-TP_PI / 2 - angles[1]));
    tp_push_cx(out, b, a);
    tp_push_one(out, a, tp_rz(-TP_PI / 2));
}

/* rxx(x) ryy(y) rzz(z) by the fewest rotations, or the fewest cx. */
static inline void tp_interaction(tp_steps *out, const int32_t pair[2], const double angles[3], int any_angle) {
    static const tp_turn *const there[3] = {&TP_H, &TP_SX, NULL}, *const back[3] = {&TP_H, &TP_SXDG, NULL};
    int used = 0, count = 0, simple = 1;
    for (int k = 0; k < 3; k++) {
        if (fabs(angles[k]) <= TP_EPS) continue;
        used |= 1 << k;
        count++;
        simple &= fabs(fabs(angles[k]) - TP_PI / 2) < TP_EPS;
    }
    if (any_angle || count < 2 || (count == 2 && simple)) {
        for (int k = 0; k < 3; k++) {
            if (!(used >> k & 1)) continue;
            if (there[k]) tp_push_both(out, pair, *there[k]);
            tp_push_zz(out, pair[0], pair[1], angles[k], TP_FORM_CX);
            if (back[k]) tp_push_both(out, pair, *back[k]);
        }
    } else if (count == 3) {
        tp_three_cx(out, pair, angles);
    } else { /* turned so that the two angles are about XX and ZZ */
        const tp_turn *before = used == 3 ? &TP_SX : used == 6 ? &TP_SDG : NULL;
        const tp_turn *after = used == 3 ? &TP_SXDG : used == 6 ? &TP_S : NULL;
        if (before) tp_push_both(out, pair, *before);
        tp_push_cx(out, pair[0], pair[1]);
        tp_push_one(out, pair[0], tp_rx(angles[used == 6 ? 1 : 0]));
        tp_push_one(out, pair[1], tp_rz(angles[used == 3 ? 1 : 2]));
        tp_push_cx(out, pair[0], pair[1]);
        if (after) tp_push_both(out, pair, *after);
    }
}

/* End a wire's run: copy it, or what is shorter. */
static inline void tp_blocks_close(tp_blocks *b, int32_t q) {
    const int32_t index = b->run_of[q];
    if (index < 0) return;
    const struct tp_run *run = &b->runs[index];
    const int32_t pair[2] = {run->a, run->b};
    const int64_t start = b->out->size;
    int cost = 0;
    b->run_of[run->a] = b->run_of[run->b] = -1;
    for (int32_t k = run->first; k >= 0; k = b->following[k]) cost += tp_blocks_cost(&b->costs, &b->in->items[k]);
    if (cost > 2 || (cost == 2 && run->first != run->last)) {
        tp_matrix m;
        tp_parts parts;
        tp_matrix_identity(&m);
        for (int32_t k = run->first; k >= 0; k = b->following[k]) {
            const tp_step *step = &b->in->items[k];
            if (step->kind == TP_ONE) tp_matrix_turn(&m, step->a != pair[0], step->m);
            else if (step->kind == TP_ZZ) tp_matrix_zz(&m, step->phi);
            else tp_matrix_swap(&m);
        }
        if (tp_cartan(&m, &parts)) {
            int fresh = 0;
            for (int side = 0; side < 2; side++) tp_push_one(b->out, pair[side], parts.before[side]);
            tp_interaction(b->out, pair, parts.angles, b->costs.any_angle);
            for (int side = 0; side < 2; side++) tp_push_one(b->out, pair[side], parts.after[side]);
            for (int64_t k = start; k < b->out->size; k++) fresh += tp_blocks_cost(&b->costs, &b->out->items[k]);
            if (fresh < cost) return;
            b->out->size = start;
        }
    }
    for (int32_t k = run->first; k >= 0; k = b->following[k]) tp_copy_step(b->out, b->in, &b->in->items[k]);
}

static inline void tp_blocks_add(tp_blocks *b, int32_t index, int32_t k) {
    struct tp_run *run = &b->runs[index];
    b->following[k] = -1;
    if (run->last >= 0) b->following[run->last] = k;
    else run->first = k;
    run->last = k;
}

/* All runs of `in` into `out`; `costs` says what counts. */
static inline int tp_blocks_all(const tp_steps *in, tp_steps *out, int32_t num_qubits, tp_costs costs, tp_watch *watch) {
    tp_blocks b = {in, out, costs, malloc((size_t)num_qubits * sizeof(int32_t) + 1), NULL, 0, 0,
                   malloc((size_t)in->size * sizeof(int32_t) + 1)};
    int status = b.run_of && b.following ? TP_OK : TP_NO_MEMORY;
    for (int32_t q = 0; status == TP_OK && q < num_qubits; q++) b.run_of[q] = -1;
    tp_steps_clear(out);
    for (int32_t k = 0; status == TP_OK && k < in->size; k++) {
        const tp_step *step = &in->items[k];
        if (tp_stop(watch)) {
            status = watch->status;
        } else if (step->kind == TP_ONE && b.run_of[step->a] >= 0) {
            tp_blocks_add(&b, b.run_of[step->a], k);
        } else if (step->kind == TP_ZZ || (step->kind == TP_SWAP && costs.swap_cost)) {
            int32_t index = b.run_of[step->a];
            if (index < 0 || index != b.run_of[step->b]) {
                tp_blocks_close(&b, step->a);
                tp_blocks_close(&b, step->b);
                if (!tp_room((void **)&b.runs, &b.run_room, b.num_runs + 1, sizeof(*b.runs))) {
                    status = TP_NO_MEMORY;
                    break;
                }
                index = (int32_t)b.num_runs++;
                b.runs[index] = (struct tp_run){step->a, step->b, -1, -1};
                b.run_of[step->a] = b.run_of[step->b] = index;
            }
            tp_blocks_add(&b, index, k);
        } else if (tp_is_border(step)) {
            for (int64_t r = 0; r < b.num_runs; r++) /* all that are open; those before were closed by another fence */
                if (b.run_of[b.runs[r].a] == r) tp_blocks_close(&b, b.runs[r].a);
            b.num_runs = 0;
            tp_copy_step(out, in, step);
        } else {
            if (step->count)
                for (int32_t j = 0; j < step->count; j++) tp_blocks_close(&b, in->operands[step->at + j]);
            else {
                tp_blocks_close(&b, step->a);
                if (step->kind == TP_SWAP) tp_blocks_close(&b, step->b);
            }
            tp_copy_step(out, in, step);
        }
    }
    for (int64_t r = 0; status == TP_OK && r < b.num_runs; r++)
        if (b.run_of[b.runs[r].a] == r) tp_blocks_close(&b, b.runs[r].a);
    free(b.run_of);
    free(b.following);
    free(b.runs);
    return status != TP_OK ? status : out->failed;
}

#endif

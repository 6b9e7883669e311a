/* The way of a program: lowering, merging, placing, routing, merging again, writing; at each level the best of what the levels
 * up to it give. */
#ifndef QFAST_TP_RUN_H
#define QFAST_TP_RUN_H
#include "tp_blocks.h"
#include "tp_emit.h"
#include "tp_lower.h"
#include "tp_merge.h"
#include "tp_route.h"

typedef struct {
    const qf_instr *code;
    int64_t n;
    const int32_t *operands;
    int64_t num_operands;
    const double *params;
    int64_t num_params;
    int32_t num_qubits;
    int64_t num_clbits, num_vars;
    const tp_basis *basis;
    const tp_map *map; /* or NULL: all pairs */
    int level;
    uint64_t seed;
    tp_watch watch;
    /* work */
    tp_trees trees;
    tp_steps raw, scratch, spare;
    uint8_t *is_label;
    int32_t *fresh;
    int jumps, classical;
    /* answer */
    tp_output best;
    int has_best;
    int32_t *start, *end; /* the device's qubit of each of the program's */
    int64_t swaps;
} tp_run;

static const int TP_REACH[4] = {0, 8, 50, 200}; /* per level: rotations that a merge looks back */

static inline void tp_run_free(tp_run *r) {
    free(r->trees.nodes);
    tp_steps_free(&r->raw);
    tp_steps_free(&r->scratch);
    tp_steps_free(&r->spare);
    free(r->is_label);
    free(r->fresh);
    tp_output_free(&r->best);
    free(r->start);
    free(r->end);
}

/* Whether an instruction is whole: what it names exists, no qubit stands twice, and angles are numbers. */
static inline int tp_is_whole(const tp_run *r, const qf_instr *i) {
    const int gate = qf_is_gate(i->op), count = gate && !(i->flags & QF_POPS_PARAMS) ? qf_num_params(i->op) : 0;
    if (qf_check_operands(i, r->n, r->num_operands, r->num_params, r->num_clbits, r->num_vars)) return 0;
    if (!gate && i->op < QF_MEASURE) return 0;
    for (int k = 0; k < count; k++)
        if (!isfinite(r->params[i->p + k])) return 0;
    for (int32_t k = 0; i->op <= QF_BARRIER && k < i->nq; k++) {
        const int32_t q = r->operands[i->q + k];
        if (q < 0 || q >= r->num_qubits) return 0;
        for (int32_t j = 0; gate && j < k; j++)
            if (r->operands[i->q + j] == q) return 0;
    }
    return 1;
}

/* The program's steps, taken apart; r->raw. */
static inline int tp_run_lower(tp_run *r) {
    uint8_t keeps[sizeof(r->basis->keeps)];
    tp_lower l = {&r->raw, &r->trees, r->num_qubits, keeps, 0};
    memcpy(keeps, r->basis->keeps, sizeof(keeps));
    for (int op = 0; r->map && op < QF_MEASURE; op++)
        for (int nctrl = 0; nctrl < TP_CONTROLS; nctrl++) /* with a direction of its own: better written by cx */
            if (nctrl || op != QF_ISWAP) keeps[op * TP_CONTROLS + nctrl] = 0;
    r->is_label = calloc((size_t)r->n + 1, 1);
    r->fresh = malloc(((size_t)r->n + 1) * sizeof(int32_t));
    if (!r->is_label || !r->fresh) return TP_NO_MEMORY;
    for (int64_t k = 0; k < r->n; k++) {
        if (!tp_is_whole(r, &r->code[k])) return TP_MALFORMED;
        if (r->code[k].op != QF_JUMP && r->code[k].op != QF_JUMPZ) continue;
        r->is_label[r->code[k].c] = 1;
        r->jumps = 1;
    }
    for (int64_t k = 0; k <= r->n; k++) {
        if (r->is_label[k]) tp_push(&r->raw, TP_LABEL, -1, -1)->record = (int32_t)k;
        if (k == r->n || r->raw.failed) break;
        if (tp_stop(&r->watch)) return r->watch.status;
        const qf_instr *i = &r->code[k];
        const int32_t *qubits = r->operands + i->q;
        l.record = (int32_t)k;
        if (i->op >= QF_JUMP) {
            tp_push(&r->raw, TP_RECORD, -1, -1)->record = (int32_t)k;
            r->classical = 1;
        } else if (i->flags & QF_POPS_PARAMS) {
            if (r->map && i->nq > 1) return TP_WIDE_POP;
            if (i->nq) tp_push_wide(&r->raw, TP_RECORD, (int32_t)k, qubits, i->nq);
            else tp_push(&r->raw, TP_RECORD, -1, -1)->record = (int32_t)k;
            r->classical = 1;
        } else if (i->op == QF_MEASURE) {
            tp_push(&r->raw, TP_MEASURE, qubits[0], i->c);
        } else if (i->op == QF_RESET) {
            tp_push(&r->raw, TP_RESET, qubits[0], -1);
        } else if (i->op == QF_BARRIER) {
            if (i->nq) tp_push_wide(&r->raw, TP_BARRIER, (int32_t)k, qubits, i->nq);
        } else {
            tp_lower_gate(&l, i, qubits, r->params + i->p);
        }
    }
    return r->raw.failed;
}

/* `steps` merged, and from level 2 on its runs on one pair written anew; in place. `swap`: exchanges of the program stay. */
static inline int tp_run_merge(tp_run *r, tp_steps *steps, int32_t num_qubits, int level, int keep_swap, int count_swaps, int blocks) {
    const tp_basis *b = r->basis;
    tp_merge m;
    int any = 0, fixed = 0;
    if (!tp_merge_init(&m, &r->trees, num_qubits)) {
        tp_merge_free(&m);
        return TP_NO_MEMORY;
    }
    m.reach = TP_REACH[level];
    m.keep_swap = keep_swap;
    for (int k = 0; k < b->num_entanglers; k++) {
        any |= b->entanglers[k].phi == 0;
        fixed |= fabs(fabs(b->entanglers[k].phi) - TP_PI / 2) < TP_EPS;
    }
    const tp_costs costs = {any, fixed, count_swaps ? (b->swap ? 1 : 3) : 0};
    int status = tp_merge_all(&m, steps, &r->scratch, &r->watch);
    if (status == TP_OK && blocks && b->style != TP_DISCRETE) {
        status = tp_blocks_all(&r->scratch, steps, num_qubits, costs, &r->watch);
        if (status == TP_OK) status = tp_merge_all(&m, steps, &r->scratch, &r->watch);
    }
    tp_merge_free(&m);
    const tp_steps kept = *steps;
    *steps = r->scratch;
    r->scratch = kept;
    return status;
}

/* Write steps on the device's qubits; keeps the answer when it is the best so far. */
static inline int tp_run_emit(tp_run *r, const tp_steps *steps, int32_t num_qubits, int level, const int32_t *start, const int32_t *end,
                              int64_t swaps) {
    tp_output out;
    tp_emit e;
    memset(&out, 0, sizeof(out));
    memset(&e, 0, sizeof(e));
    e.basis = r->basis;
    e.trees = &r->trees;
    e.source = r->code;
    e.source_params = r->params;
    e.directions = r->map ? r->map->out : NULL;
    e.direction_start = r->map ? r->map->out_start : NULL;
    e.carry = level > 0;
    e.fresh = r->fresh;
    e.out = &out;
    int status = tp_emit_init(&e, num_qubits) ? TP_OK : TP_NO_MEMORY;
    if (status == TP_OK && r->classical && r->num_params) { /* what classical instructions point to stays where it is */
        if (!tp_room((void **)&out.params, &out.param_room, r->num_params, sizeof(double))) status = TP_NO_MEMORY;
        else memcpy(out.params, r->params, (size_t)r->num_params * sizeof(double)), out.num_params = r->num_params;
    }
    if (status == TP_OK) status = tp_emit_all(&e, steps, &r->watch);
    for (int64_t k = 0; status == TP_OK && k < out.size; k++)
        if (out.code[k].op == QF_JUMP || out.code[k].op == QF_JUMPZ) out.code[k].c = r->fresh[out.code[k].c];
    if (status == TP_OK &&
        (!r->has_best || out.pairs < r->best.pairs || (out.pairs == r->best.pairs && out.gates < r->best.gates))) {
        const tp_output kept = r->best;
        r->best = out;
        out = kept;
        r->has_best = 1;
        r->swaps = swaps;
        for (int32_t q = 0; q < r->num_qubits; q++) {
            r->start[q] = start ? start[q] : q;
            r->end[q] = end ? end[q] : q;
        }
    }
    tp_output_free(&out);
    tp_emit_free(&e);
    return status;
}

static inline int tp_copy_steps(tp_steps *out, const tp_steps *in) {
    tp_steps_clear(out);
    if (!tp_room((void **)&out->items, &out->room, in->size, sizeof(tp_step)) ||
        !tp_room((void **)&out->operands, &out->operand_room, in->num_operands, sizeof(int32_t)))
        return TP_NO_MEMORY;
    if (in->size) memcpy(out->items, in->items, (size_t)in->size * sizeof(tp_step));
    if (in->num_operands) memcpy(out->operands, in->operands, (size_t)in->num_operands * sizeof(int32_t));
    out->size = in->size;
    out->num_operands = in->num_operands;
    return TP_OK;
}

/* ---- with a coupling map ---- */

#define TP_MOST_KEPT 6

/* The cheapest passes so far. */
typedef struct {
    int64_t cost, swaps, num_events;
    int loose; /* which order */
    tp_event *events;
    int32_t *start;
} tp_kept;

typedef struct {
    tp_run *run;
    tp_router router;
    tp_order orders[2]; /* as written, and with rotations that may pass each other */
    tp_friends friends;
    tp_placing placing;
    tp_kept kept[TP_MOST_KEPT];
    int num_kept, most_kept;
    int32_t *start;
} tp_trials;

/* Per level: trials of placements and the exchanges that all of them may take; passes whose result is written. */
static const struct { int trials, finals; int64_t exchanges; } TP_EFFORT[4] = {{0, 1, 0}, {10, 2, 8000}, {30, 3, 100000}, {100, 6, 500000}};

/* Different programs want different tastes: each trial has one of these. */
static const tp_taste TP_TASTES[6] = {{20, 0.5, 1.0}, {20, 0.5, 1.0}, {10, 0.3, 0.5}, {40, 0.8, 2.0}, {20, 1.0, 0.5}, {8, 0.5, 0.0}};

/* A pass forwards from the placement in r->start; kept when it is among the cheapest. */
static inline int tp_trial_forward(tp_trials *t) {
    tp_router *r = &t->router;
    memcpy(t->start, r->where, (size_t)r->n * sizeof(int32_t));
    const int status = tp_router_pass(r, 0, 1, t->run->n);
    if (status != TP_OK) return status;
    int at = t->num_kept;
    for (int k = 0; k < t->num_kept; k++)
        if (t->kept[k].cost == r->cost && t->kept[k].num_events == r->num_events &&
            !memcmp(t->kept[k].events, r->events, (size_t)r->num_events * sizeof(tp_event)))
            return TP_OK; /* the same once more */
    if (at == t->most_kept) {
        for (int k = 0; k < t->num_kept; k++)
            if (at == t->most_kept || t->kept[k].cost > t->kept[at].cost) at = k;
        if (t->kept[at].cost <= r->cost) return TP_OK;
        free(t->kept[at].events);
    } else {
        t->num_kept++;
        t->kept[at].start = malloc((size_t)r->n * sizeof(int32_t) + 1);
    }
    t->kept[at].cost = r->cost;
    t->kept[at].swaps = r->swaps;
    t->kept[at].loose = r->order == &t->orders[1];
    t->kept[at].num_events = r->num_events;
    t->kept[at].events = r->events;
    r->events = NULL;
    r->event_room = 0;
    if (!t->kept[at].start) return TP_NO_MEMORY;
    memcpy(t->kept[at].start, t->start, (size_t)r->n * sizeof(int32_t));
    return TP_OK;
}

static inline int64_t tp_trials_least(const tp_trials *t) {
    int64_t least = INT64_MAX;
    for (int k = 0; k < t->num_kept; k++)
        if (t->kept[k].cost < least) least = t->kept[k].cost;
    return least;
}

/* Search placements at a level; the best passes are in t->kept. */
static inline int tp_trials_run(tp_trials *t, int level) {
    tp_router *r = &t->router;
    tp_run *run = t->run;
    const tp_map *map = run->map;
    int64_t exchanges = 0;
    int status;
    qf_rng_seed(&r->rng, run->seed + (uint64_t)level * UINT64_C(0x632be59bd9b4e019));
    r->taste = TP_TASTES[0];
    if (!r->order->num_pairs) { /* every qubit may stay where it is */
        for (int32_t at = 0; at < map->n; at++) r->who[at] = at < r->n ? at : -1;
        for (int32_t q = 0; q < r->n; q++) r->where[q] = q;
        return tp_trial_forward(t);
    }
    const int32_t home = tp_any_place(map, r->n, NULL);
    if (home < 0) return TP_NO_REGION;
    if (!level) {
        status = tp_place_in_region(map, r->n, &t->placing, home, NULL, r->where, r->who, &run->watch);
        return status == TP_OK ? tp_trial_forward(t) : status;
    }
    if (tp_embed(map, &t->friends, &t->placing, r->where, r->who, &run->watch)) {
        status = tp_trial_forward(t);
        if (status != TP_OK || !r->swaps) return status;
    }
    for (int trial = 0; trial < TP_EFFORT[level].trials && (trial < 2 || exchanges < TP_EFFORT[level].exchanges); trial++) {
        const int32_t at = tp_any_place(map, r->n, &r->rng);
        r->taste = TP_TASTES[trial % 6];
        r->order = &t->orders[trial % 2];
        if (trial % 4 < 2) status = tp_place_greedily(map, &t->friends, &t->placing, at, &r->rng, r->where, r->who, &run->watch);
        else status = tp_place_in_region(map, r->n, &t->placing, at, &r->rng, r->where, r->who, &run->watch);
        if (status != TP_OK) return status;
        for (int round = 0; round < 3; round++) {
            status = tp_trial_forward(t);
            exchanges += r->swaps;
            if (status != TP_OK) return status;
            if (!tp_trials_least(t)) return TP_OK;
            if (round == 2) break;
            status = tp_router_pass(r, 1, 0, run->n);
            exchanges += r->swaps;
            exchanges += r->swaps;
            if (status != TP_OK) return status;
        }
    }
    return TP_OK;
}

static inline int tp_trials_friends(tp_trials *t, const tp_order *order) {
    tp_meeting *meetings = malloc(2 * (size_t)order->num_pairs * sizeof(tp_meeting) + 1);
    int64_t count = 0;
    if (!meetings) return 0;
    for (int64_t k = 0; k < order->num_ops; k++) {
        const tp_op *op = &order->ops[k];
        if (op->b < 0 || (op->swaps && t->router.relabel)) continue;
        const double weight = 1.0 / (1.0 + 4.0 * (double)(count / 2) / (double)order->num_pairs);
        meetings[count++] = (tp_meeting){op->a, op->b, weight};
        meetings[count++] = (tp_meeting){op->b, op->a, weight};
    }
    const int done = tp_friends_init(&t->friends, t->run->num_qubits, meetings, count);
    free(meetings);
    return done;
}

/* Route merged steps and write what the best passes give. */
static inline int tp_run_route(tp_run *r, const tp_steps *steps, int level) {
    tp_trials t;
    memset(&t, 0, sizeof(t));
    t.run = r;
    t.most_kept = TP_EFFORT[level].finals;
    int status = tp_order_init(&t.orders[0], steps, r->num_qubits, r->num_clbits, 0, &r->watch);
    if (status == TP_OK) status = tp_order_init(&t.orders[1], steps, r->num_qubits, r->num_clbits, 1, &r->watch);
    t.router.order = t.orders[1].num_ops > t.orders[0].num_ops ? &t.orders[1] : &t.orders[0]; /* the longer one takes the room */
    t.router.map = r->map;
    t.router.steps = steps;
    t.router.source = r->code;
    t.router.watch = &r->watch;
    t.router.n = r->num_qubits;
    t.router.jumps = r->jumps;
    t.router.relabel = level > 0 && !r->jumps;
    t.start = malloc((size_t)r->num_qubits * sizeof(int32_t) + 1);
    if (status == TP_OK && (!tp_router_init(&t.router, r->n) || !tp_trials_friends(&t, &t.orders[0]) ||
                            !tp_placing_init(&t.placing, r->num_qubits, r->map->n) || !t.start))
        status = TP_NO_MEMORY;
    t.router.order = &t.orders[0];
    if (status == TP_OK) status = tp_trials_run(&t, level);
    for (int k = 0; k < t.num_kept && status == TP_OK; k++) {
        tp_kept *kept = &t.kept[k];
        for (int32_t at = 0; at < r->map->n; at++) t.router.who[at] = -1;
        for (int32_t q = 0; q < r->num_qubits; q++) {
            t.router.where[q] = kept->start[q];
            t.router.who[kept->start[q]] = q;
        }
        t.router.order = &t.orders[kept->loose];
        status = tp_routed(&t.router, kept->events, kept->num_events, &r->spare);
        if (status == TP_OK) status = tp_run_merge(r, &r->spare, r->map->n, level, r->basis->swap, 1, level > 0);
        if (status == TP_OK) status = tp_run_emit(r, &r->spare, r->map->n, level, kept->start, t.router.where, kept->swaps);
    }
    for (int k = 0; k < t.num_kept; k++) {
        free(t.kept[k].events);
        free(t.kept[k].start);
    }
    tp_order_free(&t.orders[0]);
    tp_order_free(&t.orders[1]);
    tp_router_free(&t.router);
    tp_friends_free(&t.friends);
    tp_placing_free(&t.placing);
    free(t.start);
    return status;
}

/* ---- all of it ---- */

static inline int tp_run_level(tp_run *r, int level) {
    tp_steps steps;
    memset(&steps, 0, sizeof(steps));
    const int relabel = r->map && level > 0 && !r->jumps;
    int status = tp_copy_steps(&steps, &r->raw);
    if (status == TP_OK) status = tp_run_merge(r, &steps, r->num_qubits, level, r->map || r->basis->swap, !relabel, level > 1);
    if (status == TP_OK)
        status = r->map ? tp_run_route(r, &steps, level) : tp_run_emit(r, &steps, r->num_qubits, level, NULL, NULL, 0);
    tp_steps_free(&steps);
    return status;
}

/* The answer is in r->best, r->start, r->end and r->swaps. */
static inline int tp_run_all(tp_run *r) {
    r->trees.on = r->basis->style == TP_DISCRETE;
    r->start = malloc((size_t)r->num_qubits * sizeof(int32_t) + 1);
    r->end = malloc((size_t)r->num_qubits * sizeof(int32_t) + 1);
    int status = r->start && r->end ? tp_run_lower(r) : TP_NO_MEMORY;
    for (int level = r->level ? 1 : 0; status == TP_OK && level <= r->level; level++) status = tp_run_level(r, level);
    return status;
}

#endif

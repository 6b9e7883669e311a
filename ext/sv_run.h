/* Running a plan: exactly, by branching over outcomes.
 *
 * A branch is a state, the classical bits and variables, a place in the plan and a number of shots. At a measurement or reset whose
 * outcome is open the shots are split by a binomial number; the branch goes on with outcome 0, and what belongs to outcome 1 is set
 * aside and taken up when the first has ended (depth first). When there is no memory to set a state aside, only its shots are noted:
 * it is then reached again from the start, the outcomes on the way being known. Each branch draws from a generator seeded by the
 * seed and its outcomes, so the counts do not depend on the memory, and every shot has its exact distribution.
 */
#ifndef QFAST_SV_RUN_H
#define QFAST_SV_RUN_H
#include "sv_sites.h"

/* Measures qubit q into `bit`, or resets it when bit is -1. */
static inline int sv_measure(sv_run *r, int32_t q, int32_t bit) {
    sv_state *s = &r->state;
    const int8_t t = s->loc[q];
    int outcome = t == SV_ONE;
    if (--r->machine.fuel < 0) return sv_machine_error(r, QF_ERR_FUEL);
    if (t >= 0) {
        double p[2];
        int result = sv_probabilities(s, t, p);
        if (result) return result;
        if (!(p[0] + p[1] > 0 && isfinite(p[0] + p[1]))) {
            r->error = "the state lost its norm";
            return SV_RUNTIME;
        }
        if (r->depth < r->forced) {
            outcome = r->path[r->depth];
        } else {
            qf_rng rng;
            qf_rng_seed(&rng, r->key);
            const int64_t ones = sv_binomial(&rng, r->shots, p[1] / (p[0] + p[1]));
            outcome = ones == r->shots;
            if (!sv_reserve((void **)&r->path, &r->room_path, r->depth, 1, 1)) return SV_MEMORY;
            if (ones > 0 && ones < r->shots) {
                const sv_part part = {.shots = ones, .outcome = 1, .bit = bit, .q = q, .scale = 1 / sqrt(p[1])};
                if (bit >= 0) r->machine.bits[bit] = 0;
                result = sv_set_aside(r, &part);
                if (result) return result;
                r->shots -= ones;
            }
            r->path[r->depth] = (uint8_t)outcome;
        }
        r->depth++;
        r->key = sv_key_after(r->key, (uint64_t)outcome);
        r->armed = 0;
        result = sv_extract(s, t, outcome, 1 / sqrt(p[outcome]), s->a);
        if (result) return result;
        sv_settle(s->loc, r->plan->num_touched, &s->k, q, outcome);
    }
    if (bit >= 0) r->machine.bits[bit] = (uint8_t)outcome;
    else s->loc[q] = SV_ZERO;
    return SV_OK;
}

/* How the final measurements from entry `first` on may be misread. */
static inline int sv_reading_make(sv_reading *reading, const sv_run *r, int64_t first) {
    const sv_plan *p = r->plan;
    reading->num_records = p->num_leaf - first;
    reading->record = malloc(sizeof *reading->record * (size_t)(reading->num_records + 1));
    reading->words = malloc(sizeof *reading->words * (size_t)(SV_MISREAD_DEPTH * r->counts.num_words));
    if (!reading->record || !reading->words) {
        sv_reading_free(reading);
        return 0;
    }
    for (int64_t j = 0; j < reading->num_records; j++) {
        const qf_instr *g = &r->circuit->code[p->leaf_pc[first + j]];
        sv_record_make(&reading->record[j], g->c, g->flags & QF_MISREADS ? r->circuit->params + g->p : NULL);
    }
    qf_rng_seed(&reading->rng, qf_mix64(r->key ^ UINT64_C(0xe7037ed1a0b428db)));
    return 1;
}

/* Adds shots with one outcome to the counts. */
static inline int sv_tell(sv_run *r, sv_reading *reading, int distinct, int64_t shots) {
    if (reading->num_records) {
        memcpy(reading->words, r->word, sizeof *r->word * (size_t)r->counts.num_words);
        return sv_add_misread(&r->counts, &reading->rng, reading->record, reading->num_records, 0, reading->words, shots);
    }
    return distinct ? sv_counts_append(&r->counts, r->word, shots) : sv_counts_add(&r->counts, r->word, shots);
}

/* Samples the final measurements from entry `first` on, and adds the classical words to the counts. */
static inline int sv_leaf(sv_run *r, int64_t first) {
    const sv_plan *p = r->plan;
    const int64_t n = p->num_leaf - first;
    int64_t open = 0; /* final measurements of qubits in superposition */
    uint64_t seen = 0, all = r->state.k ? (UINT64_C(1) << r->state.k) - 1 : 0;
    int32_t *to = malloc((size_t)(n + 1) * (sizeof *to + 1));
    if (!to) return SV_MEMORY;
    int8_t *from = (int8_t *)(to + n + 1);
    sv_reading reading = {0};
    if (p->misreads && !sv_reading_make(&reading, r, first)) {
        free(to);
        return SV_MEMORY;
    }
    for (int64_t j = 0; j < n; j++) {
        const int8_t at = r->state.loc[p->leaf_qubit[first + j]];
        const int32_t bit = p->leaf_bit[first + j];
        r->machine.bits[bit] = at == SV_ONE;
        if (at < 0) continue;
        to[open] = bit;
        from[open++] = at;
    }
    memset(r->word, 0, sizeof *r->word * (size_t)r->counts.num_words);
    for (int64_t b = 0; b < r->circuit->num_clbits; b++)
        if (r->machine.bits[b]) r->word[b >> 6] |= UINT64_C(1) << (b & 63);
    for (int64_t j = 0; j < open; j++) seen |= UINT64_C(1) << from[j];
    int result = SV_OK;
    r->leaves++;
    if (open == 0) {
        result = sv_tell(r, &reading, 0, r->shots) ? SV_OK : SV_MEMORY;
    } else {
        result = sv_sample_state(&r->state, r->shots, qf_mix64(r->key ^ UINT64_C(0xd6e8feb86659fd93)), &r->uniforms, &r->samples);
        const int distinct = seen == all && !p->branches; /* every basis state gives its own word, and this is the only leaf */
        for (int64_t e = 0; e < r->samples.used && result == SV_OK; e++) {
            const uint64_t index = r->samples.index[e];
            for (int64_t j = 0; j < open; j++) {
                uint64_t *w = &r->word[to[j] >> 6], bit = UINT64_C(1) << (to[j] & 63);
                *w = (index >> from[j]) & 1 ? *w | bit : *w & ~bit;
            }
            if (!sv_tell(r, &reading, distinct, r->samples.count[e])) result = SV_MEMORY;
            if ((e & 0xfffff) == 0xfffff && sv_cancelled(&r->state)) result = SV_CANCELLED;
        }
    }
    free(to);
    sv_reading_free(&reading);
    return result;
}

/* A gate whose parameters stand on the stack. */
static inline int sv_dynamic_gate(sv_run *r, const qf_instr *g) {
    const sv_circuit *c = r->circuit;
    sv_item item[4];
    int32_t q[SV_MAX_CONTROLS];
    double p[3];
    int32_t error = qf_pop_params(&r->machine, qf_num_params(g->op), p);
    if (error) return sv_machine_error(r, error);
    for (int32_t j = 0; j < g->nq; j++) q[j] = r->plan->touched[c->operands[g->q + j]] - 1;
    int n = sv_lower(g, q, p, item, &r->state.global), result = SV_OK;
    for (int j = 0; j < n && result == SV_OK; j++)
        result = sv_apply(&r->state, item[j].kind, item[j].real, item[j].t, item[j].ctrl, item[j].nctrl, item[j].m);
    return result;
}

/* One classical instruction; *ended is set by END. */
static inline int sv_classic(sv_run *r, int32_t pc, int *ended) {
    const int32_t next = qf_classical_step(r->circuit->code, r->circuit->params, pc, &r->machine);
    if (next == QF_ENDED) *ended = 1;
    else if (next < 0) return sv_machine_error(r, next);
    else if (next != pc + 1 || r->circuit->code[pc].op == QF_JUMP || r->circuit->code[pc].op == QF_JUMPZ)
        r->op = next == pc + 1 ? r->op : r->plan->entry[next];
    return SV_OK;
}

/* Runs the present branch to its end. */
static inline int sv_run_branch(sv_run *r) {
    const sv_plan *p = r->plan;
    const sv_circuit *c = r->circuit;
    for (int64_t steps = 1;; steps++) {
        const sv_op *op = &p->ops[r->op++];
        int result = SV_OK, ended = 0;
        if (((steps & 255) == 0 || r->state.k > 12) && sv_cancelled(&r->state)) return SV_CANCELLED;
        if (op->kind == SV_DYNAMIC && r->num_waiting) sv_make_room(r, 2);
        if (op->kind < SV_DYNAMIC) { /* all gates up to the next step that is none; a leaf ends every plan */
            const int64_t from = r->op - 1;
            int grown = sv_newcomers(&r->state, op);
            if (op->kind == SV_NOISE && !sv_pass_site(r, op)) {
                result = sv_part_site(r, &c->code[op->pc]);
                if (result) return result;
                continue;
            }
            for (; p->ops[r->op].kind < SV_DYNAMIC; r->op++) {
                if (p->ops[r->op].kind == SV_NOISE && !sv_pass_site(r, &p->ops[r->op])) break;
                grown += sv_newcomers(&r->state, &p->ops[r->op]);
            }
            if (r->num_waiting) sv_make_room(r, grown);
            result = sv_apply_gates(&r->state, p, &r->tiler, from, r->op);
            if (result) return result;
            continue;
        }
        switch (op->kind) {
        case SV_MEASURE: result = sv_measure(r, p->touched[c->operands[c->code[op->pc].q]] - 1, c->code[op->pc].c); break;
        case SV_READ: result = sv_read(r, &c->code[op->pc]); break;
        case SV_RESET: result = sv_measure(r, p->touched[c->operands[c->code[op->pc].q]] - 1, -1); break;
        case SV_CLASSIC: result = sv_classic(r, op->pc, &ended); break;
        case SV_DYNAMIC: result = sv_dynamic_gate(r, &c->code[op->pc]); break;
        default: return sv_leaf(r, op->pc); /* SV_LEAF */
        }
        if (result) return result;
        if (ended) return sv_leaf(r, p->num_leaf);
    }
}

static inline int sv_run_all(sv_run *r) {
    int result = sv_run_branch(r);
    while (result == SV_OK && r->num_waiting) {
        result = sv_take_up(r);
        if (result == SV_OK) result = sv_cancelled(&r->state) ? SV_CANCELLED : sv_run_branch(r);
    }
    return result;
}

/* Runs a circuit without measurements, for its state. */
static inline int sv_evolve(sv_run *r) {
    return sv_apply_gates(&r->state, r->plan, &r->tiler, 0, r->plan->num_ops - 1); /* the leaf is the last */
}

/* Writes the amplitudes of all declared qubits, interleaved, to out[2 * 2^num_qubits], which is zero. */
static inline void sv_write_state(const sv_run *r, double *out) {
    const sv_state *s = &r->state;
    const sv_complex g = sv_times(r->plan->global, s->global);
    uint64_t place[64] = {0}, fixed = 0;
    for (int64_t q = 0; q < r->circuit->num_qubits; q++) {
        const int32_t id = r->plan->touched[q];
        if (id && s->loc[id - 1] >= 0) place[s->loc[id - 1]] = UINT64_C(1) << q;
        else if (id && s->loc[id - 1] == SV_ONE) fixed |= UINT64_C(1) << q;
    }
    for (uint64_t i = 0, j = fixed; i < UINT64_C(1) << s->k; i++) {
        const sv_complex x = sv_times(g, sv_amplitude(s, i));
        out[2 * j] = x.re;
        out[2 * j + 1] = x.im;
        for (int b = 0; b < s->k && (j ^= place[b], !(j & place[b])); b++) {} /* binary increment over the places */
    }
}

#endif

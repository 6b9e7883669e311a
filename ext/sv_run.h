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
#include <sys/mman.h>

#include "sv_counts.h"
#include "sv_fuse.h"
#include "sv_tile.h"

#define SV_CLASSICAL (INT64_C(1) << 24) /* variables and bits that a program may have */
#define SV_FUEL INT64_C(10000000) /* classical steps and measurements on the way of one shot */

typedef struct {
    int64_t op, shots, depth, fuel;
    uint64_t key;
    void *a; /* NULL: reach it again from the start */
    int32_t k, sp;
    uint8_t *rest; /* classical bits, variables, stack and places of the qubits, one after the other */
    size_t bytes;
} sv_branch;

typedef struct {
    const sv_plan *plan;
    const sv_circuit *circuit;
    sv_state state;
    qf_machine machine;
    int64_t op, shots;
    uint64_t seed, key; /* key: hash of the seed and the outcomes so far */
    uint8_t *path;      /* outcomes so far, of the measurements that were open */
    int64_t depth, room_path, forced; /* the first `forced` outcomes are given */
    sv_branch *waiting;
    int64_t num_waiting, room_waiting;
    uint64_t bytes, max_bytes; /* bytes: of the states set aside */
    int64_t oldest;     /* the first of `waiting` that has a state */
    sv_counts counts;
    sv_samples samples;
    sv_tiler tiler;
    sv_uniforms uniforms;
    uint64_t *word;     /* scratch: one classical word */
    const char *error;
    int64_t leaves;
    int peak;           /* most qubits that the vector ever held */
    int replays;        /* how often a branch was reached again: for tests */
} sv_run;

static inline void sv_run_free(sv_run *r) {
    for (int64_t j = 0; j < r->num_waiting; j++) {
        free(r->waiting[j].a);
        free(r->waiting[j].rest);
    }
    free(r->waiting);
    free(r->state.a);
    free(r->state.loc);
    free(r->machine.bits);
    free(r->machine.vars);
    free(r->path);
    free(r->samples.index);
    free(r->samples.count);
    sv_tiler_free(&r->tiler);
    free(r->uniforms.value);
    free(r->word);
    sv_counts_free(&r->counts);
}

/* Amplitudes, aligned to a cache line; large ones in whole huge pages. */
static inline void *sv_allocate(const sv_kernels *kernels, int k) {
    const size_t bytes = sv_state_bytes(k, kernels->bytes);
    void *a = NULL;
    if (posix_memalign(&a, bytes >= (1u << 22) ? 1u << 21 : 64, bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= (1u << 22)) madvise(a, bytes, MADV_HUGEPAGE);
#endif
    return a;
}

static inline void sv_restart(sv_run *r) {
    sv_state_reset(&r->state, r->plan->num_touched);
    memset(r->machine.bits, 0, (size_t)r->circuit->num_clbits);
    memset(r->machine.vars, 0, sizeof(int64_t) * (size_t)r->circuit->num_vars);
    r->machine.sp = 0;
    r->machine.fuel = SV_FUEL;
    r->op = 0;
    r->depth = 0;
    r->key = qf_mix64(r->seed);
}

static inline int sv_run_init(sv_run *r, const sv_plan *plan, const sv_circuit *c, const sv_kernels *kernels, int64_t shots,
                              uint64_t seed, const volatile unsigned char *cancel, int threads, uint64_t max_bytes) {
    int room = plan->capacity;
    memset(r, 0, sizeof *r);
    r->plan = plan;
    r->circuit = c;
    r->shots = shots;
    r->seed = seed;
    r->max_bytes = max_bytes;
    if (c->num_vars > SV_CLASSICAL || c->num_clbits > SV_CLASSICAL) return SV_MEMORY;
    if (plan->branches && room > 48) room = 48;
    while (plan->branches && room > 3 && !sv_state_fits(room, kernels->bytes, max_bytes)) room--; /* measurements may keep it small */
    if (!sv_state_fits(room, kernels->bytes, max_bytes)) return SV_MEMORY;
    r->state.a = sv_allocate(kernels, room);
    while (plan->branches && !r->state.a && room > 20) r->state.a = sv_allocate(kernels, --room); /* address space may be limited */
    r->state.kernels = kernels;
    r->state.cancel = cancel;
    r->state.threads = threads < 1 ? 1 : threads > CREW_MAX ? CREW_MAX : threads;
    r->state.room = room;
    r->state.loc = malloc((size_t)plan->num_touched + 1);
    r->machine.bits = malloc((size_t)c->num_clbits + 1);
    r->machine.vars = malloc(sizeof(int64_t) * ((size_t)c->num_vars + 1));
    r->counts.num_words = c->num_clbits / 64 + 1;
    r->word = malloc(sizeof(uint64_t) * (size_t)(r->counts.num_words + 1));
    if (!r->state.a || !r->state.loc || !r->machine.bits || !r->machine.vars || !r->word) return SV_MEMORY;
    sv_restart(r);
    return SV_OK;
}

static inline int sv_machine_error(sv_run *r, int32_t error) {
    r->error = qf_machine_text(error);
    return error == QF_ERR_FUEL ? SV_TIME : SV_RUNTIME;
}

/* Whether `more` bytes can be set aside next to the working vector, once it has grown by `qubits`. Its pages stay in use when the
 * state shrinks, so its peak counts. */
static inline int sv_room_for(sv_run *r, uint64_t more, int qubits) {
    int k = qubits < r->state.room - r->state.k ? r->state.k + qubits : r->state.room;
    if (k < r->peak) k = r->peak;
    r->peak = k;
    return r->bytes + more + sv_state_bytes(k, r->state.kernels->bytes) <= r->max_bytes;
}

static inline void sv_drop(sv_run *r, sv_branch *b) {
    if (b->a) r->bytes -= b->bytes;
    free(b->a);
    free(b->rest);
    b->a = NULL;
    b->rest = NULL;
}

/* At most so many qubits does a gate bring into the vector. */
static inline int sv_newcomers(const sv_state *s, const sv_op *op) {
    return (op->t[0] >= 0 && s->loc[op->t[0]] < 0) + (op->t[1] >= 0 && s->loc[op->t[1]] < 0);
}

/* Before gates that bring in at most so many qubits: gives up states set aside, the oldest first, until the vector may grow. */
static inline void sv_make_room(sv_run *r, int qubits) {
    while (!sv_room_for(r, 0, qubits) && r->oldest < r->num_waiting) sv_drop(r, &r->waiting[r->oldest++]);
}

/* Sets outcome 1 of qubit q aside with its shots, as state if there is room for it. Called before the qubit is settled. */
static inline int sv_set_aside(sv_run *r, int32_t q, double scale, int64_t shots, uint64_t key, int32_t bit) {
    const sv_state *s = &r->state;
    const qf_machine *m = &r->machine;
    const size_t nb = (size_t)r->circuit->num_clbits, nv = sizeof(int64_t) * (size_t)r->circuit->num_vars,
                 ns = sizeof(int64_t) * (size_t)m->sp, nl = (size_t)r->plan->num_touched;
    if (!sv_reserve((void **)&r->waiting, &r->room_waiting, r->num_waiting, 1, sizeof *r->waiting)) return SV_MEMORY;
    sv_branch *b = &r->waiting[r->num_waiting++];
    *b = (sv_branch){.op = r->op, .shots = shots, .depth = r->depth, .key = key, .k = s->k, .sp = m->sp, .fuel = m->fuel};
    b->bytes = sv_state_bytes(s->k - 1, s->kernels->bytes) + nb + nv + ns + nl;
    if (sv_room_for(r, b->bytes, 0) == 0) return SV_OK;
    b->a = sv_allocate(s->kernels, s->k - 1);
    b->rest = malloc(nb + nv + ns + nl);
    if (!b->a || !b->rest) {
        free(b->a);
        free(b->rest);
        b->a = NULL;
        b->rest = NULL;
        return SV_OK;
    }
    r->bytes += b->bytes;
    uint8_t *to = b->rest;
    memcpy(to, m->bits, nb);
    if (bit >= 0) to[bit] = 1;
    memcpy(to + nb, m->vars, nv);
    memcpy(to + nb + nv, m->stack, ns);
    memcpy(to + nb + nv + ns, s->loc, nl);
    const int8_t t = s->loc[q];
    sv_settle((int8_t *)(to + nb + nv + ns), r->plan->num_touched, &b->k, q, bit >= 0); /* a reset leaves |0> */
    return sv_extract(s, t, 1, scale, b->a);
}

/* Takes up the branch set aside last. */
static inline void sv_take_up(sv_run *r) {
    sv_branch *b = &r->waiting[--r->num_waiting];
    if (r->oldest > r->num_waiting) r->oldest = r->num_waiting;
    sv_state *s = &r->state;
    qf_machine *m = &r->machine;
    const size_t nb = (size_t)r->circuit->num_clbits, nv = sizeof(int64_t) * (size_t)r->circuit->num_vars,
                 ns = sizeof(int64_t) * (size_t)b->sp, nl = (size_t)r->plan->num_touched;
    r->shots = b->shots;
    r->path[b->depth] = 1;
    if (!b->a) {
        sv_restart(r);
        r->forced = b->depth + 1;
        r->replays++;
        return;
    }
    memcpy(m->bits, b->rest, nb);
    memcpy(m->vars, b->rest + nb, nv);
    memcpy(m->stack, b->rest + nb + nv, ns);
    memcpy(s->loc, b->rest + nb + nv + ns, nl);
    memcpy(s->a, b->a, sv_state_bytes(b->k, s->kernels->bytes));
    s->k = b->k;
    m->sp = b->sp;
    m->fuel = b->fuel;
    r->key = b->key;
    r->op = b->op;
    r->depth = r->forced = b->depth + 1;
    sv_drop(r, b);
}

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
        const uint64_t key[2] = {qf_mix64(r->key), qf_mix64(r->key + UINT64_C(0x632be59bd9b4e019))};
        if (r->depth < r->forced) {
            outcome = r->path[r->depth];
        } else {
            qf_rng rng;
            qf_rng_seed(&rng, r->key);
            const int64_t ones = sv_binomial(&rng, r->shots, p[1] / (p[0] + p[1]));
            outcome = ones == r->shots;
            if (!sv_reserve((void **)&r->path, &r->room_path, r->depth, 1, 1)) return SV_MEMORY;
            if (ones > 0 && ones < r->shots) {
                result = sv_set_aside(r, q, 1 / sqrt(p[1]), ones, key[1], bit);
                if (result) return result;
                r->shots -= ones;
            }
            r->path[r->depth] = (uint8_t)outcome;
        }
        r->depth++;
        r->key = key[outcome];
        result = sv_extract(s, t, outcome, 1 / sqrt(p[outcome]), s->a);
        if (result) return result;
        sv_settle(s->loc, r->plan->num_touched, &s->k, q, outcome);
    }
    if (bit >= 0) r->machine.bits[bit] = (uint8_t)outcome;
    else s->loc[q] = SV_ZERO;
    return SV_OK;
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
        result = sv_counts_add(&r->counts, r->word, r->shots) ? SV_OK : SV_MEMORY;
    } else {
        result = sv_sample_state(&r->state, r->shots, qf_mix64(r->key ^ UINT64_C(0xd6e8feb86659fd93)), &r->uniforms, &r->samples);
        const int distinct = seen == all && !p->branches; /* every basis state gives its own word, and this is the only leaf */
        for (int64_t e = 0; e < r->samples.used && result == SV_OK; e++) {
            const uint64_t index = r->samples.index[e];
            for (int64_t j = 0; j < open; j++) {
                uint64_t *w = &r->word[to[j] >> 6], bit = UINT64_C(1) << (to[j] & 63);
                *w = (index >> from[j]) & 1 ? *w | bit : *w & ~bit;
            }
            if (!(distinct ? sv_counts_append(&r->counts, r->word, r->samples.count[e])
                           : sv_counts_add(&r->counts, r->word, r->samples.count[e])))
                result = SV_MEMORY;
            if ((e & 0xfffff) == 0xfffff && sv_cancelled(&r->state)) result = SV_CANCELLED;
        }
    }
    free(to);
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
            for (; p->ops[r->op].kind < SV_DYNAMIC; r->op++) grown += sv_newcomers(&r->state, &p->ops[r->op]);
            if (r->num_waiting) sv_make_room(r, grown);
            result = sv_apply_gates(&r->state, p, &r->tiler, from, r->op);
            if (result) return result;
            continue;
        }
        switch (op->kind) {
        case SV_MEASURE: result = sv_measure(r, p->touched[c->operands[c->code[op->pc].q]] - 1, c->code[op->pc].c); break;
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
        sv_take_up(r);
        result = sv_cancelled(&r->state) ? SV_CANCELLED : sv_run_branch(r);
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

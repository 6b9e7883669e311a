/* Running a Clifford circuit: one pass, exactly.
 *
 * Measured bits stay affine forms of coins, so nothing is drawn before the end; only where the classical part of a program reads a
 * bit whose form is not constant do the shots split by a binomial number, and the run goes on with one value while what belongs to
 * the other is set aside (depth first), as in sv_run.h: when there is no memory for its state, only its shots and outcomes are noted
 * and it is reached again from the start. Generators are seeded by the seed and the outcomes, so counts depend on nothing else.
 */
#ifndef QFAST_STAB_RUN_H
#define QFAST_STAB_RUN_H
#include "stab_gates.h"
#include "stab_sample.h"
#include "sv_run.h"

typedef struct {
    stab_state state; /* without memory: reach it again from the start */
    int64_t shots, depth, fuel;
    uint64_t key;
    int64_t *rest;    /* variables and stack, one after the other */
    size_t bytes;
    int32_t pc, bit, sp;
} stab_branch;

typedef struct {
    const sv_circuit *circuit;
    const sv_plan *plan;
    const uint8_t *final; /* of each instruction: whether it is a final measurement */
    const stab_kernels *kernels;
    const volatile unsigned char *cancel;
    stab_state state;
    int64_t num_bits;     /* classical bits with a row */
    qf_machine machine;
    int64_t shots, stride;
    uint64_t seed, key, bytes, max_bytes; /* bytes: of the states set aside */
    uint8_t *path;
    int64_t depth, room_path, forced;
    stab_branch *waiting;
    int64_t num_waiting, room_waiting, oldest;
    sv_counts counts;
    const char *error;
    int64_t leaves;
    int replays;
} stab_run;

static inline void stab_drop_branch(stab_run *r, stab_branch *b) {
    if (b->state.memory) r->bytes -= b->bytes;
    stab_state_free(&b->state);
    free(b->rest);
    b->rest = NULL;
}

static inline void stab_run_free(stab_run *r) {
    for (int64_t j = 0; j < r->num_waiting; j++) stab_drop_branch(r, &r->waiting[j]);
    free(r->waiting);
    stab_state_free(&r->state);
    free(r->machine.vars);
    free(r->path);
    sv_counts_free(&r->counts);
}

static inline size_t stab_state_bytes(const sv_plan *p, const sv_circuit *c, int64_t stride) {
    return 8 * stab_words_needed(p->num_touched, p->num_touched + c->num_clbits, stride);
}

static inline void stab_view_bits(stab_run *r) {
    r->machine.bits = r->state.b + r->state.num_qubits;
}

static inline int stab_restart(stab_run *r) {
    stab_state_free(&r->state);
    if (!stab_state_make(&r->state, r->kernels, r->plan->num_touched, r->plan->num_touched + r->circuit->num_clbits, r->stride))
        return SV_MEMORY;
    stab_view_bits(r);
    memset(r->machine.vars, 0, sizeof(int64_t) * (size_t)r->circuit->num_vars);
    r->machine.sp = 0;
    r->machine.fuel = SV_FUEL;
    r->depth = 0;
    r->key = qf_mix64(r->seed);
    return SV_OK;
}

static inline int stab_run_init(stab_run *r, const sv_plan *plan, const sv_circuit *c, const uint8_t *final, int64_t stride,
                                const stab_kernels *kernels, int64_t shots, uint64_t seed, uint64_t max_bytes) {
    *r = (stab_run){.circuit = c, .plan = plan, .final = final, .kernels = kernels, .cancel = plan->cancel, .shots = shots,
                    .stride = stride, .seed = seed, .max_bytes = max_bytes};
    if (c->num_vars > SV_CLASSICAL || c->num_clbits > SV_CLASSICAL) return SV_MEMORY;
    if (stab_state_bytes(plan, c, stride) > max_bytes) return SV_MEMORY;
    r->counts.num_words = c->num_clbits / 64 + 1;
    if (!(r->machine.vars = malloc(sizeof(int64_t) * ((size_t)c->num_vars + 1)))) return SV_MEMORY;
    return stab_restart(r);
}

static inline int stab_error(stab_run *r, int32_t error) {
    r->error = qf_machine_text(error);
    return error == QF_ERR_FUEL ? SV_TIME : SV_RUNTIME;
}

/* Makes room for more variables: frees what nothing depends on, else doubles the forms. */
static inline int stab_grow(stab_run *r) {
    stab_state bigger;
    stab_sweep(&r->state);
    if (stab_free_variable(&r->state) >= 0) return SV_OK;
    const int64_t stride = 2 * r->state.stride;
    const uint64_t need = stab_state_bytes(r->plan, r->circuit, stride) + r->state.bytes;
    while (r->bytes + need > r->max_bytes && r->oldest < r->num_waiting) stab_drop_branch(r, &r->waiting[r->oldest++]);
    if (r->bytes + need > r->max_bytes) return SV_MEMORY;
    if (!stab_state_copy(&bigger, &r->state, stride)) {
        return SV_MEMORY;
    }
    stab_state_free(&r->state);
    r->state = bigger;
    r->stride = stride;
    stab_view_bits(r);
    return SV_OK;
}

/* Sets the shots for which `bit` is 1 aside, with the state if there is room for it. */
static inline int stab_set_aside(stab_run *r, int32_t pc, int32_t bit, int64_t shots, uint64_t key) {
    const qf_machine *m = &r->machine;
    const size_t nv = (size_t)r->circuit->num_vars, ns = (size_t)m->sp;
    if (!sv_reserve((void **)&r->waiting, &r->room_waiting, r->num_waiting, 1, sizeof *r->waiting)) return SV_MEMORY;
    stab_branch *b = &r->waiting[r->num_waiting++];
    *b = (stab_branch){.shots = shots, .depth = r->depth, .fuel = m->fuel, .key = key, .pc = pc, .bit = bit, .sp = m->sp};
    b->bytes = r->state.bytes + 8 * (nv + ns);
    if (r->bytes + b->bytes + r->state.bytes > r->max_bytes) return SV_OK;
    b->rest = malloc(8 * (nv + ns + 1));
    if (!b->rest || !stab_state_copy(&b->state, &r->state, r->state.stride)) {
        free(b->rest);
        b->rest = NULL;
        b->state.memory = NULL;
        return SV_OK;
    }
    r->bytes += b->bytes;
    memcpy(b->rest, m->vars, 8 * nv);
    memcpy(b->rest + nv, m->stack, 8 * ns);
    return SV_OK;
}

/* Gives a classical bit, whose form has coins only, the value `outcome`. */
static inline void stab_settle(stab_run *r, int32_t bit, int outcome) {
    stab_state *s = &r->state;
    const int64_t row = s->num_qubits + bit;
    int64_t k = 0;
    while (!stab_row(s, row)[k]) k++;
    const int64_t v = 64 * k + __builtin_ctzll(stab_row(s, row)[k]);
    memcpy(s->f, stab_row(s, row), sizeof *s->f * (size_t)s->words);
    stab_flip(s->f, v);
    stab_substitute(s, v, s->f, s->b[row] ^ outcome);
    stab_drop(s, v);
}

/* Draws a classical bit that the program reads at `pc`, for all shots of the branch. */
static inline int stab_read(stab_run *r, int32_t pc, int32_t bit) {
    if (stab_is_zero(&r->state, stab_row(&r->state, r->state.num_qubits + bit))) return SV_OK;
    const uint64_t key[2] = {qf_mix64(r->key), qf_mix64(r->key + UINT64_C(0x632be59bd9b4e019))};
    int outcome;
    if (r->depth < r->forced) {
        outcome = r->path[r->depth];
    } else {
        qf_rng rng;
        qf_rng_seed(&rng, r->key);
        const int64_t ones = sv_binomial(&rng, r->shots, 0.5);
        outcome = ones == r->shots;
        if (!sv_reserve((void **)&r->path, &r->room_path, r->depth, 1, 1)) return SV_MEMORY;
        if (ones > 0 && ones < r->shots) {
            const int result = stab_set_aside(r, pc, bit, ones, key[1]);
            if (result) return result;
            r->shots -= ones;
        }
        r->path[r->depth] = (uint8_t)outcome;
    }
    r->depth++;
    r->key = key[outcome];
    stab_settle(r, bit, outcome);
    return SV_OK;
}

/* Takes up the branch set aside last; *pc is where it goes on. */
static inline int stab_take_up(stab_run *r, int32_t *pc) {
    stab_branch *b = &r->waiting[--r->num_waiting];
    const size_t nv = (size_t)r->circuit->num_vars;
    if (r->oldest > r->num_waiting) r->oldest = r->num_waiting;
    r->shots = b->shots;
    r->path[b->depth] = 1;
    r->forced = b->depth + 1;
    if (!b->state.memory) {
        *pc = 0;
        r->replays++;
        return stab_restart(r);
    }
    stab_state_free(&r->state);
    r->state = b->state;
    r->stride = b->state.stride;
    r->bytes -= b->bytes;
    stab_view_bits(r);
    memcpy(r->machine.vars, b->rest, 8 * nv);
    memcpy(r->machine.stack, b->rest + nv, 8 * (size_t)b->sp);
    r->machine.sp = b->sp;
    r->machine.fuel = b->fuel;
    r->key = b->key;
    r->depth = b->depth + 1;
    *pc = b->pc;
    free(b->rest);
    b->rest = NULL;
    b->state.memory = NULL;
    stab_settle(r, b->bit, 1);
    return SV_OK;
}

/* The classical bits that an instruction is about to read or write: [*first, *first + *count). */
static inline void stab_bits_of(const stab_run *r, const qf_instr *g, int *reads, int32_t *first, int32_t *count) {
    const int64_t index = r->machine.sp > 0 ? r->machine.stack[r->machine.sp - 1] : -1;
    *first = g->c;
    *count = 0;
    *reads = g->op == QF_LDBIT || g->op == QF_LDREG || g->op == QF_LDBITAT;
    if (g->op == QF_LDBIT || g->op == QF_STBIT) *count = 1;
    if (g->op == QF_LDREG || g->op == QF_STREG) *count = g->nq;
    if ((g->op == QF_LDBITAT || g->op == QF_STBITAT) && index >= 0 && index < g->nq) { /* else the step fails */
        *first = g->c + (int32_t)index;
        *count = 1;
    }
}

static inline int stab_classic(stab_run *r, int32_t *pc) {
    int32_t first, count;
    int reads, result;
    stab_bits_of(r, &r->circuit->code[*pc], &reads, &first, &count);
    for (int32_t bit = first; bit < first + count; bit++) {
        if (!reads) stab_row_clear(&r->state, r->state.num_qubits + bit);
        else if ((result = stab_read(r, *pc, bit))) return result;
    }
    const int32_t next = qf_classical_step(r->circuit->code, r->circuit->params, *pc, &r->machine);
    if (next < 0 && next != QF_ENDED) return stab_error(r, next);
    *pc = next == QF_ENDED ? (int32_t)r->circuit->n : next;
    return SV_OK;
}

static inline int stab_gate(stab_run *r, const qf_instr *g) {
    stab_steps steps;
    if (!stab_lower(&steps, g, r->circuit->params)) return SV_INVALID; /* cannot be: all gates were looked at before */
    for (int k = 0; k < steps.count; k++) {
        const stab_step step = steps.step[k];
        const int32_t *operands = r->circuit->operands + g->q;
        const int32_t p = r->plan->touched[operands[step.p]] - 1, q = r->plan->touched[operands[step.q]] - 1;
        stab_state *s = &r->state;
        switch (step.kind) {
        case STAB_X: s->b[s->row_of[p]] ^= 1; break;
        case STAB_POWER: stab_power(s, p, step.power); break;
        case STAB_CX: stab_cx(s, p, q); break;
        case STAB_CZ: stab_cz(s, p, q); break;
        case STAB_PARITY: stab_parity_power(s, p, q, step.power); break;
        case STAB_SWAP: {
            const int32_t row = s->row_of[p];
            s->row_of[p] = s->row_of[q];
            s->row_of[q] = row;
            break;
        }
        default: /* STAB_H */
            while (!stab_hadamard(s, p)) {
                const int result = stab_grow(r);
                if (result) return result;
            }
        }
    }
    return SV_OK;
}

/* Copies the qubit's form to the classical bit; a final measurement may leave it coherent. */
static inline int stab_measure(stab_run *r, int32_t pc) {
    const qf_instr *g = &r->circuit->code[pc];
    stab_state *s = &r->state;
    const int64_t row = s->row_of[r->plan->touched[r->circuit->operands[g->q]] - 1];
    if (r->final[pc] == SV_FINAL_DEAD) return SV_OK;
    if (--r->machine.fuel < 0) return stab_error(r, QF_ERR_FUEL);
    if (!r->final[pc]) stab_decohere(s, row);
    if (g->op == QF_RESET) {
        stab_row_clear(s, row);
        return SV_OK;
    }
    stab_row_clear(s, s->num_qubits + g->c);
    stab_row_add(s, s->num_qubits + g->c, stab_row(s, row), s->b[row]);
    return SV_OK;
}

static inline int stab_run_branch(stab_run *r, int32_t pc) {
    const qf_instr *code = r->circuit->code;
    const int often = r->state.num_qubits > 1000;
    for (int64_t n = 1; pc < r->circuit->n; n++) {
        int result = SV_OK;
        if ((often || (n & 63) == 0) && r->cancel && *r->cancel) return SV_CANCELLED;
        if (code[pc].op >= QF_JUMP) {
            result = stab_classic(r, &pc);
        } else {
            if (code[pc].op == QF_MEASURE || code[pc].op == QF_RESET) result = stab_measure(r, pc);
            else if (code[pc].op != QF_BARRIER) result = stab_gate(r, &code[pc]);
            pc++;
        }
        if (result) return result;
    }
    stab_sampler m = {.state = &r->state, .cancel = r->cancel, .counts = &r->counts, .distinct = !r->leaves && !r->num_waiting};
    qf_rng_seed(&m.rng, r->key);
    r->leaves++;
    return stab_sample(&m, r->shots);
}

static inline int stab_run_all(stab_run *r) {
    int32_t pc = 0;
    int result = r->cancel && *r->cancel ? SV_CANCELLED : stab_run_branch(r, 0);
    while (result == SV_OK && r->num_waiting) {
        result = stab_take_up(r, &pc);
        if (result == SV_OK) result = r->cancel && *r->cancel ? SV_CANCELLED : stab_run_branch(r, pc);
    }
    return result;
}

/* --- before a run */

typedef struct {
    int64_t hadamards, coins; /* upper bounds: H steps, measurements on the way */
    int clifford, jumps;
} stab_survey;

enum { STAB_NOT_CLIFFORD = 1 }; /* beside enum sv_result */

/* Looks at a circuit that may be malformed: whether all its gates are Clifford. Stops when the flag is set. */
static inline stab_survey stab_look(const sv_circuit *c, const volatile unsigned char *cancel) {
    stab_survey v = {.clifford = 1};
    for (int64_t pc = 0; pc < c->n; pc++) {
        const qf_instr *g = &c->code[pc];
        stab_steps steps;
        if ((pc & 0xffff) == 0xffff && cancel && *cancel) return v;
        v.jumps |= g->op >= QF_JUMP;
        if (g->op == QF_NOISE || (g->op == QF_MEASURE && g->flags)) return (stab_survey){.clifford = 0}; /* sv_noise.h needs a statevector */
        v.coins += g->op == QF_MEASURE || g->op == QF_RESET;
        if (!qf_is_gate(g->op)) continue;
        if (g->p < 0 || g->p + (int64_t)qf_num_params(g->op) > c->num_params || !stab_lower(&steps, g, c->params)) {
            if (g->op == QF_ID) continue;
            v.clifford = 0;
            return v;
        }
        for (int k = 0; k < steps.count; k++) v.hadamards += steps.step[k].kind == STAB_H;
    }
    return v;
}

/* Words of a form that the run may need without loops, or to begin with: each H adds a variable at most, and quantum variables are
 * no more than qubits. */
static inline int64_t stab_stride(const stab_survey *v, const sv_plan *p) {
    int64_t most = p->num_touched + (p->branches ? v->coins : 0);
    if (v->hadamards < most) most = v->hadamards;
    if (v->jumps && most > 64) most = 64;
    return most / 64 + 1;
}

/* Checks the circuit and prepares `plan` for a run: numbers of qubits and, in *final, the final measurements. Both are to be freed
 * in any case. */
static inline int stab_plan_make(sv_plan *p, uint8_t **final, const sv_circuit *c, const volatile unsigned char *cancel) {
    memset(p, 0, sizeof *p);
    p->cancel = cancel;
    *final = NULL;
    int result = sv_check(p, c);
    if (result == SV_OK) result = sv_number_qubits(p, c);
    if (result != SV_OK) return result;
    if (!(*final = calloc((size_t)c->n + 1, 1))) return SV_MEMORY;
    for (int64_t pc = 0; pc < c->n; pc++) p->jumps |= c->code[pc].op >= QF_JUMP && !(c->code[pc].op == QF_END && pc == c->n - 1);
    return sv_find_final(p, c, *final);
}

#endif

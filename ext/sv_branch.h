/* A branch of a run: its state, and what is set aside. Which shots part from it, and why, is for sv_sites.h and sv_run.h. */
#ifndef QFAST_SV_BRANCH_H
#define QFAST_SV_BRANCH_H
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
    uint8_t outcome;
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
    uint8_t *path;      /* outcomes so far: of the measurements that were open, of the sites of noise, of misreadings */
    double clock;       /* runs down from site to site to the next event of the branch, where it is armed */
    uint8_t armed;
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
    r->armed = 0;
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

/* The key of a branch after an outcome. */
static inline uint64_t sv_key_after(uint64_t key, uint64_t outcome) {
    return qf_mix64(key + outcome * UINT64_C(0x632be59bd9b4e019));
}

/* A copy of k qubits' amplitudes; SV_CANCELLED leaves it incomplete. */
static inline int sv_copy_state(const sv_state *s, void *to, const void *from, int k) {
    enum { PIECE = 1 << 22 }; /* bytes: well under a millisecond */
    for (size_t at = 0, all = sv_state_bytes(k, s->kernels->bytes); at < all; at += PIECE) {
        if (sv_cancelled(s)) return SV_CANCELLED;
        memcpy((char *)to + at, (const char *)from + at, all - at < PIECE ? all - at : PIECE);
    }
    return SV_OK;
}

/* What is set aside: so many shots whose way goes on with `outcome`. */
typedef struct {
    int64_t shots;
    uint8_t outcome;
    int32_t bit;   /* the classical bit that differs, or -1 */
    int32_t q;     /* the qubit that is measured as 1, or -1: the state stays whole */
    double scale;  /* of the measured half */
} sv_part;

/* Sets shots aside, with their state if there is room for it. Called before the measured qubit is settled. */
static inline int sv_set_aside(sv_run *r, const sv_part *part) {
    const sv_state *s = &r->state;
    const qf_machine *m = &r->machine;
    const size_t nb = (size_t)r->circuit->num_clbits, nv = sizeof(int64_t) * (size_t)r->circuit->num_vars,
                 ns = sizeof(int64_t) * (size_t)m->sp, nl = (size_t)r->plan->num_touched;
    if (!sv_reserve((void **)&r->waiting, &r->room_waiting, r->num_waiting, 1, sizeof *r->waiting)) return SV_MEMORY;
    sv_branch *b = &r->waiting[r->num_waiting++];
    *b = (sv_branch){.op = r->op, .shots = part->shots, .depth = r->depth, .key = sv_key_after(r->key, part->outcome),
                     .outcome = part->outcome, .k = s->k, .sp = m->sp, .fuel = m->fuel};
    const int k = s->k - (part->q >= 0);
    b->bytes = sv_state_bytes(k, s->kernels->bytes) + nb + nv + ns + nl;
    if (sv_room_for(r, b->bytes, 0) == 0) return SV_OK;
    b->a = sv_allocate(s->kernels, k);
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
    if (part->bit >= 0) to[part->bit] ^= 1;
    memcpy(to + nb, m->vars, nv);
    memcpy(to + nb + nv, m->stack, ns);
    memcpy(to + nb + nv + ns, s->loc, nl);
    if (part->q < 0) return sv_copy_state(s, b->a, s->a, k);
    const int8_t t = s->loc[part->q];
    sv_settle((int8_t *)(to + nb + nv + ns), r->plan->num_touched, &b->k, part->q, part->bit >= 0); /* a reset leaves |0> */
    return sv_extract(s, t, 1, part->scale, b->a);
}

#endif

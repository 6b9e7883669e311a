/* Large states in tiles. Beyond the second-level cache a gate costs a trip to memory, so gates are taken in groups that mix at most
 * SV_TILE_QUBITS qubits: for each value of all other qubits those amplitudes are gathered into a buffer, get all gates of the group,
 * and go back. In a tile the other qubits are known, which is what sv_apply makes of controls and phases on them.
 *
 * A group is chosen in program order: a gate joins when its mixed qubits still fit and it shares no qubit with a gate left behind.
 */
#ifndef QFAST_SV_TILE_H
#define QFAST_SV_TILE_H
#include "sv_state.h"

/* Qubits in double precision; a single one makes it one more. */
#define SV_TILE_QUBITS 14 /* 256 KiB: a quarter of a usual second-level cache; 13 to 15 measured alike */
#define SV_TILE_RUN 5     /* qubits 0..4 always belong to it: runs of 512 bytes, so that every fetched line is used whole */
#define SV_TILE_FROM 17   /* smaller states (1 MiB) are in the cache anyway */
#define SV_WINDOW 256     /* gates looked at for a group */

typedef struct {
    void *buffer;       /* one tile per thread */
    int8_t *loc;        /* of each touched qubit, in the tile; per thread */
    int32_t pending[SV_WINDOW]; /* operations in program order, not applied yet */
    uint8_t chosen[SV_WINDOW];
    int num_pending;
} sv_tiler;

/* The number of qubits that take as much memory as `qubits` of them in double precision. */
static inline int sv_sized(const sv_state *s, int qubits) {
    return qubits + (s->kernels->bytes == 8);
}

static inline void sv_tiler_free(sv_tiler *t) {
    free(t->buffer);
    free(t->loc);
}

static inline int sv_apply_op(sv_state *s, const sv_plan *p, const sv_op *op) {
    if (op->kind == SV_NOISE) return SV_OK;
    if (op->kind == SV_STAR) return sv_apply_star(s, p->ctrls + op->ctrl, op->nctrl, p->mats + op->mat);
    return sv_apply(s, op->kind, op->real, op->t, p->ctrls + op->ctrl, op->nctrl, p->mats + op->mat);
}

/* The bits that an operation mixes, and those that it involves; 0 when it renames or brings in qubits, which tiles can't. */
static inline int sv_involved(const sv_state *s, const sv_plan *p, const sv_op *op, uint64_t *mixed, uint64_t *all) {
    *mixed = 0;
    for (int j = 0; j < 2; j++)
        if (op->t[j] >= 0) {
            if (s->loc[op->t[j]] < 0) return 0;
            *mixed |= UINT64_C(1) << s->loc[op->t[j]];
        }
    *all = *mixed;
    int certain = 1; /* no control that varies */
    for (int j = 0; j < op->nctrl; j++) {
        const int8_t at = s->loc[p->ctrls[op->ctrl + j] >> 1];
        if (at >= 0) *all |= UINT64_C(1) << at, certain = 0;
    }
    return !(op->kind == SV_SWAP && certain);
}

/* Marks the operations of the next group; gives how many. *inside: the bits of a tile. */
static inline int sv_choose_group(const sv_state *s, const sv_plan *p, sv_tiler *t, uint64_t *inside) {
    const uint64_t active = (UINT64_C(1) << s->k) - 1;
    uint64_t tile = (UINT64_C(1) << sv_sized(s, SV_TILE_RUN)) - 1, left = 0, mixed, all;
    const int qubits = sv_sized(s, SV_TILE_QUBITS);
    int count = 0;
    memset(t->chosen, 0, sizeof t->chosen);
    for (int j = 0; j < t->num_pending && left != active; j++) {
        if (!sv_involved(s, p, &p->ops[t->pending[j]], &mixed, &all)) break;
        if ((all & left) || __builtin_popcountll(tile | mixed) > qubits) {
            left |= all;
            continue;
        }
        tile |= mixed;
        t->chosen[j] = 1;
        count++;
    }
    for (uint64_t bit = 1; __builtin_popcountll(tile) < qubits; bit <<= 1) tile |= bit;
    *inside = tile;
    return count;
}

typedef struct {
    const sv_state *state;
    const sv_plan *plan;
    const sv_tiler *tiler;
    uint64_t inside;
} sv_group;

/* Copies tile `base` to the buffer, or back. */
static inline void sv_move_tile(const sv_state *s, void *buffer, uint64_t base, uint64_t inside, int back) {
    const int run = __builtin_ctzll(~inside); /* contiguous low qubits */
    const uint64_t step = UINT64_C(1) << run, skip = ~inside | (step - 1), bytes = (uint64_t)s->kernels->bytes;
    for (uint64_t j = 0, at = 0; j < UINT64_C(1) << sv_sized(s, SV_TILE_QUBITS); j += step, at = ((at | skip) + step) & ~skip) {
        char *x = sv_from(s->kernels, s->a, base | at), *y = sv_from(s->kernels, buffer, j);
        memcpy(back ? x : y, back ? y : x, bytes * step);
    }
}

/* Applies the chosen operations to one tile. They find every qubit either in the tile or known, so none can fail. */
static inline void sv_run_tile(void *context, int worker, int64_t number) {
    const sv_group *g = context;
    const sv_state *s = g->state;
    const sv_plan *p = g->plan;
    const uint64_t outside = ((UINT64_C(1) << s->k) - 1) & ~g->inside, base = sv_deposit((uint64_t)number, g->inside);
    const int in_place = g->inside == (UINT64_C(1) << sv_sized(s, SV_TILE_QUBITS)) - 1, k = sv_sized(s, SV_TILE_QUBITS);
    void *buffer = sv_from(s->kernels, g->tiler->buffer, (uint64_t)worker << k);
    sv_state tile = {.kernels = s->kernels, .a = in_place ? sv_from(s->kernels, s->a, base) : buffer, .k = k, .room = k,
                     .loc = g->tiler->loc + (size_t)worker * (size_t)p->num_touched, .global = {1, 0}, .threads = 1};
    for (int32_t q = 0; q < p->num_touched; q++)
        if (s->loc[q] >= 0 && (outside >> s->loc[q]) & 1) tile.loc[q] = (base >> s->loc[q]) & 1 ? SV_ONE : SV_ZERO;
    if (!in_place) sv_move_tile(s, buffer, base, g->inside, 0);
    for (int j = 0; j < g->tiler->num_pending; j++)
        if (g->tiler->chosen[j]) sv_apply_op(&tile, p, &p->ops[g->tiler->pending[j]]);
    if (tile.global.re != 1 || tile.global.im != 0)
        s->kernels->phase(tile.a, tile.k, 0, 0, tile.global.re, tile.global.im, 0, 1);
    if (!in_place) sv_move_tile(s, buffer, base, g->inside, 1);
}

static inline int sv_run_group(const sv_state *s, const sv_plan *p, const sv_tiler *t, uint64_t inside) {
    sv_group group = {s, p, t, inside};
    for (int32_t q = 0; q < p->num_touched; q++) {
        const int8_t at = s->loc[q];
        for (int w = 0; w < s->threads; w++)
            t->loc[(size_t)w * (size_t)p->num_touched + (size_t)q] =
                at < 0 ? at : (int8_t)__builtin_popcountll(inside & ((UINT64_C(1) << at) - 1));
    }
    return crew_share(s->threads, INT64_C(1) << (s->k - sv_sized(s, SV_TILE_QUBITS)), s->cancel, sv_run_tile, &group) ? SV_CANCELLED : SV_OK;
}

static inline void sv_forget_chosen(sv_tiler *t) {
    int kept = 0;
    for (int j = 0; j < t->num_pending; j++)
        if (!t->chosen[j]) t->pending[kept++] = t->pending[j];
    t->num_pending = kept;
}

/* Applies the gates from..to - 1 of the plan. */
static inline int sv_apply_gates(sv_state *s, const sv_plan *p, sv_tiler *t, int64_t from, int64_t to) {
    for (; from < to && (s->k < sv_sized(s, SV_TILE_FROM) || to - from < 2); from++) {
        if ((s->k > 12 || (from & 63) == 0) && sv_cancelled(s)) return SV_CANCELLED;
        int result = sv_apply_op(s, p, &p->ops[from]);
        if (result) return result;
    }
    if (from == to) return SV_OK;
    if (!t->buffer) t->buffer = aligned_alloc(64, (size_t)s->threads * 16 << SV_TILE_QUBITS);
    if (!t->loc) t->loc = malloc((size_t)s->threads * (size_t)p->num_touched + 1);
    if (!t->buffer || !t->loc) return SV_MEMORY;
    t->num_pending = 0;
    for (;;) {
        uint64_t inside = 0;
        int result, count;
        while (t->num_pending < SV_WINDOW && from < to) t->pending[t->num_pending++] = (int32_t)from++;
        if (t->num_pending == 0) return SV_OK;
        if (sv_cancelled(s)) return SV_CANCELLED;
        count = s->k >= sv_sized(s, SV_TILE_FROM) ? sv_choose_group(s, p, t, &inside) : 0;
        if (count < 3) {
            memset(t->chosen, 0, sizeof t->chosen);
            t->chosen[0] = 1;
            result = sv_apply_op(s, p, &p->ops[t->pending[0]]);
        } else {
            result = sv_run_group(s, p, t, inside);
        }
        if (result) return result;
        sv_forget_chosen(t);
    }
}

#endif

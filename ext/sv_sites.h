/* Where shots of a branch part for reasons that are not its state's: the sites of noise, and measurements that are misread. */
#ifndef QFAST_SV_SITES_H
#define QFAST_SV_SITES_H
#include "sv_branch.h"
#include "sv_noise.h"

/* Makes the error that a branch has at the site g. */
static inline int sv_err(sv_run *r, const qf_instr *g, int error) {
    sv_state *s = &r->state;
    const int32_t q = r->plan->touched[r->circuit->operands[g->q]] - 1;
    int result = SV_OK;
    if (g->c != QF_DAMP) {
        result = sv_apply_pauli(s, q, error & 3);
        if (error >> 2 && result == SV_OK)
            result = sv_apply_pauli(s, r->plan->touched[r->circuit->operands[g->q + 1]] - 1, error >> 2);
        return result;
    }
    if (error && s->loc[q] >= 0) { /* a jump: the half in which the qubit is 1 */
        double p[2];
        const int8_t t = s->loc[q];
        if ((result = sv_probabilities(s, t, p))) return result;
        if ((result = sv_extract(s, t, 1, 1 / sqrt(p[1]), s->a))) return result;
        sv_settle(s->loc, r->plan->num_touched, &s->k, q, 0);
    } else if (error) {
        s->loc[q] = SV_ZERO;
    }
    return SV_OK;
}

/* Takes up the branch set aside last. */
static inline int sv_take_up(sv_run *r) {
    sv_branch *b = &r->waiting[--r->num_waiting];
    if (r->oldest > r->num_waiting) r->oldest = r->num_waiting;
    sv_state *s = &r->state;
    qf_machine *m = &r->machine;
    const size_t nb = (size_t)r->circuit->num_clbits, nv = sizeof(int64_t) * (size_t)r->circuit->num_vars,
                 ns = sizeof(int64_t) * (size_t)b->sp, nl = (size_t)r->plan->num_touched;
    r->shots = b->shots;
    r->path[b->depth] = b->outcome;
    if (!b->a) {
        sv_restart(r);
        r->forced = b->depth + 1;
        r->replays++;
        return SV_OK;
    }
    memcpy(m->bits, b->rest, nb);
    memcpy(m->vars, b->rest + nb, nv);
    memcpy(m->stack, b->rest + nb + nv, ns);
    memcpy(s->loc, b->rest + nb + nv + ns, nl);
    const int result = sv_copy_state(s, s->a, b->a, b->k);
    s->k = b->k;
    m->sp = b->sp;
    m->fuel = b->fuel;
    r->key = b->key;
    r->op = b->op;
    r->depth = r->forced = b->depth + 1;
    r->armed = 0;
    sv_drop(r, b);
    const sv_op *op = &r->plan->ops[r->op - 1];
    if (result || op->kind != SV_NOISE) return result;
    return sv_err(r, &r->circuit->code[op->pc], r->path[r->depth - 1] - SV_ERROR);
}

/* Whether no shot of the branch has an event at a site, which is then passed. */
static inline int sv_pass_site(sv_run *r, const sv_op *op) {
    if (r->depth < r->forced) return r->path[r->depth] == SV_QUIET && ++r->depth;
    if (!r->armed) {
        qf_rng rng;
        qf_rng_seed(&rng, qf_mix64(r->key ^ UINT64_C(0x8ebc6af09c88c6e3)));
        r->clock = -log1p(-qf_rng_double(&rng));
        r->armed = 1;
    }
    const double left = r->clock - (double)r->shots * r->plan->mats[op->mat];
    if (!(left > 0) || !sv_reserve((void **)&r->path, &r->room_path, r->depth, 1, 1)) return 0;
    r->clock = left;
    r->path[r->depth++] = SV_QUIET;
    return 1;
}

/* A site with events: parts the shots by what happens to them, and goes on with one kind. */
static inline int sv_part_site(sv_run *r, const qf_instr *g) {
    const double *p = r->circuit->params + g->p;
    if (r->depth >= r->forced) {
        const int8_t t = r->state.loc[r->plan->touched[r->circuit->operands[g->q]] - 1];
        double one[2] = {t == SV_ZERO, t == SV_ONE};
        int64_t count[SV_KINDS];
        int kind = SV_KINDS - 1, result = SV_OK;
        qf_rng rng;
        if (g->c == QF_DAMP && t >= 0) result = sv_probabilities(&r->state, t, one);
        if (!sv_reserve((void **)&r->path, &r->room_path, r->depth, 1, 1)) result = SV_MEMORY;
        if (result) return result;
        qf_rng_seed(&rng, qf_mix64(r->key ^ UINT64_C(0x589965cc75374cc3)));
        sv_share_out(&rng, g, p, r->shots, one[1] / (one[0] + one[1]), count);
        while (!count[kind]) kind--;
        for (int k = 0; k < kind && result == SV_OK; k++) {
            const sv_part part = {.shots = count[k], .outcome = (uint8_t)(SV_ERROR + k), .bit = -1, .q = -1};
            if (count[k]) result = sv_set_aside(r, &part);
        }
        if (result) return result;
        r->shots = count[kind];
        r->path[r->depth] = (uint8_t)(SV_ERROR + kind);
    }
    const int error = r->path[r->depth++];
    r->key = sv_key_after(r->key, (uint64_t)error);
    r->armed = 0;
    return sv_err(r, g, error - SV_ERROR);
}

/* After a measurement: the bit that it wrote may be wrong. */
static inline int sv_read(sv_run *r, const qf_instr *g) {
    uint8_t *bit = &r->machine.bits[g->c];
    const double wrong = r->circuit->params[g->p + *bit];
    if (wrong == 0) return SV_OK;
    if (r->depth >= r->forced) {
        qf_rng rng;
        qf_rng_seed(&rng, qf_mix64(r->key ^ UINT64_C(0x1d8e4e27c47d124f)));
        const sv_part part = {.shots = sv_binomial(&rng, r->shots, wrong), .outcome = 1, .bit = g->c, .q = -1};
        int result = SV_OK;
        if (!sv_reserve((void **)&r->path, &r->room_path, r->depth, 1, 1)) return SV_MEMORY;
        r->path[r->depth] = part.shots == r->shots;
        if (part.shots > 0 && part.shots < r->shots) {
            if ((result = sv_set_aside(r, &part))) return result;
            r->shots -= part.shots;
        }
    }
    const uint8_t flips = r->path[r->depth++];
    r->key = sv_key_after(r->key, flips);
    r->armed = 0;
    *bit ^= flips;
    return SV_OK;
}

#endif

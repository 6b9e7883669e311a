/* What no measurement can see: found by walking backwards, and left out of the plan.
 *
 * Behind each instruction a qubit is idle (nothing of it is looked at any more), needed in its basis (only what a measurement of it
 * would give, and its correlations, matter: phases don't), or coherent (everything matters). In Heisenberg's picture the observables
 * that are left on it are the identity, the diagonal ones, or all; a gate takes them to those before it.
 */
#ifndef QFAST_SV_LIVE_H
#define QFAST_SV_LIVE_H
#include "sv_plan.h"

enum { SV_IDLE = 0, SV_BASIS = 1, SV_COHERENT = 2 };
enum { SV_UNSEEN = 3 }; /* of an instruction, beside SV_FINAL and SV_FINAL_DEAD: a gate that is left out */

static inline int sv_is_diagonal(uint8_t op) {
    return op == QF_GPHASE || op == QF_Z || op == QF_S || op == QF_SDG || op == QF_T || op == QF_TDG || op == QF_RZ || op == QF_P ||
           op == QF_RZZ;
}

/* Takes the needs of a gate's qubits to before it; 0 when they are the same without it. */
static inline int sv_gate_is_seen(const qf_instr *g, uint8_t *need, const int32_t *q) {
    uint8_t controls = SV_IDLE, targets = SV_IDLE;
    for (int32_t j = 0; j < g->nq; j++) {
        uint8_t *most = j < g->nctrl ? &controls : &targets;
        if (need[q[j]] > *most) *most = need[q[j]];
    }
    if (sv_is_diagonal(g->op) ? controls <= SV_BASIS && targets <= SV_BASIS : controls <= SV_BASIS && targets == SV_IDLE) return 0;
    uint8_t after = SV_COHERENT; /* of the targets */
    if (sv_is_diagonal(g->op) || (g->op == QF_X && controls <= SV_BASIS)) after = SV_BASIS;
    if (g->op == QF_SWAP && g->nctrl == 0) {
        const uint8_t keep = need[q[0]];
        need[q[0]] = need[q[1]];
        need[q[1]] = keep;
        return 1;
    }
    for (int32_t j = 0; j < g->nq; j++) {
        const uint8_t least = j < g->nctrl ? SV_BASIS : after;
        if (need[q[j]] < least) need[q[j]] = least;
    }
    return 1;
}

/* Marks the gates of a program without jumps and noise that no measurement sees. `final` is what sv_find_final found. */
static inline int sv_find_unseen(const sv_plan *p, const sv_circuit *c, uint8_t *final) {
    uint8_t *need = calloc((size_t)p->num_touched + 1, 1);
    if (!need) return SV_MEMORY;
    for (int64_t pc = c->n - 1; pc >= 0; pc--) {
        const qf_instr *g = &c->code[pc];
        int32_t q[SV_MAX_CONTROLS];
        if (g->op >= QF_BARRIER || g->op == QF_ID || final[pc] == SV_FINAL_DEAD) continue;
        for (int32_t j = 0; j < g->nq; j++) q[j] = p->touched[c->operands[g->q + j]] - 1;
        if (g->op == QF_MEASURE) need[q[0]] = SV_BASIS; /* it removes the phases */
        else if (g->op == QF_RESET) need[q[0]] = SV_IDLE;
        else if (!sv_gate_is_seen(g, need, q)) final[pc] = SV_UNSEEN;
    }
    free(need);
    return SV_OK;
}

#endif

/* From a circuit to a plan: it is checked once, its qubits are renumbered in order of first use (idle ones vanish), runs of gates
 * are fused, and measurements that nothing later depends on move to the end, where one sampling answers all of them.
 */
#ifndef QFAST_SV_PLAN_H
#define QFAST_SV_PLAN_H
#include <stdlib.h>

#include "sv_gates.h"

enum sv_result {
    SV_OK = 0,
    SV_INVALID = -1,   /* the circuit is malformed */
    SV_MEMORY = -2,    /* memory or the budget is exhausted */
    SV_CANCELLED = -3,
    SV_RUNTIME = -4,   /* a classical run-time error */
    SV_TIME = -5,      /* the classical part runs too long */
    SV_DYNAMIC_STATE = -6 /* a statevector was asked of a circuit that measures, resets or jumps */
};

typedef struct {
    uint8_t kind; /* enum sv_kind */
    uint8_t real;
    int16_t nctrl;
    int32_t t[2];
    int32_t ctrl; /* first control in ctrls[] */
    int32_t mat;  /* first double in mats[] */
    int32_t pc;   /* MEASURE, RESET, CLASSIC, DYNAMIC: instruction; LEAF: first entry of leaf_* */
} sv_op;

typedef struct {
    const qf_instr *code;
    int64_t n;
    const int32_t *operands;
    int64_t num_operands;
    const double *params;
    int64_t num_params;
    int64_t num_qubits, num_clbits, num_vars;
} sv_circuit;

typedef struct {
    sv_op *ops;
    int64_t num_ops, room_ops;
    uint32_t *ctrls;
    int64_t num_ctrls, room_ctrls;
    double *mats;
    int64_t num_mats, room_mats;
    int32_t *touched;    /* touched[declared qubit] = 1 + its number here, 0 when idle */
    int32_t num_touched;
    int32_t *entry;      /* entry[pc]: first op of a jump target; NULL without jumps */
    int32_t *leaf_qubit, *leaf_bit; /* the final measurements in program order */
    int32_t *leaf_pc;
    uint8_t misreads;    /* some of them may be misread */
    int64_t num_leaf;
    uint8_t *may_superpose; /* of each touched qubit */
    int32_t capacity;    /* touched qubits that may ever be in superposition: the state never has more */
    uint8_t jumps;       /* classical instructions occur */
    uint8_t early;       /* only the measurements at the very end wait: the state of all others would not fit in memory */
    uint8_t branches;    /* measurements or resets happen before the end */
    int64_t fence;       /* no operation may merge with one before this: jumps arrive here */
    sv_complex global;
    const volatile unsigned char *cancel; /* nonzero: stop; may be NULL */
    const char *error;   /* for SV_INVALID */
    int64_t where;
} sv_plan;

/* Of a state of k qubits with so many bytes an amplitude, 16 or 8. */
static inline size_t sv_state_bytes(int k, int bytes) {
    const size_t size = (size_t)bytes << k;
    return size < 128 ? 128 : size; /* one block at least */
}

static inline int sv_state_fits(int k, int bytes, uint64_t max_bytes) {
    return k <= 48 && sv_state_bytes(k, bytes) <= max_bytes;
}

static inline void sv_plan_free(sv_plan *p) {
    free(p->ops);
    free(p->ctrls);
    free(p->mats);
    free(p->touched);
    free(p->entry);
    free(p->leaf_qubit);
    free(p->leaf_bit);
    free(p->leaf_pc);
    free(p->may_superpose);
}

/* Makes room for `more` elements; 0 when memory is out. */
static inline int sv_reserve(void **array, int64_t *room, int64_t used, int64_t more, size_t size) {
    if (used + more <= *room) return 1;
    int64_t wanted = 2 * *room > used + more ? 2 * *room : used + more + 16;
    void *grown = realloc(*array, (size_t)wanted * size);
    if (!grown) return 0;
    *array = grown;
    *room = wanted;
    return 1;
}

static inline int sv_refuse(sv_plan *p, int64_t pc, const char *why) {
    p->where = pc;
    p->error = why;
    return SV_INVALID;
}

/* A 2x2 matrix may stray from unitarity by rounding in its source text, not more: the norm would drift or overflow. */
static inline int sv_is_unitary(const double *m) {
    double a = m[0] * m[0] + m[1] * m[1] + m[4] * m[4] + m[5] * m[5], d = m[2] * m[2] + m[3] * m[3] + m[6] * m[6] + m[7] * m[7];
    double re = m[0] * m[2] + m[1] * m[3] + m[4] * m[6] + m[5] * m[7], im = m[0] * m[3] - m[1] * m[2] + m[4] * m[7] - m[5] * m[6];
    return fabs(a - 1) < 1e-6 && fabs(d - 1) < 1e-6 && fabs(re) < 1e-6 && fabs(im) < 1e-6;
}

/* Whatever qf_classical_check leaves open: known operations, existing and distinct qubits, flags, finite parameters. */
static inline int sv_check_instr(sv_plan *p, const sv_circuit *c, int64_t pc) {
    const qf_instr *g = &c->code[pc];
    int32_t pops, pushes;
    if (qf_stack_effect(g, &pops, &pushes)) return sv_refuse(p, pc, "unknown operation");
    if (g->op >= QF_JUMP) return SV_OK;
    for (int32_t j = 0; j < g->nq; j++) {
        int32_t q = c->operands[g->q + j];
        if (q < 0 || q >= c->num_qubits) return sv_refuse(p, pc, "qubit out of range");
        for (int32_t i = 0; i < j && (qf_is_gate(g->op) || g->op == QF_NOISE); i++)
            if (c->operands[g->q + i] == q) return sv_refuse(p, pc, "qubit occurs twice");
    }
    if (!qf_is_gate(g->op)) {
        const int misreads = g->op == QF_MEASURE && g->flags == QF_MISREADS;
        if (g->nctrl || (g->flags && !misreads)) return sv_refuse(p, pc, "controls or flags on what is no gate");
        const char *fault = g->op == QF_NOISE ? sv_site_fault(g, c->params + g->p) : NULL;
        for (int j = 0; j < 2 && misreads; j++)
            if (!(c->params[g->p + j] >= 0 && c->params[g->p + j] <= 1)) fault = "a probability is not in 0..1";
        return fault ? sv_refuse(p, pc, fault) : SV_OK;
    }
    if (g->flags & ~QF_POPS_PARAMS) return sv_refuse(p, pc, "unknown flag");
    if (g->flags & QF_POPS_PARAMS) {
        if (g->op == QF_UNITARY) return sv_refuse(p, pc, "a matrix cannot come from the stack");
        return SV_OK;
    }
    for (int j = 0; j < qf_num_params(g->op); j++)
        if (!isfinite(c->params[g->p + j])) return sv_refuse(p, pc, "parameter is not finite");
    if (g->op == QF_UNITARY && !sv_is_unitary(c->params + g->p)) return sv_refuse(p, pc, "matrix is not unitary");
    return SV_OK;
}

static inline int sv_check(sv_plan *p, const sv_circuit *c) {
    int64_t where = 0;
    if (c->n >= INT32_MAX || c->num_qubits > INT32_MAX - 1 || c->num_clbits > INT32_MAX - 1 || c->num_vars > INT32_MAX - 1 ||
        c->num_qubits < 0 || c->num_clbits < 0 || c->num_vars < 0)
        return sv_refuse(p, -1, "a size is out of range");
    int8_t *depth = malloc((size_t)c->n + 1);
    if (!depth) return SV_MEMORY;
    int32_t error =
        qf_classical_check(c->code, c->n, c->num_operands, c->num_params, c->num_clbits, c->num_vars, depth, &where);
    free(depth);
    if (error) return sv_refuse(p, where, qf_machine_text(error));
    for (int64_t pc = 0; pc < c->n; pc++) {
        if (sv_check_instr(p, c, pc)) return SV_INVALID;
        if ((pc & 0xffff) == 0xffff && p->cancel && *p->cancel) return SV_CANCELLED;
    }
    return SV_OK;
}

enum { SV_STAR_LEAVES = 40 };

/* Takes a phase with two controls into the last operation, when that has phases that share one of them; 0 when it has not. */
static inline int sv_merge_phase(sv_plan *p, const sv_item *item) {
    if (item->kind != SV_PHASE || item->nctrl != 2 || p->num_ops <= p->fence) return 0;
    sv_op *last = &p->ops[p->num_ops - 1];
    uint32_t *c = p->ctrls + last->ctrl;
    int shared = -1;
    if (last->kind == SV_PHASE && last->nctrl == 2) {
        for (int j = 0; j < 4; j++)
            if (c[j >> 1] == item->ctrl[j & 1]) shared = j;
        if (shared < 0) return 0;
        if (shared >> 1) { /* to the front with it */
            const uint32_t keep = c[0];
            c[0] = c[1];
            c[1] = keep;
        }
    } else if (last->kind == SV_STAR && last->nctrl < SV_STAR_LEAVES) {
        for (int j = 0; j < 2; j++)
            if (c[0] == item->ctrl[j]) shared = j;
        if (shared < 0) return 0;
    } else {
        return 0;
    }
    if (!sv_reserve((void **)&p->ctrls, &p->room_ctrls, p->num_ctrls, 1, sizeof *p->ctrls) ||
        !sv_reserve((void **)&p->mats, &p->room_mats, p->num_mats, 2, sizeof *p->mats))
        return 0;
    last->kind = SV_STAR;
    last->nctrl++;
    p->ctrls[p->num_ctrls++] = item->ctrl[1 - (shared & 1)];
    p->mats[p->num_mats++] = item->m[0];
    p->mats[p->num_mats++] = item->m[1];
    return 1;
}

/* Appends an item as it is. Whatever can take a qubit out of a basis state is noted. */
static inline int sv_emit(sv_plan *p, const sv_item *item) {
    const int entries = item->kind == SV_PHASE || item->kind == SV_NOISE ? 2 : item->kind == SV_MAT1 ? 8 : item->kind == SV_MAT2 ? 32 : 0;
    if (item->kind == SV_PHASE && item->nctrl == 0) {
        p->global = sv_times(p->global, (sv_complex){item->m[0], item->m[1]});
        return 1;
    }
    if (sv_merge_phase(p, item)) return 1;
    if (!sv_reserve((void **)&p->ops, &p->room_ops, p->num_ops, 1, sizeof *p->ops) ||
        !sv_reserve((void **)&p->ctrls, &p->room_ctrls, p->num_ctrls, item->nctrl + 1, sizeof *p->ctrls) ||
        !sv_reserve((void **)&p->mats, &p->room_mats, p->num_mats, entries + 1, sizeof *p->mats) || p->num_mats > INT32_MAX - 64 ||
        p->num_ctrls > INT32_MAX - 64)
        return 0;
    sv_op *op = &p->ops[p->num_ops++];
    *op = (sv_op){.kind = item->kind, .real = item->real, .nctrl = item->nctrl, .t = {item->t[0], item->t[1]},
                  .ctrl = (int32_t)p->num_ctrls, .mat = (int32_t)p->num_mats, .pc = -1};
    memcpy(p->ctrls + p->num_ctrls, item->ctrl, sizeof(uint32_t) * (size_t)item->nctrl);
    memcpy(p->mats + p->num_mats, item->m, sizeof(double) * (size_t)entries);
    p->num_ctrls += item->nctrl;
    p->num_mats += entries;
    if (item->kind == SV_MAT1 || item->kind == SV_MAT2 || item->kind == SV_SWAP || (item->kind == SV_FLIP && item->nctrl))
        for (int j = 0; j < 2; j++)
            if (item->t[j] >= 0) p->may_superpose[item->t[j]] = 1;
    return 1;
}

static inline int sv_emit_step(sv_plan *p, uint8_t kind, int32_t pc) {
    sv_item item = {.kind = kind, .t = {-1, -1}};
    if (!sv_emit(p, &item)) return 0;
    p->ops[p->num_ops - 1].pc = pc;
    return 1;
}

/* Numbers the qubits that anything but a barrier or an identity touches, in order of first use. */
static inline int sv_number_qubits(sv_plan *p, const sv_circuit *c) {
    p->touched = calloc((size_t)c->num_qubits + 1, sizeof *p->touched);
    if (!p->touched) return SV_MEMORY;
    for (int64_t pc = 0; pc < c->n; pc++) {
        const qf_instr *g = &c->code[pc];
        if ((g->op >= QF_BARRIER && g->op != QF_NOISE) || g->op == QF_ID) continue;
        for (int32_t j = 0; j < g->nq; j++) {
            int32_t *slot = &p->touched[c->operands[g->q + j]];
            if (!*slot) *slot = ++p->num_touched;
        }
    }
    p->may_superpose = calloc((size_t)p->num_touched + 1, 1);
    return p->may_superpose ? SV_OK : SV_MEMORY;
}

enum { SV_FINAL = 1, SV_FINAL_DEAD = 2 };

/* Lists the measurements that may wait for the end, and marks them in `final` (one byte per
 * instruction: SV_FINAL, or SV_FINAL_DEAD when a later one into the same bit overwrites it).
 *
 * With jumps: those after which only measurements and barriers come. Without: those whose qubit nothing touches later and whose
 * bit no measurement writes later that has to happen on the way. Walks backwards, so that what comes later is known. */
static inline int sv_find_final(sv_plan *p, const sv_circuit *c, uint8_t *final) {
    uint8_t *busy = calloc((size_t)p->num_touched + (size_t)c->num_clbits + 1, 1), *written = busy + p->num_touched;
    enum { AT_THE_END = 1, ON_THE_WAY = 2 };
    int in_tail = 1;
    int64_t count = 0;
    if (!busy) return SV_MEMORY;
    for (int64_t pc = c->n - 1; pc >= 0; pc--) {
        const qf_instr *g = &c->code[pc];
        if (g->op == QF_BARRIER || g->op == QF_ID || (g->op == QF_END && pc == c->n - 1)) continue;
        if (g->op == QF_MEASURE) {
            int32_t q = p->touched[c->operands[g->q]] - 1;
            const int waits = in_tail || (!p->jumps && !p->early && !busy[q] && written[g->c] != ON_THE_WAY);
            if (waits) final[pc] = written[g->c] ? SV_FINAL_DEAD : SV_FINAL; /* a later one into the same bit decides */
            count += final[pc] == SV_FINAL;
            written[g->c] = waits ? AT_THE_END : ON_THE_WAY;
            p->branches |= !waits;
            continue;
        }
        in_tail = 0;
        if (g->op == QF_RESET || g->op == QF_NOISE) p->branches = 1;
        for (int32_t j = 0; (g->op <= QF_RESET || g->op == QF_NOISE) && j < g->nq; j++) busy[p->touched[c->operands[g->q + j]] - 1] = 1;
    }
    free(busy);
    p->leaf_qubit = malloc(sizeof(int32_t) * (size_t)(count + 1));
    p->leaf_bit = malloc(sizeof(int32_t) * (size_t)(count + 1));
    p->leaf_pc = malloc(sizeof(int32_t) * (size_t)(count + 1));
    if (!p->leaf_qubit || !p->leaf_bit || !p->leaf_pc) return SV_MEMORY;
    for (int64_t pc = 0; pc < c->n; pc++)
        if (final[pc] == SV_FINAL) {
            p->leaf_pc[p->num_leaf] = (int32_t)pc;
            p->misreads |= (c->code[pc].flags & QF_MISREADS) != 0;
            p->leaf_qubit[p->num_leaf] = p->touched[c->operands[c->code[pc].q]] - 1;
            p->leaf_bit[p->num_leaf++] = c->code[pc].c;
        }
    return SV_OK;
}

#endif

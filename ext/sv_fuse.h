/* The planner: walks the code once, keeps a pending 2x2 matrix per qubit and, for larger states, open blocks of two qubits, and
 * emits what costs least. A qubit belongs to at most one open block, and a block is emitted before a later gate on one of its qubits
 * outside of it, so the order of gates on every qubit is kept.
 */
#ifndef QFAST_SV_FUSE_H
#define QFAST_SV_FUSE_H
#include "sv_live.h"

#define SV_BLOCK_ITEMS 12
#define SV_OPEN_BLOCKS 64
#define SV_FUSE2_QUBITS 9 /* below, a pass over the state costs less than the product of two 4x4 matrices */

typedef struct {
    int32_t q[2];
    int32_t count;
    int32_t last1[2]; /* the item that a one-qubit gate on q[.] may be multiplied into, or -1 */
    sv_item item[SV_BLOCK_ITEMS];
} sv_block;

typedef struct {
    sv_plan *plan;
    double (*pending)[8]; /* per touched qubit; valid where has[q] */
    uint8_t *has;
    int32_t *dirty; /* qubits that got a pending matrix since the last flush, with room for each once */
    uint8_t *listed;
    int64_t num_dirty;
    int8_t *block_of; /* index of the open block, or -1 */
    sv_block *block[SV_OPEN_BLOCKS];
    uint8_t open[SV_OPEN_BLOCKS];
    int fuse2;
    int failed; /* memory is out */
} sv_fuser;

static inline void sv_fuser_emit(sv_fuser *f, const sv_item *item) {
    if (!sv_emit(f->plan, item)) f->failed = 1;
}

/* Emits a one-qubit gate as what it is: phase, flip and phase, or matrix. The first entry of a phase is global. */
static inline void sv_emit_matrix2(sv_fuser *f, int32_t q, const double *m) {
    const int diagonal = m[2] == 0 && m[3] == 0 && m[4] == 0 && m[5] == 0, anti = m[0] == 0 && m[1] == 0 && m[6] == 0 && m[7] == 0;
    sv_item item = {.t = {q, -1}};
    if (!diagonal && !anti) {
        item.kind = SV_MAT1;
        item.real = (uint8_t)sv_is_real(m, 4);
        memcpy(item.m, m, 8 * sizeof *m);
        sv_fuser_emit(f, &item);
        return;
    }
    sv_complex zero = diagonal ? (sv_complex){m[0], m[1]} : (sv_complex){m[2], m[3]};
    sv_complex one = diagonal ? (sv_complex){m[6], m[7]} : (sv_complex){m[4], m[5]};
    if (anti) {
        item.kind = SV_FLIP;
        item.real = 1;
        sv_fuser_emit(f, &item);
    }
    sv_complex ratio = sv_over(one, zero);
    f->plan->global = sv_times(f->plan->global, zero);
    if (ratio.re == 1 && ratio.im == 0) return;
    sv_item none = {.nctrl = 0};
    sv_require(sv_new_phase(&item, &none, ratio), q, 1);
    sv_fuser_emit(f, &item);
}

/* As for an emitted item, but the 4x4 matrix of an item on the two qubits of a block. */
static inline void sv_item_matrix4(const sv_item *item, const int32_t *q, double *m) {
    const int s0 = item->t[0] == q[1], s1 = !s0; /* row bits of the targets */
    memset(m, 0, 32 * sizeof *m);
    for (int col = 0; col < 4; col++) {
        int on = 1;
        for (int j = 0; j < item->nctrl; j++)
            on &= ((col >> ((int32_t)(item->ctrl[j] >> 1) == q[1])) & 1) == (int)(item->ctrl[j] & 1);
        if (!on) {
            sv_put(m, 4, col, col, 1, 0);
            continue;
        }
        const int x = (col >> s0) & 1, y = (col >> s1) & 1;
        switch (item->kind) {
        case SV_PHASE: sv_put(m, 4, col, col, item->m[0], item->m[1]); break;
        case SV_FLIP: sv_put(m, 4, col ^ (1 << s0), col, 1, 0); break;
        case SV_SWAP: sv_put(m, 4, (y << s0) | (x << s1), col, 1, 0); break;
        case SV_MAT1:
            for (int r = 0; r < 2; r++)
                sv_put(m, 4, (col & ~(1 << s0)) | (r << s0), col, item->m[2 * (2 * r + x)], item->m[2 * (2 * r + x) + 1]);
            break;
        default: /* SV_MAT2 */
            for (int r = 0; r < 4; r++) {
                const double *e = item->m + 2 * (4 * r + (x | (y << 1)));
                sv_put(m, 4, ((r & 1) << s0) | ((r >> 1) << s1), col, e[0], e[1]);
            }
        }
    }
}

static inline int sv_targets(const sv_item *item) {
    return item->kind == SV_PHASE ? 0 : item->kind == SV_SWAP || item->kind == SV_MAT2 ? 2 : 1;
}

/* Time per amplitude of the whole state, a dense complex 2x2 gate being 1 (measured in cache). */
static inline double sv_cost(const sv_item *item) {
    static const double matrix[2] = {1.0, 0.7}, matrix2[2] = {2.0, 1.1};
    switch (item->kind) {
    case SV_PHASE: return item->nctrl == 1 ? 0.4 : 0.25;
    case SV_FLIP: return item->nctrl ? 0.35 : 0.5;
    case SV_SWAP: return 0.3;
    case SV_MAT1: {
        const double *m = item->m;
        if (m[2] == 0 && m[3] == 0 && m[4] == 0 && m[5] == 0) return 0.4;
        if (m[0] == 0 && m[1] == 0 && m[6] == 0 && m[7] == 0) return 0.6;
        return matrix[item->real] * (item->nctrl ? 0.6 : 1);
    }
    default: return matrix2[item->real];
    }
}

/* m = (the item's matrix) m. One-qubit gates, and whatever only permutes or scales rows, need no product of matrices. */
static inline void sv_item_times(const sv_item *item, const int32_t *q, double *m) {
    double g[32], product[32];
    if (item->kind == SV_MAT1 && item->nctrl == 0) {
        const int bit = item->t[0] == q[1] ? 2 : 1;
        const double *u = item->m;
        for (int r = 0; r < 4; r++) {
            if (r & bit) continue;
            double *x = m + 8 * r, *y = m + 8 * (r | bit);
            for (int c = 0; c < 8; c += 2) {
                const double xr = x[c], xi = x[c + 1], yr = y[c], yi = y[c + 1];
                x[c] = (u[0] * xr - u[1] * xi) + (u[2] * yr - u[3] * yi);
                x[c + 1] = (u[0] * xi + u[1] * xr) + (u[2] * yi + u[3] * yr);
                y[c] = (u[4] * xr - u[5] * xi) + (u[6] * yr - u[7] * yi);
                y[c + 1] = (u[4] * xi + u[5] * xr) + (u[6] * yi + u[7] * yr);
            }
        }
        return;
    }
    if (item->kind == SV_FLIP && item->nctrl == 1) {
        const int bit = item->t[0] == q[1] ? 2 : 1, on = item->ctrl[0] & 1 ? 3 - bit : 0;
        memcpy(g, m + 8 * on, 8 * sizeof *m);
        memcpy(m + 8 * on, m + 8 * (on | bit), 8 * sizeof *m);
        memcpy(m + 8 * (on | bit), g, 8 * sizeof *m);
        return;
    }
    if (item->kind == SV_PHASE && item->nctrl == 2) {
        int row = 0;
        for (int j = 0; j < 2; j++) row |= (int)(item->ctrl[j] & 1) << ((int32_t)(item->ctrl[j] >> 1) == q[1]);
        for (int c = 8 * row; c < 8 * row + 8; c += 2) {
            const double re = m[c], im = m[c + 1];
            m[c] = item->m[0] * re - item->m[1] * im;
            m[c + 1] = item->m[0] * im + item->m[1] * re;
        }
        return;
    }
    sv_item_matrix4(item, q, g);
    sv_matmul(product, g, m, 4);
    memcpy(m, product, sizeof product);
}

static inline void sv_block_matrix(const sv_block *b, double *m) {
    sv_item_matrix4(&b->item[0], b->q, m);
    for (int32_t j = 1; j < b->count; j++) sv_item_times(&b->item[j], b->q, m);
}

static inline void sv_emit_block(sv_fuser *f, const sv_block *b) {
    double cost = 0;
    sv_item whole = {.kind = SV_MAT2, .t = {b->q[0], b->q[1]}};
    for (int32_t j = 0; j < b->count; j++) cost += sv_cost(&b->item[j]);
    if (cost > 1.1) { /* a real block costs at least that */
        sv_block_matrix(b, whole.m);
        whole.real = (uint8_t)sv_is_real(whole.m, 16);
        if (cost > sv_cost(&whole)) {
            sv_fuser_emit(f, &whole);
            return;
        }
    }
    for (int32_t j = 0; j < b->count; j++) {
        if (b->item[j].kind == SV_MAT1 && b->item[j].nctrl == 0)
            sv_emit_matrix2(f, b->item[j].t[0], b->item[j].m);
        else
            sv_fuser_emit(f, &b->item[j]);
    }
}

static inline void sv_close_block(sv_fuser *f, int index) {
    sv_block *b = f->block[index];
    sv_emit_block(f, b);
    f->open[index] = 0;
    f->block_of[b->q[0]] = f->block_of[b->q[1]] = -1;
}

static inline void sv_flush_qubit(sv_fuser *f, int32_t q) {
    if (f->block_of[q] >= 0) sv_close_block(f, f->block_of[q]);
    if (f->has[q]) sv_emit_matrix2(f, q, f->pending[q]);
    f->has[q] = 0;
}

static inline void sv_flush_all(sv_fuser *f) {
    for (int j = 0; j < SV_OPEN_BLOCKS && f->fuse2; j++)
        if (f->open[j]) sv_close_block(f, j);
    for (int64_t j = 0; j < f->num_dirty; j++) {
        sv_flush_qubit(f, f->dirty[j]);
        f->listed[f->dirty[j]] = 0;
    }
    f->num_dirty = 0;
}

static inline void sv_block_add(sv_block *b, const sv_item *item) {
    const int one = sv_targets(item) == 1 && item->nctrl == 0, s = item->t[0] == b->q[1];
    if (one && b->last1[s] >= 0) {
        double product[8], *m = b->item[b->last1[s]].m;
        sv_matmul(product, item->m, m, 2);
        memcpy(m, product, sizeof product);
        b->item[b->last1[s]].real = (uint8_t)sv_is_real(m, 4);
        return;
    }
    if (b->count == SV_BLOCK_ITEMS) { /* dense it is */
        sv_item whole = {.kind = SV_MAT2, .t = {b->q[0], b->q[1]}};
        sv_block_matrix(b, whole.m);
        whole.real = (uint8_t)sv_is_real(whole.m, 16);
        b->item[0] = whole;
        b->count = 1;
        b->last1[0] = b->last1[1] = -1;
    }
    if (one) b->last1[s] = b->count;
    else b->last1[0] = b->last1[1] = -1;
    b->item[b->count++] = *item;
}

/* A one-qubit gate, always as a matrix. */
static inline void sv_put1(sv_fuser *f, int32_t q, const double *m) {
    if (f->block_of[q] >= 0) {
        sv_item item = {.kind = SV_MAT1, .t = {q, -1}};
        memcpy(item.m, m, 8 * sizeof *m);
        item.real = (uint8_t)sv_is_real(m, 4);
        sv_block_add(f->block[f->block_of[q]], &item);
        return;
    }
    if (f->has[q]) {
        double product[8];
        sv_matmul(product, m, f->pending[q], 2);
        memcpy(f->pending[q], product, sizeof product);
        return;
    }
    memcpy(f->pending[q], m, 8 * sizeof *m);
    f->has[q] = 1;
    if (!f->listed[q]) {
        f->listed[q] = 1;
        f->dirty[f->num_dirty++] = q;
    }
}

/* Opens a block on two qubits and takes over their pending gates; -1 when there is no room for another. */
static inline int sv_open_block(sv_fuser *f, int32_t a, int32_t b) {
    int index = 0;
    if (f->block_of[a] >= 0) sv_close_block(f, f->block_of[a]);
    if (f->block_of[b] >= 0) sv_close_block(f, f->block_of[b]);
    while (index < SV_OPEN_BLOCKS && f->open[index]) index++;
    if (index == SV_OPEN_BLOCKS) return -1;
    if (!f->block[index] && !(f->block[index] = malloc(sizeof(sv_block)))) {
        f->failed = 1;
        return -1;
    }
    sv_block *block = f->block[index];
    block->q[0] = a;
    block->q[1] = b;
    block->count = 0;
    block->last1[0] = block->last1[1] = -1;
    f->open[index] = 1;
    f->block_of[a] = f->block_of[b] = (int8_t)index;
    for (int s = 0; s < 2; s++)
        if (f->has[block->q[s]]) {
            f->has[block->q[s]] = 0;
            sv_put1(f, block->q[s], f->pending[block->q[s]]);
        }
    return index;
}

static inline int sv_pending_mixes(const sv_fuser *f, int32_t q) {
    const double *m = f->pending[q];
    return f->has[q] && !(m[2] == 0 && m[3] == 0 && m[4] == 0 && m[5] == 0);
}

static inline void sv_put_item(sv_fuser *f, const sv_item *item) {
    const int targets = sv_targets(item), all = item->nctrl + targets;
    int32_t q[SV_MAX_CONTROLS + 2] = {0};
    for (int j = 0; j < item->nctrl; j++) q[j] = (int32_t)(item->ctrl[j] >> 1);
    for (int j = 0; j < targets; j++) q[item->nctrl + j] = item->t[j];
    if (all == 1) {
        static const double flip[8] = {0, 0, 1, 0, 1, 0, 0, 0};
        double m[8] = {1, 0, 0, 0, 0, 0, 1, 0};
        if (item->kind == SV_PHASE) memcpy(m + 6 * (item->ctrl[0] & 1), item->m, 2 * sizeof *m);
        sv_put1(f, q[0], item->kind == SV_PHASE ? m : item->kind == SV_FLIP ? flip : item->m);
        return;
    }
    const int together = all == 2 && f->block_of[q[0]] >= 0 && f->block_of[q[0]] == f->block_of[q[1]];
    const int lone = all == 2 && item->kind == SV_PHASE && !sv_pending_mixes(f, q[0]) && !sv_pending_mixes(f, q[1]);
    /* A bare swap only renames, and a phase with nothing to fuse with is better off beside other phases. */
    if (all == 2 && f->fuse2 && item->kind != SV_SWAP && (together || !lone)) {
        int index = f->block_of[q[0]];
        if (!together) index = sv_open_block(f, q[0], q[1]);
        if (index >= 0) {
            sv_block_add(f->block[index], item);
            return;
        }
    }
    for (int j = 0; j < all; j++) {
        if (f->block_of[q[j]] >= 0) sv_close_block(f, f->block_of[q[j]]);
        if (item->kind != SV_PHASE || sv_pending_mixes(f, q[j])) sv_flush_qubit(f, q[j]);
    }
    sv_fuser_emit(f, item);
}

static inline void sv_fuser_free(sv_fuser *f) {
    free(f->pending);
    free(f->has);
    free(f->dirty);
    for (int j = 0; j < SV_OPEN_BLOCKS; j++) free(f->block[j]);
}

static inline int sv_fuser_init(sv_fuser *f, sv_plan *p) {
    const size_t n = (size_t)p->num_touched + 1;
    memset(f, 0, sizeof *f);
    f->plan = p;
    f->fuse2 = p->num_touched >= SV_FUSE2_QUBITS;
    f->pending = malloc(n * sizeof *f->pending);
    f->has = malloc(3 * n);
    f->dirty = malloc(n * sizeof *f->dirty);
    if (!f->pending || !f->has || !f->dirty) return 0;
    f->listed = f->has + n;
    f->block_of = (int8_t *)(f->listed + n);
    memset(f->has, 0, 2 * n);
    memset(f->block_of, -1, n);
    return 1;
}

static inline void sv_put_gate(sv_fuser *f, const sv_circuit *c, const qf_instr *g) {
    int32_t q[SV_MAX_CONTROLS];
    sv_item item[4];
    for (int32_t j = 0; j < g->nq; j++) q[j] = f->plan->touched[c->operands[g->q + j]] - 1;
    if (g->nctrl == 0 && g->nq == 1) { /* the common case, without the detour over items */
        double m[8];
        if (g->op != QF_ID && sv_matrix2(m, g->op, c->params + g->p)) sv_put1(f, q[0], m);
        return;
    }
    int n = sv_lower(g, q, c->params + g->p, item, &f->plan->global);
    for (int j = 0; j < n; j++) sv_put_item(f, &item[j]);
}

/* A site: what waits on its qubits comes first. Amplitude damping weakens the 1 of whatever does not jump. */
static inline int sv_put_site(sv_fuser *f, const sv_circuit *c, const qf_instr *g, int32_t pc) {
    sv_item item = {.kind = SV_NOISE, .t = {-1, -1}};
    const double *p = c->params + g->p;
    const int32_t q = f->plan->touched[c->operands[g->q]] - 1;
    item.m[0] = -log1p(-sv_site_probability(g, p));
    for (int32_t j = 0; j < g->nq; j++) sv_flush_qubit(f, f->plan->touched[c->operands[g->q + j]] - 1);
    if (!sv_emit(f->plan, &item)) return 0;
    f->plan->ops[f->plan->num_ops - 1].pc = pc;
    if (g->c != QF_DAMP) return 1;
    /* Not unitary: unlike pending gates it changes what other qubits' probabilities are, so it cannot wait. */
    sv_item weaken = {.t = {-1, -1}};
    const sv_item none = {.nctrl = 0};
    sv_require(sv_new_phase(&weaken, &none, (sv_complex){sqrt(1 - p[0]), 0}), q, 1);
    return sv_emit(f->plan, &weaken);
}

/* A gate whose parameters are known only when it runs may do whatever its kind can. */
static inline void sv_note_dynamic(sv_plan *p, const sv_circuit *c, const qf_instr *g) {
    if (g->op == QF_RZ || g->op == QF_P || g->op == QF_RZZ || g->op == QF_GPHASE) return;
    for (int32_t j = g->nctrl; j < g->nq; j++) p->may_superpose[p->touched[c->operands[g->q + j]] - 1] = 1;
}

static inline int sv_walk(sv_plan *p, const sv_circuit *c, const uint8_t *final, const uint8_t *target) {
    sv_fuser f;
    int64_t leaf = 0, tail = c->n;
    int ok = sv_fuser_init(&f, p), cancelled = 0;
    if (p->jumps) /* where the final measurements begin */
        while (tail > 0 && (final[tail - 1] || c->code[tail - 1].op == QF_BARRIER || (c->code[tail - 1].op == QF_END && tail == c->n)))
            tail--;
    for (int64_t pc = 0; ok && !f.failed && pc <= c->n; pc++) {
        const qf_instr *g = &c->code[pc];
        if ((pc & 0xfff) == 0xfff && p->cancel && *p->cancel) {
            cancelled = 1;
            break;
        }
        if (pc == c->n || (p->jumps && (target[pc] || pc == tail))) {
            sv_flush_all(&f);
            if (p->entry) p->entry[pc] = (int32_t)p->num_ops;
            p->fence = p->num_ops;
            if (pc >= tail) ok = sv_emit_step(p, SV_LEAF, p->jumps ? (int32_t)leaf : 0);
        }
        if (pc == c->n) break;
        if (final[pc] == SV_FINAL) leaf++;
        if (pc >= tail || final[pc] || g->op == QF_BARRIER) continue;
        if (qf_is_gate(g->op) && !(g->flags & QF_POPS_PARAMS)) {
            sv_put_gate(&f, c, g);
            continue;
        }
        if (g->op == QF_END && !p->jumps) continue; /* the last instruction */
        if (g->op == QF_NOISE) {
            ok = sv_put_site(&f, c, g, (int32_t)pc);
            continue;
        }
        sv_flush_all(&f);
        if (qf_is_gate(g->op)) sv_note_dynamic(p, c, g);
        ok = sv_emit_step(p, g->op == QF_MEASURE ? SV_MEASURE : g->op == QF_RESET ? SV_RESET : qf_is_gate(g->op) ? SV_DYNAMIC : SV_CLASSIC,
                          (int32_t)pc);
        if (ok && g->op == QF_MEASURE && g->flags & QF_MISREADS) ok = sv_emit_step(p, SV_READ, (int32_t)pc);
    }
    ok = ok && !f.failed;
    sv_fuser_free(&f);
    return cancelled ? SV_CANCELLED : ok ? SV_OK : SV_MEMORY;
}

static inline int sv_plan_try(sv_plan *p, const sv_circuit *c, int whole, int early, const volatile unsigned char *cancel) {
    memset(p, 0, sizeof *p);
    p->cancel = cancel;
    p->global.re = 1;
    p->early = (uint8_t)early;
    int result = sv_check(p, c);
    if (result == SV_OK) result = sv_number_qubits(p, c);
    if (result != SV_OK) return result;
    uint8_t *final = calloc(2 * ((size_t)c->n + 1), 1), *target = final + c->n + 1;
    int noisy = 0;
    if (!final) return SV_MEMORY;
    for (int64_t pc = 0; pc < c->n; pc++) {
        const qf_instr *g = &c->code[pc];
        if (g->op >= QF_JUMP && !(g->op == QF_END && pc == c->n - 1)) p->jumps = 1;
        if (g->op == QF_JUMP || g->op == QF_JUMPZ) target[g->c] = 1;
        if (g->op == QF_NOISE) noisy = 1;
    }
    if (p->jumps && !(p->entry = malloc(sizeof(int32_t) * ((size_t)c->n + 1)))) result = SV_MEMORY;
    if (result == SV_OK) result = sv_find_final(p, c, final);
    if (result == SV_OK && !whole && !p->jumps && !noisy) result = sv_find_unseen(p, c, final);
    if (result == SV_OK) result = sv_walk(p, c, final, target);
    free(final);
    for (int32_t q = 0; q < p->num_touched; q++) p->capacity += p->may_superpose[q];
    return result;
}

/* Checks the circuit and makes the plan for a state of at most max_bytes, `bytes` an amplitude, measuring early where that may save it;
 * `whole`: for the state itself, so that gates which no measurement sees count, too. sv_plan_free releases it in any case. */
static inline int sv_plan_make(sv_plan *p, const sv_circuit *c, int whole, int bytes, uint64_t max_bytes,
                               const volatile unsigned char *cancel) {
    int result = sv_plan_try(p, c, whole, 0, cancel);
    if (result == SV_OK && !p->jumps && !sv_state_fits(p->capacity, bytes, max_bytes)) {
        sv_plan_free(p);
        result = sv_plan_try(p, c, whole, 1, cancel);
    }
    return result;
}

#endif

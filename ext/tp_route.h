/* Exchanges qubits where the gates of a program need neighbours.
 *
 * The exchanges are chosen as in SABRE (Li, Ding, Xie, "Tackling the qubit mapping problem for NISQ-era quantum devices",
 * ASPLOS 2019): by the distance of the gates that wait and of those behind them, with a decay that spreads the exchanges; a
 * first placement is refined by passes forwards and backwards over the program. An exchange beside a gate of the same pair
 * merges with it and costs one cx instead of three, so it is preferred.
 */
#ifndef QFAST_TP_ROUTE_H
#define QFAST_TP_ROUTE_H
#include "tp_map.h"
#include "tp_order.h"

#define TP_DECAY 0.001
#define TP_ALONE 3  /* cx that an exchange costs */
#define TP_MERGED 1 /* and beside a gate of the same pair */
#define TP_STUCK 10 /* exchanges per waiting gate and place without a gate done: then the nearest pair is brought together */
#define TP_MOST_AHEAD 64
#define TP_OPEN 6 /* meetings at a place that are remembered */

/* How far a pass looks ahead, how much that counts, and what an exchange that merges is worth, in steps of a waiting gate. */
typedef struct {
    int ahead;
    double weight, bonus;
} tp_taste;

/* What a pass did: an operation (op >= 0), an exchange of two places, the end of segment a, or an exchange without a gate. */
enum { TP_DID_SWAP = -1, TP_DID_BORDER = -2, TP_DID_DECREE = -3 };
typedef struct {
    int32_t op, a, b;
} tp_event;

/* Placements as a tree: each is its parent's after one exchange. With jumps, every way into a block must find the same one. */
typedef struct {
    int32_t parent, a, b, depth;
} tp_layout;

typedef struct {
    const tp_order *order;
    const tp_map *map;
    const tp_steps *steps;
    const qf_instr *source;
    tp_watch *watch;
    int32_t n; /* qubits of the program */
    int relabel; /* the program's own exchanges only change the placement */
    int jumps;
    tp_taste taste;
    qf_rng rng;
    int32_t *where, *who; /* place of a qubit, qubit at a place (-1: none) */
    int32_t *needs;
    int32_t *waits;       /* per qubit: first of its waiting pairs in fronts, or -1 */
    struct tp_front { int32_t other, next; } *fronts; /* two for each operation of the front */
    int32_t *waiting, num_waiting; /* qubits with waiting pairs */
    struct tp_met_at { int64_t pair[TP_OPEN]; } *met; /* per place: pairs that met there and that a new one can still reach,
                                                         the last one first; an even number for an exchange, 0 for none */
    double *decay;        /* per qubit; qubit n: an empty place */
    int32_t *worn, num_worn;
    int32_t *front, num_front, *ready, num_ready;
    int32_t *seen, stamp; /* per operation */
    int32_t *queue;
    int32_t *link;        /* per qubit: first of its pairs ahead, or -1 */
    struct { int32_t other, next; } links[2 * TP_MOST_AHEAD];
    int32_t linked[2 * TP_MOST_AHEAD], num_linked, num_ahead;
    tp_event *events;
    int64_t num_events, event_room;
    int record;
    tp_layout *layouts;
    int64_t num_layouts, layout_room;
    int32_t layout;
    int32_t *layout_at; /* per source record: the placement that its label expects, or -1 */
    int64_t cost, swaps, meetings;
    int failed;
} tp_router;

static inline int tp_router_init(tp_router *r, int64_t num_records) {
    const size_t n = (size_t)r->n + 1, places = (size_t)r->map->n + 1, ops = (size_t)r->order->num_ops + 1;
    r->where = malloc(n * sizeof(int32_t));
    r->who = malloc(places * sizeof(int32_t));
    r->needs = malloc(ops * sizeof(int32_t));
    r->waits = malloc(n * sizeof(int32_t));
    r->fronts = malloc(2 * ops * sizeof(struct tp_front));
    r->waiting = malloc(n * sizeof(int32_t));
    r->met = malloc(places * sizeof(struct tp_met_at));
    r->decay = malloc(n * sizeof(double));
    r->worn = malloc(n * sizeof(int32_t));
    r->front = malloc(ops * sizeof(int32_t));
    r->ready = malloc(ops * sizeof(int32_t));
    r->queue = malloc(ops * sizeof(int32_t));
    r->seen = calloc(ops, sizeof(int32_t));
    r->link = malloc(n * sizeof(int32_t));
    r->layout_at = r->jumps ? malloc(((size_t)num_records + 1) * sizeof(int32_t)) : NULL;
    return r->where && r->who && r->needs && r->waits && r->fronts && r->waiting && r->met && r->decay && r->worn && r->front && r->ready && r->queue &&
           r->seen && r->link && (r->layout_at || !r->jumps);
}

static inline void tp_router_free(tp_router *r) {
    void *const all[] = {r->where, r->who, r->needs, r->waits, r->fronts, r->waiting, r->met, r->decay, r->worn, r->front, r->ready, r->queue, r->seen,
                         r->link, r->layout_at, r->events, r->layouts};
    for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) free(all[k]);
}

static inline void tp_router_event(tp_router *r, int32_t op, int32_t a, int32_t b) {
    if (!r->record) return;
    if (tp_room((void **)&r->events, &r->event_room, r->num_events + 1, sizeof(tp_event)))
        r->events[r->num_events++] = (tp_event){op, a, b};
    else r->failed = TP_NO_MEMORY;
}

static inline void tp_router_turn(tp_router *r, int32_t a, int32_t b) {
    const int32_t qa = r->who[a], qb = r->who[b];
    r->who[a] = qb;
    r->who[b] = qa;
    if (qa >= 0) r->where[qa] = b;
    if (qb >= 0) r->where[qb] = a;
}

/* Whether a rotation (odd) or an exchange (even) of two places can still be reached there. */
static inline int tp_router_reaches(const tp_router *r, int32_t a, int32_t b, int odd) {
    for (int i = 0; i < TP_OPEN && r->met[a].pair[i]; i++)
        for (int j = 0; j < TP_OPEN && r->met[b].pair[j]; j++)
            if (r->met[a].pair[i] == r->met[b].pair[j] && (r->met[a].pair[i] & 1) == odd) return 1;
    return 0;
}

/* A meeting; an exchange lets nothing pass. */
static inline void tp_router_open(tp_router *r, int32_t at, int64_t pair) {
    struct tp_met_at *met = &r->met[at];
    if ((pair & 1) && r->order->loose) memmove(met->pair + 1, met->pair, (TP_OPEN - 1) * sizeof(int64_t));
    else memset(met->pair, 0, sizeof(met->pair));
    met->pair[0] = pair;
}

/* Exchange what stands on two neighbouring places. */
static inline void tp_router_exchange(tp_router *r, int32_t a, int32_t b, int keep) {
    r->cost += tp_router_reaches(r, a, b, 1) ? TP_MERGED : TP_ALONE;
    tp_router_open(r, a, 2 * r->meetings);
    tp_router_open(r, b, 2 * r->meetings++);
    r->swaps++;
    tp_router_turn(r, a, b);
    tp_router_event(r, TP_DID_SWAP, a, b);
    if (!keep || !r->jumps) return;
    if (tp_room((void **)&r->layouts, &r->layout_room, r->num_layouts + 1, sizeof(tp_layout))) {
        r->layouts[r->num_layouts] = (tp_layout){r->layout, a, b, r->layouts[r->layout].depth + 1};
        r->layout = (int32_t)r->num_layouts++;
    } else {
        r->failed = TP_NO_MEMORY;
    }
}

static inline int tp_router_near(const tp_router *r, const tp_op *op) {
    return op->b < 0 || (op->swaps && r->relabel) || tp_map_distance(r->map, r->where[op->a], r->where[op->b]) == 1;
}

/* Note who met last; a gate right behind an exchange of its pair merges with it. */
static inline void tp_router_meet(tp_router *r, const tp_op *op) {
    if (op->swaps && r->relabel) {
        tp_router_turn(r, r->where[op->a], r->where[op->b]);
        return;
    }
    const int32_t a = r->where[op->a];
    if (op->turns) { /* only what is right before it can still merge */
        memset(r->met[a].pair + 1, 0, (TP_OPEN - 1) * sizeof(int64_t));
        return;
    }
    if (op->b < 0) {
        memset(r->met[a].pair, 0, sizeof(r->met[a].pair));
        return;
    }
    const int32_t b = r->where[op->b];
    if (tp_router_reaches(r, a, b, 0)) r->cost--;
    tp_router_open(r, a, 2 * r->meetings + 1);
    tp_router_open(r, b, 2 * r->meetings++ + 1);
}

/* The pairs that come next behind the front. */
static inline void tp_router_look(tp_router *r, int backward) {
    const tp_order *o = r->order;
    int32_t head = 0, tail = 0, looked = 0;
    for (int32_t k = 0; k < r->num_linked; k++) r->link[r->linked[k]] = -1;
    r->num_linked = r->num_ahead = 0;
    r->stamp++;
    for (int32_t k = 0; k < r->num_front; k++) {
        r->queue[tail++] = r->front[k];
        r->seen[r->front[k]] = r->stamp;
    }
    while (head < tail && r->num_ahead < r->taste.ahead && looked++ < 20 * r->taste.ahead) {
        const tp_op *from = &o->ops[r->queue[head++]];
        const tp_edge *edges = backward ? o->before : o->behind;
        for (int32_t e = backward ? from->before : from->behind; e >= 0 && r->num_ahead < r->taste.ahead; e = edges[e].next) {
            const int32_t k = edges[e].to;
            if (r->seen[k] == r->stamp) continue;
            r->seen[k] = r->stamp;
            r->queue[tail++] = k;
            const int32_t pair[2] = {o->ops[k].a, o->ops[k].b};
            if (pair[1] < 0 || (r->relabel && o->ops[k].swaps)) continue;
            for (int side = 0; side < 2; side++) {
                const int32_t entry = 2 * r->num_ahead + side;
                if (r->link[pair[side]] < 0) r->linked[r->num_linked++] = pair[side];
                r->links[entry].other = pair[!side];
                r->links[entry].next = r->link[pair[side]];
                r->link[pair[side]] = entry;
            }
            r->num_ahead++;
        }
    }
}

/* Who waits for whom in the front. */
static inline void tp_router_line_up(tp_router *r) {
    for (int32_t k = 0; k < r->num_waiting; k++) r->waits[r->waiting[k]] = -1;
    r->num_waiting = 0;
    for (int32_t k = 0; k < r->num_front; k++) {
        const int32_t pair[2] = {r->order->ops[r->front[k]].a, r->order->ops[r->front[k]].b};
        for (int side = 0; side < 2; side++) {
            if (r->waits[pair[side]] < 0) r->waiting[r->num_waiting++] = pair[side];
            r->fronts[2 * k + side] = (struct tp_front){pair[!side], r->waits[pair[side]]};
            r->waits[pair[side]] = 2 * k + side;
        }
    }
}

/* How the sum of distances changes for the pairs of a qubit that moves, but for the one with `except`. */
static inline double tp_router_change(const tp_router *r, int32_t q, int32_t except, int32_t from, int32_t to, double near_weight,
                                      double far_weight) {
    const uint16_t *before = r->map->distance + (size_t)from * (size_t)r->map->n;
    const uint16_t *after = r->map->distance + (size_t)to * (size_t)r->map->n;
    int near = 0, far = 0;
    for (int32_t e = r->waits[q]; e >= 0; e = r->fronts[e].next) {
        if (r->fronts[e].other == except) continue;
        const int32_t at = r->where[r->fronts[e].other];
        near += after[at] - before[at];
    }
    for (int32_t e = r->link[q]; e >= 0; e = r->links[e].next) {
        if (r->links[e].other == except) continue;
        const int32_t at = r->where[r->links[e].other];
        far += after[at] - before[at];
    }
    return near_weight * near + far_weight * far;
}

/* The exchange with the least score. */
static inline void tp_router_best(tp_router *r, int32_t *best_a, int32_t *best_b) {
    const double near_weight = 1.0 / r->num_front, far_weight = r->num_ahead ? r->taste.weight / r->num_ahead : 0;
    double now = 0, least = HUGE_VAL;
    int32_t ties = 1;
    for (int32_t k = 0; k < r->num_front; k++)
        now += near_weight * tp_map_distance(r->map, r->where[r->fronts[2 * k].other], r->where[r->fronts[2 * k + 1].other]);
    for (int32_t k = 0; k < r->num_ahead; k++)
        now += far_weight * tp_map_distance(r->map, r->where[r->links[2 * k + 1].other], r->where[r->links[2 * k].other]);
    for (int32_t k = 0; k < r->num_waiting; k++) {
        const int32_t q = r->waiting[k], home = r->where[q];
        for (int64_t j = r->map->start[home]; j < r->map->start[home + 1]; j++) {
            const int32_t place = r->map->near[j], other = r->who[place];
            if (other >= 0 && r->waits[other] >= 0 && other < q) continue; /* comes, or came, from the other side */
            double score = now + tp_router_change(r, q, other, home, place, near_weight, far_weight);
            if (other >= 0) score += tp_router_change(r, other, q, place, home, near_weight, far_weight);
            if (tp_router_reaches(r, home, place, 1)) score -= r->taste.bonus * near_weight;
            score *= other >= 0 && r->decay[other] > r->decay[q] ? r->decay[other] : r->decay[q];
            if (score < least - 1e-12) {
                least = score, ties = 1, *best_a = home, *best_b = place;
            } else if (score < least + 1e-12 && qf_rng_next(&r->rng) % (uint64_t)++ties == 0) {
                *best_a = home, *best_b = place;
            }
        }
    }
}

static inline void tp_router_wear(tp_router *r, int32_t q) {
    if (q < 0) return;
    if (r->decay[q] == 1) r->worn[r->num_worn++] = q;
    r->decay[q] += TP_DECAY;
}

static inline void tp_router_rest(tp_router *r) {
    for (int32_t k = 0; k < r->num_worn; k++) r->decay[r->worn[k]] = 1;
    r->num_worn = 0;
}

/* Walk one qubit to the other on a shortest way. */
static inline void tp_router_bring(tp_router *r, int32_t x, int32_t y) {
    while (tp_map_distance(r->map, r->where[x], r->where[y]) > 1) {
        const int32_t home = r->where[x], goal = r->where[y];
        for (int64_t j = r->map->start[home]; j < r->map->start[home + 1]; j++)
            if (tp_map_distance(r->map, r->map->near[j], goal) < tp_map_distance(r->map, home, goal)) {
                tp_router_exchange(r, home, r->map->near[j], 1);
                break;
            }
    }
}

/* All operations of a segment. */
static inline int tp_router_segment(tp_router *r, const tp_segment *segment, int backward) {
    const tp_order *o = r->order;
    int64_t since = 0;
    int fresh = 1;
    r->num_front = r->num_ready = 0;
    for (int32_t k = segment->first; k < segment->last; k++) {
        const int32_t at = backward ? segment->last - 1 - (k - segment->first) : k;
        r->needs[at] = backward ? o->ops[at].needed_by : o->ops[at].needs;
        if (!r->needs[at]) r->ready[r->num_ready++] = at;
    }
    for (;;) {
        int done = 0;
        while (r->num_ready) {
            const int32_t k = r->ready[--r->num_ready];
            const tp_op *op = &o->ops[k];
            if (!tp_router_near(r, op)) {
                r->front[r->num_front++] = k;
                continue;
            }
            done = 1;
            tp_router_meet(r, op);
            tp_router_event(r, k, 0, 0);
            const tp_edge *edges = backward ? o->before : o->behind;
            for (int32_t e = backward ? op->before : op->behind; e >= 0; e = edges[e].next)
                if (!--r->needs[edges[e].to]) r->ready[r->num_ready++] = edges[e].to;
        }
        if (!r->num_front || r->failed) return r->failed;
        if (tp_stop(r->watch)) return r->watch->status;
        if (done || fresh) {
            since = 0;
            tp_router_rest(r);
            tp_router_line_up(r);
            tp_router_look(r, backward);
            fresh = 0;
        }
        int32_t a = -1, b = -1;
        if (++since > TP_STUCK * (int64_t)r->map->n) {
            tp_router_bring(r, o->ops[r->front[0]].a, o->ops[r->front[0]].b);
            since = 0;
        } else {
            tp_router_best(r, &a, &b);
            tp_router_wear(r, r->who[a]);
            tp_router_wear(r, r->who[b]);
            tp_router_exchange(r, a, b, 1);
        }
        for (int32_t k = 0; k < r->num_front;) { /* who has come near leaves the front */
            const tp_op *op = &o->ops[r->front[k]];
            if (!tp_router_near(r, op)) {
                k++;
                continue;
            }
            r->ready[r->num_ready++] = r->front[k];
            r->front[k] = r->front[--r->num_front];
        }
    }
}

/* One exchange of the tree's: by a gate, or by decree where no code falls through to what follows. */
static inline void tp_router_along(tp_router *r, const tp_layout *l, int paid) {
    if (paid) {
        tp_router_exchange(r, l->a, l->b, 0);
    } else {
        tp_router_turn(r, l->a, l->b);
        tp_router_event(r, TP_DID_DECREE, l->a, l->b);
    }
}

/* From the placement that stands to another one of the tree, over the last one that both come from. */
static inline void tp_router_reach(tp_router *r, int32_t goal, int paid) {
    int32_t from = r->layout, to = goal;
    while (from != to) {
        if (r->layouts[from].depth >= r->layouts[to].depth) {
            tp_router_along(r, &r->layouts[from], paid);
            from = r->layouts[from].parent;
        } else {
            to = r->layouts[to].parent;
        }
    }
    const int32_t count = r->layouts[goal].depth - r->layouts[from].depth;
    int32_t *down = malloc((size_t)count * sizeof(int32_t) + 1);
    if (!down) {
        r->failed = TP_NO_MEMORY;
        return;
    }
    for (int32_t k = goal, at = count; k != from; k = r->layouts[k].parent) down[--at] = k;
    for (int32_t k = 0; k < count; k++) tp_router_along(r, &r->layouts[down[k]], paid);
    free(down);
    r->layout = goal;
}

/* The end of a segment in a program with jumps. `reached`: whether the code before falls through to it; gives whether it does
 * to the code behind. */
static inline int tp_router_border(tp_router *r, const tp_step *border, int reached) {
    int32_t *expected;
    if (border->kind == TP_LABEL) {
        expected = &r->layout_at[border->record];
        if (*expected < 0) *expected = r->layout;
        else tp_router_reach(r, *expected, reached);
        return 1;
    }
    const qf_instr *i = &r->source[border->record];
    if (i->op != QF_JUMP && i->op != QF_JUMPZ) return reached && i->op != QF_END;
    expected = &r->layout_at[i->c];
    if (*expected < 0) *expected = r->layout;
    else tp_router_reach(r, *expected, 1);
    return i->op != QF_JUMP;
}

/* One pass over the program from the placement that stands in where and who; the cost of its exchanges in r->cost. */
static inline int tp_router_pass(tp_router *r, int backward, int record, int64_t num_records) {
    int reached = 1;
    r->record = record;
    r->num_events = r->num_layouts = 0;
    r->cost = r->swaps = 0;
    r->meetings = 1;
    r->failed = TP_OK;
    r->num_worn = r->num_linked = r->num_ahead = r->num_waiting = 0;
    for (int32_t q = 0; q < r->n; q++) {
        r->waits[q] = r->link[q] = -1;
        r->decay[q] = 1;
    }
    memset(r->met, 0, (size_t)r->map->n * sizeof(*r->met));
    if (r->jumps) {
        for (int64_t k = 0; k <= num_records; k++) r->layout_at[k] = -1;
        if (!tp_room((void **)&r->layouts, &r->layout_room, 1, sizeof(tp_layout))) return TP_NO_MEMORY;
        r->layouts[0] = (tp_layout){-1, 0, 0, 0};
        r->num_layouts = 1;
        r->layout = 0;
    }
    for (int64_t k = 0; k < r->order->num_segments; k++) {
        const tp_segment *segment = &r->order->segments[backward ? r->order->num_segments - 1 - k : k];
        const int status = tp_router_segment(r, segment, backward);
        if (status != TP_OK) return status;
        if (backward || segment->border < 0) continue;
        if (r->jumps) reached = tp_router_border(r, &r->steps->items[segment->border], reached);
        tp_router_event(r, TP_DID_BORDER, (int32_t)k, 0);
    }
    return r->failed;
}

/* ---- the steps on the device's qubits ---- */

static inline void tp_routed_along(const tp_router *r, int32_t last, tp_steps *out, const int32_t *where, int32_t *scratch) {
    int64_t count = 0;
    for (int32_t k = last; k >= 0; k = r->order->earlier[k]) scratch[count++] = k;
    while (count) {
        const tp_step *step = &r->steps->items[scratch[--count]];
        tp_push_one(out, where[step->a], step->m);
    }
}

/* Repeat the events from a placement; where and who end as the pass left them. */
static inline int tp_routed(tp_router *r, const tp_event *events, int64_t num_events, tp_steps *out) {
    const tp_steps *in = r->steps;
    int32_t *scratch = malloc((size_t)in->size * sizeof(int32_t) + 1), *operands = malloc((size_t)in->num_operands * sizeof(int32_t) + 1);
    int status = scratch && operands ? TP_OK : TP_NO_MEMORY;
    tp_steps_clear(out);
    for (int64_t e = 0; status == TP_OK && e < num_events; e++) {
        const tp_event *event = &events[e];
        if (event->op == TP_DID_SWAP) {
            tp_push(out, TP_SWAP, event->a, event->b);
            tp_router_turn(r, event->a, event->b);
        } else if (event->op == TP_DID_DECREE) {
            tp_router_turn(r, event->a, event->b);
        } else if (event->op == TP_DID_BORDER) {
            const tp_segment *segment = &r->order->segments[event->a];
            tp_routed_along(r, segment->left, out, r->where, scratch);
            tp_copy_step(out, in, &in->items[segment->border]);
        } else {
            const tp_op *op = &r->order->ops[event->op];
            const tp_step *step = &in->items[op->step];
            tp_routed_along(r, op->along, out, r->where, scratch);
            if (op->swaps && r->relabel) {
                tp_router_turn(r, r->where[op->a], r->where[op->b]);
            } else if (step->count) {
                for (int32_t k = 0; k < step->count; k++) operands[k] = r->where[in->operands[step->at + k]];
                tp_push_wide(out, step->kind, step->record, operands, step->count);
            } else {
                tp_step *copy = tp_push(out, 0, 0, 0);
                *copy = *step;
                copy->a = r->where[step->a];
                if (op->b >= 0) copy->b = r->where[step->b];
            }
        }
    }
    const tp_segment *end = &r->order->segments[r->order->num_segments - 1];
    if (status == TP_OK && end->border < 0) tp_routed_along(r, end->left, out, r->where, scratch);
    free(scratch);
    free(operands);
    return status != TP_OK ? status : out->failed;
}

#endif

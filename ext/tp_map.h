/* A device's qubits: which are neighbours, how far they are from each other, and where a program finds room. */
#ifndef QFAST_TP_MAP_H
#define QFAST_TP_MAP_H
#include "rng.h"
#include "tp_steps.h"

#define TP_MOST_PLACES 8192 /* distances take two bytes a pair: 128 MiB */
#define TP_FAR UINT16_MAX
#define TP_SEARCH 20000 /* places tried in the search for a placement without exchanges */

typedef struct {
    int32_t n;
    int64_t *start;    /* n + 1; neighbours of a place, whatever the direction */
    int32_t *near;
    int64_t *out_start; /* n + 1; the seconds of pairs with this first */
    int32_t *out;
    uint16_t *distance; /* n x n */
    int32_t *part;      /* which connected part a place is in */
    int32_t *part_size;
} tp_map;

static inline void tp_map_free(tp_map *m) {
    free(m->start);
    free(m->near);
    free(m->out_start);
    free(m->out);
    free(m->distance);
    free(m->part);
    free(m->part_size);
    memset(m, 0, sizeof(*m));
}

/* Lists per place from pairs; both ways with `both`. */
static inline int tp_map_lists(const int32_t *pairs, int64_t num_pairs, int32_t n, int both, int64_t **start, int32_t **near) {
    *start = calloc((size_t)n + 2, sizeof(int64_t));
    *near = malloc((size_t)(both ? 2 : 1) * (size_t)num_pairs * sizeof(int32_t) + 1);
    if (!*start || !*near) return 0;
    int64_t *s = *start;
    for (int64_t k = 0; k < num_pairs; k++) {
        s[pairs[2 * k] + 2]++;
        if (both) s[pairs[2 * k + 1] + 2]++;
    }
    for (int32_t q = 0; q < n; q++) s[q + 2] += s[q + 1];
    for (int64_t k = 0; k < num_pairs; k++) {
        (*near)[s[pairs[2 * k] + 1]++] = pairs[2 * k + 1];
        if (both) (*near)[s[pairs[2 * k + 1] + 1]++] = pairs[2 * k];
    }
    if (!both) return 1;
    int64_t to = 0; /* a pair that is coupled both ways stands twice: keep one, in order */
    for (int32_t q = 0; q < n; q++) {
        const int64_t from = s[q], end = s[q + 1], first = to;
        for (int64_t k = from; k < end; k++) {
            const int32_t other = (*near)[k];
            int64_t at = to;
            while (at > first && (*near)[at - 1] > other) at--;
            if (other == q || (at > first && (*near)[at - 1] == other)) continue;
            memmove(*near + at + 1, *near + at, (size_t)(to - at) * sizeof(int32_t));
            (*near)[at] = other;
            to++;
        }
        s[q] = first;
    }
    s[n] = to;
    return 1;
}

/* From pairs of places in [0, n); 0 when memory is short. Takes n^2 time. */
static inline int tp_map_init(tp_map *m, const int32_t *pairs, int64_t num_pairs, int32_t n) {
    memset(m, 0, sizeof(*m));
    m->n = n;
    m->distance = malloc((size_t)n * (size_t)n * sizeof(uint16_t) + 1);
    m->part = malloc((size_t)n * sizeof(int32_t) + 1);
    m->part_size = calloc((size_t)n + 1, sizeof(int32_t));
    int32_t *queue = malloc((size_t)n * sizeof(int32_t) + 1);
    const int fits = tp_map_lists(pairs, num_pairs, n, 1, &m->start, &m->near) &&
                     tp_map_lists(pairs, num_pairs, n, 0, &m->out_start, &m->out) && m->distance && m->part && m->part_size && queue;
    for (int32_t q = 0; fits && q < n; q++) {
        uint16_t *d = m->distance + (size_t)q * (size_t)n;
        int32_t head = 0, tail = 0, least = q;
        for (int32_t k = 0; k < n; k++) d[k] = TP_FAR;
        d[q] = 0;
        queue[tail++] = q;
        while (head < tail) {
            const int32_t at = queue[head++];
            if (at < least) least = at;
            for (int64_t k = m->start[at]; k < m->start[at + 1]; k++)
                if (d[m->near[k]] == TP_FAR) {
                    d[m->near[k]] = (uint16_t)(d[at] + 1);
                    queue[tail++] = m->near[k];
                }
        }
        m->part[q] = least;
        m->part_size[least] = tail;
    }
    free(queue);
    return fits;
}

static inline int tp_map_distance(const tp_map *m, int32_t a, int32_t b) {
    return m->distance[(size_t)a * (size_t)m->n + (size_t)b];
}

/* Which pairs of the program's qubits meet, and how often (earlier gates count more). */
typedef struct {
    int32_t n;
    int64_t *start; /* n + 1 */
    int32_t *friend_of;
    double *weight;
    double *total; /* per qubit */
} tp_friends;

static inline void tp_friends_free(tp_friends *f) {
    free(f->start);
    free(f->friend_of);
    free(f->weight);
    free(f->total);
}

typedef struct {
    int32_t a, b;
    double weight;
} tp_meeting;

static inline int tp_meeting_order(const void *x, const void *y) {
    const tp_meeting *a = x, *b = y;
    return a->a != b->a ? (a->a < b->a ? -1 : 1) : a->b < b->b ? -1 : a->b > b->b;
}

static inline int tp_friends_init(tp_friends *f, int32_t n, tp_meeting *meetings, int64_t count) {
    int64_t kept = 0;
    memset(f, 0, sizeof(*f));
    f->n = n;
    qsort(meetings, (size_t)count, sizeof(*meetings), tp_meeting_order); /* holds both orders of each pair */
    for (int64_t k = 0; k < count; k++) {
        if (kept && meetings[kept - 1].a == meetings[k].a && meetings[kept - 1].b == meetings[k].b) {
            meetings[kept - 1].weight += meetings[k].weight;
        } else {
            meetings[kept++] = meetings[k];
        }
    }
    f->start = calloc((size_t)n + 1, sizeof(int64_t));
    f->friend_of = malloc((size_t)kept * sizeof(int32_t) + 1);
    f->weight = malloc((size_t)kept * sizeof(double) + 1);
    f->total = calloc((size_t)n + 1, sizeof(double));
    if (!f->start || !f->friend_of || !f->weight || !f->total) return 0;
    for (int64_t k = 0; k < kept; k++) {
        f->start[meetings[k].a + 1]++;
        f->friend_of[k] = meetings[k].b;
        f->weight[k] = meetings[k].weight;
        f->total[meetings[k].a] += meetings[k].weight;
    }
    for (int32_t q = 0; q < n; q++) f->start[q + 1] += f->start[q];
    return 1;
}

/* Qubits that have no place yet get free ones, near the others where there are any. */
static inline void tp_place_rest(const tp_map *m, int32_t n, int32_t *where, int32_t *who, int32_t part) {
    int32_t at = 0;
    for (int32_t q = 0; q < n; q++) {
        if (where[q] >= 0) continue;
        while (who[at] >= 0 || m->part[at] != part) at++;
        where[q] = at;
        who[at] = q;
    }
}

/* The order in which qubits are placed: each next one has the most to do with those before. */
static inline void tp_placing_order(const tp_friends *f, int by_weight, int32_t *order, double *pull, uint8_t *done) {
    for (int32_t q = 0; q < f->n; q++) done[q] = 0, pull[q] = 0;
    for (int32_t k = 0; k < f->n; k++) {
        int32_t best = -1;
        double most = -1, much = -1;
        for (int32_t q = 0; q < f->n; q++) {
            if (done[q]) continue;
            const double all = by_weight ? f->total[q] : (double)(f->start[q + 1] - f->start[q]);
            if (pull[q] > most || (pull[q] == most && all > much)) best = q, most = pull[q], much = all;
        }
        order[k] = best;
        done[best] = 1;
        for (int64_t j = f->start[best]; j < f->start[best + 1]; j++) pull[f->friend_of[j]] += by_weight ? f->weight[j] : 1;
    }
}

/* Scratch for placements: n program qubits, m places. */
typedef struct {
    int32_t *order, *choices, *rank;
    double *pull;
    uint8_t *done;
} tp_placing;

static inline int tp_placing_init(tp_placing *p, int32_t n, int32_t m) {
    const size_t size = (size_t)(n > m ? n : m) + 1;
    p->order = malloc(size * sizeof(int32_t));
    p->choices = malloc(size * sizeof(int32_t));
    p->rank = malloc(size * sizeof(int32_t));
    p->pull = malloc(size * sizeof(double));
    p->done = malloc(size);
    return p->order && p->choices && p->rank && p->pull && p->done;
}

static inline void tp_placing_free(tp_placing *p) {
    free(p->order);
    free(p->choices);
    free(p->rank);
    free(p->pull);
    free(p->done);
}

static inline void tp_no_places(const tp_map *m, int32_t n, int32_t *where, int32_t *who) {
    for (int32_t q = 0; q < n; q++) where[q] = -1;
    for (int32_t at = 0; at < m->n; at++) who[at] = -1;
}

/* A place for each qubit such that all friends are neighbours, by a bounded search with retreat; 0 when none was found. */
static inline int tp_embed(const tp_map *m, const tp_friends *f, tp_placing *p, int32_t *where, int32_t *who, tp_watch *watch) {
    int32_t depth = 0, wanted = 0;
    tp_placing_order(f, 0, p->order, p->pull, p->done);
    while (wanted < f->n && f->total[p->order[wanted]] > 0) wanted++;
    for (int32_t k = wanted; k < f->n; k++) /* those without friends come last, or a friend stands behind one */
        if (f->total[p->order[k]] > 0) {
            const int32_t kept = p->order[wanted];
            p->order[wanted++] = p->order[k];
            p->order[k] = kept;
        }
    tp_no_places(m, f->n, where, who);
    for (int32_t k = 0; k < wanted; k++) p->rank[k] = 0; /* choices of this depth that were tried */
    for (int64_t steps = 0; depth < wanted; steps++) {
        if (steps > TP_SEARCH || depth < 0 || tp_stop(watch)) return 0;
        const int32_t q = p->order[depth];
        if (where[q] >= 0) who[where[q]] = -1, where[q] = -1;
        const int64_t degree = f->start[q + 1] - f->start[q];
        int32_t anchor = -1;
        for (int64_t j = f->start[q]; j < f->start[q + 1] && anchor < 0; j++) anchor = where[f->friend_of[j]];
        const int64_t from = anchor < 0 ? 0 : m->start[anchor], end = anchor < 0 ? m->n : m->start[anchor + 1];
        int32_t best = -1;
        for (int64_t k = from + p->rank[depth]; k < end && best < 0; k++) {
            const int32_t home = anchor < 0 ? (int32_t)k : m->near[k];
            p->rank[depth]++;
            if (who[home] >= 0 || m->start[home + 1] - m->start[home] < degree || m->part_size[m->part[home]] < f->n) continue;
            int fits = 1;
            for (int64_t j = f->start[q]; j < f->start[q + 1] && fits; j++) {
                const int32_t other = where[f->friend_of[j]];
                fits = other < 0 || tp_map_distance(m, home, other) == 1;
            }
            if (fits) best = home;
        }
        if (best < 0) {
            p->rank[depth] = 0;
            depth--;
        } else {
            where[q] = best;
            who[best] = q;
            depth++;
        }
    }
    tp_place_rest(m, f->n, where, who, wanted ? m->part[where[p->order[0]]] : 0);
    return 1;
}

/* A place in a part that is large enough, or -1. */
static inline int32_t tp_any_place(const tp_map *m, int32_t n, qf_rng *rng) {
    const int32_t from = rng ? (int32_t)(qf_rng_next(rng) % (uint64_t)m->n) : 0;
    for (int32_t k = 0; k < m->n; k++) {
        const int32_t at = (from + k) % m->n;
        if (m->part_size[m->part[at]] >= n) return at;
    }
    return -1;
}

/* Qubits one after another, each where it is nearest to its friends; the first at `home`. */
static inline int tp_place_greedily(const tp_map *m, const tp_friends *f, tp_placing *p, int32_t home, qf_rng *rng, int32_t *where,
                                    int32_t *who, tp_watch *watch) {
    tp_no_places(m, f->n, where, who);
    tp_placing_order(f, 1, p->order, p->pull, p->done);
    for (int32_t k = 0; k < f->n; k++) {
        const int32_t q = p->order[k];
        int32_t best = k ? -1 : home, ties = 1;
        if (tp_stop(watch)) return watch->status;
        double least = 0;
        for (int32_t at = 0; k && at < m->n; at++) {
            if (who[at] >= 0 || m->part[at] != m->part[home]) continue;
            double cost = 0.01 * tp_map_distance(m, home, at);
            for (int64_t j = f->start[q]; j < f->start[q + 1]; j++)
                if (where[f->friend_of[j]] >= 0) cost += f->weight[j] * tp_map_distance(m, at, where[f->friend_of[j]]);
            if (best < 0 || cost < least - 1e-9) {
                best = at, least = cost, ties = 1;
            } else if (cost < least + 1e-9 && qf_rng_next(rng) % (uint64_t)++ties == 0) {
                best = at;
            }
        }
        where[q] = best;
        who[best] = q;
    }
    return TP_OK;
}

/* A dense region that grows from `home`, its places given out by chance (in their order without rng). */
static inline int tp_place_in_region(const tp_map *m, int32_t n, tp_placing *p, int32_t home, qf_rng *rng, int32_t *where,
                                     int32_t *who, tp_watch *watch) {
    int32_t *region = p->order, *inside = p->rank, count = 0;
    tp_no_places(m, n, where, who);
    for (int32_t at = 0; at < m->n; at++) inside[at] = 0; /* neighbours inside; -1: inside itself */
    for (int32_t next = home; count < n;) {
        if (tp_stop(watch)) return watch->status;
        region[count++] = next;
        inside[next] = -1;
        for (int64_t k = m->start[next]; k < m->start[next + 1]; k++)
            if (inside[m->near[k]] >= 0) inside[m->near[k]]++;
        int32_t most = 0, nearest = 0;
        for (int32_t at = 0; at < m->n; at++) {
            const int32_t far = -tp_map_distance(m, home, at);
            if (inside[at] > most || (inside[at] == most && most && far > nearest)) next = at, most = inside[at], nearest = far;
        }
        if (!most) break;
    }
    for (int32_t k = count - 1; rng && k > 0; k--) {
        const int32_t other = (int32_t)(qf_rng_next(rng) % (uint64_t)(k + 1)), kept = region[k];
        region[k] = region[other];
        region[other] = kept;
    }
    for (int32_t q = 0; q < count; q++) where[q] = region[q], who[region[q]] = q;
    return TP_OK;
}

#endif

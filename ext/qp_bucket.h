/* Bucket elimination (Dechter, Artif. Intell. 113 (1999) 41): the minimum over each variable in its turn, as a table over the
 * neighbours that it has then; and from the tables the best solutions in order, whatever their number.
 *
 * Backwards, when the neighbours of a variable are decided, the tables give the exact least cost for either of its values. The
 * difference is what a solution pays for not choosing the better one, so that every solution costs the minimum plus the sum of
 * its deviations. Extending each solution found by one deviation at a later variable meets every solution once, from a heap in
 * order of cost.
 */
#ifndef QFAST_QP_BUCKET_H
#define QFAST_QP_BUCKET_H
#include "qp_order.h"

#define QP_MAX_BEST 64
#define QP_LOW_BITS 10

typedef struct {
    const qp_rows *rows;
    const qp_forest *forest;
    const unsigned char *cancel;
    int64_t *offset;  /* [count] into message */
    int64_t *message; /* a table for each bucket: the first neighbour is the top bit, the last one bit 0 */
    int64_t *table;   /* [2^(width + 1)]: the bucket's own variable is the top bit */
    int32_t low[1 << QP_LOW_BITS], *high; /* places in a child's table, by the lower and the upper bits of the bucket's */
    int64_t minimum;
    /* the best ones; x by position */
    int wanted, found;
    uint8_t *x;       /* [wanted][count] */
    int64_t cost[QP_MAX_BEST];
    /* deviations worth a look, by cost; ties as they came */
    int candidates;
    struct {
        int64_t cost;
        int32_t base, position;
    } candidate[QP_MAX_BEST];
} qp_buckets;

static inline int qp_width(const qp_forest *f, int32_t p) { return (int)(f->scope_start[p + 1] - f->scope_start[p]); }

static inline void qp_buckets_close(qp_buckets *b)
{
    free(b->offset);
    free(b->message);
    free(b->table);
    free(b->high);
    free(b->x);
}

/* The coupling of bucket p's variable with the one at position q, among those eliminated later */
static inline void qp_own_couplings(const qp_buckets *b, int32_t p, int64_t *own)
{
    const qp_forest *f = b->forest;
    const qp_rows *rows = b->rows;
    int width = qp_width(f, p);
    int32_t i = f->order[p];
    memset(own, 0, (size_t)width * sizeof *own);
    for (int64_t k = rows->start[i]; k < rows->start[i + 1]; k++) {
        int32_t q = f->position[rows->site[k]];
        for (int bit = 0; bit < width && q > p; bit++)
            if (f->scope[f->scope_start[p + 1] - 1 - bit] == q)
                own[bit] = rows->coupling[k];
    }
}

/* Adds child c's table to bucket p's. */
static inline void qp_add_child(qp_buckets *b, int32_t p, int32_t c)
{
    const qp_forest *f = b->forest;
    int width = qp_width(f, p), inner = qp_width(f, c) - 1, low_bits = width < QP_LOW_BITS ? width : QP_LOW_BITS;
    int64_t at = f->scope_start[c + 1] - 1, lows = (int64_t)1 << low_bits, highs = (int64_t)1 << (width - low_bits), aligned = 1;
    b->low[0] = b->high[0] = 0;
    for (int bit = 0, taken = 0; bit < width; bit++) {
        int32_t place = 0;
        if (taken < inner && f->scope[at - taken] == f->scope[f->scope_start[p + 1] - 1 - bit])
            place = (int32_t)1 << taken++;
        int32_t *out = bit < low_bits ? b->low : b->high;
        int64_t size = (int64_t)1 << (bit < low_bits ? bit : bit - low_bits);
        for (int64_t k = 0; k < size; k++)
            out[size + k] = out[k] + place;
        aligned &= bit >= low_bits || place == (int32_t)1 << bit;
    }
    for (int64_t top = 0; top < 2; top++)
        for (int64_t h = 0; h < highs; h++) {
            const int64_t *from = b->message + b->offset[c] + (top << inner) + b->high[h];
            int64_t *to = b->table + (top << width) + h * lows;
            if (aligned)
                for (int64_t l = 0; l < lows; l++)
                    to[l] += from[l];
            else
                for (int64_t l = 0; l < lows; l++)
                    to[l] += from[b->low[l]];
        }
}

static inline void qp_fill_bucket(qp_buckets *b, int32_t p)
{
    const qp_forest *f = b->forest;
    int width = qp_width(f, p);
    int64_t own[QP_MAX_WIDTH], size = (int64_t)1 << width, *one = b->table + size, *out = b->message + b->offset[p];
    qp_own_couplings(b, p, own);
    memset(b->table, 0, (size_t)size * sizeof *b->table);
    one[0] = b->rows->linear[f->order[p]];
    for (int bit = 0; bit < width; bit++)
        for (int64_t k = 0; k < (int64_t)1 << bit; k++)
            one[((int64_t)1 << bit) + k] = one[k] + own[bit];
    for (int32_t c = f->child[p]; c >= 0; c = f->sibling[c])
        qp_add_child(b, p, c);
    for (int64_t k = 0; k < size; k++)
        out[k] = b->table[k] < one[k] ? b->table[k] : one[k];
    if (width == 0)
        b->minimum += out[0];
}

/* What x_p = 1 costs more than x_p = 0, at best, when all later positions are decided. IN x: by position */
static inline int64_t qp_preference(const qp_buckets *b, int32_t p, const uint8_t *x)
{
    const qp_forest *f = b->forest;
    const qp_rows *rows = b->rows;
    int32_t i = f->order[p];
    int64_t sum = rows->linear[i];
    for (int64_t k = rows->start[i]; k < rows->start[i + 1]; k++) {
        int32_t q = f->position[rows->site[k]];
        sum += q > p && x[q] ? rows->coupling[k] : 0;
    }
    for (int32_t c = f->child[p]; c >= 0; c = f->sibling[c]) {
        int64_t place = 0;
        for (int64_t k = f->scope_start[c] + 1; k < f->scope_start[c + 1]; k++)
            place = 2 * place + x[f->scope[k]];
        const int64_t *from = b->message + b->offset[c];
        sum += from[place + ((int64_t)1 << (qp_width(f, c) - 1))] - from[place];
    }
    return sum;
}

static inline void qp_offer(qp_buckets *b, int64_t cost, int32_t base, int32_t position)
{
    int room = b->wanted - b->found, at = b->candidates;
    if (at >= room) {
        if (room <= 0 || cost >= b->candidate[room - 1].cost)
            return;
        at = room - 1;
    }
    b->candidates = at + 1;
    for (; at > 0 && b->candidate[at - 1].cost > cost; at--)
        b->candidate[at] = b->candidate[at - 1];
    b->candidate[at].cost = cost;
    b->candidate[at].base = base;
    b->candidate[at].position = position;
}

/* Completes solution `found` below position `from`, each variable as it prefers (0 when it doesn't), and offers what deviates. */
static inline void qp_complete(qp_buckets *b, int64_t cost, int32_t from)
{
    uint8_t *x = b->x + (int64_t)b->found * b->forest->count;
    int32_t base = b->found;
    b->cost[b->found++] = cost;
    for (int32_t p = from; p >= 0; p--) {
        int64_t preference = qp_preference(b, p, x);
        x[p] = preference < 0;
        qp_offer(b, cost + llabs(preference), base, p);
    }
}

static inline int qp_backtrack(qp_buckets *b)
{
    int64_t count = b->forest->count;
    qp_complete(b, b->minimum, (int32_t)count - 1);
    while (b->found < b->wanted && b->candidates) {
        if (qp_cancelled(b->cancel))
            return QP_CANCELLED;
        int32_t base = b->candidate[0].base, p = b->candidate[0].position;
        int64_t cost = b->candidate[0].cost;
        b->candidates--;
        for (int k = 0; k < b->candidates; k++)
            b->candidate[k] = b->candidate[k + 1];
        uint8_t *x = b->x + (int64_t)b->found * count;
        memcpy(x, b->x + (int64_t)base * count, (size_t)count);
        x[p] ^= 1;
        qp_complete(b, cost, p - 1);
    }
    return QP_DONE;
}

/* IN b: rows, forest, cancel, wanted. OUT found, cost, x */
static inline int qp_buckets_run(qp_buckets *b)
{
    const qp_forest *f = b->forest;
    size_t count = (size_t)f->count, most = (size_t)1 << f->width;
    b->offset = (int64_t *)malloc(count * sizeof(int64_t));
    b->message = (int64_t *)malloc((size_t)f->entries * sizeof(int64_t));
    b->table = (int64_t *)malloc(2 * most * sizeof(int64_t));
    b->high = (int32_t *)malloc((most >> QP_LOW_BITS) * sizeof(int32_t) + sizeof(int32_t));
    b->x = (uint8_t *)malloc((size_t)b->wanted * count);
    if (!b->offset || !b->message || !b->table || !b->high || !b->x)
        return QP_NO_MEMORY;
    int64_t offset = 0, worked = 0;
    for (int32_t p = 0; p < f->count; p++) {
        b->offset[p] = offset;
        offset += (int64_t)1 << qp_width(f, p);
        qp_fill_bucket(b, p);
        worked += ((int64_t)1 << qp_width(f, p)) + 64;
        if (worked < 1 << 18)
            continue;
        if (qp_cancelled(b->cancel))
            return QP_CANCELLED;
        worked = 0;
    }
    return qp_backtrack(b);
}
#endif

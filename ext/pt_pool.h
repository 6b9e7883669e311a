/* The best distinct solutions found so far, sorted by energy and then as vectors. */
#ifndef QFAST_PT_POOL_H
#define QFAST_PT_POOL_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pt_rng.h"

typedef struct {
    int64_t n;
    int capacity, size;
    double slack;     /* rounding: the same state may come in with energies this far apart */
    double *energy;   /* [capacity], ascending */
    uint8_t **x;      /* [capacity], each [n] of zeros and ones */
    uint8_t *mark;    /* [capacity] free for the owner's use; 0 when an entry comes in */
    uint64_t *hash;   /* [capacity] pt_hash of x */
    int64_t *arrivals; /* [capacity] how many searches ended in x */
    uint8_t *memory;
} pt_pool;

static inline int pt_pool_open(pt_pool *pool, int64_t n, int capacity, double slack)
{
    memset(pool, 0, sizeof *pool);
    pool->n = n;
    pool->capacity = capacity;
    pool->slack = slack;
    pool->energy = (double *)malloc((size_t)capacity * sizeof(double));
    pool->x = (uint8_t **)malloc((size_t)capacity * sizeof(uint8_t *));
    pool->mark = (uint8_t *)calloc((size_t)capacity, 1);
    pool->hash = (uint64_t *)malloc((size_t)capacity * sizeof(uint64_t));
    pool->arrivals = (int64_t *)malloc((size_t)capacity * sizeof(int64_t));
    pool->memory = (uint8_t *)malloc((size_t)capacity * (size_t)n);
    if (!pool->energy || !pool->x || !pool->mark || !pool->hash || !pool->arrivals || !pool->memory)
        return -1;
    for (int k = 0; k < capacity; k++)
        pool->x[k] = pool->memory + (int64_t)k * n;
    return 0;
}

static inline void pt_pool_close(pt_pool *pool)
{
    free(pool->energy);
    free(pool->x);
    free(pool->mark);
    free(pool->hash);
    free(pool->arrivals);
    free(pool->memory);
    memset(pool, 0, sizeof *pool);
}

/* Whether a solution of this energy might still enter */
static inline int pt_pool_wants(const pt_pool *pool, double energy)
{
    return pool->size < pool->capacity || energy <= pool->energy[pool->size - 1];
}

/* Zobrist: the hash of a state is the xor over its ones, so that a flip changes it by one term. */
static inline uint64_t pt_hash_term(int64_t i)
{
    uint64_t state = (uint64_t)i;
    return pt_splitmix(&state);
}

static inline uint64_t pt_hash(const uint8_t *x, int64_t n)
{
    uint64_t hash = 0;
    for (int64_t i = 0; i < n; i++)
        hash ^= x[i] ? pt_hash_term(i) : 0;
    return hash;
}

/* Takes a copy if x is new and among the best; tells whether it did. IN hash: of x; arrivals: searches that ended here */
static inline int pt_pool_offer(pt_pool *pool, double energy, const uint8_t *x, uint64_t hash, int64_t arrivals)
{
    if (!pt_pool_wants(pool, energy))
        return 0;
    for (int k = 0; k < pool->size; k++) {
        double apart = pool->energy[k] - energy;
        if (pool->hash[k] == hash && apart <= pool->slack && -apart <= pool->slack
            && memcmp(pool->x[k], x, (size_t)pool->n) == 0) {
            pool->arrivals[k] += arrivals;
            return 0;
        }
    }
    int at = pool->size;
    for (; at > 0 && pool->energy[at - 1] >= energy; at--)
        if (pool->energy[at - 1] == energy && memcmp(pool->x[at - 1], x, (size_t)pool->n) < 0)
            break;
    if (at == pool->capacity)
        return 0;
    int last = pool->size < pool->capacity ? pool->size++ : pool->capacity - 1;
    uint8_t *room = pool->x[last];
    for (int k = last; k > at; k--) {
        pool->energy[k] = pool->energy[k - 1];
        pool->x[k] = pool->x[k - 1];
        pool->mark[k] = pool->mark[k - 1];
        pool->hash[k] = pool->hash[k - 1];
        pool->arrivals[k] = pool->arrivals[k - 1];
    }
    memcpy(room, x, (size_t)pool->n);
    pool->energy[at] = energy;
    pool->x[at] = room;
    pool->mark[at] = 0;
    pool->hash[at] = hash;
    pool->arrivals[at] = arrivals;
    return 1;
}

static inline int pt_pool_add(pt_pool *pool, double energy, const uint8_t *x)
{
    return pt_pool_wants(pool, energy) && pt_pool_offer(pool, energy, x, pt_hash(x, pool->n), 0);
}
#endif

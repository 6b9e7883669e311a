/* Bounded work, nesting and memory. */
#ifndef QFAST_QASM_MEMORY_H
#define QFAST_QASM_MEMORY_H
#include "qasm_errors.h"

static void qc_spend(qc *c, int64_t work) {
    if (work <= QC_MAX_WORK - c->work) {
        c->work += work;
        return;
    }
    c->work = QC_MAX_WORK;
    qc_fail(c, QC_LIMIT, "the program takes more than %d steps to compile", QC_MAX_WORK);
}

static void qc_nest(qc *c) {
    if (++c->nesting > QC_MAX_NESTING) qc_fail(c, QC_LIMIT, "nested more than %d deep", QC_MAX_NESTING);
}

static void qc_count_memory(qc *c, size_t bytes) {
    if ((c->memory += bytes) > QC_MAX_MEMORY)
        qc_fail(c, QC_LIMIT, "the program's tables take more than %u MiB", QC_MAX_MEMORY >> 20);
}

static void *qc_alloc(qc *c, size_t bytes) {
    bytes = (bytes + 15) & ~(size_t)15;
    if ((size_t)(c->arena_end - c->arena) < bytes) {
        size_t size = bytes > 65536 - sizeof(qc_chunk) ? bytes + sizeof(qc_chunk) : 65536;
        qc_count_memory(c, size);
        qc_chunk *chunk = malloc(size);
        if (chunk == NULL) qc_fail(c, QC_MEMORY, "out of memory");
        chunk->next = c->chunks;
        chunk->size = size;
        c->chunks = chunk;
        c->arena = (char *)chunk + sizeof(qc_chunk);
        c->arena_end = (char *)chunk + size;
    }
    void *result = c->arena;
    c->arena += bytes;
    return result;
}

/* Makes room for `need` elements by doubling. */
static void *qc_grow(qc *c, void *old, int32_t *cap, int64_t need, size_t size, int64_t limit) {
    int64_t next = *cap ? *cap : 16;
    if (need > limit)
        qc_fail(c, QC_LIMIT, "the program expands to more than %lld instructions or operands", (long long)limit);
    while (next < need) next *= 2;
    if (next > limit) next = limit;
    void *result = realloc(old, (size_t)next * size);
    if (result == NULL) qc_fail(c, QC_MEMORY, "out of memory");
    *cap = (int32_t)next;
    return result;
}

#endif

/* The form between the transpiler's stages: a list of one-qubit turns, rotations exp(-i phi/2 Z Z) and what stays as it is. */
#ifndef QFAST_TP_STEPS_H
#define QFAST_TP_STEPS_H
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tp_turn.h"

#define TP_CONTROLS 5 /* gates with up to four controls may be taken as they are */

enum tp_status {
    TP_OK = 0,
    TP_NO_MEMORY,
    TP_CANCELLED,
    TP_LATE,
    TP_MALFORMED,
    TP_NO_ONE_QUBIT,  /* a one-qubit gate cannot be written in the basis */
    TP_NO_TWO_QUBIT,  /* no entangling gate in the basis */
    TP_NO_REGION,     /* no connected region is large enough */
    TP_NO_DIRECTION,  /* a gate as it is does not fit the directions of the map */
    TP_WIDE_POP,      /* a gate with an angle from the stack that cannot be routed */
    TP_TOO_LARGE      /* the result would be too long */
};

enum tp_kind { TP_ONE, TP_ZZ, TP_SWAP, TP_GATE, TP_MEASURE, TP_RESET, TP_BARRIER, TP_RECORD, TP_LABEL };
/* The gate that a rotation came from: a hint for how to write it, and which qubit was the control. */
enum tp_form { TP_FORM_ANY, TP_FORM_CX, TP_FORM_CZ, TP_FORM_CP, TP_FORM_CRZ, TP_FORM_RXX, TP_FORM_RYY, TP_FORM_RZZ, TP_FORM_RZX };

/* One step. ONE: m on a. ZZ: phi, form on a and b. SWAP: a, b. MEASURE: a into classical bit b. RESET: a.
 * GATE and BARRIER: `count` operands from `at` on in tp_steps.operands; GATE's operation and parameters stand in the source
 * record `record`. RECORD: the source record `record`, a classical instruction, or a gate on one or two qubits with angles
 * from the stack (operands as GATE). LABEL: the source record `record` is the target of a jump. */
typedef struct {
    uint8_t kind, form;
    int32_t a, b;
    int32_t at, count;
    int32_t record;
    double phi;
    tp_turn m;
} tp_step;

typedef struct {
    tp_step *items;
    int64_t size, room;
    int32_t *operands;
    int64_t num_operands, operand_room;
    int failed; /* enum tp_status */
} tp_steps;

#define TP_MOST_STEPS (INT64_C(1) << 26) /* 7 GB of steps: beyond any program that the front end lets through */

/* Room for `wanted` items in an array; 0 when there is none. */
static inline int tp_room(void **items, int64_t *room, int64_t wanted, size_t size) {
    if (wanted <= *room) return 1;
    int64_t larger = *room ? 2 * *room : 64;
    if (larger < wanted) larger = wanted;
    void *moved = larger <= TP_MOST_STEPS ? realloc(*items, (size_t)larger * size) : NULL;
    if (!moved) return 0;
    *items = moved;
    *room = larger;
    return 1;
}

static inline tp_step *tp_push(tp_steps *steps, int kind, int32_t a, int32_t b) {
    static __thread tp_step waste; /* where a step goes that there is no room for */
    tp_step *step = &waste;
    if (tp_room((void **)&steps->items, &steps->room, steps->size + 1, sizeof(tp_step))) step = &steps->items[steps->size++];
    else steps->failed = TP_NO_MEMORY;
    step->kind = (uint8_t)kind;
    step->form = TP_FORM_ANY;
    step->a = a;
    step->b = b;
    step->at = step->count = 0;
    step->record = -1;
    step->phi = 0;
    return step;
}

/* Whether a step stands between all that is before and behind it, on all wires. */
static inline int tp_is_border(const tp_step *step) {
    return step->kind == TP_LABEL || (step->kind == TP_RECORD && !step->count);
}

static inline void tp_push_one(tp_steps *steps, int32_t q, tp_turn m) {
    tp_push(steps, TP_ONE, q, -1)->m = m;
}

static inline void tp_push_zz(tp_steps *steps, int32_t a, int32_t b, double phi, int form) {
    tp_step *step = tp_push(steps, TP_ZZ, a, b);
    step->phi = phi;
    step->form = (uint8_t)form;
}

/* A step with operands of its own. */
static inline void tp_push_wide(tp_steps *steps, int kind, int32_t record, const int32_t *operands, int32_t count) {
    if (!tp_room((void **)&steps->operands, &steps->operand_room, steps->num_operands + count, sizeof(int32_t))) {
        steps->failed = TP_NO_MEMORY;
        return;
    }
    tp_step *step = tp_push(steps, kind, count > 0 ? operands[0] : -1, count > 1 ? operands[1] : -1);
    step->at = (int32_t)steps->num_operands;
    step->count = count;
    step->record = record;
    if (count) memcpy(steps->operands + steps->num_operands, operands, (size_t)count * sizeof(int32_t));
    steps->num_operands += count;
}

static inline void tp_steps_clear(tp_steps *steps) {
    steps->size = steps->num_operands = 0;
    steps->failed = TP_OK;
}

static inline void tp_steps_free(tp_steps *steps) {
    free(steps->items);
    free(steps->operands);
    memset(steps, 0, sizeof(*steps));
}

/* When to stop: the task's flag and its deadline on CLOCK_MONOTONIC in seconds (infinite: none). */
typedef struct {
    const volatile unsigned char *cancel;
    double deadline;
    int64_t ticks;
    int status;
} tp_watch;

/* Called every microsecond or so; looks at the flag every 256 calls, at the clock as often. 1 when the work must stop. */
static inline int tp_stop(tp_watch *watch) {
    if (watch->ticks++ & 255) return watch->status != TP_OK;
    if (watch->cancel && *watch->cancel) watch->status = TP_CANCELLED;
    if (watch->status == TP_OK && watch->deadline < 1e300) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)now.tv_sec + 1e-9 * (double)now.tv_nsec > watch->deadline) watch->status = TP_LATE;
    }
    return watch->status != TP_OK;
}

/* Factors of products of discrete gates: node k is a leaf (left < 0) or the product of left, which acts first, and right. */
typedef struct {
    tp_turn value;
    int32_t left, right;
} tp_tree;

typedef struct {
    tp_tree *nodes;
    int64_t size, room;
    int on; /* whether the target's gates are discrete */
    int failed;
} tp_trees;

static inline int32_t tp_leaf(tp_trees *trees, tp_turn m) {
    if (m.tree != TP_NO_FACTORS) return m.tree;
    if (!tp_room((void **)&trees->nodes, &trees->room, trees->size + 1, sizeof(tp_tree))) {
        trees->failed = TP_NO_MEMORY;
        return 0;
    }
    trees->nodes[trees->size] = (tp_tree){m, -1, -1};
    return (int32_t)trees->size++;
}

/* The product, with its factors where those matter. */
static inline tp_turn tp_product(tp_trees *trees, tp_turn second, tp_turn first) {
    tp_turn m = tp_times(second, first);
    if (!trees->on) return m;
    const int32_t left = tp_leaf(trees, first), right = tp_leaf(trees, second);
    if (tp_room((void **)&trees->nodes, &trees->room, trees->size + 1, sizeof(tp_tree))) {
        trees->nodes[trees->size] = (tp_tree){m, left, right};
        m.tree = (int32_t)trees->size++;
    } else {
        trees->failed = TP_NO_MEMORY;
    }
    return m;
}

#endif

/* OpenQASM 3: indices, ranges and the elements of arrays. */
#ifndef QFAST_QASM3_INDEX_H
#define QFAST_QASM3_INDEX_H
#include "qasm3_choice.h"

static qc_value qc3_expression(qc *c, int precedence);
static qc_value qc3_call_subroutine(qc *c, const qc_tok *name, const struct qc_subroutine *s, int is_statement);
static qc_refs qc3_operand(qc *c);
static int qc3_type(qc *c, int *type, int32_t *width);
static void qc3_semicolon(qc *c);
static void qc_not_in_gate(qc *c, const qc_tok *at);
static void qc_check_free(qc *c, const qc_tok *name);

/* A whole number of up to 64 bits. */
static qc_value qc3_word_value(qc *c, const char *what) {
    qc_tok at = c->t;
    qc_value v = qc3_expression(c, 0);
    if (!qc_is_word_type(v.type) || qc_is_wide(&v))
        qc_fail_tok(c, QC_SYNTAX, &at, "%s must be an integer, not a %s", what, qc_type_name(v.type));
    return v;
}

static int64_t qc3_known_int(qc *c, const char *what) {
    qc_tok at = c->t;
    qc_value v = qc3_word_value(c, what);
    if (!v.known)
        qc_fail_tok(c, QC_UNSUPPORTED, &at, "%s that depends on a measurement or a parameter is not supported", what);
    if (v.type != TY_INT && v.bits < 0) qc_fail_tok(c, QC_LIMIT, &at, "%s is too large", what);
    return v.bits;
}

typedef struct {
    int64_t start, step, stop;
    int has_start, has_stop;
} qc_range;

/* start:stop or start:step:stop with its first part read (or left out); the colon is the current token. */
static qc_range qc3_range_rest(qc *c, int has_start, int64_t start) {
    qc_range r = {start, 1, 0, has_start, 0};
    qc_next(c);
    if (c->t.kind != ']' && c->t.kind != ':' && c->t.kind != ',') {
        r.stop = qc3_known_int(c, "a range");
        r.has_stop = 1;
    }
    if (c->t.kind == ':') {
        if (!r.has_stop) qc_unexpected(c, "a step");
        qc_tok at = c->t;
        r.step = r.stop;
        r.has_stop = 0;
        if (r.step == 0) qc_fail_tok(c, QC_VALUE, &at, "a range with a step of 0");
        qc_next(c);
        if (c->t.kind != ']' && c->t.kind != ',') {
            r.stop = qc3_known_int(c, "a range");
            r.has_stop = 1;
        }
    }
    return r;
}

/* How many values the range has; both ends count. */
static uint64_t qc_range_count(const qc_range *r) {
    if (r->step > 0 ? r->start > r->stop : r->start < r->stop) return 0;
    uint64_t span = r->step > 0 ? (uint64_t)r->stop - (uint64_t)r->start : (uint64_t)r->start - (uint64_t)r->stop;
    uint64_t step = r->step > 0 ? (uint64_t)r->step : 0 - (uint64_t)r->step;
    uint64_t n = span / step;
    return n == UINT64_MAX ? n : n + 1;
}

static int32_t qc_checked_index(qc *c, int64_t index, int32_t count, const qc_tok *at) {
    if (index < -(int64_t)count || index >= count) {
        if (count > 0) snprintf(c->hint, sizeof c->hint, "the indices are 0 to %d", count - 1);
        qc_fail_tok(c, QC_VALUE, at, "index %lld is out of range for size %d", (long long)index, count);
    }
    return (int32_t)(index < 0 ? index + count : index);
}

/* How many of `count` things the range takes, its start made one of them. */
static uint64_t qc3_resolve(qc *c, qc_range *r, int32_t count, const qc_tok *at) {
    if (!r->has_start) r->start = r->step > 0 ? 0 : count - 1;
    if (!r->has_stop) r->stop = r->step > 0 ? count - 1 : 0;
    if (r->start < 0) r->start += count;
    if (r->stop < 0) r->stop += count;
    uint64_t n = qc_range_count(r);
    if (n == 0) return 0;
    qc_checked_index(c, r->start, count, at);
    int64_t last = r->start + (int64_t)(n - 1) * r->step;
    qc_checked_index(c, last, count, at);
    if (r->start < 0 || last < 0) qc_fail_tok(c, QC_VALUE, at, "this range is out of range for size %d", count);
    return n;
}

/* One index in brackets applied to references; the opening bracket is the current token. When a single index is not
 * known and `dynamic` is given, the index is left on the stack and *dynamic is set. */
static qc_refs qc3_index(qc *c, qc_refs r, int *dynamic) {
    qc_tok at;
    int32_t *list;
    qc_next(c);
    at = c->t;
    if (c->t.kind == '{') {
        int32_t n = 0, cap = 16;
        list = qc_alloc(c, (size_t)cap * sizeof *list);
        do {
            qc_next(c);
            if (c->t.kind == '}') break;
            qc_tok here = c->t;
            int32_t index = qc_checked_index(c, qc3_known_int(c, "an index"), r.count, &here);
            if (n == cap) {
                int32_t *more = qc_alloc(c, 2 * (size_t)cap * sizeof *more);
                memcpy(more, list, (size_t)n * sizeof *more);
                list = more;
                cap *= 2;
            }
            list[n++] = qc_ref(&r, index);
        } while (c->t.kind == ',');
        qc_expect(c, '}', "'}'");
        qc_expect(c, ']', "']'");
        return (qc_refs){n, 0, 1, r.space, list};
    }
    qc_value v = {0};
    if (c->t.kind != ':') v = qc3_word_value(c, "an index");
    if (c->t.kind != ':') {
        if (c->t.kind == ',') qc_fail(c, QC_SYNTAX, "a register has one index");
        qc_expect(c, ']', "']'");
        if (!v.known) {
            if (dynamic == NULL)
                qc_fail_tok(c, QC_UNSUPPORTED, &at, "an index that depends on a measurement is not supported here");
            qc_no_runtime_in_gate(c);
            qc_bound(c, r.count);
            *dynamic = 1;
            return r;
        }
        if (v.type != TY_INT && v.bits < 0) v.bits = INT64_MAX;
        return (qc_refs){1, qc_ref(&r, qc_checked_index(c, v.bits, r.count, &at)), 0, r.space, NULL};
    }
    if (v.type != TY_VOID && !v.known)
        qc_fail_tok(c, QC_UNSUPPORTED, &at, "a range that depends on a measurement is not supported");
    qc_range range = qc3_range_rest(c, v.type != TY_VOID, v.bits);
    qc_expect(c, ']', "']'");
    uint64_t n = qc3_resolve(c, &range, r.count, &at);
    if (n == 0) return (qc_refs){0, 0, 1, r.space, NULL};
    if (range.step == 1 && r.list == NULL)
        return (qc_refs){(int32_t)n, r.first + (int32_t)range.start, 1, r.space, NULL};
    qc_spend(c, (int64_t)n);
    list = qc_alloc(c, (size_t)n * sizeof *list);
    for (uint64_t k = 0; k < n; k++) list[k] = qc_ref(&r, (int32_t)(range.start + (int64_t)k * range.step));
    return (qc_refs){(int32_t)n, 0, 1, r.space, list};
}

#endif

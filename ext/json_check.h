/* A strict JSON scanner (RFC 8259): says only whether a text is one JSON value, and where it is not.
 *
 * Stricter than the usual decoders, which let through what a contract must not: duplicate keys, unpaired surrogates,
 * overlong UTF-8 and any depth of nesting. It allocates nothing but the table of keys and never recurses.
 */
#ifndef QFAST_JSON_CHECK_H
#define QFAST_JSON_CHECK_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_numbers.h"

enum jc_fault {
    JC_OK = 0,
    JC_SYNTAX,    /* no JSON value here */
    JC_UTF8,      /* not UTF-8 */
    JC_SURROGATE, /* an escape that is half a surrogate pair */
    JC_CONTROL,   /* a control character inside a string */
    JC_DEPTH,     /* nested too deeply */
    JC_DUPLICATE, /* the same key twice in one object */
    JC_TRAILING,  /* text behind the value */
    JC_MEMORY
};

#define JC_MAX_DEPTH 64
#define JC_MAX_PATH 4

typedef struct { /* keys from the outermost object inwards, and where the value is that they lead to; NULL where none is */
    int keys;
    const char *key[JC_MAX_PATH];
    size_t length[JC_MAX_PATH];
    const unsigned char *from, *to;
} jc_path;

typedef struct {
    const unsigned char *at, *end;
    uint64_t salt;   /* keyed hashing: colliding keys can't be prepared outside */
    uint64_t *keys;  /* open addressing over hash(object, key), 0 = free; a power of two long */
    size_t mask, used;
    jc_path *path; /* or NULL */
} jc_scan;

static inline uint64_t jc_mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ULL;
    h ^= h >> 29;
    h *= 0xd6e8feb86659fd93ULL;
    return h ^ (h >> 32);
}

/* 1: new, 0: seen before, -1: no memory. Two keys of one object collide by chance once in 2^64 pairs. */
static inline int jc_add_key(jc_scan *s, uint64_t h) {
    if (h == 0) h = 1;
    if (2 * (s->used + 1) > s->mask + 1) {
        size_t size = 2 * (s->mask + 1);
        uint64_t *grown = (uint64_t *)calloc(size, sizeof *grown);
        if (!grown) return -1;
        for (size_t i = 0; s->used && i <= s->mask; i++)
            if (s->keys[i]) {
                size_t j = s->keys[i] & (size - 1);
                while (grown[j]) j = (j + 1) & (size - 1);
                grown[j] = s->keys[i];
            }
        free(s->keys);
        s->keys = grown;
        s->mask = size - 1;
    }
    size_t j = h & s->mask;
    while (s->keys[j]) {
        if (s->keys[j] == h) return 0;
        j = (j + 1) & s->mask;
    }
    s->keys[j] = h;
    s->used++;
    return 1;
}

static inline int jc_hex4(const unsigned char *p, const unsigned char *end, uint32_t *out) {
    uint32_t value = 0;
    if (end - p < 4) return 0;
    for (int k = 0; k < 4; k++) {
        unsigned c = p[k], d;
        if (c >= '0' && c <= '9') d = c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f') d = (c | 32) - 'a' + 10;
        else return 0;
        value = value << 4 | d;
    }
    *out = value;
    return 1;
}

/* Length of the UTF-8 sequence at p, 0 when it is none (overlong, surrogate, beyond U+10FFFF, cut off). */
static inline int jc_utf8(const unsigned char *p, const unsigned char *end) {
    unsigned c = p[0];
    ptrdiff_t left = end - p;
    if (c < 0xC2) return 0;
    if (c < 0xE0) return left >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if (c < 0xF0) {
        if (left < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
        if (c == 0xE0 && p[1] < 0xA0) return 0;
        if (c == 0xED && p[1] > 0x9F) return 0;
        return 3;
    }
    if (c > 0xF4 || left < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
    if (c == 0xF0 && p[1] < 0x90) return 0;
    if (c == 0xF4 && p[1] > 0x8F) return 0;
    return 4;
}

/* A string whose opening quote is at s->at; hashes its characters (escapes undone) when `hash` is given. */
static inline int jc_string(jc_scan *s, uint64_t *hash) {
    const unsigned char *p = s->at + 1, *end = s->end;
    uint64_t h = hash ? *hash : 0;
    for (;;) {
        if (!hash) while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
        if (p >= end) { s->at = end; return JC_SYNTAX; }
        unsigned c = *p;
        uint32_t unit = c;
        if (c == '"') break;
        if (c < 0x20) { s->at = p; return JC_CONTROL; }
        if (c == '\\') {
            if (p + 1 >= end) { s->at = end; return JC_SYNTAX; }
            switch (p[1]) {
            case '"': case '\\': case '/': unit = p[1]; p += 2; break;
            case 'b': unit = 8; p += 2; break;
            case 'f': unit = 12; p += 2; break;
            case 'n': unit = 10; p += 2; break;
            case 'r': unit = 13; p += 2; break;
            case 't': unit = 9; p += 2; break;
            case 'u': {
                uint32_t low;
                if (!jc_hex4(p + 2, end, &unit)) { s->at = p; return JC_SYNTAX; }
                if (unit >= 0xDC00 && unit < 0xE000) { s->at = p; return JC_SURROGATE; }
                if (unit >= 0xD800 && unit < 0xDC00) {
                    if (end - p < 12 || p[6] != '\\' || p[7] != 'u' || !jc_hex4(p + 8, end, &low) || low < 0xDC00 || low > 0xDFFF) {
                        s->at = p;
                        return JC_SURROGATE;
                    }
                    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                    p += 6;
                }
                p += 6;
                break;
            }
            default: s->at = p; return JC_SYNTAX;
            }
        } else if (c >= 0x80) {
            int n = jc_utf8(p, end);
            if (!n) { s->at = p; return JC_UTF8; }
            unit = n == 2 ? (c & 0x1F) : n == 3 ? (c & 0x0F) : (c & 0x07);
            for (int k = 1; k < n; k++) unit = unit << 6 | (p[k] & 0x3F);
            p += n;
        } else
            p++;
        if (hash) h = (h ^ (unit + 1)) * 0x9E3779B97F4A7C15ULL, h ^= h >> 31;
    }
    s->at = p + 1;
    if (hash) *hash = jc_mix(h);
    return JC_OK;
}

static inline int jc_number(jc_scan *s) {
    const unsigned char *p = s->at, *end = s->end;
    if (p < end && *p == '-') p++;
    if (p >= end) { s->at = p; return JC_SYNTAX; }
    if (*p == '0') p++;
    else if (*p >= '1' && *p <= '9') while (p < end && *p >= '0' && *p <= '9') p++;
    else { s->at = p; return JC_SYNTAX; }
    if (p < end && *p == '.') {
        const unsigned char *digits = ++p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == digits) { s->at = p; return JC_SYNTAX; }
    }
    if (p < end && (*p | 32) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        const unsigned char *digits = p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == digits) { s->at = p; return JC_SYNTAX; }
    }
    s->at = p;
    return JC_OK;
}

static inline void jc_blanks(jc_scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) s->at++;
}

static inline int jc_literal(jc_scan *s, const char *word, size_t n) {
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n)) return JC_SYNTAX;
    s->at += n;
    return JC_OK;
}

/* Scans one value; on a fault s->at stands at it. */
static inline int jc_value(jc_scan *s, int max_depth) {
    unsigned char open[JC_MAX_DEPTH];
    uint64_t object[JC_MAX_DEPTH], serial = 0;
    int depth = 0, fault, led = 0, here = 0; /* keys of the path that lead here; whether the next value is the one */
    if (max_depth > JC_MAX_DEPTH) max_depth = JC_MAX_DEPTH;
value:
    jc_blanks(s);
    if (s->at >= s->end) return JC_SYNTAX;
    if (here) s->path->from = s->at, here = 0;
    switch (*s->at) {
    case '{': case '[':
        if (depth == max_depth) return JC_DEPTH;
        open[depth] = *s->at++;
        object[depth++] = jc_mix(s->salt + ++serial * 0x9E3779B97F4A7C15ULL);
        jc_blanks(s);
        if (s->at < s->end && *s->at == (open[depth - 1] == '{' ? '}' : ']')) { s->at++; depth--; goto after; }
        if (open[depth - 1] == '{') goto key;
        s->at = jn_skip(s->at, s->end);
        goto value;
    case '"': fault = jc_string(s, NULL); break;
    case 't': fault = jc_literal(s, "true", 4); break;
    case 'f': fault = jc_literal(s, "false", 5); break;
    case 'n': fault = jc_literal(s, "null", 4); break;
    default: fault = jc_number(s);
    }
    if (fault) return fault;
after:
    if (s->path && depth == s->path->keys && led == depth && !s->path->to) s->path->to = s->at;
    if (!depth) return JC_OK;
    jc_blanks(s);
    if (s->at >= s->end) return JC_SYNTAX;
    if (*s->at == ',') {
        s->at++;
        if (open[depth - 1] == '{') goto key;
        goto value;
    }
    if (*s->at == (open[depth - 1] == '{' ? '}' : ']')) { s->at++; depth--; goto after; }
    return JC_SYNTAX;
key:
    jc_blanks(s);
    if (s->at >= s->end || *s->at != '"') return JC_SYNTAX;
    {
        const unsigned char *start = s->at;
        uint64_t h = object[depth - 1];
        int added;
        if ((fault = jc_string(s, &h))) return fault;
        if ((added = jc_add_key(s, h)) != 1) { s->at = start; return added ? JC_MEMORY : JC_DUPLICATE; }
        if (s->path && depth <= s->path->keys && led >= depth - 1) { /* an array inside would have taken a depth of its own */
            led = depth - 1;
            led += (size_t)(s->at - start) == s->path->length[led] + 2 && !memcmp(start + 1, s->path->key[led], s->path->length[led]);
            here = led == s->path->keys && depth == led;
        }
    }
    jc_blanks(s);
    if (s->at >= s->end || *s->at != ':') return JC_SYNTAX;
    s->at++;
    goto value;
}

/* Checks text[0..n); returns the fault and its byte offset. */
static inline int jc_check(const unsigned char *text, size_t n, uint64_t salt, int max_depth, jc_path *path, size_t *offset) {
    jc_scan s = {text, text + n, salt, NULL, 31, 0, path};
    s.keys = (uint64_t *)calloc(s.mask + 1, sizeof *s.keys);
    if (!s.keys) { *offset = 0; return JC_MEMORY; }
    int fault = jc_value(&s, max_depth);
    if (!fault) {
        jc_blanks(&s);
        if (s.at < s.end) fault = JC_TRAILING;
    }
    *offset = (size_t)(s.at - text);
    free(s.keys);
    return fault;
}

#endif

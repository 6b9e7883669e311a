/* Reading over text, whatever it is: unlike the lexer, nothing here finds it wrong. */
#ifndef QFAST_QASM_TEXT_H
#define QFAST_QASM_TEXT_H
#include "qasm_lex.h"

static const char *qc_text_space(const qc *c, const char *p) {
    for (;;) {
        while (p < c->end && qc_class[(uint8_t)*p] == C_SPACE) p++;
        if (p + 1 < c->end && p[0] == '/' && p[1] == '/') {
            while (p < c->end && *p != '\n') p++;
        } else if (p + 1 < c->end && p[0] == '/' && p[1] == '*') {
            for (p += 2; p < c->end && !(p[0] == '*' && p[1] == '/');) p++;
            p = c->end - p < 2 ? c->end : p + 2;
        } else {
            return p;
        }
    }
}

static const char *qc_text_word(const qc *c, const char *p) {
    while (p < c->end && (qc_class[(uint8_t)*p] & (C_LETTER | C_DIGIT | C_HIGH))) p++;
    return p;
}

/* The end of whatever begins at p: a word, a string, one character; blanks and comments before it count. */
static const char *qc_text_next(const qc *c, const char *p) {
    p = qc_text_space(c, p);
    if (p >= c->end) return c->end;
    if (qc_class[(uint8_t)*p] & (C_LETTER | C_HIGH)) return qc_text_word(c, p);
    if (*p == '"') {
        const char *q = p + 1;
        while (q < c->end && *q != '"' && *q != '\n') q++;
        return q < c->end && *q == '"' ? q + 1 : p + 1;
    }
    return p + 1;
}

static int qc_text_is(const char *begin, const char *end, const char *words) {
    size_t n = (size_t)(end - begin);
    for (const char *w = words; *w; w += strcspn(w, " "), w += *w == ' ')
        if (strcspn(w, " ") == n && n > 0 && memcmp(w, begin, n) == 0) return 1;
    return 0;
}

#define QC_TYPES "bit bool int uint float angle complex duration stretch array qubit"
#define QC_DECLARES QC_TYPES " const input output qreg creg gate opaque def let extern"
#define QC_STATEMENTS \
    QC_DECLARES " if for while switch measure reset barrier include box delay break continue return end OPENQASM"

#endif

/* The lexer: one token at a time, no copies; numbers correctly rounded. */
#ifndef QFAST_QASM_LEX_H
#define QFAST_QASM_LEX_H
#include "qasm_memory.h"

/* single: a token of one character, whatever follows */
enum { C_SPACE = 1, C_DIGIT = 2, C_LETTER = 4, C_HIGH = 8, C_SINGLE = 16 };

static uint8_t qc_class[256];

static void qc_init_classes(void) {
    for (int k = 'a'; k <= 'z'; k++) qc_class[k] = qc_class[k - 32] = C_LETTER;
    for (int k = '0'; k <= '9'; k++) qc_class[k] = C_DIGIT;
    for (int k = 128; k < 256; k++) qc_class[k] = C_HIGH;
    qc_class['_'] = C_LETTER;
    qc_class[' '] = qc_class['\t'] = qc_class['\n'] = qc_class['\r'] = C_SPACE;
    for (const char *p = "()[]{};,"; *p; p++) qc_class[(uint8_t)*p] = C_SINGLE;
}

/* Bytes of the character at p when it may stand in an OpenQASM 3 identifier, else 0. The specification takes the
 * Unicode letter classes; here every character does from U+00AA on that lies outside the blocks of punctuation,
 * symbols, and private use. */
static int qc_high_letter(const char *p, const char *end) {
    uint8_t b = (uint8_t)*p;
    int n = b >= 0xF0 ? 4 : b >= 0xE0 ? 3 : b >= 0xC2 ? 2 : 0;
    uint32_t u = n == 4 ? b & 7u : n == 3 ? b & 15u : b & 31u;
    if (n == 0 || end - p < n) return 0;
    for (int k = 1; k < n; k++) u = u << 6 | ((uint8_t)p[k] & 63u);
    if (u < 0xAA || u == 0xAB || u == 0xAC || u == 0xAD || u == 0xAE || u == 0xAF || (u >= 0xB0 && u <= 0xB4) ||
        (u >= 0xB6 && u <= 0xB9) ||
        (u >= 0xBB && u <= 0xBF) || u == 0xD7 || u == 0xF7)
        return 0;
    if ((u >= 0x2000 && u <= 0x206F) || (u >= 0x2190 && u <= 0x2BFF) || (u >= 0x2E00 && u <= 0x2E7F) || (u >= 0x3000 &&
                                                                                                         u <= 0x3004) ||
        (u >= 0xD800 && u <= 0xF8FF) || (u >= 0xFE00 && u <= 0xFE0F) || (u >= 0xFE10 && u <= 0xFE6F) || u == 0xFEFF ||
            u >= 0x1F000)
        return 0;
    return n;
}

static void qc_skip_space(qc *c) {
    const char *p = c->at, *end = c->end;
    for (;;) {
        while (p < end && qc_class[(uint8_t)*p] == C_SPACE) p++;
        if (p + 1 < end && p[0] == '/' && p[1] == '/') {
            p = memchr(p, '\n', (size_t)(end - p));
            if (p == NULL) p = end;
        } else if (p + 1 < end && p[0] == '/' && p[1] == '*') {
            const char *close = p + 2;
            do close = close < end ? memchr(close, '*', (size_t)(end - close)) : NULL;
            while (close != NULL && (close + 1 >= end || close[1] != '/') && (close++, 1));
            if (close == NULL) qc_fail_at(c, QC_SYNTAX, p, p + 2, "this comment is not closed, expected '*/'");
            p = close + 2;
        } else {
            c->at = p;
            return;
        }
    }
}

/* The correctly rounded float64 of the decimal in [begin, end), underscores left out. */
static double qc_slow_real(const char *begin, const char *end) {
    static locale_t plain;
    char buffer[800], *out = buffer;
    if (plain == (locale_t)0) plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    for (; begin < end && out < buffer + sizeof buffer - 1; begin++)
        if (*begin != '_') *out++ = *begin;
    *out = 0;
    return strtod_l(buffer, NULL, plain);
}

/* mantissa x 10^exponent, correctly rounded, for mantissa < 2^64; NaN when that takes the slow way. Products and
 * quotients by the powers of ten up to 10^27, which are exact in the 64-bit significand of an x87 long double, have one
 * rounding; the second, to 53 bits, is right unless the 11 bits cut off are next to a tie. */
static double qc_quick_real(uint64_t mantissa, int exponent) {
#if LDBL_MANT_DIG == 64
    static const long double power[] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L,
                                        1e11L, 1e12L, 1e13L,
                                        1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L,
                                            1e25L, 1e26L, 1e27L};
    if (exponent < -27 || exponent > 27) return NAN;
    long double value = exponent < 0 ? (long double)mantissa / power[-exponent]
        : (long double)mantissa * power[exponent];
    uint64_t significand;
    memcpy(&significand, &value, sizeof significand);
    uint64_t cut = significand & 0x7FF;
    if (cut >= 0x3FE && cut <= 0x402) return NAN;
    return (double)value;
#else
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (exponent < -22 || exponent > 22 || mantissa >> 53) return NAN;
    return exponent < 0 ? (double)mantissa / power[-exponent] : (double)mantissa * power[exponent];
#endif
}

static void qc_number_suffix(qc *c, const char *p);

/* 0x, 0b and 0o integers of OpenQASM 3; p stands after the prefix. */
static void qc_radix_number(qc *c, const char *p, int bits) {
    const char *first = p;
    uint64_t value = 0;
    for (; p < c->end; p++) {
        int d = *p >= '0' && *p <= '9' ? *p - '0' : (*p | 32) >= 'a' && (*p | 32) <= 'f' ? (*p | 32) - 'a' + 10 : 99;
        if (*p == '_') continue;
        if (d >> bits) break;
        if (value >> (64 - bits)) c->t.has_number_overflow = 1;
        value = value << bits | (uint64_t)d;
    }
    if (p == first) qc_fail_at(c, QC_SYNTAX, c->t.begin, p, "number without digits");
    c->t.kind = T_INT;
    c->t.integer = value;
    c->t.real = (double)value;
    qc_number_suffix(c, p);
}

/* Any number: long ones, exponents, underscores, other radices. */
static void qc_any_number(qc *c, const char *p) {
    const char *end = c->end;
    int digits = 0, dropped = 0, exponent = 0, is_real = 0, seen = 0, three = c->version == 3;
    uint64_t mantissa = 0;
    c->t.has_number_overflow = 0;
    if (three && p + 1 < end && *p == '0' && strchr("xXbBoO", p[1]) != NULL && p[1] != 0) {
        qc_radix_number(c, p + 2, (p[1] | 32) == 'x' ? 4 : (p[1] | 32) == 'b' ? 1 : 3);
        return;
    }
    for (; p < end; p++) {
        if (qc_class[(uint8_t)*p] == C_DIGIT) {
            seen = 1;
            if (digits < 19) {
                mantissa = mantissa * 10 + (uint64_t)(*p - '0');
                digits += mantissa != 0;
                exponent -= is_real;
            } else {
                dropped = 1;
                exponent += !is_real;
                if (exponent > 100000000) exponent = 100000000;
            }
        } else if (*p == '.' && !is_real) {
            is_real = 1;
        } else if (!(*p == '_' && three && seen)) {
            break;
        }
    }
    if (p < end && (*p | 32) == 'e') {
        const char *q = p + 1;
        int negative = 0, value = 0;
        if (q < end && (*q == '+' || *q == '-')) negative = *q++ == '-';
        if (q < end && qc_class[(uint8_t)*q] == C_DIGIT) {
            for (; q < end && (qc_class[(uint8_t)*q] == C_DIGIT || (three && *q == '_')); q++)
                if (*q != '_' && value < 100000000) value = value * 10 + (*q - '0');
            exponent += negative ? -value : value;
            is_real = 1;
            p = q;
        }
    }
    c->t.integer = mantissa;
    c->t.kind = is_real ? T_REAL : T_INT;
    if (!is_real && dropped) { /* 20 digits may still fit into 64 bits */
        uint64_t value = 0;
        for (const char *q = c->t.begin; q < p; q++) {
            if (*q == '_') continue;
            if (__builtin_mul_overflow(value, (uint64_t)10, &value) || __builtin_add_overflow(value,
                    (uint64_t)(*q - '0'), &value))
                c->t.has_number_overflow = 1;
        }
        c->t.integer = value;
    }
    c->t.real = dropped ? NAN : !is_real ? (double)mantissa : qc_quick_real(mantissa, exponent);
    if (c->t.real != c->t.real) c->t.real = mantissa == 0 ? 0 : qc_slow_real(c->t.begin, p);
    qc_number_suffix(c, p);
}

/* Digits from p on, appended to *value; returns the first other character. Eight at a time: in each byte of the word a
 * digit, then in each pair of bytes, of 16-bit parts and of 32-bit parts two of them joined. Reads at most up to the
 * terminating zero of the source. */
static inline const char *qc_digits(const char *p, const char *end, uint64_t *value) {
    const uint64_t ones = UINT64_C(0x0101010101010101), pairs = UINT64_C(0x000000FF000000FF);
    uint64_t m = *value;
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        /* both 0x30 for the bytes '0' to '9' only */
        uint64_t high = w & ones * 0xF0, carried = (w + ones * 6) & ones * 0xF0;
        if (high != ones * 0x30 || carried != ones * 0x30) break;
        w -= ones * 0x30;
        w = w * 10 + (w >> 8); /* pairs, in the even bytes */
        w = (w & pairs) * (100 + (UINT64_C(1000000) << 32)) + (w >> 16 & pairs) * (1 + (UINT64_C(10000) << 32));
        w >>= 32;
        m = m * 100000000 + (uint32_t)w;
        p += 8;
    }
    for (unsigned d; (d = (unsigned)((uint8_t)*p - '0')) < 10; p++) m = m * 10 + d;
    *value = m;
    return p;
}

/* A number; the usual ones, decimals of up to 19 digits without an exponent, here. */
static void qc_number(qc *c, const char *p) {
    static const double power[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19};
    const char *begin = p, *point;
    uint64_t mantissa = 0;
    p = point = qc_digits(p, c->end, &mantissa);
    int decimals = 0, digits = (int)(p - begin > 20 ? 20 : p - begin);
    if (*p == '.') {
        p = qc_digits(p + 1, c->end, &mantissa);
        decimals = (int)(p - point > 20 ? 20 : p - point) - 1;
        digits += decimals;
    }
    if (digits > 19 || *p == '.' || (qc_class[(uint8_t)*p] & (C_LETTER | C_HIGH))) {
        qc_any_number(c, begin);
        return;
    }
    c->t.has_number_overflow = 0;
    c->t.integer = mantissa;
    c->t.kind = p == point ? T_INT : T_REAL;
    c->t.end = c->at = p;
    if (mantissa >> 53 == 0) { /* both are exact, so the quotient is correctly rounded */
        c->t.real = decimals ? (double)mantissa / power[decimals] : (double)mantissa;
        return;
    }
    c->t.real = decimals ? qc_quick_real(mantissa, -decimals) : (double)mantissa;
    if (c->t.real != c->t.real) c->t.real = qc_slow_real(begin, p);
}

/* What follows the digits: nothing, or in OpenQASM 3 a unit of time or `im`. */
static void qc_number_suffix(qc *c, const char *p) {
    const char *q = p;
    c->t.end = c->at = p;
    while (q < c->end && (qc_class[(uint8_t)*q] & (C_LETTER | C_DIGIT | C_HIGH))) q++;
    if (q == p) return;
    if (c->version == 3) {
        static const struct { const char *text; double seconds; } unit[] = {
            {"ns", 1e-9}, {"us", 1e-6}, {"\xC2\xB5s", 1e-6}, {"\xCE\xBCs", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"dt", 1},
                {"im", 0}};
        for (size_t k = 0; k < sizeof unit / sizeof *unit; k++) {
            if ((size_t)(q - p) == strlen(unit[k].text) && memcmp(p, unit[k].text, (size_t)(q - p)) == 0) {
                c->t.kind = unit[k].seconds == 0 ? T_IMAGINARY : T_TIMING;
                if (c->t.kind == T_TIMING) c->t.real *= unit[k].seconds;
                c->t.end = c->at = q;
                return;
            }
        }
    }
    qc_fail_at(c, QC_SYNTAX, c->t.begin, q, "%s is not a number", qc_quote(c, c->t.begin, (size_t)(q - c->t.begin)));
}

static void qc_identifier(qc *c, const char *p) {
    const char *end = c->end;
    uint64_t key = 0;
    for (;;) {
        while (qc_class[(uint8_t)*p] & (C_LETTER | C_DIGIT)) p++;
        int n = qc_class[(uint8_t)*p] == C_HIGH && c->version != 2 ? qc_high_letter(p, end) : 0;
        if (n == 0) break;
        p += n;
    }
    size_t length = (size_t)(p - c->t.begin);
    if (length > QC_MAX_NAME) qc_fail_at(c, QC_LIMIT, c->t.begin, p, "a name of more than %d bytes", QC_MAX_NAME);
    if (length <= 8 && end - c->t.begin >= 8) {
        memcpy(&key, c->t.begin, 8); /* little-endian, as QC_KEY */
        key &= UINT64_MAX >> (64 - 8 * length);
    } else if (length <= 8) {
        memcpy(&key, c->t.begin, length);
    } else {
        key = UINT64_C(0x9E3779B97F4A7C15) ^ length;
        for (const char *q = c->t.begin; q < p; q++) key = (key ^ (uint8_t)*q) * UINT64_C(0x100000001B3);
        key |= UINT64_C(1) << 63;
    }
    c->t.kind = T_IDENT;
    c->t.key = key;
    c->t.end = c->at = p;
}

static void qc_string(qc *c, const char *p) {
    const char quote = *p++;
    while (p < c->end && *p != quote && *p != '\n') p++;
    if (p >= c->end || *p != quote)
        qc_fail_at(c, QC_SYNTAX, c->t.begin, c->t.begin + 1, "this string is not closed, expected %c", quote);
    c->t.kind = T_STRING;
    c->t.end = c->at = p + 1;
}

static void qc_operator(qc *c, const char *p) {
    int a = (uint8_t)*p, b = p + 1 < c->end ? p[1] : 0, d = p + 2 < c->end ? p[2] : 0, kind = a, n = 1, base = a;
    c->t.assign_op = 0;
    if (a == '-' && b == '>') kind = T_ARROW, n = 2;
    else if (a == '=' && b == '=') kind = T_EQ, n = 2;
    else if (a == '!' && b == '=') kind = T_NE, n = 2;
    else if (a == '<' && b == '=') kind = T_LE, n = 2;
    else if (a == '>' && b == '=') kind = T_GE, n = 2;
    else if (c->version == 3) {
        if (a == b && (a == '<' || a == '>' || a == '*' || a == '+' || a == '&' || a == '|')) {
            base = kind = a == '<' ? T_SHL : a == '>' ? T_SHR : a == '*' ? T_POW : a == '+' ? T_CONCAT : a == '&'
                ? T_AND : T_OR;
            n = 2;
        }
        if ((n == 1 ? b : d) == '=' && kind != T_CONCAT && kind != T_AND && kind != T_OR &&
            (n == 2 || (a < 128 && a != 0 && strchr("+-*/%&|^~", a) != NULL))) {
            kind = T_ASSIGN_OP;
            c->t.assign_op = base;
            n++;
        }
    }
    if (a < 33 || a == 127 || (n == 1 && strchr("()[]{};,:=+-*/%^<>!~&|@#.?", a) == NULL)) {
        int bytes = 1;
        while (a >= 128 && p + bytes < c->end && ((uint8_t)p[bytes] & 0xC0) == 0x80) bytes++;
        if (a < 33 || a == 127)
            qc_fail_at(c, QC_SYNTAX, p, p + 1,
                       "can not parser the sentence at token: a character of code %d has no place in a program", a);
        qc_fail_at(c, QC_SYNTAX, p, p + bytes,
                   "can not parser the sentence at token: %s, this character has no place here",
                   qc_quote(c, p, (size_t)bytes));
    }
    c->t.kind = kind;
    c->t.end = c->at = p + n;
}

/* Reads the next token into c->t. The source ends with a zero byte, which no loop over a class of characters passes. */
static void qc_next(qc *c) {
    c->previous_end = c->t.end;
    while (qc_class[(uint8_t)*c->at] == C_SPACE) c->at++;
    if (*c->at == '/') qc_skip_space(c);
    const char *p = c->at;
    uint8_t class = qc_class[(uint8_t)*p];
    c->t.begin = p;
    if (class == C_SINGLE) {
        c->t.kind = *p;
        c->t.end = c->at = p + 1;
    } else if (class == C_LETTER) {
        qc_identifier(c, p);
    } else if (class == C_DIGIT || (*p == '.' && qc_class[(uint8_t)p[1]] == C_DIGIT)) {
        qc_number(c, p);
    } else if (p >= c->end) {
        c->t.kind = T_EOF;
        c->t.end = p;
    } else if (*p == '"' || (*p == '\'' && c->version == 3)) {
        qc_string(c, p);
    } else if (class == C_HIGH && c->version != 2 && qc_high_letter(p, c->end)) {
        qc_identifier(c, p);
    } else if (*p == '$' && c->version == 3 && qc_class[(uint8_t)p[1]] == C_DIGIT) {
        c->t.begin = c->at = p + 1;
        qc_number(c, p + 1);
        c->t.begin = p;
        if (c->t.kind != T_INT)
            qc_fail_at(c, QC_SYNTAX, p, c->t.end, "a physical qubit is a dollar sign and an integer");
        c->t.kind = T_HARDWARE;
    } else {
        qc_operator(c, p);
    }
}

/* Goes back (or forward) to a place where a token begins. */
static void qc_seek(qc *c, const char *at) {
    c->at = c->t.end = at;
    qc_next(c);
}

static int qc_accept(qc *c, int kind) {
    if (c->t.kind != kind) return 0;
    qc_next(c);
    return 1;
}

static void qc_expect(qc *c, int kind, const char *name) {
    if (c->t.kind != kind) qc_unexpected(c, name);
    qc_next(c);
}

static int qc_is_word(const qc *c, uint64_t key) { return c->t.kind == T_IDENT && c->t.key == key; }

#endif

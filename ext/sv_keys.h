/* Where a simulator's kernel meets Python: circuits as bytes come in, counts as a dict of bit strings go out. */
#ifndef QFAST_SV_KEYS_H
#define QFAST_SV_KEYS_H
#include <Python.h>

#include "sv_counts.h"

/* Points into the three arrays (bytes), which must stay alive; their contents are checked when the plan is made. 0, or -1 with
 * an error set. */
static inline int sv_view_circuit(sv_circuit *c, PyObject *code, PyObject *operands, PyObject *params) {
    if (!PyBytes_Check(code) || !PyBytes_Check(operands) || !PyBytes_Check(params)) { /* None passes for bytes in Cython */
        PyErr_SetString(PyExc_TypeError, "a circuit is made of bytes");
        return -1;
    }
    const Py_ssize_t n = PyBytes_GET_SIZE(code), k = PyBytes_GET_SIZE(operands), p = PyBytes_GET_SIZE(params);
    if (n % (Py_ssize_t)sizeof(qf_instr) || k % 4 || p % 8) {
        PyErr_SetString(PyExc_ValueError, "malformed circuit: an array ends in the middle of an element");
        return -1;
    }
    c->code = (const qf_instr *)(const void *)PyBytes_AS_STRING(code);
    c->n = n / (Py_ssize_t)sizeof(qf_instr);
    c->operands = (const int32_t *)(const void *)PyBytes_AS_STRING(operands);
    c->num_operands = k / 4;
    c->params = (const double *)(const void *)PyBytes_AS_STRING(params);
    c->num_params = p / 8;
    return 0;
}

/* Gives the size of register j of a tuple of (name, size); -1 when it is no pair, no integer or negative. */
static inline int64_t sv_register_size(PyObject *cregs, Py_ssize_t j) {
    PyObject *pair = PyTuple_GET_ITEM(cregs, j);
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) return -1;
    const long long size = PyLong_AsLongLong(PyTuple_GET_ITEM(pair, 1));
    if (PyErr_Occurred()) PyErr_Clear();
    return size < 0 ? -1 : size;
}

/* Whether the registers cover the classical bits exactly: 0, or -1 with ValueError set. */
static inline int sv_check_registers(PyObject *cregs, int64_t num_clbits) {
    int64_t rest = PyTuple_Check(cregs) ? num_clbits : -1;
    for (Py_ssize_t j = 0; rest >= 0 && j < PyTuple_GET_SIZE(cregs); j++) {
        const int64_t size = sv_register_size(cregs, j);
        rest = size < 0 || size > rest ? -1 : rest - size;
    }
    if (rest == 0) return 0;
    PyErr_SetString(PyExc_ValueError, "malformed circuit: the classical registers do not cover the classical bits");
    return -1;
}

/* Writes bits [from, from + size) of a word as text that ends before `end`, the first bit rightmost. */
static inline void sv_write_bits(unsigned char *end, const uint64_t *word, int64_t from, int64_t size) {
    int64_t k = 0;
    for (; k + 8 <= size; k += 8) { /* eight bits to eight bytes: bit j of the product's byte j, then the bytes turn around */
        const int64_t at = from + k, shift = at & 63;
        uint64_t bits = word[at >> 6] >> shift;
        if (shift > 56) bits |= word[(at >> 6) + 1] << (64 - shift);
        const uint64_t spread = ((bits & 255) * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);
        uint64_t text = ((spread + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7) & UINT64_C(0x0101010101010101);
        text = __builtin_bswap64(text | UINT64_C(0x3030303030303030)); /* '0' */
        memcpy(end - k - 8, &text, 8);
    }
    for (; k < size; k++) end[-k - 1] = (unsigned char)('0' + ((word[(from + k) >> 6] >> ((from + k) & 63)) & 1));
}

/* The counts as a dict from bit strings: bit 0 rightmost, one space between registers, the last register leftmost. The registers
 * have been checked. None when the flag was set, NULL on an error. Other threads get their turn now and then. */
static inline PyObject *sv_keyed(const sv_counts *h, int64_t num_clbits, PyObject *cregs, const volatile unsigned char *cancel) {
    const Py_ssize_t registers = PyTuple_GET_SIZE(cregs);
    const int64_t length = num_clbits + (registers > 1 ? registers - 1 : 0);
    int64_t *sizes = PyMem_Malloc(sizeof *sizes * (size_t)(registers + 1));
    PyObject *result = sizes ? PyDict_New() : PyErr_NoMemory();
    for (Py_ssize_t j = 0; sizes && j < registers; j++) sizes[j] = sv_register_size(cregs, j);
    for (int64_t e = 0; result && e < h->used; e++) {
        if ((e & 0xfff) == 0xfff) {
            Py_BEGIN_ALLOW_THREADS
            Py_END_ALLOW_THREADS
            if (cancel && *cancel) {
                Py_DECREF(result);
                result = Py_NewRef(Py_None);
                break;
            }
        }
        PyObject *key = PyUnicode_New(length, 127), *count = PyLong_FromLongLong(h->count[e]);
        if (key && length) {
            unsigned char *end = PyUnicode_1BYTE_DATA(key) + length;
            int64_t from = 0;
            for (Py_ssize_t j = 0; j < registers; j++) {
                if (j) *--end = ' ';
                sv_write_bits(end, h->words + e * h->num_words, from, sizes[j]);
                from += sizes[j];
                end -= sizes[j];
            }
        }
        if (!key || !count || PyDict_SetItem(result, key, count)) Py_CLEAR(result);
        Py_XDECREF(key);
        Py_XDECREF(count);
    }
    PyMem_Free(sizes);
    return result;
}

#endif

/* Where a simulator's kernel meets Python: circuits as bytes come in, counts as a dict of bit strings go out. */
#ifndef QFAST_SV_KEYS_H
#define QFAST_SV_KEYS_H
#include <Python.h>

#include "sv_counts.h"

/* Points into the three arrays (bytes), which must stay alive; their contents are checked when the plan is made. 0, or -1 with
 * ValueError set. */
static inline int sv_view_circuit(sv_circuit *c, PyObject *code, PyObject *operands, PyObject *params) {
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
    int64_t rest = num_clbits;
    for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(cregs) && rest >= 0; j++) {
        const int64_t size = sv_register_size(cregs, j);
        rest = size < 0 || size > rest ? -1 : rest - size;
    }
    if (rest == 0) return 0;
    PyErr_SetString(PyExc_ValueError, "malformed circuit: the classical registers do not cover the classical bits");
    return -1;
}

/* The counts as a dict from bit strings: bit 0 rightmost, one space between registers, the last register leftmost. The registers
 * have been checked. None when the flag was set, NULL on an error. Other threads get their turn now and then. */
static inline PyObject *sv_keyed(const sv_counts *h, int64_t num_clbits, PyObject *cregs, const volatile unsigned char *cancel) {
    const Py_ssize_t registers = PyTuple_GET_SIZE(cregs);
    const int64_t length = num_clbits + (registers > 1 ? registers - 1 : 0);
    int64_t *place = PyMem_Malloc(sizeof *place * (size_t)(num_clbits + 1)), at = length, bit = 0;
    PyObject *result = place ? PyDict_New() : PyErr_NoMemory();
    for (Py_ssize_t j = 0; place && j < registers; j++, at--)
        for (int64_t left = sv_register_size(cregs, j); left > 0; left--) place[bit++] = --at;
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
            unsigned char *text = PyUnicode_1BYTE_DATA(key);
            const uint64_t *word = h->words + e * h->num_words;
            if (registers > 1) memset(text, ' ', (size_t)length);
            for (int64_t b = 0; b < num_clbits; b++) text[place[b]] = (unsigned char)('0' + ((word[b >> 6] >> (b & 63)) & 1));
        }
        if (!key || !count || PyDict_SetItem(result, key, count)) Py_CLEAR(result);
        Py_XDECREF(key);
        Py_XDECREF(count);
    }
    PyMem_Free(place);
    return result;
}

#endif

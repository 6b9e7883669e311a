/* Where a simulator's kernel meets Python: circuits as bytes come in, counts as a dict or as text go out. */
#ifndef QFAST_SV_KEYS_H
#define QFAST_SV_KEYS_H
#include <Python.h>

#include "sv_text.h"

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

/* Bytes filled without the interpreter; NULL with an error set, None when the flag was set. `shots`: one key each, else counts. */
static inline PyObject *sv_text(const sv_counts *h, const sv_form *form, int shots, uint64_t seed,
                                const volatile unsigned char *cancel) {
    const int64_t bytes = shots ? sv_memory_bytes(h, form) : sv_json_bytes(h, form);
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    unsigned char *out = text ? (unsigned char *)PyBytes_AS_STRING(text) : NULL;
    int result = SV_OK;
    if (!text) return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (shots) result = sv_write_memory(out, h, form, seed, cancel);
    else if (!sv_write_json(out, h, form, cancel)) result = SV_CANCELLED;
    Py_END_ALLOW_THREADS
    if (result == SV_OK) return text;
    Py_DECREF(text);
    return result == SV_CANCELLED ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

/* A dict from keys to counts. Other threads get their turn now and then. */
static inline PyObject *sv_dict(const sv_counts *h, const sv_form *form, const volatile unsigned char *cancel) {
    PyObject *result = PyDict_New();
    for (int64_t e = 0; result && e < h->used; e++) {
        if ((e & 0xfff) == 0xfff) {
            Py_BEGIN_ALLOW_THREADS
            Py_END_ALLOW_THREADS
            if (cancel && *cancel) {
                Py_DECREF(result);
                return Py_NewRef(Py_None);
            }
        }
        PyObject *key = PyUnicode_New(form->length, 127), *count = PyLong_FromLongLong(h->count[e]);
        if (key && form->length) sv_write_key(PyUnicode_1BYTE_DATA(key), h->words + e * h->num_words, form);
        if (!key || !count || PyDict_SetItem(result, key, count)) Py_CLEAR(result);
        Py_XDECREF(key);
        Py_XDECREF(count);
    }
    return result;
}

enum { SV_AS_DICT = 0, SV_AS_JSON = 1, SV_AS_MEMORY = 2 };

/* The counts as a dict, as JSON bytes, or as a pair of these and of the JSON array of one key per shot. The registers have been
 * checked. None when the flag was set, NULL on an error. */
static inline PyObject *sv_rendered(const sv_counts *h, int64_t num_clbits, PyObject *cregs, const volatile unsigned char *cancel,
                                    int as, uint64_t seed) {
    const Py_ssize_t registers = PyTuple_GET_SIZE(cregs);
    int64_t *sizes = PyMem_Malloc(sizeof *sizes * (size_t)(registers + 1));
    if (!sizes) return PyErr_NoMemory();
    const sv_form form = {.sizes = sizes, .registers = registers, .length = num_clbits + (registers > 1 ? registers - 1 : 0)};
    for (Py_ssize_t j = 0; j < registers; j++) sizes[j] = sv_register_size(cregs, j);
    PyObject *result = as == SV_AS_DICT ? sv_dict(h, &form, cancel) : sv_text(h, &form, 0, 0, cancel);
    if (as == SV_AS_MEMORY && result && result != Py_None) {
        PyObject *counts = result, *shots = sv_text(h, &form, 1, qf_mix64(seed ^ UINT64_C(0xa0761d6478bd642f)), cancel);
        result = shots && shots != Py_None ? PyTuple_Pack(2, counts, shots) : Py_XNewRef(shots);
        Py_DECREF(counts);
        Py_XDECREF(shots);
    }
    PyMem_Free(sizes);
    return result;
}

#endif

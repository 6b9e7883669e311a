"""Seeds of the fuzzers: what the tests of each parser accept, and pieces of its language."""

from __future__ import annotations

import io
import json
import string

import numpy as np
import test_qasm2
import test_qasm3

PROGRAMS = [text.encode() for text in (*test_qasm2.VALID, *test_qasm3.VALID)]
PROGRAM_PIECES = [
    piece.encode()
    for piece in (
        *string.punctuation,
        *[
            "0",
            "1",
            "9",
            "-1",
            "1.5",
            "1e999",
            "0x1F",
            "0b1",
            "1_0",
            "2im",
            "10ns",
            "99999999999999999999",
            "18446744073709551615",
            "pi",
            "τ",
            "q",
            "c",
            "k",
            "int",
            "bit",
            "uint",
        ],
        *[
            "++",
            "**",
            "<<",
            ">>",
            "==",
            "!=",
            "<=",
            ">=",
            "&&",
            "||",
            "+=",
            "<<=",
            "->",
            "//x",
            "/*",
            "*/",
            "\n",
            "\x00",
            "\r",
            "é",
            '"01"',
            "$0",
            "#",
            "@",
            "[0]",
            "[0:1]",
            "[{0,1}]",
            "[:]",
            "[-1]",
            "[::]",
        ],
        *[
            "[int(c[0])]",
            "[int(c)]",
            "(int(c))",
            "{1,2}",
            ",q",
            ",c[0]",
            "true",
            "measure",
            "sizeof(q)",
            "popcount(c)",
            "rotl(c,1)",
            "real(k)",
            "q[0]",
            "c[0]",
        ],
        "gate g a { x a; } ",
        "gate h2(t) a, b { rx(t) a; pow(0.5) @ cx a, b; } ",
        "if (c[0]) ",
        "if (c == 1) ",
        "else ",
        "while (c[0]) ",
        "while (true) ",
        "for int i in [0:3] ",
        "for int i in {1, 2} ",
        "switch (int(c)) { case 1 { } default { } } ",
        "measure q;",
        "measure q -> c;",
        "c = measure q;",
        "reset q;",
        "barrier q;",
        "break;",
        "continue;",
        "return;",
        "return 1;",
        "end;",
        "let a = q[0:1];",
        "def f(qubit a, int n) -> int { return n; } ",
        "f(q[0], 1);",
        "ctrl @ ",
        "ctrl(2) @ ",
        "negctrl @ ",
        "inv @ ",
        "pow(0.5) @ ",
        "pow(-3) @ ",
        "array[int, 2] v = {1, 2};",
        "array[float[64], 2, 2] ",
        "const int n = 3;",
        "bit[70] w;",
        "complex z = 1 + 2im;",
        "input float t;",
        "output bit r;",
        "extern f(int) -> int;",
        "cal { } ",
        "defcal x $0 { } ",
        "box { } ",
        "delay[1ns] q;",
        "stretch s;",
        "duration d = 1ns;",
        "pragma x\n",
        "@x\n",
        "OPENQASM 3.0;",
        "OPENQASM 2.0;",
        'include "stdgates.inc";',
        'include "qelib1.inc";',
        "qubit[2] z;",
        "qreg z[2];",
        "creg y[2];",
        "opaque o a;",
    )
]
JSON = [
    b'{"jsonrpc": "2.0", "method": "submit_job", "params": {"body": {"shots": 1024, "source_code": ["x q;"]}}, "id": 1}',
    b'[1, -2.5e-3, "a\\u00e9\\n\\"", null, true, false, {"a": [], "b": {}}, "\xc3\xa9\xf0\x9f\x98\x80"]',
    b'{"k": {"k": {"k": [[[[1]]]]}}, "x": 0.1, "y": 12345678901234567890}',
    b'" plain "',
    b" [ ] ",
]
MATRICES = [
    b"[[[1, 2], [3, 4]]]",
    b'[{"n": 3, "row": [0, 1], "col": [2, 1], "value": [0.5, -1e3]}]',
    b"[[[0.1, -0.2, 1e-300], [1, 2, 3], [1e300, 5, 6.25]], [[1]]]",
    b'[{"value": [1], "n": 1, "col": [0], "row": [0]}, [[-1, 2], [0, 4]]]',
]
JSON_PIECES = [
    piece.encode("utf-8", "surrogatepass")
    for piece in (
        *'[]{},:"\\/-+.eE0123456789 tfn',
        *[
            "true",
            "false",
            "null",
            "NaN",
            "Infinity",
            "1e999",
            "-0",
            "01",
            "1.",
            ".5",
            "1e",
            "99999999999999999999",
            "0.1000000000000000055511151231257827",
        ],
        *[
            '"n"',
            '"row"',
            '"col"',
            '"value"',
            '"a":1',
            '"a":1,"a":2',
            "[[",
            "]]",
            "[1,2],[3,4]",
            "[0.5]",
            "{}",
            "[]",
            '"\\ud800"',
            '"\\u0000"',
            '"�"',
        ],
        "[" * 50,
        "]" * 50,
        '{"a":' * 50,
        "\n\t\r ",
    )
]
FILE_PIECES = [
    *JSON_PIECES,
    *(
        piece.encode()
        for piece in (
            *["p qubo 0 3 2 1\n", "c a comment\n", "%%MatrixMarket matrix coordinate real symmetric\n", "% note\n"],
            *["pattern", "array", "general", "skew-symmetric", "integer", "complex", "1 2 0.5\n", "0 0 1\n", "3 3 2\n"],
            *["5 6\n", "1,2\n", "1;2\n", "\t", "-1", "1e308", "9" * 400, "20001 20001 1\n", '"linear"', '"quadratic"'],
            *['"variable_labels"', '"offset"', '"vartype"', '"BINARY"', '"SPIN"', "\ufeff", "\x00", "nan", "inf"],
        )
    ),
]


def files() -> list[bytes]:
    """A small file of each format that the sources know, its ending on a line before it."""
    numpy_file, numpy_archive = io.BytesIO(), io.BytesIO()
    np.save(numpy_file, np.array([[1.0, -2.0], [0.0, 3.0]]))
    np.savez(numpy_archive, n=np.array(2), row=np.array([0]), col=np.array([1]), value=np.array([0.5]))
    model = {
        "type": "BinaryQuadraticModel", "version": {"bqm_schema": "3.0.0"}, "use_bytes": False, "index_type": "uint16",
        "bias_type": "float32", "num_variables": 2, "num_interactions": 1, "variable_labels": [0, 1],
        "variable_type": "BINARY", "offset": 0.5, "info": {}, "linear_biases": [1.0, -1.0],
        "quadratic_biases": [2.0], "quadratic_head": [0], "quadratic_tail": [1],
    }  # fmt: skip
    return [
        b"csv\n1,2\n3,4\n",
        b"csv\n1 2.5;-3\n0 1 2\n4 5 6\n",
        b"json\n[[1, 2], [3, 4]]",
        b'json\n{"n": 2, "row": [0], "col": [1], "value": [0.5]}',
        b"json\n" + json.dumps(model).encode(),
        b"npy\n" + numpy_file.getvalue(),
        b"npz\n" + numpy_archive.getvalue(),
        b"qubo\nc a problem\np qubo 0 3 2 1\n0 0 1\n1 1 -2.5\n0 2 3\n",
        b"mtx\n%%MatrixMarket matrix coordinate real symmetric\n% note\n2 2 2\n1 1 0.5\n2 1 -3\n",
        b"mtx\n%%MatrixMarket matrix array integer general\n2 2\n1\n2\n3\n4\n",
        b"rudy\n3 2\n1 2 1\n2 3 -1\n",
        b"\n3 2\n1 2 1\n2 3 -1\n",
        b"qasm\nOPENQASM 2.0; qreg q[1];",
    ]

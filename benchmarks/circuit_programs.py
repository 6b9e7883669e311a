"""The circuits that the benchmarks run, as gate lists and as OpenQASM 2 text; every qubit is measured."""

from __future__ import annotations

import numpy as np

# A gate list: (name in OpenQASM 2, qubits, params in radians)
Gates = list[tuple[str, tuple[int, ...], tuple[float, ...]]]
HEADER = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


def ghz(n: int) -> Gates:
    return [("h", (0,), ()), *(("cx", (q, q + 1), ()) for q in range(n - 1))]


def brickwork(n: int, layers: int) -> Gates:
    rng, gates = np.random.default_rng(1), Gates()
    for layer in range(layers):
        gates += [("u3", (q,), tuple(rng.uniform(0, 6, 3))) for q in range(n)]
        gates += [("cx", (q, q + 1), ()) for q in range(layer % 2, n - 1, 2)]
    return gates


def qft(n: int) -> Gates:
    """The quantum Fourier transform of a product state, with its final swaps."""
    gates: Gates = [("ry", (q,), (0.1 + q,)) for q in range(n)]
    for q in reversed(range(n)):
        gates.append(("h", (q,), ()))
        gates += [("cp", (j, q), (np.pi / 2 ** (q - j),)) for j in reversed(range(q))]
    return gates + [("swap", (q, n - 1 - q), ()) for q in range(n // 2)]


def quantum_volume(n: int, layers: int = 10) -> Gates:
    """Layers of random pairs, each with a generic SU(4)."""
    rng, gates = np.random.default_rng(1), Gates()
    for _ in range(layers):
        pairs = rng.permutation(n).tolist()
        for a, b in zip(pairs[::2], pairs[1::2], strict=False):
            gates += [("u3", (q,), tuple(rng.uniform(0, 6, 3))) for q in (a, b)]
            gates += [
                ("cx", (b, a), ()),
                ("rz", (a,), (rng.uniform(),)),
                ("ry", (b,), (rng.uniform(),)),
                ("cx", (a, b), ()),
            ]
            gates += [("ry", (b,), (rng.uniform(),)), ("cx", (b, a), ())]
            gates += [("u3", (q,), tuple(rng.uniform(0, 6, 3))) for q in (a, b)]
    return gates


def ansatz(n: int, layers: int = 4) -> Gates:
    """A hardware-efficient ansatz: layers of ry, rz and a ladder of cx."""
    rng, gates = np.random.default_rng(2), Gates()
    for _ in range(layers):
        for q in range(n):
            gates += [("ry", (q,), (rng.uniform(0, 6),)), ("rz", (q,), (rng.uniform(0, 6),))]
        gates += [("cx", (q, q + 1), ()) for q in range(n - 1)]
    return gates


def clifford_layers(n: int, far: bool) -> Gates:
    """20 layers of two random one-qubit gates a qubit and cx between neighbours, or between random pairs."""
    rng, gates = np.random.default_rng(1), Gates()
    for layer in range(20):
        for q in range(n):
            gates += [(str(name), (q,), ()) for name in rng.choice(["h", "s", "x", "sx"], 2)]
        order = rng.permutation(n).tolist() if far else list(range(layer % 2, n))
        gates += [("cx", (a, b), ()) for a, b in zip(order[::2], order[1::2], strict=False)]
    return gates


def lines(gates: Gates) -> list[str]:
    """The gates as statements on the register q; angles with ten decimals."""
    return [
        f"{name}{'(' + ','.join(f'{p:.10f}' for p in params) + ')' if params else ''} "
        f"{','.join(f'q[{q}]' for q in qubits)};"
        for name, qubits, params in gates
    ]


def program(n: int, gates: Gates) -> str:
    """The gates and a measurement of all n qubits, as OpenQASM 2."""
    return HEADER + "\n".join([f"qreg q[{n}];", f"creg c[{n}];", *lines(gates), "measure q -> c;\n"])


def teleportation() -> str:
    """A qubit sent by two measured bits and two conditional gates."""
    return HEADER + (
        "qreg q[3]; creg a[1]; creg b[1]; creg out[1];\nu3(1.1,0.3,0.2) q[0]; h q[1]; cx q[1],q[2]; cx q[0],q[1]; h q[0];\n"
        "measure q[0] -> a[0]; measure q[1] -> b[0];\nif(b==1) x q[2];\nif(a==1) z q[2];\nmeasure q[2] -> out[0];\n"
    )


def rounds(n: int, times: int) -> str:
    """Rotations and a ladder of cx, then every qubit measured into bits of its own and reset; so many times."""
    once = lines([("ry", (q,), (0.3 + q,)) for q in range(n)] + ghz(n)[1:])
    text = [f"qreg q[{n}];", *(f"creg c{turn}[{n}];" for turn in range(times))]
    for turn in range(times):
        text += [*once, f"measure q -> c{turn};", "reset q;"]
    return HEADER + "\n".join(text)


def repetition(data: int, times: int) -> str:
    """A repetition code: the parities of neighbours measured by ancillas that are reset, so many times."""
    ancillas = data - 1
    text = [f"qreg q[{data + ancillas}]; creg syndrome[{times * ancillas}]; creg c[{data}];", "h q[0];"]
    text += [f"cx q[0],q[{q}];" for q in range(1, data)]
    for turn in range(times):
        for k in range(ancillas):
            a = data + k
            text += [f"cx q[{k}],q[{a}]; cx q[{k + 1}],q[{a}];"]
            text += [f"measure q[{a}] -> syndrome[{turn * ancillas + k}]; reset q[{a}];"]
    return HEADER + "\n".join(text + [f"measure q[{q}] -> c[{q}];" for q in range(data)])

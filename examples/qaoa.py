"""QAOA on a QUBO: the circuit finds the solution that the solver proves to be the best. Needs a server: `qfast serve`.

The matrix is max-cut of a ring of eight nodes with two chords. Its cost as an Ising sum is estimated exactly; the angles of
three layers go downhill along gradients, all points of a gradient in one job.
"""

from qfast import Client

NODES, LAYERS = 8, 3
EDGES = [(k, (k + 1) % NODES) for k in range(NODES)] + [(0, 4), (2, 6)]
MATRIX = {(i, i): 0 for i in range(NODES)}
for i, j in EDGES:  # minus the cut: x_i + x_j - 2 x_i x_j is 1 where an edge is cut
    MATRIX[i, i] -= 1
    MATRIX[j, j] -= 1
    MATRIX[i, j] = MATRIX.get((i, j), 0) + 2


def pauli(*qubits: int) -> str:
    """Z on these qubits, the rightmost character being qubit 0."""
    return "".join("Z" if k in qubits else "I" for k in reversed(range(NODES)))


# x = (1 - z) / 2 in each term of the matrix
COST: dict[str, float] = {}
for (i, j), value in MATRIX.items():
    parts = (
        [((), value / 2), ((i,), -value / 2)]
        if i == j
        else [((), value / 4), ((i,), -value / 4), ((j,), -value / 4), ((i, j), value / 4)]
    )
    for qubits, weight in parts:
        COST[pauli(*qubits)] = COST.get(pauli(*qubits), 0.0) + weight

names = [f"{kind}{layer}" for layer in range(LAYERS) for kind in ("g", "b")]
lines = [f"input float {name};" for name in names] + [f"qubit[{NODES}] q;", "h q;"]
for layer in range(LAYERS):
    lines += [f"cx q[{i}], q[{j}]; rz(g{layer}) q[{j}]; cx q[{i}], q[{j}];" for i, j in EDGES]
    lines += [f"rx(2 * b{layer}) q;"]
CIRCUIT = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n' + "\n".join(lines) + "\n"

with Client() as client:

    def costs(points: list[list[float]]) -> list[float]:
        """The cost at each of some points, in one job."""
        sets = [dict(zip(names, point, strict=True)) for point in points]
        rows = client.run([CIRCUIT], job_type="estimation", observables=[COST], parameters=[sets], timeout=60)
        return [row["results"]["evs"][0] for row in rows]

    angles = [0.3, 0.6, 0.5, 0.4, 0.6, 0.2]
    step, small = 0.04, 1e-4
    for _ in range(120):
        points = [
            [*angles[:k], angles[k] + shift, *angles[k + 1 :]] for k in range(len(angles)) for shift in (small, -small)
        ]
        values = costs(points)
        slopes = [(values[2 * k] - values[2 * k + 1]) / (2 * small) for k in range(len(angles))]
        angles = [angle - step * slope for angle, slope in zip(angles, slopes, strict=True)]
    (cost,) = costs([angles])

    best = client.run(MATRIX, timeout=60)[0]
    point = [dict(zip(names, angles, strict=True))]
    counts = client.run([CIRCUIT], shots=2000, parameters=[point], timeout=60)[0]["results"]

proven = {
    tuple(row["solutionVector"]) for row in best["results"] if row["quboValue"] == best["results"][0]["quboValue"]
}
found = sum(count for bits, count in counts.items() if tuple(map(int, reversed(bits))) in proven)
best_cost = best["results"][0]["quboValue"]
print(f"expected cost {cost:.3f}, at best {best_cost:g}; {found} of 2000 shots hold a proven best solution")
if cost > 0.8 * best_cost or found < 400:
    raise SystemExit("that is not a good solution")

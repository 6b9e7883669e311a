"""The ground state of the hydrogen molecule by a variational loop in a session. Needs a server: `qfast serve`.

Two qubits hold the molecule at 0.735 angstrom (parity mapping); the exact energy is -1.8572750302 hartree. Each angle in
turn goes to its minimum: the energy is a sine of it, so three values tell where that is (Nakanishi, Fujii, Todo, arXiv
1903.12166).
"""

from math import atan2, pi

from qfast import Estimator, Session

HYDROGEN = {
    "II": -1.052373245773,
    "IZ": 0.397937424843,
    "ZI": -0.397937424843,
    "ZZ": -0.011280104256,
    "XX": 0.180931199784,
}
EXACT = -1.857275030202
ANSATZ = """OPENQASM 3.0;
include "stdgates.inc";
input float a; input float b; input float c; input float d;
qubit[2] q;
ry(a) q[0]; ry(b) q[1]; cx q[0], q[1]; ry(c) q[0]; ry(d) q[1];
"""

with Session(backend="dummy", max_time="10m") as session:
    estimator = Estimator(session=session)
    angles = [0.1, 0.2, 0.3, 0.4]
    for _ in range(12):
        for k in range(len(angles)):
            points = [[*angles[:k], angles[k] + shift, *angles[k + 1 :]] for shift in (0.0, pi / 2, -pi / 2)]
            job = estimator.run([ANSATZ] * 3, [HYDROGEN] * 3, points)
            here, plus, minus = job.result(timeout=60).values
            angles[k] -= pi / 2 + atan2(2 * here - plus - minus, plus - minus)
    energy = estimator.run(ANSATZ, HYDROGEN, angles).result(timeout=60).values[0]
    jobs = session.details()["jobs"]

print(f"energy {energy:.6f} hartree, exact {EXACT:.6f}, {sum(jobs.values())} jobs in one session")
if abs(energy - EXACT) > 1e-6:
    raise SystemExit("that is not the ground state")

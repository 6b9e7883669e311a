"""A variational loop in a session: the angle that minimises <Z> of ry(angle)|0> is pi. Needs a server: `qfast serve`."""

from math import pi

from qfast import Estimator, Options, Sampler, Session

ANSATZ = """OPENQASM 3.0;
include "stdgates.inc";
input float angle;
qubit[1] q;
ry(angle) q[0];
"""

with Session(backend="dummy", max_time="10m") as session:
    estimator = Estimator(session=session)
    angle, step = 0.4, 0.4
    for _ in range(40):
        # the gradient by the parameter shift rule, both points in one job
        job = estimator.run([ANSATZ] * 2, ["Z"] * 2, [[angle + pi / 2], [angle - pi / 2]])
        plus, minus = job.result(timeout=60).values
        angle -= step * (plus - minus) / 2
    sampler = Sampler(session=session, options=Options(optimization_level=1))
    shares = sampler.run(ANSATZ, [angle], shots=1000).result(timeout=60).quasi_dists[0]
    print(session.status())

print(f"angle {angle:.4f}, pi {pi:.4f}, outcomes {shares.binary_probabilities()}")

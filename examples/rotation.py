"""Forty circuits in one job: the chance of measuring 1 after ry(angle) is sin(angle / 2) squared."""

from math import pi, sin

from qfast import Client

PROGRAM = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\ncreg c[1];\nry({angle}) q[0];\nmeasure q -> c;\n'
SHOTS = 2000

angles = [2 * pi * step / 40 for step in range(40)]
with Client() as client:
    rows = client.run([PROGRAM.format(angle=angle) for angle in angles], shots=SHOTS)

for angle, row in zip(angles, rows, strict=True):
    measured = row["results"].get("1", 0) / SHOTS
    print(f"{angle:5.2f}  {measured:5.3f}  expected {sin(angle / 2) ** 2:5.3f}  {'#' * round(40 * measured)}")

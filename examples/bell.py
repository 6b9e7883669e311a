"""A Bell pair: submit, wait, read the counts. Needs a server: `qfast serve`."""

from pathlib import Path

from qfast import Client

program = (Path(__file__).parent / "bell.qasm").read_text()

with Client() as client:
    (row,) = client.run(program, shots=1000, driver_options={"seed": 1})

for bits, count in sorted(row["results"].items()):
    print(bits, count)

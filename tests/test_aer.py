"""The Aer driver: counts in Qiskit's form, errors with a position, and no file ever read."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from qfast.drivers import aer
from qfast.errors import (
    CircuitError,
    JobCancelled,
    ParseError,
    QubitLimitError,
    TimeLimitError,
    TranspileError,
)
from qfast.lanes import third_party
from qfast.plugins import Device, Outcome, Task

pytestmark = pytest.mark.skipif(not aer.available(), reason="needs qfast[aer]")

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
BELL = TWO + "qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"
DEEP = "OPENQASM 2.0;\nqreg q[24]; creg c[24]; " + "U(1,1,1) q; CX q[0],q[1];" * 300 + "measure q->c;"


def run(source: str, code_type: str = "qasm", shots: int = 100, seed: int = 7, **options: Any) -> dict[str, int]:
    return aer.run_program(source, code_type, shots, seed, **options)[0]


def task(source: str, **fields: Any) -> Task:
    return Task(device=Device(name="aer", driver="DriverAer"), code_type="qasm", source=source, shots=50, **fields)


def test_a_bell_pair() -> None:
    counts, num_qubits, implicit = aer.run_program(BELL, "qasm", 1000, 7)
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 1000
    assert abs(counts["00"] - 500) < 7 * 16
    assert (num_qubits, implicit) == (2, False)


@pytest.mark.parametrize(
    ("source", "bits"),
    [
        (TWO + "qreg q[2]; creg c[2]; x q[0]; measure q->c;", "01"),
        (TWO + "qreg q[2]; creg a[1]; creg b[2]; x q[0]; measure q[0]->a[0];", "00 1"),
        (TWO + "qreg q[2]; creg b[2]; creg a[1]; x q[1]; measure q->b; measure q[1]->a[0];", "1 10"),
        (TWO + "qreg q[3]; x q[0]; swap q[0],q[1];", "010"),
        (TWO + "qreg q[3]; creg c[1]; creg meas[2]; x q[2]; if(c==0) x q[0];", "101"),
        (TWO + "gate twice a { x a; x a; } qreg q[1]; creg c[1]; twice q[0]; x q[0]; measure q->c;", "1"),
        (TWO + "qreg q[2]; creg c[2]; x q[0]; measure q[0]->c[0]; if(c==1) x q[1]; measure q[1]->c[1];", "11"),
        (THREE + "qubit[2] q; bit a; bit[2] b; bit c; x q[0]; c = measure q[0]; b[1] = measure q[0];", "1 10 0"),
        (THREE + "qubit[2] q; bit[2] c; x q[0]; c[0] = measure q[0]; if (c[0]) { x q[1]; } c[1] = measure q[1];", "11"),
        (THREE + "qubit[3] q; x q[2]; ctrl @ x q[2], q[0];", "101"),
        ("qubit[2] q; U(pi, 0, pi) q[1];", "10"),
        ("qreg q[2]; U(pi, 0, pi) q[1];", "10"),
        ("/* of old */ // 3\n OPENQASM 3;\nqubit[2] q; U(pi, 0, pi) q[1];", "10"),
    ],
)
def test_bits_stand_where_qiskit_puts_them(source: str, bits: str) -> None:
    assert run(source, shots=20) == {bits: 20}


def test_more_than_64_bits() -> None:
    source = TWO + "qreg q[2]; creg a[70]; creg b[1]; x q[0]; measure q[0]->a[69]; measure q[1]->b[0];"
    assert run(source) == {"0 1" + "0" * 69: 100}


def test_the_same_seed_gives_the_same_counts() -> None:
    source = TWO + "qreg q[6]; h q;"
    assert run(source, seed=2**64 - 1) == run(source, seed=2**64 - 1)
    assert run(source, seed=1) != run(source, seed=2)


def test_the_driver_runs_a_task_and_notes_the_implicit_measurement() -> None:
    driver = aer.AerDriver(Device(name="aer", driver="DriverAer"))
    measured = task(BELL, seed=3)
    outcome = driver.run(driver.transpile(driver.parse(measured), measured), measured)
    assert isinstance(outcome, Outcome)
    assert sum(outcome.results.values()) == 50
    assert measured.metadata == {}
    bare = task(TWO + "qreg q[1]; x q[0];", options=aer.AerOptions(seed=1, method="stabilizer", precision="single"))
    assert driver.run(driver.parse(bare), bare).results == {"1": 50}
    assert bare.metadata == {"implicit_measurement": True}
    driver.close()


@pytest.mark.parametrize(
    ("source", "error", "line", "column"),
    [
        (TWO + "qreg q[2];\n  foo q[0];", ParseError, 4, 3),
        (TWO + "qreg q[2]\nh q[0];", ParseError, 4, 1),
        (THREE + "qubit[2] q;\n  foo q[0];", ParseError, 4, 3),
        (THREE + "qubit[2] q\n h q;", ParseError, 4, 2),
        (TWO + 'include "other.inc";', ParseError, 3, 1),
        ("qreg q[99999999999999999999];", ParseError, None, None),
        (THREE + "qubit q; def f(int i) -> int { return i; }", TranspileError, None, None),
        (THREE + "input float a; qubit q; rx(a) q;", TranspileError, None, None),
        (TWO, TranspileError, None, None),
        (TWO + "opaque magic a; qreg q[1]; magic q[0];", TranspileError, None, None),
        (TWO + "qreg q[40];", QubitLimitError, None, None),
    ],
)
def test_errors_say_where(source: str, error: type[CircuitError], line: int | None, column: int | None) -> None:
    with pytest.raises(error) as caught:
        run(source)
    if line is not None:
        assert caught.value.text.startswith(f"in line {line}, column {column}, ")
        assert caught.value.data is not None
        assert (caught.value.data["line"], caught.value.data["column"]) == (line, column)
        written, caret = caught.value.data["snippet"].split("\n")
        assert written == source.split("\n")[line - 1]
        assert caret.index("^") + 1 == column


@pytest.mark.parametrize("head", ["OPENQASM 2.0;\n", "OPENQASM 3.0;\n"])
@pytest.mark.parametrize(
    "include",
    [
        'include "{}";',
        "include '{}';",
        'include/**/"{}";',
        'include // x\n"{}";',
        '/* " */include "{}";',
        'include\t\n"{}";',
    ],
)
def test_no_program_reads_a_file(head: str, include: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.inc"
    secret.write_text("TOPSECRET;\n")
    with pytest.raises(ParseError) as refused:
        run(head + include.format(secret) + "\nqreg q[1];")
    assert "TOPSECRET" not in repr((refused.value.text, refused.value.data))
    payload = {"source": head + include.format(secret), "version": int(head[9])}
    with pytest.raises(CircuitError) as caught:  # the worker's own parser would not read it either
        third_party().call("qfast.drivers._aer_worker:sample", payload)
    assert "TOPSECRET" not in repr((caught.value.text, caught.value.data))


def test_an_include_in_a_comment_or_a_name_is_none() -> None:
    assert run(TWO + '// include "x"\nqreg include_q[1]; // "\nx include_q[0];') == {"1": 100}


def test_a_doubling_program_is_stopped_at_its_deadline() -> None:
    gates = "gate g0 a { U(1,1,1) a; }\n" + "".join(
        f"gate g{k} a {{ g{k - 1} a; g{k - 1} a; }}\n" for k in range(1, 40)
    )
    with pytest.raises(TimeLimitError):
        run("OPENQASM 2.0;\n" + gates + "qreg q[1]; g39 q[0];", deadline=time.monotonic() + 0.5)


def test_a_run_is_cancelled() -> None:
    run(BELL)  # a worker is up
    cancel = bytearray(1)
    timer = threading.Timer(0.2, cancel.__setitem__, (0, 1))
    timer.start()
    with pytest.raises(JobCancelled):
        run(DEEP, cancel=cancel)
    timer.join()


def test_without_qiskit_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aer, "available", lambda: False)
    with pytest.raises(TranspileError, match=r"qfast\[aer\]"):
        run(BELL)


def test_the_server_process_never_imports_qiskit() -> None:
    program = (
        "import sys\nfrom qfast.drivers.aer import available, run_program\nassert available()\n"
        f"run_program({BELL!r}, 'qasm', 10, 1)\n"
        "assert not {'qiskit', 'qiskit_aer', 'qfast.drivers._aer_worker'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parent.parent)

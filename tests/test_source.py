"""The quality of the source is a test: lint, format, types, layers, stubs and the public names."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNELS = sorted(path.stem for path in (ROOT / "ext").glob("*.pyx"))


def run(*command: str) -> None:
    # cython-lint calls pycodestyle by name
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    line = [sys.executable, "-m", *command]
    done = subprocess.run(line, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_lint() -> None:
    run("ruff", "check", "--no-cache", ".")


def test_format() -> None:
    run("ruff", "format", "--check", "--no-cache", ".")


def test_types() -> None:
    run("mypy", "--cache-dir=/dev/null")


@pytest.mark.parametrize("kernel", KERNELS)
def test_stub_agrees_with_kernel(kernel: str) -> None:
    run("mypy.stubtest", f"qfast._ext.{kernel}", "--ignore-missing-stub", "--mypy-config-file", "pyproject.toml")


def test_cython_lint() -> None:
    run("cython_lint.cython_lint", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "ext").glob("*.pyx"))))


def test_imports_point_inwards() -> None:
    code = "from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_import_loads_no_server() -> None:
    code = (
        "import sys, qfast, qfast.client;"
        "print([m for m in ('qiskit', 'litestar', 'asyncpg', 'numpy', 'aiohttp', 'granian') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_public_names() -> None:
    qfast = importlib.import_module("qfast")
    for name in qfast.__all__:
        assert getattr(qfast, name) is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", qfast.__version__)
    with pytest.raises(AttributeError):
        qfast.no_such_name  # noqa: B018


def test_error_codes_are_unique_and_drawn_in_the_docstring() -> None:
    errors = importlib.import_module("qfast.errors")
    codes: dict[int, str] = {}
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.QfastError) and "code" in vars(value):
            if value is errors.QfastError:
                continue
            assert value.code not in codes, (name, codes[value.code])
            codes[value.code] = name
            assert re.search(rf"{name}\s+{value.code}\b", errors.__doc__), name
    for code in (-32700, -32600, -32601, -32602, -32603, -404, -409, -413, -503, -102, -103, -120, -121, -122):
        assert code in codes


def test_every_kernel_has_a_stub_and_is_built_by_setup() -> None:
    text = (ROOT / "setup.py").read_text()
    for kernel in KERNELS:
        assert (ROOT / "qfast" / "_ext" / f"{kernel}.pyi").exists(), kernel
        assert f'"{kernel}"' in text, kernel


def test_setup_stays_small() -> None:
    assert len((ROOT / "setup.py").read_text().splitlines()) <= 45


def test_public_functions_have_docstrings() -> None:
    bare = []
    for path in sorted((ROOT / "qfast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_") or node.col_offset:
                continue
            if ast.get_docstring(node) is None:
                bare.append(f"{path.name}:{node.lineno} {node.name}")
    assert not bare

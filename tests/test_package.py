"""The sdist carries what a build needs, and the wheel built from it what a user needs."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run("build", "--no-isolation", "--sdist", "-o", str(folder), str(ROOT), cwd=folder)
    (path,) = folder.glob("*.tar.gz")
    return path


def names_of_source() -> set[str]:
    files = [*ROOT.glob("ext/*.pyx"), *ROOT.glob("ext/*.h"), *ROOT.glob("qfast/**/*.py"), *ROOT.glob("qfast/**/*.sql")]
    files += [*ROOT.glob("qfast/_ext/*.pyi"), ROOT / "qfast/py.typed", ROOT / "LICENSE", ROOT / "README.md"]
    return {str(path.relative_to(ROOT)) for path in [*files, ROOT / "setup.py", ROOT / "pyproject.toml"]}


def test_the_sdist_has_every_source(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert names_of_source() <= held, names_of_source() - held


def test_a_wheel_from_the_sdist_has_kernels_stubs_and_schema(sdist: Path, tmp_path: Path) -> None:
    run("pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", str(tmp_path), str(sdist), cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert "none-any" not in wheel.name, "a pure wheel was built: the kernels are missing"
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    for name in names_of_source():
        if name.startswith("qfast/"):
            assert name in held, name
    for kernel in ROOT.glob("ext/*.pyx"):
        assert any(name.startswith(f"qfast/_ext/{kernel.stem}.") and name.endswith(".so") for name in held), kernel.stem
    assert not [name for name in held if name.endswith((".pyx", ".c", ".h"))]

"""Compiles ext/NAME.pyx to qfast._ext.NAME; everything else stands in pyproject.toml."""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = ("jsoncheck", "scheduler", "qasm", "statevector", "qubo", "presolve", "tempering", "stabilizer", "transpile")

# QFAST_SANITIZE=address,undefined builds the kernels for a sanitizer run; never in a wheel.
sanitize = os.environ.get("QFAST_SANITIZE")
flags = [f"-fsanitize={sanitize}", "-g", "-O1", "-fno-omit-frame-pointer"] if sanitize else ["-O3", "-fno-math-errno"]
flags.append("-ffp-contract=off")  # the same arithmetic at every SIMD level and on every processor

# SIMD is chosen by function attributes and a table at import, never by -march
extensions = [
    Extension(
        f"qfast._ext.{name}",
        [f"ext/{name}.pyx"],
        include_dirs=["ext"],
        depends=glob("ext/*"),  # all of it, or the sdist loses the .pyx
        extra_compile_args=flags,
        extra_link_args=[f"-fsanitize={sanitize}"] if sanitize else [],
    )
    for name in KERNELS
]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    )
)

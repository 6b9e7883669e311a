"""A dimod sampler: binary quadratic models of D-Wave's Ocean tools, solved by a qfast server or in this process.

>>> import dimod
>>> from qfast.dimod import QfastSampler
>>> bqm = dimod.BinaryQuadraticModel({}, {("a", "b"): 1, ("b", "c"): 1, ("a", "c"): 1}, 0, "SPIN")
>>> QfastSampler("in-process").sample(bqm).first.energy
-1.0
"""

from __future__ import annotations

import contextlib
import operator
import secrets
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from qfast.client import Client
from qfast.errors import QfastError
from qfast.formats import MAX_VARIABLES
from qfast.packing import unpack_solution

try:
    from dimod.core.sampler import Sampler
    from dimod.sampleset import SampleSet
    from dimod.vartypes import SPIN
except ImportError as error:
    raise ImportError("qfast.dimod needs the package dimod: pip install 'qfast[dimod]'") from error

IN_PROCESS = "in-process"
MAX_SEED = 2**53 - 1  # of driver_options.seed: what every JSON reader keeps exactly
MAX_SECONDS = 86_400  # of driver_options.time_limit
_PARAMETERS = ("num_reads", "time_limit", "sweeps", "num_replicas", "seed")
_OF_THE_JOB = ("results_fetch_mode", "status", "end_date")  # metadata that tell nothing of the solver


class QfastSampler(Sampler):
    """Minimises binary quadratic models; proves the minimum for up to 24 variables, or where the treewidth is small.

    Parameters
    ----------
    url : str or Client, optional
        The server: its URL or a client of it; None: ``QFAST_URL``, else the default of `qfast.Client`. ``"in-process"``
        solves here, without a server.
    timeout : float, optional
        Seconds to wait for an answer of the server, queue included; None waits without limit.
    **fields
        Fields of submit_job for every job: ``backend``, ``job_priority``, ``tags``, ``session_id``, ...

    Raises
    ------
    TypeError
        Job fields are given for the in-process solver.

    """

    def __init__(self, url: str | Client | None = None, *, timeout: float | None = None, **fields: Any) -> None:
        self._client: Client | None = None
        self._owned = False
        if url == IN_PROCESS:
            if fields or timeout is not None:
                raise TypeError(
                    f"the in-process solver has no {', '.join(fields) or 'timeout'}: they belong to a server"
                )
        elif isinstance(url, Client):
            self._client = url
        else:
            self._client, self._owned = Client(url), True
        self._timeout = timeout
        self._fields = fields

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The keyword arguments of `sample`, each with the properties that bear on it."""
        return {name: [] for name in _PARAMETERS}

    @property
    def properties(self) -> dict[str, Any]:
        """Where it solves and its limits."""
        return {
            "url": self._client.url if self._client else IN_PROCESS,
            "max_variables": MAX_VARIABLES,
            "max_proven_variables": 24,
            "max_solutions": 10,
            "job_fields": dict(self._fields),
        }

    def sample(
        self,
        bqm: Any,
        *,
        num_reads: int = 1,
        time_limit: float | None = None,
        sweeps: int | None = None,
        num_replicas: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> SampleSet:
        """The best distinct solutions found, at most ten, best first.

        Parameters
        ----------
        bqm : dimod.BinaryQuadraticModel
            SPIN or BINARY, with any labels.
        num_reads : int
            Independent restarts that share one pool of solutions; 1 to 10,000,000. It does not set the number of rows.
        time_limit : float, optional
            Seconds for all reads together.
        sweeps : int, optional
            Sweeps of each read. With neither budget, tenths of a second to a second of work by the model's size.
        num_replicas : int, optional
            Of parallel tempering, 2 to 256.
        seed : int, optional
            0 to 2^53 - 1. Same model, seed and sweeps: same answer. None: a random one, which ``info`` tells.
        **kwargs
            What other samplers know is ignored with a warning, as dimod recommends.

        Returns
        -------
        dimod.SampleSet
            Energies are those of dimod, offset included. Each row is one distinct solution, and ``num_occurrences`` how many
            of the search's descents and tabu searches ended in it; 1 for proven rows and for rows met as neighbours of others.
            ``info`` has ``timing`` (seconds: ``prepare``, ``solve`` and ``total``), ``proven_optimal``, ``seed``, ``solver``
            and what else the solver tells; ``job_id`` when a server solved it.

        Raises
        ------
        ValueError
            A bias is NaN or infinite, or a parameter is out of range.
        qfast.errors.RpcError
            The server refuses.
        qfast.client.JobFailed
            The job failed.

        """
        start = time.monotonic()
        _mixin(self).remove_unknown_kwargs(**kwargs)
        reads = _whole("num_reads", num_reads, 1, 10_000_000)
        options: dict[str, Any] = {}
        if time_limit is not None:
            options["time_limit"] = _seconds(time_limit)
        for name, value, low, high in (
            ("sweeps", sweeps, 1, 1_000_000_000),
            ("num_replicas", num_replicas, 2, 256),
            ("seed", seed, 0, MAX_SEED),
        ):
            if value is not None:
                options[name] = _whole(name, value, low, high)
        matrix = _matrix(bqm)
        info: dict[str, Any]
        if matrix["n"] == 0:
            states, info = np.empty((1, 0), np.int8), {"solver": None, "proven_optimal": True, "seed": seed}
        elif self._client is None:
            states, info = _solve(matrix, reads, options)
        else:
            states, info = self._ask(self._client, matrix, reads, options)
        info["timing"] = {
            "solve": info.pop("elapsed", 0.0),
            **info.get("timing", {}),
            "total": time.monotonic() - start,
        }
        counts = info.pop("num_occurrences", [1] * len(states))
        if bqm.vartype is SPIN:
            states = 2 * states - 1
        found: SampleSet = _mixin(SampleSet).from_samples_bqm(
            (states, list(bqm.variables)), bqm, info=info, num_occurrences=counts
        )
        return found

    def close(self) -> None:
        """Close the connections that the sampler opened; it stays usable."""
        if self._client is not None and self._owned:
            self._client.close()

    def _ask(
        self, client: Client, matrix: dict[str, Any], reads: int, options: dict[str, Any]
    ) -> tuple[npt.NDArray[np.int8], dict[str, Any]]:
        """Run it as a job; a wait that ends without an answer, by time or by Ctrl-C, cancels the job."""
        job_id = str(uuid.uuid4())
        options = {**self._fields.get("driver_options", {}), **options}
        fields = {**self._fields, "shots": reads, "job_id": job_id}
        if options:
            fields["driver_options"] = options
        sources = [{key: value if key == "n" else value.tolist() for key, value in matrix.items()}]
        try:
            (row,) = client.run(sources, "qubo", timeout=self._timeout, **fields)
        except (TimeoutError, KeyboardInterrupt):
            with contextlib.suppress(QfastError):
                client.cancel_jobs(job_id, force=True)
            raise
        states = np.array([_vector(solution["solutionVector"], matrix["n"]) for solution in row["results"]], np.int8)
        info = {key: value for key, value in row["metadata"].items() if key not in _OF_THE_JOB}
        return states, {**info, "job_id": job_id}


def _vector(solution: str | list[int], n: int) -> list[int]:
    return unpack_solution(solution, n) if isinstance(solution, str) else solution


def _mixin(thing: Any) -> Any:
    """The same, without the types: some methods of dimod have none."""
    return thing


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= operator.index(value) <= high:
        raise ValueError(f"{name}: {value!r} is not an integer in {low}..{high}")
    return operator.index(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__") or not 0 < float(value) <= MAX_SECONDS:
        raise ValueError(f"time_limit: {value!r} is not a number of seconds in 0..{MAX_SECONDS}")
    return float(value)


def _matrix(bqm: Any) -> dict[str, Any]:
    """The model as a matrix in coordinates, its constant left out.

    With s = 2 x - 1, h s is 2 h x and J s t is 4 J x y - 2 J x - 2 J y, each up to a constant.
    """
    linear, (row, col, quadratic), _ = bqm.to_numpy_vectors(variable_order=list(bqm.variables))  # else it sorts them
    diagonal, coupling = np.asarray(linear, np.float64), np.asarray(quadratic, np.float64)
    n = len(diagonal)
    with np.errstate(over="ignore", invalid="ignore"):  # the check below tells
        if bqm.vartype is SPIN:
            ends = np.bincount(row, coupling, n) + np.bincount(col, coupling, n)
            diagonal, coupling = 2 * (diagonal - ends), 4 * coupling
    if not (np.isfinite(diagonal).all() and np.isfinite(coupling).all()):
        raise ValueError("the model holds NaN, infinities, or biases beyond float64")
    here = np.arange(n)
    rows, cols = np.concatenate([here, row]), np.concatenate([here, col])
    return {"n": n, "row": rows, "col": cols, "value": np.concatenate([diagonal, coupling])}


def _solve(matrix: dict[str, Any], reads: int, options: dict[str, Any]) -> tuple[npt.NDArray[np.int8], dict[str, Any]]:
    """Solve in this process, by the same reader and solver as the server's; in a thread, so that Ctrl-C can stop it."""
    import orjson

    from qfast import matrices, qubo

    (problem,) = matrices.parse_sources(orjson.dumps([matrix], option=orjson.OPT_SERIALIZE_NUMPY))
    options = {"seed": secrets.randbelow(MAX_SEED + 1), **options}
    cancel = bytearray(1)
    with ThreadPoolExecutor(1) as pool:
        try:
            found = pool.submit(qubo.solve, problem, reads=reads, cancel=cancel, **options).result()
        finally:
            cancel[0] = 1
    return found.x.astype(np.int8), dict(found.metadata)

"""`Sampler` and `Estimator`, the first version of Qiskit's primitives, on a qfast server.

>>> with Session(backend="dummy"):
...     Sampler(options={"shots": 1000}).run(BELL).result().quasi_dists
[{0: 0.503, 3: 0.497}]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qfast import programs
from qfast.options import Options
from qfast.runtime import QfastBackend, QfastService, RuntimeJob, backend_name, default_backend, started
from qfast.session import Session, current_session, submit_fields


class _Primitive:
    """What both have in common: where they run, and their options."""

    program_id: ClassVar[str]

    def __init__(
        self,
        backend: str | QfastBackend | None = None,
        session: Session | None = None,
        options: Options | Mapping[str, Any] | None = None,
    ) -> None:
        if session is not None and not isinstance(session, Session):
            raise ValueError(f"session: {type(session).__name__} is no qfast Session")
        name = backend_name(backend)
        session = session or current_session()
        if session is not None and name is not None and session.backend() not in (None, name):
            raise ValueError(f"backend: {name!r} is not the session's, {session.backend()!r}")
        self._session = session
        self._backend = name
        self._options = Options.of(options)
        if session is not None:
            self._service = session.service
        else:
            self._service = backend.service if isinstance(backend, QfastBackend) else QfastService()

    @property
    def session(self) -> Session | None:
        """The session, if there is one."""
        return self._session

    @property
    def options(self) -> Options:
        """The options; what is set on them counts from the next run on."""
        return self._options

    def set_options(self, **fields: Any) -> None:
        """Change options by name, as `Options.update`."""
        changed = Options.of(self._options)
        changed.update(**fields)
        self._options = changed

    def _run(self, inputs: dict[str, Any], given: dict[str, Any]) -> RuntimeJob:
        options = Options.of(self._options)
        options.update(**given)
        callback, options.environment.callback = options.environment.callback, None
        whole = {**{key: value for key, value in inputs.items() if value is not None}, **options.as_dict()}
        asked = None if self._backend is None else {"backend": self._backend}
        if self._session is not None:
            return self._session.run(self.program_id, whole, asked, callback)
        fields = submit_fields(self.program_id, whole, asked)
        fields.setdefault("backend", None)
        fields["backend"] = fields["backend"] or default_backend(self._service)
        answer = self._service.client.submit_job(**fields)
        return started(self._service, answer, callback, None, several=programs.count_results(fields) > 1)


class Sampler(_Primitive):
    """Runs circuits and gives the distribution of their outcomes.

    Parameters
    ----------
    backend : str or QfastBackend, optional
        Where to run; default the session's.
    session : Session, optional
        Default: that of the ``with`` around; without any the jobs are in no session.
    options : Options or dict, optional

    Raises
    ------
    ValueError
        An option is wrong or has no meaning on a qfast server.

    """

    program_id = "sampler"

    def run(self, circuits: Any, parameter_values: Any = None, **options: Any) -> RuntimeJob:
        """Submit circuits; the job's result is a `qfast.programs.SamplerResult`.

        Parameters
        ----------
        circuits : str, QuantumCircuit, or a sequence of these
            OpenQASM texts or Qiskit circuits. One without any measurement is measured on all qubits.
        parameter_values : sequence of float, or one such sequence per circuit, optional
            In the order of ``circuit.parameters``, or of the ``input`` declarations of a text; or dicts by those names.
        **options
            For this run, by name: ``shots=1000``.

        """
        return self._run({"circuits": circuits, "parameter_values": parameter_values}, options)


class Estimator(_Primitive):
    """Gives expectation values of observables in the states that circuits prepare; parameters as `Sampler`."""

    program_id = "estimator"

    def run(self, circuits: Any, observables: Any, parameter_values: Any = None, **options: Any) -> RuntimeJob:
        """Submit pairs of circuit and observable; the job's result is a `qfast.programs.EstimatorResult`.

        Parameters
        ----------
        circuits, parameter_values
            As `Sampler.run`; measurements at a circuit's end are left out.
        observables : one or a sequence, as many as circuits
            Pauli strings, dicts ``{"ZZ": 0.5, "XI": 1}``, or Qiskit's Pauli and SparsePauliOp; rightmost is qubit 0.
        **options
            For this run, by name. The values are exact, whatever the ``optimization_level``; ``shots`` are what the
            variances are for.

        """
        inputs = {"circuits": circuits, "observables": observables, "parameter_values": parameter_values}
        return self._run(inputs, options)

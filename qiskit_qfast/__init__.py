"""Qiskit's way to a qfast server: its backends, its jobs, a sampler and an estimator.

>>> backend = QfastProvider().get_backend("dummy")
>>> SamplerV2(backend).run([circuit], shots=1000).result()[0].data.meas.get_counts()
"""

from qiskit_qfast.backend import QfastBackend
from qiskit_qfast.job import QfastJob, QfastPrimitiveJob
from qiskit_qfast.primitives import EstimatorOptions, EstimatorV2, SamplerOptions, SamplerV2
from qiskit_qfast.provider import QfastProvider
from qiskit_qfast.session import QfastSession

__all__ = [
    "EstimatorOptions",
    "EstimatorV2",
    "QfastBackend",
    "QfastJob",
    "QfastPrimitiveJob",
    "QfastProvider",
    "QfastSession",
    "SamplerOptions",
    "SamplerV2",
]

"""A backend outside: its jobs are checked and prepared here and stay RUNNING until set_job_results brings the results."""

from __future__ import annotations

from typing import ClassVar

from qfast.drivers.dummy import DummyDriver


class ExternalDriver(DummyDriver):
    """Hands jobs to hardware or another service that fetches them and answers by set_job_results.

    A wrong program fails here, before the hardware sees it; a dry run is sampled on the simulator.
    """

    name: ClassVar[str] = "DriverAsync"
    alias_name: ClassVar[str] = "Asynchronous backend"
    description: ClassVar[str] = "jobs stay RUNNING until set_job_results brings their results"
    tech_type: ClassVar[str] = "none"
    results_fetch_mode: ClassVar[str] = "async"
    packs_circuits: ClassVar[bool] = False  # each job is fetched by itself, with its own source

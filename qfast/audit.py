"""The audit: one line of JSON for each change of a job's state, and one for each call that may cause one. No secrets."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import orjson

from qfast.access import SCOPE_OF
from qfast.errors import ConfigurationInvalid
from qfast.job import JobRecord, utc_text
from qfast.keys import Scope

log = logging.getLogger("qfast.audit")


class Audit:
    """A file that only grows. A line that cannot be written costs no call; the log tells of the first.

    Parameters
    ----------
    path : Path
        Made when it is not there, readable by its owner only.

    Raises
    ------
    ConfigurationInvalid
        It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._broken = False
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationInvalid(f"the audit {path} cannot be opened: {error.strerror}") from None
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def state(self, record: JobRecord) -> None:
        """A job has entered the state that its record shows."""
        self._write(
            {
                "at": utc_text(record.updated_at),
                "job_id": record.job_id,
                "tenant": record.tenant,
                "backend": record.backend,
                "job_status": record.status,
                "attempt": record.attempt,
            }
        )

    def call(self, key_id: str, tenant: str, method: str) -> None:
        """A key has made a call that may change something."""
        if SCOPE_OF.get(method, Scope.READ) is not Scope.READ:
            self._write({"at": utc_text(time.time()), "key": key_id, "tenant": tenant, "method": method})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(orjson.dumps(line) + b"\n")
        except (OSError, ValueError) as error:
            if not self._broken:
                log.error("the audit cannot be written: %s", error)
            self._broken = True
        else:
            self._broken = False

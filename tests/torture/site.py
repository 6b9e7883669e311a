"""A place where a server runs, is killed and comes back at the same address, and the record of what became of its jobs."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from conftest import DEVICES
from history import FINAL, Row
from postgres_kit import sql
from torture.load import listens
from torture.stable import Stable, alive, children

LIVE = ("QUEUED", "RUNNING", "CANCELLING")

# One node only, so no owners: 0 stands for it.
TRIGGERS = """
CREATE TABLE audit (number INTEGER PRIMARY KEY, at REAL, seq INTEGER, job_id TEXT, backend TEXT, priority INTEGER,
    session INTEGER, before TEXT, status TEXT, attempt INTEGER, owner_before INTEGER, owner INTEGER);
CREATE TRIGGER note_new AFTER INSERT ON job BEGIN
    INSERT INTO audit VALUES (NULL, (julianday('now') - 2440587.5) * 86400, NEW.seq, NEW.job_id, NEW.backend, NEW.priority,
        NEW.session_id IS NOT NULL, NULL, NEW.status, NEW.attempt, 0, 0);
END;
CREATE TRIGGER note_change AFTER UPDATE ON job BEGIN
    INSERT INTO audit VALUES (NULL, (julianday('now') - 2440587.5) * 86400, NEW.seq, NEW.job_id, NEW.backend, NEW.priority,
        NEW.session_id IS NOT NULL, OLD.status, NEW.status, NEW.attempt, 0, 0);
END;
CREATE TRIGGER note_end AFTER DELETE ON job BEGIN
    INSERT INTO audit VALUES (NULL, (julianday('now') - 2440587.5) * 86400, OLD.seq, OLD.job_id, OLD.backend, OLD.priority,
        OLD.session_id IS NOT NULL, OLD.status, NULL, OLD.attempt, 0, 0);
END;
"""
UNFINISHED = """
SELECT {live}.seq FROM {live} LEFT JOIN job_result USING (seq)
WHERE status = 'COMPLETED' AND job_result.seq IS NULL OR status IN ('QUEUED', 'CANCELLED') AND job_result.seq IS NOT NULL
"""


def until(condition: Callable[[], Any], seconds: float = 60.0) -> bool:
    """Look again until it holds; tells whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """One server at a time, always on the same folder, store and port."""

    def __init__(self, stable: Stable, folder: Path, store: str = "sqlite", devices: str = DEVICES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "devices.toml").write_text(devices)
        self._stable = stable
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.pid = 0
        self._arguments = [
            "serve", "--port", str(self.port), "--data-dir", str(self.data), "--store", store,
            "--devices", str(folder / "devices.toml"),
        ]  # fmt: skip

    def start(self) -> None:
        """Begin to start it; whoever calls it meanwhile is refused."""
        self.pid = self._stable.start(self._arguments, self.log)

    def answers(self) -> bool:
        """Whether it takes connections."""
        return listens(self.url)

    def started(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with its log."""
        self.start()
        if not until(lambda: self.answers() or not alive(self.pid)) or not alive(self.pid):
            raise RuntimeError(f"the server does not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End all of it at once."""
        self._stable.kill(self.pid)

    def signal(self, number: signal.Signals) -> None:
        """To the process that answers, once there is one."""
        if until(lambda: children(self.pid), 5.0):
            os.kill(children(self.pid)[0], number)

    def stop(self) -> bool:
        """SIGTERM; tells whether it was gone within the grace."""
        if not self.pid or not alive(self.pid):
            return True
        os.kill(self.pid, signal.SIGTERM)
        return until(lambda: not alive(self.pid), 45.0)


class SqliteBook:
    """The rows of a SQLite store, read beside its server, and every change of them, written down by triggers."""

    def __init__(self, data: Path) -> None:
        self._file = data / "qfast.db"
        with closing(sqlite3.connect(self._file, timeout=20.0)) as connection:
            connection.executescript(TRIGGERS)

    def rows(self) -> list[Row]:
        """Every change, in order."""
        return [Row(*row) for row in self.ask("SELECT * FROM audit ORDER BY number")]

    def ask(self, statement: str) -> list[Any]:
        """The rows of a statement."""
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=20.0)) as connection:
            return connection.execute(statement).fetchall()

    def live(self) -> int:
        """Jobs and deliveries that have not ended."""
        return int(
            self.ask(
                f"SELECT (SELECT count(*) FROM job WHERE status IN {LIVE}) + (SELECT count(*) FROM callback)"
            )[0][0]
        )  # fmt: skip

    def broken(self) -> list[str]:
        """What a look at the tables themselves finds wrong."""
        found = [f"I5 {row[0]}: state and results disagree" for row in self.ask(UNFINISHED.format(live="job"))]
        whole = self.ask("PRAGMA integrity_check")
        return found + ([] if whole == [("ok",)] else [f"I1 the database is damaged: {whole[:3]}"])


class PostgresBook:
    """The same for a schema in PostgreSQL; `audit` is the one of history.py."""

    def __init__(self, url: str, audit: Any) -> None:
        self.url = url
        self.rows: Callable[[], list[Row]] = audit.rows

    def ask(self, statement: str) -> list[Any]:
        """The rows of a statement."""
        return sql(statement, self.url)

    def live(self) -> int:
        """Jobs and deliveries that have not ended."""
        counts = f"SELECT (SELECT count(*) FROM job_state WHERE status IN {LIVE}) + (SELECT count(*) FROM callback)"
        return int(self.ask(counts)[0][0])

    def broken(self) -> list[str]:
        """What a look at the tables themselves finds wrong."""
        return [f"I5 {row[0]}: state and results disagree" for row in self.ask(UNFINISHED.format(live="job_state"))]


def states(rows: list[Row]) -> dict[str, int]:
    """How many jobs are in which final state, by their last change."""
    last = {row.seq: row.status or "DELETED" for row in rows}
    return {state: sum(value == state for value in last.values()) for state in sorted(FINAL)}

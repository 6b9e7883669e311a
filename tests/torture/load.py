"""Callers that never give up: they submit until they are told yes, ask, cancel, delete and repeat, and write all of it down."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from history import Recorder

from qfast.client import Client
from qfast.client import ConnectionError as NoServer
from qfast.demo import BELL2
from qfast.errors import QfastError, Unavailable

AWAY = (NoServer, OSError, Unavailable)
SHOTS = 10
BATCHES = (1, 1, 4, 20, 80)  # submits in a call
PAUSE = 0.02  # seconds before a caller asks a server again that did not take its call


def listens(url: str) -> bool:
    """Whether somebody takes connections there."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


class Load:
    """Threads that call the servers in turn.

    Parameters
    ----------
    recorder : Recorder
    urls : list of str
    seed : int
        Of what they do; when things happen is up to the machine.
    callers : int
    goal : int
        Submits that are acknowledged in all; then they stop. 0: until told.
    fields : callable
        Further fields of a submit, by its number.
    """

    def __init__(
        self,
        recorder: Recorder,
        urls: list[str],
        seed: int,
        *,
        callers: int = 8,
        goal: int = 0,
        gentle: bool = False,
        fields: Any = lambda chance: {},
    ) -> None:
        self.recorder = recorder
        self.acknowledged = 0
        self.repeats = 0  # submits of one id by several callers at once
        self.wrong: list[str] = []
        self._clients = [Client(url, timeout=15.0) for url in urls]
        self._goal, self._gentle, self._fields = goal, gentle, fields
        self._known: list[tuple[str, dict[str, Any]]] = []
        self._away: set[str] = set()
        self._until = float(
            "inf"
        )  # when submits without an answer are given up: only once no server is killed any more
        self._refused = False
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(random.Random(f"{seed}/{k}"),)) for k in range(callers)
        ]
        for thread in self._threads:
            thread.start()

    def done(self) -> bool:
        """Whether as many submits as wanted have been acknowledged."""
        return bool(self._goal) and self.acknowledged >= self._goal

    def stop(self) -> None:
        """Let every caller end what it is at; submits still wait for their yes."""
        self._stop.set()

    def join(self, seconds: float = 120.0) -> None:
        """Wait for them; one that does not end is a finding."""
        self.stop()
        self._until = time.monotonic() + seconds
        end = self._until + 30.0
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                self.wrong.append("I3 a call has no end")
        for client in self._clients:
            client.close()

    def _call(self, chance: random.Random) -> None:
        while not self._stop.is_set() and not self.done():
            try:
                self._act(chance)
            except AWAY:
                self._rest(chance)
            except QfastError as error:
                self.wrong.append(f"I1 a right call was refused: {type(error).__name__}: {error}")
            except Exception as error:
                self.wrong.append(f"I1 a caller broke: {type(error).__name__}: {error}")

    def _act(self, chance: random.Random) -> None:
        kind = chance.random()
        if kind < (0.9 if self._gentle else 0.72) or not self._known:
            self._submit(chance)
            return
        job_id, payload = self._known[chance.randrange(max(0, len(self._known) - 3000), len(self._known))]
        client = chance.choice(self._clients)
        if client.url in self._away:
            self._rest(chance)
            return
        with contextlib.suppress(*(() if self._gentle else (QfastError,))):  # a deleted job is unknown
            if self._gentle or kind < 0.80:
                self.recorder.call("status", job_id, lambda: client.get_job_status(job_id))
            elif kind < 0.88:
                self._results(client, job_id, payload)
            elif kind < 0.95:
                self._cancel(client, job_id, chance.random() < 0.5)
            elif kind < 0.98:
                self._again(client, job_id, payload, chance.random() < 0.5)
            else:
                self.recorder.call("delete", job_id, lambda: self._delete(client, job_id))

    def _rest(self, chance: random.Random) -> None:
        """Wait a little; servers that refuse connections are left alone until they take them: nothing can happen there."""
        time.sleep(PAUSE * (0.5 + chance.random()))
        self._away = {client.url for client in self._clients if not listens(client.url)}

    def _submit(self, chance: random.Random) -> None:
        """One job or several in a batch, again and again until each is acknowledged."""
        owed = dict(self._job(chance) for _ in range(chance.choice(BATCHES)))
        if not self._gentle and chance.random() < 0.03:
            self._race(*next(iter(owed.items())))
        while owed and time.monotonic() < self._until:
            client = chance.choice(self._clients)
            taken = self._try(client, owed) if client.url not in self._away else []
            with self._lock:
                self.acknowledged += len(taken)
                self._known += [(job_id, owed.pop(job_id)) for job_id in taken]
            if owed and not self._refused:
                self._rest(chance)
            elif owed:
                return  # the findings say why
        self.wrong += [f"I3 {job_id}: no server has taken it" for job_id in owed]

    def _job(self, chance: random.Random) -> tuple[str, dict[str, Any]]:
        job_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        payload: dict[str, Any] = {"shots": SHOTS, "job_priority": chance.randint(1, 10), **self._fields(chance)}
        if not self._gentle and chance.random() < 0.02:
            payload["driver_options"] = {"sleep": round(chance.random() * 0.2, 3)}
        return job_id, payload

    def _try(self, client: Client, owed: dict[str, dict[str, Any]]) -> list[str]:
        """The ids of those that were acknowledged."""
        sent = time.time()
        body = [
            ("submit_job", {"source_code": [BELL2], "job_id": job_id, **payload}) for job_id, payload in owed.items()
        ]
        try:
            answers: list[Any] = client.batch(body)
        except AWAY as error:
            answers = [error] * len(owed)
        taken = []
        for (job_id, payload), answer in zip(owed.items(), answers, strict=True):
            self.recorder.note("submit", job_id, sent, answer, payload)
            if isinstance(answer, dict):
                taken.append(job_id)
            elif not isinstance(answer, AWAY):
                self.wrong.append(f"I1 {job_id}: a right submit was refused: {answer}")
                self._refused = True
                self._stop.set()
        return taken

    def _ask(self, client: Client, job_id: str, payload: dict[str, Any]) -> None:
        self.recorder.call("submit", job_id, lambda: client.submit_job(BELL2, job_id=job_id, **payload), payload)

    def _race(self, job_id: str, payload: dict[str, Any]) -> None:
        """The same id from four callers at the same time."""

        def ask(index: int) -> None:
            with contextlib.suppress(*AWAY, QfastError):
                self._ask(self._clients[index % len(self._clients)], job_id, payload)

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.repeats += 1

    def _again(self, client: Client, job_id: str, payload: dict[str, Any], same: bool) -> None:
        """An acknowledged id once more: with its payload it is the same job, with another a conflict."""
        self._ask(client, job_id, payload if same else {**payload, "shots": payload["shots"] + 1})

    def _cancel(self, client: Client, job_id: str, force: bool) -> None:
        self.recorder.call("cancel", job_id, lambda: next(iter(client.cancel_jobs(job_id, force=force)), None))

    @staticmethod
    def _delete(client: Client, job_id: str) -> dict[str, Any] | None:
        return next(iter(client.delete_jobs(job_id)), None)

    def _results(self, client: Client, job_id: str, payload: dict[str, Any]) -> None:
        def ask() -> dict[str, Any]:
            answer = client.get_job_results(job_id)
            rows = answer["results"]
            if answer["job_status"] == "COMPLETED":
                counts = rows[0]["results"]
                if sum(counts.values()) != payload["shots"] or not set(counts) <= {"00", "11"}:
                    self.wrong.append(f"I5 {job_id}: wrong counts {counts}")
            told = hashlib.sha256(repr(rows).encode()).hexdigest() if rows else None
            return {**answer, "results": told}

        self.recorder.call("results", job_id, ask)

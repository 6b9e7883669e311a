"""The verbs on deliveries: what became of them, and once more.

A delivery that has ended is not kept: its job's record and results are, and what was posted is made of them again, so that
one id has one content for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from qfast import wire
from qfast.access import only_tenant
from qfast.errors import InvalidParams, NotFound
from qfast.job import FINAL, CallbackRecord, Delivery, DeliveryQuery, DeliveryState, utc_text
from qfast.jobs import Jobs
from qfast.live import deliveries, of_webhook
from qfast.params import fault, refuse

MAX_REPLAYED = 1000  # deliveries of one call: their bodies are made and written anew


class CallbackVerbs:
    """List deliveries and replay them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Method name to verb."""
        return {"get_callbacks": self.get_callbacks, "replay_callbacks": self.replay_callbacks}

    async def get_callbacks(
        self, _body: Any, filters: wire.CallbackFilters | None, caller: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """List deliveries, those of the newest job first."""
        wanted = filters or wire.CallbackFilters()
        states = [wanted.state] if isinstance(wanted.state, str) else wanted.state
        before = None
        if wanted.before is not None:
            (last,) = await self._named([wanted.before], caller) or (None,)
            if last is None:
                raise NotFound(f"Callback: '{wanted.before}' is not found")
            before = (last.seq, last.webhook_id)
        query = DeliveryQuery(
            states=frozenset(DeliveryState) if states is None else frozenset(map(DeliveryState, states)),
            job_ids=None if wanted.job_ids is None else tuple(wanted.job_ids),
            webhook_ids=None if wanted.webhook_ids is None else tuple(wanted.webhook_ids),
            tenant=only_tenant(caller),
            before=before,
            limit=1000 if wanted.limit is None else wanted.limit,
        )
        return [_view(delivery) for delivery in await self._jobs.store.deliveries(query)]

    async def _named(self, webhook_ids: Iterable[str], caller: Mapping[str, str]) -> list[Delivery]:
        query = DeliveryQuery(webhook_ids=tuple(webhook_ids), tenant=only_tenant(caller))
        return await self._jobs.store.deliveries(query)

    async def replay_callbacks(
        self, body: wire.ReplayBody, _filters: None, caller: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Owe deliveries once more, at once and with all their tries; lists those that are owed now."""
        if body.webhook_ids is None and body.job_ids is None:
            text = "replay_callbacks: give webhook_ids or job_ids"
            raise InvalidParams(text, errors=[fault(("body",), text, None, "missing")])
        chosen: dict[str, Delivery] = {}
        if body.webhook_ids is not None:
            chosen = {delivery.webhook_id: delivery for delivery in await self._named(body.webhook_ids, caller)}
        if body.job_ids is not None:
            states = (
                frozenset(DeliveryState) if body.delivered else frozenset(DeliveryState) - {DeliveryState.DELIVERED}
            )
            query = DeliveryQuery(
                states=states, job_ids=tuple(body.job_ids), tenant=only_tenant(caller), limit=MAX_REPLAYED + 1
            )
            chosen |= {delivery.webhook_id: delivery for delivery in await self._jobs.store.deliveries(query)}
        if len(chosen) > MAX_REPLAYED:
            raise refuse("job_ids", len(body.job_ids or ()), f"have more than {MAX_REPLAYED} deliveries to replay")
        owed: list[str] = []
        by_job: dict[int, list[Delivery]] = {}
        for delivery in chosen.values():
            by_job.setdefault(delivery.seq, []).append(delivery)
        for several in by_job.values():  # one job at a time, whose results may be large
            rows = await self._rows(several)
            await self._jobs.store.owe_again(rows)
            owed += [row.webhook_id for row in rows]
        if owed:
            self._jobs.outbox_grew()
        return [{"webhook_id": key, "job_id": of_webhook(key)[0], "state": DeliveryState.OWED} for key in owed]

    async def _rows(self, several: list[Delivery]) -> list[CallbackRecord]:
        """Some deliveries of one job as they stood in the outbox when it ended."""
        now = self._jobs.now()
        rows = [
            CallbackRecord(webhook_id=one.webhook_id, seq=one.seq, spec=one.spec, body=b"", due_at=now)
            for one in several
            if one.state is DeliveryState.OWED  # is there with its body, and only comes forward
        ]
        ended = {one.webhook_id for one in several} - {row.webhook_id for row in rows}
        if ended:
            record = await self._jobs.store.get(of_webhook(several[0].webhook_id)[0])
            if record is not None and record.status in FINAL:
                results = await self._jobs.store.results(record.seq)
                made = deliveries(record, record.status, results, now)
                rows += [row for row in made if row.webhook_id in ended]
        return rows


def _view(delivery: Delivery) -> dict[str, Any]:
    job_id, index = of_webhook(delivery.webhook_id)
    spec = orjson.loads(delivery.spec)
    owed = delivery.state is DeliveryState.OWED
    callback = spec if owed else spec["callbacks"][index]
    at = utc_text(delivery.at)
    return {
        "webhook_id": delivery.webhook_id,
        "job_id": job_id,
        "name": callback["name"],
        "url": callback["url"].partition("?")[0],  # a query may hold a secret, as headers may
        "state": delivery.state,
        "attempts": delivery.attempts,
        "max_attempts": max(1, callback["retries"]),
        "last_result": delivery.note,
        "next_attempt": at if owed else None,
        "ended_at": None if owed else at,
    }

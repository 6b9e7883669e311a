"""The session verbs on a real service, on every kind of store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from test_service import kind, with_house

from qfast import wire
from qfast.errors import Conflict, Unavailable
from qfast.session_verbs import SessionVerbs

__all__ = ["kind"]  # every test of a house runs on every kind of store


async def open_session(house: Any, backend: str = "dummy", **fields: Any) -> dict[str, Any]:
    return await SessionVerbs(house.live).open_session(wire.OpenSessionBody(backend=backend, **fields), None, {})


async def sessions_of(house: Any) -> list[dict[str, Any]]:
    return await SessionVerbs(house.live).get_sessions(None, None, {})


@pytest.mark.parametrize("status", ["offline", "maintain", "calibrating"])
def test_a_device_that_takes_no_jobs_takes_no_sessions(tmp_path: Any, status: str) -> None:
    async def test(house: Any) -> None:
        backend = house.backends["dummy"]
        online = backend.device
        backend.device = msgspec.structs.replace(online, status=status)
        with pytest.raises(Conflict, match=status):
            await open_session(house)
        assert await sessions_of(house) == []
        backend.device = online
        assert (await open_session(house))["state"] == "open"

    with_house(tmp_path, test)


def test_a_session_that_the_store_does_not_take_is_not_open(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: Any) -> None:
        async def refuse(*_: Any) -> None:
            raise Unavailable("no room", extra={"retry_after": 1})

        with monkeypatch.context() as broken:
            for verb in ("put_note", "put_sessions"):
                if hasattr(house.store, verb):
                    broken.setattr(house.store, verb, refuse)
            with pytest.raises(Unavailable, match="no room"):
                await open_session(house)
            assert house.live.sessions.find() == []
            assert house.live.sessions.next_deadline() is None
        assert await sessions_of(house) == []
        opened = await open_session(house)
        assert [view["id"] for view in await sessions_of(house)] == [opened["id"]]

    with_house(tmp_path, test)

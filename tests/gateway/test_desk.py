"""The command desk by itself: whom it tells of what, and whom it asks for commands of others."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from evproto.gateway.adapter import Adapter, CommandType, Ending, Prepared
from evproto.gateway.audit import Audit
from evproto.gateway.commands import Command, CommandDesk


class Echo:
    """An adapter that answers with what it was told."""

    protocol = "echo"

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        sent(7)
        await asyncio.sleep(0)
        return Ending(state="accepted", answer=prepared.fields, shown={})


def prepared(fields: dict[str, Any]) -> Prepared:
    kind = CommandType(name="say", code="say", title="Say", schema={})
    return Prepared(charger="C1", type=kind, fields=fields, shown=fields, payload=None)


def elsewhere(id: str, ended: bool) -> Command:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return Command(
        id=id,
        protocol="echo",
        charger="C2",
        name="say",
        state="accepted" if ended else "sent",
        created=now,
        ended=now if ended else None,
        fields={},
    )


def test_every_change_is_told_in_order_and_once(tmp_path: Path) -> None:
    told: list[Command] = []

    async def run() -> None:
        audit = await Audit.open(tmp_path / "audit.db")
        desk = CommandDesk(audit, on_change=lambda command: told.append(copy.copy(command)))
        taken = await desk.submit(cast(Adapter, Echo()), prepared({"a": 1}), by="me", key="k")
        await desk.wait(taken.command.id)
        again = await desk.submit(cast(Adapter, Echo()), prepared({"a": 1}), by="me", key="k")
        assert again.repeated
        await desk.close()
        await audit.close()

    asyncio.run(run())
    assert [one.state for one in told] == ["queued", "sent", "accepted"]
    assert [one.sequence for one in told] == [None, 7, 7]
    assert told[2].ended is not None


def test_commands_of_others_are_asked_for_elsewhere(tmp_path: Path) -> None:
    asked: list[str] = []

    async def ask(id: str) -> Command | None:
        asked.append(id)
        return elsewhere(id, ended=len(asked) > 3) if id == "theirs" else None

    async def run() -> None:
        audit = await Audit.open(tmp_path / "audit.db")
        desk = CommandDesk(audit, elsewhere=ask)
        told = prepared({"card": "4711"})
        mine = (await desk.submit(cast(Adapter, Echo()), told, by="me")).command.id
        await desk.wait(mine)
        assert await desk.get(mine) is not None
        assert asked == []
        assert await desk.get("nobody's") is None
        assert await desk.wait("nobody's") is None
        asked.clear()
        found = await desk.get("theirs")
        assert found is not None
        assert found.state == "sent"
        # Waits until those who have it say that it has ended.
        async with asyncio.timeout(30):
            found = await desk.wait("theirs")
        assert found is not None
        assert found.state == "accepted"
        assert asked == ["theirs"] * 4
        # Whoever may only read gets what was hidden elsewhere as it is, and of this desk what the log has.
        theirs = msgspec.structs.replace(found, answer={"hidden": "already"})
        assert (await desk.redacted(theirs)).answer == {"hidden": "already"}
        own = await desk.get(mine)
        assert own is not None
        assert own.answer == {"card": "4711"}
        assert (await desk.redacted(own)).answer == {}
        await desk.close()
        await audit.close()

    asyncio.run(run())


def test_who_waits_for_a_command_elsewhere_waits_no_longer_than_it_said(tmp_path: Path) -> None:
    async def ask(id: str) -> Command | None:
        return elsewhere(id, ended=False)

    async def run() -> None:
        audit = await Audit.open(tmp_path / "audit.db")
        desk = CommandDesk(audit, elsewhere=ask)
        async with asyncio.timeout(30):
            found = await desk.wait("theirs", 0.01)
        assert found is not None
        assert found.state == "sent"
        await desk.close()
        await audit.close()

    asyncio.run(run())

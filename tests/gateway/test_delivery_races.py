"""Delivery between a file and a sink that both do what they do at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from evproto.gateway.delivery import Delivery, DeliverySettings, Entry
from evproto.gateway.events import Event
from evproto.gateway.outbox import Outbox
from evproto.gateway.reader import Reader
from evproto.gateway.sink import SinkError, SinkRefusedError, SinkUnavailableError
from gateway.outbox_helpers import QUICK, Memory, event, run, until


class Pages:
    """A file in memory. ``gate`` is waited for between reading and answering."""

    def __init__(self) -> None:
        self.pending: dict[str, list[Entry]] = {}
        self.reads: list[tuple[str, int, int]] = []
        self.gate: asyncio.Event | None = None
        self.read = asyncio.Event()

    def add(self, charger: str, seq: int) -> Entry:
        entry = Entry(seq, event(charger, sequence=seq).to_json())
        self.pending.setdefault(charger, []).append(entry)
        return entry

    async def fetch(self, charger: str, upto: int, count: int) -> list[Entry]:
        self.reads.append((charger, upto, count))
        found = [entry for entry in self.pending.get(charger, []) if entry.seq <= upto][:count]
        self.read.set()
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def delivered(self, charger: str, entries: Sequence[Entry]) -> None:
        self.pending[charger] = [entry for entry in self.pending[charger] if entry not in entries]

    async def bury(self, charger: str, entry: Entry, reason: str, attempts: int) -> None:
        await self.delivered(charger, [entry])

    def failed(self, error: SinkError) -> None: ...


def sequences(sink: Memory) -> list[object]:
    return [found.sequence for found in sink.got]


def test_what_is_stored_while_the_file_is_read_comes_after_what_was_read() -> None:
    async def scenario() -> None:
        pages, sink = Pages(), Memory()
        pages.gate = asyncio.Event()
        pages.add("c", 1)
        delivery = Delivery(sink, pages, QUICK)
        delivery.start({"c": 1}, 1)
        await pages.read.wait()
        # Now the answer without it is on its way.
        delivery.notice("c", pages.add("c", 2))
        pages.gate.set()
        await until(lambda: len(sink.got) == 2)
        assert sequences(sink) == [1, 2]
        await delivery.close()

    run(scenario())


def test_what_is_in_the_file_before_anybody_said_so_comes_once() -> None:
    # The writer has committed; its word is still on the way to the event loop.
    async def scenario() -> None:
        pages, sink = Pages(), Memory()
        first, second, third = pages.add("c", 1), pages.add("c", 2), pages.add("c", 3)
        delivery = Delivery(sink, pages, QUICK)
        delivery.start({"c": 1}, 1)
        await until(lambda: len(sink.got) >= 1)
        delivery.notice("c", second)
        await until(lambda: len(sink.got) >= 2)
        delivery.notice("c", third)
        await until(lambda: len(sink.got) >= 3)
        # And those that were read at the start, said late.
        late = Delivery(other := Memory("other"), pages, QUICK)
        pages.pending["c"] = [first, second]
        late.notice("c", first)
        late.start({"c": 2}, 2)
        await until(lambda: len(other.got) >= 2)
        late.notice("c", second)
        late.notice("c", pages.add("c", 4))
        await until(lambda: len(other.got) >= 3)
        await delivery.close()
        await late.close()
        assert sequences(sink) == [1, 2, 3]
        assert sequences(other) == [1, 2, 4]
        assert late.progress.pending == 3

    run(scenario())


def test_a_fetch_stops_at_the_place_it_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            await outbox.deliver(Memory("m", lambda _: asyncio.Event().wait()))
            for _ in range(3):
                await outbox.put(event("c"))
            reader = Reader(outbox.path, lambda error: None)
            await reader.open()
            assert [entry.seq for entry in await reader.fetch(1, "c", 2, 10)] == [1, 2]
            assert [entry.seq for entry in await reader.fetch(1, "c", 3, 10)] == [1, 2, 3]
            assert [entry.seq for entry in await reader.fetch(1, "c", 3, 1)] == [1]
            await reader.close()

    run(scenario())


def test_a_turn_to_try_the_sink_is_not_lost_with_a_charger_that_has_nothing() -> None:
    # Its events grew too old while it waited for its turn.
    async def scenario() -> None:
        down = True
        tried = asyncio.Event()

        def gone(_: object) -> None:
            if down:
                tried.set()
                raise SinkUnavailableError("gone")

        pages, sink = Pages(), Memory("m", gone)
        chargers = [f"c{number}" for number in range(5)]
        for number, charger in enumerate(chargers):
            pages.add(charger, number + 1)
        delivery = Delivery(sink, pages, DeliverySettings(concurrency=1, backoff=0.02, backoff_limit=0.02))
        delivery.start(dict.fromkeys(chargers, 1), 5)
        await tried.wait()
        for charger in chargers[1:4]:
            pages.pending[charger].clear()
        down = False
        await until(lambda: len(sink.got) == 2)
        assert sorted(found.charger for found in sink.got) == ["c0", "c4"]
        await delivery.close()

    run(scenario())


def test_what_one_sink_has_and_another_refused_is_not_settled(tmp_path: Path) -> None:
    async def scenario() -> None:
        buried = asyncio.Event()

        def refuse(_: object) -> None:
            raise SinkRefusedError("no")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            late = Memory("late", lambda _: buried.wait())
            await outbox.deliver(Memory("refusing", refuse), DeliverySettings(refusals=1))
            await outbox.deliver(late)
            stored = await outbox.put(event(kind="message"))
            await until(lambda: outbox.counts().sinks["refusing"].dead == 1)
            buried.set()
            await until(lambda: outbox.counts().sinks["late"].pending == 0)
            (letter,) = await outbox.dead()
            assert letter.id == stored.id
            await outbox.discard(stored.id)
            await outbox.delivered(stored.id)

    run(scenario())


def test_a_dead_letter_that_is_replayed_comes_before_what_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        refusing, stuck = True, False

        def moody(events: Sequence[Event]) -> None:
            if refusing and events[0].sequence == 1:
                raise SinkRefusedError("no")
            if stuck:
                raise SinkError("not now")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m", moody)
            await outbox.deliver(sink, QUICK)
            first = await outbox.put(event(sequence=1))
            await outbox.drained()
            stuck, refusing = True, False
            for number in (2, 3):
                await outbox.put(event(sequence=number))
            await outbox.replay(first.id)
            stuck = False
            await outbox.drained()
            assert sequences(sink) == [1, 2, 3]

    run(scenario())


def test_a_stored_event_that_cannot_be_read_is_a_dead_letter_and_holds_up_nobody(tmp_path: Path) -> None:
    # As after going back to a version that does not know a kind of event.
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            stored = [await outbox.put(event("c", sequence=number)) for number in range(4)]
            odd = b'{"kind": "from the future"}'
            await outbox._writer.submit(
                lambda store: (
                    store._db.execute("UPDATE events SET body = ? WHERE seq IN (1, 3)", (odd,)) and None
                )
            )
            sink = Memory()
            await outbox.deliver(sink, QUICK)
            await outbox.drained()
            assert sequences(sink) == [1, 3]
            letters = await outbox.dead()
            assert [letter.id for letter in letters] == [stored[0].id, stored[2].id]
            assert letters[0].body == odd
            assert "cannot be read" in letters[0].reason

    run(scenario())


def test_a_sink_that_miscounts_does_no_harm() -> None:
    async def scenario() -> None:
        counts = [-3, 99]

        def miscount(_: object) -> None:
            if counts:
                raise SinkError("so many", delivered=counts.pop(0))

        pages, sink = Pages(), Memory("m", miscount)
        for number in range(1, 5):
            pages.add("c", number)
        delivery = Delivery(sink, pages, QUICK)
        delivery.start({"c": 4}, 4)
        # Less than nothing is nothing; more than all is all.
        await until(lambda: not pages.pending["c"])
        assert delivery.progress.failures == 2
        await delivery.close()

    run(scenario())

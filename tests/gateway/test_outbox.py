"""What an outbox promises to those who put events in, and how it is looked after."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from evproto.gateway.events import Event
from evproto.gateway.outbox import (
    DeliverySettings,
    NotDeliveredError,
    Observer,
    Outbox,
    OutboxError,
    Retention,
    Stored,
)
from evproto.gateway.sink import SinkError, SinkRefusedError
from gateway.outbox_helpers import QUICK, Memory, event, run, until


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def tables(path: Path) -> dict[str, int]:
    """Read by somebody else."""
    database = sqlite3.connect(path)
    try:
        names = ("events", "keys", "pending", "dead")
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    finally:
        database.close()


def test_what_was_put_is_in_the_file_and_delivered_as_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            made = event(key="t1", digest="d1")
            assert await outbox.put(made) == Stored(made.id, False, False)
            assert tables(outbox.path) == {"events": 1, "keys": 1, "pending": 0, "dead": 0}
            sink = Memory()
            await outbox.deliver(sink)
            await outbox.delivered(made.id)
            assert sink.got == [made]
        assert sink.closed

    run(scenario())


def test_a_repetition_is_confirmed_and_not_delivered_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory()
            await outbox.deliver(sink)
            first = event(key="t1", digest="d1")
            await outbox.put(first)
            await outbox.delivered(first.id)
            again = event(key="t1", digest="d1")
            stored = await outbox.put(again)
            assert stored == Stored(first.id, duplicate=True, conflict=False)
            await outbox.delivered(stored.id)
            # In one transaction too.
            results = await asyncio.gather(*(outbox.put(event(key="t2", digest="d2")) for _ in range(10)))
            assert [result.duplicate for result in results] == [False] + [True] * 9
            assert {result.id for result in results} == {results[0].id}
            # The same number of another charger is another record.
            other = await outbox.put(event("other", key="t1", digest="d1"))
            assert not other.duplicate
            await outbox.drained()
            assert sink.ids() == [first.id, results[0].id, other.id]
            counts = outbox.counts()
            assert (counts.stored, counts.duplicates, counts.conflicts) == (3, 10, 0)

    run(scenario())


def test_the_same_key_with_other_content_is_delivered_as_a_conflict(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory()
            await outbox.deliver(sink)
            first, second = event(key="t1", digest="d1"), event(key="t1", digest="d2")
            await outbox.put(first)
            assert await outbox.put(second) == Stored(second.id, duplicate=False, conflict=True)
            # Both are known from now on, in whatever order they come again.
            assert await outbox.put(event(key="t1", digest="d1")) == Stored(first.id, True, False)
            assert await outbox.put(event(key="t1", digest="d2")) == Stored(second.id, True, False)
            await outbox.drained()
            assert [(found.id, found.conflict) for found in sink.got] == [
                (first.id, False),
                (second.id, True),
            ]
            assert outbox.counts().conflicts == 1

    run(scenario())


def test_a_repetition_is_known_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            first = await outbox.put(event(key="t1", digest="d1"))
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            assert await outbox.put(event(key="t1", digest="d1")) == Stored(first.id, True, False)

    run(scenario())


def test_the_same_event_twice_is_stored_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            made = event()
            await outbox.put(made)
            assert (await outbox.put(made)).duplicate
            assert tables(outbox.path)["events"] == 1

    run(scenario())


def test_giving_up_waiting_does_not_take_an_event_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            task = asyncio.ensure_future(outbox.put(event()))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: outbox.counts().stored == 1)
            assert tables(outbox.path)["events"] == 1

    run(scenario())


def test_many_puts_share_a_transaction(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            before = outbox.counts().transactions
            await asyncio.gather(*(outbox.put(event()) for _ in range(400)))
            # The first may go alone; what came while the disk was busy goes together.
            assert outbox.counts().transactions - before <= 20

    run(scenario())


def test_more_than_the_disk_can_take_is_refused_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db", max_waiting=5) as outbox:
            results = await asyncio.gather(*(outbox.put(event()) for _ in range(8)), return_exceptions=True)
            errors = [result for result in results if isinstance(result, OutboxError)]
            assert [error.cause for error in errors] == ["overload"] * 3
            assert tables(outbox.path)["events"] == 5
            assert outbox.counts().failed == 3
            assert outbox.counts().waiting == 0
            assert outbox.counts().healthy

    run(scenario())


def test_housekeeping_leaves_the_event_loop_its_time_while_nothing_is_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db", max_waiting=1) as outbox:
            gate = threading.Event()
            blocked = outbox._writer.submit(lambda store: gate.wait(60))
            for _ in range(3):
                with pytest.raises(OutboxError):
                    await outbox.put(event())
            # The housekeeper is awake now, and meets the same refusal. Others have their turn nevertheless.
            for _ in range(100):
                await asyncio.sleep(0)
            gate.set()
            await blocked
            await outbox.put(event())

    run(scenario())


def test_an_event_that_json_cannot_carry_is_refused_and_nothing_else_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            good = outbox.put(event())
            with pytest.raises(TypeError, match="JSON"):
                await outbox.put(event(fields={"x": object()}))
            await good
            assert outbox.counts().healthy

    run(scenario())


def test_whatever_is_in_an_event_is_stored(tmp_path: Path) -> None:
    # Texts as chargers send them: NULs, quotes, emoji, long.
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory()
            await outbox.deliver(sink)
            odd = event(
                "a\0b'\"; DROP TABLE events;--\U0001f50c", key="\0", digest="x" * 5000, raw="00" * 100_000
            )
            await outbox.put(odd)
            await outbox.delivered(odd.id)
            assert sink.got == [odd]

    run(scenario())


def test_closed_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        outbox = await Outbox.open(tmp_path / "o.db")
        await outbox.close()
        await outbox.close()
        with pytest.raises(OutboxError) as caught:
            await outbox.put(event())
        assert caught.value.cause == "closed"
        with pytest.raises(OutboxError):
            await outbox.dead()

    run(scenario())


def test_closing_stores_what_was_handed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        outbox = await Outbox.open(tmp_path / "o.db")
        for _ in range(100):
            outbox.post(event())
        await outbox.close()
        assert tables(outbox.path)["events"] == 100

    run(scenario())


def test_progress_of_sinks_is_their_own_and_survives(tmp_path: Path) -> None:
    async def scenario() -> None:
        stuck = True

        def fail(_: object) -> None:
            if stuck:
                raise SinkError("not now")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            good, bad = Memory("good"), Memory("bad", fail)
            await outbox.deliver(good, QUICK)
            await outbox.deliver(bad, QUICK)
            ids = [(await outbox.put(event())).id for _ in range(5)]
            await until(lambda: len(good.got) == 5)
            assert bad.got == []
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            assert outbox.sinks() == ["bad", "good"]
            # Stored before the sinks are there again.
            ids.append((await outbox.put(event())).id)
            stuck = False
            good, bad = Memory("good"), Memory("bad")
            await outbox.deliver(good, QUICK)
            await outbox.deliver(bad, QUICK)
            await outbox.drained()
            assert good.ids() == ids[5:]
            assert bad.ids() == ids
            with pytest.raises(ValueError, match="already"):
                await outbox.deliver(Memory("bad"))

    run(scenario())


def test_what_was_stored_without_a_sink_goes_to_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            first = await outbox.put(event())
            sink = Memory("first")
            await outbox.deliver(sink)
            await outbox.delivered(first.id)
            # What is delivered to all is not news to the next.
            late = Memory("late")
            await outbox.deliver(late)
            second = await outbox.put(event())
            await outbox.drained()
            assert sink.ids() == [first.id, second.id]
            assert late.ids() == [second.id]

    run(scenario())


def test_forgetting_a_sink_settles_what_only_it_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            good = Memory("good")
            gone = Memory("gone", lambda _: asyncio.Event().wait())
            await outbox.deliver(good)
            await outbox.deliver(gone)
            stored = await outbox.put(event())
            waiting = asyncio.ensure_future(outbox.delivered(stored.id))
            await until(lambda: len(good.got) == 1)
            assert not waiting.done()
            await outbox.forget("gone")
            await waiting
            assert gone.closed
            assert outbox.sinks() == ["good"]
            assert tables(outbox.path)["pending"] == 0
            with pytest.raises(LookupError):
                await outbox.forget("gone")

    run(scenario())


def test_forgetting_the_last_sink_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            await outbox.deliver(Memory("gone", lambda _: asyncio.Event().wait()))
            stored = await outbox.put(event())
            await outbox.forget("gone")
            sink = Memory("next")
            await outbox.deliver(sink)
            await outbox.delivered(stored.id)
            assert sink.ids() == [stored.id]

    run(scenario())


class TestDelivered:
    def test_of_an_event_nobody_knows(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with await Outbox.open(tmp_path / "o.db") as outbox:
                with pytest.raises(NotDeliveredError, match="no sink"):
                    await outbox.delivered("nothing")
                await outbox.deliver(Memory())
                with pytest.raises(LookupError):
                    await outbox.delivered("nothing")

        run(scenario())

    def test_of_a_message_that_is_gone_already(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with await Outbox.open(tmp_path / "o.db") as outbox:
                await outbox.deliver(Memory())
                stored = await outbox.put(event(kind="message"))
                await outbox.drained()
                assert tables(outbox.path)["events"] == 0
                await outbox.delivered(stored.id)

        run(scenario())

    def test_of_a_record_delivered_before_a_restart_and_pruned(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            clock = Clock()
            async with await Outbox.open(tmp_path / "o.db", clock=clock) as outbox:
                await outbox.deliver(Memory())
                stored = await outbox.put(event(key="k", digest="d"))
                await outbox.delivered(stored.id)
            clock.now += 30 * 86400
            async with await Outbox.open(tmp_path / "o.db", clock=clock) as outbox:
                await outbox.deliver(Memory())
                await outbox.delivered(stored.id)
                await outbox.keep_house()
                assert tables(outbox.path) == {"events": 0, "keys": 1, "pending": 0, "dead": 0}
                again = await outbox.put(event(key="k", digest="d"))
                assert again == Stored(stored.id, True, False)
                await outbox.delivered(again.id)

        run(scenario())

    def test_ends_when_the_event_dies_or_the_outbox_closes(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            def refuse(events: list[Event]) -> object:
                if events[0].charger == "bad":
                    raise SinkRefusedError("never")
                return asyncio.Event().wait()

            outbox = await Outbox.open(tmp_path / "o.db")
            await outbox.deliver(Memory("memory", refuse), QUICK)  # type: ignore[arg-type]
            dead = await outbox.put(event("bad"))
            with pytest.raises(NotDeliveredError, match="never"):
                await outbox.delivered(dead.id)
            with pytest.raises(NotDeliveredError, match="never"):
                await outbox.delivered(dead.id)
            stuck = await outbox.put(event("slow"))
            waiting = asyncio.ensure_future(outbox.delivered(stuck.id))
            await asyncio.sleep(0)
            await outbox.close()
            with pytest.raises(NotDeliveredError, match="closed"):
                await waiting

        run(scenario())


class TestHousekeeping:
    def test_records_go_when_they_are_settled_and_old_and_their_keys_later(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            clock = Clock()
            keep = Retention(records=100, keys=1000)
            async with await Outbox.open(tmp_path / "o.db", clock=clock, retention=keep) as outbox:
                sink = Memory()
                await outbox.deliver(sink)
                await outbox.put(event(key="k", digest="d"))
                await outbox.drained()
                clock.now += 99
                await outbox.keep_house()
                assert tables(outbox.path)["events"] == 1
                clock.now += 2
                await outbox.keep_house()
                assert tables(outbox.path) == {"events": 0, "keys": 1, "pending": 0, "dead": 0}
                clock.now += 900
                await outbox.put(event(key="k", digest="d"))  # seen again: kept longer
                clock.now += 900
                await outbox.keep_house()
                assert tables(outbox.path)["keys"] == 1
                clock.now += 101
                await outbox.keep_house()
                assert tables(outbox.path)["keys"] == 0
                assert len(sink.got) == 1

        run(scenario())

    def test_a_record_that_is_not_delivered_stays_however_old(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            clock = Clock()
            keep = Retention(records=0, keys=0, messages=10, message_limit=1)
            async with await Outbox.open(tmp_path / "o.db", clock=clock, retention=keep) as outbox:
                await outbox.deliver(Memory("m", lambda _: asyncio.Event().wait()))
                stored = [await outbox.put(event(key=str(n), digest="d")) for n in range(3)]
                clock.now += 100 * 365 * 86400
                await outbox.keep_house()
                assert tables(outbox.path) == {"events": 3, "keys": 3, "pending": 3, "dead": 0}
                assert (await outbox.put(event(key="0", digest="d"))).id == stored[0].id

        run(scenario())

    def test_messages_grow_too_old(self, tmp_path: Path) -> None:
        class Watch(Observer):
            lost: dict[str, int] = {}  # noqa: RUF012

            def expired(self, sink: str, count: int) -> None:
                self.lost[sink] = self.lost.get(sink, 0) + count

        async def scenario() -> None:
            clock, watch = Clock(), Watch()
            keep = Retention(messages=10)
            async with await Outbox.open(
                tmp_path / "o.db", clock=clock, retention=keep, observer=watch
            ) as outbox:
                down = True

                def fail(_: object) -> None:
                    if down:
                        raise SinkError("down")

                sink = Memory("m", fail)
                await outbox.deliver(sink, QUICK)
                old = await outbox.put(event(kind="message"))
                waiting = asyncio.ensure_future(outbox.delivered(old.id))
                record = await outbox.put(event(kind="record"))
                clock.now += 11
                fresh = await outbox.put(event(kind="message"))
                await outbox.keep_house()
                with pytest.raises(NotDeliveredError, match="too old"):
                    await waiting
                assert outbox.counts().sinks["m"].expired == 1
                assert watch.lost == {"m": 1}
                down = False
                await outbox.drained()
                assert sink.ids() == [record.id, fresh.id]

        run(scenario())

    def test_too_many_messages_the_oldest_go(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            keep = Retention(message_limit=10)
            async with await Outbox.open(tmp_path / "o.db", retention=keep) as outbox:
                messages = await asyncio.gather(*(outbox.put(event(kind="online")) for _ in range(1500)))
                record = await outbox.put(event())
                await outbox.keep_house()
                sink = Memory()
                await outbox.deliver(sink)
                await outbox.drained()
                assert sink.ids() == [stored.id for stored in messages[-10:]] + [record.id]

        run(scenario())

    def test_the_file_gets_smaller_again(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with await Outbox.open(tmp_path / "o.db") as outbox:
                await asyncio.gather(
                    *(outbox.put(event(kind="message", raw="ab" * 5000)) for _ in range(1000))
                )
            full = outbox.path.stat().st_size
            assert full > 10_000_000
            async with await Outbox.open(tmp_path / "o.db") as outbox:
                await outbox.deliver(Memory())
                await outbox.drained()
                before = outbox.counts().transactions
                await outbox.keep_house()
                assert outbox.counts().transactions - before < 20
            assert outbox.path.stat().st_size < full / 10
            database = sqlite3.connect(outbox.path)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            database.close()

        run(scenario())

    def test_the_file_does_not_grow_while_events_pass_through(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with await Outbox.open(tmp_path / "o.db") as outbox:
                await outbox.deliver(Memory())
                sizes = []
                for _ in range(6):
                    await asyncio.gather(
                        *(outbox.put(event(kind="message", raw="ab" * 1000)) for _ in range(500))
                    )
                    await outbox.drained()
                    sizes.append(outbox.path.stat().st_size)
                assert sizes[-1] <= max(sizes[:2]) * 1.5

        run(scenario())


def test_observers_are_told(tmp_path: Path) -> None:
    class Watch(Observer):
        def __init__(self) -> None:
            self.seen: list[tuple[object, ...]] = []

        def stored(self, event: Event, stored: Stored, seconds: float) -> None:
            assert seconds > 0
            self.seen.append(("stored", event.id, stored.duplicate))

        def committed(self, operations: int, seconds: float) -> None:
            assert operations > 0
            assert seconds > 0

        def delivered(self, sink: str, count: int) -> None:
            self.seen.append(("delivered", sink, count))

        def sink_failed(self, sink: str, error: SinkError) -> None:
            self.seen.append(("failed", sink, str(error)))

        def buried(self, sink: str, id: str, reason: str) -> None:
            self.seen.append(("buried", sink, id, reason))

    async def scenario() -> None:
        watch = Watch()
        async with await Outbox.open(tmp_path / "o.db", observer=watch) as outbox:
            answers = [None, SinkRefusedError("wrong")]

            def answer(_: object) -> None:
                found = answers.pop(0)
                if found is not None:
                    raise found

            await outbox.deliver(Memory("m", answer), DeliverySettings(refusals=1))
            first = await outbox.put(event(key="k", digest="d"))
            await outbox.delivered(first.id)
            await outbox.put(event(key="k", digest="d"))
            second = await outbox.put(event())
            await outbox.drained()
            assert watch.seen == [
                ("stored", first.id, False),
                ("delivered", "m", 1),
                ("stored", watch.seen[2][1], True),
                ("stored", second.id, False),
                ("failed", "m", "wrong"),
                ("buried", "m", second.id, "wrong"),
            ]

    run(scenario())

"""Delivery: order, retries, isolation of what is stuck, dead letters; against a naive model at the end."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evproto.gateway.delivery import DeliverySettings
from evproto.gateway.events import Event
from evproto.gateway.outbox import Outbox, OutboxError
from evproto.gateway.sink import SinkError, SinkRefusedError, SinkUnavailableError
from gateway.outbox_helpers import QUICK, Memory, event, run, until


def quick(**members: object) -> DeliverySettings:
    return msgspec.structs.replace(QUICK, **members)


def test_events_of_a_charger_come_in_order_and_one_call_at_a_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        running: set[str] = set()
        together = 0

        async def slow(events: Sequence[Event]) -> None:
            nonlocal together
            charger = events[0].charger
            assert charger not in running
            assert {found.charger for found in events} == {charger}
            running.add(charger)
            together = max(together, len(running))
            await asyncio.sleep(0.002)
            running.discard(charger)

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m", slow)
            await outbox.deliver(sink, quick(concurrency=4, batch=7))
            stored = await asyncio.gather(*(outbox.put(event(f"c{n % 10}", sequence=n)) for n in range(500)))
            await outbox.drained()
            assert sorted(sink.ids()) == sorted(found.id for found in stored)
            for charger in range(10):
                sequences = [found.sequence for found in sink.got if found.charger == f"c{charger}"]
                assert sequences == list(range(charger, 500, 10))
            assert together == 4

    run(scenario())


@pytest.mark.parametrize("memory", [1, 10_000])
def test_a_backlog_comes_in_order_whether_it_was_kept_in_memory_or_not(tmp_path: Path, memory: int) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            for number in range(30):
                await outbox.put(event(f"c{number % 3}", sequence=number))
            sink = Memory()
            await outbox.deliver(sink, quick(memory=memory, batch=4))
            await asyncio.gather(*(outbox.put(event(f"c{n % 3}", sequence=n)) for n in range(30, 300)))
            await outbox.drained()
            for charger in range(3):
                sequences = [found.sequence for found in sink.got if found.charger == f"c{charger}"]
                assert sequences == list(range(charger, 300, 3))
            assert outbox.counts().sinks["memory"].pending == 0

    run(scenario())


def test_a_charger_that_is_stuck_holds_up_nobody_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        def fail(events: Sequence[Event]) -> None:
            if events[0].charger.startswith("stuck"):
                raise SinkError("no")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m", fail)
            # More stuck chargers than workers.
            await outbox.deliver(sink, quick(concurrency=2))
            for number in range(20):
                await outbox.put(event(f"stuck{number}"))
            good = [(await outbox.put(event(f"good{number}"))).id for number in range(20)]
            await until(lambda: len(sink.got) == 20)
            assert sorted(sink.ids()) == sorted(good)
            await until(lambda: outbox.counts().sinks["m"].pending == 20)

    run(scenario())


def test_a_call_that_hangs_is_ended_and_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        calls = 0

        def hang(_: object) -> object:
            nonlocal calls
            calls += 1
            return asyncio.Event().wait() if calls == 1 else None

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m", hang)
            await outbox.deliver(sink, quick(timeout=0.02))
            stored = await outbox.put(event())
            await outbox.delivered(stored.id)
            assert outbox.counts().sinks["m"].failures == 1

    run(scenario())


def test_a_sink_with_a_mistake_is_a_failing_sink(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[str] = []

        def wrong(_: object) -> None:
            seen.append("called")
            if len(seen) < 3:
                raise KeyError("typo")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            await outbox.deliver(Memory("m", wrong), QUICK)
            stored = await outbox.put(event())
            await until(lambda: outbox.counts().sinks["m"].failures >= 1)
            assert "KeyError: 'typo'" in outbox.counts().sinks["m"].error or len(seen) == 3
            await outbox.delivered(stored.id)
            assert outbox.counts().sinks["m"].error == ""

    run(scenario())


def test_after_half_a_batch_the_other_half_is_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        batches: list[list[object]] = []

        def half(events: Sequence[Event]) -> None:
            batches.append([found.sequence for found in events])
            if len(batches) == 1:
                raise SinkError("the rest did not arrive", delivered=3)

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            for number in range(5):
                await outbox.put(event(sequence=number))
            await outbox.deliver(Memory("m", half), QUICK)
            await outbox.drained()
            assert batches == [[0, 1, 2, 3, 4], [3, 4]]

    run(scenario())


def test_what_is_refused_for_good_is_a_dead_letter_and_the_next_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        def refuse(events: Sequence[Event]) -> None:
            for number, found in enumerate(events):
                if found.sequence == 1:
                    raise SinkRefusedError("422 wrong tariff", delivered=number)

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m", refuse)
            await outbox.deliver(sink, quick(refusals=3))
            stored = [await outbox.put(event(sequence=number)) for number in range(3)]
            await outbox.drained()
            (letter,) = await outbox.dead()
            assert (letter.id, letter.sink, letter.reason, letter.attempts) == (
                stored[1].id,
                "m",
                "422 wrong tariff",
                3,
            )
            assert Event.from_json(letter.body).sequence == 1
            assert outbox.counts().sinks["m"].dead == 1
            assert outbox.counts().sinks["m"].failures == 3

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m")
            await outbox.deliver(sink, QUICK)
            await outbox.drained()
            assert sink.got == []
            assert outbox.counts().sinks["m"].dead == 1
            # The receiver was mended.
            await outbox.replay(stored[1].id)
            await outbox.drained()
            assert sink.ids() == [stored[1].id]
            assert await outbox.dead() == []
            assert outbox.counts().sinks["m"].dead == 0
            await outbox.delivered(stored[1].id)
            with pytest.raises(LookupError):
                await outbox.replay(stored[1].id)

    run(scenario())


def test_dead_letters_of_two_sinks_are_two(tmp_path: Path) -> None:
    async def scenario() -> None:
        refusing = True

        def refuse(_: object) -> None:
            if refusing:
                raise SinkRefusedError("no")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            one, two = Memory("one", refuse), Memory("two", refuse)
            await outbox.deliver(one, quick(refusals=1))
            await outbox.deliver(two, quick(refusals=1))
            stored = await outbox.put(event())
            await outbox.drained()
            assert sorted(letter.sink for letter in await outbox.dead()) == ["one", "two"]
            assert [letter.sink for letter in await outbox.dead(sink="two")] == ["two"]
            refusing = False
            await outbox.replay(stored.id, sink="one")
            await outbox.drained()
            assert one.ids() == [stored.id]
            waiting = asyncio.ensure_future(outbox.delivered(stored.id))
            with pytest.raises(LookupError):
                await outbox.discard(stored.id, sink="one")
            await outbox.discard(stored.id)
            assert await outbox.dead() == []
            assert two.got == []
            await asyncio.gather(waiting, return_exceptions=True)

    run(scenario())


def test_attempts_can_be_limited(tmp_path: Path) -> None:
    async def scenario() -> None:
        def fail(_: object) -> None:
            raise SinkError("500")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            await outbox.deliver(Memory("m", fail), quick(attempts=4))
            stored = await outbox.put(event())
            await outbox.drained()
            (letter,) = await outbox.dead()
            assert (letter.id, letter.attempts) == (stored.id, 4)

    run(scenario())


def test_a_sink_that_is_not_there_kills_nothing_and_is_tried_by_one_at_a_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        down, at_once, most, calls = True, 0, 0, 0

        async def gone(_: object) -> None:
            nonlocal at_once, most, calls
            calls += 1
            if not down:
                return
            later = calls > 8  # those of the beginning do not know yet
            at_once += later
            most = max(most, at_once)
            await asyncio.sleep(0.001)
            at_once -= later
            raise SinkUnavailableError("refused the connection")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            stored = [await outbox.put(event(f"c{number}")) for number in range(50)]
            sink = Memory("m", gone)
            await outbox.deliver(sink, quick(concurrency=8, attempts=2, refusals=1))
            await until(lambda: calls > 30)
            assert not outbox.counts().sinks["m"].available
            assert most == 1
            down = False
            await outbox.drained()
            assert outbox.counts().sinks["m"].available
            assert await outbox.dead() == []
            assert sorted(sink.ids()) == sorted(found.id for found in stored)

    run(scenario())


def test_an_event_that_takes_the_sink_down_does_not_hold_up_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        def poison(events: Sequence[Event]) -> None:
            if events[0].charger == "poison":
                raise SinkUnavailableError("the connection broke")

        async with await Outbox.open(tmp_path / "o.db") as outbox:
            await outbox.put(event("poison"))
            stored = [await outbox.put(event(f"c{number}")) for number in range(30)]
            sink = Memory("m", poison)
            await outbox.deliver(sink, quick(concurrency=2))
            await until(lambda: len(sink.got) == 30)
            assert sorted(sink.ids()) == sorted(found.id for found in stored)

    run(scenario())


def test_back_off_doubles_up_to_its_limit_and_is_by_chance(tmp_path: Path) -> None:
    from evproto.gateway.delivery import Delivery

    class Nothing:
        def failed(self, error: SinkError) -> None: ...

    async def scenario() -> None:
        settings = DeliverySettings(backoff=1.0, backoff_limit=10.0)
        least = Delivery(Memory(), Nothing(), settings, jitter=lambda: 0.0)  # type: ignore[arg-type]
        most = Delivery(Memory(), Nothing(), settings, jitter=lambda: 1.0)  # type: ignore[arg-type]
        assert [most._backoff(number) for number in range(1, 7)] == [1, 2, 4, 8, 10, 10]
        assert [least._backoff(number) for number in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]
        assert most._backoff(10**6) == 10

    run(scenario())


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"timeout": 0.0}, {"attempts": 0}, {"backoff": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DeliverySettings(**wrong)  # type: ignore[arg-type]


def test_what_was_delivered_and_not_written_down_is_delivered_again_with_the_same_id(tmp_path: Path) -> None:
    async def scenario() -> None:
        entered = asyncio.Event()

        async def hang(_: object) -> None:
            entered.set()
            await asyncio.Event().wait()

        outbox = await Outbox.open(tmp_path / "o.db")
        await outbox.deliver(Memory("m", hang))
        stored = await outbox.put(event())
        await entered.wait()
        await outbox.close()  # in the middle of the call
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = Memory("m")
            await outbox.deliver(sink)
            await outbox.delivered(stored.id)
            assert sink.ids() == [stored.id]

    run(scenario())


def test_a_file_that_cannot_be_written_for_a_while_does_not_make_repetitions(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            calls = 0
            aside = tmp_path / "aside"

            def take_away(_: object) -> None:
                nonlocal calls
                calls += 1
                outbox.path.rename(aside)

            await outbox.deliver(Memory("m", take_away), QUICK)
            stored = await outbox.put(event())
            await until(lambda: "gone" in outbox.counts().sinks["m"].error)
            with pytest.raises(OutboxError):
                await outbox.put(event())
            aside.rename(outbox.path)
            await outbox.delivered(stored.id)
            assert calls == 1

    run(scenario())


# Against a model: whatever the sink does, in whatever order things happen.

ANSWERS = st.sampled_from(["take", "take", "fail", "half", "gone", "refuse", "hang", "lie", "bug"])
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 3), st.sampled_from(["record", "message"])),
    st.tuples(st.just("again"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("breathe"), st.integers(0, 5), st.just("")),
    st.tuples(st.just("restart"), st.just(0), st.just("")),
)


class Moody(Memory):
    """Answers by a script, then takes everything. ``arrived`` is what really got through."""

    def __init__(self, name: str, script: list[str]) -> None:
        super().__init__(name)
        self.script = script
        self.arrived: list[Event] = []
        self.refused: dict[str, int] = defaultdict(int)

    async def deliver(self, events: Sequence[Event]) -> None:
        answer = self.script.pop(0) if self.script else "take"
        half = len(events) // 2
        if answer == "take":
            self.arrived += events
        elif answer == "fail":
            raise SinkError("fail")
        elif answer == "half":
            self.arrived += events[:half]
            raise SinkError("half", delivered=half)
        elif answer == "gone":
            raise SinkUnavailableError("gone")
        elif answer == "refuse":
            self.arrived += events[:half]
            self.refused[events[half].id] += 1
            raise SinkRefusedError("refuse", delivered=half)
        elif answer == "hang":
            await asyncio.Event().wait()
        elif answer == "lie":  # it arrived, and the answer got lost
            self.arrived += events
            raise SinkError("lost")
        else:
            raise ZeroDivisionError("bug")


@settings(max_examples=max(25, settings().max_examples // 4))
@given(
    operations=st.lists(OPERATIONS, min_size=1, max_size=40),
    script=st.lists(ANSWERS, max_size=40),
    concurrency=st.integers(1, 4),
    batch=st.integers(1, 5),
    memory=st.sampled_from([1, 3, 1000]),
    refusals=st.integers(1, 2),
)
def test_whatever_happens_everything_is_accounted_for_in_order(
    operations: list[tuple[str, int, str]],
    script: list[str],
    concurrency: int,
    batch: int,
    memory: int,
    refusals: int,
) -> None:
    async def scenario(path: Path) -> None:
        settings = quick(concurrency=concurrency, batch=batch, memory=memory, refusals=refusals, timeout=0.01)
        moody, steady = Moody("moody", script), Memory("steady")
        put: dict[str, list[str]] = defaultdict(list)
        records: dict[str, Event] = {}

        async def start() -> Outbox:
            outbox = await Outbox.open(path)
            await outbox.deliver(moody, settings)
            await outbox.deliver(steady, settings)
            return outbox

        outbox = await start()
        for number, (operation, argument, kind) in enumerate(operations):
            charger = f"c{argument}"
            if operation == "put":
                made = (
                    event(charger, kind, key=f"k{number}", digest="d")
                    if kind == "record"
                    else event(charger, kind)
                )
                stored = await outbox.put(made)
                assert stored == (made.id, False, False)
                put[charger].append(made.id)
                if kind == "record":
                    records[charger] = made
            elif operation == "again" and charger in records:
                known = records[charger]
                stored = await outbox.put(event(charger, key=known.key, digest=known.digest))
                assert stored == (known.id, True, False)
            elif operation == "breathe":
                await asyncio.sleep(argument / 1000)
            elif operation == "restart":
                await outbox.close()
                outbox = await start()
        await outbox.drained()
        dead = [letter.id for letter in await outbox.dead(limit=10_000)]
        progress = outbox.counts().sinks["moody"]
        assert (progress.pending, progress.dead) == (0, len(dead))
        assert outbox.counts().sinks["steady"].dead == 0
        await outbox.close()

        # The sink that always takes everything got everything, in order; once, unless a restart came between.
        restarted = any(operation == "restart" for operation, _, _ in operations)
        for charger, ids in put.items():
            got = steady.ids(charger)
            assert list(dict.fromkeys(got)) == ids
            assert restarted or got == ids
        # The moody one: each event arrived or is dead, and is dead only if it was refused so often.
        for charger, ids in put.items():
            arrived = [found.id for found in moody.arrived if found.charger == charger]
            assert set(arrived) | {id for id in dead if id in ids} == set(ids)
            # In order: when an event arrives for the first time, all before it have arrived or are dead.
            first = list(dict.fromkeys(arrived))
            assert first == [id for id in ids if id in set(first)]
        for id in dead:
            assert moody.refused[id] >= refusals or (restarted and moody.refused[id] > 0)
        # The file agrees.
        database = sqlite3.connect(path)
        assert database.execute("SELECT count(*) FROM pending").fetchone() == (0,)
        unsettled = {id for (id,) in database.execute("SELECT id FROM events WHERE settled IS NULL")}
        database.close()
        assert unsettled == set(dead)

    with tempfile.TemporaryDirectory() as folder:
        run(scenario(Path(folder) / "o.db"))

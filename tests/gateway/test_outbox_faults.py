"""Disks that are full, files that break while they are in use: nothing is confirmed, nothing is lost, it recovers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evproto.gateway.events import Event
from evproto.gateway.outbox import Observer, Outbox, OutboxError, Retention
from evproto.gateway.store import Store
from gateway.outbox_helpers import QUICK, Memory, event, run, until

CHILD = Path(__file__).with_name("outbox_child.py")


class Child:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()


@contextmanager
def child(*arguments: object, prefix: tuple[str, ...] = ()) -> Iterator[Child]:
    command = [*prefix, sys.executable, str(CHILD), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            made = Child(process)
            assert made.answer() == "ready"
            yield made
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def stored_ids(path: Path) -> set[str]:
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {id for (id,) in database.execute("SELECT id FROM events")}
    finally:
        database.close()


def test_a_file_that_may_not_grow_confirms_nothing_says_so_and_recovers(tmp_path: Path) -> None:
    class Alarm(Observer):
        def __init__(self) -> None:
            self.rang: list[str] = []
            self.not_confirmed: list[str] = []

        def file_failed(self, error: OutboxError) -> None:
            self.rang.append(error.cause)

        def not_stored(self, event: Event, error: OutboxError) -> None:
            self.not_confirmed.append(event.id)

    async def scenario() -> None:
        alarm = Alarm()
        down = True

        def fail(_: object) -> None:
            if down:
                raise OSError("no network")

        path = tmp_path / "o.db"
        keep = Retention(records=0, interval=3600)
        async with await Outbox.open(path, max_bytes=400_000, observer=alarm, retention=keep) as outbox:
            sink = Memory("m", fail)
            await outbox.deliver(sink, QUICK)
            confirmed: list[str] = []
            error: OutboxError | None = None
            while error is None:
                made = event(f"c{len(confirmed)}", raw="ab" * 5000)
                try:
                    confirmed.append((await outbox.put(made)).id)
                except OutboxError as caught:
                    error = caught
            assert error.cause == "full"
            assert "full" in str(error)
            assert len(confirmed) > 10
            assert alarm.rang[0] == "full"
            assert alarm.not_confirmed == [made.id]
            assert outbox.counts().failed == 1
            assert not outbox.counts().healthy
            assert "full" in outbox.counts().error
            # Time goes on, and deliveries make room.
            down = False
            await outbox.drained()
            await until(lambda: outbox.counts().healthy)
            await outbox.keep_house()
            confirmed.append((await outbox.put(made)).id)
            await outbox.drained()
            assert sorted(sink.ids()) == sorted(confirmed)
        assert path.stat().st_size <= 400_000

    run(scenario())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of this kind")
def test_a_disk_that_is_full_while_writing_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    # A limit on the size of files is the failure of write() that a full disk is, in the middle of a page.
    path = tmp_path / "o.db"
    confirmed, refused = set(), []
    with child(path) as outbox:

        def put(made: Event) -> bool:
            outbox.say(made.to_json())
            answer = outbox.answer()
            if answer.startswith("+"):
                confirmed.add(answer[1:])
                return True
            assert answer in ("-full", "-io")
            return False

        for _ in range(5):
            assert put(event(raw="ab" * 5000))
        size = Path(f"{path}-wal").stat().st_size
        outbox.say(b"limit %d" % (size + 30_000 + 777))
        assert outbox.answer() == "limited"
        while put(made := event(raw="ab" * 5000)):
            assert len(confirmed) < 20
        refused.append(made)
        for _ in range(3):
            made = event(raw="ab" * 5000)
            assert not put(made)
            refused.append(made)
        outbox.say(b"limit %d" % 2**40)
        assert outbox.answer() == "limited"
        # The chargers kept their records, and send them again.
        for made in refused:
            assert put(made)
    assert stored_ids(path) == confirmed
    assert len(confirmed) >= 5 + len(refused)


def test_a_file_that_breaks_in_use_is_an_error_and_no_new_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "o.db"
        async with await Outbox.open(path) as outbox:
            for _ in range(50):
                await outbox.put(event(raw="ab" * 2000))
        size = path.stat().st_size
        async with await Outbox.open(path) as outbox:
            # Every page but the first, under the feet of the connections.
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(os.urandom(size - 4096))
            # A connection remembers the pages it has read; without this it would see the damage later.
            await outbox._writer.submit(lambda store: store._db.execute("PRAGMA cache_size = 1") and None)
            await outbox._writer.submit(lambda store: store._db.execute("PRAGMA shrink_memory") and None)
            puts = (outbox.put(event(f"c{n}", key=str(n), digest="d", raw="ab" * 2000)) for n in range(100))
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert {getattr(result, "cause", result) for result in results} == {"corrupt"}
            assert not outbox.counts().healthy
        assert path.stat().st_size >= size
        with pytest.raises(OutboxError) as caught:
            await Outbox.open(path)
        assert caught.value.cause == "corrupt"

    run(scenario())


def test_a_file_that_another_program_holds_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            other = sqlite3.connect(outbox.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            putting = asyncio.ensure_future(outbox.put(event()))
            done, _ = await asyncio.wait([putting], timeout=0.2)
            assert not done
            other.execute("COMMIT")
            other.close()
            await putting

    run(scenario())


def test_one_operation_with_a_mistake_does_not_take_others_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:

            def mistake(store: Store) -> None:
                store._db.execute("DELETE FROM events")
                raise ZeroDivisionError

            first = outbox.put(event())
            bad = outbox._writer.submit(mistake)
            second = outbox.put(event())
            results = await asyncio.gather(first, bad, second, return_exceptions=True)
            assert isinstance(results[1], ZeroDivisionError)
            assert len(stored_ids(outbox.path)) == 2
            assert outbox.counts().healthy

    run(scenario())

"""SIGKILL at any moment, and what the system calls say about the disk.

A kill alone proves little about the disk: what was written and not synchronised
survives it in the page cache. So the order of the system calls is looked at too.
``EVPROTO_KILLS`` is how often the process is killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evproto.gateway.outbox import Outbox
from gateway.nats_server import need
from gateway.outbox_helpers import QUICK, Memory, event, run

CHILD = Path(__file__).with_name("outbox_child.py")
KILLS = int(os.environ.get("EVPROTO_KILLS", "12"))
CHARGERS = 5

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


def feed(process: subprocess.Popen[bytes], events: list[bytes]) -> None:
    assert process.stdin is not None
    try:
        for line in events:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
        process.stdin.close()
    except BrokenPipeError:
        pass


def test_what_was_confirmed_is_there_and_is_delivered_whenever_the_process_is_killed(tmp_path: Path) -> None:
    path, arrivals = tmp_path / "o.db", tmp_path / "arrivals"
    chance = random.Random(5)
    generated: list[str] = []
    confirmed: list[str] = []
    killed = 0
    for _ in range(KILLS):
        events = [
            event(f"c{number % CHARGERS}", key=str(number + len(generated)), digest="d")
            for number in range(3000)
        ]
        generated += [made.id for made in events]
        command = [sys.executable, str(CHILD), str(path), str(arrivals)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            feeder = threading.Thread(target=feed, args=(process, [made.to_json() for made in events]))
            feeder.start()
            # Not before something was confirmed; then at any moment, in the middle of whatever it does.
            answers = [process.stdout.readline()]
            killer = threading.Timer(chance.random() * 0.1, os.kill, (process.pid, signal.SIGKILL))
            killer.start()
            answers += process.stdout.readlines()
            killer.cancel()
            process.wait()
            feeder.join()
            if process.stdin is not None and not process.stdin.closed:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        killed += process.returncode == -signal.SIGKILL
        # A last line that was cut off was read by nobody.
        whole = [answer for answer in answers if answer.endswith(b"\n")]
        assert {answer[:1] for answer in whole} == {b"+"}
        confirmed += [answer[1:-1].decode() for answer in whole]
    assert len(confirmed) >= KILLS
    assert killed > KILLS // 2, "most were done before they could be killed"

    before = [line.split() for line in arrivals.read_text().splitlines()] if arrivals.exists() else []

    async def deliver_the_rest() -> Memory:
        async with await Outbox.open(path) as outbox:
            sink = Memory("lines")
            await outbox.deliver(sink, QUICK)
            await outbox.drained()
            return sink

    rest = run(deliver_the_rest())
    delivered = [(charger, id) for charger, id in before] + [(made.charger, made.id) for made in rest.got]
    ids = {id for _, id in delivered}
    assert set(confirmed) <= ids
    assert ids <= set(generated)
    # In the order of each charger, repetitions after a kill aside.
    place = {id: number for number, id in enumerate(generated)}
    for charger in {charger for charger, _ in delivered}:
        first = list(dict.fromkeys(id for who, id in delivered if who == charger))
        assert first == sorted(first, key=place.__getitem__)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT count(*) FROM pending").fetchone() == (0,)
    assert {id for (id,) in database.execute("SELECT id FROM keys")} >= set(confirmed)
    database.close()


CALL = re.compile(r"^(?P<pid>\d+) +(?P<time>[\d.]+) (?P<what>.*)$")


def traced(tmp_path: Path, lines: list[bytes]) -> list[str]:
    """The system calls of a child that is given events one by one, each after the last was answered."""
    strace = need("strace")
    log = tmp_path / "trace"
    calls = "read,write,fsync,fdatasync,pwrite64"
    command = [
        *(strace, "-f", "-ttt", "-y", "-s", "400", "-e", f"trace={calls}", "-o", str(log)),
        *(sys.executable, str(CHILD), str(tmp_path / "o.db")),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != b"ready\n":
            said = process.stderr.read().decode()
            if "ptrace" in said and os.environ.get("EVPROTO_REQUIRE_FOREIGN") != "1":
                pytest.skip(f"processes may not be traced here: {said.splitlines()[0]}")
            pytest.fail(f"the traced process did not start: {said}")
        for line in lines:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"+")
        process.stdin.close()
        process.wait(60)
    return [found["what"] for text in log.read_text().splitlines() if (found := CALL.match(text))]


def test_the_disk_has_an_event_before_it_is_confirmed(tmp_path: Path) -> None:
    events = [event(f"c{number}") for number in range(5)]
    calls = traced(tmp_path, [made.to_json() for made in events])
    place = 0
    for made in events:
        arrival = next(
            n for n, call in enumerate(calls) if n >= place and call.startswith("read(0") and made.id in call
        )
        answer = next(
            n for n, call in enumerate(calls) if call.startswith("write(1") and f"+{made.id}" in call
        )
        between = calls[arrival:answer]
        written = [n for n, call in enumerate(between) if call.startswith("pwrite64(") and "o.db-wal" in call]
        assert written, between
        synchronised = [
            n
            for n, call in enumerate(between)
            # A call that another thread interrupts in the log ends in a line of its own.
            if re.match(r"(fdatasync|fsync)\(.*o\.db-wal", call)
            or re.match(r"<\.\.\. (fdatasync|fsync) resumed", call)
        ]
        assert synchronised, between
        # What is synchronised is all of it.
        assert max(synchronised) > max(written), between
        place = answer


def test_the_trace_can_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without synchronous=FULL the trace shows no synchronisation: else the test above could not fail."""
    need("strace")
    folder = tmp_path / "careless"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "from evproto.gateway import store\n"
        "begin = store.Store.begin\n"
        "store.Store.begin = lambda self, *, durable: begin(self, durable=False)\n"
    )
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    )
    with pytest.raises(AssertionError):
        test_the_disk_has_an_event_before_it_is_confirmed(tmp_path)

"""The file: what is opened, what is refused, and that nothing is made anew over it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from evproto.gateway import store
from evproto.gateway.outbox import Outbox, OutboxError
from gateway.outbox_helpers import Memory, event, run


async def filled(path: Path, count: int = 50) -> None:
    async with await Outbox.open(path) as outbox:
        for number in range(count):
            await outbox.put(event(fields={"filling": "x" * 500}, sequence=number))


async def refusal(path: Path) -> OutboxError:
    before = {found.name: found.read_bytes() for found in path.parent.iterdir() if found.name == path.name}
    with pytest.raises(OutboxError) as caught:
        await Outbox.open(path)
    # Whoever wants to save what can be saved finds it as it was.
    assert {
        found.name: found.read_bytes() for found in path.parent.iterdir() if found.name == path.name
    } == before
    return caught.value


def test_a_new_file_is_one_that_sqlite_calls_sound(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    run(filled(path))
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert database.execute("SELECT count(*) FROM events").fetchone() == (50,)
    database.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    run(filled(path))
    content = bytearray(path.read_bytes())
    assert len(content) > 10 * 4096
    content[2 * 4096 : 6 * 4096] = os.urandom(4 * 4096)
    path.write_bytes(content)
    error = run(refusal(path))
    assert error.cause == "corrupt"
    assert "damaged" in str(error)
    assert str(path) in str(error)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"not a database at all, but long enough to be read as one" * 100, "no database"),
        (b"SQLite format 3\0" + bytes(200), "no database|damaged|another program"),
    ],
)
def test_what_is_no_outbox_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    error = run(refusal(path))
    assert error.cause == "corrupt"
    assert any(part in str(error) for part in text.split("|"))


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    run(filled(path))
    path.write_bytes(path.read_bytes()[: 4096 * 3])
    assert run(refusal(path)).cause == "corrupt"


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE events (id)")
    database.commit()
    database.close()
    assert "another program" in str(run(refusal(path)))


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    run(filled(path))
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {store.SCHEMA + 1}")
    database.close()
    assert "later version" in str(run(refusal(path)))


def test_a_log_without_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    (tmp_path / "outbox.db-wal").write_bytes(b"what is left")
    error = run(refusal(path))
    assert error.cause == "missing"
    assert not path.exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutboxError) as caught:
        run(Outbox.open(tmp_path / "nowhere" / "outbox.db"))
    assert caught.value.cause == "missing"


def test_a_creation_that_was_cut_off_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "outbox.db.new").write_bytes(b"half")
    path = tmp_path / "outbox.db"
    run(filled(path, 1))
    assert not (tmp_path / "outbox.db.new").exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"

    async def scenario() -> None:
        async with await Outbox.open(path):
            with pytest.raises(OutboxError) as caught:
                await Outbox.open(path)
            assert caught.value.cause == "busy"
            program = f"import asyncio; from evproto.gateway.outbox import Outbox; asyncio.run(Outbox.open({str(path)!r}))"
            other = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=False
            )
            assert "another process has it open" in other.stderr
        # Free again.
        async with await Outbox.open(path):
            pass

    run(scenario())


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are something else there")
def test_a_file_that_cannot_be_written_is_refused() -> None:
    # Not in tmp_path: the folders above that one are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        run(filled(path, 1))
        superuser = os.geteuid() == 0
        if superuser:  # whom permissions do not bind
            nobody = 65534
            for found in (Path(folder), *Path(folder).iterdir()):
                os.chown(found, nobody, nobody)
        path.chmod(0o400)
        if superuser:
            os.seteuid(nobody)
        try:
            assert run(refusal(path)).cause == "readonly"
        finally:
            if superuser:
                os.seteuid(0)


def test_a_file_that_is_taken_away_is_noticed(tmp_path: Path) -> None:
    # SQLite would go on writing into what has no name any more.
    path = tmp_path / "outbox.db"

    async def scenario() -> None:
        async with await Outbox.open(path) as outbox:
            await outbox.put(event())
            aside = tmp_path / "aside"
            path.rename(aside)
            with pytest.raises(OutboxError) as caught:
                await outbox.put(event())
            assert caught.value.cause == "missing"
            assert not outbox.counts().healthy
            store.create(path)
            with pytest.raises(OutboxError, match="another file"):
                await outbox.put(event())
            path.unlink()
            aside.rename(path)
            await outbox.put(event())
            assert outbox.counts().healthy
            sink = Memory()
            await outbox.deliver(sink)
            await outbox.drained()
            assert len(sink.got) == 2

    run(scenario())

"""``evproto serve chargers``: the list that a server looks into."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import sqlite3
from pathlib import Path

import pytest

from cli.shell import Result, run
from evproto.gateway.admission_passwords import Passwords


def chargers(folder: Path, *words: str, stdin: str = "", terminal: bool = False) -> Result:
    return run("serve", "chargers", *words, "--data", str(folder), stdin=stdin.encode(), terminal=terminal)


def listed(folder: Path, *names: str) -> list[dict[str, object]]:
    done = chargers(folder, "list", "--json", *names)
    return [json.loads(line) for line in done.out.splitlines()]


def kept_hash(folder: Path, charger: str) -> str:
    """What is really in the file."""
    db = sqlite3.connect(folder / "chargers.db")
    try:
        ((kept,),) = db.execute("SELECT password_hash FROM chargers WHERE charger = ?", [charger]).fetchall()
    finally:
        db.close()
    return str(kept)


def is_right(password: bytes, kept: str) -> bool:
    async def ask() -> bool:
        passwords = Passwords()
        try:
            return await passwords.is_right(password, kept)
        finally:
            passwords.close()

    return asyncio.run(ask())


def test_a_charger_from_the_first_to_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    done = chargers(folder, "list")
    assert (done.status, done.out) == (0, "")
    assert "no list yet" in done.err
    assert not folder.exists()
    done = chargers(
        folder, "add", "CP1", "heartbeat-interval=60", "--password", "validation=strict", "--cost", "10",
        stdin="a password of mine\n",
    )  # fmt: skip
    assert (done.status, done.out, done.err) == (0, "", "")
    assert is_right(b"a password of mine", kept_hash(folder, "CP1"))
    everything = {
        "charger": "CP1",
        "enabled": True,
        "protocol": None,
        "addresses": [],
        "heartbeat-interval": 60,
        "validation": "strict",
        "dialect": None,
        "version": None,
        "password": True,
    }
    assert listed(folder) == [everything]
    done = chargers(folder, "set", "CP1", "enabled=false", "addresses=10.0.0.0/8,::1", "validation=")
    assert (done.status, done.err) == (0, "")
    changed = {"enabled": False, "addresses": ["10.0.0.0/8", "::1"], "validation": None}
    assert listed(folder, "CP1") == [{**everything, **changed}]
    # The password is as it was.
    assert is_right(b"a password of mine", kept_hash(folder, "CP1"))
    assert chargers(folder, "password", "CP1", "--none").status == 0
    assert listed(folder)[0]["password"] is False
    assert chargers(folder, "remove", "CP1").status == 0
    assert listed(folder) == []


def test_the_list_for_people_has_no_hashes(tmp_path: Path) -> None:
    chargers(tmp_path, "add", "CP1", "--password", "--cost", "10", stdin="a password of mine\n")
    chargers(tmp_path, "add", "充电桩一号", "version=ocpp2.0.1")
    chargers(tmp_path, "add", "55031412782305", "protocol=ykc", "addresses=10.0.0.0/8", "version=1.6")
    done = chargers(tmp_path, "list")
    assert done.out == (
        "charger         enabled  protocol  password  addresses   settings\n"
        "55031412782305  yes      ykc       none      10.0.0.0/8  version=1.6\n"
        "CP1             yes      any       set       any\n"
        "充电桩一号      yes      any       none      any         version=ocpp2.0.1\n"
    )
    for words in (["list"], ["list", "--json"]):
        done = chargers(tmp_path, *words)
        assert "scrypt" not in done.out + done.err
        assert kept_hash(tmp_path, "CP1").rpartition("$")[2] not in done.out


def test_a_password_in_hex_is_bytes(tmp_path: Path) -> None:
    chargers(tmp_path, "add", "CP1")
    key = bytes(range(20))
    done = chargers(tmp_path, "password", "CP1", "--hex", "--cost", "10", stdin=f"{key.hex().upper()}\r\n")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert is_right(key, kept_hash(tmp_path, "CP1"))
    before = kept_hash(tmp_path, "CP1")
    done = chargers(tmp_path, "password", "CP1", "--hex", stdin="a password of mine\n")
    assert done.status == 2
    assert "no hex" in done.err
    assert "mine" not in done.err
    assert kept_hash(tmp_path, "CP1") == before


@pytest.mark.parametrize("hexadecimal", [False, True])
def test_a_password_that_is_made_is_shown_once_and_right(tmp_path: Path, hexadecimal: bool) -> None:
    words = ["--generate", "--cost", "10", *(["--hex"] if hexadecimal else [])]
    made = []
    for verb in ("add", "password"):
        done = chargers(tmp_path, verb, "CP1", *words)
        found = re.fullmatch(r"password (\S+)\n", done.out)
        assert found is not None
        assert done.err == ""
        made.append(found[1])
        password = bytes.fromhex(found[1]) if hexadecimal else found[1].encode()
        # What OCPP 1.6 and 2.x take.
        assert len(password) == 20 if hexadecimal else re.fullmatch("[A-Za-z0-9_-]{16,40}", found[1])
        assert is_right(password, kept_hash(tmp_path, "CP1"))
    assert made[0] != made[1]


def test_a_hash_for_a_file(tmp_path: Path) -> None:
    done = run("serve", "chargers", "hash", "--cost", "10", stdin=b"a password of mine\n")
    found = re.fullmatch(r'password-hash = "(\S+)"\n', done.out)
    assert found is not None
    assert is_right(b"a password of mine", found[1])


def test_a_person_is_asked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["a password of mine", "another", "a password of mine", "a password of mine"])
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    monkeypatch.setattr(getpass, "getpass", answer)
    monkeypatch.setattr("cli.shell._Stream.isatty", lambda self: True)
    done = chargers(tmp_path, "add", "CP1", "--password", "--cost", "10")
    assert done.status == 2
    assert "two different" in done.err
    assert listed(tmp_path) == []
    assert chargers(tmp_path, "add", "CP1", "--password", "--cost", "10").status == 0
    assert asked[0] == "Password of CP1: "
    assert is_right(b"a password of mine", kept_hash(tmp_path, "CP1"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "CP1", "colour=red"], "colour: a charger has no such key"),
        (["add", "CP1", "heartbeat_interval=5"], "did you mean 'heartbeat-interval'?"),
        (["add", "CP1", "heartbeat-interval=soon"], "whole number"),
        (["add", "CP1", "password=secret"], "only hashes are kept"),
        (["add", "CP1", "password-hash=secret"], "no hash"),
        (["add", "CP1", "strict"], "KEY=VALUE"),
        (["add", "CP1", "protocol=ykc"], "14 digits"),
        (["add", "a/b"], "%2F"),
        (["add", "CP0"], "already"),
        (["add", "CP1", "--hex"], "--password or --generate"),
        (["add", "CP1", "--generate", "--cost", "40"], "between 10 and 18"),
        (["add", "CP1", "--password"], "empty"),
        (["set", "CP9", "enabled=false"], "not in the list"),
        (["set", "CP0", "addresses=10.0.0.300"], "no network"),
        (["set", "CP0"], "required"),
        (["set", "CP0", "protocol=ykc"], "14 digits"),
        (["password", "CP9", "--generate"], "not in the list"),
        (["password", "CP0", "--none", "--hex"], "--none"),
        (["password", "CP0", "--gen"], "--gen"),
        (["rename", "CP0"], "invalid choice"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(tmp_path: Path, words: list[str], said: str) -> None:
    chargers(tmp_path, "add", "CP0")
    before = listed(tmp_path)
    done = chargers(tmp_path, *words)
    assert done.status == 2
    assert said in done.err
    assert "secret" not in done.err
    assert done.out == ""
    assert listed(tmp_path) == before


def test_chargers_that_are_not_there_are_said(tmp_path: Path) -> None:
    chargers(tmp_path, "add", "CP1")
    chargers(tmp_path, "add", "CP2")
    done = chargers(tmp_path, "list", "CP1", "CP3")
    assert done.status == 1
    assert "CP1" in done.out
    assert "CP3 is not in the list" in done.err
    done = chargers(tmp_path, "remove", "CP3", "CP1")
    assert done.status == 1
    assert [one["charger"] for one in listed(tmp_path)] == ["CP2"]


def test_a_pile_is_written_with_capitals(tmp_path: Path) -> None:
    assert chargers(tmp_path, "add", "abcdefabcdef01", "protocol=ykc").status == 0
    assert [one["charger"] for one in listed(tmp_path)] == ["ABCDEFABCDEF01"]
    assert chargers(tmp_path, "set", "abcdefabcdef01", "version=1.5").status == 0
    assert listed(tmp_path)[0]["version"] == "1.5"
    assert chargers(tmp_path, "remove", "abcdefabcdef01").status == 0


def test_what_somebody_else_spoilt_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    chargers(tmp_path, "add", "CP1")
    chargers(tmp_path, "add", "CP2")
    db = sqlite3.connect(tmp_path / "chargers.db")
    db.execute("UPDATE chargers SET password_hash = 'letmein', version = '3' WHERE charger = 'CP1'")
    db.commit()
    db.close()
    done = chargers(tmp_path, "list")
    assert done.status == 1
    assert "CP2" in done.out
    assert "CP1: password-hash" in done.err
    assert "version" in done.err
    assert "letmein" not in done.err + done.out


def test_a_list_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "chargers.db").write_bytes(b"not a database" * 100)
    for words in (["list"], ["add", "CP1"], ["remove", "CP1"]):
        done = chargers(tmp_path, *words)
        assert done.status == 2
        assert "no list of chargers" in done.err


def test_the_settings_say_where_the_list_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "evproto.toml"
    config.write_text('[outbox]\ndata = "here"\n[admission]\nmode = "table"\n')
    done = run("serve", "chargers", "add", "CP1", "--config", str(config))
    assert (done.status, done.err) == (0, "")
    assert listed(tmp_path / "here")[0]["charger"] == "CP1"
    monkeypatch.setenv("EVPROTO_OUTBOX_DATA", str(tmp_path / "there"))
    run("serve", "chargers", "add", "CP2")
    assert listed(tmp_path / "there")[0]["charger"] == "CP2"
    # A list that is not looked at is worth a word.
    config.write_text('[outbox]\ndata = "here"\n')
    done = run("serve", "chargers", "list", "--config", str(config), "--data", str(tmp_path / "here"))
    assert "admission.mode is open" in done.err
    assert "CP1" in done.out
    config.write_text('[outbox]\ndate = "here"\n')
    done = run("serve", "chargers", "list", "--config", str(config))
    assert done.status == 2
    assert "'date'" in done.err

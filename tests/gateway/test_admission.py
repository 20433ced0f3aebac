"""Doors: a file, a list, a hook; who is let in, with what, and what is said of the others."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evproto.gateway.admission import Admitted, ChargerSettings, Door, Knock, make_door
from evproto.gateway.admission_entries import Entry, EntryError, Judge, read_entry
from evproto.gateway.admission_file import FileDoor, FileError, read_file
from evproto.gateway.admission_passwords import Passwords
from evproto.gateway.admission_table import FILE, ChargerTable, TableError
from evproto.gateway.config import ConfigError, Layer, load
from gateway.knocking import (
    CARD_KEY,
    PASSWORD,
    HookServer,
    admitted,
    door,
    hash_of,
    ocpp,
    refused,
    response,
    ykc,
)

WAIT = 30.0


def write(path: Path, text: str) -> Path:
    """In one go, as an editor or a deployment does."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
    return path


def config_error(**admission: Any) -> str:
    values = {f"admission.{name.replace('_', '-')}": value for name, value in admission.items()}
    with pytest.raises(ConfigError) as caught:
        # Some of it is seen without the files.
        make_door(load(Layer(values, {})))
    return str(caught.value)


# --- judging


def judged(knock: Knock, entry: Entry | None, *, require_password: bool = False) -> str:
    """Why somebody is not let in; empty: it is."""

    async def run() -> str:
        passwords = Passwords()
        try:
            verdict = await Judge(passwords, require_password=require_password).judge(knock, entry, None)
        finally:
            passwords.close()
        return "" if isinstance(verdict, Admitted) else verdict.reason

    return asyncio.run(run())


def certificate(name: str) -> dict[str, Any]:
    """As :meth:`ssl.SSLSocket.getpeercert` has it."""
    return {"subject": ((("organizationName", "Acme"),), (("commonName", name),)), "serialNumber": "2A"}


WITH_PASSWORD = Entry(password_hash=hash_of(PASSWORD))

REASONS = {
    "unknown": (ocpp(), None),
    "disabled": (ocpp(), Entry(enabled=False)),
    "other protocol": (ocpp(), Entry(protocol="ykc")),
    "other version": (ocpp(), Entry(version="1.6")),
    "address": (ocpp(), Entry(addresses=("10.0.0.0/8",))),
    "no password": (ocpp(), WITH_PASSWORD),
    "wrong password": (ocpp(password=b"guess"), WITH_PASSWORD),
    "empty password": (ocpp(password=b""), WITH_PASSWORD),
    "user name": (ocpp(password=PASSWORD, username="CP2"), WITH_PASSWORD),
    "another's certificate": (ocpp(certificate=certificate("CP2")), WITH_PASSWORD),
    "pile": (ykc(), WITH_PASSWORD),
}


@pytest.mark.parametrize("case", REASONS)
def test_who_is_not_let_in(case: str) -> None:
    assert judged(*REASONS[case])


def test_each_has_a_reason_of_its_own() -> None:
    reasons = {case: judged(*REASONS[case]) for case in REASONS}
    same = {"no password", "another's certificate"}, {"wrong password", "empty password"}
    assert len(set(reasons.values())) == len(reasons) - 2
    for one, other in map(sorted, same):
        assert reasons[one] == reasons[other]
    for reason in reasons.values():
        assert "guess" not in reason


@pytest.mark.parametrize(
    ("knock", "entry"),
    [
        (ocpp(), Entry()),
        (ykc(), Entry()),
        (ykc(), Entry(protocol="ykc", version="1.7")),
        (ocpp(password=PASSWORD), WITH_PASSWORD),
        (ocpp(password=CARD_KEY), Entry(password_hash=hash_of(CARD_KEY))),
        # What nobody asks for does not hurt.
        (ocpp(password=b"any"), Entry()),
        (ocpp(certificate=certificate("CP1")), WITH_PASSWORD),
        (ocpp("acme~CP1", PASSWORD, username="CP1"), WITH_PASSWORD),
        (ocpp("a%2Fb", PASSWORD, username="a/b"), WITH_PASSWORD),
        (ocpp(address="10.1.2.3:5000"), Entry(addresses=("192.0.2.7", "10.0.0.0/8"))),
        (ocpp(address="10.1.2.3"), Entry(addresses=("10.0.0.0/8",))),
        (ocpp(address="[2001:db8::5]:9000"), Entry(addresses=("2001:db8::/32",))),
        (ocpp(address="2001:db8::5"), Entry(addresses=("2001:db8::/32",))),
        (ocpp(address="[::ffff:10.1.2.3]:9000"), Entry(addresses=("10.0.0.0/8",))),
    ],
)
def test_who_is_let_in(knock: Knock, entry: Entry) -> None:
    assert judged(knock, entry) == ""


def test_a_password_may_be_required_of_all_but_piles() -> None:
    assert "none is set" in judged(ocpp(), Entry(), require_password=True)
    assert "none is set" in judged(ocpp(password=b"any"), Entry(), require_password=True)
    assert judged(ocpp(password=PASSWORD), WITH_PASSWORD, require_password=True) == ""
    assert judged(ocpp(certificate=certificate("CP1")), Entry(), require_password=True) == ""
    assert judged(ykc(), Entry(), require_password=True) == ""


def test_a_certificate_does_not_make_a_wrong_password_right() -> None:
    assert "wrong" in judged(ocpp(password=b"guess", certificate=certificate("CP1")), WITH_PASSWORD)


def test_an_address_that_is_none_is_nobodys() -> None:
    assert judged(ocpp(address="unix"), Entry(addresses=("0.0.0.0/0", "::/0")))


def test_unknown_and_known_chargers_cost_the_same() -> None:
    async def run() -> None:
        passwords = Passwords()
        judge = Judge(passwords, require_password=False)
        for number, entry in enumerate((WITH_PASSWORD, None, Entry(), Entry(enabled=False)), 1):
            await judge.judge(ocpp(password=b"guess"), entry, hash_of(PASSWORD))
            assert passwords.computed == number
        passwords.close()

    asyncio.run(run())


# --- entries


@pytest.mark.parametrize(
    ("values", "key", "said"),
    [
        ({"heartbeat-interval": "60"}, "heartbeat-interval", "whole number"),
        ({"heartbeat-interval": 0}, "heartbeat-interval", "whole number"),
        ({"heartbeat-interval": True}, "heartbeat-interval", "whole number"),
        ({"enabled": 1}, "enabled", "true or false"),
        ({"validation": "none"}, "validation", "strict, lenient or off"),
        ({"version": "2.0.1"}, "version", "ocpp2.0.1"),
        ({"protocol": "ykc", "version": "ocpp1.6"}, "version", "1.5, 1.6, 1.7"),
        ({"protocol": "ykc", "validation": "strict"}, "validation", "OCPP"),
        ({"protocol": "ykc", "password-hash": hash_of(PASSWORD)}, "password-hash", "no passwords"),
        ({"protocol": "modbus"}, "protocol", "ykc, ocpp or ntxcp"),
        ({"addresses": "10.0.0.0/8"}, "addresses", "list"),
        ({"addresses": ["10.0.0.0/8", "10.0.0.300"]}, "addresses", "'10.0.0.300'"),
        ({"dialect": "../../etc/passwd"}, "dialect", "name"),
        ({"dialect": "v1_8"}, "dialect", "protocol = ykc"),
        ({"dialect": "v1_8", "protocol": "ocpp"}, "dialect", "piles of YKC"),
        ({"dialect": "v1_8", "protocol": "ykc", "version": "1.7"}, "version", "of its own"),
        ({"password": "secret-word"}, "password", "password-hash"),
        ({"password-hash": "secret-word"}, "password-hash", "hash"),
        ({"heartbeat_interval": 60}, "heartbeat_interval", "did you mean 'heartbeat-interval'?"),
        ({"adresses": []}, "adresses", "did you mean 'addresses'?"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(values: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(EntryError) as caught:
        read_entry(values)
    assert [one for one, _ in caught.value.problems] == [key]
    assert said in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(EntryError) as caught:
        read_entry({"enabled": 1, "colour": "red", "version": "x"})
    assert {key for key, _ in caught.value.problems} == {"enabled", "colour", "version"}


# --- the file

FILE_TEXT = f"""
# Our chargers.
[chargers.CP1]
password-hash = "{hash_of(PASSWORD)}"
heartbeat-interval = 60
validation = "strict"
version = "ocpp2.0.1"

[chargers."55031412782305"]
protocol = "ykc"
version = "1.6"

[chargers.old]
enabled = false
"""


def test_a_file_says_who_and_how(tmp_path: Path) -> None:
    path = write(tmp_path / "chargers.toml", FILE_TEXT)

    async def run() -> None:
        async with door(tmp_path, mode="file", file=str(path)) as at:
            assert await admitted(at, ocpp(password=PASSWORD)) == ChargerSettings(
                heartbeat_interval=60, validation="strict", version="ocpp2.0.1"
            )
            assert await admitted(at, ykc()) == ChargerSettings(version="1.6")
            assert "disabled" in await refused(at, ocpp("old"))
            assert "not among" in await refused(at, ocpp("CP2"))
            assert "not among" in await refused(at, ocpp("cp1", PASSWORD))

    asyncio.run(run())


def test_a_changed_file_holds_from_the_next_knock(tmp_path: Path) -> None:
    path = write(tmp_path / "chargers.toml", FILE_TEXT)

    async def run() -> None:
        async with door(tmp_path, mode="file", file=str(path)) as at:
            await refused(at, ocpp("CP2"))
            write(path, FILE_TEXT + "[chargers.CP2]\n")
            await admitted(at, ocpp("CP2"))
            # In place, and of the same length.
            text = path.read_text().replace("[chargers.CP2]", "[chargers.CP3]")
            path.write_text(text)
            await refused(at, ocpp("CP2"))
            await admitted(at, ocpp("CP3"))

    asyncio.run(run())


def test_a_bad_new_file_is_reported_once_and_the_last_good_one_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "chargers.toml", FILE_TEXT)

    async def run() -> None:
        async with door(tmp_path, mode="file", file=str(path)) as at:
            for bad in ("[chargers.CP1", FILE_TEXT + "[chargers.CP2]\ncolour = 1\n", None):
                caplog.clear()
                if bad is None:
                    path.unlink()
                else:
                    write(path, bad)
                for _ in range(3):
                    await admitted(at, ocpp(password=PASSWORD))
                    assert "not among" in await refused(at, ocpp("CP2"))
                errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
                assert [str(path) in one for one in errors].count(True) == 1, errors
            caplog.clear()
            write(path, FILE_TEXT + "[chargers.CP2]\n")
            await admitted(at, ocpp("CP2"))

    asyncio.run(run())


def test_many_knocks_at_a_changed_file_read_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "chargers.toml", FILE_TEXT)

    async def run() -> None:
        async with door(tmp_path, mode="file", file=str(path)) as at:
            write(path, FILE_TEXT + "[chargers.CP2]\n")
            caplog.set_level(logging.INFO)
            await asyncio.gather(*(admitted(at, ocpp("CP2")) for _ in range(50)))
        assert [one.getMessage() for one in caplog.records].count("chargers read again") == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (
            "[chargers.CP1]\n\nheartbeat-interval = 'x'\n",
            "line 3: chargers.CP1.heartbeat-interval",
            "whole number",
        ),
        ("[chargers.'a b']\nenabled = 3\n", 'line 2: chargers."a b".enabled', "true or false"),
        ("[chargers]\nCP1 = 5\n", "line 2: chargers.CP1", "[chargers.ID]"),
        ("[chargers]\nCP1.enabled = 5\n", "line 2: chargers.CP1.enabled", "true or false"),
        ("[chargers]\nCP1 = { enabled = 5 }\n", "line 2: chargers.CP1.enabled", "true or false"),
        ("\n[charger.CP1]\n", "line 2: charger", "did you mean 'chargers'?"),
        ("[defaults]\nenabled = true\n", "line 1: defaults", "no such section"),
        ("chargers = 4\n", "line 1: chargers", "[chargers.ID]"),
        ("[chargers.'']\n", 'line 1: chargers.""', "between 1 and 255"),
        ("[chargers.'a/b']\n", 'line 1: chargers."a/b"', "%2F"),
        ("[chargers.CP1]\nprotocol = 'ykc'\n", "line 1: chargers.CP1", "14 digits"),
        (
            "[chargers.abcdefabcdef01]\nprotocol='ykc'\n[chargers.ABCDEFABCDEF01]\n",
            "line 3: chargers.ABCDEFABCDEF01",
            "already",
        ),
        ("[chargers.CP1]\nenabled = \n", "line 2", "no TOML"),
        ("[[chargers.CP1]]\n", "chargers.CP1", "[chargers.ID]"),
        (f"[chargers.CP1]\nheartbeat-interval = {'9' * 5000}\n", "toml", "no TOML"),
        ("[chargers.CP1]\n" + "a." * 3000 + "b = 1\n", "chargers.CP1.a", "no such key"),
        ("x = " + "[" * 3000, "toml", "no TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    tmp_path: Path, text: str, where: str, said: str
) -> None:
    path = write(tmp_path / "chargers.toml", text)
    error = config_error(mode="file", file=str(path))
    assert error.startswith(str(path))
    assert where in error
    assert said in error


def test_a_file_that_is_no_text_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "chargers.toml"
    path.write_bytes(b"\n\n\xff")
    assert "line 3: this is no UTF-8" in config_error(mode="file", file=str(path))


def test_a_file_with_a_thousand_mistakes_is_not_a_thousand_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "chargers.toml", "".join(f"[chargers.C{n}]\nx = 1\n" for n in range(1000)))
    with pytest.raises(FileError) as caught:
        read_file(path)
    assert len(caught.value.problems) == 21
    assert "980 more" in caught.value.problems[-1]


# --- the list


def add(folder: Path, charger: str, **entry: Any) -> None:
    (folder / "data").mkdir(exist_ok=True)
    table = ChargerTable.open(folder / "data" / FILE)
    table.put(charger, Entry(**entry))
    table.close()


def test_a_list_says_who_and_how_and_changes_hold_at_once(tmp_path: Path) -> None:
    add(tmp_path, "CP1", password_hash=hash_of(PASSWORD), heartbeat_interval=60, addresses=("192.0.2.0/24",))

    async def run() -> None:
        async with door(tmp_path, mode="table") as at:
            assert await admitted(at, ocpp(password=PASSWORD)) == ChargerSettings(heartbeat_interval=60)
            assert "not among" in await refused(at, ocpp("CP2"))
            add(tmp_path, "CP2", validation="off")
            assert await admitted(at, ocpp("CP2")) == ChargerSettings(validation="off")
            add(tmp_path, "CP2", enabled=False)
            assert "disabled" in await refused(at, ocpp("CP2"))
            # Another password: the one that was right, and is remembered, is not any more.
            add(tmp_path, "CP1", password_hash=hash_of(CARD_KEY))
            assert "wrong" in await refused(at, ocpp(password=PASSWORD))
            await admitted(at, ocpp(password=CARD_KEY))

    asyncio.run(run())


def test_an_empty_list_is_made_and_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with door(tmp_path, mode="table") as at:
            assert "not among" in await refused(at, ocpp())

    asyncio.run(run())
    assert any("evproto serve chargers" in one.getMessage() for one in caplog.records)
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_list_that_root_makes_belongs_to_whose_directory_it_is(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    table = ChargerTable.open(tmp_path / FILE)
    table.put("CP1", Entry())
    made = sorted(tmp_path.glob(f"{FILE}*"))
    assert len(made) == 3
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(4711, 4712)}
    assert {path.stat().st_mode & 0o077 for path in made} == {0}
    table.close()


def test_a_list_that_is_none_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / FILE
    path.write_bytes(b"this is no database" * 100)
    values = {"admission.mode": "table", "outbox.data": str(tmp_path / "data")}
    with pytest.raises(ConfigError, match="no list of chargers"):
        make_door(load(Layer(values, {})))
    assert path.read_bytes() == b"this is no database" * 100
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE things (name)")
    other.commit()
    other.close()
    with pytest.raises(ConfigError, match="no list of chargers"):
        make_door(load(Layer(values, {})))
    other = sqlite3.connect(path)
    assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("things",)]
    other.close()


def test_a_newer_list_is_left_alone(tmp_path: Path) -> None:
    add(tmp_path, "CP1")
    db = sqlite3.connect(tmp_path / "data" / FILE)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(TableError, match="newer"):
        ChargerTable.open(tmp_path / "data" / FILE)


def test_a_list_that_somebody_spoils_lets_nobody_in_and_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(tmp_path, "CP1")
    add(tmp_path, "CP2")

    async def run() -> None:
        async with door(tmp_path, mode="table") as at:
            await admitted(at, ocpp("CP1"))
            db = sqlite3.connect(tmp_path / "data" / FILE)
            db.execute("UPDATE chargers SET password_hash = 'letmein' WHERE charger = 'CP1'")
            db.commit()
            db.close()
            reason = await refused(at, ocpp("CP1", b"letmein"))
            assert "password-hash" in reason
            assert "letmein" not in reason
            await admitted(at, ocpp("CP2"))
            # The file is taken away, and another one put in its place.
            for path in (tmp_path / "data").glob(f"{FILE}*"):
                path.unlink()
            assert "gone" in await refused(at, ocpp("CP2"))
            add(tmp_path, "CP3")
            await admitted(at, ocpp("CP3"))
            assert "not among" in await refused(at, ocpp("CP2"))

    asyncio.run(run())
    assert "letmein" not in caplog.text


def test_changes_of_a_list_are_made_as_one(tmp_path: Path) -> None:
    table = ChargerTable.open(tmp_path / FILE)

    def half() -> None:
        with table.change():
            table.put("CP1", Entry())
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list(table.all()) == []
    with table.change():
        table.put("CP1", Entry())
        table.put("CP2", Entry(enabled=False))
    assert [name for name, _ in table.all()] == ["CP1", "CP2"]
    assert table.remove("CP1")
    assert not table.remove("CP1")
    table.close()


# --- the hook


def test_a_hook_is_asked_and_says_how(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookServer() as hook, door(tmp_path, mode="hook", hook=hook.url) as at:
            hook.answer = lambda body: {"admit": True, "heartbeat_interval": 60, "version": "ocpp1.6"}
            knock = ocpp(
                "acme~CP1", CARD_KEY, username="CP1", secure=True, version="ocpp1.6",
                certificate=certificate("CP1"),
            )  # fmt: skip
            assert await admitted(at, knock) == ChargerSettings(heartbeat_interval=60, version="ocpp1.6")
            assert hook.asked == [
                {
                    "protocol": "ocpp",
                    "charger": "acme~CP1",
                    "id": "CP1",
                    "address": "192.0.2.7:5000",
                    "secure": True,
                    "version": "ocpp1.6",
                    "username": "CP1",
                    "password": base64.b64encode(CARD_KEY).decode(),
                    "password_given": True,
                    "certificate": {"names": ["CP1"], "serial": "2A"},
                }
            ]
            hook.answer = lambda body: {"admit": False, "reason": "not paid for"}
            assert "not paid for" in await refused(at, ykc())
            assert hook.asked[1]["password"] is None
            assert hook.asked[1]["password_given"] is False
            # A wrong user name is no question.
            await refused(at, ocpp("CP1", PASSWORD, username="CP2"))
            assert len(hook.asked) == 2
            assert hook.connections == 1

    asyncio.run(run())


NO_ANSWERS = {
    "nothing in time": None,
    "server error": response(500),
    "busy": response(429),
    "hangs up": b"",
}
BAD_ANSWERS = {
    "redirect": response(302, b"", "Location: http://127.0.0.1:1/"),
    "forbidden": response(403, b"secret word: correct horse battery"),
    "no content": response(204),
    "no JSON": response(200, b"yes"),
    "another type": response(200, b"true"),
    "text": response(200, b'{"admit": "true"}'),
    "nothing said": response(200, b"{}"),
    "a slip": response(200, b'{"admit": true, "heartbeatInterval": 60}'),
    "bad interval": response(200, b'{"admit": true, "heartbeat_interval": 0}'),
    "a dialect of OCPP": response(200, b'{"admit": true, "dialect": "v1_8"}'),
    "bad version": response(200, b'{"admit": true, "version": "ocpp3"}'),
    "too long": response(200, b'{"admit": true}' + b" " * 70_000),
    "compressed": response(200, b'{"admit": true}', "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("case", [*NO_ANSWERS, *BAD_ANSWERS])
@pytest.mark.parametrize("failure", ["refuse", "accept"])
def test_what_a_hook_does_not_answer(
    tmp_path: Path, case: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        settings = {"mode": "hook", "hook_failure": failure, "hook_timeout": 0.5}
        async with HookServer() as hook, door(tmp_path, hook=hook.url, **settings) as at:
            answer = {**NO_ANSWERS, **BAD_ANSWERS}[case]
            # An empty answer: the end of the connection.
            hook.answer = lambda body: answer or None
            if answer == b"":
                hook.answer = lambda body: (
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: nonsense\r\n\r\n"
                )
            knock = ocpp(password=PASSWORD)
            if failure == "accept" and case in NO_ANSWERS:
                assert await admitted(at, knock) == ChargerSettings()
            else:
                await refused(at, knock)
            assert len(hook.asked) == 1

    asyncio.run(run())
    assert len(caplog.records) == 1
    assert "correct horse" not in caplog.text
    assert base64.b64encode(PASSWORD).decode() not in caplog.text


def test_a_hook_that_is_not_there(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        async with door(tmp_path, mode="hook", hook=url) as at:
            assert "cannot be asked" in await refused(at, ocpp())
        async with door(tmp_path, mode="hook", hook=url, hook_failure="accept") as at:
            await admitted(at, ocpp())

    async def port() -> str:
        async with HookServer() as hook:
            return hook.url

    asyncio.run(run(asyncio.run(port())))


def test_a_hook_that_repeats_the_password_does_not_get_it_into_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with HookServer() as hook, door(tmp_path, mode="hook", hook=hook.url) as at:
            hook.answer = lambda body: {"admit": False, "reason": f"bad: {body['password']}"}
            await refused(at, ocpp(password=PASSWORD))
            hook.answer = lambda body: {"admit": False, "reason": "bad: CORRECT horse battery"}
            await refused(at, ocpp(password=PASSWORD))

    asyncio.run(run())
    assert len(caplog.records) == 2
    assert base64.b64encode(PASSWORD).decode() not in caplog.text
    assert "horse" not in caplog.text


def test_passwords_do_not_go_to_another_machine_in_clear(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            port = hook.url.rpartition(":")[2]
            # An address of this machine that is none of loopback to the one who looks at its spelling.
            async with door(tmp_path, mode="hook", hook=f"http://0.0.0.0:{port}") as at:
                await admitted(at, ocpp(password=PASSWORD))
            assert hook.asked[0]["password"] is None
            assert hook.asked[0]["password_given"] is True

    asyncio.run(run())
    assert "gets no passwords" in caplog.text
    assert "write https" in config_error(mode="hook", hook="http://hooks.example/a", require_password=True)


def test_credentials_of_the_hook_are_sent_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            url = hook.url.replace("//", "//evproto:hook-secret@")
            async with door(tmp_path, mode="hook", hook=url) as at:
                hook.answer = lambda body: response(401)
                assert "hook-secret" not in await refused(at, ocpp())
            wanted = base64.b64encode(b"evproto:hook-secret").decode()
            assert f"authorization: basic {wanted}".lower() in hook.heads[0].lower()

    asyncio.run(run())
    assert "hook-secret" not in caplog.text


def test_a_hook_gets_none_that_have_to_show_a_password_and_do_not(tmp_path: Path) -> None:
    async def run() -> None:
        settings: dict[str, Any] = {"mode": "hook", "require_password": True}
        async with HookServer() as hook, door(tmp_path, hook=hook.url, **settings) as at:
            assert "missing" in await refused(at, ocpp())
            assert hook.asked == []
            await admitted(at, ykc())
            await admitted(at, ocpp(certificate=certificate("CP1")))
            await admitted(at, ocpp(password=PASSWORD))
            assert len(hook.asked) == 3

    asyncio.run(run())


def test_many_knocks_share_connections_to_the_hook(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookServer() as hook, door(tmp_path, mode="hook", hook=hook.url, hook_timeout=20.0) as at:
            await asyncio.gather(*(admitted(at, ocpp(f"CP{number}")) for number in range(300)))
            assert len(hook.asked) == 300
            assert hook.connections < 200

    asyncio.run(run())


# --- all of them


def test_the_page_on_admission_is_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (Path(__file__).parents[2] / "docs" / "admission.md").read_text(encoding="utf-8")
    (toml,) = re.findall("```toml\n(.*?)```", text, re.DOTALL)
    question, answers = re.findall("```json\n(.*?)```", text, re.DOTALL)
    path = write(tmp_path / "chargers.toml", toml.replace("$scrypt$ln=12,r=8,p=1$...", hash_of(PASSWORD)))
    assert set(read_file(path).entries) == {"CP1", "acme~CP2", "55031412782305"}
    yes, no = (json.loads(line) for line in answers.splitlines())

    async def run() -> None:
        async with HookServer() as hook, door(tmp_path, mode="hook", hook=hook.url) as at:
            hook.answer = lambda body: yes
            knock = ocpp("acme~CP1", b"secret", username="CP1", secure=True, version="ocpp1.6")
            settings = await admitted(at, msgspec.structs.replace(knock, address="192.0.2.7:49152"))
            assert (settings.heartbeat_interval, settings.version) == (60, "ocpp1.6")
            assert hook.asked == [json.loads(question)]
            hook.answer = lambda body: no
            assert "not paid for" in await refused(at, ocpp())

    asyncio.run(run())


def test_an_open_door_is_none() -> None:
    assert make_door(load()) is None
    assert "admission.mode" in config_error(require_password=True)


class Broken:
    async def ask(self, knock: Knock) -> Any:
        raise OSError(knock.password)

    async def close(self) -> None: ...


def test_what_goes_wrong_is_a_refusal_and_does_not_quote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FileDoor, "ask", Broken.ask)
    path = write(tmp_path / "chargers.toml", FILE_TEXT)

    async def run() -> None:
        async with door(tmp_path, mode="file", file=str(path)) as at:
            reason = await refused(at, ocpp(password=PASSWORD))
            assert "OSError" in reason

    asyncio.run(run())
    assert len(caplog.records) == 1
    assert "horse" not in caplog.text


def test_a_closed_door_lets_nobody_in(tmp_path: Path) -> None:
    add(tmp_path, "CP1")

    async def run() -> None:
        kept: Door
        async with door(tmp_path, mode="table") as at:
            kept = at
            await admitted(at, ocpp())
        assert "stopping" in await refused(kept, ocpp())

    asyncio.run(run())


def test_a_flood_of_knocks_is_not_a_flood_of_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "chargers.toml", "")

    async def run() -> None:
        async with door(tmp_path, mode="file", file=str(path)) as at:
            for number in range(1000):
                await refused(at, ocpp(f"CP{number}"))

    asyncio.run(run())
    # A minute may begin between.
    assert 100 <= len(caplog.records) <= 200


def test_a_knock_does_not_show_its_password() -> None:
    assert "horse" not in repr(ocpp(password=PASSWORD))
    assert "horse" not in repr([ocpp(password=PASSWORD)])

"""Piles at the door: real connections to a server with a file, a list, a hook."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from evproto.gateway.admission_entries import Entry
from evproto.gateway.admission_table import FILE, ChargerTable
from evproto.gateway.config import ConfigError
from gateway.knocking import HookServer
from gateway.live import PILE, WAIT, RawPile, Running, login_body, serving

OTHER = "32010200000001"
ACCEPTED, REFUSED = b"\x00", b"\x01"


async def log_in(run: Running, pile: str = PILE, version: int = 0x10) -> tuple[RawPile, bytes]:
    """A pile, and what 0x02 said to its login."""
    made = await run.raw_pile(pile)
    made.send(0x01, login_body(pile, version))
    _, _, body = await made.expect(0x02)
    assert body[:7] == bytes.fromhex(pile)
    return made, body[7:]


async def view(run: Running, pile: str = PILE) -> dict[str, Any]:
    return dict((await run.client.get(f"/piles/{pile}")).json())


def put(folder: Path, charger: str, **entry: Any) -> None:
    (folder / "data").mkdir(exist_ok=True)
    table = ChargerTable.open(folder / "data" / FILE)
    table.put(charger, Entry(**entry))
    table.close()


def test_a_file_lets_piles_in_and_says_their_version(tmp_path: Path) -> None:
    path = tmp_path / "chargers.toml"
    path.write_text(f'[chargers."{PILE}"]\nversion = "1.7"\nheartbeat-interval = 30\n')

    async def run() -> None:
        async with serving(tmp_path, admission__mode="file", admission__file=str(path)) as server:
            pile, answer = await log_in(server)
            assert answer == ACCEPTED
            assert (await view(server))["version"] == "1.6"
            # It says 1.6, and is spoken to in 1.7: 0xF1 is there.
            assert server.server.adapter.codec_of(PILE).version == "1.7"
            other, answer = await log_in(server, OTHER)
            assert answer == REFUSED
            await other.closed()
            seen = await view(server, OTHER)
            assert (seen["state"], seen["offline_reason"]) == ("offline", "its login was refused")
            assert await server.metric('evproto_logins_total{outcome="refused",protocol="ykc"}') == 1
            path.write_text(path.read_text() + f'[chargers."{OTHER}"]\n')
            _, answer = await log_in(server, OTHER)
            assert answer == ACCEPTED
            pile.send(0x03, bytes.fromhex(PILE) + b"\x01\x00")
            await pile.expect(0x04)

    asyncio.run(run())


def test_the_heartbeat_interval_of_one_pile(tmp_path: Path) -> None:
    # The server's is an hour; the pile's is a second, three of which may be missed.
    put(tmp_path, PILE, heartbeat_interval=1)
    put(tmp_path, OTHER)

    async def run() -> None:
        settings = {"ykc__heartbeat_interval": 3600.0, "admission__mode": "table"}
        async with serving(tmp_path, **settings) as server:
            pile, _ = await log_in(server)
            other, _ = await log_in(server, OTHER)
            # Grace is five seconds more.
            await pile.closed()
            assert (await view(server))["state"] == "offline"
            assert "heartbeat" in (await view(server))["offline_reason"]
            assert (await view(server, OTHER))["state"] == "online"
            other.send(0x03, bytes.fromhex(OTHER) + b"\x01\x00")
            await other.expect(0x04)

    asyncio.run(run())


def test_a_list_is_changed_while_piles_come(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, admission__mode="table") as server:
            _, answer = await log_in(server)
            assert answer == REFUSED
            put(tmp_path, PILE, protocol="ykc")
            _, answer = await log_in(server)
            assert answer == ACCEPTED
            put(tmp_path, OTHER, addresses=("10.0.0.0/8",))
            assert (await log_in(server, OTHER))[1] == REFUSED
            put(tmp_path, OTHER, addresses=("127.0.0.0/8",))
            assert (await log_in(server, OTHER))[1] == ACCEPTED
            # A charger of OCPP with a password is not there for whoever speaks YKC.
            put(tmp_path, OTHER, protocol="ocpp")
            assert (await log_in(server, OTHER))[1] == REFUSED

    asyncio.run(run())


def test_a_hook_is_asked_for_piles(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            HookServer() as hook,
            serving(tmp_path, admission__mode="hook", admission__hook=hook.url) as server,
        ):
            hook.answer = lambda body: {"admit": body["id"] == PILE, "version": "1.5"}
            _, answer = await log_in(server)
            assert answer == ACCEPTED
            assert server.server.adapter.codec_of(PILE).version == "1.5"
            assert (await log_in(server, OTHER))[1] == REFUSED
            assert [one["charger"] for one in hook.asked] == [PILE, OTHER]
            asked = hook.asked[0]
            assert (asked["protocol"], asked["version"], asked["password_given"]) == ("ykc", "1.6", False)
            assert asked["address"].startswith("127.0.0.1:")

    asyncio.run(run())


@pytest.mark.parametrize(("failure", "wanted"), [("refuse", REFUSED), ("accept", ACCEPTED)])
def test_piles_while_the_hook_is_away(tmp_path: Path, failure: str, wanted: bytes) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            url = hook.url
        settings = {"admission__mode": "hook", "admission__hook": url, "admission__hook_failure": failure}
        async with serving(tmp_path, **settings) as server:
            assert (await log_in(server))[1] == wanted

    asyncio.run(run())


def test_the_older_settings_come_first(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            hook.answer = lambda body: {"admit": True, "version": "1.7"}
            settings: dict[str, Any] = {
                "admission__mode": "hook",
                "admission__hook": hook.url,
                "ykc__allow": [PILE],
                "ykc__versions": {PILE: "1.5"},
            }
            async with serving(tmp_path, **settings) as server:
                assert (await log_in(server, OTHER))[1] == REFUSED
                assert hook.asked == []
                assert (await log_in(server))[1] == ACCEPTED
                assert server.server.adapter.codec_of(PILE).version == "1.5"

    asyncio.run(run())


def test_a_pile_with_a_dialect(tmp_path: Path) -> None:
    (tmp_path / "data" / "dialects").mkdir(parents=True)
    sample = Path(__file__).parents[2] / "samples" / "v1_8.yaml"
    (tmp_path / "data" / "dialects" / "v1_8.yaml").write_bytes(sample.read_bytes())

    async def run() -> None:
        async with HookServer() as hook:
            hook.answer = lambda body: {"admit": True, "dialect": "v1_8" if body["id"] == PILE else "v1_9"}
            async with serving(tmp_path, admission__mode="hook", admission__hook=hook.url) as server:
                pile, answer = await log_in(server, version=0x11)
                assert answer == ACCEPTED
                # 0x13 has four bytes more than in any version, idle and with all zeros.
                body = bytes(16) + bytes.fromhex(PILE) + b"\x01\x02"
                body += bytes(64 - len(body))
                pile.send(0x13, body)
                async with asyncio.timeout(WAIT):
                    while True:
                        frames = (await server.client.get(f"/piles/{PILE}/frames")).json()
                        shown = [one for one in frames["items"] if one["name"] == "realtime_data_report"]
                        if shown:
                            break
                        await asyncio.sleep(0.01)
                assert {"output_power", "power_limit"} <= set(shown[0]["fields"]), shown
                # One that nobody has written is not guessed.
                assert (await log_in(server, OTHER))[1] == REFUSED

    asyncio.run(run())


def test_a_dialect_that_is_wrong_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "data" / "dialects").mkdir(parents=True)
    path = tmp_path / "data" / "dialects" / "acme.yaml"
    path.write_text("overlay: acme\nbase: '1.7'\nframe: {}\n")
    put(tmp_path, PILE, protocol="ykc", dialect="acme")

    async def run() -> None:
        with pytest.raises(ConfigError, match=r"acme\.yaml.*frame"):
            async with serving(tmp_path, admission__mode="table"):
                pass

    asyncio.run(run())


def test_no_command_lets_a_pile_in_past_the_door(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            hook.answer = lambda body: None
            settings: dict[str, Any] = {
                "admission__mode": "hook",
                "admission__hook": hook.url,
                "admission__hook_timeout": WAIT,
                "ykc__auto_login": False,
            }
            async with serving(tmp_path, **settings) as server:
                pile = await server.raw_pile()
                pile.send(0x01, login_body())
                async with asyncio.timeout(WAIT):
                    while not hook.asked:
                        await asyncio.sleep(0.01)
                answer = await server.command("login_response", {"result": "success"})
                assert answer.status_code >= 400 or answer.json()["state"] not in ("sent", "accepted")
                assert not server.server.adapter.is_online(PILE)
                await pile.close()
                # One that the door lets in waits for the back end, as before.
                hook.answer = lambda body: {"admit": True, "version": "1.5"}
                pile = await server.raw_pile()
                pile.send(0x01, login_body())
                async with asyncio.timeout(WAIT):
                    while await server.metric('evproto_logins_total{outcome="waiting",protocol="ykc"}') < 1:
                        await asyncio.sleep(0.01)
                assert not server.server.adapter.is_online(PILE)
                answer = await server.command("login_response", {"result": "success"})
                assert answer.json()["state"] == "sent", answer.text
                assert (await pile.expect(0x02))[2][7:] == ACCEPTED
                assert server.server.adapter.codec_of(PILE).version == "1.5"

    asyncio.run(run())


def test_a_pile_that_hangs_up_while_the_hook_thinks(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            hook.answer = lambda body: None
            settings: dict[str, Any] = {
                "admission__mode": "hook",
                "admission__hook": hook.url,
                "admission__hook_timeout": WAIT,
            }
            async with serving(tmp_path, **settings) as server:
                pile = await server.raw_pile()
                pile.send(0x01, login_body())
                async with asyncio.timeout(WAIT):
                    while not hook.asked:
                        await asyncio.sleep(0.01)
                    await pile.close()
                    while server.server.adapter.connections():
                        await asyncio.sleep(0.01)
                hook.answer = lambda body: {"admit": True}
                assert (await log_in(server))[1] == ACCEPTED

    asyncio.run(run())


def test_an_open_door_asks_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server:
            assert (await log_in(server))[1] == ACCEPTED
            assert not (tmp_path / "data" / FILE).exists()

    asyncio.run(run())


def test_a_server_with_a_bad_file_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "chargers.toml"
    path.write_text("[chargers.CP1]\ncolour = 'red'\n")

    async def run() -> None:
        with pytest.raises(ConfigError, match=r"line 2: chargers\.CP1\.colour"):
            async with serving(tmp_path, admission__mode="file", admission__file=str(path)):
                pass

    asyncio.run(run())


def test_events_of_refused_piles_are_logins_only(tmp_path: Path) -> None:
    # What a refused pile sends besides its login is nobody's.
    async def run() -> None:
        async with serving(tmp_path, admission__mode="table") as server:
            pile = await server.raw_pile()
            pile.send(0x01, login_body())
            pile.send(0x03, bytes.fromhex(PILE) + b"\x01\x00")
            assert (await pile.expect(0x02))[2][7:] == REFUSED
            await pile.closed()
            assert [frame[0] for frame in pile.seen] == [0x02]

    asyncio.run(run())

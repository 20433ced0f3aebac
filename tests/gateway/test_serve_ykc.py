"""The server with real piles on real sockets: logins, commands, records, events."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reference.bodies import wrap
from ykc.vectors import VECTORS

from gateway.live import PILE, Backend, serving

RECORD = bytes.fromhex(VECTORS["8.8"]["frame"]) if "8.8" in VECTORS else b""


def record_body(transaction: str, pile: str = PILE) -> bytes:
    """A record with zeros in it, of 166 bytes less envelope."""
    return bytes.fromhex(transaction) + bytes.fromhex(pile) + b"\x01" + bytes(150 - 24)


def test_a_pile_logs_in_beats_and_is_listed(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"), b"\x34\x12")
            _, sequence, body = await pile.expect(0x04)
            assert (sequence, body) == (b"\x34\x12", bytes.fromhex(f"{PILE} 01 00"))
            listed = (await running.client.get("/piles")).json()
            assert [one["id"] for one in listed["items"]] == [PILE]
            shown = (await running.client.get(f"/piles/{PILE}")).json()
            assert shown["online"] is True
            assert shown["version"] == "1.6"
            assert shown["login"]["firmware_version"] == "V4.1.50"
            assert [gun["gun_no"] for gun in shown["guns"]] == ["01"]
            frames = (await running.client.get(f"/piles/{PILE}/frames")).json()["items"]
            assert [(one["direction"], one["code"]) for one in frames] == [
                ("from_charger", "0x01"),
                ("to_charger", "0x02"),
                ("from_charger", "0x03"),
                ("to_charger", "0x04"),
            ]

    asyncio.run(run())


def test_a_command_waits_for_the_answer(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            posted = asyncio.create_task(running.command("remote_stop_request", {"gun_no": "01"}))
            _, sequence, body = await pile.expect(0x36)
            assert body == bytes.fromhex(f"{PILE} 01")
            pile.send(0x35, bytes.fromhex(f"{PILE} 01 01 00"), sequence)
            response = await posted
            assert response.status_code == 200, response.text
            command = response.json()
            assert command["state"] == "accepted"
            assert command["answer"]["result"] == {"code": 1, "name": "success"}
            assert command["sequence"] == int.from_bytes(sequence, "little")
            again = await running.client.get(f"/commands/{command['id']}")
            assert again.json() == command

    asyncio.run(run())


def test_a_record_is_confirmed_and_forwarded_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, forward__to="http", forward__servers=[f"{backend.url}/events"]) as running,
        ):
            pile = await running.pile()
            frame = wrap(0x3B, record_body("55031412782305012018061914444680"), b"\x07\x00")
            pile.write(frame)
            _, sequence, body = await pile.expect(0x40)
            assert (sequence, body) == (b"\x07\x00", bytes.fromhex("55031412782305012018061914444680 00"))
            pile.write(frame)
            await pile.expect(0x40)
            events = await backend.until(lambda path, event: event["kind"] == "record")
            await running.server.outbox.drained()
            records = [event for _, _, event in backend.got if event["kind"] == "record"]
            assert len(records) == 1
            assert records == events
            assert records[0]["raw"] == frame.hex().upper()
            assert records[0]["key"] == "55031412782305012018061914444680"

    asyncio.run(run())


def test_everybody_charges_where_nobody_decides(tmp_path: Path) -> None:
    asks = bytes.fromhex(VECTORS["8.1"]["frame"])
    pile_id = VECTORS["8.1"]["fields"]["pile_id"]

    async def run(allowed: bool) -> None:
        async with serving(
            tmp_path / str(allowed), ykc__auto_start=allowed, ykc__start_balance=12.34
        ) as running:
            pile = await running.pile(pile_id)
            pile.write(asks)
            if not allowed:
                probe = bytes.fromhex(f"{pile_id} 01 00")
                assert await pile.nothing_before(0x04, lambda: pile.send(0x03, probe)) == []
                shown = (await running.client.get(f"/piles/{pile_id}")).json()
                assert shown["unanswered"] == ["start_request"]
                return
            _, sequence, body = await pile.expect(0x32)
            assert sequence == asks[2:4]
            assert body[:8] == bytes.fromhex(f"{pile_id} 01")
            assert body[16:] == bytes.fromhex(f"{pile_id} 01 {'00' * 8} D2040000 01 00")

    asyncio.run(run(True))
    asyncio.run(run(False))

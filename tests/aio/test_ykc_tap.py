"""Taps and message handlers of a pile server: every frame's bytes, and heartbeats only for those who want them."""

from __future__ import annotations

import asyncio

from gateway.live import PILE, RawPile
from reference.bodies import wrap

from evproto.aio.ykc import ConnectedPile, PileServer
from evproto.ykc.session import MessageReceived, PlatformSettings

HEARTBEAT = bytes.fromhex(f"{PILE} 01 00")
ASKS = bytes.fromhex(f"{PILE} 0100")


async def talk(server: PileServer) -> RawPile:
    """A login, heartbeats that come alone and together, damage, and a question."""
    port = await server.start()
    pile = await RawPile.online(port)
    pile.send(0x03, HEARTBEAT, b"\x01\x00")
    await pile.expect(0x04)
    pile.write(wrap(0x03, HEARTBEAT, b"\x02\x00") + wrap(0x03, HEARTBEAT, b"\x03\x00"))
    await pile.expect(0x04)
    await pile.expect(0x04)
    pile.write(b"\xff\xff" + wrap(0x05, ASKS))
    await pile.expect(0x06)
    await pile.close()
    await server.close()
    return pile


SETTINGS = PlatformSettings(sync_time=False, confirm_any_billing_model=True)


def test_a_tap_sees_the_bytes_of_every_frame_in_both_directions() -> None:
    seen: list[tuple[bool, bytes]] = []
    server = PileServer(SETTINGS)
    server.tap(lambda pile, received, raw, now: seen.append((received, raw)))
    pile = asyncio.run(talk(server))
    sent = [wrap(kind, body, sequence) for kind, sequence, body in pile.seen]
    assert [raw for received, raw in seen if not received] == sent
    came = [raw for received, raw in seen if received]
    assert came[1:] == [
        *(wrap(0x03, HEARTBEAT, bytes([number, 0])) for number in (1, 2, 3)),
        b"\xff\xff",
        wrap(0x05, ASKS),
    ]
    assert came[0][5] == 0x01


def test_heartbeats_are_told_to_those_who_want_them() -> None:
    for wanted in (True, False):
        heard: list[int] = []
        server = PileServer(SETTINGS)

        def hear(pile: ConnectedPile, received: MessageReceived, heard: list[int] = heard) -> None:
            heard.append(received.frame_type)

        server.on_message(hear, heartbeats=wanted)
        asyncio.run(talk(server))
        assert heard == ([0x03] * 3 if wanted else []) + [0x05]


def test_what_the_application_keeps_with_a_connection() -> None:
    kept: list[object] = []
    server = PileServer(SETTINGS)

    def hear(pile: ConnectedPile, received: MessageReceived) -> None:
        kept.append(pile.context)
        pile.context = received.frame_type

    server.on_message(hear)
    asyncio.run(talk(server))
    assert kept == [None, 0x03, 0x03, 0x03]

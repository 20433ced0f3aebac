"""Each of the 51 messages crosses a real socket, in its direction, with every field.

The frames and what is in them were typed from the document by hand, see
tests/vectors/ykc; nothing here is decoded or encoded to be compared with itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reference.bodies import wrap
from ykc.plain import difference, plain
from ykc.test_vectors import as_typed
from ykc.vectors import VECTORS

from aio.ykc_raw import PATIENCE, PILE, Heard, RawPile, connected, run, serving
from evproto import ykc
from evproto.aio.ykc import Online, Pile, PileServer
from evproto.ykc.session import MessageReceived, PileSettings, PlatformSettings

DOCUMENT = {name: vector for name, vector in VECTORS.items() if "V1.6, section" in vector["source"]}
QUIET = PlatformSettings(sync_time=False)


def sent_by(vector: dict[str, Any]) -> ykc.Direction:
    return ykc.Codec("1.6").layouts[vector["frame_type"]][0].direction


UP = {name: vector for name, vector in DOCUMENT.items() if sent_by(vector) is ykc.Direction.PILE_TO_PLATFORM}
DOWN = {name: vector for name, vector in DOCUMENT.items() if name not in UP}


def test_these_are_all_of_them() -> None:
    types = {vector["frame_type"] for vector in DOCUMENT.values()}
    assert len(types) == 51
    assert types == set(ykc.Codec("1.6", extensions=()).layouts)
    assert len({vector["frame_type"] for vector in UP.values()}) == 30
    assert all(vector["frame_type"] % 2 for vector in UP.values())
    assert not any(vector["frame_type"] % 2 for vector in DOWN.values())


def pile_of(vector: dict[str, Any]) -> str:
    return str(vector["fields"].get("pile_id", PILE))


def same(vector: dict[str, Any], message: Any) -> str:
    return difference(vector["fields"], as_typed(plain(message)))


@pytest.mark.parametrize("name", [name for name, vector in UP.items() if vector["frame_type"] != 0x01])
def test_up(name: str) -> None:
    vector = UP[name]
    raw = bytes.fromhex(vector["frame"])

    async def main() -> None:
        server = PileServer(QUIET)
        whole, typed = Heard(), Heard()
        server.on(MessageReceived)(whole.add)
        server.on(ykc.Codec("1.6").messages[vector["frame_type"]])(typed.add)
        server.on(ykc.messages.CardClearResponseUnflagged)(typed.add)
        async with serving(server) as port, connected(port) as pile:
            await pile.log_in(pile_of(vector))
            await pile.send(raw)
            (received,) = await whole.count(1)
            (message,) = await typed.count(1)
            assert received.raw == raw
            assert received.warnings == ()
            assert message is received.message
            assert same(vector, message) == ""

    run(main())


def test_up_login() -> None:
    vector = DOCUMENT["6.1"]

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(Online)(heard.add)
        async with serving(server) as port, connected(port) as pile:
            await pile.send(bytes.fromhex(vector["frame"]))
            await heard.count(1)
            assert same(vector, server.piles[pile_of(vector)].login) == ""

    run(main())


@pytest.mark.parametrize("name", list(DOWN))
def test_down(name: str) -> None:
    """From the server to a socket: the very bytes; and to a ``Pile``: every field."""
    vector = DOWN[name]
    raw = bytes.fromhex(vector["frame"])
    message = ykc.Codec("1.6").decode(raw).message
    assert same(vector, message) == ""

    async def to_a_socket() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as pile:
            await pile.log_in(pile_of(vector))
            server.piles[pile_of(vector)].send(message, sequence=vector["sequence"])
            assert await pile.frame() == raw

    async def to_a_pile() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        async with serving(server) as port:
            pile = Pile(
                login_of(pile_of(vector)),
                "127.0.0.1",
                port,
                settings=PileSettings(verify_billing_model=False),
            )
            pile.on(type(message))(heard.add)
            online = Heard()
            server.on(Online)(online.add)
            await pile.start()
            try:
                await pile.online(PATIENCE)
                await online.count(1)
                if vector["frame_type"] in (0x02, 0x04):
                    await heard.count(1)  # the pile's own login or heartbeat
                    heard.all.clear()
                server.piles[pile.pile_id].send(message)
                (found, *_) = await heard.count(1)
                assert same(vector, found) == ""
            finally:
                await pile.close()

    run(to_a_socket())
    run(to_a_pile())


def login_of(pile_id: str) -> ykc.messages.LoginRequest:
    return ykc.messages.LoginRequest(
        pile_id=pile_id,
        pile_type=ykc.enums.PileType.DC,
        gun_count=1,
        protocol_version=1.6,
        firmware_version="V1",
        network_type=ykc.enums.NetworkType.LAN,
        sim_no="0",
        network_operator=ykc.enums.Operator.OTHER,
    )


@pytest.mark.parametrize(
    "name", [name for name, vector in UP.items() if vector["frame_type"] not in (0x01, 0x03, 0x05, 0x09)]
)
def test_up_from_a_pile(name: str) -> None:
    """From a ``Pile`` to a server that is nothing but a socket: the very bytes."""
    vector = UP[name]
    raw = bytes.fromhex(vector["frame"])
    message = ykc.Codec("1.6").decode(raw).message

    async def main() -> None:
        loop = asyncio.get_running_loop()
        frames: asyncio.Queue[bytes] = asyncio.Queue()
        accepted = loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            platform = RawPile(reader, writer)
            frame = await platform.frame()
            assert frame[5] == 0x01
            await platform.send(wrap(0x02, frame[6:13] + b"\0", frame[2:4]))
            accepted.set_result(None)
            while frame[5] != vector["frame_type"]:
                frame = await platform.frame()
            frames.put_nowait(frame)
            await platform.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            settings = PileSettings(verify_billing_model=False)
            pile = Pile(login_of(pile_of(vector)), "127.0.0.1", port, settings=settings, backoff=None)
            await pile.start()
            try:
                await pile.online(PATIENCE)
                pile.send(message, sequence=vector["sequence"])
                assert await asyncio.wait_for(frames.get(), PATIENCE) == raw
            finally:
                await pile.close()

    run(main())

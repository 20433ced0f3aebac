"""The table of malformed and edge frames, over real sockets, one connection for all of it.

The other end is ``websockets`` and says exactly what the table says. After
each frame comes a CALL that must be answered as if nothing had been, so that
whatever the frame has led to is there before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets

from evproto.aio.ocpp import (
    ChargingStation,
    InvalidAnswerError,
    LinkOptions,
    Server,
    ServerSettings,
    StationSettings,
)
from evproto.errors import CallRefusedError, CallTimeoutError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult, Codec, Send
from tests.aio.ocpp_support import run, soon, until
from tests.ocppj.edge_frames import ASKED, EDGES, MAX_SIZE, SERVED, VERSIONS, Edge

MODULES: dict[str, Any] = {"1.6": v16, "2.0.1": v201, "2.1": v21, "ntxcp": v10}
ROOM = LinkOptions(max_size=2 * MAX_SIZE)
ANSWERS: dict[str, Any] = {
    "Heartbeat": {"currentTime": "2026-11-20T10:00:00Z"},
    "FirmwareStatusNotification": {},
}


class Bench:
    """Our end, a server or a station, and the other."""

    def __init__(self, endpoint: Any, socket: Any, codec: Codec, role: str, version: str) -> None:
        self.endpoint = endpoint
        self.socket = socket
        self.codec = codec
        self.role = role
        self.version = version
        self.peer: Any = None
        self.seen: list[tuple[str, str]] = []
        """What the handler was given: kind and message id."""
        self.troubles: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self._marks = 0
        endpoint.on("*")(self.handle)
        endpoint.on_error(lambda trouble: self.troubles.append(str(trouble.error)))

    async def handle(self, peer: Any, request: Any) -> Any:
        message = peer.serving.call
        self.seen.append(("send" if isinstance(message, Send) else "call", message.unique_id))
        await self.hold.wait()
        if isinstance(message, Send):
            return None
        answer = ANSWERS.get(message.action, {"status": "Accepted"})
        if isinstance(request, dict):
            return answer
        frame = json.dumps([3, "x", answer]).encode()
        result = self.codec.decode(frame, {"x": message.action})
        assert isinstance(result, CallResult)
        return result.payload

    async def say(self, data: bytes) -> None:
        try:
            text: str | bytes = data.decode()
        except UnicodeDecodeError:
            text = data
        await soon(self.socket.send(text))

    async def read(self) -> list[Any]:
        frame: list[Any] = json.loads(await soon(self.socket.recv()))
        return frame

    async def until_mark(self) -> list[list[Any]]:
        """What is said up to the answer to a CALL that is made now."""
        self._marks += 1
        mark = f"mark-{self._marks}"
        await self.say(b'[2,"%b","DataTransfer",{"vendorId":"acme"}]' % mark.encode())
        frames = []
        while (frame := await self.read())[1] != mark:
            frames.append(frame)
        assert frame == [3, mark, {"status": "Accepted"}]
        assert self.seen.pop() == ("call", mark)
        return frames

    async def try_edge(self, edge: Edge) -> None:
        """One frame of the table."""
        reaction = edge.reactions[self.version]
        asking: asyncio.Task[Any] | None = None
        ours = "none"
        if edge.situation in ("asked", "late"):
            action, payload = ASKED
            call: Call[Any] = Call(unique_id=self.peer.new_id(), action=action, payload=payload)
            ours = call.unique_id
            timeout = 0.01 if edge.situation == "late" else 60
            asking = asyncio.create_task(self.peer.exchange(call, timeout=timeout))
            assert (await self.read())[:2] == [2, ours]
            if edge.situation == "late":
                with pytest.raises(CallTimeoutError):
                    await soon(asking)
        elif edge.situation == "serving":
            self.hold.clear()
            await self.say(SERVED)
            await until(lambda: self.seen)
            assert self.seen == [("call", "t0")]

        data = edge.data(self.role, ours)
        await self.say(data)
        if edge.situation == "serving":
            # The handler has not ended; what goes back at once does.
            if reaction.back is not None:
                self.check_back(await self.read(), reaction.back, ours)
            else:
                await until(lambda: self.troubles or self.peer._session.incoming)
            assert self.seen == [("call", "t0")]
            self.hold.set()
            frames = await self.until_mark()
            assert frames.pop(0) == [3, "t0", {"status": "Accepted"}]
            self.seen.pop(0)
        else:
            frames = await self.until_mark()
            if reaction.back is not None:
                self.check_back(frames.pop(0), reaction.back, ours)

        if reaction.learns in ("call", "later", "send"):
            its_id = json.loads(data, strict=False)[1]
            kind = "send" if reaction.learns == "send" else "call"
            assert self.seen == [(kind, its_id)]
            if kind == "call":
                number, unique_id, answer = frames.pop(0)
                assert (number, unique_id) == (3, its_id)
                assert isinstance(answer, dict)
        else:
            assert self.seen == []
        assert frames == []
        told = reaction.learns in ("nothing", "unexpected", "refused", "declined")
        assert len(self.troubles) == told, self.troubles
        if edge.situation == "asked":
            assert asking is not None
            await self.check_outcome(asking, ours, data, reaction)
        assert self.peer.connected
        self.seen.clear()
        self.troubles.clear()

    def check_back(self, frame: list[Any], back: tuple[int, str, str], ours: str) -> None:
        kind, unique_id, code = back
        assert frame[:3] == [kind, unique_id.replace("OURS", ours), code]
        description, details = frame[3:]
        assert 0 < len(description) <= 255
        assert details == {}

    async def check_outcome(self, asking: asyncio.Task[Any], ours: str, data: bytes, reaction: Any) -> None:
        match reaction.learns:
            case "result":
                assert (await soon(asking)).payload.status == json.loads(data)[2]["status"]
            case "error":
                with pytest.raises(CallRefusedError) as refused:
                    await soon(asking)
                assert refused.value.error_code == reaction.code
            case "invalid":
                with pytest.raises(InvalidAnswerError):
                    await soon(asking)
            case _:
                # Nothing of it has spoilt the answer that comes after it.
                assert not asking.done()
                await self.say(b'[3,"%b",{"status":"Accepted"}]' % ours.encode())
                assert (await soon(asking)).payload.status == "Accepted"


@contextlib.asynccontextmanager
async def our_server(version: str, engine: Any) -> AsyncIterator[Bench]:
    codec = Codec(MODULES[version].dialect, max_size=MAX_SIZE)
    server = Server([codec], settings=ServerSettings(link=ROOM, engine=engine))
    async with server:
        port = (await server.listen("localhost")).port
        name: Any = codec.dialect.name
        async with websockets.connect(
            f"ws://localhost:{port}/CS1", subprotocols=[name], proxy=None, ping_interval=None
        ) as socket:
            bench = Bench(server, socket, codec, "server", version)
            bench.peer = server.station("CS1")
            yield bench


@contextlib.asynccontextmanager
async def our_station(version: str) -> AsyncIterator[Bench]:
    codec = Codec(MODULES[version].dialect, max_size=MAX_SIZE)
    name: Any = codec.dialect.name
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    over = asyncio.Event()

    async def attend(socket: Any) -> None:
        arrived.put_nowait(socket)
        await over.wait()

    async with websockets.serve(attend, "localhost", 0, subprotocols=[name], ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        station = ChargingStation(
            f"ws://localhost:{port}", "CS1", codecs=[codec], settings=StationSettings(link=ROOM)
        )
        try:
            async with station:
                socket = await soon(arrived.get())
                bench = Bench(station, socket, codec, "client", version)
                bench.peer = await soon(station.wait_connected())
                yield bench
        finally:
            over.set()


async def whole_table(bench: Bench) -> None:
    for edge in EDGES:
        try:
            await bench.try_edge(edge)
        except BaseException as error:
            error.add_note(f"at the frame: {edge.name}")
            raise


@pytest.mark.parametrize("engine", ["websockets", "picows"])
@pytest.mark.parametrize("version", VERSIONS)
def test_our_server(version: str, engine: str) -> None:
    async def work() -> None:
        async with our_server(version, engine) as bench:
            await whole_table(bench)

    run(work())


@pytest.mark.parametrize("version", VERSIONS)
def test_our_station(version: str) -> None:
    async def work() -> None:
        async with our_station(version) as bench:
            await whole_table(bench)

    run(work())

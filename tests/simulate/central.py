"""A server for simulated chargers on WebSocket, on real sockets: it answers, remembers and judges.

Every frame of a charger is held against the official schema of its action; what
is wrong with it is in ``findings``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema
from ocppj.oracle import judge

from evproto.aio.ocpp import Server, Station, Watched
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201

OFFICIAL = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}
CODECS = {"1.6": v16.codec, "2.0.1": v201.codec, "2.1": v21.codec}


class Central:
    """A server of all versions; ``port`` may be one that it had before."""

    def __init__(self, **settings: Any) -> None:
        self.server = Server(
            [v16.codec, v201.codec, v21.codec, v10.codec], routes=["/ocpp/{id}", "/{id}"], **settings
        )
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        """Charger, action, payload; in the order of arrival."""
        self.findings: list[str] = []
        self.versions: dict[str, str] = {}
        self.boot_status = "Accepted"
        self.changed = asyncio.Event()
        self._ids = 0
        self._asked: dict[tuple[str, str], str] = {}
        self.server.on("*")(self._answer)
        self.server.watch(self._saw)
        self.server.on_connect(lambda station: self._tell())
        self.server.on_disconnect(lambda station, ending: self._tell())

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0, **options: Any) -> AsyncIterator[str]:
        """Its URL."""
        listener = await self.server.listen("127.0.0.1", port, **options)
        try:
            yield f"ws://127.0.0.1:{listener.port}/ocpp"
        finally:
            await self.server.close()

    def _tell(self) -> None:
        self.changed.set()

    def _answer(self, station: Station, request: Any) -> Any:
        made: dict[str, Any] = {}
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        action = request.action_name
        if action == "BootNotification":
            made = {"status": self.boot_status, "currentTime": now, "interval": 1}
        elif action == "Heartbeat":
            made = {"currentTime": now}
        elif action == "StartTransaction":
            self._ids += 1
            made = {"transactionId": self._ids, "idTagInfo": {"status": "Accepted"}}
        elif action == "Authorize":
            name = "idTagInfo" if station.version == "ocpp1.6" else "idTokenInfo"
            made = {name: {"status": "Accepted"}}
        elif action == "DataTransfer":
            made = {"status": "Rejected"}
        frame = json.dumps([3, "1", made]).encode()
        return station.codec.decode(frame, {"1": action}).payload  # type: ignore[union-attr]

    def _saw(self, watched: Watched) -> None:
        official = OFFICIAL.get(watched.peer.version)
        self.versions[watched.peer.id] = watched.peer.version
        try:
            frame = json.loads(watched.data)
            if watched.direction == "out":
                if frame[0] == 2:
                    self._asked[watched.peer.id, frame[1]] = frame[2]
                return
            if frame[0] == 2:
                self.requests.append((watched.peer.id, frame[2], frame[3]))
                if official:
                    judge(official, frame[2], "request").validate(frame[3])
            elif frame[0] == 3 and official:
                action = self._asked.pop((watched.peer.id, frame[1]))
                judge(official, action, "response").validate(frame[2])
        except (ValueError, KeyError, IndexError, jsonschema.ValidationError) as error:
            self.findings.append(f"{watched.data!r}: {str(error)[:300]}")
        finally:
            self._tell()

    def of(self, action: str, charger: str | None = None) -> list[dict[str, Any]]:
        """The payloads of one action so far."""
        return [payload for who, name, payload in self.requests if name == action and charger in (None, who)]

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something is true of what has come."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                try:
                    async with asyncio.timeout(0.2):  # also of what only the chargers know
                        await self.changed.wait()
                except TimeoutError:
                    pass


class InThread:
    """A server with a loop of its own, for what blocks this one."""

    def __init__(self) -> None:
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self.central = Central()
        async with self.central.running() as url:
            self.url = url
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@contextlib.contextmanager
def central_in_a_thread() -> Iterator[InThread]:
    thread = InThread()
    try:
        yield thread
    finally:
        thread.close()

"""Turns the clock for one simulated charger on WebSocket, and carries its messages.

Connecting again and again, BootNotification, heartbeats and the repetition of
what must arrive are those of :class:`evproto.aio.ocpp.ChargingStation`, in
real seconds; the charger's own life runs ``speed_up`` times as fast.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from evproto.aio.ocpp import (
    ANY,
    ChargingStation,
    Ending,
    HandshakeError,
    Peer,
    RefuseCall,
    Upstream,
    Watched,
)
from evproto.aio.ocpp.settings import PeerSettings, StationSettings
from evproto.errors import (
    CallEndedError,
    CallTimeoutError,
    EvprotoError,
    SessionClosedError,
    SessionError,
)
from evproto.ocppj import Call, Codec
from evproto.ocppj.boot import BootState
from evproto.payloads import Request
from evproto.simulate.faults import Faults
from evproto.simulate.ocppj.faults import FaultyLink
from evproto.simulate.ocppj.flash import Flash
from evproto.simulate.ocppj.model import Ask, Beat, Keep, Model, Output, Reboot
from evproto.simulate.ocppj.traffic import Traffic
from evproto.simulate.people import People
from evproto.simulate.statistics import Statistics

__all__ = ["Driver", "Line"]

_now: Final = time.monotonic


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How the chargers of a fleet are connected. Times in real seconds."""

    urls: Sequence[str]
    """Of the servers, without identity: a charger begins with its own and goes on to the next in need."""
    password: str | None = None
    call_timeout: float = 30.0
    reconnect: float = 1.0
    """Before the first attempt to connect again; doubled at each failure, up to 16 times as long."""
    heartbeat_interval: float | None = None
    """None: what the server says."""
    boot_retry: float = 5.0
    speed_up: float = 1.0
    faults: Faults = Faults()

    def settings(self) -> StationSettings:
        """Of the endpoint."""
        return StationSettings(
            # A life that runs fast has more to say at once than a server takes.
            peer=PeerSettings(call_timeout=self.call_timeout, max_queued=1000),
            wait_minimum=self.reconnect,
            random_range=self.reconnect,
            repeat_times=4,
            boot_retry=self.boot_retry,
            heartbeats=self.heartbeat_interval is None,
            attempt_interval=max(1.0, self.call_timeout / 2),
        )


class _Endpoint(ChargingStation):
    """An endpoint that goes on to another server when one cannot be reached."""

    def __init__(self, driver: Driver, codecs: Sequence[Codec], **options: Any) -> None:
        self._driver = driver
        super().__init__(driver.server, driver.model.identity, codecs=codecs, **options)

    def connecting_failed(self, error: Exception) -> None:
        self._driver.failed(error)
        self.url = f"{self._driver.server.rstrip('/')}/{quote(self.identity, safe='')}"


class Driver:
    """One charger on its connection.

    Attributes:
        model: the charger.
        first: done when it is connected for the first time (None), or no server can be reached (the error).
        answered: done when its first BootNotification was answered, or nobody could be reached.
    """

    def __init__(
        self,
        model: Model,
        line: Line,
        codecs: Sequence[Codec],
        *,
        number: int,
        seed: str,
        statistics: Statistics,
        people: People | None = None,
        tls: ssl.SSLContext | None = None,
        watch: Callable[[Watched], None] | None = None,
    ) -> None:
        """``number`` says with which server it begins."""
        self.model = model
        self._line = line
        self._codecs = codecs
        self._statistics = statistics
        self._counts = statistics.counts
        self._people = people
        self._tls = tls
        self._watch = watch
        self._server = number % len(line.urls)
        self._rng = random.Random(f"{seed}/line/{model.identity}")
        self._flash = Flash()
        self._traffic = Traffic(statistics)
        self._endpoint: ChargingStation | None = None
        self._loop: asyncio.AbstractEventLoop
        self._begin = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_keep: deque[Request[Any]] = deque()
        self._keeping = asyncio.Lock()
        self._failures = 0
        self._stopped = False
        self.first: asyncio.Future[Exception | None]
        self.answered: asyncio.Event = asyncio.Event()

    # What the fleet does

    async def start(self) -> None:
        """Begin to live, and to connect."""
        self._loop = asyncio.get_running_loop()
        self.first = self._loop.create_future()
        self._begin = _now()
        await self._boot()
        self._set_timer()

    async def stop(self) -> None:
        """Close the connection and come no more."""
        self._stopped = True
        for timer in (self._timer, self._beat):
            if timer is not None:
                timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._endpoint is not None:
            await self._endpoint.close(grace=1.0)

    def finish(self) -> None:
        """The end of a run: charging stops, and nobody comes any more."""
        self._people = None
        now = self._live()
        self.model.stop_all(now)
        self._drain()

    @property
    def server(self) -> str:
        """The URL it connects to."""
        return self._line.urls[self._server]

    @property
    def is_in(self) -> bool:
        """Whether the server has accepted it, on the connection there is."""
        return self.model.online

    @property
    def waiting(self) -> int:
        """Messages that must arrive and have not."""
        return len(self._flash) + len(self._to_keep)

    # The endpoint

    async def _boot(self) -> None:
        line = self._line
        endpoint = _Endpoint(
            self,
            self._codecs,
            boot=lambda version: self.model.boot_request(),
            password=line.password,
            tls=self._tls,
            store=self._flash,
            settings=line.settings(),
            random=self._rng.random,
            default_version=self._codecs[0].dialect.name,
        )
        endpoint.on_connect(self._connected)
        endpoint.on_boot(self._booted)
        endpoint.on_disconnect(self._disconnected)
        endpoint.on_call_ended(self._call_ended)
        endpoint.on_delivered(self._delivered)
        endpoint.amend(self.model.amend)
        endpoint.watch(self._traffic.saw)
        if self._watch is not None:
            endpoint.watch(self._watch)
        endpoint.on(ANY)(self._obey)
        self._endpoint = endpoint
        await endpoint.start()
        self._keep_on()

    def failed(self, error: Exception) -> None:
        """An attempt to connect has failed: the next server is tried."""
        self._counts["connections failed"] += 1
        if isinstance(error, HandshakeError) and error.status is not None:
            self._counts[f"refused: {error.status}"] += 1
        self._server = (self._server + 1) % len(self._line.urls)
        self._failures += 1
        there = isinstance(error, HandshakeError) and error.status is not None
        if there or self._failures >= len(self._line.urls):
            self.answered.set()
            if not self.first.done():
                self.first.set_result(error)

    def _connected(self, upstream: Upstream) -> None:
        self._counts["connected"] += 1
        if not self.first.done():
            self.first.set_result(None)
        if self._line.faults:
            link: Any = FaultyLink(
                upstream.link, upstream.codec, self._line.faults, self._rng, self._statistics.faults
            )
            upstream.link = link
        if self._endpoint is not None and self._endpoint.state is BootState.ACCEPTED:
            self._let_in()

    def _booted(self, upstream: Upstream, request: Any, response: Any) -> None:
        self.answered.set()
        if response.status != "Accepted":
            self._counts[f"boots {str(response.status).lower()}"] += 1
            return
        self._counts["boots accepted"] += 1
        self.model.accepted(response.interval)
        self.model.set_clock(response.current_time, self._live())
        self._let_in()

    def _let_in(self) -> None:
        self.model.connected(self._live())
        self._set_beat()
        self._drain()

    def _disconnected(self, upstream: Upstream, ending: Ending) -> None:
        self._counts["connections lost"] += 1
        self._traffic.lost()
        self.model.disconnected(self._live())
        if self._beat is not None:
            self._beat.cancel()
        self._drain()

    def _obey(self, peer: Peer, request: Any) -> Any:
        if type(request) not in self.model.handlers:
            known = isinstance(request, Request)
            raise RefuseCall("NotSupported" if known else "NotImplemented", "not simulated")
        response = self.model.obey(request, self._live())
        # What follows from it goes out behind the answer.
        self._loop.call_soon(self._drain)
        return response

    def _call_ended(self, peer: Peer, call: Call[Any], result: Any) -> None:
        if isinstance(result, CallTimeoutError):
            self._traffic.timed_out(call.unique_id)
        current = getattr(getattr(result, "payload", None), "current_time", None)
        if call.action == "Heartbeat" and current is not None and self._line.speed_up == 1:
            self.model.set_clock(current, self._live())

    def _delivered(self, request: Any, result: Any) -> None:
        if isinstance(result, SessionClosedError):
            return
        if request is not None:
            self.model.delivered(request, result, self._live())
            self._drain()

    # The charger's life

    def _live(self) -> int:
        """Let it go on, deadline by deadline: a late tick must not skip over anything. Gives its time."""
        # Rounded up a little, or a deadline turned into seconds and back would lie ahead for ever.
        end = int((_now() - self._begin) * 1000 * self._line.speed_up + 0.01)
        model, people = self.model, self._people
        while True:
            due = model.deadline if people is None else min(model.deadline, people.deadline)
            if due > end:
                break
            model.tick(due)
            if people is not None:
                people.tick(due)
        model.tick(end)
        return end

    def _wake(self) -> None:
        self._timer = None
        self._statistics.lateness.add(_now() - self._due)
        self._live()
        self._drain()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopped:
            return
        model, people = self.model, self._people
        due = model.deadline if people is None else min(model.deadline, people.deadline)
        now = _now()
        self._due = max(now, self._begin + due / 1000 / self._line.speed_up)
        # A deadline that never comes is a number no timer takes.
        self._timer = self._loop.call_later(min(self._due - now, 86_400.0), self._wake)

    def _drain(self) -> None:
        """Carry out what the charger wants."""
        if self._stopped:
            return
        for output in self.model.take():
            self._do(output)
        self._set_timer()

    def _do(self, output: Output) -> None:
        if isinstance(output, Reboot):
            self._spawn(self._reboot(output))
        elif isinstance(output, Beat):
            if self._endpoint is not None and self._endpoint.upstream is not None:
                gate = self._endpoint.upstream.gate
                if gate is not None and gate.state is BootState.ACCEPTED:
                    gate.answered("Accepted", output.interval, self._loop.time())
                    self._endpoint.wake()
        elif isinstance(output, Keep):
            self._to_keep.append(output.request)
            self._keep_on()
        else:
            self._spawn(self._call(output.request, asks=isinstance(output, Ask)))

    async def _call(self, request: Request[Any], *, asks: bool) -> None:
        response = None
        try:
            if self._endpoint is not None:
                response = await self._endpoint.call(request)
        except CallEndedError:
            pass  # counted where it was seen
        except SessionError:
            self._counts["unsent"] += 1
        if asks:
            self.model.answered(request, response, self._live())
            self._drain()

    def _keep_on(self) -> None:
        if self._to_keep and not self._keeping.locked():
            self._spawn(self._keep())

    async def _keep(self) -> None:
        """Hands over what must arrive, in order; what there is no endpoint for waits for the next one."""
        async with self._keeping:
            while self._to_keep and self._endpoint is not None:
                try:
                    await self._endpoint.deliver(self._to_keep[0])
                except SessionError:
                    return  # it has just been closed
                except EvprotoError:
                    self._counts["unsent"] += 1
                self._to_keep.popleft()

    async def _reboot(self, reboot: Reboot) -> None:
        self._counts["reboots"] += 1
        await self._keep()
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.close(grace=1.0)
        await asyncio.sleep(reboot.after / 1000 / self._line.speed_up)
        if not self._stopped:
            await self._boot()

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Heartbeats at an interval of one's own

    def _set_beat(self) -> None:
        every = self._line.heartbeat_interval
        if every is None:
            return
        if self._beat is not None:
            self._beat.cancel()
        self._beat = self._loop.call_later(every, self._send_beat)

    def _send_beat(self) -> None:
        if self.model.online and self._endpoint is not None and self._endpoint.upstream is not None:
            action = self._endpoint.upstream.codec.dialect.actions["Heartbeat"]
            self._spawn(self._call(action.request.type(), asks=False))  # type: ignore[arg-type]
            self._set_beat()

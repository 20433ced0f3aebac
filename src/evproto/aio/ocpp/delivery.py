"""What a station has to deliver, whatever it takes: kept, tried again, and told of when it is settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from evproto.aio.ocpp.peer import InvalidAnswerError
from evproto.aio.ocpp.upstream import Upstream
from evproto.errors import (
    CallRefusedError,
    CallTimeoutError,
    ConnectionLostError,
    EncodeError,
    EvprotoError,
    QueueFullError,
    SessionClosedError,
    SessionError,
)
from evproto.ocppj import Call, CallError, CallResult, Codec, MessageError
from evproto.ocppj.boot import BootState
from evproto.ocppj.events import ConnectionLost, InvalidAnswer, Outcome, TimedOut
from evproto.ocppj.offline import Retention, TransactionQueue
from evproto.payloads import Request, Response

if TYPE_CHECKING:
    from evproto.aio.ocpp.station import ChargingStation

__all__ = ["Deliveries", "Delivery"]

logger = logging.getLogger("evproto.aio.ocpp")

R = TypeVar("R", bound=Response)


class Delivery(Generic[R]):
    """A message that is kept until it has arrived. Await it for the response.

    What it raises: CallRefusedError, CallTimeoutError if all attempts failed;
    SessionClosedError if the station was closed first (it stays kept, if
    there is a file).
    """

    def __init__(self, key: int, request: Request[R], future: asyncio.Future[R]) -> None:
        self.key = key
        self.request = request
        self._future = future

    @property
    def done(self) -> bool:
        """Whether it has arrived, or was given up."""
        return self._future.done()

    def __await__(self) -> Generator[Any, None, R]:
        return asyncio.shield(self._future).__await__()


class Deliveries:
    """The messages that a station keeps until they have arrived.

    They are in the station's store; the rules of order, attempts and waiting
    are :class:`evproto.ocppj.offline.TransactionQueue`, one for each version.
    """

    def __init__(self, station: ChargingStation) -> None:
        self._station = station
        self._queues: dict[str, TransactionQueue] = {}
        self._kept: dict[int, tuple[str, bytes]] = {}
        self._waited_for: dict[int, Delivery[Any]] = {}
        self.told: list[Callable[[Any, Any], Any]] = []
        """Called with each message and what became of it."""
        self.amend: Callable[[Any], Any] | None = None
        """Gives the message to send for one that was kept."""

    def __len__(self) -> int:
        return len(self._kept)

    async def restore(self) -> None:
        """Open the store and take over what it holds; raises StoreError."""
        stored = await self._station.store.open()
        for version in {kept.version for kept in stored}:
            self._queue(version).restore(kept.queued for kept in stored if kept.version == version)
        self._kept.update((kept.key, (kept.version, kept.frame)) for kept in stored)

    def abandon(self) -> None:
        """The station is closed: who waits for a message waits no more. It stays in the store."""
        for delivery in self._waited_for.values():
            if not delivery.done:
                delivery._future.set_exception(SessionClosedError("the station was closed before it arrived"))
                delivery._future.exception()

    async def put(self, codec: Codec, request: Request[R], retention: Retention) -> Delivery[R]:
        """Keep a message; it is in the store when this returns.

        Raises:
            InvalidMessageError: it breaks its schema.
            StoreError: it could not be kept.
            SessionClosedError: the station was closed meanwhile.
        """
        station, version = self._station, codec.dialect.name
        frame = codec.encode(Call(unique_id="0", payload=request))
        key = await station.store.put(version, frame, retention)
        station.check_not_closed()
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        delivery = Delivery(key, request, future)
        self._kept[key] = version, frame
        self._waited_for[key] = delivery
        dropped = self._queue(version).put(key, retention)
        for gone in dropped:
            self._forget(gone, None, SessionError("too much is kept; this was thinned out"))
        await station.store.drop(*dropped)
        station.wake()
        return delivery

    async def send(self, upstream: Upstream) -> None:
        """Deliver what is kept, one message after the other, as long as the connection stands."""
        queue, clock = self._queue(upstream.version), asyncio.get_running_loop().time
        while upstream.connected:
            gate = upstream.gate
            if gate is not None and gate.state is not BootState.ACCEPTED:
                await self._station.sleep_until(upstream, None)
                continue
            key = queue.next(clock())
            if key is None:
                await self._station.sleep_until(upstream, queue.deadline)
                continue
            outcome: Outcome = ConnectionLost("stopped", False)
            error: Exception | None = None
            try:
                outcome, error = await self._try(upstream, key)
            finally:
                message = queue.ended(outcome, clock())
            if isinstance(error, QueueFullError):
                # The calls of the application come first; one of them must end before this can go.
                await self._station.sleep_until(upstream, clock() + 0.5)
                continue
            if message is not None:
                if error is not None and not isinstance(outcome, ConnectionLost):
                    logger.warning(
                        "%s: attempt %d to deliver message %d failed: %s",
                        self._station.identity,
                        message.failures,
                        key,
                        error,
                    )
                    await self._station.store.failed(key, message.failures)
                continue
            await self._station.store.drop(key)
            self._forget(key, outcome, error)

    def _queue(self, version: str) -> TransactionQueue:
        queue = self._queues.get(version)
        if queue is None:
            settings = self._station.settings
            queue = TransactionQueue(settings.attempts, settings.attempt_interval, settings.capacity)
            self._queues[version] = queue
        return queue

    async def _try(self, upstream: Upstream, key: int) -> tuple[Outcome, Exception | None]:
        _, frame = self._kept[key]
        call: Call[Any]
        try:
            decoded = upstream.codec.decode(frame, mode="lenient")
            payload = decoded.payload  # type: ignore[union-attr]
            if self.amend is not None:
                try:
                    payload = self.amend(payload)
                except Exception as unamendable:
                    logger.exception("%s: the message %d cannot be amended", self._station.identity, key)
                    return CallError(unique_id="", error_code="InternalError"), unamendable
            call = Call(unique_id=upstream.new_id(), payload=payload)
            return await upstream.exchange(call), None
        except CallRefusedError as refused:
            return CallError(unique_id="", error_code=refused.error_code), refused
        except CallTimeoutError as late:
            return TimedOut(), late
        except InvalidAnswerError as wrong:
            cause = wrong.__cause__
            assert isinstance(cause, Exception)
            return InvalidAnswer(cause), wrong
        except (EncodeError, MessageError) as unsendable:
            # It will never be any better; it counts as an attempt, so that it does not stop the others.
            return CallError(unique_id="", error_code="FormatViolation"), unsendable
        except (ConnectionLostError, SessionError) as lost:
            return ConnectionLost(str(lost)), lost

    def _forget(self, key: int, outcome: Outcome | None, error: Exception | None) -> None:
        """A message has arrived or was given up: who waits for it is told."""
        version, frame = self._kept.pop(key, ("", b""))
        delivery = self._waited_for.pop(key, None)
        result: Any = outcome.payload if isinstance(outcome, CallResult) else error
        if delivery is not None and not delivery.done:
            if isinstance(outcome, CallResult):
                delivery._future.set_result(outcome.payload)
            elif error is not None:
                delivery._future.set_exception(error)
                delivery._future.exception()
        if not isinstance(outcome, CallResult):
            logger.error("%s: message %d was given up: %s", self._station.identity, key, error)
        if self.told:
            try:
                request: Any = self._station.codecs[version].decode(frame, mode="lenient").payload  # type: ignore[union-attr]
            except (EvprotoError, LookupError):
                request = None
            for told in self.told:
                self._tell_about(told, request, result)

    def _tell_about(self, told: Callable[[Any, Any], Any], request: Any, result: Any) -> None:
        async def tell() -> None:
            try:
                done = told(request, result)
                if asyncio.iscoroutine(done):
                    await done
            except Exception:
                logger.exception("a listener of %s failed", self._station.identity)

        self._station.spawn(tell())

"""Events to NATS: records through JetStream, the rest as plain messages.

A plain message has arrived when the server has answered a PING sent after it;
who receives it is not known. A record has arrived when JetStream has said that
it is stored; it carries the event's id, by which JetStream drops a repetition
as long as its duplicate window lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig

from evproto.aio.nats import escape as escape_token
from evproto.aio.nats import settle
from evproto.aio.nats import unescape as unescape_token
from evproto.gateway.events import Event
from evproto.gateway.sink import SinkError, SinkRefusedError, SinkUnavailableError

__all__ = ["NatsMessage", "NatsShape", "NatsSink", "NatsStream", "envelope", "escape_token", "unescape_token"]


class NatsMessage(NamedTuple):
    """What is published."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = {}


NatsShape = Callable[[Event], NatsMessage | None]
"""Makes the message out of an event; None: this event is not published, and counts as delivered."""


def envelope(prefix: str = "evproto") -> NatsShape:
    """The event as it is, on ``PREFIX.KIND.PROTOCOL.CHARGER.NAME``, the last three escaped."""

    def shape(event: Event) -> NatsMessage:
        tokens = (event.protocol, event.charger, event.name)
        subject = ".".join((prefix, event.kind, *(escape_token(token) for token in tokens)))
        return NatsMessage(subject, event.to_json())

    return shape


class NatsStream(NamedTuple):
    """The stream that records go to. It is made if there is none; one that is there must do."""

    name: str = "EVPROTO"
    subjects: tuple[str, ...] = ("evproto.record.>",)
    """What it collects; the subjects of all records must be among it."""
    duplicate_window: float = 7 * 86400.0
    """How long a repetition is recognised, in seconds. Longer than any outage of this process."""
    max_age: float = 0.0
    """How long records stay in it, in seconds; 0: for ever."""
    max_bytes: int = -1
    replicas: int = 1


DEFAULT_STREAM = NatsStream()


class NatsSink:
    """Publishes events; see the module."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str = "nats",
        shape: NatsShape | None = None,
        stream: NatsStream | None = DEFAULT_STREAM,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        credentials: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 5.0,
    ) -> None:
        """Make a sink; it connects when there is something to deliver.

        Args:
            servers: URLs as nats://host:4222, or host:port.
            name: what its progress is stored under.
            shape: what is published where; None: :func:`envelope`.
            stream: where records go; None: they are published like everything else, and
                a record is lost if nobody listens.
            username, password, token: to log in with.
            credentials: path of a credentials file.
            tls: for encrypted connections.
            timeout: for connecting, and for each answer of the server, in seconds.

        Raises:
            ValueError: there is no server.
        """
        if not servers:
            raise ValueError("there is no server to publish to")
        self._name = name
        self._servers = [url if "://" in url else f"nats://{url}" for url in servers]
        # What people read of them: without passwords.
        self._said_servers = ", ".join(re.sub("//[^/@]*@", "//***@", url) for url in self._servers)
        self._shape = shape or envelope()
        self._stream = stream
        self._timeout = timeout
        options = {
            "user": username,
            "password": password,
            "token": token,
            "user_credentials": credentials,
            "tls": tls,
        }
        self._options: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None
        self._connecting = asyncio.Lock()
        self._problems: list[str] = []
        self.duplicates = 0
        """Records that JetStream had already."""

    @property
    def name(self) -> str:
        return self._name

    async def deliver(self, events: Sequence[Event]) -> None:
        """Publish events, in order; see :class:`evproto.gateway.sink.Sink`."""
        client = await self._connected()
        connection = client.stats["reconnects"]
        arrived = sent = 0
        try:
            for event in events:
                message = self._shape(event)
                if message is not None and event.is_record and self._jetstream is not None:
                    if arrived < sent:
                        # Plain messages before it: on the same connection, so before it at the server too.
                        await self._settle(client, connection)
                        arrived = sent
                    await self._store(self._jetstream, message, event)
                    arrived = sent = sent + 1
                    continue
                if message is not None:
                    await client.publish(message.subject, message.payload, headers=_headers(message, event))
                sent += 1
            if arrived < sent:
                await self._settle(client, connection)
        except nats.errors.MaxPayloadError as error:
            # The event after those that were sent is too large, but those may not have arrived.
            if arrived == sent:
                raise SinkRefusedError(f"larger than the server takes: {error}", delivered=arrived) from error
            raise SinkError(
                f"not all before an event that is too large: {error}", delivered=arrived
            ) from error
        except SinkError as error:
            error.delivered = arrived
            raise
        except (nats.errors.Error, OSError, TimeoutError) as error:
            text = f"{type(error).__name__}: {error}"
            if not client.is_connected:
                raise SinkUnavailableError(text, delivered=arrived) from error
            raise SinkError(text, delivered=arrived) from error

    async def close(self) -> None:
        async with self._connecting:
            client, self._client, self._jetstream = self._client, None, None
            if client is not None:
                with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                    await client.close()

    async def _settle(self, client: Client, connection: int) -> None:
        """Wait until the server has seen what was published on this connection."""
        await settle(client, self._timeout)
        if client.stats["reconnects"] != connection:
            raise SinkError("the connection was lost, and with it perhaps what was published on it")

    async def _store(self, jetstream: JetStreamContext, message: NatsMessage, event: Event) -> None:
        assert self._stream is not None
        try:
            answer = await jetstream.publish(
                message.subject,
                message.payload,
                timeout=self._timeout,
                stream=self._stream.name,
                headers=_headers(message, event),
            )
        except nats.js.errors.NoStreamResponseError as error:
            raise SinkError(f"no stream takes {message.subject}") from error
        self.duplicates += bool(answer.duplicate)

    async def _connected(self) -> Client:
        client = self._client
        if client is not None and client.is_connected:
            return client
        async with self._connecting:
            client = self._client
            if client is not None and client.is_connected:
                return client
            if client is not None and not client.is_closed:
                # It goes on trying by itself, for ever.
                raise SinkUnavailableError(f"no connection to {self._said_servers} at present")
            return await self._connect()

    async def _connect(self) -> Client:
        client = Client()
        self._problems.clear()
        opening = asyncio.create_task(self._open(client))
        try:
            await asyncio.wait({opening}, timeout=self._timeout)
            if not opening.done():
                raise TimeoutError
            jetstream = opening.result()
        except BaseException as error:
            await _cancel(opening)
            with contextlib.suppress(Exception):
                await client.close()
            if isinstance(error, nats.errors.Error | OSError | TimeoutError):
                said = "; ".join(dict.fromkeys([*self._problems, str(error) or type(error).__name__]))
                raise SinkUnavailableError(f"cannot connect to {self._said_servers}: {said}") from error
            raise
        self._client, self._jetstream = client, jetstream
        self._problems.clear()
        return client

    async def _open(self, client: Client) -> JetStreamContext | None:
        """Connect, for as long as it takes, and see that the stream is there."""
        await client.connect(
            servers=self._servers,
            name="evproto",
            connect_timeout=max(1, round(self._timeout)),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            **self._options,
        )
        if self._stream is None:
            return None
        jetstream = client.jetstream(timeout=self._timeout)
        await self._check_stream(jetstream, self._stream)
        return jetstream

    async def _on_error(self, error: Exception) -> None:
        # The reason comes first; that the connection broke is said after it, often.
        self._problems = [*self._problems, str(error) or type(error).__name__][:3]

    async def _check_stream(self, jetstream: JetStreamContext, wanted: NatsStream) -> None:
        try:
            found = (await jetstream.stream_info(wanted.name)).config
        except nats.js.errors.NotFoundError:
            await jetstream.add_stream(
                StreamConfig(
                    name=wanted.name,
                    description="Records of chargers, stored by evproto",
                    subjects=list(wanted.subjects),
                    duplicate_window=wanted.duplicate_window,
                    max_age=wanted.max_age,
                    max_bytes=wanted.max_bytes,
                    num_replicas=wanted.replicas,
                    storage=StorageType.FILE,
                )
            )
            return
        window = found.duplicate_window or 0.0
        if window < wanted.duplicate_window:
            raise SinkUnavailableError(
                f"stream {wanted.name} recognises repetitions for {window:g} s, "
                f"{wanted.duplicate_window:g} s are asked for: "
                f"`nats stream edit {wanted.name} --dupe-window={wanted.duplicate_window:g}s`"
            )
        missing = [subject for subject in wanted.subjects if not _covered(subject, found.subjects or [])]
        if missing:
            raise SinkUnavailableError(f"stream {wanted.name} does not collect {', '.join(missing)}")


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end.

    Once may not do: before Python 3.12, the ``wait_for`` that the client uses may swallow a cancellation.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
    if not task.cancelled():
        task.exception()


def _headers(message: NatsMessage, event: Event) -> dict[str, str]:
    return {"Nats-Msg-Id": event.id, **message.headers}


def _covered(subject: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns takes every subject that this one takes."""
    return any(_takes(pattern.split("."), subject.split(".")) for pattern in patterns)


def _takes(pattern: list[str], subject: list[str]) -> bool:
    for number, token in enumerate(pattern):
        if token == ">":
            return len(subject) > number
        if number >= len(subject) or subject[number] == ">":
            return False
        if token not in ("*", subject[number]):
            return False
    return len(pattern) == len(subject)

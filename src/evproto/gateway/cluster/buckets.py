"""Key-value buckets of NATS, over a link that is made anew whenever it is lost.

A bucket is a stream with one message per key; the message's number in the
stream is the key's revision. It can be written on condition of the revision
that it has, and watched: a watch begins with all that is there, and goes on
with what changes, in order, without gaps, until it breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from nats.aio.msg import Msg

from evproto.aio.plugins.nats_link import LinkError, NatsLink
from evproto.errors import EvprotoError
from evproto.gateway.events import new_id

__all__ = ["Bucket", "BucketError", "Entry", "RevisionError", "Watch"]

_EXPECT: Final = "Nats-Expected-Last-Subject-Sequence"
_OPERATION: Final = "KV-Operation"
_DELETE: Final = "DEL"
_WRONG_REVISION: Final = 10071
_OTHER_STREAM: Final = 10058
"""There is a stream of this name with other settings: somebody made the bucket to their liking."""
_HEARTBEAT: Final = 2.0
"""Seconds of silence after which the server says that a watch goes on."""
_MISSED: Final = 3
"""Heartbeats after which it does not."""

OnEntry = Callable[[str, int, bytes | None], None]
"""Is told key, revision and value; None: the key was deleted."""


class BucketError(EvprotoError):
    """A bucket does not answer, or not as it should. What was to be written may be written or not."""


class RevisionError(EvprotoError):
    """The key has another revision than was expected; nothing was written."""


class Entry(NamedTuple):
    """A key's last write; ``value`` is None if that was its deletion."""

    revision: int
    value: bytes | None


class Bucket:
    """One bucket.

    Args:
        link: the connection.
        name: of the bucket: letters, digits, ``_`` and ``-``.
        about: what it is for, for those who look into NATS.
        keep: seconds after which entries go by themselves; 0: never.
        replicas: servers that have it.
        timeout: how long NATS has to answer, in seconds.
    """

    def __init__(
        self,
        link: NatsLink,
        name: str,
        *,
        about: str,
        keep: float = 0.0,
        replicas: int = 1,
        timeout: float = 5.0,
    ) -> None:
        self.link = link
        self.name = name
        self.stream = f"KV_{name}"
        self.prefix = f"$KV.{name}."
        self._timeout = timeout
        self._config: dict[str, Any] = {
            "name": self.stream,
            "description": about,
            "subjects": [f"{self.prefix}>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": replicas,
            "max_msgs_per_subject": 1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_consumers": -1,
            "max_age": round(keep * 1e9),
            "duplicate_window": round(min(keep or 120.0, 120.0) * 1e9),
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "deny_delete": True,
        }

    async def ensure(self) -> None:
        """Make the bucket if there is none; one that is there is taken as it is.

        Raises:
            BucketError: it cannot be had.
        """
        try:
            await self.ask(f"STREAM.CREATE.{self.stream}", self._config)
        except _ApiError as error:
            if error.code != _OTHER_STREAM:
                raise
            found = await self.ask(f"STREAM.INFO.{self.stream}", {})
            if found["config"].get("subjects") != self._config["subjects"]:
                raise BucketError(f"the stream {self.stream} is something else than a bucket") from None

    async def put(self, key: str, value: bytes, *, last: int | None = None) -> int:
        """Write a key; its new revision.

        Args:
            key: tokens of letters, digits, ``_``, ``-`` and ``=``, with dots between.
            value: the value.
            last: only if this is its revision; 0: if it never had one.

        Raises:
            RevisionError: it has another revision.
            BucketError: it may be written or not.
        """
        return await self._write(key, value, {} if last is None else {_EXPECT: str(last)})

    async def delete(self, key: str, *, last: int) -> int:
        """Delete a key if this is its revision; the revision of the deletion.

        Raises:
            RevisionError: it has another revision.
            BucketError: it may be deleted or not.
        """
        return await self._write(key, b"", {_EXPECT: str(last), _OPERATION: _DELETE})

    async def forget(self, key: str, revision: int) -> None:
        """Take a key away with its history up to a revision, without a trace: watches are not told.

        Raises:
            BucketError: it may be gone or not.
        """
        # As it says, below a number; what was written since stays.
        await self.ask(f"STREAM.PURGE.{self.stream}", {"filter": self.prefix + key, "seq": revision + 1})

    async def get(self, key: str) -> Entry | None:
        """What was written last; None: the key was never written.

        Raises:
            BucketError: it cannot be known.
        """
        try:
            found = await self.ask(f"STREAM.MSG.GET.{self.stream}", {"last_by_subj": self.prefix + key})
        except _ApiError as error:
            if error.status == 404 and error.code != 10059:
                return None
            raise
        return _entry_of(found["message"])

    async def _write(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        try:
            answer = await self._request(self.prefix + key, value, headers or None)
        except _ApiError as error:
            if error.code == _WRONG_REVISION:
                raise RevisionError(f"{key}: {error}") from None
            raise
        return int(answer["seq"])

    async def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request of JetStream's API.

        Raises:
            BucketError: it was refused, or not answered.
        """
        return await self._request(f"$JS.API.{what}", msgspec.json.encode(body), None)

    async def _request(self, subject: str, data: bytes, headers: dict[str, str] | None) -> dict[str, Any]:
        try:
            answer = await self.link.request(subject, data, self._timeout, headers)
            found = msgspec.json.decode(answer, type=dict[str, Any])
        except LinkError as error:
            said = "is JetStream switched on?" if error.kind == "nobody" else str(error)
            raise BucketError(f"the bucket {self.name} cannot be used: {said}") from error
        except msgspec.MsgspecError as error:
            raise BucketError(f"the bucket {self.name} answered what is no JSON object") from error
        if "error" in found:
            raise _ApiError(self.name, found["error"])
        return found


class _ApiError(BucketError):
    def __init__(self, bucket: str, error: dict[str, Any]) -> None:
        super().__init__(f"the bucket {bucket} cannot be used: {error.get('description', error)}")
        self.status = int(error.get("code", 0))
        self.code = int(error.get("err_code", 0))


class _StoredMessage(msgspec.Struct):
    seq: int
    data: bytes = b""
    hdrs: bytes = b""


def _entry_of(message: dict[str, Any]) -> Entry:
    stored = msgspec.convert(message, _StoredMessage)
    deleted = any(
        name.strip() == _OPERATION for name, _, _ in (line.partition(":") for line in _lines(stored.hdrs))
    )
    return Entry(stored.seq, None if deleted else stored.data)


def _lines(headers: bytes) -> list[str]:
    return headers.decode("utf-8", "replace").split("\r\n")


class Watch:
    """One watch of a bucket. Made, started, and closed once; a new one begins from the start.

    Args:
        bucket: what is watched.
        on_entry: is told what is there, and what changes.
    """

    def __init__(self, bucket: Bucket, on_entry: OnEntry) -> None:
        self._bucket = bucket
        self._on_entry = on_entry
        self._subject = f"_INBOX.{new_id()}"
        self._delivered = 0
        self._heard = asyncio.Event()
        self.complete = asyncio.Event()
        """All that was there has been told."""
        self.broken = ""
        """Why it goes on no more; empty while it does."""

    async def start(self) -> None:
        """Begin.

        Raises:
            BucketError: the bucket cannot be watched.
        """
        bucket = self._bucket
        await bucket.link.subscribe(self._subject, self._on_message)
        made = await bucket.ask(
            f"CONSUMER.CREATE.{bucket.stream}",
            {
                "stream_name": bucket.stream,
                "config": {
                    "deliver_subject": self._subject,
                    "deliver_policy": "last_per_subject",
                    "filter_subject": f"{bucket.prefix}>",
                    "ack_policy": "none",
                    "max_deliver": 1,
                    "replay_policy": "instant",
                    "flow_control": True,
                    "idle_heartbeat": round(_HEARTBEAT * 1e9),
                    "mem_storage": True,
                    "num_replicas": 1,
                },
            },
        )
        if not made.get("num_pending") and not made.get("delivered", {}).get("consumer_seq"):
            self.complete.set()

    async def run(self) -> None:
        """Wait until it breaks; :attr:`broken` says why."""
        while not self.broken:
            self._heard.clear()
            try:
                async with asyncio.timeout(_MISSED * _HEARTBEAT):
                    await self._heard.wait()
            except TimeoutError:
                self._break("nothing is heard of it")

    async def close(self) -> None:
        """End it."""
        self._break("it was closed")
        await self._bucket.link.unsubscribe(self._subject)

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        self._heard.set()

    async def _on_message(self, message: Msg) -> None:
        if self.broken:
            return
        headers = message.headers or {}
        self._heard.set()
        if "Status" in headers:
            await self._on_status(message, headers)
            return
        # $JS.ACK.STREAM.CONSUMER.DELIVERIES.REVISION.NUMBER.TIME.PENDING, or with a domain and an account
        # after $JS.ACK, and more at the end.
        tokens = message.reply.split(".")
        at = 4 if len(tokens) == 9 else 6
        try:
            revision, number, pending = int(tokens[at + 1]), int(tokens[at + 2]), int(tokens[at + 4])
        except (IndexError, ValueError):
            self._break(f"it was sent {message.subject} with {message.reply!r}")
            return
        if number != self._delivered + 1:
            self._break("something was lost on the way")
            return
        self._delivered = number
        deleted = _OPERATION in headers
        key = message.subject.removeprefix(self._bucket.prefix)
        self._on_entry(key, revision, None if deleted else message.data)
        if pending == 0:
            self.complete.set()

    async def _on_status(self, message: Msg, headers: dict[str, str]) -> None:
        # Flow control: the server sends on when it hears that what it sent so far has been dealt with.
        proceed = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if proceed:
            with contextlib.suppress(LinkError):
                await self._bucket.link.publish(proceed, b"")
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) != self._delivered:
            self._break("something was lost on the way")

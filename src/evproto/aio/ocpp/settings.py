"""What bounds and times endpoints. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import dataclasses
from typing import Literal

from evproto.aio.ocpp.link import Engine, LinkOptions

__all__ = ["Duplicates", "PeerSettings", "ServerSettings", "StationSettings"]

Duplicates = Literal["newest", "alive", "oldest"]


@dataclasses.dataclass(frozen=True, slots=True)
class PeerSettings:
    """What bounds one connection. Times in seconds."""

    call_timeout: float = 30.0
    """How long a call waits for its answer, unless it says otherwise."""
    max_queued: int = 64
    """Calls to the peer that wait for their turn; the next one raises QueueFullError."""
    max_incoming: int = 64
    """Calls of the peer that wait for their turn; the next one is answered with a CALLERROR."""
    write_timeout: float = 30.0
    """How long a peer may leave what is sent to it unread before its connection is cut."""
    rate: float | None = None
    """Messages a second that are taken from the peer in the long run; more are left in its socket."""
    burst: int = 200
    """Messages above the rate that are taken at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server treats connections. Times in seconds."""

    peer: PeerSettings = dataclasses.field(default_factory=PeerSettings)
    link: LinkOptions = dataclasses.field(default_factory=LinkOptions)
    ping_interval: float | None = 30.0
    """A station that was silent for so long is pinged; None: never."""
    ping_timeout: float = 20.0
    """A station that is silent for so long after that is taken for lost."""
    duplicates: Duplicates = "newest"
    """When an identity connects that is connected: ``newest`` lets it in and ends the old connection,
    ``alive`` does so only if the old one does not answer a ping, ``oldest`` refuses with 409."""
    probe_timeout: float = 2.0
    """How long the old connection may take to answer that ping."""
    engine: Engine = "auto"
    """What carries connections without compression."""


@dataclasses.dataclass(frozen=True, slots=True)
class StationSettings:
    """How a station behaves. Times in seconds; names in brackets are the documents'."""

    peer: PeerSettings = dataclasses.field(default_factory=PeerSettings)
    link: LinkOptions = dataclasses.field(default_factory=LinkOptions)
    wait_minimum: float = 10.0
    """[RetryBackOffWaitMinimum]"""
    random_range: float = 15.0
    """[RetryBackOffRandomRange]"""
    repeat_times: int = 5
    """[RetryBackOffRepeatTimes]"""
    ping_interval: float | None = 60.0
    """[WebSocketPingInterval] A server that was silent for so long is pinged; None: never."""
    ping_timeout: float = 20.0
    """A server that is silent for so long after that is taken for lost."""
    boot_retry: float = 60.0
    """Between two BootNotifications where the server names no interval."""
    heartbeats: bool = True
    """Whether heartbeats are sent, in the interval the server wants, when nothing else was."""
    attempts: int = 3
    """[TransactionMessageAttempts, MessageAttempts] How often a message that must arrive is tried."""
    attempt_interval: float = 60.0
    """[TransactionMessageRetryInterval, MessageAttemptInterval] Times the attempts made so far."""
    capacity: int = 10_000
    """Messages kept while offline before meter values and updates are thinned out."""

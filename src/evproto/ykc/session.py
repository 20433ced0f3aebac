"""Sessions: who may say what when, on one YKC connection. No sockets, no clock.

A session is fed bytes and times, and drained of events and bytes to send::

    session = PlatformSession(settings=PlatformSettings(tariff=tariff), now=now)
    session.receive(data, now)              # bytes, however they are cut
    if session.deadline <= now:
        session.tick(now)
    events, frames = session.take()         # what has happened; what to send, one frame each
    session.lost("reset by peer", now)      # the connection is gone

``now`` is monotonic, in seconds. ``receive``, ``tick`` and ``lost`` never
raise, whatever the peer sends; ``request``, ``send``, ``reply`` and
``accept_login`` raise for what the application does wrong.
"""

from evproto.ykc.pairing import FOLLOW_UP_TYPES
from evproto.ykc.session_events import (
    Answered,
    BillingModelReceived,
    Cancelled,
    CloseReason,
    Closing,
    ConnectionLost,
    Damaged,
    Event,
    HeartbeatMissed,
    LoggedIn,
    LoginReceived,
    MessageReceived,
    NotServed,
    Outcome,
    RecordEnded,
    RequestEnded,
    TimedOut,
    TimeSyncDue,
    Traced,
)
from evproto.ykc.session_pile import PileSession, PileSettings
from evproto.ykc.session_platform import PlatformSession, PlatformSettings

__all__ = [
    "FOLLOW_UP_TYPES",
    "Answered",
    "BillingModelReceived",
    "Cancelled",
    "CloseReason",
    "Closing",
    "ConnectionLost",
    "Damaged",
    "Event",
    "HeartbeatMissed",
    "LoggedIn",
    "LoginReceived",
    "MessageReceived",
    "NotServed",
    "Outcome",
    "PileSession",
    "PileSettings",
    "PlatformSession",
    "PlatformSettings",
    "RecordEnded",
    "RequestEnded",
    "TimeSyncDue",
    "TimedOut",
    "Traced",
]

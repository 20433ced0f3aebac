"""What the server remembers of each pile, and how it is shown."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict, deque
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from evproto.aio.ykc import ConnectedPile
from evproto.errors import DecodeError
from evproto.gateway.admission import ChargerSettings
from evproto.gateway.events import moment
from evproto.messages import Message
from evproto.ykc.codec import Codec
from evproto.ykc.messages import LoginRequest, RealtimeDataReport
from evproto.ykc.plain import to_plain
from evproto.ykc.redact import hidden_in, hidden_in_bad, masked_hex, redact_plain
from evproto.ykc.session import MessageReceived

__all__ = ["GunView", "KnownPile", "KnownPiles", "PileView", "show_frame"]

_NEWEST: Final = Codec("1.7")
_OPEN_REQUESTS: Final = 64


class GunView(msgspec.Struct, kw_only=True):
    """A gun of a pile."""

    gun_no: Annotated[str, Meta(description="its number, two digits")]
    last_heartbeat: Annotated[dt.datetime | None, Meta(description="when its last heartbeat came")] = None
    realtime_at: Annotated[dt.datetime | None, Meta(description="when its last real-time data came")] = None
    realtime: Annotated[
        dict[str, Any] | None, Meta(description="the fields of its last real-time data (0x13)")
    ] = None


class PileView(msgspec.Struct, kw_only=True):
    """A pile, as the API shows it."""

    id: Annotated[str, Meta(description="14 digits")]
    protocol: str = "ykc"
    online: Annotated[bool, Meta(description="whether it is connected and logged in")] = False
    state: Annotated[
        Literal["online", "offline", "waiting"],
        Meta(description="waiting: its login waits for a login_response"),
    ] = "offline"
    version: Annotated[str, Meta(description="the protocol version it is spoken to in")] = ""
    address: Annotated[str, Meta(description="where it connects, or connected, from")] = ""
    connected: Annotated[dt.datetime | None, Meta(description="since when it is connected")] = None
    last_seen: Annotated[dt.datetime | None, Meta(description="when bytes came from it last")] = None
    offline_reason: Annotated[str, Meta(description="why it is offline")] = ""
    login: Annotated[dict[str, Any] | None, Meta(description="the fields of its last login (0x01)")] = None
    guns: Annotated[list[GunView], Meta(description="the guns that have been heard of")] = []
    unanswered: Annotated[
        list[str], Meta(description="its requests that wait for an answer from the API, by name")
    ] = []


class KnownPile:
    """A pile that is or was connected."""

    __slots__ = (
        "address",
        "beats",
        "codec",
        "confirmations",
        "confirming",
        "connected",
        "data",
        "frames",
        "last_seen",
        "login",
        "offline_reason",
        "pile",
        "pile_id",
        "requests",
        "settings",
        "version",
    )

    def __init__(self, pile_id: str, frames_kept: int) -> None:
        self.pile_id = pile_id
        self.pile: ConnectedPile | None = None
        """Its connection: logged in, or with a login that waits."""
        self.settings = ChargerSettings()
        """What is set for it alone."""
        self.codec: Codec = _NEWEST
        self.version = ""
        self.login: LoginRequest | None = None
        self.address = ""
        self.connected: float | None = None
        self.last_seen: float | None = None
        self.offline_reason = ""
        self.data: dict[str, tuple[float, RealtimeDataReport]] = {}
        self.beats: dict[str, float] = {}
        self.frames: deque[tuple[float, bool, bytes]] = deque(maxlen=frames_kept)
        """Time, whether it came from the pile, bytes."""
        self.requests: OrderedDict[tuple[int, str], MessageReceived] = OrderedDict()
        """Requests that nobody has answered yet, by frame type and subject."""
        self.confirmations: OrderedDict[tuple[str, str], Message] = OrderedDict()
        """How records were confirmed, by transaction number and digest, for when they are repeated."""
        self.confirming: dict[str, Any] = {}
        """Records that are confirmed when they are delivered, by transaction number."""

    @property
    def online(self) -> bool:
        """Whether it is connected and logged in."""
        return self.pile is not None and self.pile.online

    @property
    def waiting(self) -> bool:
        """Whether its login waits to be judged."""
        return self.pile is not None and self.pile.waiting is not None

    def came(self, pile: ConnectedPile) -> None:
        """It has a connection; what was asked on an older one cannot be answered any more."""
        if self.pile is not pile:
            self.requests.clear()
        self.pile = pile
        self.codec = pile.codec
        self.version = pile.version
        self.address = pile.address
        self.connected = pile.connected_at

    def asked(self, received: MessageReceived, subject: str) -> None:
        """It waits for an answer."""
        key = (received.frame_type, subject)
        self.requests.pop(key, None)
        self.requests[key] = received
        while len(self.requests) > _OPEN_REQUESTS:
            self.requests.popitem(last=False)

    def open_request(self, frame_type: int, subject: str) -> tuple[tuple[int, str], MessageReceived] | None:
        """The newest request of a type about a subject; of any subject if it is not known."""
        found = self.requests.get((frame_type, subject))
        if found is not None:
            return (frame_type, subject), found
        for key in reversed(self.requests):
            if key[0] == frame_type and (not subject or not key[1]):
                return key, self.requests[key]
        return None

    def view(self) -> PileView:
        """What is shown of it."""
        pile = self.pile
        if pile is not None:
            self.last_seen = pile.last_seen
            self.beats.update(pile.last_heartbeats)
        guns = [
            GunView(
                gun_no=gun_no,
                last_heartbeat=None if gun_no not in self.beats else moment(self.beats[gun_no]),
                realtime_at=None if gun_no not in self.data else moment(self.data[gun_no][0]),
                realtime=None
                if gun_no not in self.data
                else to_plain(self.data[gun_no][1], self.codec)["fields"],
            )
            for gun_no in sorted({*self.beats, *self.data})
        ]
        online = self.online
        return PileView(
            id=self.pile_id,
            online=online,
            state="online" if online else "waiting" if self.waiting else "offline",
            version=self.version,
            address=self.address,
            connected=None if pile is None or self.connected is None else moment(self.connected),
            last_seen=None if self.last_seen is None else moment(self.last_seen),
            offline_reason="" if online else self.offline_reason,
            login=None if self.login is None else to_plain(self.login, _NEWEST)["fields"],
            guns=guns,
            unanswered=[_name(self.codec, kind) for kind, _ in self.requests],
        )


class KnownPiles:
    """All piles that have been here; those that are offline longest are forgotten beyond ``limit``."""

    def __init__(self, *, limit: int, frames_kept: int) -> None:
        self._limit = limit
        self._frames_kept = frames_kept
        self._piles: dict[str, KnownPile] = {}

    def __len__(self) -> int:
        return len(self._piles)

    def get(self, pile_id: str) -> KnownPile | None:
        """A pile that has been here."""
        return self._piles.get(pile_id)

    def ids(self) -> list[str]:
        """Their numbers, sorted."""
        return sorted(self._piles)

    def meet(self, pile_id: str) -> KnownPile:
        """A pile that is here now."""
        found = self._piles.pop(pile_id, None)
        if found is None:
            found = KnownPile(pile_id, self._frames_kept)
            if len(self._piles) >= self._limit:
                self._forget()
        # At the end: the first are those that have been away longest.
        self._piles[pile_id] = found
        return found

    def online(self) -> int:
        """How many are online."""
        return sum(1 for known in self._piles.values() if known.online)

    def _forget(self) -> None:
        for pile_id, known in self._piles.items():
            if not known.online and not known.waiting:
                del self._piles[pile_id]
                return


def show_frame(time: float, received: bool, raw: bytes, codec: Codec, *, reveal: bool) -> dict[str, Any]:
    """A frame, or bytes that are none, as the API shows it; redacted unless ``reveal``."""
    out: dict[str, Any] = {
        "time": moment(time),
        "direction": "from_charger" if received else "to_charger",
    }
    try:
        frame = codec.decode(raw)
    except DecodeError as error:
        hidden = frozenset() if reveal else hidden_in_bad(raw, codec, skipped=False)
        return {
            **out,
            "code": "",
            "name": "",
            "sequence": None,
            "fields": None,
            "raw": masked_hex(raw, hidden),
            "error": f"{type(error).__name__}: {error}" if reveal else type(error).__name__,
        }
    plain = to_plain(frame, codec)
    positions: frozenset[int] = frozenset()
    if not reveal:
        what = hidden_in(frame, raw, codec)
        plain, positions = redact_plain(plain, what), what.positions
    return {
        **out,
        "code": plain["frame_type"],
        "name": plain["name"],
        "sequence": frame.sequence,
        "fields": plain["fields"],
        "raw": masked_hex(raw, positions),
        "error": "",
    }


def _name(codec: Codec, frame_type: int) -> str:
    layouts = codec.layouts.get(frame_type)
    return layouts[0].name if layouts else f"0x{frame_type:02X}"

"""The platform's end of a connection to a pile."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from evproto.errors import DecodeError, EncodeError, EvprotoError, SessionClosedError, SessionError
from evproto.messages import Message
from evproto.wire.framing import Piece
from evproto.wire.table import Direction
from evproto.ykc.codec import VERSIONS, Codec
from evproto.ykc.enums import BillingModelVerificationResult, GunHealth, LoginResult
from evproto.ykc.messages import (
    BillingModelRequest,
    BillingModelVerificationRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    LoginRequest,
    UpdateRequest,
)
from evproto.ykc.session_events import (
    CloseReason,
    HeartbeatMissed,
    LoggedIn,
    LoginReceived,
    MessageReceived,
    TimeSyncDue,
)
from evproto.ykc.session_link import Link, SequenceOrder
from evproto.ykc.tariff import Tariff
from evproto.ykc.timings import (
    HEARTBEAT_INTERVAL,
    HEARTBEATS_MISSED,
    START_CONFIRMATION,
    TIME_SYNC_INTERVAL,
)
from evproto.ykc.versions import login_version, version_codec

__all__ = ["PlatformSession", "PlatformSettings"]

_NEVER: Final = math.inf
_ANY_GUN: Final = ""
_START_TYPES: Final = (0x34, 0xA4)
_UPDATE_MARGIN: Final = 120.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """How a platform treats its piles. Times are in seconds."""

    login_timeout: float = 30.0
    """From the connection until the login must be accepted."""
    heartbeat_interval: float = HEARTBEAT_INTERVAL
    heartbeats_missed: int = HEARTBEATS_MISSED
    """How many in a row make the link count as lost."""
    heartbeat_grace: float = 5.0
    """How late the last of these may be: mobile networks are not punctual."""
    liveness: Literal["heartbeat", "traffic", "none"] = "heartbeat"
    """What proves that a pile is there: heartbeats, as the document has it; any
    frame; or nothing is asked for."""
    answer_heartbeats: bool = True
    """Whether 0x04 is sent by the session."""
    tariff: Tariff | None = None
    """The billing model of piles that are not given their own; with one, 0x05 and
    0x09 are answered by the session."""
    confirm_any_billing_model: bool = False
    """Whether 0x05 is answered with "the same", whatever model the pile has."""
    sync_time: bool = True
    """Whether ``TimeSyncDue`` comes after a login and then daily."""
    time_sync_interval: float = TIME_SYNC_INTERVAL
    request_timeout: float = 15.0
    """How long a request waits for its answer, unless ``timeouts`` or the call says."""
    timeouts: Mapping[int, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(_START_TYPES, float(START_CONFIRMATION))
    )
    """The same by frame type of the request. 0x94 waits for as long as it allows
    the pile for the download, and two minutes."""
    max_requests: int = 64
    """How many requests may wait for their answers at a time."""
    tolerant_pairing: bool = True
    """Whether an answer with a wrong sequence number counts, if it is about the
    same pile, gun and transaction as the one request it can be meant for."""
    serve_other_piles: bool = False
    """Whether messages that name another pile than the login are served
    automatically too. They are events either way, with a warning."""
    max_held: int = 32
    """Frames kept while a login is being judged, to be served when it is accepted."""
    sequence_order: SequenceOrder = "little"
    """Byte order of numbers counted here; those of answers go back as they came."""
    half_frame_timeout: float = 5.0
    """How long the rest of a frame may take before its beginning is given up."""
    garbage_limit: int = 65536
    """Bytes that belong to no frame, without a frame between, until the connection is closed."""


class PlatformSession(Link):
    """One pile's connection, seen from the platform.

    Bytes and times go in, events and bytes come out; see docs/servers.md for
    the state table. Nothing is served before a login is accepted; the codec
    then follows the version that the login names, or ``codec_for``.

    Args:
        codec: decodes the login, and all that comes before it.
        settings: see :class:`PlatformSettings`.
        codec_for: the codec for a pile, by its login and the version found in
            it; None takes the codec of that version.
        heartbeat_for: how far apart a pile's heartbeats are, by its login, in
            seconds; where it says None, it is what the settings say.
        now: when the connection was made.

    A transaction record is never confirmed here: that is for the application
    to do with ``reply``, once the record is durable.
    """

    __slots__ = (
        "_beats",
        "_brisk",
        "_codec_for",
        "_heartbeat_deadline",
        "_heartbeat_for",
        "_heartbeat_interval",
        "_held",
        "_login_deadline",
        "_missing",
        "_settings",
        "_sync_at",
        "_waiting",
        "gun_health",
        "login",
        "pile_id",
        "quiet_heartbeats",
        "tariff",
        "version",
    )

    sends = Direction.PLATFORM_TO_PILE

    def __init__(
        self,
        codec: Codec | None = None,
        settings: PlatformSettings | None = None,
        *,
        codec_for: Callable[[LoginRequest, str], Codec] | None = None,
        heartbeat_for: Callable[[LoginRequest], float | None] | None = None,
        now: float = 0.0,
    ) -> None:
        settings = settings or _DEFAULTS
        super().__init__(
            codec or version_codec(list(VERSIONS)[-1]),
            now=now,
            tolerant=settings.tolerant_pairing,
            sequence_order=settings.sequence_order,
            half_frame_timeout=settings.half_frame_timeout,
            garbage_limit=settings.garbage_limit,
            max_requests=settings.max_requests,
            request_timeout=settings.request_timeout,
            timeouts=settings.timeouts,
        )
        self._settings = settings
        self._codec_for = codec_for
        self._heartbeat_for = heartbeat_for
        self._heartbeat_interval = settings.heartbeat_interval
        self._waiting: LoginReceived | None = None
        self._held: list[MessageReceived] | None = None
        self._beats: dict[str, float] = {}
        self._missing: set[str] | None = None
        self._login_deadline = now + settings.login_timeout
        self._heartbeat_deadline = _NEVER
        self._sync_at = _NEVER
        self.login: LoginRequest | None = None
        """The accepted login."""
        self.pile_id = ""
        """Who logged in; empty before."""
        self.version = ""
        """The protocol version of the accepted login."""
        self.gun_health: dict[str, GunHealth] = {}
        """What the last heartbeat of each gun said, by gun number."""
        self.quiet_heartbeats = False
        """Whether a heartbeat that the session has answered is no event."""
        self._brisk = False
        self.tariff: Tariff | None = settings.tariff
        """The billing model of this pile."""
        self.deadline = self._login_deadline

    @property
    def online(self) -> bool:
        """Whether a login is accepted and the session goes on."""
        return self.login is not None and not self._closed

    @property
    def waiting(self) -> LoginReceived | None:
        """The login that waits to be accepted or refused."""
        return self._waiting

    @property
    def last_heartbeats(self) -> Mapping[str, float]:
        """When the last heartbeat of each gun came, by gun number."""
        return {gun: when for gun, when in self._beats.items() if gun != _ANY_GUN}

    def accept_login(
        self,
        now: float,
        codec: Codec | None = None,
        tariff: Tariff | None = None,
        response: Message | None = None,
    ) -> None:
        """The pile is who it says: answer 0x02, and serve it from now on.

        ``codec`` and ``tariff`` are for this pile alone; without them it is
        the codec of its version (or of ``codec_for``) and the settings' tariff.
        ``response`` is the 0x02 itself, for dialects that say more in it.

        Raises:
            SessionError: no login waits; or the dialect's 0x02 has fields that
                only the application can fill.
            EncodeError: the wire cannot carry the response.
        """
        waiting = self._login_that_waits()
        login, version = waiting.login, waiting.version
        if codec is None:
            if self._codec_for is not None:
                codec = self._codec_for(login, version)
            else:
                codec = version_codec(version, self._codec)
        before = self._codec
        self._use(codec)
        try:
            self._put_login(waiting, LoginResult.SUCCESS, response, now)
        except EvprotoError:
            self._use(before)
            raise
        self._waiting = None
        if self._heartbeat_for is not None:
            self._heartbeat_interval = self._heartbeat_for(login) or self._settings.heartbeat_interval
        if tariff is not None:
            self.tariff = tariff
        self.login, self.pile_id, self.version = login, login.pile_id, version
        self._login_deadline = _NEVER
        self._brisk = self._settings.answer_heartbeats and codec.messages.get(0x04) is HeartbeatResponse
        self._beats = {_ANY_GUN: now}
        self._missing = None
        self._events.append(LoggedIn(login=login, version=version, time=now, again=waiting.again))
        if self._settings.sync_time:
            self._events.append(TimeSyncDue())
            self._sync_at = now + self._settings.time_sync_interval
        self._heartbeat_deadline = self._next_miss()
        self.deadline = min(
            self._half_deadline, self._pairing.deadline, self._heartbeat_deadline, self._sync_at
        )
        held, self._held = self._held, None
        for received in held or ():
            self._serve(received, now)

    def refuse_login(self, now: float, response: Message | None = None) -> None:
        """Tell the pile with 0x02 that it may not log in; ``Closing`` follows.

        Raises:
            As :meth:`accept_login`.
        """
        waiting = self._login_that_waits()
        self._put_login(waiting, LoginResult.FAILURE, response, now)
        self._waiting = None
        for received in self._held or ():
            self._not_served(received, "the login was refused")
        self._held = None
        self._close(CloseReason.LOGIN_REFUSED)

    def lost(self, reason: str, now: float) -> None:
        for received in self._held or ():
            self._not_served(received, "the connection was lost before the login was accepted")
        self._held = self._waiting = None
        super().lost(reason, now)

    def _login_that_waits(self) -> LoginReceived:
        if self._waiting is None or self._closed:
            raise SessionError("no login waits to be accepted or refused")
        return self._waiting

    def _put_login(
        self, waiting: LoginReceived, result: LoginResult, response: Message | None, now: float
    ) -> None:
        if response is None:
            response = self._vocabulary.make(0x02, pile_id=waiting.login.pile_id, result=result)
        if response is None:
            raise SessionError("the dialect's 0x02 is not of pile_id and result alone: give it")
        self._put(response, waiting.frame.sequence, now)

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()
        if self.login is None:
            raise SessionClosedError("the pile has not logged in")

    def _patience(self, message: Message) -> float:
        if isinstance(message, UpdateRequest) and message.frame_type not in self._timeouts:
            return message.download_timeout * 60.0 + _UPDATE_MARGIN
        return super()._patience(message)

    def _pieces(self, pieces: list[Piece | DecodeError], now: float) -> None:
        # Most frames there are, by far, are heartbeats, and most come alone. What
        # this does for one is no more and no less than what the long way does.
        if len(pieces) == 1 and self._brisk:
            piece = pieces[0]
            if piece.__class__ is Piece and not self.traced and not self._closed:
                try:
                    frame = self._unpack(piece)
                except DecodeError:
                    super()._pieces(pieces, now)
                    return
                message = frame.message
                if message.__class__ is HeartbeatRequest and message.pile_id == self.pile_id:
                    gun_no = message.gun_no
                    self._garbage = 0
                    self._beats[gun_no] = now
                    self.gun_health[gun_no] = message.gun_health
                    if self._missing is not None:
                        self._missing.discard(gun_no)
                    raw = self._encode(HeartbeatResponse(pile_id=self.pile_id, gun_no=gun_no), frame.sequence)
                    self._frames.append(raw)
                    if self.tap is not None:
                        self.tap(True, piece.data, now)
                        self.tap(False, raw, now)
                    if not self.quiet_heartbeats:
                        self._events.append(
                            MessageReceived(frame=frame, raw=piece.data, time=now, served=True)
                        )
                    return
                self._frame(frame, piece, None, now)
                return
        super()._pieces(pieces, now)

    def _message(self, received: MessageReceived, now: float) -> None:
        if self.login is not None:
            self._serve(received, now)
            return
        if received.frame_type == LoginRequest.frame_type:
            self._login(received, now)
        elif self._waiting is not None and len(self._held or ()) < self._settings.max_held:
            # What a hasty pile sends behind its login is served once it is accepted.
            self._held = [*(self._held or ()), received]
        else:
            self._not_served(received, "the pile has not logged in")

    def _serve(self, received: MessageReceived, now: float) -> None:
        """A frame of a pile that is logged in."""
        if self._closed:
            return
        frame = received.frame
        message = frame.message
        kind = message.frame_type
        if kind == LoginRequest.frame_type:
            self._login(received, now)
            return
        if self._vocabulary.directions.get(kind) is Direction.PLATFORM_TO_PILE:
            self._not_served(received, f"0x{kind:02X} is the platform's to send")
            return
        if not self._pairing.idle:
            received = self._paired(received, now)
        named = getattr(message, "pile_id", self.pile_id)
        if named != self.pile_id:
            received = _warned(received, f"it names pile {named}, {self.pile_id} has logged in")
            if not self._settings.serve_other_piles:
                self._events.append(received)
                return
        try:
            answered = isinstance(message, Message) and self._answer(received, now)
        except (ValueError, EncodeError) as error:
            received = _warned(received, f"the billing model cannot be sent: {error}")
            answered = False
        if answered:
            received = _served(received)
            if self.quiet_heartbeats and kind == HeartbeatRequest.frame_type:
                return
        self._events.append(received)

    def _answer(self, received: MessageReceived, now: float) -> bool:
        """Answer what the settings want answered; whether that was done."""
        message = received.frame.message
        settings = self._settings
        kind = message.frame_type
        reply: Message | None = None
        if kind == HeartbeatRequest.frame_type:
            gun_no = getattr(message, "gun_no", "")
            self._beats[gun_no] = received.time
            health = getattr(message, "gun_health", None)
            if health is not None:
                self.gun_health[gun_no] = health
            if self._missing is not None:
                self._missing.discard(gun_no)
            if settings.answer_heartbeats:
                reply = self._vocabulary.make(0x04, pile_id=getattr(message, "pile_id", ""), gun_no=gun_no)
        elif kind == BillingModelVerificationRequest.frame_type:
            number = getattr(message, "billing_model_no", None)
            if number is not None and (self.tariff is not None or settings.confirm_any_billing_model):
                same = settings.confirm_any_billing_model or (
                    self.tariff is not None and self.tariff.billing_model_no == number
                )
                reply = self._vocabulary.make(
                    0x06,
                    pile_id=getattr(message, "pile_id", ""),
                    billing_model_no=number,
                    result=BillingModelVerificationResult.SAME
                    if same
                    else BillingModelVerificationResult.DIFFERENT,
                )
        elif kind == BillingModelRequest.frame_type and self.tariff is not None:
            reply = self.tariff.response(getattr(message, "pile_id", ""))
        if reply is None:
            return False
        self._put(reply, received.frame.sequence, now)
        return True

    def _login(self, received: MessageReceived, now: float) -> None:
        # A dialect's login is of another class with, at least, these two.
        login: Any = received.frame.message
        if not (hasattr(login, "pile_id") and hasattr(login, "protocol_version")):
            self._not_served(received, "its login cannot be read")
            return
        version, warning = login_version(login)
        known = self.pile_id or (self._waiting.login.pile_id if self._waiting is not None else "")
        if known and login.pile_id != known:
            self._not_served(received, f"pile {known} has this connection")
            self._close(CloseReason.IDENTITY)
            return
        repeated = self._waiting is not None
        self._waiting = LoginReceived(
            login=login,
            frame=received.frame,
            raw=received.raw,
            time=now,
            version=version,
            again=self.login is not None,
            warnings=(warning,) if warning else (),
        )
        if not repeated:
            self._events.append(self._waiting)

    def _tick(self, now: float) -> None:
        if self._login_deadline <= now:
            self._waiting = None
            for received in self._held or ():
                self._not_served(received, "the login was not accepted in time")
            self._held = None
            self._close(CloseReason.LOGIN_TIMEOUT)
            return
        if self._heartbeat_deadline <= now:
            self._miss(now)
        if self._sync_at <= now and not self._closed:
            self._sync_at = now + self._settings.time_sync_interval
            self._events.append(TimeSyncDue())

    def _due(self) -> float:
        return min(self._login_deadline, self._heartbeat_deadline, self._sync_at)

    @property
    def _patient(self) -> float:
        settings = self._settings
        return self._heartbeat_interval * settings.heartbeats_missed + settings.heartbeat_grace

    def _next_miss(self) -> float:
        if self._settings.liveness == "none" or self.login is None:
            return _NEVER
        missing = self._missing or ()
        oldest = min((when for gun, when in self._beats.items() if gun not in missing), default=_NEVER)
        latest = max(self._beats.values(), default=_NEVER)
        if self._settings.liveness == "traffic":
            latest = max(latest, self.last_received)
        # Guns that are missing already are waited for no more; the link is.
        return min(oldest, latest) + self._patient

    def _miss(self, now: float) -> None:
        patient = self._patient
        beats = self._beats
        if len(beats) > 1:
            # A gun is known by its heartbeats; until the first, any gun will do.
            beats.pop(_ANY_GUN, None)
        missing = self._missing or set()
        for gun, when in beats.items():
            if when + patient <= now and gun not in missing:
                missing.add(gun)
                self._events.append(HeartbeatMissed(gun_no=gun, silent_for=now - when))
        self._missing = missing or None
        latest = max(beats.values())
        if self._settings.liveness == "traffic":
            latest = max(latest, self.last_received)
        if latest + patient <= now:
            self._close(CloseReason.HEARTBEAT)
            self._heartbeat_deadline = _NEVER
            return
        self._heartbeat_deadline = self._next_miss()


_DEFAULTS: Final = PlatformSettings()


def _warned(received: MessageReceived, warning: str) -> MessageReceived:
    return msgspec.structs.replace(received, warnings=(*received.warnings, warning))


def _served(received: MessageReceived) -> MessageReceived:
    return msgspec.structs.replace(received, served=True)

"""The pile's end of a connection to its platform."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from evproto.errors import EncodeError, SessionClosedError
from evproto.messages import Message, UnknownMessage
from evproto.wire.table import Direction
from evproto.ykc.codec import Codec
from evproto.ykc.enums import BillingModelVerificationResult, GunHealth, LoginResult
from evproto.ykc.messages import (
    BillingModelRequest,
    BillingModelResponse,
    BillingModelSettingRequest,
    BillingModelVerificationRequest,
    BillingModelVerificationResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    LoginRequest,
    LoginResponse,
    TransactionRecordResponse,
)
from evproto.ykc.records import Uploads
from evproto.ykc.session_events import (
    BillingModelReceived,
    CloseReason,
    HeartbeatMissed,
    LoggedIn,
    MessageReceived,
    RecordEnded,
)
from evproto.ykc.session_link import Link, SequenceOrder
from evproto.ykc.timings import HEARTBEAT_INTERVAL, HEARTBEATS_MISSED
from evproto.ykc.versions import login_version, version_codec

__all__ = ["PileSession", "PileSettings"]

_NEVER: Final = math.inf
_NO_MODEL: Final = "0000"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PileSettings:
    """How a pile treats its platform. Times are in seconds."""

    login_timeout: float = 30.0
    """From the login until its answer."""
    heartbeat_interval: float = HEARTBEAT_INTERVAL
    heartbeats_missed: int = HEARTBEATS_MISSED
    """How many answers missing in a row make the link count as lost."""
    verify_billing_model: bool = True
    """Whether 0x05, and 0x09 where the models differ, are sent after the login."""
    billing_model_retry: float = 30.0
    """Until 0x05 or 0x09 is sent again if no answer comes: the document wants
    them sent until they succeed, and no interval is given."""
    request_timeout: float = 15.0
    timeouts: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """How long a request waits for its answer, by its frame type."""
    max_requests: int = 64
    tolerant_pairing: bool = True
    sequence_order: SequenceOrder = "little"
    half_frame_timeout: float = 5.0
    garbage_limit: int = 65536


class PileSession(Link):
    """One connection to the platform, seen from the pile.

    The login goes out at once; ``take`` has it. After it is accepted the
    session beats for every gun, asks about the billing model, and uploads the
    records in ``uploads`` by the document's rule. Commands of the platform are
    ``MessageReceived``, for the application to ``reply`` to.

    Args:
        login: what to log in with; its version is the version spoken.
        settings: see :class:`PileSettings`.
        codec: speaks something else than the built-in version, as a dialect.
        uploads: the records to upload; they outlive this connection.
        now: when the connection was made.
        traced: whether the login is to be a ``Traced`` event already.

    Raises:
        EncodeError: the wire cannot carry the login.
    """

    __slots__ = (
        "_answered",
        "_beat_at",
        "_billing",
        "_billing_at",
        "_login_deadline",
        "_missing",
        "_settings",
        "billing_model_no",
        "gun_health",
        "logged_in",
        "login",
        "uploads",
    )

    sends = Direction.PILE_TO_PLATFORM

    def __init__(
        self,
        login: LoginRequest,
        settings: PileSettings | None = None,
        *,
        codec: Codec | None = None,
        uploads: Uploads | None = None,
        billing_model_no: str = _NO_MODEL,
        now: float = 0.0,
        traced: bool = False,
    ) -> None:
        settings = settings or _DEFAULTS
        super().__init__(
            codec or version_codec(login_version(login)[0]),
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
        self.login = login
        self.logged_in = False
        """Whether the platform has accepted the login."""
        self.uploads = uploads if uploads is not None else Uploads()
        self.billing_model_no = billing_model_no
        """The pile's own billing model: four digits, zeros at first."""
        self.gun_health: dict[str, GunHealth] = {
            f"{gun:02d}": GunHealth.NORMAL for gun in range(1, login.gun_count + 1)
        }
        """What the heartbeats say, by gun number (two digits)."""
        self._answered: dict[str, float] = {}
        self._missing: set[str] = set()
        self._beat_at = _NEVER
        self._billing: type[Message] | None = None
        self._billing_at = _NEVER
        self._login_deadline = now + settings.login_timeout
        self.traced = traced
        self._put_next(login, now)
        self.deadline = self._login_deadline

    def upload(self, record: Message | UnknownMessage, now: float) -> int:
        """Upload a transaction record; return its token in ``uploads``.

        It goes out as soon as the pile is logged in, and again until 0x40
        comes; ``RecordEnded`` says how that went. It stays in ``uploads`` until
        it is confirmed.

        Raises:
            EncodeError: the wire cannot carry it.
        """
        self._encode(record, 0)  # what cannot be sent is the caller's to know, not a timer's
        token = self.uploads.add(record)
        if self.logged_in and not self._closed:
            self._upload(now)
        return token

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()
        if not self.logged_in:
            raise SessionClosedError("the platform has not accepted the login")

    def _message(self, received: MessageReceived, now: float) -> None:
        message: Any = received.frame.message
        kind = message.frame_type
        # Not what no layout fits or no cipher opens: there is nothing to read in it.
        readable = isinstance(message, Message)
        if self._vocabulary.directions.get(kind) is Direction.PILE_TO_PLATFORM:
            self._not_served(received, f"0x{kind:02X} is the pile's to send")
        elif not self.logged_in:
            if kind == LoginResponse.frame_type and readable:
                self._answer_to_login(message, received, now)
            else:
                self._not_served(received, "the platform has not accepted the login")
        elif kind == HeartbeatResponse.frame_type and readable:
            gun_no = getattr(message, "gun_no", None)
            if gun_no in self._answered:
                self._answered[gun_no] = now
                self._missing.discard(gun_no)
            self._events.append(received)
        else:
            if not self._pairing.idle:
                received = self._paired(received, now)
            self._events.append(received)
            if readable:
                self._note(message, now)

    def _answer_to_login(self, message: LoginResponse, received: MessageReceived, now: float) -> None:
        self._login_deadline = _NEVER
        self._events.append(received)
        if getattr(message, "result", LoginResult.SUCCESS) != LoginResult.SUCCESS:
            self._close(CloseReason.LOGIN_REFUSED)
            return
        self.logged_in = True
        self._events.append(LoggedIn(login=self.login, version=login_version(self.login)[0], time=now))
        self._answered = dict.fromkeys(self.gun_health, now)
        # What was kept while offline goes first (section 5.1).
        self.uploads.renew()
        self._upload(now)
        self._beat(now)
        if self._settings.verify_billing_model:
            self._billing = BillingModelVerificationRequest
            self._ask_for_billing_model(now)
        self.deadline = min(self.deadline, self._due())

    def _note(self, message: Any, now: float) -> None:
        """What a message of the platform means to the session itself."""
        kind = message.frame_type
        if kind == TransactionRecordResponse.frame_type:
            for upload in self.uploads.confirm(getattr(message, "transaction_no", "")):
                self._events.append(
                    RecordEnded(
                        token=upload.token, record=upload.record, sent=upload.sent, confirmation=message
                    )
                )
        elif kind == BillingModelVerificationResponse.frame_type and self._billing is not None:
            if getattr(message, "result", None) == BillingModelVerificationResult.SAME:
                self._billing, self._billing_at = None, _NEVER
                self._events.append(BillingModelReceived(model=None))
            else:
                self._billing = BillingModelRequest
                self._ask_for_billing_model(now)
        elif kind == BillingModelResponse.frame_type:
            self._billing, self._billing_at = None, _NEVER
            self.billing_model_no = getattr(message, "billing_model_no", self.billing_model_no)
            self._events.append(BillingModelReceived(model=message))
        elif kind == BillingModelSettingRequest.frame_type:
            self.billing_model_no = getattr(message, "billing_model_no", self.billing_model_no)

    def _tick(self, now: float) -> None:
        if self._login_deadline <= now:
            self._close(CloseReason.LOGIN_TIMEOUT)
            return
        if not self.logged_in:
            return
        if self._beat_at <= now:
            self._miss(now)
            if self._closed:
                return
            self._beat(now)
        if self._billing_at <= now:
            self._ask_for_billing_model(now)
        self._upload(now)

    def _due(self) -> float:
        if not self.logged_in:
            return self._login_deadline
        return min(self._beat_at, self._billing_at, self.uploads.deadline)

    def _beat(self, now: float) -> None:
        for gun_no, health in self.gun_health.items():
            beat = self._vocabulary.make(
                HeartbeatRequest.frame_type, pile_id=self.login.pile_id, gun_no=gun_no, gun_health=health
            )
            if beat is not None:
                self._put_next(beat, now)
        self._beat_at = now + self._settings.heartbeat_interval

    def _miss(self, now: float) -> None:
        patience = self._settings.heartbeat_interval * self._settings.heartbeats_missed
        for gun_no, when in self._answered.items():
            if now - when >= patience and gun_no not in self._missing:
                self._missing.add(gun_no)
                self._events.append(HeartbeatMissed(gun_no=gun_no, silent_for=now - when))
        if self._missing and self._missing.issuperset(self._answered):
            self._close(CloseReason.HEARTBEAT)

    def _ask_for_billing_model(self, now: float) -> None:
        if self._billing is None:
            self._billing_at = _NEVER
            return
        fields: dict[str, Any] = {"pile_id": self.login.pile_id}
        if self._billing is BillingModelVerificationRequest:
            fields["billing_model_no"] = self.billing_model_no
        message = self._vocabulary.make(self._billing.frame_type, **fields)
        if message is not None:
            self._put_next(message, now)
        self._billing_at = now + self._settings.billing_model_retry
        self.deadline = min(self.deadline, self._billing_at)

    def _upload(self, now: float) -> None:
        send, over = self.uploads.due(now)
        for upload in over:
            self._events.append(RecordEnded(token=upload.token, record=upload.record, sent=upload.sent))
        for upload in send:
            try:
                self._put_next(upload.record, now)
            except EncodeError:
                # Kept from another version's time: it stays where it is.
                upload.resting = True
                self._events.append(RecordEnded(token=upload.token, record=upload.record, sent=0))
        if send:
            self.deadline = min(self.deadline, self.uploads.deadline)

    def _put_next(self, message: Message | UnknownMessage, now: float) -> None:
        self._put(message, self._number(), now)
        self._next_number = (self._next_number + 1) % 0x10000


_DEFAULTS: Final = PileSettings()

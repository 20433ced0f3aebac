"""Who may say what when, on one OCPP-J connection, whichever end of it this is.

OCPP-J 1.6 and OCPP 2.0.1/2.1 part 4, chapter 4. A session is driven by method
calls and drained by its owner: bytes and times go in, events and bytes come
out. It raises for wrong use by the application, never for what the peer does.

Our calls. At most one CALL is outstanding; further ones wait in a queue.

=============  ==========================  ==========================================  =============
slot           what happens                what comes of it                            slot then
=============  ==========================  ==========================================  =============
free           ``call``                    CallSent                                    taken
free           an answer                   Unexpected                                  free
taken          ``call``                    queued; QueueFullError if that is full      taken
taken          its CALLRESULT, CALLERROR   CallEnded with the answer                   next, or free
taken          an invalid answer to it     CallEnded with InvalidAnswer;               next, or free
                                           CALLRESULTERROR goes back (2.1)
taken          another answer              Unexpected                                  taken
taken          its time is up              CallEnded with TimedOut                     next, or free
taken          ``cancel`` of it            CallEnded with Cancelled                    abandoned
abandoned      an answer to it             Unexpected                                  next, or free
abandoned      its time is up                                                          next, or free
any            ``lost``                    CallEnded with ConnectionLost, each         closed
=============  ==========================  ==========================================  =============

``next`` sends the first of the queue whose total time is not up: CallSent.
An abandoned call keeps the slot because the peer may still be at work on it,
and the documents allow no other CALL before it is answered or timed out. A
queued call can be cancelled or run out of its total time; it is never sent
then.

The peer's calls. One at a time is given to the application.

=============  ==========================  ==========================================  =============
serving        what happens                what comes of it                            serving then
=============  ==========================  ==========================================  =============
nothing        a CALL                      CallReceived                                it
a call         a CALL                      queued                                      the same
a call         a CALL, the queue is full   CallDeclined, CALLERROR InternalError       the same
a call         a CALL with an id of one    CallDeclined; CALLERROR unless it is that   the same
               that is served or queued    very call again
a call         ``answer``                  CALLRESULT or CALLERROR                     next, nothing
a call         ``answer``, but invalid     CALLERROR InternalError, and it raises      next, nothing
any            ``lost``                    CallDeclined for what is queued             closed
=============  ==========================  ==========================================  =============

SENDs wait for nothing in either direction. A frame that is wrong is Rejected;
what goes back, if anything, is what :meth:`MessageError.to_call_error` says,
with the message id wherever the head of the frame still shows it (part 4,
section 4.2.3: ``-1`` is for ids that cannot be read). Ids are only compared
with those of calls that are not over yet, so an id seen on an earlier
connection, or earlier on this one, is no error.

>>> from evproto.ocpp import v16
>>> session = RpcSession(v16.codec)
>>> session.receive(b'[2,"7","DataTransfer",{"vendorId":"acme"}]', now=0.0)
>>> (event,), frames = session.take()
>>> event.call.payload.vendor_id
'acme'
>>> session.answer(CallResult(unique_id="7", payload={"status": "Accepted"}), now=0.1)
>>> session.call(Call(unique_id="a", payload=v16.messages.ClearCacheRequest()), now=0.1)
>>> session.take()[1]
[b'[3,"7",{"status":"Accepted"}]', b'[2,"a","ClearCache",{}]']
>>> session.tick(now=session.deadline)
>>> session.take()[0][0].outcome
TimedOut(sent=True)
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from evproto.errors import EncodeError, QueueFullError, SessionClosedError, SessionError
from evproto.ocppj.codec import Codec, deviation
from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, Mode
from evproto.ocppj.envelopes import Call, CallError, CallResult, CallResultError, Envelope, Send
from evproto.ocppj.errors import (
    UNREADABLE_ID,
    InvalidMessageError,
    MalformedFrameError,
    MessageError,
    UnexpectedResponseError,
)
from evproto.ocppj.events import (
    AnswerRefused,
    CallDeclined,
    CallEnded,
    CallReceived,
    CallSent,
    Cancelled,
    ConnectionLost,
    InvalidAnswer,
    Outcome,
    Rejected,
    SendReceived,
    SessionEvent,
    TimedOut,
    Unexpected,
)
from evproto.ocppj.head import whose
from evproto.ocppj.part import encode_json

__all__ = ["RpcSession"]

_REMEMBERED = 16
"""Calls that timed out, kept so that late answers can still be typed."""

_Queued = tuple[Call[Any], bytes, float, float]
"""The call, its frame, its timeout, and when its total time is up."""


class RpcSession:
    """The state of one connection.

    Times are seconds on any clock that does not go backwards. Message ids are
    the caller's.

    Args:
        codec: of the version that was agreed upon.
        call_timeout: seconds from sending to giving up, for calls without
            one of their own.
        max_queued: calls of ours that may wait for the one outstanding.
        max_incoming: calls of the peer that may wait for the one being served.
        max_incoming_bytes: the same in bytes of frames.
        mode: of encoding, see :meth:`Codec.encode`. None: ``off`` if the mode
            of the codec is, else ``strict``.
    """

    __slots__ = (
        "_abandoned",
        "_answered",
        "_asked",
        "_backlog",
        "_codec",
        "_decode",
        "_encode",
        "_events",
        "_expires",
        "_frames",
        "_incoming",
        "_limited",
        "_mode",
        "_queue",
        "_sent_at",
        "_serving",
        "_waiting",
        "call_timeout",
        "closed",
        "deadline",
        "max_incoming",
        "max_incoming_bytes",
        "max_queued",
    )

    def __init__(
        self,
        codec: Codec,
        *,
        call_timeout: float = 30.0,
        max_queued: int = 64,
        max_incoming: int = 64,
        max_incoming_bytes: int = 1 << 22,
        mode: Mode | None = None,
    ) -> None:
        self._codec = codec
        self._decode = codec.decode
        self._encode = codec.encode
        self._mode: Mode = mode or ("off" if codec.mode == "off" else "strict")
        self.call_timeout = _checked_seconds("call_timeout", call_timeout)
        self.max_queued = max_queued
        self.max_incoming = max_incoming
        self.max_incoming_bytes = max_incoming_bytes
        self.deadline: float | None = None
        """When :meth:`tick` wants to be called; None: not before something else happens."""
        self.closed = False
        """Whether the connection has been lost."""
        self._events: list[SessionEvent] = []
        self._frames: list[bytes] = []
        # Our calls: the one outstanding, until when, and those behind it.
        self._waiting: Call[Any] | None = None
        self._abandoned = False
        self._sent_at = 0.0
        self._expires = 0.0
        self._queue: dict[str, _Queued] = {}
        self._limited = 0
        # The outstanding call and, before it, those that timed out lately.
        self._asked: dict[str, Call[Any]] = {}
        # The peer's calls: the one being served, and those behind it.
        self._serving: Call[Any] | None = None
        self._incoming: dict[str, CallReceived] = {}
        self._backlog = 0
        self._answered: Call[Any] | None = None

    # What the application does

    def call(
        self, call: Call[Any], now: float, timeout: float | None = None, total: float | None = None
    ) -> None:
        """Send a call, at once if none is outstanding, else when its turn comes.

        Args:
            call: the envelope, with an id no other call has that is not over.
            now: the time.
            timeout: seconds to wait for the answer, counted from sending.
            total: seconds it may take altogether, waiting in the queue included.

        Raises:
            EncodeError: it cannot be sent like this; nothing was queued.
            QueueFullError: too many wait already; nothing was queued.
            SessionClosedError: the connection is gone.
            SessionError: its id belongs to a call that is not over.
        """
        if self.closed:
            raise SessionClosedError(f"{call.action} was not sent: the connection has ended")
        if timeout is None:
            timeout = self.call_timeout
        elif timeout != self.call_timeout:
            _checked_seconds("timeout", timeout)
        expires = math.inf if total is None else now + _checked_seconds("total", total)
        waiting = self._waiting
        if waiting is None:
            self._dispatch(call, self._encode(call, self._mode), timeout, expires, now)
            return
        unique_id = call.unique_id
        if unique_id == waiting.unique_id or unique_id in self._queue:
            raise SessionError(f"the message id {unique_id!r} belongs to a call that is not over")
        if len(self._queue) >= self.max_queued:
            raise QueueFullError(f"{call.action} was not sent: {len(self._queue)} calls wait already")
        self._queue[unique_id] = call, self._encode(call, self._mode), timeout, expires
        if total is not None:
            self._limited += 1
            self._schedule()

    def send(self, send: Send[Any]) -> None:
        """Send what wants no answer, past all calls that wait (OCPP 2.1).

        Raises:
            EncodeError: it cannot be sent like this.
            SessionClosedError: the connection is gone.
        """
        if self.closed:
            raise SessionClosedError(f"{send.action} was not sent: the connection has ended")
        self._frames.append(self._encode(send, self._mode))

    def answer(self, answer: CallResult[Any] | CallError, now: float) -> None:
        """Answer the call that is being served; then the next one is.

        Error descriptions are cut to the length the version allows.

        Raises:
            EncodeError: the answer is not one to this call, or cannot be sent
                like this. The peer was sent a CALLERROR InternalError for it.
            SessionClosedError: the connection is gone.
            SessionError: no call with this id is being served.
        """
        call = self._serving
        if call is None or call.unique_id != answer.unique_id:
            if self.closed:
                raise SessionClosedError(
                    f"the answer {answer.unique_id!r} was not sent: the connection ended"
                )
            raise SessionError(f"no call with the message id {answer.unique_id!r} is being served")
        failure: Exception | None = None
        try:
            if answer.action != call.action:
                answer = self._belonging(answer, call)
            frame = self._encode(answer, self._mode)
        except Exception as error:
            frame, failure = self._mended(answer, call, error)
        self._frames.append(frame)
        self._answered = call
        if self._incoming:
            self._serve_next()
        else:
            self._serving = None
        if isinstance(failure, EncodeError):
            raise failure
        if failure is not None:
            raise EncodeError(f"the answer to {call.action} cannot be made: {failure!r}") from failure

    def cancel(self, unique_id: str, now: float) -> bool:
        """End a call of ours for want of interest; False if there is none with this id (any more).

        One that was sent already stays outstanding until it is answered or
        its time is up.
        """
        queued = self._queue.pop(unique_id, None)
        if queued is not None:
            self._events.append(CallEnded(queued[0], Cancelled(False)))
            if queued[3] != math.inf:
                self._limited -= 1
                self._schedule()
            return True
        call = self._waiting
        if call is None or self._abandoned or call.unique_id != unique_id:
            return False
        self._abandoned = True
        self._events.append(CallEnded(call, Cancelled(True), now - self._sent_at))
        return True

    # What the transport does

    def receive(self, data: bytes | str | bytearray | memoryview, now: float) -> None:
        """Take one WebSocket message, whatever is in it."""
        if self.closed:
            return
        if type(data) is not bytes:
            data = _kept(data)
        try:
            envelope = self._decode(data, self._asked)
        except Exception as error:
            self._refuse(error, data, now)
            return
        if type(envelope) is Call:
            if self._serving is None:
                self._serving = envelope
                self._events.append(CallReceived(envelope, data, now))
            else:
                self._enqueue(CallReceived(envelope, data, now))
        elif type(envelope) is Send:
            self._events.append(SendReceived(envelope, data))
        else:
            self._settle(envelope, now)

    def tick(self, now: float) -> None:
        """Let time pass: end the calls whose time is up."""
        if self.deadline is None or now < self.deadline:
            return
        if self._limited:
            for unique_id, (call, _, _, expires) in list(self._queue.items()):
                if expires <= now:
                    del self._queue[unique_id]
                    self._limited -= 1
                    self._events.append(CallEnded(call, TimedOut(False)))
        if self._waiting is not None and self._expires <= now:
            self._forget_late_ones()
            self._end(TimedOut(True), now, keep=True)
        else:
            self._schedule()

    def lost(self, reason: str, now: float) -> None:
        """The connection is gone: every call ends, and nothing more happens."""
        if self.closed:
            return
        self.closed = True
        self.deadline = None
        if self._waiting is not None and not self._abandoned:
            outcome = ConnectionLost(reason, True)
            self._events.append(CallEnded(self._waiting, outcome, now - self._sent_at))
        for call, _, _, _ in self._queue.values():
            self._events.append(CallEnded(call, ConnectionLost(reason, False)))
        for received in self._incoming.values():
            self._events.append(CallDeclined(received.call, None, "lost"))
        self._waiting = self._serving = self._answered = None
        self._queue.clear()
        self._asked.clear()
        self._incoming.clear()
        self._limited = self._backlog = 0

    # What comes out of it

    def take(self) -> tuple[list[SessionEvent], list[bytes]]:
        """The events since the last time, and the frames to send, each in order."""
        events, self._events = self._events, []
        frames, self._frames = self._frames, []
        return events, frames

    @property
    def codec(self) -> Codec:
        """The codec of this connection."""
        return self._codec

    @property
    def outstanding(self) -> Call[Any] | None:
        """The call of ours the peer has not answered, cancelled or not."""
        return self._waiting

    @property
    def queued(self) -> int:
        """How many calls of ours wait for their turn."""
        return len(self._queue)

    @property
    def serving(self) -> Call[Any] | None:
        """The call of the peer that :meth:`answer` will answer."""
        return self._serving

    @property
    def incoming(self) -> int:
        """How many calls of the peer wait for their turn."""
        return len(self._incoming)

    # Our calls

    def _dispatch(self, call: Call[Any], frame: bytes, timeout: float, expires: float, now: float) -> None:
        self._waiting = call
        self._abandoned = False
        self._asked[call.unique_id] = call
        self._sent_at = now
        ends = now + timeout
        self._expires = min(expires, ends)
        self._frames.append(frame)
        self._events.append(CallSent(call))
        if self._limited:
            self._schedule()
        else:
            self.deadline = self._expires

    def _end(self, outcome: Outcome, now: float, keep: bool = False) -> None:
        """End the outstanding call, and send the next."""
        call = self._waiting
        assert call is not None
        if not self._abandoned:
            self._events.append(CallEnded(call, outcome, now - self._sent_at))
        if not keep:
            del self._asked[call.unique_id]
        self._waiting = None
        while self._queue:
            unique_id = next(iter(self._queue))
            call, frame, timeout, expires = self._queue.pop(unique_id)
            if expires != math.inf:
                self._limited -= 1
                if expires <= now:
                    self._events.append(CallEnded(call, TimedOut(False)))
                    continue
            self._dispatch(call, frame, timeout, expires, now)
            return
        self.deadline = None

    def _schedule(self) -> None:
        soonest = self._expires if self._waiting is not None else math.inf
        if self._limited:
            soonest = min(soonest, *(queued[3] for queued in self._queue.values()))
        self.deadline = None if soonest == math.inf else soonest

    def _forget_late_ones(self) -> None:
        while len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]

    def _settle(self, envelope: Envelope, now: float) -> None:
        """Take an answer, or what the peer says of one of ours."""
        if isinstance(envelope, CallResultError):
            # The codec looked for the action among our own calls; this id is of one of theirs.
            call = self._answered
            if call is not None and call.unique_id != envelope.unique_id:
                call = None
            action = call.action if call is not None else ""
            self._events.append(AnswerRefused(msgspec.structs.replace(envelope, action=action), call))
            return
        unique_id = envelope.unique_id
        waiting = self._waiting
        if waiting is None or waiting.unique_id != unique_id:
            self._events.append(Unexpected(envelope, self._asked.get(unique_id)))
            return
        if self._abandoned:
            self._events.append(Unexpected(envelope, waiting))
        assert isinstance(envelope, CallResult | CallError)
        self._end(envelope, now)

    # Their calls

    def _enqueue(self, received: CallReceived) -> None:
        """Put a call behind the one that is being served, if it may stand there."""
        call, waiting = received.call, self._incoming
        unique_id = call.unique_id
        size = len(received.raw)
        assert self._serving is not None
        first = self._serving if self._serving.unique_id == unique_id else None
        if first is None and unique_id in waiting:
            first = waiting[unique_id].call
        if first is not None:
            if first == call:
                self._events.append(CallDeclined(call, None, "repeated"))
                return
            note = f"another call with the message id {unique_id[:50]!r} is being handled"
            code = self._codec.dialect.code("messageId")
            self._decline(call, code, note, "duplicate")
        elif len(waiting) >= self.max_incoming or self._backlog + size > self.max_incoming_bytes:
            note = f"{len(waiting) + 1} calls are waiting for their answer already"
            self._decline(call, "InternalError", note, "full")
        else:
            waiting[unique_id] = received
            self._backlog += size

    def _decline(self, call: Call[Any], code: str, note: str, why: Any) -> None:
        reply = CallError(
            unique_id=call.unique_id, error_code=code, error_description=note, action=call.action
        )
        self._frames.append(self._encode(reply, "lenient"))
        self._events.append(CallDeclined(call, reply, why))

    def _serve_next(self) -> None:
        received = self._incoming.pop(next(iter(self._incoming)))
        self._backlog -= len(received.raw)
        self._serving = received.call
        self._events.append(received)

    def _belonging(self, answer: CallResult[Any] | CallError, call: Call[Any]) -> CallResult[Any] | CallError:
        """The answer, made one to this call."""
        if isinstance(answer, CallResult) and answer.action:
            note = f"an answer to {answer.action} is none to {call.action}"
            raise InvalidMessageError((deviation(self._codec.dialect, "action", note=note),))
        return msgspec.structs.replace(answer, action=call.action)

    def _mended(
        self, answer: CallResult[Any] | CallError, call: Call[Any], failure: Exception
    ) -> tuple[bytes, Exception | None]:
        """A frame instead of the one that could not be made; the failure, unless it was mended."""
        dialect = self._codec.dialect
        most = dialect.description_length
        if isinstance(answer, CallError) and len(answer.error_description) > most:
            answer = msgspec.structs.replace(answer, error_description=answer.error_description[:most])
        try:
            if isinstance(answer, CallResult | CallError) and answer.action == call.action:
                if 0 < len(call.unique_id) <= dialect.id_length:
                    return self._encode(answer, self._mode), None
                # The peer's id is not one we may use, but it is the one it waits for.
                frame = self._encode(msgspec.structs.replace(answer, unique_id="0"), self._mode)
                return b"%b%b%b" % (frame[:3], encode_json(call.unique_id), frame[6:]), None
        except Exception as error:
            failure = error
        reply = CallError(
            unique_id=call.unique_id,
            error_code="InternalError",
            error_description=f"the answer to {call.action[:100]} could not be made",
        )
        return self._encode(reply, "lenient"), failure

    # What is wrong

    def _refuse(self, error: Exception, data: bytes | str, now: float) -> None:
        """Take a frame that could not be decoded."""
        # What led to it is of no use any more, and would hold on to all of this.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        kind, unique_id = whose(error, data)
        if kind in (CALL_ERROR, CALL_RESULT_ERROR) and isinstance(error, MalformedFrameError):
            # Whatever it looks like in detail: the peer refused.
            try:
                envelope = self._decode(data, self._asked, "lenient")
            except Exception:
                envelope = None
            if envelope is not None:
                self._settle(envelope, now)
                return
        if kind in (CALL_RESULT, CALL_ERROR) and unique_id in self._asked:
            call = self._asked[unique_id]
            if call is not self._waiting:
                self._events.append(Unexpected(error, call))
            elif self._abandoned:
                self._events.append(Unexpected(error, call))
                self._end(TimedOut(True), now)
            else:
                self._end(InvalidAnswer(error, self._sent_back(error, unique_id)), now)
            return
        if isinstance(error, MessageError):
            if isinstance(error, UnexpectedResponseError):
                self._events.append(Unexpected(error))
                return
            reply = error.to_call_error()
        else:
            note = "the message could not be read"
            reply = None
            if kind in (CALL, None):
                reply = CallError(unique_id=unique_id, error_code="InternalError", error_description=note)
        if reply is not None:
            if reply.unique_id == UNREADABLE_ID != unique_id:
                reply = msgspec.structs.replace(reply, unique_id=unique_id)
            self._frames.append(self._encode(reply, "lenient"))
        self._events.append(Rejected(error, reply))

    def _sent_back(self, error: Exception, unique_id: str) -> CallResultError | None:
        """Tell the peer that its answer is no good, where the version has a message for that."""
        reply = error.to_call_result_error() if isinstance(error, MessageError) else None
        if reply is not None:
            if reply.unique_id != unique_id:
                reply = msgspec.structs.replace(reply, unique_id=unique_id)
            self._frames.append(self._encode(reply, "lenient"))
        return reply


def _checked_seconds(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is a number of seconds above 0, not {value!r}")
    return value


def _kept(data: Any) -> bytes | str:
    if isinstance(data, str):
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"a frame is bytes or str, not {type(data).__name__}")

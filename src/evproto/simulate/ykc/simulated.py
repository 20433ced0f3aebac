"""A pile with a wire, still without a socket: bytes and the time in, segments out."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections import Counter
from typing import Final

from evproto.errors import EvprotoError
from evproto.messages import BEIJING
from evproto.simulate.faults import Faults
from evproto.simulate.people import Habits, People
from evproto.simulate.statistics import Statistics
from evproto.simulate.ykc.faults import Segment, Wire
from evproto.simulate.ykc.pile import PileModel, PileSettings, Reboot, Record, Reply, Request
from evproto.ykc import session as sessions
from evproto.ykc.messages import HeartbeatRequest, HeartbeatResponse
from evproto.ykc.records import RetryRule, Uploads

__all__ = ["SimulatedPile"]

_ANSWERS: Final = {
    0x01: 0x02,
    0x03: 0x04,
    0x05: 0x06,
    0x09: 0x0A,
    0x31: 0x32,
    0x3B: 0x40,
    0x3D: 0x40,
    0xA1: 0xA2,
}
_EPOCH: Final = dt.datetime(1970, 1, 1)
_RETRY_FIRST, _RETRY_LONGEST = 1.0, 60.0
_REFUSED_FOR: Final = 30.0


class SimulatedPile:
    """A pile that charges, reports and obeys over a connection it is given.

    It lives twice: the connection (logins, heartbeats, repetitions, timeouts)
    in the seconds it is driven with, the pile itself ``speed_up`` times as
    fast. Its owner connects it, feeds it and writes what it gives::

        pile.connect(now)
        for segment in pile.take(now): ...      # each to be written on its own
        pile.receive(data, now)
        pile.tick(now)                          # when pile.deadline has come
        pile.lost("reset by peer", now)         # then connect again at pile.retry_at

    Attributes:
        model: the pile itself.
        statistics: what has been counted; may be shared by many piles.
        retry_at: when to connect again, while there is no connection.
        failure: why the last login led to nothing, or empty.
    """

    def __init__(
        self,
        settings: PileSettings,
        *,
        seed: int | str = 0,
        now: float = 0.0,
        clock: dt.datetime | None = None,
        speed_up: float = 1.0,
        habits: Habits | None = None,
        link: sessions.PileSettings | None = None,
        faults: Faults | None = None,
        statistics: Statistics | None = None,
        record_retry: float | None = None,
    ) -> None:
        """``clock`` is what the pile's clock shows at ``now``; without ``habits`` nobody comes to charge;
        ``record_retry`` is the interval of repetitions, the document's unless given.

        Raises:
            ValueError: ``speed_up`` is not positive, or ``clock`` is naive.
        """
        if not speed_up > 0:
            raise ValueError(f"a speed-up is more than 0, not {speed_up}")
        moment = clock or dt.datetime(2026, 1, 1, 8, tzinfo=BEIJING)
        if moment.utcoffset() is None:
            raise ValueError("the clock must name its zone")
        self._faults = faults or Faults()
        self._rng = random.Random(f"{seed}/faults/{settings.pile_id}")
        local = (moment.astimezone(BEIJING).replace(tzinfo=None) - _EPOCH) // dt.timedelta(milliseconds=1)
        self.model = PileModel(settings, seed=seed, local_time=local + self._faults.skew(self._rng))
        self.model.on_record = lambda record: self._count("records made")
        self.statistics = statistics if statistics is not None else Statistics()
        if self._faults.rates.get("clock-skew") and self.model.clock.offset != local:
            self.statistics.faults["clock-skew"] += 1
        self.retry_at = now
        self.failure = ""
        self._people = People(self.model, habits, seed, 0) if habits is not None else None
        self._link = link
        rule = RetryRule() if record_retry is None else RetryRule(interval=record_retry)
        self._uploads = Uploads(rule)
        self._session: sessions.PileSession | None = None
        self._wire: Wire | None = None
        self._frames: list[bytes] = []
        self._from = now
        self._speed_up = speed_up
        self._asked: dict[tuple[int, bytes], float] = {}
        self._closing = False
        self._ending = False
        self._reboot_until = -math.inf
        self._retries = 0

    # What the owner does

    @property
    def pile_id(self) -> str:
        """14 digits."""
        return self.model.pile_id

    @property
    def is_logged_in(self) -> bool:
        """Whether the platform has let it in."""
        return self._session is not None and self._session.logged_in

    @property
    def waiting_records(self) -> int:
        """Records not yet confirmed."""
        return len(self.model.records)

    @property
    def wants_close(self) -> bool:
        """Whether the connection should be closed, once everything taken is written."""
        return self._closing

    @property
    def deadline(self) -> float:
        """When :meth:`tick` wants to be called next; also without a connection the pile lives on."""
        due = self.model.deadline
        if self._people is not None:
            due = min(due, self._people.deadline)
        deadline = self._from + due / 1000 / self._speed_up
        if self._session is not None:
            deadline = min(deadline, self._session.deadline)
        if self._wire is not None and self._wire.deadline is not None:
            deadline = min(deadline, self._wire.deadline)
        return deadline

    def connect(self, now: float) -> None:
        """There is a new connection; the login is the first thing to take."""
        self._live(now)
        self._session = sessions.PileSession(
            self.model.login_request(),
            self._link,
            uploads=self._uploads,
            billing_model_no=self.model.tariff.billing_model_no,
            now=now,
        )
        self._wire = Wire(self._faults, self._rng, self.statistics.faults) if self._faults else None
        self._closing = False
        self._count("connected")

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have come."""
        if self._session is None:
            return
        self._count("bytes received", len(data))
        self._session.receive(data, now)
        self._drain(now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._live(now)
        if self._session is not None:
            if self._session.deadline <= now:
                for gun in self.model.guns:
                    self._session.gun_health[gun.gun_no] = gun.health
                self._session.tick(now)
            self._drain(now)

    def lost(self, reason: str, now: float) -> None:
        """The connection is gone; see ``retry_at``."""
        if self._session is None:
            return
        was_in = self._session.logged_in
        self._session.lost(reason, now)
        self._drain(now)
        self._session = self._wire = None
        self._frames = []
        self._closing = False
        for kind, _ in self._asked:
            self.statistics.unanswered[kind] += 1
        self._asked.clear()
        self._count("connections lost")
        self.model.disconnected(self._milliseconds(now))
        self._take_offline()
        self._retries = 0 if was_in else self._retries + 1
        self._wait(now, _REFUSED_FOR if self.failure else None)

    def could_not_connect(self, now: float) -> None:
        """A connection was tried and refused; see ``retry_at``."""
        self._count("connections failed")
        self._retries += 1
        self._wait(now)

    def take(self, now: float) -> list[Segment]:
        """What is to be written now, each in one write."""
        session, wire = self._session, self._wire
        if session is None:
            return []
        self._drain(now)
        frames, self._frames = self._frames, []
        if wire is None:
            segments = [Segment(now, frame, (frame,)) for frame in frames]
        else:
            for frame in frames:
                wire.put(frame, now)
            segments = wire.due(now)
        for segment in segments:
            self._count("bytes sent", len(segment.data))
            for frame in segment.frames:
                self._sent(frame, now)
        return segments

    def stop_charging(self, now: float) -> None:
        """Stop whatever charges, and let nobody come any more: the end of a run."""
        self._people = None
        self._ending = True
        self._live(now)
        self._stop_guns(self._milliseconds(now))
        self.tick(now)

    # Inside

    def _stop_guns(self, milliseconds: int) -> None:
        for gun in self.model.guns:
            self.model.stop(gun.number, milliseconds)

    def _milliseconds(self, now: float) -> int:
        """The pile's own time."""
        # Rounded up a little, or a deadline turned into seconds and back would lie ahead for ever.
        return int((now - self._from) * 1000 * self._speed_up + 0.01)

    def _live(self, now: float) -> None:
        """Let the pile's own life go on, deadline by deadline: a late tick must not skip over it."""
        end = self._milliseconds(now)
        model, people = self.model, self._people
        while True:
            due = model.deadline if people is None else min(model.deadline, people.deadline)
            if due > end:
                break
            model.tick(due)
            if people is not None:
                people.tick(due)
        model.tick(end)
        if self._session is None:
            self._take_offline()

    def _take_offline(self) -> None:
        """Keep what must not be lost; nothing else can be said to anybody."""
        for output in self.model.take():
            if isinstance(output, Record):
                self._uploads.add(output.message)

    def _drain(self, now: float) -> None:
        """Session to model and back, until neither has anything to say."""
        session = self._session
        assert session is not None
        while True:
            events, frames = session.take()
            self._frames += frames
            for event in events:
                self._event(event, now)
            outputs = self.model.take()
            for output in outputs:
                if isinstance(output, Reboot):
                    self._reboot_until = now + output.after / 1000 / self._speed_up
                    self._closing = True
                elif isinstance(output, Record) and self._closing:
                    self._uploads.add(output.message)
                elif isinstance(output, Record):
                    session.upload(output.message, now)
                else:
                    self._send(session, output, now)
            if not events and not outputs:
                return

    def _send(self, session: sessions.PileSession, output: object, now: float) -> None:
        try:
            if isinstance(output, Request):
                session.request(output.message, now)
            elif isinstance(output, Reply):
                session.send(output.message, now, output.to.sequence)
            else:
                session.send(output.message, now)  # type: ignore[attr-defined]
        except EvprotoError:
            # The session has just ended; what it did not take, the pile would not have sent either.
            self._count("unsent")

    def _event(self, event: sessions.Event, now: float) -> None:
        milliseconds = self._milliseconds(now)
        if isinstance(event, sessions.MessageReceived):
            self._received(event.raw, now)
            if not isinstance(event.message, HeartbeatResponse):
                self.model.receive(event.frame, milliseconds)
                if self._ending:  # a start that was on its way
                    self._stop_guns(milliseconds)
        elif isinstance(event, sessions.LoggedIn):
            self.failure = ""
            self._retries = 0
            self._count("logins")
            self.model.logged_in(milliseconds)
        elif isinstance(event, sessions.Closing):
            self._closing = True
            self._count(f"closed: {event.reason}")
            if event.reason is sessions.CloseReason.LOGIN_REFUSED:
                self.failure = "refused"
        elif isinstance(event, sessions.RecordEnded):
            accepted = event.confirmation is not None and not event.confirmation.result
            confirmed = "records confirmed" if accepted else "records illegal"
            self._count(confirmed if event.confirmation is not None else "records given up")
            self._count("record repetitions", event.sent - 1)
        elif isinstance(event, sessions.Damaged):
            self._count("bad frames")
        elif isinstance(event, sessions.HeartbeatMissed):
            self._count("heartbeats missed")
        elif isinstance(event, sessions.NotServed):
            self._received(event.raw, now)
            self._count("frames out of place")

    def _sent(self, frame: bytes, now: float) -> None:
        kind = frame[5]
        self.statistics.sent[kind] += 1
        answer = _ANSWERS.get(kind)
        if answer is not None:
            if (kind, frame[2:4]) in self._asked:
                self.statistics.unanswered[kind] += 1
            self._asked[kind, frame[2:4]] = now
            if kind == HeartbeatRequest.frame_type and len(self._asked) > 64:
                self._forget(now)

    def _received(self, raw: bytes, now: float) -> None:
        kind, sequence = raw[5], raw[2:4]
        self.statistics.received[kind] += 1
        for asked, answer in _ANSWERS.items():
            if answer == kind:
                key = asked, sequence
                when = self._asked.pop(key, None)
                if when is None:
                    # A platform that counts its answers by itself: the oldest question it is.
                    key = next((key for key in self._asked if key[0] == asked), key)
                    when = self._asked.pop(key, None)
                if when is not None:
                    self.statistics.answered(asked, now - when)
                    return

    def _forget(self, now: float) -> None:
        for key in [key for key, when in self._asked.items() if now - when > 60]:
            del self._asked[key]
            self.statistics.unanswered[key[0]] += 1

    def _wait(self, now: float, least: float | None = None) -> None:
        pause = min(_RETRY_LONGEST, _RETRY_FIRST * 2 ** min(self._retries, 8)) * self._rng.uniform(0.75, 1.25)
        if self._retries == 0:
            pause = self._rng.uniform(0.1, _RETRY_FIRST)
        self.retry_at = max(now + pause, now + (least or 0.0), self._reboot_until)

    def _count(self, name: str, number: int = 1) -> None:
        counts: Counter[str] = self.statistics.counts
        counts[name] += number

"""A station without a wire: messages and the time in, messages out.

:class:`StationModel` does what a station does: people plug in, it asks who
they are, charges, measures and obeys. Which messages that takes is the
business of its :class:`~evproto.simulate.ocpp.language.Language`; connecting,
booting, heartbeats and repeating are that of the endpoint it speaks through.
Times are whole milliseconds of the station's own life.
"""

from __future__ import annotations

import datetime as dt
import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from evproto.payloads import Request, Response
from evproto.simulate.charging import FOREVER, Clock, End
from evproto.simulate.ocpp.connector import Asked, Connector, Transaction, Waiting
from evproto.simulate.ocpp.language import Language
from evproto.simulate.ocpp.options import Options
from evproto.simulate.ocpp.profiles import Profiles
from evproto.simulate.ocpp.settings import StationSettings, Token, moment
from evproto.simulate.ocpp.tokens import Known, Tokens
from evproto.simulate.ocppj.model import Ask, Beat, Handler, Keep, Output, Reboot, Tell
from evproto.simulate.vehicle import Vehicle

__all__ = ["StationModel"]

_ANSWER_WITHIN: Final = 30_000
_BOOTS_FOR: Final = 20_000
_OBEYS_AFTER: Final = 1_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class StationModel:
    """A station; see the module.

    Attributes:
        guns: its connectors.
        online: whether there is a connection, and the server has accepted the station.
        transactions: those whose end has not arrived at the server, by number.
        on_transaction: called with ``started``, ``ended``, ``confirmed`` or ``given up`` and a transaction.
        log_job, firmware_job: (status, request id) of the upload and the update that run, or None.
    """

    def __init__(self, settings: StationSettings, *, seed: int | str, local_time: int, now: int = 0) -> None:
        """``local_time`` is what the station's clock shows at ``now``: ms of UTC since 1970."""
        self.settings = settings
        self.rng = random.Random(f"{seed}/{settings.identity}")
        self.clock = Clock(local_time - now)
        self.options = Options(sample_interval=settings.sample_interval)
        self.tokens = Tokens()
        self.profiles = Profiles()
        self.firmware_version = settings.firmware_version
        self.online = False
        self.boot_reason = "PowerUp"
        self.transactions: dict[int, Transaction] = {}
        self.on_transaction: Callable[[str, Transaction], None] = lambda event, transaction: None
        self.log_job: tuple[str, int | None] | None = None
        self.firmware_job: tuple[str, int | None] | None = None
        self.guns = [Connector(self, number, self.rng) for number in range(1, settings.connectors + 1)]
        self.language: Language = _language(self)
        self.jobs: dict[str, object] = {}
        """What marks the upload and the update that run."""
        self._out: list[Output] = []
        self._jobs: list[tuple[int, int, Callable[[int], None]]] = []
        self._job_count = 0
        self._numbers = 0
        self._told_station = False
        self._is_limited = False
        self._next_turn = FOREVER
        self._next_clock_sample = FOREVER
        self._reset_when_idle: str | None = None

    # What the outside does

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        due = min(self._next_turn, self._next_clock_sample)
        for connector in self.guns:
            due = min(due, connector.deadline)
        return min(due, self._jobs[0][0]) if self._jobs else due

    def take(self) -> list[Output]:
        """What has to be sent or done, in order."""
        out, self._out = self._out, []
        return out

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """What it obeys."""
        return self.language.handlers

    def amend(self, request: Any) -> Any:
        """What to send for a request that was kept."""
        return self.language.amend(request)

    @property
    def is_busy(self) -> bool:
        """Whether anything charges, or an end has not arrived."""
        return bool(self.transactions)

    def stop_all(self, now: int) -> None:
        """Stop whatever charges: the end of a run."""
        self.tick(now)
        for connector in self.guns:
            connector.waiting = None
            if connector.transaction is not None:
                self.stop_transaction(connector, "Local", now, token=connector.transaction.token)
        self._settle(now)

    def boot_request(self) -> Request[Any]:
        """The BootNotification of this station."""
        return self.language.boot(self.boot_reason)

    def connected(self, now: int) -> None:
        """There is a connection, and the server has accepted the station."""
        self.tick(now)
        self.online = True
        if not self._told_station:
            self._told_station = True
            self.language.tell_station(now)
        self._settle(now)

    def disconnected(self, now: int) -> None:
        """The connection is gone; what charges goes on."""
        self.tick(now)
        self.online = False
        for connector in self.guns:
            # What was told last may have been lost; OfflineThreshold is 0.
            connector.asked = connector.told = None
        self._out = [output for output in self._out if isinstance(output, Keep | Reboot)]

    def accepted(self, interval: int) -> None:
        """The server has accepted the station, and wants heartbeats at this interval."""
        if interval > 0:
            self.options.heartbeat_interval = interval

    def set_clock(self, to: dt.datetime, now: int) -> None:
        """The server has said what time it is; transactions that run keep the time they began with."""
        if self.clock.set((to - _EPOCH) // dt.timedelta(milliseconds=1), now):
            self.sample_by_clock(now)
            self.apply_limits(now)

    def obey(self, request: Request[Any], now: int) -> Response:
        """The answer to a request of a kind that the language handles."""
        self.tick(now)
        response = self.handlers[type(request)](request, now)
        self._settle(now)
        return response

    def answered(self, request: Request[Any], response: Response | None, now: int) -> None:
        """What was asked has its answer, or None if there will be none."""
        self.tick(now)
        text, known = ("", Known("Invalid"))
        if response is not None:
            text, known = self.language.authorized(request, response)
            self.tokens.remember(text, known)
        for connector in self.guns:
            asked = connector.asked
            if asked is None or self.language.authorize(asked.token) != request:
                continue
            connector.asked = None
            if known.status == "Accepted":
                token = Token(asked.token.text, asked.token.kind, known.group)
                self.begin(connector, token, now, remote_start_id=asked.remote_start_id)
            break
        self._settle(now)

    def delivered(self, request: Any, result: Any, now: int) -> None:
        """A message that was kept has arrived, or was given up (``result`` is an exception)."""
        self.tick(now)
        transaction = self.language.delivered(request, result, now)
        if transaction is not None and self.transactions.pop(transaction.number, None) is not None:
            lost = isinstance(result, BaseException)
            self.on_transaction("given up" if lost else "confirmed", transaction)
        self._settle(now)

    def tick(self, now: int) -> None:
        """Do what is due."""
        for connector in self.guns:
            connector.tick(now)
        while self._jobs and self._jobs[0][0] <= now:
            heapq.heappop(self._jobs)[2](now)
        if now >= self._next_clock_sample:
            for connector in self.guns:
                if self.online or connector.transaction is not None:
                    self.language.tell_values(connector, now, "Sample.Clock")
            self.sample_by_clock(now)
        if self._reset_when_idle is not None and not any(gun.transaction for gun in self.guns):
            reason, self._reset_when_idle = self._reset_when_idle, None
            self.after(_OBEYS_AFTER, lambda then: self.reboot(reason), now)
        self._settle(now)

    # What people see and do at the station

    @property
    def identity(self) -> str:
        return self.settings.identity

    @property
    def reads_vins(self) -> bool:
        """Whether a car is known when it is plugged in; a DC station hears its address."""
        return self.settings.is_dc

    @property
    def joins_guns(self) -> bool:
        """No station of OCPP gives two cables to one car."""
        return False

    def gun(self, number: int) -> Connector | None:
        """The connector with this number."""
        return self.guns[number - 1] if 1 <= number <= len(self.guns) else None

    def plug_in(self, number: int, vehicle: Vehicle, now: int) -> None:
        """A vehicle is plugged in; who may charge already does."""
        connector = self.guns[number - 1]
        if connector.vehicle is not None:
            raise ValueError(f"connector {number} is plugged in already")
        connector.vehicle, connector.is_finished = vehicle, False
        waiting, connector.waiting = connector.waiting, None
        if waiting is not None and connector.is_usable:
            self.start(connector, waiting.token, now, remote_start_id=waiting.remote_start_id)
        self._settle(now)

    def unplug(self, number: int, now: int) -> None:
        """The cable is pulled out; a transaction ends."""
        connector = self.guns[number - 1]
        if connector.transaction is not None:
            self.stop_transaction(connector, "EVDisconnected", now)
        connector.vehicle = None
        connector.is_finished = False
        connector.asked = None
        self._settle(now)

    def ask_to_start(self, number: int, card: bytes, now: int, *, by_vin: bool = False) -> bool:
        """Somebody holds a card to the reader, or the car says who it is; False if the station will not."""
        connector = self.guns[number - 1]
        if connector.vehicle is None or connector.asked is not None or not connector.is_usable:
            return False
        if by_vin:
            token = Token(f"{connector.vehicle.battery_pack_no:012X}", "MacAddress")
        else:
            token = Token(card[-7:].hex().upper())
        return self.authorize(connector, token, now)

    def ask_to_start_parallel(self, numbers: tuple[int, ...], card: bytes, now: int) -> bool:
        """No station of OCPP gives two cables to one car."""
        return False

    def stop(self, number: int, now: int) -> None:
        """Somebody holds the card to the reader again."""
        connector = self.guns[number - 1]
        if connector.transaction is not None:
            self.stop_transaction(connector, "Local", now, token=connector.transaction.token)
        self._settle(now)

    def break_down(self, number: int, fault: str, now: int) -> None:
        """A connector has a fault (ChargePointErrorCode); its transaction is stopped."""
        connector = self.guns[number - 1]
        connector.fault = fault
        if connector.transaction is not None:
            self.stop_transaction(connector, "Other", now)
        self._settle(now)

    def repair(self, number: int, now: int) -> None:
        """The fault is gone."""
        self.guns[number - 1].fault = None
        self._settle(now)

    # For the language

    def ask(self, request: Request[Any]) -> None:
        if self.online:
            self._out.append(Ask(request))

    def tell(self, request: Request[Any]) -> None:
        """Send something, if that can be: what it was told to send may go before it is accepted."""
        self._out.append(Tell(request))

    def keep(self, request: Request[Any]) -> None:
        self._out.append(Keep(request))

    def after(self, delay: int, job: Callable[[int], None], now: int) -> None:
        """Do something in so many ms."""
        self._job_count += 1
        heapq.heappush(self._jobs, (now + delay, self._job_count, job))

    def moment(self, now: int) -> dt.datetime:
        """The time on the station's clock."""
        return moment(self.clock, now)

    def here(self, at: dt.datetime) -> int:
        """A time on the station's clock in its own ms."""
        return (at - _EPOCH) // dt.timedelta(milliseconds=1) - self.clock.offset

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def new_uid(self) -> str:
        """An id for a transaction: a UUID of version 4."""
        number = self.rng.getrandbits(128) & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62
        text = f"{number:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def authorize(
        self, connector: Connector, token: Token, now: int, *, remote_start_id: int | None = None
    ) -> bool:
        """Find out whether somebody may charge, and begin if so; False if it is known that he may not."""
        options = self.options
        uses = {"list": options.local_list, "cache": options.cache}
        known = self.tokens.status(token.text, self.clock.local(now), uses)
        token = Token(token.text, token.kind, token.group or self.tokens.group(token.text))
        if self.online:
            if options.local_preauthorize and known == "Accepted":
                self.begin(connector, token, now, remote_start_id=remote_start_id)
            else:
                connector.asked = Asked(token, now + _ANSWER_WITHIN, remote_start_id)
                self.ask(self.language.authorize(token))
        elif options.local_authorize_offline and (
            known == "Accepted" or (known is None and options.unknown_offline)
        ):
            self.begin(connector, token, now)
        else:
            return False
        self._settle(now)
        return True

    def begin(
        self, connector: Connector, token: Token, now: int, *, remote_start_id: int | None = None
    ) -> None:
        """Somebody may charge: a transaction begins, now or when the cable is plugged in."""
        if not connector.is_usable or not self.may_use(connector, token):
            return
        if connector.vehicle is None:
            until = now + self.options.connection_timeout * 1000
            connector.waiting = Waiting(token, until, remote_start_id)
            return
        self.start(connector, token, now, remote_start_id=remote_start_id)

    def may_use(self, connector: Connector, token: Token) -> bool:
        """Whether no one else has reserved it."""
        reservation = connector.reservation
        if reservation is None or reservation.token.text == token.text:
            return True
        group = reservation.token.group
        return group is not None and group in (token.group, self.tokens.group(token.text))

    def start(
        self, connector: Connector, token: Token, now: int, *, remote_start_id: int | None = None
    ) -> None:
        """Begin a transaction."""
        fails = self.rng.random() < self.settings.start_failures
        transaction = connector.start(token, now, remote_start_id=remote_start_id, fails=fails)
        self.transactions[transaction.number] = transaction
        transaction.state = connector.state
        self.apply_limits(now)
        self.language.started(transaction, now)
        self.on_transaction("started", transaction)

    def stop_transaction(
        self, connector: Connector, reason: str, at: int, *, token: Token | None = None
    ) -> None:
        """End the transaction of a connector; its profiles go with it."""
        transaction = connector.transaction
        assert transaction is not None
        transaction.session.stop(End.DRIVER, at)
        transaction.stopped = at
        transaction.reason = reason
        transaction.stop_token = token
        transaction.meter_stop = connector.meter.reading
        self.language.ended(transaction, at)
        connector.transaction = None
        connector.is_finished = connector.vehicle is not None
        connector.next_sample = FOREVER
        if connector.becomes is not None:
            connector.is_operative, connector.becomes = connector.becomes, None
        self.profiles.transaction_ended(connector.number)
        self.on_transaction("ended", transaction)
        self.apply_limits(at)

    def running(self, wanted: Callable[[Transaction], bool]) -> Connector | None:
        """The connector of a transaction that runs."""
        for connector in self.guns:
            if connector.transaction is not None and wanted(connector.transaction):
                return connector
        return None

    def apply_limits(self, now: int) -> None:
        """Have the sessions keep within the charging profiles, from now on."""
        if not len(self.profiles) and not self._is_limited:
            return
        self._is_limited = len(self.profiles) > 0
        settings = self.settings
        at = self.clock.local(now)
        busy = [gun for gun in self.guns if gun.is_busy]
        turns = [FOREVER]
        for connector in busy:
            since = self.charging_since(connector)
            limit = self.profiles.limit(connector.number, at, since, len(busy))
            transaction = connector.transaction
            assert transaction is not None
            transaction.session.limit(
                now,
                max_power=_bounded(settings.max_power, limit.watts, 1),
                max_current=_bounded(settings.max_current, limit.amperes, 10),
            )
            turn = self.profiles.next_turn(at, since)
            if turn is not None:
                turns.append(turn - self.clock.offset)
        self._next_turn = min(turns)

    def charging_since(self, connector: Connector) -> int | None:
        """When its transaction began, on the clock."""
        transaction = connector.transaction
        return self.clock.local(transaction.started) if transaction is not None else None

    def set_option(self, name: str, value: Any, now: int) -> None:
        """Change one of the options, with all that follows from it."""
        setattr(self.options, name, value)
        if name == "heartbeat_interval":
            self._out.append(Beat(value))
        elif name == "clock_interval":
            self.sample_by_clock(now)
        elif name == "sample_interval":
            for connector in self.guns:
                if connector.transaction is not None:
                    connector.sample_from(now)

    def sample_by_clock(self, now: int) -> None:
        """Set the next full time at which meter values are due."""
        every = self.options.clock_interval * 1000
        self._next_clock_sample = now + every - self.clock.local(now) % every if every else FOREVER

    def reset(self, reason: str, stop_reason: str, now: int) -> None:
        """Stop what runs, and reboot."""

        def go(then: int) -> None:
            for connector in self.guns:
                if connector.transaction is not None:
                    self.stop_transaction(connector, stop_reason, then)
            self.reboot(reason)

        self.after(_OBEYS_AFTER, go, now)

    def reset_when_idle(self, reason: str) -> None:
        """Reboot as soon as no transaction runs."""
        self._reset_when_idle = reason

    def reboot(self, reason: str) -> None:
        """Go down now; what is not kept is forgotten."""
        self._out.append(Reboot(_BOOTS_FOR))
        self.boot_reason = reason
        self.online = False
        self._told_station = False
        self._jobs.clear()
        self.jobs.clear()
        self.log_job = self.firmware_job = None
        for connector in self.guns:
            connector.told = connector.asked = connector.waiting = None

    # Inside

    def _settle(self, now: int) -> None:
        """Tell what has become different."""
        self.apply_limits(now)
        for connector in self.guns:
            transaction = connector.transaction
            if transaction is not None and transaction.state != connector.state:
                transaction.state = connector.state
                self.language.changed(transaction, now)
            if self.online:
                status = self.language.status(connector)
                if status != connector.told:
                    connector.told = status
                    self.language.tell_status(connector, now)


def _bounded(most: int, limit: float | None, steps: int) -> int:
    return most if limit is None else max(0, min(most, int(limit * steps)))


def _language(station: StationModel) -> Language:
    if station.settings.version == "1.6":
        from evproto.simulate.ocpp.v16 import Language16

        return Language16(station)
    from evproto.simulate.ocpp.v2 import Language2

    return Language2(station)

"""A gateway of ntxcp without a wire: messages and the time in, messages out.

A gateway stands before services, meters of machines mostly. It reports their
state and their readings, captures data points when it is told to, and is
maintained like a charge point. Times are whole ms of the gateway's own life.
"""

from __future__ import annotations

import datetime as dt
import heapq
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from evproto.ntxcp import v10
from evproto.payloads import Request, Response
from evproto.simulate.charging import FOREVER, Clock
from evproto.simulate.meter import Meter
from evproto.simulate.ntxcp.commands import Commands
from evproto.simulate.ocppj.model import Beat, Handler, Output, Reboot, Tell

__all__ = ["GatewayModel", "GatewaySettings", "Service"]

m, e = v10.messages, v10.enums

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY: Final = 86_400_000
_STEP: Final = 60_000
"""ms for which the load of a service stays the same."""
_MAINS: Final = 2_300
_BOOTS_FOR: Final = 10_000
_BREAKS: Final = 0.002
"""Part of the steps at which a service is lost for a while."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is."""

    identity: str
    services: int = 3
    model: str = "Simulated gateway"
    vendor: str = "evproto"
    serial_number: str = "0000"
    firmware_version: str = "1.4.0"
    sample_interval: int = 60
    """Seconds between meter values, until it is told otherwise."""


class Service:
    """A machine behind a gateway, with its meter."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.meter = Meter(rng.randrange(1_000_0000, 90_000_0000))
        self.current = 0
        """0.1 A."""
        self.status: str = "Available"
        self.told: str | None = None
        self.captures = 0
        self._rng = rng
        self._most = rng.randrange(60, 630)
        self._phase = rng.random()
        self._at = 0
        self._back_at = 0

    @property
    def id(self) -> str:
        return str(self.number)

    @property
    def power(self) -> int:
        """In mW."""
        return _MAINS * self.current * 10

    @property
    def deadline(self) -> int:
        """When its load changes."""
        return self._at - self._at % _STEP + _STEP

    def advance(self, to: int) -> None:
        """Carry on to a moment; the load is chosen anew every minute, by day more than by night."""
        while self._at < to:
            end = min(to, self.deadline)
            self.meter.count(_MAINS, self.current, end - self._at)
            self._at = end
            if self._at % _STEP == 0:
                self._choose()

    def _choose(self) -> None:
        day = 0.5 - 0.5 * math.cos(2 * math.pi * (self._at / _DAY + self._phase))
        self.current = int(self._most * day * self._rng.uniform(0.6, 1.0))
        if self.status == "Faulted":
            if self._at >= self._back_at:
                self.status = "Available"
        elif self._rng.random() < _BREAKS:
            self.status = "Faulted"
            self._back_at = self._at + int(self._rng.uniform(60, 900) * 1000)
        if self.status == "Faulted":
            self.current = 0


class GatewayModel:
    """A gateway; see the module.

    Attributes:
        online: whether there is a connection, and the control center has accepted the gateway.
        options: what may be set, by key.
    """

    def __init__(self, settings: GatewaySettings, *, seed: int | str, local_time: int, now: int = 0) -> None:
        """``local_time`` is what the clock shows at ``now``: ms of UTC since 1970."""
        self.settings = settings
        self.rng = random.Random(f"{seed}/{settings.identity}")
        self.clock = Clock(local_time - now)
        self.online = False
        self.firmware_version = settings.firmware_version
        self.services = [Service(number, self.rng) for number in range(1, settings.services + 1)]
        self.options = {"HeartbeatInterval": 86_400, "MeterValueSampleInterval": settings.sample_interval}
        self.diagnostics = "Idle"
        self.firmware = "Idle"
        self._out: list[Output] = []
        self._jobs: list[tuple[int, int, Callable[[int], None]]] = []
        self._job_count = 0
        self._next_sample = now + settings.sample_interval * 1000
        self._commands = Commands(self)

    # What the driver asks

    @property
    def identity(self) -> str:
        """What the control center knows it by."""
        return self.settings.identity

    @property
    def handlers(self) -> Mapping[type, Handler]:
        """What it obeys."""
        return self._commands.handlers

    @property
    def is_busy(self) -> bool:
        """Nothing of a gateway has to arrive."""
        return False

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        due = min(self._next_sample, min(service.deadline for service in self.services))
        return min(due, self._jobs[0][0]) if self._jobs else due

    def take(self) -> list[Output]:
        """What has to be sent or done, in order."""
        out, self._out = self._out, []
        return out

    def boot_request(self) -> Request[Any]:
        """The BootNotification."""
        settings = self.settings
        return m.BootNotificationRequest(
            dingx_gateway_model=settings.model[:20],
            dingx_gateway_vendor=settings.vendor[:20],
            dingx_gateway_serial_number=settings.serial_number[:25],
            firmware_version=self.firmware_version[:50],
        )

    def connected(self, now: int) -> None:
        """There is a connection, and the control center has accepted the gateway."""
        self.tick(now)
        self.online = True
        self._settle(now)

    def disconnected(self, now: int) -> None:
        """The connection is gone."""
        self.tick(now)
        self.online = False
        for service in self.services:
            service.told = None  # it may have been lost
        self._out = [output for output in self._out if isinstance(output, Reboot)]

    def accepted(self, interval: int) -> None:
        """The control center has accepted the gateway, and wants heartbeats at this interval."""
        if interval > 0:
            self.options["HeartbeatInterval"] = interval

    def set_clock(self, to: dt.datetime, now: int) -> None:
        """The control center has said what time it is."""
        self.clock.set((to - _EPOCH) // dt.timedelta(milliseconds=1), now)

    def obey(self, request: Request[Any], now: int) -> Response:
        """The answer to a request that ``handlers`` has."""
        self.tick(now)
        response = self.handlers[type(request)](request, now)
        self._settle(now)
        return response

    def answered(self, request: Request[Any], response: Response | None, now: int) -> None:
        """A gateway asks nothing."""

    def delivered(self, request: Any, result: Any, now: int) -> None:
        """Nothing of a gateway is kept."""

    def amend(self, request: Any) -> Any:
        """Nothing of a gateway is kept."""
        return request

    def stop_all(self, now: int) -> None:
        """The end of a run."""
        self.tick(now)

    def tick(self, now: int) -> None:
        """Do what is due."""
        for service in self.services:
            service.advance(now)
        while self._jobs and self._jobs[0][0] <= now:
            heapq.heappop(self._jobs)[2](now)
        if now >= self._next_sample:
            self.sample_from(now)
            if self.online:
                for service in self.services:
                    self.tell_values(service, now, "Sample.Periodic")
        self._settle(now)

    # For the commands

    def tell(self, request: Request[Any]) -> None:
        """Send something, if that can be."""
        self._out.append(Tell(request))

    def after(self, delay: int, job: Callable[[int], None], now: int) -> None:
        """Do something in so many ms."""
        self._job_count += 1
        heapq.heappush(self._jobs, (now + delay, self._job_count, job))

    def moment(self, now: int) -> dt.datetime:
        """The time on the gateway's clock."""
        return _EPOCH + dt.timedelta(milliseconds=self.clock.local(now))

    def here(self, at: dt.datetime) -> int:
        """A time of the clock in the gateway's own ms."""
        return (at - _EPOCH) // dt.timedelta(milliseconds=1) - self.clock.offset

    def service(self, id: object) -> Service | None:
        """The service that is called so, as text or as a number."""
        return next((one for one in self.services if one.id == str(id)), None)

    def set_option(self, key: str, value: int, now: int) -> None:
        """Change a setting, with all that follows from it."""
        self.options[key] = value
        if key == "HeartbeatInterval":
            self._out.append(Beat(value))
        elif key == "MeterValueSampleInterval":
            self.sample_from(now)

    def sample_from(self, now: int) -> None:
        """Begin to count the interval between two meter values."""
        every = self.options["MeterValueSampleInterval"]
        self._next_sample = now + every * 1000 if every else FOREVER

    def tell_values(self, service: Service, now: int, context: str) -> None:
        """Report the meter of a service. Its id is a number here, and a text everywhere else."""
        readings = (
            ("Energy.Active.Import.Register", f"{service.meter.reading / 10:.10g}", "Wh"),
            ("Power.Active.Import", f"{service.power / 1000:.10g}", "W"),
            ("Current.Import", f"{service.current / 10:.10g}", "A"),
            ("Voltage", f"{_MAINS / 10:.10g}", "V"),
        )
        self.tell(
            m.MeterValuesRequest(
                service_id=service.number,
                meter_value=(
                    m.MeterValue(
                        timestamp=self.moment(now),
                        sampled_value=tuple(
                            m.SampledValue(
                                value=value,
                                context=e.ReadingContext(context),
                                measurand=e.Measurand(measurand),
                                unit=e.UnitOfMeasure(unit),
                            )
                            for measurand, value, unit in readings
                        ),
                    ),
                ),
            )
        )

    def tell_status(self, service: Service, now: int) -> None:
        """Report how a service is."""
        code = e.DingxGatewayErrorCode
        lost = service.status == "Faulted"
        self.tell(
            m.StatusNotificationRequest(
                service_id=service.id,
                error_code=code.SERVICE_CONNECTION_FAILURE if lost else code.NO_ERROR,
                status=e.DingxGatewayStatus(service.status),
                timestamp=self.moment(now),
            )
        )

    def reboot(self) -> None:
        """Go down now; what was told and what was being done is forgotten."""
        self._out.append(Reboot(_BOOTS_FOR))
        self.online = False
        self._jobs.clear()
        self.diagnostics = self.firmware = "Idle"
        for service in self.services:
            service.told = None
            service.captures = 0
            if service.status == "Preparing":
                service.status = "Available"

    # Inside

    def _settle(self, now: int) -> None:
        if self.online:
            for service in self.services:
                if service.status != service.told:
                    service.told = service.status
                    self.tell_status(service, now)

"""Many simulated gateways of ntxcp on real sockets, in one process."""

from __future__ import annotations

import random
from typing import ClassVar, Self

import msgspec

from evproto.ntxcp import v10
from evproto.simulate.fleet import Surroundings
from evproto.simulate.ntxcp.gateway import GatewayModel, GatewaySettings
from evproto.simulate.ocppj import fleet as ocppj
from evproto.simulate.ocppj.driver import Driver, Line

__all__ = ["Fleet", "FleetPlan"]


class FleetPlan(ocppj.Plan, frozen=True, kw_only=True):
    """What a fleet of gateways is to be. A plan can be sent to another process."""

    noun: ClassVar[str] = "gateways"
    gateways: int = 2
    services: int = 3
    """Of each gateway."""
    sample_interval: int = 60
    """Seconds of the gateways between meter values."""

    @property
    def kind(self) -> str:
        return "ntxcp1.0"

    @property
    def size(self) -> int:
        return self.gateways

    def part(self, size: int, skipping: int, share: float) -> Self:
        return msgspec.structs.replace(
            self, gateways=size, first=self.first + skipping, connect_rate=self.connect_rate * share
        )

    def make(self, surroundings: Surroundings) -> Fleet:
        return Fleet(self, surroundings)

    def made_up(self, number: int) -> str:
        return f"GW{number + 1:07d}"

    def gateway_settings(self, number: int) -> GatewaySettings:
        """What the gateway with a number is."""
        rng = random.Random(f"{self.seed}/fleet/gateway/{number}")
        return GatewaySettings(
            identity=self.identity(number),
            services=self.services,
            serial_number=f"{rng.randrange(10**12):012d}",
            sample_interval=self.sample_interval,
        )


class Fleet(ocppj.Fleet):
    """A fleet of gateways.

    Attributes:
        models: the simulated gateways.
    """

    def __init__(self, plan: FleetPlan, surroundings: Surroundings | None = None) -> None:
        super().__init__(plan, surroundings)
        self.plan = plan
        self.models: list[GatewayModel] = []

    def snapshot(self) -> dict[str, float]:
        power = sum(service.power for model in self.models for service in model.services)
        return {
            "chargers": len(self.models),
            "online": sum(model.online for model in self.models),
            "charging": 0,
            "power_kw": power / 1e6,
            "messages_waiting": sum(driver.waiting for driver in self.drivers),
        }

    def _make(self, number: int, line: Line) -> Driver:
        plan, surroundings = self.plan, self.surroundings
        seed = f"{plan.seed}/{number}"
        skew = plan.faults.skew(random.Random(f"{seed}/skew"))
        model = GatewayModel(
            plan.gateway_settings(number), seed=seed, local_time=ocppj.utc_milliseconds() + skew
        )
        if skew:
            self.statistics.faults["clock-skew"] += 1
        self.models.append(model)
        return Driver(
            model,
            line,
            [v10.codec],
            number=number,
            seed=seed,
            statistics=self.statistics,
            tls=surroundings.tls,
            watch=surroundings.recording.saw if surroundings.recording is not None else None,
        )

"""Many simulated stations of OCPP on real sockets, in one process."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

import msgspec

from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Codec
from evproto.simulate.fleet import Event, Surroundings
from evproto.simulate.ocpp.connector import Transaction
from evproto.simulate.ocpp.settings import StationSettings
from evproto.simulate.ocpp.station import StationModel
from evproto.simulate.ocppj import fleet as ocppj
from evproto.simulate.ocppj.driver import Driver, Line
from evproto.simulate.people import Habits, People

__all__ = ["Fleet", "FleetPlan"]

CODECS: Final[dict[str, Codec]] = {"1.6": v16.codec, "2.0.1": v201.codec, "2.1": v21.codec}


class FleetPlan(ocppj.Plan, frozen=True, kw_only=True):
    """What a fleet of stations is to be. A plan can be sent to another process."""

    noun: ClassVar[str] = "stations"
    stations: int = 10
    versions: Sequence[str] = ("1.6",)
    """1.6, 2.0.1, 2.1; one after the other."""
    connectors: int = 2
    """Of a DC station."""
    ac_share: float = 0.3
    """Part of the stations that are AC."""
    sample_interval: int = 60
    """Seconds of the stations between meter values."""
    habits: Habits | None = Habits()
    """None: nobody comes, the stations only beat."""
    start_failures: float = 0.02

    @property
    def kind(self) -> str:
        return "ocpp" + "/".join(dict.fromkeys(self.versions))

    @property
    def size(self) -> int:
        return self.stations

    def part(self, size: int, skipping: int, share: float) -> Self:
        return msgspec.structs.replace(
            self, stations=size, first=self.first + skipping, connect_rate=self.connect_rate * share
        )

    def make(self, surroundings: Surroundings) -> Fleet:
        return Fleet(self, surroundings)

    def made_up(self, number: int) -> str:
        return f"SIM{number + 1:07d}"

    def version(self, number: int) -> str:
        """What the station with a number speaks."""
        return self.versions[number % len(self.versions)]

    def station_settings(self, number: int) -> StationSettings:
        """What the station with a number is."""
        rng = random.Random(f"{self.seed}/fleet/{number}")
        fields: dict[str, Any] = {
            "identity": self.identity(number),
            "version": self.version(number),
            "serial_number": f"{rng.randrange(10**12):012d}",
            "sample_interval": self.sample_interval,
            "start_failures": self.start_failures,
        }
        if rng.random() < self.ac_share:
            return StationSettings.ac(**fields)
        return StationSettings(
            connectors=self.connectors, max_power=rng.choice((60_000, 120_000, 120_000, 180_000)), **fields
        )


class Fleet(ocppj.Fleet):
    """A fleet of stations.

    ::

        fleet = Fleet(FleetPlan(urls=["ws://127.0.0.1:9000/ocpp"], stations=100, speed_up=60))
        statistics = await fleet.run(duration=300)

    Attributes:
        models: the simulated stations.
    """

    def __init__(self, plan: FleetPlan, surroundings: Surroundings | None = None) -> None:
        super().__init__(plan, surroundings)
        self.plan = plan
        self.models: list[StationModel] = []

    def snapshot(self) -> dict[str, float]:
        busy = [gun for model in self.models for gun in model.guns if gun.is_busy]
        return {
            "chargers": len(self.models),
            "online": sum(model.online for model in self.models),
            "charging": len(busy),
            "power_kw": sum(gun.power for gun in busy) / 1e6,
            "transactions_waiting": sum(len(model.transactions) for model in self.models),
            "messages_waiting": sum(driver.waiting for driver in self.drivers),
        }

    def _make(self, number: int, line: Line) -> Driver:
        plan, surroundings = self.plan, self.surroundings
        settings = plan.station_settings(number)
        seed = f"{plan.seed}/{number}"
        skew = plan.faults.skew(random.Random(f"{seed}/skew"))
        model = StationModel(settings, seed=seed, local_time=ocppj.utc_milliseconds() + skew)
        if skew:
            self.statistics.faults["clock-skew"] += 1
        model.on_transaction = self._count
        self.models.append(model)
        people = People(model, plan.habits, seed, 0) if plan.habits is not None else None
        return Driver(
            model,
            line,
            [CODECS[settings.version]],
            number=number,
            seed=seed,
            statistics=self.statistics,
            people=people,
            tls=surroundings.tls,
            watch=surroundings.recording.saw if surroundings.recording is not None else None,
        )

    def _count(self, event: Any, transaction: Transaction) -> None:
        counts = self.statistics.counts
        counts[f"transactions {event}"] += 1
        ended = event == "ended"
        if ended:
            counts["energy Wh"] += transaction.meter_stop // 10 - transaction.meter_start // 10
        if self.surroundings.tell is not None:
            remote = transaction.remote_id
            connector = transaction.connector
            self.surroundings.tell(
                Event(
                    time=dt.datetime.now(dt.UTC).timestamp(),
                    protocol=f"ocpp{connector.station.settings.version}",
                    charger=connector.station.identity,
                    transaction=str(remote) if remote is not None else transaction.uid,
                    event=event,
                    energy_kwh=transaction.energy / 10_000 if ended else None,
                )
            )

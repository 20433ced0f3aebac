"""What stations of all versions do alike when they are told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evproto.simulate.ocpp.connector import Connector, Reservation
from evproto.simulate.ocpp.profiles import Period, Profile
from evproto.simulate.ocpp.settings import Token

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = [
    "MOST_PERIODS",
    "MOST_PROFILES",
    "MOST_STACK_LEVEL",
    "cancel_reservation",
    "operate",
    "pick",
    "read_profile",
    "remote_start",
    "remote_stop",
    "reserve",
    "schedule",
]

MOST_STACK_LEVEL: Final = 10
MOST_PERIODS: Final = 100
MOST_PROFILES: Final = 100


def pick(station: StationModel, number: int | None, token: Token) -> Connector | None:
    """Where somebody can be started: the connector asked for, else one that is plugged in, else any."""
    candidates = station.guns if number is None else [station.gun(number)]
    free = [
        connector
        for connector in candidates
        if connector is not None
        and connector.is_usable
        and connector.asked is None
        and station.may_use(connector, token)
    ]
    return next((one for one in free if one.vehicle is not None), free[0] if free else None)


def remote_start(
    station: StationModel,
    connector: Connector,
    token: Token,
    remote_start_id: int | None,
    profile: Profile | None,
    now: int,
) -> bool:
    """Begin because the server says so, now or when somebody plugs in."""
    if station.options.authorize_remote and not station.authorize(
        connector, token, now, remote_start_id=remote_start_id
    ):
        return False
    if profile is not None:
        station.profiles.put(profile)
    if not station.options.authorize_remote:
        # After the answer: the server does not expect the transaction before it.
        def go(then: int) -> None:
            if connector.is_usable:
                station.begin(connector, token, then, remote_start_id=remote_start_id)

        station.after(0, go, now)
    return True


def remote_stop(station: StationModel, connector: Connector, now: int) -> None:
    """End a transaction because the server says so."""
    transaction = connector.transaction

    def go(then: int) -> None:
        if transaction is not None and connector.transaction is transaction:
            station.stop_transaction(connector, "Remote", then)

    station.after(0, go, now)


def operate(connectors: list[Connector], *, operative: bool) -> bool:
    """Open or close connectors; False if one does so only after its transaction."""
    at_once = True
    for connector in connectors:
        if connector.transaction is not None and not operative:
            connector.becomes = operative
            at_once = False
        else:
            connector.is_operative, connector.becomes = operative, None
    return at_once


def reserve(
    station: StationModel, connector: Connector | None, number: int, token: Token, until: int, now: int
) -> str:
    """Keep a connector for somebody; Accepted, Rejected, Faulted, Unavailable or Occupied."""
    if connector is None or until <= now:
        return "Rejected"
    if connector.fault is not None:
        return "Faulted"
    if not connector.is_operative:
        return "Unavailable"
    held = connector.reservation
    if (
        connector.vehicle is not None
        or connector.waiting is not None
        or connector.transaction is not None
        or (held is not None and held.id != number)
    ):
        return "Occupied"
    cancel_reservation(station, number)
    connector.reservation = Reservation(number, token, until)
    return "Accepted"


def cancel_reservation(station: StationModel, number: int) -> bool:
    """Whether there was one with this number."""
    for connector in station.guns:
        if connector.reservation is not None and connector.reservation.id == number:
            connector.reservation = None
            return True
    return False


def read_profile(evse: int, id: int, purpose: str | None, payload: Any, schedule: Any) -> Profile | None:
    """A charging profile in words of no version; None if the station cannot take it.

    ``payload`` is the ChargingProfile of any version, ``schedule`` the one of its schedules that counts.
    """
    periods = schedule.charging_schedule_period
    starts = [period.start_period for period in periods]
    kind = str(payload.charging_profile_kind)
    if (
        purpose is None
        or kind not in ("Absolute", "Recurring", "Relative")
        or not periods
        or len(periods) > MOST_PERIODS
        or starts[0] != 0
        or starts != sorted(set(starts))
        or any(period.limit is None or period.limit < 0 for period in periods)
        or not 0 <= payload.stack_level <= MOST_STACK_LEVEL
    ):
        return None
    return Profile(
        id=id,
        evse=evse,
        stack=payload.stack_level,
        purpose=purpose,
        kind=kind,
        unit=str(schedule.charging_rate_unit),
        periods=tuple(Period(period.start_period, float(period.limit)) for period in periods),
        recurrency=str(payload.recurrency_kind) if payload.recurrency_kind is not None else None,
        valid_from=_milliseconds(payload.valid_from),
        valid_to=_milliseconds(payload.valid_to),
        start=_milliseconds(schedule.start_schedule),
        duration=schedule.duration,
        transaction=payload.transaction_id,
        payload=payload,
    )


def schedule(
    station: StationModel, connector: int, seconds: int, unit: str, now: int
) -> list[tuple[int, float]]:
    """The composite schedule from now on, in A or W; without any profile, what the station can do.

    Limits in the other unit are converted with the highest voltage of the
    outlet, so that the schedule promises no more than is kept.
    """
    settings, gun = station.settings, station.gun(connector)
    volts = settings.max_voltage / 10
    most = settings.max_power if unit == "W" else settings.max_current / 10
    if gun is None:
        most *= len(station.guns)
    since = station.charging_since(gun) if gun is not None else None
    steps: list[tuple[int, float]] = []
    for start, limit in station.profiles.composite(connector, station.clock.local(now), seconds, since):
        own, other = (limit.watts, limit.amperes) if unit == "W" else (limit.amperes, limit.watts)
        candidates = [most] if own is None else [most, own]
        if other is not None:
            candidates.append(other * volts if unit == "W" else other / volts)
        value = round(min(candidates), 1)
        if not steps or steps[-1][1] != value:
            steps.append((start, value))
    return steps


def _milliseconds(at: Any) -> int | None:
    """ms of UTC since 1970."""
    return None if at is None else int(at.timestamp() * 1000)

"""The charging curve: physics that can be reckoned without looking into the model."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.simulate.charging import Clock
from evproto.simulate.meter import Meter
from evproto.simulate.vehicle import VEHICLES, CarModel, make_vehicle, make_vin
from evproto.simulate.ykc.billing import default_tariff
from evproto.simulate.ykc.charging import Charge, Order
from evproto.ykc.enums import PileType, StartSource, StopReason

STEP_JOULES = 360.0  # one step of the meter, 0.0001 kWh


def charge(
    model: CarModel | None = None, kind: PileType = PileType.DC, *, seed: int = 3, power: int = 120_000, volts: int = 10_000,
    soc: float | None = 0.1, leaves_at: float = 1.0, balance: int | None = None, at: int = 0,
) -> tuple[Charge, Meter]:  # fmt: skip
    meter = Meter(123_456)
    vehicle = make_vehicle(random.Random(seed), model=model, soc=soc, leaves_at=leaves_at)
    order = Order(transaction_no="0" * 32, source=StartSource.APP, balance=balance)
    current = 2_500 if kind is PileType.DC else 320
    return (
        Charge(
            order, now=0, kind=kind, clock=Clock(at), tariff=default_tariff(), meter=meter, vehicle=vehicle,
            max_power=power, max_current=current, max_voltage=volts,
        ),
        meter,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [PileType.DC, PileType.AC], ids=lambda kind: kind.name)
@pytest.mark.parametrize("number", range(len(VEHICLES)))
def test_energy_is_power_times_time_and_charge_only_grows(number: int, kind: PileType) -> None:
    session, meter = charge(VEHICLES[number], kind, soc=0.5)
    begin, joules, soc, now = meter.reading, 0.0, session.vehicle.battery.soc, 0
    while session.is_running:
        now += 1000
        session.advance(now)
        if session.is_running:  # output is held for whole seconds on the session's own grid
            joules += session.voltage / 10 * session.current / 10
        assert session.vehicle.battery.soc >= soc
        soc = session.vehicle.battery.soc
    assert session.stop_reason is StopReason.COMPLETED_SOC_FULL
    assert soc == 1.0
    # The last second is cut where the battery is full.
    assert meter.reading - begin == pytest.approx(joules / STEP_JOULES, abs=1 + 120_000 / STEP_JOULES)
    assert meter.reading - begin == session.bill.energy()
    # What went into the battery is about half of what it holds.
    taken = (meter.reading - begin) / 10_000
    loss = 0.92 if kind is PileType.AC else 1.0
    assert taken * loss == pytest.approx(VEHICLES[number].energy * 0.5, rel=0.1)


@pytest.mark.parametrize("model", VEHICLES, ids=lambda model: f"{model.cells}x{model.capacity:g}")
def test_constant_current_then_constant_voltage(model: CarModel) -> None:
    session, _ = charge(model)
    seen = []
    now = 0
    while session.is_running:
        now += 15_000
        session.advance(now)
        if session.is_flowing:
            battery = session.vehicle.battery
            seen.append((session.voltage / 10, session.current / 10, battery.soc, session.is_voltage_limited))
            # Under current a battery is above its voltage at rest, by current times resistance.
            assert session.voltage / 10 <= model.max_voltage
            assert session.current <= session.demand_current
            assert session.voltage * session.current <= 120_000 * 100
    highest = max(current for _, current, _, _ in seen)
    assert seen[0][1] < highest  # it rises
    tail = [current for _, current, soc, _ in seen if soc > 0.9]
    assert all(later <= earlier for earlier, later in pairwise(tail))  # it falls
    assert tail[-1] < highest / 3
    assert any(limited for *_, limited in seen[-5:])


def test_a_weak_pile_limits_the_power_and_a_low_one_gives_nothing() -> None:
    session, _ = charge(VEHICLES[3], power=20_000)
    session.advance(600_000)
    assert session.power == pytest.approx(20_000_000, rel=0.01)
    assert session.power <= 20_000_000
    session, meter = charge(VEHICLES[4], volts=5_000)
    session.advance(60_000)
    assert session.stop_reason is StopReason.ABORTED_NO_CHARGING_CURRENT
    assert meter.reading == 123_456


@given(st.lists(st.integers(1, 90_000), min_size=1, max_size=60), st.integers(0, 86_399_999))
def test_the_result_does_not_depend_on_when_it_is_looked_at(looks: list[int], at: int) -> None:
    whole, meter = charge(VEHICLES[2], at=at)
    pieces, other = charge(VEHICLES[2], at=at)
    now = 0
    for look in looks:
        now += look
        pieces.advance(now)
    whole.advance(now)
    assert (whole.voltage, whole.current, meter.reading) == (pieces.voltage, pieces.current, other.reading)
    assert whole.vehicle.battery.charge == pieces.vehicle.battery.charge
    assert whole.vehicle.battery.temperature == pieces.vehicle.battery.temperature
    assert whole.bill.amount() == pieces.bill.amount()


@given(st.integers(0, 20_000), st.integers(0, 86_399_999), st.integers(0, 5))
def test_nobody_is_charged_more_than_he_has(balance: int, at: int, number: int) -> None:
    session, _ = charge(VEHICLES[number], balance=balance, at=at)
    session.advance(12 * 3_600_000)
    amount = session.bill.amount()
    assert amount <= balance * 100
    if session.stop_reason is StopReason.ABORTED_INSUFFICIENT_BALANCE:
        # Not one more step of the meter would have been paid for: a step is 0.000186 CNY at most.
        assert balance * 100 - amount <= 3


def test_leaving_early_stops_at_that_state_of_charge() -> None:
    session, _ = charge(VEHICLES[0], soc=0.3, leaves_at=0.8)
    session.advance(10 * 3_600_000)
    assert session.stop_reason is StopReason.COMPLETED_MANUAL_STOP
    assert session.vehicle.battery.soc == pytest.approx(0.8, abs=1e-5)


def test_vehicle_numbers_have_right_check_digits() -> None:
    """By the table of ISO 3779, typed here again."""
    values = dict(zip("ABCDEFGH", range(1, 9), strict=True)) | dict(zip("JKLMN", range(1, 6), strict=True))
    values |= {"P": 7, "R": 9} | dict(zip("STUVWXYZ", range(2, 10), strict=True))
    values |= {str(digit): digit for digit in range(10)}
    weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2]
    rng = random.Random(0)
    for _ in range(200):
        vin = make_vin(rng)
        assert len(vin) == 17
        rest = sum(values[char] * weight for char, weight in zip(vin, weights, strict=True)) % 11
        assert vin[8] == "0123456789X"[rest]

"""Bills: every tier reckoned again from the readings of the meter, in decimals."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from evproto import ykc
from evproto.messages import BEIJING
from evproto.simulate.vehicle import VEHICLES, make_vehicle
from evproto.ykc.enums import StopReason, TariffRate
from evproto.ykc.messages import (
    BillingModelSettingRequest,
    PeriodRate,
    RemoteStartRequest,
    RemoteStopRequest,
    TransactionRecord,
    TransactionRecordV17,
)
from simulate.bench import PILE, Bench

NUMBER = "55031412782305012009211200000001"


@st.composite
def billing_models(draw: st.DrawFn) -> BillingModelSettingRequest:
    prices = {
        f"{rate}_{part}_price": draw(st.integers(0, 300_000)) / 100_000
        for rate in ("sharp", "peak", "flat", "valley")
        for part in ("energy", "service")
    }
    rates = draw(st.lists(st.sampled_from(list(TariffRate)), min_size=48, max_size=48))
    return BillingModelSettingRequest(
        pile_id=PILE, billing_model_no="0100", loss_ratio=0, **prices,
        period_rates=tuple(PeriodRate(rate=rate) for rate in rates),
    )  # fmt: skip


@settings(phases=[Phase.generate])  # making half a day of charging smaller takes minutes
@given(
    billing_models(),
    st.integers(0, 86_399),
    st.integers(60, 2 * 3600),
    st.integers(0, 5),
    st.sampled_from(["1.6", "1.7"]),
)
def test_the_tiers_are_what_the_meter_showed(
    model: BillingModelSettingRequest, second: int, length: int, vehicle: int, version: str
) -> None:
    bench = Bench(hour=second / 3600, version=version)
    assert bench.ask(model).result == 1
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng, model=VEHICLES[vehicle]), bench.now)
    meter = bench.pile.guns[0].meter
    begin = meter.reading
    start = RemoteStartRequest(
        transaction_no=NUMBER, pile_id=PILE, gun_no="01", logical_card_no="0" * 16,
        physical_card_no=bytes(8), account_balance=40_000_000.0,
    )  # fmt: skip
    assert bench.ask(start).result == 1

    # Walk from one half hour to the next and read the meter there, as a person would.
    energy = dict.fromkeys(TariffRate, Decimal(0))
    before, gone, of_day = begin, 0.0, float(second)
    while gone < length:
        step = min(1800 - of_day % 1800, length - gone)
        bench.run(step)
        rate = model.period_rates[int(of_day % 86_400) // 1800].rate
        energy[rate] += (Decimal(meter.reading) - before) / 10_000
        before, gone, of_day = meter.reading, gone + step, of_day + step
    bench.tell(RemoteStopRequest(pile_id=PILE, gun_no="01"))
    bench.run(10)

    (record,) = bench.only(TransactionRecordV17 if version == "1.7" else TransactionRecord)
    assert record.frame_type == (0x3D if version == "1.7" else 0x3B)
    exact = ykc.exact(bench.codec.decode(bench.codec.encode(record)).message)
    total = Decimal(0)
    for rate in TariffRate:
        name = rate.name.lower()
        price = Decimal(str(getattr(model, f"{name}_energy_price"))) + Decimal(
            str(getattr(model, f"{name}_service_price"))
        )
        amount = (price * energy[rate]).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        total += amount
        assert exact[f"{name}_price"] == price
        assert exact[f"{name}_energy"] == energy[rate]
        assert exact[f"{name}_energy_with_loss"] == energy[rate]
        assert exact[f"{name}_amount"] == amount
    assert exact["total_amount"] == total
    assert exact["meter_start"] == Decimal(begin) / 10_000
    assert exact["meter_end"] == Decimal(meter.reading) / 10_000
    assert exact["total_energy"] == exact["meter_end"] - exact["meter_start"] == sum(energy.values())
    assert exact["total_energy_with_loss"] == exact["total_energy"]
    assert bench.codec.check(record) == ()
    midnight = dt.datetime(2026, 9, 22, tzinfo=BEIJING)  # bench.MIDNIGHT
    assert record.start_time == midnight + dt.timedelta(seconds=second)
    if record.stop_reason is StopReason.COMPLETED_APP_REMOTE_STOP:
        assert record.end_time == record.start_time + dt.timedelta(seconds=length)


def test_the_meter_goes_on_from_one_session_to_the_next() -> None:
    bench = Bench()
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng, soc=0.1), 0)
    for number in range(3):
        bench.tell(
            RemoteStartRequest(
                transaction_no=f"{number:032d}", pile_id=PILE, gun_no="01", logical_card_no="0" * 16,
                physical_card_no=bytes(8), account_balance=500.0,
            )
        )  # fmt: skip
        bench.run(300)
        bench.tell(RemoteStopRequest(pile_id=PILE, gun_no="01"))
        bench.run(60)
    records = bench.only(TransactionRecord)
    assert [record.transaction_no for record in records] == [f"{number:032d}" for number in range(3)]
    for earlier, later in itertools.pairwise(records):
        assert later.meter_start == earlier.meter_end > earlier.meter_start


def test_a_loss_ratio_is_paid_for() -> None:
    bench = Bench(allow=("flat_amount",))  # check() knows of no loss ratio
    model = ykc.tariff.Tariff.of(
        BillingModelSettingRequest(
            pile_id=PILE, billing_model_no="0100", loss_ratio=0, sharp_energy_price=1.0, sharp_service_price=0.0,
            peak_energy_price=1.0, peak_service_price=0.0, flat_energy_price=1.0, flat_service_price=0.5,
            valley_energy_price=1.0, valley_service_price=0.0, period_rates=(PeriodRate(rate=TariffRate.FLAT),) * 48,
        )
    )  # fmt: skip
    bench.tell(
        ykc.tariff.Tariff(
            billing_model_no="0100", prices=model.prices, periods=model.periods, loss_ratio=5
        ).setting(PILE)
    )
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng, soc=0.1), 0)
    bench.tell(
        RemoteStartRequest(
            transaction_no=NUMBER, pile_id=PILE, gun_no="01", logical_card_no="0" * 16, physical_card_no=bytes(8),
            account_balance=500.0,
        )
    )  # fmt: skip
    bench.run(1000)
    bench.pile.stop(1, bench.now)
    bench.run(5)
    (record,) = bench.only(TransactionRecord)
    exact = ykc.exact(record)
    with_loss = (exact["flat_energy"] * Decimal("1.05")).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert exact["flat_energy_with_loss"] == exact["total_energy_with_loss"] == with_loss
    assert exact["flat_amount"] == (with_loss * Decimal("1.5")).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert exact["total_energy"] > 1


def test_a_clock_set_back_does_not_turn_start_and_end_round() -> None:
    bench = Bench()
    bench.pile.plug_in(1, make_vehicle(bench.pile.rng, soc=0.1), 0)
    bench.tell(
        RemoteStartRequest(
            transaction_no=NUMBER, pile_id=PILE, gun_no="01", logical_card_no="0" * 16, physical_card_no=bytes(8),
            account_balance=500.0,
        )
    )  # fmt: skip
    bench.run(600)
    wanted = dt.datetime(2026, 9, 1, 12, 0, 0, 250_000, tzinfo=BEIJING)
    answer = bench.ask(ykc.messages.TimeSyncRequest(pile_id=PILE, current_time=wanted))
    assert answer.current_time == wanted
    bench.run(600)
    bench.pile.stop(1, bench.now)
    bench.run(5)
    (record,) = bench.only(TransactionRecord)
    assert record.end_time == wanted + dt.timedelta(seconds=600)
    assert record.end_time - record.start_time == dt.timedelta(seconds=1200)
    assert record.total_energy == pytest.approx(record.meter_end - record.meter_start, abs=1e-9)

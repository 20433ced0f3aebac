"""Simulated piles against a platform made of the codec alone, on a clock turned by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from evproto import ykc
from evproto.simulate.vehicle import make_vehicle
from evproto.simulate.ykc import Faults, Habits, PileSettings, SimulatedPile
from evproto.simulate.ykc.billing import default_tariff
from evproto.wire.frame import Frame
from evproto.ykc import messages as m
from evproto.ykc.enums import ExecutionControl, StopReason
from simulate.bench import PILE
from simulate.platform import Platform

CARD = bytes.fromhex("00000000D14B0A54")


class World:
    """A pile, a platform, and the wire between them, without delay."""

    def __init__(self, *, platform: dict[str, Any] | None = None, speed_up: float = 1.0, seed: int = 1,
                 habits: Habits | None = None, faults: Faults | None = None, **settings: Any) -> None:  # fmt: skip
        self.now = 100.0
        self.options = platform or {}
        self.platforms: list[Platform] = []
        self.segments: list[bytes] = []
        self.resets = 0
        self.up = True
        self.times: list[tuple[float, m.TransactionRecord]] = []
        self.pile = SimulatedPile(
            PileSettings(**{"pile_id": PILE, **settings}),
            seed=seed, now=self.now, speed_up=speed_up, habits=habits, faults=faults,
        )  # fmt: skip

    @property
    def platform(self) -> Platform:
        return self.platforms[-1]

    def connect(self) -> World:
        self.platforms.append(Platform(**self.options))
        self.platform.on_frame = self._see
        self.pile.connect(self.now)
        self.exchange()
        return self

    def _see(self, frame: Frame) -> None:
        if isinstance(frame.message, m.TransactionRecord):
            self.times.append((self.now, frame.message))

    def exchange(self) -> None:
        while segments := self.pile.take(self.now):
            for segment in segments:
                self.segments.append(segment.data)
                answer = self.platform.feed(segment.data)
                if segment.resets:
                    self.resets += 1
                    self.cut()
                    return
                if answer:
                    self.pile.receive(answer, self.now)
        if self.pile.wants_close:
            self.cut()

    def cut(self) -> None:
        self.pile.lost("test", self.now)

    def tell(self, message: Any) -> None:
        self.pile.receive(self.platform.command(message), self.now)
        self.exchange()

    def run(self, seconds: float) -> World:
        end = self.now + seconds
        while True:
            due = self.pile.deadline
            connected = self.pile._session is not None
            if not connected and self.up:
                due = min(due, self.pile.retry_at)
            if due > end:
                break
            self.now = max(self.now, due)
            self.pile.tick(self.now)
            if not connected and self.up and self.now >= self.pile.retry_at:
                self.connect()
            self.exchange()
        self.now = end
        self.pile.tick(end)
        self.exchange()
        return self


def test_it_logs_in_and_says_what_it_is() -> None:
    world = World(version="1.6").connect()
    assert world.platform.login == m.LoginRequest(
        pile_id=PILE, pile_type=0, gun_count=2, protocol_version=1.6, firmware_version="V4.1.50",
        network_type=0, sim_no="89860400000000000000", network_operator=0,
    )  # fmt: skip
    kinds = [frame.frame_type for frame in world.platform.frames]
    assert kinds[0] == 0x01
    assert world.platform.frames[0].sequence == 0
    assert 0x05 in kinds
    assert [frame.message.gun_no for frame in world.platform.frames if frame.frame_type == 0x13] == [
        "01",
        "02",
    ]
    assert world.pile.model.has_tariff


def test_every_gun_beats_every_ten_seconds() -> None:
    world = World(gun_count=3).connect()
    world.run(100.5)
    beats = Counter(message.gun_no for message in world.platform.of(m.HeartbeatRequest))
    assert beats == {"01": 11, "02": 11, "03": 11}
    answered = world.pile.statistics.latencies[0x03]
    assert answered.count == 33
    assert answered.maximum == 0.0


def test_idle_every_five_minutes_and_charging_every_fifteen_seconds() -> None:
    world = World(gun_count=1).connect().run(901)
    assert len(world.platform.of(m.RealtimeDataReport)) == 4  # after the login, then thrice
    world.pile.model.plug_in(1, make_vehicle(world.pile.model.rng, soc=0.2), 901_000)
    world.pile.model.ask_to_start(1, CARD, 901_000)
    world.platform.frames.clear()
    world.run(0)
    reports = world.platform.of(m.RealtimeDataReport)
    assert [report.gun_status.name for report in reports] == ["IDLE", "CHARGING"]  # plugged in, then started
    world.platform.frames.clear()
    world.run(600)
    assert len(world.platform.of(m.BmsHandshake)) == len(world.platform.of(m.BmsParameterConfig)) == 1
    for kind in (m.BmsDemandAndChargerOutput, m.BmsInformation, m.RealtimeDataReport):
        assert 38 <= len(world.platform.of(kind)) <= 41
    assert world.platform.findings() == []


def test_a_record_is_repeated_by_the_rule_until_confirmed() -> None:
    """Section 8.7: every 30 s, three times; section 8.8: once more after 5 min."""
    world = World(platform={"confirms": lambda record: False}, gun_count=1).connect()
    charge(world)
    begin = world.now
    world.run(900)
    assert [round(time - begin) for time, _ in world.times] == [2, 32, 62, 92, 392]
    assert len({record for _, record in world.times}) == 1
    assert world.pile.waiting_records == 1
    assert world.pile.statistics.counts["records given up"] == 1
    world.options["confirms"] = lambda record: True
    world.cut()
    world.run(5)
    # After the next login it is the first thing after the login itself.
    assert [frame.frame_type for frame in world.platform.frames][:2] == [0x01, 0x3B]
    assert world.pile.waiting_records == 0
    assert world.pile.statistics.counts["records confirmed"] == 1
    world.run(600)
    assert len(world.times) == 6


def test_what_is_charged_offline_is_uploaded_later() -> None:
    world = World(gun_count=1).connect()
    world.tell(
        m.CardSyncRequest(
            pile_id=PILE, cards=(m.CardSyncRequestCard(logical_card_no="1" * 16, physical_card_no=CARD),)
        )
    )
    world.up = False
    world.cut()
    world.run(60)
    model = world.pile.model
    model.plug_in(1, make_vehicle(model.rng, soc=0.2), 60_000)
    assert not model.ask_to_start(1, b"\x00" * 7 + b"\x01", 60_000)  # a stranger's card
    assert model.ask_to_start(1, CARD, 60_000)
    world.run(600)
    model.stop(1, 660_000)
    world.run(60)
    assert world.pile.waiting_records == 1
    world.up = True
    world.run(5)
    (record,) = world.platform.of(m.TransactionRecord)
    assert record.start_source.name == "OFFLINE_CARD"
    assert record.physical_card_no == CARD
    assert ykc.transactions.parse_transaction_no(record.transaction_no).gun_no == "01"
    assert world.platform.findings() == []
    assert world.pile.waiting_records == 0


def test_a_power_failure_keeps_the_bill() -> None:
    world = World(gun_count=1).connect()
    charge(world, stop=False)
    world.tell(m.RebootRequest(pile_id=PILE, execution_control=ExecutionControl.IMMEDIATELY))
    first = world.platform
    assert len(first.of(m.RebootResponse)) == 1
    assert first.of(m.TransactionRecord) == []
    world.run(15)
    assert len(world.platforms) == 1  # it boots
    world.run(60)
    assert len(world.platforms) == 2
    (record,) = world.platform.of(m.TransactionRecord)
    assert record.stop_reason is StopReason.ABORTED_PILE_POWER_LOSS
    assert record.total_energy > 1


def test_an_update_takes_its_time_and_changes_the_version() -> None:
    world = World().connect()
    world.tell(
        m.UpdateRequest(
            pile_id=PILE, pile_type=1, pile_power=120, server_address="198.51.100.7", server_port=21, username="u",
            password="p", file_path="DC/V4.bin", execution_control=1, download_timeout=10,
        )
    )  # fmt: skip
    assert world.platform.of(m.UpdateResponse) == []
    world.run(120)
    (answer,) = world.platforms[0].of(m.UpdateResponse)
    assert answer.result == 0
    before, after = (platform.login.firmware_version for platform in world.platforms)
    assert before != after
    # The answer carries the number of the command.
    (frame,) = [frame for frame in world.platforms[0].frames if frame.frame_type == 0x93]
    assert frame.sequence == 0x7001


def test_a_refused_login_is_tried_again_later_and_nothing_else_is_said() -> None:
    world = World(platform={"accepts": lambda login: False}).connect()
    world.run(20)
    assert [frame.frame_type for platform in world.platforms for frame in platform.frames] == [0x01]
    world.run(300)
    assert 3 <= len(world.platforms) <= 11
    assert {frame.frame_type for platform in world.platforms for frame in platform.frames} == {0x01}


def test_a_platform_that_falls_silent_is_left_after_three_heartbeats() -> None:
    world = World(gun_count=1).connect()
    world.run(25)
    world.platform.answers = False
    world.run(60)
    assert len(world.platforms) == 2
    # The last answer at 20 s; nothing for three intervals at 50 s, when two beats are out.
    assert world.pile.statistics.unanswered[0x03] == 2
    assert world.pile.statistics.counts["closed: heartbeats missed"] == 1


def test_a_new_billing_model_is_asked_for_and_used() -> None:
    tariff = default_tariff("0042")
    world = World(platform={"tariff": tariff}, gun_count=1).connect()
    assert len(world.platform.of(m.BillingModelRequest)) == 1
    assert world.pile.model.tariff.billing_model_no == "0042"
    world.cut()
    world.run(5)
    assert [message.billing_model_no for message in world.platform.of(m.BillingModelVerificationRequest)] == [
        "0042"
    ]
    assert world.platform.of(m.BillingModelRequest) == []


@pytest.mark.parametrize("version", ["1.5", "1.6", "1.7"])
def test_a_morning_of_customers(version: str) -> None:
    """Everything a pile says is legal, and every session ends in one confirmed record."""
    world = World(
        version=version, speed_up=60.0, parking_locks=True, start_failures=0.1,
        habits=Habits(pause=600, parallel=0.7, by_vin=0.2, stops_early=0.3),
    ).connect()  # fmt: skip
    world.run(8 * 3600 / 60)
    platform = world.platform
    record = m.TransactionRecordV17 if version == "1.7" else m.TransactionRecord
    records = platform.of(record)
    assert len(records) > 10
    assert platform.findings() == []
    assert platform.errors == []
    assert len({one.transaction_no for one in records}) == len(records)
    assert platform.of(m.ParkingLockReport)
    assert bool(platform.of(m.ParallelStartRequest)) == (version != "1.5")
    assert {one.stop_reason.known for one in records} == {True}
    assert len({one.stop_reason for one in records}) >= 3
    counts = world.pile.statistics.counts
    assert counts["records made"] == counts["records confirmed"] == len(records)
    # 13.3, 4: between start and record, no gun says it is idle.
    charging: dict[str, str] = {}
    for frame in platform.frames:
        message = frame.message
        if isinstance(message, m.RealtimeDataReport):
            if message.gun_no in charging and message.transaction_no != "0" * 32:
                assert message.gun_status.name == "CHARGING"
            if message.gun_status.name == "CHARGING":
                charging[message.gun_no] = message.transaction_no
            else:
                assert message.gun_no not in charging, "idle before its record"
        elif isinstance(message, record):
            assert charging.pop(message.gun_no, message.transaction_no) == message.transaction_no


def test_the_same_seed_is_the_same_day() -> None:
    def day(seed: int) -> list[bytes]:
        return World(seed=seed, speed_up=60.0, habits=Habits(pause=300)).connect().run(90).segments

    assert day(5) == day(5)
    assert day(5) != day(6)


def charge(world: World, *, stop: bool = True) -> None:
    """A session of ten minutes by card at gun 1, up to its end."""
    milliseconds = round((world.now - 100.0) * 1000)
    model = world.pile.model
    model.plug_in(1, make_vehicle(model.rng, soc=0.2), milliseconds)
    assert model.ask_to_start(1, CARD, milliseconds)
    world.run(600)
    assert model.guns[0].is_charging
    if stop:
        model.stop(1, milliseconds + 600_000)


def test_at_the_end_of_a_run_a_start_on_its_way_is_stopped_too() -> None:
    world = World(gun_count=1).connect()
    model = world.pile.model
    model.plug_in(1, make_vehicle(model.rng, soc=0.2), 0)
    world.exchange()
    world.platform.answers = False
    model.ask_to_start(1, CARD, 0)
    world.exchange()
    (asked,) = world.platform.of(m.StartRequest)
    world.pile.stop_charging(world.now)
    world.platform.answers = True
    (answer,) = world.platform.reply(asked)
    world.pile.receive(world.platform.codec.encode(answer, 99), world.now)
    world.run(10)
    (record,) = world.platform.of(m.TransactionRecord)
    assert record.stop_reason is StopReason.COMPLETED_MANUAL_STOP
    assert not model.guns[0].is_busy

"""The simulator and the library's server, which were written apart, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import time
from typing import Any

import pytest

from evproto.aio.ykc import ConnectedPile, Limits, Online, PileServer
from evproto.messages import BEIJING
from evproto.simulate.ykc import Fleet, FleetPlan, Habits, PileSettings, make_vehicle, parse_faults
from evproto.simulate.ykc.billing import default_tariff
from evproto.ykc import messages as m
from evproto.ykc.session import MessageReceived, PlatformSettings

CARD = bytes.fromhex("00000000D14B0A54")


class World:
    """A server that accepts cards and keeps records, and a fleet at it."""

    def __init__(self, **plan: Any) -> None:
        self.server = PileServer(
            PlatformSettings(tariff=default_tariff("0100"), heartbeat_interval=60.0),
            limits=Limits(frame_rate=10_000.0),  # a pile that lives faster says more
        )
        self.records: dict[str, MessageReceived] = {}
        self.repeated = 0
        self.online: set[str] = set()
        self.reports: list[Any] = []
        self.changed = asyncio.Event()
        self.plan = plan
        self.fleet: Fleet

        @self.server.on(Online)
        def online(pile: ConnectedPile, event: Online) -> None:
            self.online.add(pile.pile_id)
            self.changed.set()

        @self.server.on(m.StartRequest)
        def start(pile: ConnectedPile, asked: m.StartRequest) -> m.StartResponse:
            return m.StartResponse(
                transaction_no=f"{len(self.records) + random.randrange(10**9):032d}", pile_id=asked.pile_id,
                gun_no=asked.gun_no, logical_card_no="0" * 16, account_balance=50.0, result=1, failure_reason=0,
            )  # fmt: skip

        @self.server.on(MessageReceived)
        def any_message(pile: ConnectedPile, received: MessageReceived) -> None:
            assert pile.codec.check(received.frame) == ()
            self.reports.append(received.message)
            self.changed.set()

        @self.server.on_record
        def record(pile: ConnectedPile, received: MessageReceived) -> m.TransactionRecordResponse:
            number = received.message.transaction_no
            self.repeated += number in self.records
            self.records[number] = received
            self.changed.set()
            return m.TransactionRecordResponse(transaction_no=number, result=0)

    async def __aenter__(self) -> World:
        await self.server.start("127.0.0.1", 0)
        port = self.server.addresses[0][1]
        self.fleet = Fleet(FleetPlan(port=port, **self.plan))
        self.task = asyncio.create_task(self.fleet.run())
        await self.until(lambda: len(self.server.piles) == self.plan["piles"])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fleet.stop()
        await self.task
        await self.server.close(drain=0.0)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(40):
            while not condition():
                if self.task.done():
                    self.task.result()
                # What happens on the pile's side sets no event here; look again soon.
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.05)

    def seen(self, kind: type) -> list[Any]:
        return [message for message in self.reports if isinstance(message, kind)]


def test_every_session_of_a_fleet_is_settled_once_and_confirmed() -> None:
    async def main() -> None:
        busy = Habits(pause=30, by_card=1.0, by_vin=0.0)
        async with World(piles=6, speed_up=1000.0, habits=busy) as world:
            await world.until(lambda: len(world.records) >= 10)
        counts = world.fleet.statistics.counts
        assert counts["records confirmed"] <= len(world.records) <= counts["records made"]
        assert world.repeated == 0
        assert {received.message.pile_id for received in world.records.values()} <= {
            pile.pile_id for pile in world.fleet.piles
        }
        for pile in world.fleet.piles:
            assert pile.model.tariff.billing_model_no == "0100"  # asked for with 0x09

    asyncio.run(main())


def test_every_command_is_answered() -> None:
    """All platform-to-pile requests of the document, each to the pile and back over a socket."""

    async def main() -> None:
        async with World(piles=1, habits=None, speed_up=60.0, ac_share=0.0, parking_locks=True) as world:
            (pile,) = world.server.piles.values()
            (simulated,) = world.fleet.piles
            this = {"pile_id": pile.pile_id}
            await world.until(lambda: simulated.model.has_tariff)

            assert (await pile.call(m.RealtimeDataRequest(**this, gun_no="02"))).gun_no == "02"
            start = m.RemoteStartRequest(
                **this, transaction_no="1" * 32, gun_no="01", logical_card_no="0" * 16, physical_card_no=CARD,
                account_balance=99.0,
            )  # fmt: skip
            refused = await pile.call(start)
            assert (refused.result, refused.failure_reason.name) == (0, "GUN_NOT_PLUGGED")
            now = simulated._milliseconds
            simulated.model.plug_in(1, make_vehicle(random.Random(1), soc=0.2), now(time.monotonic()))
            simulated.tick(time.monotonic())
            # The second 0x33 of section 8.4.
            await world.until(lambda: [one.result for one in world.seen(m.RemoteStartResponse)] == [0, 1])
            await world.until(
                lambda: any(one.gun_status.name == "CHARGING" for one in world.seen(m.RealtimeDataReport))
            )
            again = await pile.call(start)
            assert (again.result, again.failure_reason.name) == (0, "GUN_ALREADY_CHARGING")
            balance = await pile.call(
                m.BalanceUpdateRequest(**this, gun_no="01", physical_card_no=CARD, new_balance=200.0)
            )
            assert balance.result == 0
            assert (await pile.call(m.RemoteStopRequest(**this, gun_no="01"))).result == 1
            await world.until(lambda: "1" * 32 in world.records)
            assert world.records["1" * 32].message.stop_reason.name == "COMPLETED_APP_REMOTE_STOP"
            assert (
                await pile.call(m.RemoteStopRequest(**this, gun_no="01"))
            ).failure_reason.name == "GUN_NOT_CHARGING"

            sync = m.CardSyncRequest(
                **this, cards=(m.CardSyncRequestCard(logical_card_no="1" * 16, physical_card_no=CARD),)
            )
            assert (await pile.call(sync)).result == 1
            query = m.CardQueryRequest(**this, cards=(m.CardQueryRequestCard(physical_card_no=CARD),))
            assert [card.result for card in (await pile.call(query)).cards] == [1]
            clear = m.CardClearRequest(**this, cards=(m.CardClearRequestCard(physical_card_no=CARD),))
            assert [card.result for card in (await pile.call(clear)).cards] == [1]
            assert [card.result for card in (await pile.call(query)).cards] == [0]

            work = m.WorkParametersRequest(**this, work_permission=0, max_output_power=50)
            assert (await pile.call(work)).result == 1
            assert simulated.model.max_power == simulated.model.settings.max_power // 2
            wanted = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=BEIJING)
            answer = await pile.call(m.TimeSyncRequest(**this, current_time=wanted))
            assert abs(answer.current_time - wanted) < dt.timedelta(seconds=1)
            assert (await pile.set_tariff(default_tariff("0200"))).result == 1
            assert simulated.model.tariff.billing_model_no == "0200"
            # A car stands there: the lock cannot be raised; the other one can.
            assert (await pile.call(m.ParkingLockRequest(**this, gun_no=1, command=0x55))).result == 0
            assert (await pile.call(m.ParkingLockRequest(**this, gun_no=2, command=0x55))).result == 1
            await world.until(lambda: world.seen(m.ParkingLockReport)[-1].lock_state.name == "RAISED")
            assert (
                await pile.call(m.QrPrefixRequest(**this, qr_format=0, prefix="https://x.example/"))
            ).result == 0

            parallel = [
                m.ParallelRemoteStartRequest(
                    **this, transaction_no=f"{gun:032d}", gun_no=f"{gun:02d}", logical_card_no="0" * 16,
                    physical_card_no=CARD, account_balance=20.0, parallel_no="260922120000",
                )
                for gun in (1, 2)
            ]  # fmt: skip
            simulated.model.plug_in(2, make_vehicle(random.Random(1), soc=0.2), now(time.monotonic()))
            both = await asyncio.gather(*(pile.call(one) for one in parallel))
            assert [one.result for one in both] == [1, 1]
            assert [one.gun_role.name for one in both] == ["MAIN", "AUXILIARY"]
            update = m.UpdateRequest(
                **this, pile_type=1, pile_power=120, server_address="198.51.100.1", server_port=21, username="u",
                password="p", file_path="x.bin", execution_control=2, download_timeout=5,
            )  # fmt: skip
            updating = asyncio.ensure_future(pile.call(update))
            await asyncio.gather(
                *(pile.call(m.RemoteStopRequest(**this, gun_no=f"{gun:02d}")) for gun in (1, 2))
            )
            assert (await updating).result == 0
            # It restarts with another version.
            await world.until(
                lambda: any(
                    one.login and one.login.firmware_version != "V4.1.50"
                    for one in world.server.piles.values()
                )
            )
            (pile,) = world.server.piles.values()
            assert (await pile.call(m.RebootRequest(**this, execution_control=1))).result == 1
            await world.until(lambda: not pile.online)
            await world.until(lambda: bool(world.server.piles))

    asyncio.run(main())


@pytest.mark.parametrize("faults", ["split:1", "merge:0.5,split:0.5", "garbage:0.2,bad-crc:0.05,drop:0.01"])
def test_no_record_is_lost_whatever_the_wire_does(faults: str) -> None:
    async def main() -> None:
        # A split frame takes 12 ms: not so fast that frames pile up.
        plan = {"speed_up": 200.0, "record_retry": 0.3, "heartbeat_interval": 1.0}
        busy = Habits(pause=30, by_card=1.0, by_vin=0.0)
        async with World(piles=4, habits=busy, faults=parse_faults(faults), **plan) as world:
            await world.until(lambda: world.fleet.snapshot()["charging"] >= 5)
            await world.until(lambda: world.fleet.statistics.sent[0x23] >= 40)
            for driver in world.fleet._drivers:
                driver.finish()
            guns = [gun for pile in world.fleet.piles for gun in pile.model.guns]
            await world.until(
                lambda: not any(gun.is_busy for gun in guns) and not world.fleet.snapshot()["records_waiting"]
            )
            made = world.fleet.statistics.counts["records made"]
            assert made >= 5
            assert made == len(world.records)
        assert world.server.failures == 0

    asyncio.run(main())


def test_settings_of_an_ac_pile() -> None:
    settings = PileSettings.ac(pile_id="32010000000001")
    assert settings.pile_type.name == "AC"
    assert settings.gun_count == 1

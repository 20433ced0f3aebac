"""Fleets of stations on loopback sockets, at the library's server; the official schemas judge what they say."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cli.shell import run
from ocppj.instances import Maker
from ocppj.official import schema

from evproto.aio.ocpp import Admission, ServerTLS
from evproto.errors import CallRefusedError
from evproto.simulate.fleet import Event, Surroundings
from evproto.simulate.ocpp import Fleet, FleetPlan, Habits, NoServerError, parse_faults
from evproto.simulate.ocppj.log import FrameLog
from simulate.central import CODECS, OFFICIAL, Central

BUSY = Habits(pause=30, by_card=1.0, by_vin=0.0, patience=60)
VERSIONS = ("1.6", "2.0.1", "2.1")

versions = pytest.mark.parametrize("version", VERSIONS)


async def running(fleet: Fleet, check: Callable[[], Awaitable[None]]) -> None:
    """Let a fleet run until ``check`` is through."""
    task = asyncio.create_task(fleet.run())
    try:
        checking = asyncio.ensure_future(check())
        await asyncio.wait({task, checking}, return_when=asyncio.FIRST_COMPLETED)
        if not checking.done():
            checking.cancel()
            task.result()
        await checking
    finally:
        fleet.stop()
        await task


def with_central(
    plan: dict[str, Any],
    check: Callable[[Central, Fleet], Awaitable[None]],
    *,
    listen: dict[str, Any] | None = None,
    surroundings: Surroundings | None = None,
    **settings: Any,
) -> Fleet:
    """A fleet at a server, for as long as the check takes."""

    async def main() -> Fleet:
        central = Central(**settings)
        async with central.running(**(listen or {})) as url:
            usual = {"urls": [url], "reconnect": 0.1, "habits": None}
            fleet = Fleet(FleetPlan(**{**usual, **plan}), surroundings)
            await running(fleet, lambda: check(central, fleet))
        return fleet

    return asyncio.run(main())


# Charging


def test_stations_of_all_versions_charge_and_everything_they_say_is_right() -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: fleet.statistics.counts["transactions confirmed"] >= 6)
        assert central.findings == []
        assert sorted(set(central.versions.values())) == ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]

    plan = {"stations": 6, "versions": VERSIONS, "speed_up": 600.0, "habits": BUSY, "sample_interval": 600}
    fleet = with_central(plan, check)
    counts, statistics = fleet.statistics.counts, fleet.statistics
    assert counts["connected"] == counts["boots accepted"] == 6
    assert counts["errors"] == counts["unsent"] == 0
    assert statistics.latencies["BootNotification"].count == 6
    assert statistics.latencies["StopTransaction"].count >= 1
    assert statistics.latencies["TransactionEvent"].count >= 10


def test_the_sums_of_the_server_are_those_of_the_fleet() -> None:
    async def main() -> None:
        central = Central()
        events: list[Event] = []
        async with central.running() as url:
            plan = FleetPlan(urls=[url], stations=3, speed_up=2000, habits=BUSY, sample_interval=600)
            fleet = Fleet(plan, Surroundings(tell=events.append))
            statistics = await fleet.run(3, finish=30)
            starts, stops = central.of("StartTransaction"), central.of("StopTransaction")
            assert stops
            assert len(starts) == len(stops) == statistics.counts["transactions confirmed"]
            assert [one["transactionId"] for one in stops] != []
            sold = sum(one["meterStop"] for one in stops) - sum(one["meterStart"] for one in starts)
            assert sold == statistics.counts["energy Wh"] > 0
        assert fleet.final["charging"] == fleet.final["messages_waiting"] == 0
        kwh = sum(event.energy_kwh or 0 for event in events if event.event == "ended")
        assert kwh * 1000 == pytest.approx(sold, abs=len(stops))
        confirmed = {event.transaction for event in events if event.event == "confirmed"}
        assert confirmed == {str(one["transactionId"]) for one in stops}

    asyncio.run(main())


# Commands


@versions
def test_every_command_there_is_gets_an_answer(version: str) -> None:
    codec = CODECS[version]
    official = OFFICIAL[codec.dialect.name]
    commands = [name for name, action in codec.dialect.actions.items() if "csms" in map(str, action.sent_by)]
    refused: dict[str, str] = {}

    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: central.server.stations and fleet.models[0].online)
        for name in commands:
            if codec.dialect.actions[name].response is None:
                continue
            await central.until(lambda: central.server.stations and fleet.models[0].online)
            payload = Maker(schema(official, name, "request")).full()
            request: Any = codec.decode(json.dumps([2, "1", name, payload]).encode())
            try:
                await next(iter(central.server.stations.values())).call(request.payload, timeout=30)
            except CallRefusedError as error:
                refused[name] = error.error_code
        assert central.findings == []

    # Nothing that is told to happen later happens while the test asks on.
    with_central({"stations": 1, "versions": [version], "speed_up": 1.0}, check)
    assert set(refused.values()) <= {"NotSupported"}
    obeyed = set(commands) - set(refused)
    assert len(obeyed) >= (22 if version == "1.6" else 24)


@versions
def test_a_reset_brings_it_back(version: str) -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: central.of("StatusNotification"))
        station = next(iter(central.server.stations.values()))
        codec = CODECS[version]
        kind = "Hard" if version == "1.6" else "Immediate"
        request: Any = codec.decode(json.dumps([2, "1", "Reset", {"type": kind}]).encode())
        assert (await station.call(request.payload, timeout=30)).status == "Accepted"
        await central.until(lambda: len(central.of("BootNotification")) == 2)
        count = fleet.models[0].settings.connectors + (version == "1.6")
        await central.until(lambda: len(central.of("StatusNotification")) == 2 * count)
        if version != "1.6":
            reasons = [one["reason"] for one in central.of("BootNotification")]
            assert reasons == ["PowerUp", "RemoteReset"]
        assert central.findings == []

    fleet = with_central({"stations": 1, "versions": [version], "speed_up": 20.0}, check)
    assert fleet.statistics.counts["reboots"] == 1


def test_commands_are_obeyed_over_the_wire() -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        m = CODECS["1.6"].dialect.actions
        await central.until(lambda: central.of("StatusNotification"))
        station = next(iter(central.server.stations.values()))
        get = m["GetConfiguration"].request.type
        (entry,) = (await station.call(get(key=("HeartbeatInterval",)), timeout=30)).configuration_key
        assert entry.value == "1"  # what the answer to BootNotification said
        change = m["ChangeConfiguration"].request.type
        answer = await station.call(change(key="HeartbeatInterval", value="1"), timeout=30)
        assert answer.status == "Accepted"
        beats = len(central.of("Heartbeat"))
        await central.until(lambda: len(central.of("Heartbeat")) >= beats + 2)
        trigger = m["TriggerMessage"].request.type
        assert (
            await station.call(trigger(requested_message="BootNotification"), timeout=30)
        ).status == "Accepted"
        await central.until(lambda: len(central.of("BootNotification")) == 2)
        assert central.findings == []

    with_central({"stations": 1}, check)


# The connection


@versions
def test_what_was_charged_while_the_server_was_away_arrives(version: str) -> None:
    async def main() -> None:
        first = Central()
        plan: dict[str, Any] = {"stations": 1, "versions": [version], "ac_share": 1.0, "speed_up": 60.0}
        async with first.running() as url:
            fleet = Fleet(FleetPlan(urls=[url], habits=None, reconnect=0.1, **plan))
            port = int(url.split(":")[2].split("/")[0])
            task = asyncio.create_task(fleet.run())
            await first.until(lambda: fleet.models and fleet.models[0].online)
            model, driver = fleet.models[0], fleet.drivers[0]
            from evproto.simulate.ocpp import make_vehicle

            model.plug_in(1, make_vehicle(model.rng, soc=0.2, leaves_at=1.0), driver._live())
            model.ask_to_start(1, bytes(8), driver._live())
            driver._drain()
            began = "StartTransaction" if version == "1.6" else "TransactionEvent"
            await first.until(lambda: fleet.statistics.latencies.get(began))
        # Now it is gone. The session ends meanwhile.
        await first.until(lambda: not model.online)
        model.stop(1, driver._live())
        driver._drain()
        await first.until(lambda: driver.waiting >= 1)
        second = Central()
        async with second.running(port):
            ended = "StopTransaction" if version == "1.6" else "TransactionEvent"
            await second.until(lambda: fleet.statistics.counts["transactions confirmed"] == 1)
            last = second.of(ended)[-1]
            if version == "1.6":
                assert last["transactionId"] == 1
            else:
                assert (last["eventType"], last["offline"]) == ("Ended", True)
                numbers = [one["seqNo"] for one in first.of(ended) + second.of(ended)]
                assert sorted(set(numbers)) == list(range(len(set(numbers))))
            # It was only away: a station that is known does not boot again.
            assert second.of("BootNotification") == []
            assert first.findings == second.findings == []
        fleet.stop()
        await task

    asyncio.run(main())


def test_a_station_moves_to_another_server_when_its_own_is_gone() -> None:
    async def main() -> None:
        one, other = Central(), Central()
        async with other.running() as other_url:
            async with one.running() as one_url:
                urls = [one_url, other_url]
                fleet = Fleet(FleetPlan(urls=urls, stations=4, habits=None, reconnect=0.1, versions=VERSIONS))
                task = asyncio.create_task(fleet.run())
                await one.until(lambda: len(one.server.stations) == len(other.server.stations) == 2)
            await other.until(lambda: len(other.server.stations) == 4)
            fleet.stop()
            await task
            assert fleet.statistics.counts["connections failed"] >= 2

    asyncio.run(main())


def test_a_station_that_must_wait_waits() -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: len(central.of("BootNotification")) >= 2)
        assert {name for _, name, _ in central.requests} == {"BootNotification"}
        central.boot_status = "Accepted"
        await central.until(lambda: central.of("StatusNotification"))

    async def main() -> None:
        central = Central()
        central.boot_status = "Pending"
        async with central.running() as url:
            fleet = Fleet(FleetPlan(urls=[url], stations=1, habits=BUSY, speed_up=600))
            await running(fleet, lambda: check(central, fleet))
            assert fleet.statistics.counts["boots pending"] >= 2

    asyncio.run(main())


def test_passwords() -> None:
    async def knows(who: Admission) -> bool:
        return who.credentials is not None and who.credentials.password == b"secret"

    async def check(central: Central, fleet: Fleet) -> None:
        wanted = fleet.plan.password == "secret"
        await central.until(
            lambda: fleet.statistics.counts["boots accepted" if wanted else "refused: 401"] >= 1
        )

    for password in ("secret", "wrong"):
        plan = {"stations": 1, "password": password}
        fleet = with_central(plan, check, authenticate=knows, listen={"profile": 1})
        assert fleet.failures == (password != "secret")


def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        central = Central()
        async with central.running(tls=ServerTLS(certificate, key)) as url:
            secure = url.replace("ws://", "wss://")
            plan = FleetPlan(urls=[secure], stations=2, habits=None)
            fleet = Fleet(plan, Surroundings(tls=trusting))
            await running(fleet, lambda: central.until(lambda: len(central.of("StatusNotification")) >= 4))
            stranger = Fleet(plan, Surroundings(tls=ssl.create_default_context()))
            with pytest.raises(NoServerError, match="certificate"):
                await stranger.run(10)

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        async with Central().running() as url:
            pass
        with pytest.raises(NoServerError, match=f"cannot connect to {url}: nothing listens there"):
            await Fleet(FleetPlan(urls=[url], stations=3)).run(10)
        with pytest.raises(NoServerError, match=f"cannot connect to {url}, {url}x: nothing listens there"):
            await Fleet(FleetPlan(urls=[url, f"{url}x"], stations=3, reconnect=0.05)).run(10)

    asyncio.run(main())


def test_the_log_is_what_decode_reads(tmp_path: Path) -> None:
    log = tmp_path / "session.log"

    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: fleet.statistics.counts["transactions confirmed"] >= 1)

    with FrameLog(log) as recording:
        plan = {"stations": 2, "speed_up": 2000.0, "habits": BUSY, "sample_interval": 300}
        fleet = with_central(plan, check, surroundings=Surroundings(recording=recording))
    decoded = run("decode", str(log), "--protocol", "ocpp1.6", "--format", "jsonl")
    assert decoded.status == 0
    frames = [json.loads(line) for line in decoded.out.splitlines()]
    starts = [one for one in frames if one.get("action") == "StartTransaction" and one["message"] == "CALL"]
    assert len(frames) == len(log.read_text().splitlines())
    assert starts
    assert fleet.statistics.sent["StartTransaction"] >= 1


# Faults, seen from the server


@pytest.mark.parametrize("kind", ["garbage", "bad-json", "bad-schema"])
def test_messages_go_wrong(kind: str) -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        # The first boots may be among what goes wrong.
        await central.until(lambda: fleet.statistics.faults[kind] >= 10, 120)

    plan = {"stations": 4, "speed_up": 2000.0, "habits": BUSY, "sample_interval": 60, "call_timeout": 0.2,
            "faults": parse_faults(f"{kind}:0.3")}  # fmt: skip
    central_findings: list[str] = []

    async def watched(central: Central, fleet: Fleet) -> None:
        await check(central, fleet)
        central_findings.extend(central.findings)

    fleet = with_central(plan, watched)
    assert central_findings
    assert set(fleet.statistics.faults) == {kind}


def test_connections_drop_and_nothing_is_lost() -> None:
    async def main() -> None:
        central = Central()
        async with central.running() as url:
            plan = FleetPlan(urls=[url], stations=3, speed_up=2000, habits=BUSY, sample_interval=600,
                             reconnect=0.05, faults=parse_faults("drop:0.05"), call_timeout=5)  # fmt: skip
            fleet = Fleet(plan)
            task = asyncio.create_task(fleet.run(finish=60))
            await central.until(
                lambda: (
                    fleet.statistics.faults["drop"] >= 5
                    and fleet.statistics.counts["transactions ended"] >= 5
                )
            )
            fleet.stop()
            statistics = await task
            assert fleet.final["messages_waiting"] == 0
            assert statistics.counts["transactions confirmed"] == statistics.counts["transactions ended"]
            assert statistics.counts["transactions given up"] == 0
            assert statistics.counts["connections lost"] >= 5
            # What is dropped is repeated with the same content: the server sees each transaction end.
            ended = {json.dumps(one, sort_keys=True) for one in central.of("StopTransaction")}
            assert len(ended) == statistics.counts["transactions ended"]

    asyncio.run(main())


def test_who_they_say_they_are_and_what_time_they_think_it_is() -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: len(fleet.models) == 4)
        assert len({model.identity for model in fleet.models}) < 4

    fleet = with_central({"stations": 4, "faults": parse_faults("reuse-identity:1,clock-skew:1")}, check)
    assert fleet.statistics.faults["clock-skew"] == 4


def test_a_wrong_clock_is_set_by_the_server() -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: central.of("StatusNotification"))
        from datetime import UTC, datetime

        at = datetime.fromisoformat(central.of("StatusNotification")[0]["timestamp"])
        assert abs((at - datetime.now(UTC)).total_seconds()) < 60

    with_central({"stations": 1, "faults": parse_faults("clock-skew:1")}, check)


def test_a_slow_reader_gets_its_answers_later() -> None:
    async def check(central: Central, fleet: Fleet) -> None:
        await central.until(lambda: fleet.statistics.faults["slow-reader"] >= 2)
        late = lambda kind: kind in fleet.statistics.latencies and fleet.statistics.latencies[kind].maximum  # noqa: E731
        await central.until(lambda: late("StatusNotification") > 0.15)

    with_central({"stations": 2, "faults": parse_faults("slow-reader:1")}, check)

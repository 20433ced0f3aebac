"""Fleets on loopback sockets: against a platform of the codec alone, and against the library's server."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cli.shell import run

from evproto import ykc
from evproto.errors import ChecksumError, DecodeError, SkippedBytesError
from evproto.simulate.recording import Recording
from evproto.simulate.ykc import Fleet, FleetPlan, Habits, NoServerError, RecordEvent, parse_faults
from evproto.ykc import messages as m
from evproto.ykc.enums import ExecutionControl
from simulate.platform import Server

BUSY = Habits(pause=30, by_card=1.0, by_vin=0.0, patience=60)


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


def with_server(
    plan: dict[str, Any], check: Callable[[Server, Fleet], Awaitable[None]], **options: Any
) -> Fleet:
    """A fleet at a test platform, for as long as the check takes."""

    async def main() -> Fleet:
        server = Server(**options)
        async with server.running():
            fleet = Fleet(FleetPlan(port=server.port, **plan))
            await running(fleet, lambda: check(server, fleet))
        return fleet

    return asyncio.run(main())


def test_piles_charge_and_settle_over_real_sockets() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(lambda: fleet.statistics.counts["records confirmed"] >= 6)
        for platform in server.platforms:
            assert platform.findings() == []
            assert platform.errors == []
            assert {frame.message.pile_id for frame in platform.frames} == {platform.login.pile_id}

    fleet = with_server({"piles": 4, "speed_up": 2000.0, "habits": BUSY}, check)
    counts = fleet.statistics.counts
    assert counts["connected"] == counts["logins"] == 4
    assert counts["records confirmed"] >= 6
    assert len({pile.pile_id for pile in fleet.piles}) == 4
    assert fleet.statistics.latencies[0x3B].count == counts["records confirmed"]
    assert fleet.statistics.latencies[0x01].count == 4


def test_a_reboot_brings_it_back() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(lambda: bool(server.of(m.RealtimeDataReport)))
        platform = server.platforms[0]
        server.listeners[0].transport.write(
            platform.command(
                m.RebootRequest(
                    pile_id=platform.login.pile_id, execution_control=ExecutionControl.IMMEDIATELY
                )
            )
        )
        await server.until(lambda: len(server.of(m.LoginRequest)) == 2)
        assert [frame.sequence for frame in platform.frames if frame.frame_type == 0x91] == [0x7001]
        assert server.listeners[0].lost

    with_server({"piles": 1, "speed_up": 100.0, "habits": None}, check)


def test_the_end_of_a_run_waits_for_the_records() -> None:
    async def main() -> None:
        server = Server()
        async with server.running():
            fleet = Fleet(FleetPlan(port=server.port, piles=3, speed_up=600.0, habits=BUSY))
            events: list[RecordEvent] = []
            fleet.on_record_event = events.append
            task = asyncio.create_task(fleet.run(finish=30.0))
            async with asyncio.timeout(30):
                while fleet.statistics.sent[0x23] < 10:  # something charges
                    server.changed.clear()
                    await server.changed.wait()
            fleet.stop()
            await task
            made = [event.transaction_no for event in events if event.event == "made"]
            confirmed = [event.transaction_no for event in events if event.event == "confirmed"]
            assert made
            assert sorted(made) == sorted(confirmed)
            assert fleet.final["charging"] == fleet.final["records_waiting"] == 0

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        server = Server()
        async with server.running():
            port = server.port
        with pytest.raises(NoServerError, match=f"cannot connect to 127.0.0.1:{port}: nothing listens there"):
            await Fleet(FleetPlan(port=port, piles=3)).run(10)

    asyncio.run(main())


def test_a_platform_that_goes_away_is_found_again() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(lambda: len(server.of(m.LoginRequest)) == 2)
        for listener in list(server.listeners):
            listener.transport.abort()
        await server.until(lambda: len(server.of(m.LoginRequest)) == 4)

    fleet = with_server({"piles": 2, "habits": None}, check)
    assert fleet.statistics.counts["connections lost"] >= 2


def test_a_pile_moves_to_another_platform_when_its_own_is_gone() -> None:
    async def main() -> None:
        other = Server()
        async with other.running():
            one = Server()
            async with one.running():
                servers = (("127.0.0.1", one.port), ("127.0.0.1", other.port))
                fleet = Fleet(FleetPlan(servers=servers, piles=4, habits=None))
                task = asyncio.create_task(fleet.run())
                await one.until(lambda: len(one.of(m.LoginRequest)) == 2)
                await other.until(lambda: len(other.of(m.LoginRequest)) == 2)
            # Its port is closed; what is left of its connections goes with the piles' next breath.
            for listener in list(one.listeners):
                listener.transport.abort()
            await other.until(lambda: len(other.of(m.LoginRequest)) == 4)
            fleet.stop()
            await task
            assert len({login.pile_id for login in other.of(m.LoginRequest)}) == 4

    asyncio.run(main())


# Faults, seen on the wire


def test_split_frames_arrive_in_pieces() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(
            lambda: fleet.statistics.faults["split"] >= 20 and len(server.of(m.HeartbeatRequest)) > 20
        )
        reads = [read for listener in server.listeners for read in listener.reads]
        whole = 0
        for read in reads:
            try:
                ykc.Codec().decode(read)
            except DecodeError:
                continue
            whole += 1
        assert whole < len(reads) / 2
        assert [error for platform in server.platforms for error in platform.errors] == []

    with_server(
        {"piles": 1, "habits": None, "heartbeat_interval": 0.05, "faults": parse_faults("split:1")}, check
    )


def test_merged_frames_arrive_together() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(
            lambda: fleet.statistics.faults["merge"] >= 10 and len(server.of(m.HeartbeatRequest)) > 10
        )
        frames = sum(len(platform.frames) for platform in server.platforms)
        reads = sum(len(listener.reads) for listener in server.listeners)
        # The last one of a connection may wait for another in vain.
        assert reads <= frames / 2 + len(server.listeners)
        assert [error for platform in server.platforms for error in platform.errors] == []

    with_server(
        {"piles": 1, "habits": None, "heartbeat_interval": 0.05, "faults": parse_faults("merge:1")}, check
    )


def test_bad_checksums_and_garbage_are_there_and_nothing_is_lost_for_good() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        def errors(kind: type) -> int:
            return sum(isinstance(error, kind) for platform in server.platforms for error in platform.errors)

        await server.until(
            lambda: (
                errors(ChecksumError) > 3
                and errors(SkippedBytesError) > 3
                and len(server.of(m.TransactionRecord)) > 2
            ),
        )

    fleet = with_server(
        {"piles": 3, "speed_up": 2000.0, "habits": BUSY, "heartbeat_interval": 0.2, "record_retry": 0.2,
         "faults": parse_faults("bad-crc:0.1,garbage:0.1")},
        check,
    )  # fmt: skip
    assert fleet.statistics.faults["bad-crc"] > 3
    assert fleet.statistics.faults["garbage"] > 3


def test_dropped_connections_end_inside_a_frame_and_come_back() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(lambda: sum(bool(listener.lost) for listener in server.listeners) >= 3)
        await server.until(lambda: len(server.of(m.LoginRequest)) >= 3)
        ended = [listener for listener in server.listeners if listener.lost]
        assert any(listener.platform.stream.pending for listener in ended)

    with_server(
        {"piles": 4, "habits": None, "heartbeat_interval": 0.05, "faults": parse_faults("drop:0.1")}, check
    )


def test_clocks_are_wrong_until_they_are_set_and_identities_are_used_twice() -> None:
    plan = FleetPlan(piles=40, faults=parse_faults("clock-skew:0.5,reuse-identity:0.5"))
    identities = [plan.pile_settings(number).pile_id for number in range(40)]
    assert 10 < len(set(identities)) < 35
    assert [FleetPlan(piles=40).pile_settings(number).pile_id for number in range(40)] == sorted(
        {plan.identity(number) for number in range(40)}
    )

    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(lambda: len(server.of(m.LoginRequest)) == 40)
        offsets = {pile.model.clock.offset // 60_000 for pile in fleet.piles}
        assert len(offsets) > 10
        assert fleet.statistics.faults["clock-skew"] == len(
            [pile for pile in fleet.piles if abs(pile.model.clock.offset - _common(fleet)) > 60_000]
        )

    with_server(
        {"piles": 40, "habits": None, "connect_rate": 1e6, "faults": parse_faults("clock-skew:0.5")}, check
    )


def _common(fleet: Fleet) -> int:
    """What most clocks show, to the minute; they are made within a second or so."""
    minutes = [pile.model.clock.offset // 60_000 for pile in fleet.piles]
    return max(set(minutes), key=minutes.count) * 60_000 + 30_000


@pytest.mark.parametrize("text", ["splitt", "split:x", "split:1.5", ""])
def test_faults_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="split|no fault"):
        parse_faults(text)


# Captures


def test_a_recording_decodes_to_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "session.pcap"

    async def main() -> tuple[Server, Fleet]:
        server = Server()
        async with server.running():
            with Recording(path) as recording:
                fleet = Fleet(
                    FleetPlan(
                        port=server.port, piles=3, speed_up=2000.0, habits=BUSY, heartbeat_interval=0.2
                    ),
                    recording=recording,
                )

                async def check() -> None:
                    await server.until(lambda: len(server.of(m.TransactionRecord)) >= 3)

                await running(fleet, check)
        return server, fleet

    _, fleet = asyncio.run(main())
    result = run("decode", str(path), "--format", "jsonl")
    assert result.status == 0, result.err
    frames = [json.loads(line) for line in result.out.splitlines()]
    by_code: dict[str, int] = {}
    for frame in frames:
        code = frame["frame_type"] if isinstance(frame["frame_type"], str) else f"0x{frame['frame_type']:02X}"
        by_code[code] = by_code.get(code, 0) + 1
    sent, received = fleet.statistics.plain()["sent"], fleet.statistics.plain()["received"]
    assert by_code == {**sent, **received}


def test_a_simulator_that_is_late_says_so() -> None:
    async def check(server: Server, fleet: Fleet) -> None:
        await server.until(lambda: len(server.of(m.HeartbeatRequest)) > 4)
        time.sleep(0.3)  # the loop stands still, as under load
        await server.until(lambda: len(server.of(m.HeartbeatRequest)) > 8)

    fleet = with_server({"piles": 2, "habits": None, "heartbeat_interval": 0.05}, check)
    assert fleet.statistics.lateness.maximum > 0.2
    assert fleet.statistics.plain()["lateness"]["max_ms"] > 200


def test_piles_speak_tls_to_those_they_trust() -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        server = Server()
        async with server.running(server_side):
            plan = FleetPlan(port=server.port, piles=2, habits=None)
            fleet = Fleet(plan, tls=trusting)

            async def check() -> None:
                await server.until(lambda: len(server.of(m.HeartbeatRequest)) >= 4)

            await running(fleet, check)
            assert fleet.statistics.counts["logins"] == 2
            with pytest.raises(NoServerError, match="certificate verify failed"):
                await Fleet(plan, tls=ssl.create_default_context()).run(10)

    asyncio.run(main())

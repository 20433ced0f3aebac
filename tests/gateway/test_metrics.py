"""What /metrics shows, read by the parser of Prometheus' own client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from evproto.gateway.metrics import Metrics
from gateway.live import PILE, Running, serving

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: bytes | str) -> Samples:
    families = text_string_to_metric_families(text if isinstance(text, str) else text.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


async def scraped(running: Running) -> Samples:
    return parsed((await running.client.get("/metrics")).text)


def test_messages_are_counted_by_protocol_direction_and_name() -> None:
    metrics = Metrics()
    metrics.know("ocpp1.6", ["Heartbeat", "BootNotification"])
    for _ in range(3):
        metrics.message("ocpp1.6", True, "Heartbeat")
    metrics.message("ocpp1.6", False, "BootNotification")
    metrics.message("ntxcp1.0", True, "Heartbeat")
    samples = parsed(metrics.text())

    def count(**labels: str) -> float | None:
        return value(samples, "evproto_messages_total", **labels)

    assert count(protocol="ocpp1.6", direction="in", message="Heartbeat") == 3
    assert count(protocol="ocpp1.6", direction="out", message="BootNotification") == 1
    # Nobody said that ntxcp1.0 has one.
    assert count(protocol="ntxcp1.0", direction="in", message="unknown") == 1
    assert sum(name == "evproto_messages_total" for name, _ in samples) == 3


def test_a_charger_cannot_make_up_series() -> None:
    metrics = Metrics()
    metrics.know("ocpp2.1", ["Heartbeat"])
    for number in range(10_000):
        metrics.message("ocpp2.1", True, f"Made{number}Up\n{{}}")
    samples = parsed(metrics.text())
    assert [
        (dict(labels), count) for (name, labels), count in samples.items() if name == "evproto_messages_total"
    ] == [({"protocol": "ocpp2.1", "direction": "in", "message": "unknown"}, 10_000)]


def test_alarms_can_be_written_before_anything_happens() -> None:
    metrics = Metrics()
    metrics.know("ocpp2.0.1", [])
    samples = parsed(metrics.text())
    for outcome in ("stored", "repeated", "conflict", "not_stored", "confirmed"):
        assert value(samples, "evproto_records_total", protocol="ocpp2.0.1", outcome=outcome) == 0
    assert value(samples, "evproto_command_seconds_count", protocol="ocpp2.0.1") == 0


def test_piles_are_counted_with_the_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            for _ in range(3):
                pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
                await pile.expect(0x04)
            # A frame type that no version has, and 0x05 as the sign that it was looked at.
            await pile.nothing_before(
                0x06, lambda: (pile.send(0xEE, b"\x01"), pile.send(0x05, bytes.fromhex(f"{PILE} 0000")))
            )
            response = await running.command("heartbeat_response", {"gun_no": "01"})
            assert response.status_code == 200
            await pile.expect(0x04)
            samples = await scraped(running)
            for direction, name, count in (
                ("in", "login_request", 1),
                ("out", "login_response", 1),
                ("in", "heartbeat_request", 3),
                ("out", "heartbeat_response", 4),
                ("in", "unknown", 1),
            ):
                shown = value(
                    samples, "evproto_messages_total", protocol="ykc", direction=direction, message=name
                )
                assert shown == count, (direction, name)
            assert value(samples, "evproto_ykc_frames_total", direction="in", type="0x03") == 3
            assert value(samples, "evproto_chargers_online", protocol="ykc") == 1
            assert value(samples, "evproto_connections", protocols="ykc") == 1
            assert value(samples, "evproto_command_seconds_count", protocol="ykc") == 1
            assert (value(samples, "process_open_fds") or 0) > 5

    asyncio.run(run())

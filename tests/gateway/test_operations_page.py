"""docs/operations.md names metrics, settings and options that there are."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
from cli.shell import run
from prometheus_client.parser import text_string_to_metric_families

from evproto.capture.spoken import read_spoken
from evproto.gateway.config import file_layer, load, settings
from gateway.live import Backend, serving

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_all_metrics_are_described_and_all_described_are_there(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with (
            Backend() as backend,
            serving(
                tmp_path,
                forward__to="http",
                forward__servers=[backend.url],
                capture__file=str(tmp_path / "c.log"),
            ) as running,
        ):
            # Some are there once something has happened.
            metrics = running.server.metrics
            metrics.bad_frames.labels("x")
            metrics.store_failures.labels("x")
            for counter in (metrics.sink_failures, metrics.dead_letters, metrics.expired, metrics.delivered):
                counter.labels("http")
            await running.pile()
            response: httpx.Response = await running.client.get("/metrics")
            return response.text

    text = asyncio.run(scenario())
    there = {
        family.name if family.type != "counter" else f"{family.name}_total"
        for family in text_string_to_metric_families(text)
        # When a counter was made, which the text format has as a metric of its own.
        if not family.name.endswith("_created")
    }
    table = PAGE[PAGE.index("## Metrics") : PAGE.index("## Alarms")]
    described = set(re.findall(r"`(evproto_[a-z_]+[a-z])`", table))
    assert described == {name for name in there if name.startswith("evproto_")}
    used = set(re.findall(r"\b((?:evproto|process)_[a-z_]+[a-z])\b", PAGE[PAGE.index("## Alarms") :]))
    assert {name.removesuffix("_bucket") for name in used} <= there


def test_its_settings_and_options_are_right(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "evproto.toml"
    path.write_text(block)
    capture = load(file_layer(path)).capture
    assert (capture.max_bytes, capture.files, capture.redact) == (256 << 20, 4, False)
    for name in re.findall(r"`((?:ykc|ocpp|forward|outbox|capture)\.[a-z-]+)", PAGE):
        assert name in settings(), name
    options = "".join(
        run(*command, "--help").out
        for command in (("serve", "all"), ("replay",), ("decode",), ("tap",), ("simulate", "ocpp"))
    )
    for option in re.findall(r"(?<!-)--[a-z][a-z-]+", PAGE):
        assert option in options, option


def test_the_lines_it_shows_are_lines_of_a_capture() -> None:
    (block,) = re.findall(r"```text\n(2026.*?)```", PAGE, re.DOTALL)
    first, *others = block.splitlines()
    assert read_spoken(first) is None  # It is cut off for the page.
    assert read_spoken(first.removesuffix("...")) is not None
    assert all(read_spoken(line) is not None for line in others)

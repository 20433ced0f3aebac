"""The soak, short and small; and that its accounts would show what is missing."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.soak_ocpp import MODULES, OUTCOMES, Side, Soak
from evproto.ocpp import v16


@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_is_accounted_for(seed: int) -> None:
    soak = Soak(stations=24, seconds=4, seed=seed)
    soak.pause = 0.3
    asyncio.run(soak.run())
    assert soak.troubles == []
    sides = [side for life in soak.lives.values() for side in (life.up, life.down)]
    assert len(sides) == 48
    for side in sides:
        assert side.calls == sum(side.counts[outcome] for outcome in OUTCOMES)
    assert sum(side.counts["results"] for side in sides) > 0
    assert sum(side.counts["errors"] for side in sides) > 0
    assert sum(soak.hurt.values()) > 0
    spoken = {name for life in soak.lives.values() for name in life.station.codecs}
    assert spoken == {module.dialect.name for module in MODULES}


@pytest.mark.parametrize(
    ("counts", "adds_up"),
    [
        ({"begun": 5, "results": 3, "errors": 1, "lost": 1, "served": 4}, True),
        ({"begun": 6, "results": 3, "errors": 1, "lost": 1, "not sent": 1, "served": 4}, True),
        ({"begun": 6, "results": 3, "errors": 1, "lost": 1, "served": 4}, False),
        ({"begun": 5, "results": 5, "served": 4}, False),
        ({"begun": 5, "results": 4, "timeouts": 1, "served": 6}, False),
    ],
)
def test_the_accounts_show_what_is_missing(counts: dict[str, int], adds_up: bool) -> None:
    async def work() -> Soak:
        soak = Soak(stations=0, seconds=0, seed=0)
        side = Side(soak, "CS1 up", v16)
        side.counts.update(counts)
        side.check()
        return soak

    assert (asyncio.run(work()).troubles == []) is adds_up

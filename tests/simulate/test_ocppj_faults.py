"""Faults on WebSocket: what is broken is broken, by a judge that is not the codec."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest
from ocppj.oracle import judge

from evproto.ocppj import Call
from evproto.simulate.ocpp import Habits
from evproto.simulate.ocppj.faults import break_json, break_schema, parse_faults
from simulate.station_bench import Bench


@pytest.fixture(params=["1.6", "2.0.1", "2.1"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """A station that has said something of each kind."""
    made = Bench(request.param, habits=Habits(pause=60, by_card=1, by_vin=0), sample_interval=600)
    made.sent.append(made.boot())
    made.run(3600)
    return made


def frames(bench: Bench) -> dict[str, bytes]:
    return {
        action: json.dumps([2, "1", action, payload], separators=(",", ":")).encode()
        for action, payload in bench.sent
    }


def test_broken_json_is_no_json(bench: Bench) -> None:
    rng = random.Random(1)
    assert len(frames(bench)) >= 4
    for frame in frames(bench).values():
        for _ in range(40):
            with pytest.raises(json.JSONDecodeError):
                json.loads(break_json(frame, rng))


def test_broken_payloads_break_the_official_schema(bench: Bench) -> None:
    rng = random.Random(1)
    ways = set()
    for action, frame in frames(bench).items():
        original = json.loads(frame)[3]
        for _ in range(25):
            kind, _, name, payload = json.loads(break_schema(frame, bench.codec, rng))
            assert (kind, name) == (2, action)
            # jsonschema takes 1.0 for an integer and knows no limit of a date: all else it finds, too.
            with pytest.raises(jsonschema.ValidationError):
                judge(bench.official, action, "request").validate(payload)
            ways.add(
                "extra"
                if len(payload) > len(original)
                else "less"
                if len(payload) < len(original)
                else "other"
            )
    assert ways == {"extra", "less", "other"}


def test_the_same_seed_breaks_the_same_way(bench: Bench) -> None:
    frame = bench.codec.encode(Call(unique_id="1", payload=bench.model.boot_request()))
    for broken in (lambda rng: break_json(frame, rng), lambda rng: break_schema(frame, bench.codec, rng)):
        assert [broken(random.Random(n)) for n in range(9)] == [broken(random.Random(n)) for n in range(9)]


def test_rates() -> None:
    assert parse_faults("drop, bad-json:0.5").rates == {"drop": 0.005, "bad-json": 0.5}
    for text in ("split", "drop:2", "drop:x"):
        with pytest.raises(ValueError, match="there is no fault|the rate of"):
            parse_faults(text)

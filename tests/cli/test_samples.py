"""The committed samples are what the script makes, and what they claim to be."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from cli.shell import ROOT, run

FOLDER = ROOT / "samples"


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("make_samples", FOLDER / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_samples"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


FILES = _script().files()


@pytest.mark.parametrize("name", FILES)
def test_the_script_makes_the_file(name: str) -> None:
    assert (FOLDER / name).read_bytes() == FILES[name]


def _frames(name: str) -> list[dict[str, Any]]:
    result = run("decode", f"samples/{name}", "--format", "jsonl", "--check")
    assert result.status == 0
    return [json.loads(line) for line in result.out.splitlines()]


def test_log_and_capture_hold_the_same_conversation() -> None:
    log, capture = _frames("session.log"), _frames("session.pcap")
    assert [frame["raw"] for frame in log] == [frame["raw"] for frame in capture]
    assert {frame["seen"] for frame in log} == {"received", "sent"}
    for frame in log:
        assert frame["seen"] == ("received" if frame["direction"] == "pile_to_platform" else "sent")
    for frame in capture:
        assert (frame["seen"] == "from_client") == (frame["direction"] == "pile_to_platform")


def test_the_session_is_a_whole_one_and_adds_up() -> None:
    frames = _frames("session.log")
    assert all(frame["findings"] == [] for frame in frames)
    seen = {frame["frame_type"] for frame in frames}
    whole = "01 02 03 04 05 06 09 0A 13 15 17 19 1D 21 23 25 33 34 35 36 3B 40 55 56"
    assert seen == {f"0x{code}" for code in whole.split()}
    reports = [f["fields"] for f in frames if f["name"] == "realtime_data_report"]
    charging = [report for report in reports if report["gun_status"]["name"] == "charging"]
    assert [one["energy"] for one in charging] == sorted(one["energy"] for one in charging)
    record = next(frame["fields"] for frame in frames if frame["name"] == "transaction_record")
    assert record["total_energy"] > charging[-1]["energy"] > 0
    assert record["peak_energy"] > 0
    assert record["flat_energy"] > 0


def test_nothing_in_the_samples_is_a_real_address() -> None:
    for name in ("session.log", "damaged.log"):
        for word in (FOLDER / name).read_text().split():
            address = word.rpartition(":")[0]
            if address.count(".") == 3:
                assert address.startswith(("192.0.2.", "198.51.100.", "203.0.113."))


def test_the_published_frame_with_five_prices() -> None:
    from cli.test_golden import TARIFF

    result = run("decode", TARIFF, "--dialect", "samples/five_price_tariff.yaml", "--format", "jsonl")
    fields = json.loads(result.out)["fields"]
    assert result.status == 0
    assert fields["pile_id"] == "18120000000170"
    assert fields["billing_model_no"] == "0017"
    tiers = ("sharp", "peak", "flat", "valley", "deep_valley")
    prices = [(fields[f"{tier}_energy_price"], fields[f"{tier}_service_price"]) for tier in tiers]
    assert prices == [(1.2, 0.2), (1.05, 0.2), (0.69, 0.18), (0.34, 0.16), (0.23, 0.2)]
    assert {"code": 4, "name": "deep_valley"} in [entry["rate"] for entry in fields["period_rates"]]

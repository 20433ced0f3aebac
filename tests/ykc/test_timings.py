"""The document's timings, typed from it once more by hand, and their spec."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evproto.errors import SpecError
from evproto.spec import load_protocol
from evproto.ykc import timings

ROOT = Path(__file__).resolve().parents[2]

# Sections 6.3, 7.2, 7.9, 8.4, 8.7, 8.8, 9.3, 10.1 and 13.3 of V1.6.
TYPED = {
    "HEARTBEAT_INTERVAL": 10,
    "HEARTBEATS_MISSED": 3,
    "IDLE_REPORT_INTERVAL": 5 * 60,
    "CHARGING_REPORT_INTERVAL": 15,
    "BMS_REPORT_INTERVAL": 15,
    "START_FOLLOW_UP": 60,
    "START_CONFIRMATION": 90,
    "RECORD_DUE": 30,
    "RECORD_RETRY_INTERVAL": 30,
    "RECORD_RETRIES": 3,
    "RECORD_LAST_RETRY": 5 * 60,
    "TIME_SYNC_INTERVAL": 24 * 60 * 60,
    "PARKING_LOCK_REPORT_INTERVAL": 5 * 60,
}


def test_they_are_the_documents() -> None:
    assert {name: getattr(timings, name) for name in timings.__all__} == TYPED


def test_they_are_what_the_spec_says() -> None:
    spec = {timing.name.upper(): timing.seconds or timing.count for timing in load_protocol().timings}
    assert spec == TYPED


@pytest.mark.parametrize("wrong", ["seconds: 10, count: 3", "seconds: 0", "seconds: -1", "hours: 1"])
def test_a_wrong_timing_is_found(tmp_path: Path, wrong: str) -> None:
    shutil.copytree(ROOT / "specs" / "ykc", tmp_path / "ykc")
    file = tmp_path / "ykc" / "protocol.yaml"
    text = file.read_text(encoding="utf-8")
    assert "{name: heartbeat_interval, seconds: 10," in text
    file.write_text(
        text.replace("heartbeat_interval, seconds: 10,", f"heartbeat_interval, {wrong},"), encoding="utf-8"
    )
    with pytest.raises(SpecError, match=r"timings\[0\]"):
        load_protocol(tmp_path / "ykc")

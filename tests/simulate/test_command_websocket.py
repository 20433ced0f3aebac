"""``evproto simulate ocpp``, ``ntxcp`` and ``mixed`` as a user runs them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli.shell import run

from simulate.central import InThread, central_in_a_thread

FAST = ("--speed-up", "600", "--pause", "60", "--by-app", "0", "--sample-interval", "600")


@pytest.fixture
def central() -> Iterator[InThread]:
    with central_in_a_thread() as thread:
        yield thread


def test_the_summary_as_text(central: InThread) -> None:
    result = run(
        "simulate",
        "ocpp",
        "--url",
        central.url,
        "--stations",
        "4",
        *FAST,
        "--duration",
        "3",
        "--finish",
        "30",
    )
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith(f"4 stations of ocpp1.6 at {central.url} for ")
    assert "4 online at the end, 0 charging" in lines[0]
    assert "connections  4 made, 0 failed, 4 boots accepted" in lines[1]
    (transactions,) = [line for line in lines if "transactions" in line]
    started, ended, confirmed = map(int, re.findall(r"(\d+) (?:started|ended|confirmed)", transactions))
    assert started == ended == confirmed > 0
    (stop,) = [line for line in lines if line.strip().startswith("StopTransaction")]
    assert int(stop.split()[1]) == confirmed
    assert central.central.findings == []


def test_several_versions_have_a_part_each(central: InThread, tmp_path: Path) -> None:
    records, log = tmp_path / "records.jsonl", tmp_path / "session.log"
    result = run(
        "simulate", "ocpp", "--url", central.url, "--stations", "5", "--version", "1.6", "--version", "2.0.1",
        "--version", "2.1", *FAST, "--duration", "3", "--finish", "30", "--json",
        "--records", str(records), "--record", str(log), "--station-id", "MINE",
    )  # fmt: skip
    assert (result.status, result.err) == (0, "")
    summary = json.loads(result.out)
    assert (summary["chargers"], summary["not_let_in"]) == (5, 0)
    parts = summary["protocols"]
    assert {kind: part["chargers"] for kind, part in parts.items()} == {
        "ocpp1.6": 2, "ocpp2.0.1": 2, "ocpp2.1": 1,
    }  # fmt: skip
    assert [part["counts"]["boots_accepted"] for part in parts.values()] == [2, 2, 1]
    assert parts["ocpp2.1"]["servers"] == [central.url]
    assert "TransactionEvent" in parts["ocpp2.0.1"]["answers"]
    events = [json.loads(line) for line in records.read_text().splitlines()]
    ended = {event["transaction"] for event in events if event["event"] == "ended"}
    confirmed = {event["transaction"] for event in events if event["event"] == "confirmed"}
    assert ended == confirmed != set()
    assert set(central.central.versions) == {"MINE", "SIM0000002", "SIM0000003", "SIM0000004", "SIM0000005"}
    decoded = run("decode", str(log), "--format", "jsonl", "--only", "BootNotification")
    assert decoded.status == 0
    boots = [json.loads(line) for line in decoded.out.splitlines()]
    assert len([one for one in boots if one["message"] == "CALL"]) == 5


def test_several_processes_share_the_stations(central: InThread) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evproto", "simulate", "ocpp", "--url", central.url, "--stations", "5", "--idle",
         "--processes", "2", "--version", "1.6", "--version", "2.0.1", "--duration", "2", "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert {kind: part["chargers"] for kind, part in summary["protocols"].items()} == {
        "ocpp1.6": 3,
        "ocpp2.0.1": 2,
    }
    ends = [part["at_the_end"]["online"] for part in summary["protocols"].values()]
    assert ends == [3, 2]
    assert len(central.central.versions) == 5


def test_gateways(central: InThread) -> None:
    result = run(
        "simulate", "ntxcp", "--url", central.url, "--gateways", "3", "--speed-up", "600", "--duration", "2"
    )
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"3 gateways of ntxcp1.0 at {central.url} for ")
    assert set(central.central.versions.values()) == {"ntxcp1.0"}
    assert len(central.central.of("MeterValues")) > 9


def test_faults_are_counted_and_not_talked_about(central: InThread) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evproto", "simulate", "ocpp", "--url", central.url, "--stations", "3", *FAST,
         "--duration", "3", "--fault", "bad-schema:0.5,bad-json:0.1", "--call-timeout", "0.5", "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    part = json.loads(done.stdout)["protocols"]["ocpp1.6"]
    assert part["faults"]["bad-schema"] > 3
    assert part["counts"]["errors"] > 0


def test_who_is_not_let_in(central: InThread) -> None:
    central.central.boot_status = "Rejected"
    result = run("simulate", "ocpp", "--url", central.url, "--stations", "1", "--duration", "1")
    assert result.status == 1
    assert "0 boots accepted" in result.out


def test_nobody_listens() -> None:
    with central_in_a_thread() as central:
        url = central.url
    result = run("simulate", "ocpp", "--url", url, "--duration", "5")
    assert result.status == 2
    assert result.err == f"evproto: error: cannot connect to {url}: nothing listens there\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ocpp", "--url", "http://x"], "--url: a URL of a server is ws://host:port/path"),
        (["ocpp", "--version", "2.2"], "invalid choice: '2.2'"),
        (["ocpp", "--fault", "split"], "--fault: there is no fault 'split'; there are drop, garbage,"),
        (["ocpp", "--station-id", "a", "--station-id", "a"], "--station-id: a name is given twice"),
        (["ocpp", "--processes", "20"], "--processes: there are fewer stations (10) than processes"),
        (["ntxcp", "--gateways", "0"], "at least 1, not 0"),
        (["mixed", "--piles", "0", "--stations", "0", "--gateways", "0"], "there is nothing to simulate"),
        (["mixed", "--server", "x"], "--server: "),
        (["mixed", "--fault", "nonsense"], "--fault: there is no fault 'nonsense'"),
        (["ykc", "--server", "x:y"], "--server: a port is from 1 to 65535; 'x:y' has 'y'"),
    ],
)
def test_wrong_usage(options: list[str], message: str) -> None:
    result = run("simulate", *options)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


@contextlib.contextmanager
def serve_all(folder: Path) -> Iterator[dict[str, int]]:
    """``evproto serve all`` in a process; its ports."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "evproto", "serve", "all", "--data", str(folder / "data"), "--host", "127.0.0.1",
         "--ws-host", "127.0.0.1", "--tcp-port", "0", "--ws-port", "0", "--http-port", "0", "--auto-start"],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stderr is not None
    lines: list[str] = []
    found: dict[str, int] = {}
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "serving" in line and not found:
                for name, pattern in (("tcp", r"piles=\S*?:(\d+)"), ("ws", r"ws=\S*?:(\d+)"),
                                      ("http", r"api=http://[^:]+:(\d+)")):  # fmt: skip
                    match = re.search(pattern, line)
                    if match:
                        found[name] = int(match[1])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(90)
        assert set(found) == {"tcp", "ws", "http"}, "".join(lines)
        yield found
    finally:
        process.terminate()
        process.wait(60)
        reader.join(30)
        process.stderr.close()


def test_all_kinds_at_once_at_the_gateway(tmp_path: Path) -> None:
    with serve_all(tmp_path) as ports:
        done = subprocess.run(
            [sys.executable, "-m", "evproto", "simulate", "mixed", "--piles", "2", "--stations", "3",
             "--gateways", "1", "--server", f"127.0.0.1:{ports['tcp']}:{ports['ws']}", "--speed-up", "600",
             "--pause", "60", "--by-app", "0", "--duration", "4", "--finish", "60", "--json"],
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        summary = json.loads(done.stdout)
        kinds = {kind: part["chargers"] for kind, part in summary["protocols"].items()}
        assert kinds == {"ykc": 2, "ocpp1.6": 1, "ocpp2.0.1": 1, "ocpp2.1": 1, "ntxcp1.0": 1}
        assert (summary["chargers"], summary["not_let_in"]) == (6, 0)
        parts = summary["protocols"]
        assert parts["ykc"]["counts"]["logins"] == parts["ykc"]["at_the_end"]["online"] == 2
        stations = [parts[f"ocpp{version}"] for version in ("1.6", "2.0.1", "2.1")]
        assert [part["at_the_end"]["messages_waiting"] for part in stations] == [0, 0, 0]
        confirmed = sum(part["counts"].get("transactions_confirmed", 0) for part in stations)
        assert confirmed == sum(part["counts"].get("transactions_ended", 0) for part in stations) > 0
        # What the gateway knows of them.
        answer = httpx.get(f"http://127.0.0.1:{ports['http']}/chargers", timeout=30)
        assert answer.status_code == 200, answer.text
        protocols = sorted(one["protocol"] for one in answer.json()["items"])
        assert protocols == ["ntxcp1.0", "ocpp1.6", "ocpp2.0.1", "ocpp2.1", "ykc", "ykc"]

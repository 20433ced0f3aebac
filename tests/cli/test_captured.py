"""``evproto decode`` on what a server has captured: lines that say whose frame it is, and of what protocol."""

from __future__ import annotations

import json
from pathlib import Path

from .shell import run

LINES = """\
2026-03-01T08:00:00.000000Z ykc1.6 charger=127.0.0.1:5555 server->charger 680C000000025503141278230500DA4C
2026-03-01T08:00:00.250000Z ocpp1.6 charger=CP%201 charger->server [2,"19","Heartbeat",{}]
2026-03-01T08:00:00.500000Z ocpp2.0.1 charger=CP2 charger->server [2,"19","Authorize",{"idToken":{"idToken":"ABC","type":"Central"}}]
2026-03-01T08:00:00.750000Z ocpp1.6 charger=CP%201 server->charger [3,"19",{"currentTime":"2026-03-01T08:00:00Z"}]
2026-03-01T08:00:01.000000Z ocpp2.0.1 charger=CP2 server->charger "[3,\\"19\\",\\n{\\"idTokenInfo\\":{\\"status\\":\\"Accepted\\"}}]"
2026-03-01T08:00:01.250000Z ntxcp1.0 charger=CP2 server->charger [4,"19","GenericError","",{}]
"""


def decoded(path: Path, *options: str) -> tuple[int, list[dict[str, object]]]:
    result = run("decode", str(path), "--format", "jsonl", *options)
    return result.status, [json.loads(line) for line in result.out.splitlines()]


def test_frames_of_all_protocols_are_read_as_their_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"
    path.write_text(f"# evproto capture\n{LINES}")
    status, items = decoded(path)
    assert status == 0
    assert [item.get("protocol", "ykc") for item in items] == [
        *("ykc", "ocpp1.6", "ocpp2.0.1", "ocpp1.6", "ocpp2.0.1", "ntxcp")
    ]
    assert [item["charger"] for item in items] == ["127.0.0.1:5555", "CP 1", "CP2", "CP 1", "CP2", "CP2"]
    assert [str(item["time"])[17:23] for item in items] == [
        *("00+00:", "00.250", "00.500", "00.750", "01+00:", "01.250")
    ]
    assert items[0]["name"] == "login_response"
    assert (items[0]["seen"], items[1]["seen"]) == ("platform_to_pile", "station_to_csms")
    # The same message id at two chargers; the second answer is on two lines as it was sent.
    assert [item["action"] for item in items[1:5]] == ["Heartbeat", "Authorize", "Heartbeat", "Authorize"]
    assert items[4]["payload"] == {"idTokenInfo": {"status": "Accepted"}}


def test_one_protocol_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"
    path.write_text(LINES)
    assert [item["name"] for item in decoded(path, "--protocol", "ykc")[1]] == ["login_response"]
    assert len(decoded(path, "--protocol", "ocpp1.6")[1]) == 5


def test_what_could_not_be_written_is_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"
    lost = "2026-03-01T08:00:02.000000Z missing 12 frames, 3456 bytes: the disk was full\n"
    path.write_text(LINES + lost)
    status, items = decoded(path)
    assert status == 1
    assert (items[-1]["note"], items[-1]["loss"], items[-1]["missing"]) == ("gap", True, 3456)
    assert "12 frames, 3456 bytes, were not written: the disk was full" in run("decode", str(path)).out


def test_a_capture_is_followed_while_it_grows(tmp_path: Path) -> None:
    # Nothing is held back to guess by: the lines say what they are of.
    result = run("decode", "-", "--format", "jsonl", stdin=LINES.encode())
    assert result.status == 0
    assert '"note":"protocol"' not in result.out

"""``decode`` and ``frames`` with OCPP: lines as they are logged, pairing, guessing, faults, hostile input."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from cli.shell import ROOT, run
from evproto.cli.ocppj.context import find_charger, find_way
from evproto.cli.ocppj.finding import find_frames

BEAT = '[2,"1","Heartbeat",{}]'
TIME = "2026-11-20T10:00:00Z"
BOOT_16 = '[2,"b","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]'
BOOT_201 = '[2,"b","BootNotification",{"reason":"PowerUp","chargingStation":{"model":"M","vendorName":"V"}}]'


def items(*lines: str, protocol: str = "", extra: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    chosen = ("--protocol", protocol) if protocol else ()
    result = run("decode", "--format", "jsonl", *chosen, *extra, stdin="\n".join(lines).encode())
    assert result.err == ""
    return [json.loads(line) for line in result.out.splitlines()]


def frames(*lines: str, protocol: str = "ocpp1.6", extra: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [item for item in items(*lines, protocol=protocol, extra=extra) if "note" not in item]


@pytest.mark.parametrize(
    ("line", "charger", "way"),
    [
        (f"2026-11-20 10:00:01.204 CP-0007 -> {BEAT}", "CP-0007", "sent"),
        (f"INFO:ocpp:CP_1: receive message {BEAT}", "CP_1", "received"),
        (f"INFO:ocpp:CP_1: send {BEAT}", "CP_1", "sent"),
        (
            f"[INFO] WebSocketLogger (qtp1) - [chargeBoxId=CP1, sessionId=0a1b] Received: {BEAT}",
            "CP1",
            "received",
        ),
        (json.dumps({"chargePointId": "CP1", "direction": "in", "message": BEAT}), "CP1", "received"),
        (json.dumps({"message": BEAT, "stationId": "ABC", "direction": "outbound"}), "ABC", "sent"),
        (json.dumps({"a": json.dumps({"msg": BEAT, "cp": "x-1"})}), "x-1", ""),
        (f'{{"ts":"2026","msg":{BEAT},"identity":"ABC"}}', "ABC", ""),
        (f"ws://host:80/ocpp/1.6J/CP001 >> {BEAT}", "CP001", "sent"),
        (f"ChargePoint -> CSMS: {BEAT}", "", "station_to_csms"),
        (f"CSMS->ChargePoint CP12 : {BEAT}", "CP12", "csms_to_station"),
        (f"2026-11-20 10:00:01 {BEAT}", "", ""),
        (f"10:00:01.5 received {BEAT}", "", "received"),
    ],
)
def test_what_stands_around_a_frame(line: str, charger: str, way: str) -> None:
    (found,) = find_frames(line)
    assert found.text == BEAT
    assert find_charger(found.before, found.after).name == charger
    assert find_way(found.before, found.after) == way


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("nothing [1,2] here", []),
        (f"{BEAT} and {BEAT}", [BEAT, BEAT]),
        ('x [2,"10","Heartbeat",{"a"[3,"9",{}] y', ['[2,"10","Heartbeat",{"a"', '[3,"9",{}]']),
        ('[2,"10","Heartbeat",{"a":"]"', ['[2,"10","Heartbeat",{"a":"]']),
        ('[2,5,"Heartbeat",{}]', ['[2,5,"Heartbeat",{}]']),
        ('[2,"1","A",{"n":NaN}] t', ['[2,"1","A",{"n":NaN}]']),
        ('[2,"1","A",{"n":' + "9" * 5000 + "}] t", ['[2,"1","A",{"n":' + "9" * 5000 + "}]"]),
        ('[2,"1","A",{"x":"[3,\\"2\\",{}]"}]', ['[2,"1","A",{"x":"[3,\\"2\\",{}]"}]']),
    ],
)
def test_frames_in_a_line(line: str, texts: list[str]) -> None:
    assert [found.text for found in find_frames(line)] == texts


def test_everything_around_is_kept() -> None:
    line = f"2026-11-20 10:00:01.204 [7] CP-0007 -> {BEAT} took 3 ms"
    (frame,) = frames(line)
    assert frame["before"] + frame["raw"] + frame["after"] == line
    assert (frame["time"], frame["charger"], frame["seen"]) == (
        "2026-11-20T10:00:01.204000",
        "CP-0007",
        "sent",
    )
    assert "took 3 ms" in run("decode", stdin=line.encode()).out


def test_payloads_are_as_they_were_sent() -> None:
    sent = {
        "connectorId": 1,
        "meterValue": [{"timestamp": TIME, "sampledValue": [{"value": "1.50", "unit": "kWh"}]}],
    }
    (frame,) = frames(json.dumps([2, "1", "MeterValues", sent]))
    assert frame["payload"] == sent
    assert frame["typed"] is True
    big = frames('[2,"1","RemoteStopTransaction",{"transactionId":123456789012345678901234567890}]')[0]
    assert big["payload"] == {"transactionId": 123456789012345678901234567890}


# Pairing


def test_both_sides_and_several_chargers_use_the_same_ids() -> None:
    told = frames(
        f"CP-1 -> {BEAT}",
        'CP-1 <- [2,"1","Reset",{"type":"Soft"}]',
        'CP-2 -> [2,"1","StatusNotification",{"connectorId":0,"errorCode":"NoError","status":"Available"}]',
        'CP-1 -> [3,"1",{"status":"Accepted"}]',
        'CP-2 <- [3,"1",{}]',
        f'CP-1 <- [3,"1",{{"currentTime":"{TIME}"}}]',
    )
    assert [one["action"] for one in told] == [
        "Heartbeat",
        "Reset",
        "StatusNotification",
        "Reset",
        "StatusNotification",
        "Heartbeat",
    ]
    assert [one["sent_by"] for one in told] == ["station", "csms", "station", "station", "csms", "csms"]
    assert [one.get("request_line") for one in told] == [None, None, None, 2, 3, 1]
    assert not any("error" in one for one in told)


def test_ids_shared_without_any_direction_are_told_by_what_fits() -> None:
    told = frames(
        BEAT,
        '[2,"1","Reset",{"type":"Soft"}]',
        '[3,"1",{"status":"Accepted"}]',
        f'[3,"1",{{"currentTime":"{TIME}"}}]',
    )
    assert [one["action"] for one in told[2:]] == ["Reset", "Heartbeat"]


def test_named_chargers_are_not_mixed_up() -> None:
    told = frames("cp=A1 " + BEAT, 'cp=B2 [3,"1",{"currentTime":"2026-11-20T10:00:00Z"}]')
    assert told[1]["typed"] is False
    assert "remark" in told[1]


def test_an_answer_to_nothing_is_shown_untyped() -> None:
    result = run("decode", "--protocol", "ocpp1.6", stdin=b'[3,"99",{"status":"Accepted"}]')
    assert result.status == 1
    assert "no request with this message id was seen" in result.out
    assert '"Accepted"' in result.out


def test_requests_kept_are_bounded() -> None:
    from evproto.cli.ocppj.pairing import Pairing
    from evproto.cli.ocppj.reading import read_frame

    pairing = Pairing()
    chunk = read_frame(BEAT)
    for number in range(25_000):
        pairing.remember(chunk, str(number), "Heartbeat", ())
    assert not pairing.candidates(chunk, "4999")
    assert pairing.candidates(chunk, "5000")
    assert len(pairing._by_id) == 20_000


def test_errors_and_sends() -> None:
    told = frames(
        'CP-1 -> [2,"1","Heartbeat",{}]', 'CP-1 <- [4,"1","InternalError","no",{"a":1}]', protocol="ocpp2.1"
    )
    assert (told[1]["action"], told[1]["error_code"], told[1]["error_details"]) == (
        "Heartbeat",
        "InternalError",
        {"a": 1},
    )
    send = f'[6,"s","NotifyPeriodicEventStream",{{"id":1,"pending":0,"basetime":"{TIME}","data":[{{"t":0,"v":"1"}}]}}]'
    (one,) = frames(send, protocol="ocpp2.1")
    assert (one["message"], one["sent_by"]) == ("SEND", "station")


# Guessing


@pytest.mark.parametrize(
    ("lines", "protocol"),
    [
        ([BOOT_16], "ocpp1.6"),
        ([BEAT], "ocpp1.6"),
        ([BEAT, BOOT_201], "ocpp2.0.1"),
        (['[2,"1","GetTariffs",{"evseId":0}]'], "ocpp2.1"),
        ([BOOT_201, '[2,"1","GetTariffs",{"evseId":0}]'], "ocpp2.1"),
        (['[2,"1","CaptureProcess",{"serviceId":"1","datapointIds":[]}]'], "ntxcp"),
    ],
)
def test_the_protocol_is_guessed_and_it_is_said(lines: list[str], protocol: str) -> None:
    note, *told = items(*lines)
    assert note["note"] == "protocol"
    assert f"protocol {protocol}, guessed:" in note["text"]
    assert {one["protocol"] for one in told} == {protocol}


def test_chargers_of_different_versions_in_one_log() -> None:
    lines = [f"CP-{n} -> {BOOT_201 if n == 2 else BOOT_16}" for n in (1, 2, 3)] + [f"CP-2 -> {BEAT}"]
    told = items(*lines)
    assert [one["protocol"] for one in told if "note" not in one] == [
        "ocpp1.6",
        "ocpp2.0.1",
        "ocpp1.6",
        "ocpp2.0.1",
    ]
    assert any("CP-2: protocol ocpp2.0.1" in one["text"] for one in told if "note" in one)


def test_ykc_and_ocpp_in_one_log() -> None:
    hexes = "10:00:00 RX 680C000000025503141278230500DA4C"
    told = items(hexes, f"10:00:01 CP-1 -> {BOOT_16}", hexes)
    assert [one.get("name") or one.get("action") for one in told if "note" not in one] == [
        "login_response",
        "BootNotification",
        "login_response",
    ]
    assert [one.get("name") for one in items(hexes, BOOT_16, protocol="ykc")] == ["login_response"]
    assert [one.get("action") for one in frames(hexes, BOOT_16)] == ["BootNotification"]


def test_only() -> None:
    lines = [f"CP-1 -> {BEAT}", f'CP-1 <- [3,"1",{{"currentTime":"{TIME}"}}]', f"CP-1 -> {BOOT_16}"]
    told = frames(*lines, extra=("--only", "heartbeat"))
    assert [one["message"] for one in told] == ["CALL", "CALLRESULT"]
    wrong = run("decode", "--protocol", "ocpp1.6", "--only", "Hartbeat", stdin=b"")
    assert wrong.status == 2
    assert "did you mean Heartbeat" in wrong.err


# Faults


def test_a_bad_frame_is_explained_and_decoding_goes_on() -> None:
    told = frames('[2,"7","Authorize",{"idTag":12}]', '[2,"8","Heartbeat",{"a"', BEAT)
    assert told[0]["code"] == "TypeConstraintViolation"
    assert told[0]["path"] == "idTag"
    assert json.loads(told[0]["answer"])[:3] == [4, "7", "TypeConstraintViolation"]
    assert told[1]["error"] == "MalformedFrameError"
    assert told[2]["typed"] is True
    text = run("decode", "--protocol", "ocpp1.6", '[2,"7","Authorize",{"idTag":12}]')
    assert text.status == 1
    for said in (
        "✗",
        "TypeConstraintViolation",
        "idTag is a number (12), not text",
        "(of the wrong type)",
        '[4,"7",',
    ):
        assert said in text.out


def test_arguments() -> None:
    assert run("decode", BEAT, BOOT_16).out.count(" CALL ") == 2
    broken = run("decode", "--protocol", "ocpp1.6", "[1")
    assert broken.status == 1
    assert "FormationViolation" in broken.out
    assert run("decode", "--protocol", "ocpp1.6", "no such file").status == 2
    assert "is no text" in run("decode", "--protocol", "ocpp1.6", "samples/session.pcap").err


def test_check_tells_what_decoding_lets_pass() -> None:
    (told,) = frames('[2,"1","Authorize",{"idTag":"A","idTag":"B"}]', extra=("--check",))
    assert [found["keyword"] for found in told["findings"]] == ["duplicate"]


# Hostile input


@pytest.mark.parametrize("extra", [(), ("--redact",), ("--format", "jsonl"), ("--brief", "--check")], ids=str)
def test_hostile_lines(extra: tuple[str, ...]) -> None:
    deep = "[" * 100_000
    lines = [
        deep,
        '[2,"1","Heartbeat",' + deep + "]" * 100_000 + "]",
        '[2,"1","Heartbeat",{"a":' * 20_000,
        '[2,"' + '\\"' * 100_000,
        '[2,\\"' + '\\\\\\"' * 100_000,
        '[2,"1","Heartbeat",{"a":1e400,"b":' + "9" * 10_000 + ',"c":NaN}]',
        '[2,"1","Heartbeat",{"a":"\\ud800"}]',
        '{"m":"[2,\\"1\\",\\"Heartbeat\\",{\\"a\\":\\"\\ud800\\"}]"}',
        '[2,"1","\x1b[31m",{}]',
        '[2,"1","Authorize",{"idTag":"' + "x" * 1_500_000 + '"}]',
        '[2,"1","Heartbeat",{"a":' + "[" * 450 + "]" * 450 + "}]",
        BEAT,
    ]
    data = "\n".join(lines).encode() + b'\n[2,"1","Authorize",{"idTag":"\xff\xfe"}]\n'
    result = run("decode", "--protocol", "ocpp1.6", *extra, stdin=data)
    assert result.status == 1
    assert result.err == ""
    assert "\x1b" not in result.out
    assert "Heartbeat" in result.out
    assert run("validate", "--protocol", "ocpp1.6", "-", stdin=data).status == 1


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    file = tmp_path / "long.log"
    with file.open("wb") as out:
        out.write(b'[2,"1","Authorize",{"idTag":"')
        for _ in range(60):
            out.write(b"x" * (1 << 20))
        out.write(b'"}]\n' + BEAT.encode())
    tracemalloc.start()
    try:
        result = run("decode", "--protocol", "ocpp1.6", "--brief", str(file))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.status == 1
    assert "Heartbeat" in result.out
    assert peak < 60 << 20


@pytest.mark.parametrize("command", ["decode", "validate"])
def test_a_long_log_is_not_held_in_memory(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys
    import tracemalloc

    from evproto.cli import main

    class Sink(io.TextIOBase):
        def write(self, text: str) -> int:
            return len(text)

    peaks = []
    for lines in (300, 2_000):
        file = tmp_path / f"{lines}.log"
        with file.open("w") as out:
            for number in range(lines):
                out.write(
                    f'10:00:00 CP-{number % 7} -> [2,"{number}","Authorize",{{"idTag":"{number:020}"}}]\n'
                )
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Sink())
            tracemalloc.start()
            assert main([command, str(file), *(["--brief"] if command == "decode" else []), "--redact"]) == 0
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    # Requests without answers are kept, at most 20,000 of them, each less than 2 KB; lines are not.
    assert peaks[1] - peaks[0] < 1_700 * 2_000


def test_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evproto.capture import following

    file = tmp_path / "live.log"
    file.write_text(f"CP-1 -> {BOOT_16}\n")
    turns = iter(
        (
            f'CP-1 <- [3,"b",{{"currentTime":"{TIME}","interval":1,"status":"Accepted"}}]\n',
            f"CP-1 -> {BEAT}\n",
        )
    )
    done = threading.Event()

    def nap() -> bool:
        more = next(turns, None)
        if more is None:
            done.set()
            return False
        with file.open("a") as out:
            out.write(more)
        return True

    monkeypatch.setattr(following, "_nap", nap)
    monkeypatch.setattr(following.follow, "__kwdefaults__", {**following.follow.__kwdefaults__, "wait": nap})
    result = run("decode", "--follow", "--brief", str(file))
    assert done.is_set()
    assert [line.split("  ")[2].split()[0] for line in result.out.splitlines() if "station" in line] == [
        "BootNotification",
        "BootNotification",
        "Heartbeat",
    ]


# Tables


@pytest.mark.parametrize(
    ("protocol", "folder"), [("ocpp1.6", "v16"), ("ocpp2.0.1", "v201"), ("ocpp2.1", "v21")]
)
def test_every_action_has_a_table_of_all_its_members(protocol: str, folder: str) -> None:
    files = sorted((ROOT / "specs/ocpp" / folder / "actions").glob("*.json"))
    listed = run("frames", "--protocol", protocol).out.splitlines()[1:]
    assert [line.split()[0] for line in listed] == [file.stem for file in files]
    for file in files:
        spec = json.loads(file.read_text())
        (table,) = json.loads(run("frames", file.stem, "--protocol", protocol, "--format", "json").out)
        text = run("frames", file.stem.lower(), "--protocol", protocol).out
        assert table["block"] == spec["block"]
        assert table["sent_by"] == spec["sentBy"]
        for part in ("request", "response"):
            if part not in spec:
                assert part not in table
                continue
            members = table[part]["members"]
            assert [one["name"] for one in members] == list(spec[part]["properties"])
            assert {one["name"] for one in members if one["required"]} == set(spec[part].get("required", []))
            for one in members:
                assert one["attribute"]
                assert f"  {one['name']}" in text
                assert one["attribute"] in text
                limit = spec[part]["properties"][one["name"]].get("maxLength")
                assert one.get("maxLength") == limit


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["BootNotificatin", "--protocol", "ocpp2.1"], "did you mean BootNotification"),
        (["GetTariffs", "--protocol", "ocpp1.6"], "ocpp2.1 has it"),
        (["BootNotification"], "it is an action: say --protocol ocpp1.6, ocpp2.0.1, ocpp2.1 or ntxcp"),
        (["Heartbeat", "--protocol", "ocpp1.6", "--revision", "1.6"], "are for YKC"),
    ],
)
def test_names_nobody_has(arguments: list[str], said: str) -> None:
    result = run("frames", *arguments)
    assert result.status == 2
    assert said in result.err

"""What ``decode`` says: values, faults, options, exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cli.shell import ROOT, run
from evproto import ykc

LOGIN = "680C000000025503141278230500DA4C"


def sealed(head: str, checksum: bytes | None = None) -> bytes:
    """Bytes without checksum, with a right one (or the given one) behind them."""
    data = bytes.fromhex(head)
    return data + (checksum or ykc.crc16_modbus(data[2:]).to_bytes(2, "little"))


# The four samples of the document whose checksum is right, with the values
# annotated there (YKC V1.6, sections 6.2, 6.6, 8.2 and 11.3).
DOCUMENTED = [
    (
        LOGIN,
        """0x02 login_response 登录认证应答  platform → pile
        pile_id 55031412782305 桩编码
        result 0 success 登陆成功 登陆结果""",
    ),
    (
        "680ECE040006550314127823050000008E2F",
        """0x06 billing_model_verification_response 计费模型验证请求应答  platform → pile
        pile_id 55031412782305
        billing_model_no 0000
        result 0 same 桩计费模型与平台一致""",
    ),
    (
        "682A000400323201020000000101201806121959578532010200000001010000000000000000000000000001E829",
        """0x32 start_response 运营平台确认启动充电  platform → pile
        transaction_no 32010200000001012018061219595785
        pile_id 32010200000001
        gun_no 01
        logical_card_no 0000000000000000
        account_balance 0 CNY
        result 0 failure 失败
        failure_reason""",
    ),
    (
        (
            "68620026009455031412782305010F003131342E35352E3131342E313734000015007372000000000000000000"
            "00000000007372313233000000000000000000000041432D374B572F3230313830313331000000000000000000"
            "0000000000000000023C7A2C"
        ),
        """0x94 update_request 远程更新  platform → pile
        pile_id 55031412782305
        pile_type 1 dc 直流
        pile_power 15
        server_address "114.55.114.174"
        server_port 21
        username "sr"
        password "sr123"
        file_path "AC-7KW/20180131"
        execution_control 2
        download_timeout 60 min""",
    ),
]


@pytest.mark.parametrize(("frame", "lines"), DOCUMENTED, ids=["0x02", "0x06", "0x32", "0x94"])
def test_the_samples_of_the_document(frame: str, lines: str) -> None:
    result = run("decode", frame)
    assert (result.status, result.err) == (0, "")
    squeezed = re.sub(r" +", " ", result.out)
    for line in lines.splitlines():
        assert re.sub(r" +", " ", line.strip()) in squeezed


def test_a_wrong_checksum_is_explained_and_the_fields_are_shown() -> None:
    result = run("decode", LOGIN[:-2] + "4D")
    assert result.status == 1
    assert "the checksum is DA 4D, the bytes ask for DA 4C" in result.out
    assert f"right would be {LOGIN}" in result.out
    assert "fields, if only the checksum is wrong:" in result.out
    assert "0 success 登陆成功" in result.out


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (LOGIN[:-4] + "4CDA", ["two bytes are exchanged", "--checksum either", "0 success"]),
        ("680E" + LOGIN[4:], ["length byte 0x0C instead of 0x0E", f"right would be {LOGIN}", "0 success"]),
        ("680B" + LOGIN[4:], ["length byte 0x0C instead of 0x0B", f"right would be {LOGIN}", "0 success"]),
        ("6803" + LOGIN[4:], ["the length byte is 3", "length byte 0x0C instead of 0x03", "0 success"]),
        (LOGIN[2:], ["with 0x68 in front", "0 success"]),
        (LOGIN[:20], ["the frame is cut off: 10 of 16 bytes", "6 are missing", "4 of 7 bytes"]),
        ("68", ["the frame is cut off: 1 bytes are too few"]),
        (
            sealed("680D00000001320106000192360101").hex(),
            ["login_request takes 30", "length byte would be 0x22", "heartbeat_request (0x03)", "gun_count"],
        ),
        (
            sealed("681C000700443201020000000105000000001000000100000000D14B0A54").hex(),
            ["card_count is 5", "room for 1", "length byte 0x5C", "byte 13"],
        ),
        (sealed("680D000000A0320106000192360100").hex(), ["unknown frame type", "9 bytes would fit"]),
        ("474554202F20485454502F312E31", ["begins with 0x68", "read as text: 'GET / HTTP/1.1'"]),
        (
            sealed("680E000000025503141278230500AABB").hex(),
            ["2 bytes behind the last field: AA BB", "takes 8"],
        ),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_faults_are_explained(frame: str, said: list[str]) -> None:
    result = run("decode", frame)
    for text in said:
        assert text in result.out
    assert result.status == (0 if "behind the last" in said[0] else 1)
    assert "Traceback" not in result.err
    for line in run("decode", frame, "--format", "jsonl", "--explain", "--check").out.splitlines():
        json.loads(line)


def test_a_frame_of_a_later_version_is_named() -> None:
    frame = sealed("683E000000A1" + "00" * 58).hex()
    assert run("decode", frame).status == 0
    result = run("decode", frame, "--revision", "1.5")
    assert "0xA1 is parallel_start_request since V1.6; try --revision 1.6" in result.out


def test_the_type_byte_is_suspected() -> None:
    right = sealed("680D05000004320106000192360100")
    result = run("decode", (right[:5] + b"\x08" + right[6:]).hex())
    assert "with frame type 0x04, heartbeat_response, the checksum is right (byte 5)" in result.out


def test_a_bad_frame_does_not_stop_the_rest() -> None:
    result = run("decode", LOGIN, LOGIN[:-2] + "FF", LOGIN)
    assert result.status == 1
    assert result.out.count("platform → pile") == 2
    assert result.out.endswith("2 frames, 1 bad frame\n")


def test_an_encrypted_body_stays_closed() -> None:
    result = run("decode", sealed("680C000001020102030405060708").hex())
    assert "encrypted" in result.out
    assert "01 02 03 04 05 06 07 08" in result.out
    assert result.status == 1


def test_text_in_gbk_and_utf8_is_read() -> None:
    body = bytes(7) + b"\x01\x0f\0" + bytes(16) + b"\x15\0" + "黄山路".encode("gbk").ljust(16, b"\0")
    body += bytes(16) + "升级".encode().ljust(32, b"\0") + b"\x02\x3c"
    out = run("decode", sealed("686200000094" + body.hex()).hex()).out
    assert "as GBK: 黄山路" in out
    assert "as UTF-8: 升级" in out


def test_what_a_terminal_would_obey_is_escaped() -> None:
    body = (
        bytes(7)
        + b"\x01\x0f\0"
        + b"\x1b[2J\x07\x9b31m".ljust(16, b"\0")
        + b"\x15\0"
        + bytes(64)
        + b"\x02\x3c"
    )
    out = run("decode", sealed("686200000094" + body.hex()).hex()).out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)
    assert r"\x1b[2J" in out


# Inputs


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(arguments: list[str]) -> None:
    result = run("decode", *arguments, stdin=bytes.fromhex(LOGIN))
    assert result.status == 0
    assert "<stdin>: byte 0" in result.out


def test_hex_spread_over_arguments() -> None:
    assert run("decode", *re.findall("..", LOGIN)).status == 0
    assert run("decode", LOGIN[:10], LOGIN[10:]).status == 0


def test_a_file_wins_over_hex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "6822").write_text(LOGIN)
    monkeypatch.setattr("cli.shell.ROOT", tmp_path)
    assert "6822:1" in run("decode", "6822").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.log"], "there is no file 'nowhere.log', and it is not hex"),
        (["680C00000002550314127823O500DA4C"], "(character 25 is 'O')"),
        (["samples"], "cannot read samples"),
        (["--revision", "2.1", LOGIN], "there is no version '2.1'"),
        (["--tz", "Mars/Base", LOGIN], "'Mars/Base' is no time zone"),
        (["--only", "0x13,nothing", LOGIN], "there is no frame 'nothing'"),
        (["--dialect", "nowhere.yaml", LOGIN], "cannot read nowhere.yaml"),
        (["--dialect", "samples/session.log", LOGIN], "samples/session.log:"),
        (["--input-format", "word", LOGIN], "there is no 'word'"),
        (["--follow"], "--follow takes one file"),
        (["--format", "xml", LOGIN], "invalid choice: 'xml'"),
        (["--forma", "json", LOGIN], "unrecognized arguments"),
        (["--port", "x", LOGIN], "invalid int value"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    result = run("decode", *arguments)
    assert result.status == 2
    assert said in result.err
    assert all(line.startswith("evproto: error: ") for line in result.err.splitlines())


def test_all_problems_of_a_dialect_are_told(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("overlay: bad\nenums:\n  gun_statu:\n    remove: [1]\nframes:\n  remove: [nonesuch]\n")
    result = run("decode", LOGIN, "--dialect", str(file))
    assert result.status == 2
    assert len(result.err.splitlines()) >= 3
    assert "did you mean 'gun_status'?" in result.err


@pytest.mark.parametrize("extra", [[], ["--format", "json"], ["--format", "jsonl"]])
def test_empty_input(extra: list[str]) -> None:
    result = run("decode", *extra, stdin=b"")
    assert result.status == 1
    if extra and extra[1] == "json":
        assert [item["note"] for item in json.loads(result.out)] == ["empty"]


def test_an_unreadable_file_among_others_still_gives_valid_json(tmp_path: Path) -> None:
    result = run("decode", LOGIN, str(tmp_path), "--format", "json")
    assert result.status == 2
    assert len(json.loads(result.out)) == 1


@pytest.mark.parametrize("form", [[], ["--format", "json"]])
def test_follow(form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evproto.capture import following

    log = tmp_path / "growing.log"
    log.write_text(f"10:00:00 RX {LOGIN}\n")
    times = ["10:00:00", "10:00:01", "10:00:02"]
    more = iter([f"10:00:01 TX {LOGIN}\n", f"10:00:02 RX {LOGIN}\n", None])

    def nap() -> bool:
        line = next(more)
        if line is None:
            raise KeyboardInterrupt
        with log.open("a") as file:
            file.write(line)
        return True

    monkeypatch.setattr(following.follow, "__kwdefaults__", {**following.follow.__kwdefaults__, "wait": nap})
    result = run("decode", str(log), "--follow", *form)
    assert result.status == 130
    if form:
        assert [item["time"] for item in json.loads(result.out)] == times
    else:
        assert re.findall(r"^10:00:0.", result.out, re.MULTILINE) == times


def test_a_pipe_closed_early_is_no_error() -> None:
    command = [sys.executable, "-c", "import sys; from evproto.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [*command, "decode", "samples/session.log", *["samples/session.log"] * 40],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) != 0


def test_frames_come_while_the_pipe_is_open() -> None:
    command = [sys.executable, "-c", "import sys; from evproto.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [*command, "decode", "--format", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    try:
        process.stdin.write((LOGIN + "\n").encode() * 60)
        process.stdin.flush()
        time.sleep(0)
        assert json.loads(process.stdout.readline())["name"] == "login_response"
    finally:
        process.stdin.close()
        process.stdout.read()
        process.stdout.close()
        process.wait(20)
        watchdog.cancel()


# Output


def test_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" not in run("decode", LOGIN).out
    assert "\x1b[" in run("decode", LOGIN, terminal=True).out
    assert "\x1b[" not in run("decode", LOGIN, "--color", "never", terminal=True).out
    assert "\x1b[" in run("decode", LOGIN, "--color", "always").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("decode", LOGIN, terminal=True).out
    assert "\x1b[" in run("decode", LOGIN, "--color", "always", terminal=True).out


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("extra", [[], ["--explain"], ["--brief"], ["--check"], ["--redact"]])
@pytest.mark.parametrize("name", ["session.log", "session.pcap", "damaged.log", "login.hex"])
def test_colour_changes_nothing_else(name: str, extra: list[str]) -> None:
    bare = run("decode", f"samples/{name}", *extra)
    coloured = run("decode", f"samples/{name}", *extra, "--color", "always")
    assert [line.rstrip() for line in _plain(coloured.out).splitlines()] == [
        line.rstrip() for line in bare.out.splitlines()
    ]


def test_checks_are_told_and_do_not_change_the_status() -> None:
    frames = [
        json.loads(line)
        for line in run("decode", "samples/session.log", "--format", "jsonl").out.splitlines()
    ]
    record = next(frame for frame in frames if frame["name"] == "transaction_record")
    record["fields"]["total_amount"] = 5.0
    frame = run("encode", json.dumps(record)).out.strip()
    result = run("decode", frame, "--check")
    assert result.status == 0
    assert (
        "! total_amount is 5.0, but sharp_amount + peak_amount + flat_amount + valley_amount is 4.2615"
        in result.out
    )
    item = json.loads(run("decode", frame, "--check", "--format", "jsonl").out)
    assert [finding["kind"] for finding in item["findings"]] == ["sum"]


def test_idle_zero_is_explained() -> None:
    from cli.test_golden import IDLE

    assert "-50 °C" in run("decode", IDLE).out
    assert "raw 0, as an idle pile sends it" in run("decode", IDLE).out
    assert "an idle pile sends raw 0, which reads as -50" in run("decode", IDLE, "--explain").out


def test_explain_shows_every_byte_once() -> None:
    item: dict[str, Any]
    for item in json.loads(run("decode", "samples/session.log", "--explain", "--format", "json").out):
        shown = "".join(line["bytes"] for line in item["explain"] if "bytes" in line)
        assert shown == item["raw"]


def test_direction_against_the_log() -> None:
    result = run("decode", stdin=f"10:00:00 pile -> platform {LOGIN}\n".encode())
    assert "platform → pile (the log says pile → platform)" in result.out


def test_a_progress_bar_for_long_inputs_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from evproto.cli import inputs

    quiet = run("decode", "samples/session.log", "--format", "jsonl")
    assert run("decode", "samples/session.log", "--format", "jsonl", errors_seen=True).err == ""
    monkeypatch.setattr(inputs, "_LONG", 1000)
    assert run("decode", "samples/session.log").err == ""
    assert run("decode", "samples/session.log", errors_seen=True, terminal=True).err == ""
    seen = run("decode", "samples/session.log", "--format", "jsonl", errors_seen=True)
    assert "/18.5k" in seen.err
    assert seen.data == quiet.data


def test_nothing_is_held_in_memory(tmp_path: Path) -> None:
    """A long input decodes in the memory of a short one."""
    import tracemalloc

    from evproto.capture import read_path
    from evproto.cli.decoding import decode_items

    file = tmp_path / "long.bin"
    file.write_bytes((bytes.fromhex(LOGIN) * 40 + b"\x68\x20garbage") * 8000)
    codec = ykc.Codec("1.7")
    tracemalloc.start()
    try:
        count = sum(1 for _ in decode_items(read_path(file), codec))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert count > 320_000

"""``encode``: what decode printed gives the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.shell import ROOT, run
from evproto import ykc

VECTORS = {
    entry["id"]: entry["frame"]
    for file in sorted((ROOT / "tests" / "vectors" / "ykc").glob("*.yaml"))
    for entry in yaml.safe_load(file.read_text(encoding="utf-8"))
}
STOP = '{"name": "remote_stop_request", "fields": {"pile_id": "55031412782305", "gun_no": "01"}}'


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("vector", VECTORS)
def test_golden_vectors(vector: str, form: str) -> None:
    decoded = run("decode", VECTORS[vector], "--format", form, "--check", "--explain")
    assert decoded.status == 0
    encoded = run("encode", stdin=decoded.data)
    assert encoded.out == VECTORS[vector] + "\n"
    assert (encoded.status, encoded.err) == (0, "")


def stream_of(name: str) -> bytes:
    from evproto.capture import Chunk, read_path

    return b"".join(item.data for item in read_path(ROOT / "samples" / name) if isinstance(item, Chunk))


@pytest.mark.parametrize("name", ["session.log", "damaged.log", "login.hex"])
def test_the_bytes_of_a_whole_input(name: str) -> None:
    decoded = run("decode", f"samples/{name}", "--format", "json")
    assert run("encode", "--output-format", "binary", stdin=decoded.data).data == stream_of(name)


def test_good_frames_inside_a_bad_one_are_not_written_twice() -> None:
    right = bytes.fromhex("680C000000025503141278230500DA4C")
    data = (
        right + b"\x68\xf0\0\0\0\x13" + right * 3 + b"rubbish\x68\x04" + right + b"\x68\x30\0\0" + right[:9]
    )
    decoded = run("decode", "--format", "jsonl", "--input-format", "binary", stdin=data)
    assert decoded.status == 1
    names = [json.loads(line).get("name") for line in decoded.out.splitlines()]
    assert names.count("login_response") >= 4
    assert run("encode", "--output-format", "binary", stdin=decoded.data).data == data


@pytest.mark.parametrize("policy", ["either", "ignore"])
def test_a_wrong_checksum_is_kept_unless_something_changed(policy: str) -> None:
    frame = "680C0000000255031412782305004CDA"
    decoded = run("decode", frame, "--checksum", policy, "--format", "jsonl")
    assert decoded.status == 0
    assert json.loads(decoded.out)["checksum"] == "swapped"
    assert run("encode", stdin=decoded.data).out == frame + "\n"
    assert run("encode", "--repair", stdin=decoded.data).out == "680C000000025503141278230500DA4C\n"
    changed = decoded.data.replace(b'"pile_id":"55031412782305"', b'"pile_id":"55031412782306"')
    data = bytes.fromhex(run("encode", stdin=changed).out)
    assert ykc.Codec().decode(data).checksum == "ok"


def test_repair() -> None:
    decoded = run("decode", "samples/damaged.log", "--format", "json")
    repaired = run("encode", "--repair", stdin=decoded.data)
    assert repaired.status == 0
    again = run("decode", "--format", "jsonl", stdin=repaired.data)
    names = [json.loads(line)["name"] for line in again.out.splitlines()]
    assert names == [
        "login_request",
        "realtime_data_report",
        "remote_start_response",
        "heartbeat_request",
        "heartbeat_response",
        "unknown",
        "heartbeat_response",
    ]


def test_redacted_frames_are_refused() -> None:
    decoded = run("decode", "samples/session.log", "samples/damaged.log", "--redact", "--format", "jsonl")
    result = run("encode", stdin=decoded.data)
    assert result.status == 1
    assert result.data == b""
    assert "item 1 (login_request): its values were hidden by redaction; it cannot be encoded" in result.err
    items = [line for line in decoded.out.splitlines() if "note" not in json.loads(line)]
    assert len(result.err.splitlines()) == len(items)


@pytest.mark.parametrize(
    "text",
    [
        STOP,
        f"[{STOP}]",
        f"\ufeff\n\n [ {STOP} ] \n",
        STOP.replace(", ", ",\n\n"),
        STOP.replace('"name": "remote_stop_request"', '"frame_type": "0x36"'),
        STOP.replace('"name": "remote_stop_request"', '"frame_type": 54, "sequence": 0, "encryption": 0'),
    ],
)
def test_json_laid_out_in_every_way(text: str, tmp_path: Path) -> None:
    wanted = run("encode", STOP).out
    assert (
        wanted
        == ykc.Codec()
        .encode(ykc.messages.RemoteStopRequest(pile_id="55031412782305", gun_no="01"))
        .hex()
        .upper()
        + "\n"
    )
    assert run("encode", stdin=text.encode()).out == wanted
    file = tmp_path / "frame.json"
    file.write_text(text, encoding="utf-8")
    assert run("encode", str(file)).out == wanted
    assert run("encode", stdin=(text + "\n" + text).encode()).out == wanted * 2


def test_output_formats() -> None:
    spaced = run("encode", STOP, "--output-format", "spaced").out
    assert spaced.startswith("68 0C 00 00 00 36 55 03")
    assert run("encode", STOP, "--output-format", "binary").data == bytes.fromhex(spaced)


def test_the_rest_is_encoded_when_one_item_is_wrong() -> None:
    result = run("encode", stdin=f"[{STOP}, {STOP.replace('01', '1G')}, 7, {STOP}]".encode())
    assert result.status == 1
    assert len(result.out.splitlines()) == 2
    assert "<stdin>: item 2 (remote_stop_request): gun_no takes digits" in result.err
    assert "<stdin>: item 3: a frame is an object, not a number" in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "<stdin>:1: this is no JSON"),
        (f"[{STOP}", "<stdin>:1: this is no JSON: a comma or ] is expected"),
        (f"[{STOP},", "the array does not end"),
        (f"{STOP}\n\n]", "<stdin>:3: this is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("\xff", "this is no JSON"),
        (f"{STOP}\nhello", "<stdin>:2: this is no JSON"),
    ],
)
def test_what_is_no_json(text: str, said: str) -> None:
    result = run("encode", stdin=text.encode())
    assert result.status == 2
    assert said in result.err
    assert result.err.startswith("evproto: error: ")


def test_bytes_that_are_no_text() -> None:
    result = run("encode", stdin=b"\xff\xfe\x00")
    assert (result.status, "no UTF-8" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nowhere.json"], "cannot read nowhere.json"), (["samples"], "samples")]
)
def test_files_that_cannot_be_read(arguments: list[str], said: str) -> None:
    result = run("encode", *arguments)
    assert result.status == 2
    assert said in result.err


def test_a_dialect() -> None:
    item = {"name": "power_limit_request", "fields": {"pile_id": "55031412782305", "gun_no": "01"}}
    item["fields"] |= {"power_limit": 60.5, "valid_until": "2026-03-12T18:00:00+08:00"}  # type: ignore[operator]
    frame = run("encode", json.dumps(item), "--dialect", "samples/v1_8.yaml").out.strip()
    out = run("decode", frame, "--dialect", "samples/v1_8.yaml").out
    assert "power_limit  60.5 kW" in out
    assert "2026-03-12 18:00:00 +08:00" in out


def test_times_in_another_zone() -> None:
    item = '{"name":"time_sync_request","fields":{"pile_id":"1","current_time":"2026-03-12T10:00:00Z"}}'
    frame = run("encode", item).out.strip()
    assert "2026-03-12 18:00:00 +08:00" in run("decode", frame).out
    assert "2026-03-12 18:00:00 +05:30" in run("decode", frame, "--tz", "+05:30").out
    assert run("encode", item, "--tz", "UTC").out.strip() != frame

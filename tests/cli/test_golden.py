"""Transcripts, committed in ``golden/``. ``EVPROTO_UPDATE_GOLDEN=1`` writes them anew; look at the diff."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from cli.shell import run

GOLDEN = Path(__file__).parent / "golden"

LOGIN = "680C000000025503141278230500DA4C"
TARIFF = (
    "686600420085181200000001700017C0D40100204E0000289A0100204E0000880D010050460000D0840000803E0000D859000020"
    "4E000000020202020202020202020202020202020202020203030404040404040303020201010000000001010101020202020202"
    "79DC"
)
IDLE = (
    "68401A0300130000000000000000000000000000000055031412782305010001010200000000000000000000000000000000"
    "000000000000000000000000000000005C7A"
)
TRANSCRIPTS = {
    "decode_login_response": f"decode {LOGIN}",
    "decode_login_hex": "decode samples/login.hex",
    "decode_damaged": "decode samples/damaged.log",
    "decode_damaged_redacted": "decode samples/damaged.log --redact",
    "decode_damaged_json": "decode samples/damaged.log --format json",
    "decode_brief": "decode samples/session.log --brief",
    "decode_record_checked": "decode samples/session.log --only 0x3B,0x0A,0x1D --check",
    "decode_record_redacted": "decode samples/session.log --only 0x3B,0x15,0x34 --redact",
    "decode_pcap_jsonl": "decode samples/session.pcap --only 0x01,0x02,0x15 --format jsonl --check",
    "decode_color": f"decode {LOGIN} 680C000000025503141278230500DA4D --color always",
    "decode_dialect": f"decode {TARIFF} --dialect samples/five_price_tariff.yaml",
    "explain_login_response": f"decode {LOGIN} --explain",
    "explain_idle": f"decode {IDLE} --explain",
    "explain_redacted": "decode samples/session.log --only 0x15,0x34 --explain --redact",
    "explain_json": f"decode {LOGIN} --explain --format json",
    "frames": "frames",
    "frames_13": "frames 0x13",
    "frames_cards": "frames card_sync_request",
    "frames_word": "frames 计费",
    "frames_json": "frames 0x94 --format json",
    "diff_15_17": "diff 1.5 1.7",
    "diff_v1_8": "diff 1.7 samples/v1_8.yaml",
    "diff_same": "diff 1.6 1.6",
    "ocpp_16": "decode samples/ocpp16.log",
    "ocpp_201_redacted": "decode samples/ocpp201.log --redact",
    "ocpp_201_explained": "decode samples/ocpp201.log --protocol ocpp2.0.1 --only TransactionEvent --explain",
    "ocpp_brief": "decode samples/ocpp201.log --brief",
    "ocpp_jsonl": "decode samples/ocpp201_damaged.log --format jsonl",
    "ocpp_damaged": "decode samples/ocpp_damaged.log",
    "ocpp_damaged_redacted": "decode samples/ocpp_damaged.log --redact",
    "ocpp_color": """decode '[2,"1","Reset",{"type":"Soft"}]' '[2,"2","Reset",{}]' --protocol ocpp1.6 --color always""",
    "validate_16": "validate samples/ocpp_damaged.log",
    "validate_201": "validate samples/ocpp201_damaged.log --redact",
    "frames_16": "frames --protocol ocpp1.6",
    "frames_boot": "frames BootNotification --protocol ocpp2.0.1",
    "frames_boot_json": "frames BootNotification --protocol ocpp1.6 --format json",
    "frames_id_token": "frames IdTokenType --protocol ocpp2.1",
    "frames_part": "frames tariff --protocol ocpp2.1",
    "help": "--help",
    "help_decode": "decode --help",
    "help_encode": "encode --help",
    "help_frames": "frames --help",
    "help_diff": "diff --help",
    "help_generate": "generate --help",
    "help_validate": "validate --help",
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    line = TRANSCRIPTS[name]
    result = run(*shlex.split(line))
    text = f"$ evproto {line}\n{result.out}{result.err}[exit {result.status}]\n"
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("EVPROTO_UPDATE_GOLDEN") == "1":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(TRANSCRIPTS)

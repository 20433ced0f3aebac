"""What is hidden does not come out anywhere."""

from __future__ import annotations

import json
import random
import re

import pytest
from reference.bodies import quick_checksum

from cli.shell import run
from cli.test_plain import CODEC, LAYOUTS, frames_of
from evproto.messages import Message
from evproto.ykc.redact import spans

FORMS = (
    ["--check"],
    ["--explain", "--check"],
    ["--brief", "--check"],
    ["--format", "json", "--explain", "--check"],
    ["--format", "jsonl", "--checksum", "ignore"],
    ["--checksum", "ignore", "--explain"],
)
SECRET = [
    name
    for name in LAYOUTS
    if any(
        field.secret or any(inner.secret for inner in field.fields)
        for variants in CODEC.layouts.values()
        for layout in variants
        if layout.name == name
        for field in layout.fields
    )
]


def with_secrets(data: bytes, rng: random.Random) -> tuple[bytes, list[bytes]]:
    """A frame whose secret fields hold values that can be recognised; and those."""
    frame = CODEC.decode(data)
    assert isinstance(frame.message, Message)
    body = bytearray(data[6:-2])
    secrets: list[bytes] = []
    for span in spans(CODEC.layout(frame.message), bytes(body)):
        if span.field.secret:
            value = bytes(rng.choice(b"ABCDEFGHJKLMNPRSTUVWXYZ123456789") for _ in range(span.size))
            body[span.offset : span.offset + span.size] = value
            secrets.append(value)
    return sealed(data[:6] + bytes(body)), secrets


def sealed(data: bytes) -> bytes:
    return data + quick_checksum(data[2:]).to_bytes(2, "little")


def leaks(out: str, secrets: list[bytes]) -> list[bytes]:
    """Secrets that come out as text or hex, in either order, in whatever spacing."""
    squeezed = re.sub(r"[^0-9A-Za-z]", "", out).upper()
    found = []
    for secret in secrets:
        for one in (secret, secret[::-1]):
            # A part is a leak too.
            parts = [spelt for part in (one[:6], one[-6:]) for spelt in (part.hex(), part.decode("latin-1"))]
            found += [secret for part in parts if part.upper() in squeezed]
    return found


def test_there_is_something_to_hide() -> None:
    assert {"remote_start_request", "bms_handshake", "card_sync_request", "update_request"} <= set(SECRET)


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("name", SECRET)
def test_nothing_leaks(name: str, form: list[str]) -> None:
    rng = random.Random(name)
    hexes, secrets = [], []
    for data in frames_of(name, 8, 5):
        frame, hidden = with_secrets(data, rng)
        secrets += hidden
        if not hidden:
            continue  # a list of no cards
        body = frame[6:-2]
        damaged = bytearray(frame)
        damaged[-1] ^= 0x55
        type_changed = bytearray(frame)
        type_changed[5] ^= 0xFF
        length_changed = bytearray(frame)
        length_changed[1] = max(4, length_changed[1] - 3)
        hexes += [
            frame,
            bytes(damaged),
            frame[:-2] + frame[:-3:-1],
            frame[: len(frame) * 3 // 4],
            bytes(type_changed),
            sealed(bytes(type_changed[:-2])),
            bytes(length_changed),
            frame[1:],
            body,
            sealed(frame[:4] + b"\x01" + frame[5:-2]),
        ]
        if len(body) < 240:
            longer = bytes((0x68, frame[1] + len(hidden[0][:8]))) + frame[2:-2] + hidden[0][:8]
            hexes.append(sealed(longer))
    lines = [f"10:00:00 RX {data.hex()}" for data in hexes]
    plain = run("decode", *form, stdin="\n".join(lines).encode())
    result = run("decode", "--redact", *form, stdin="\n".join(lines).encode())
    assert not leaks(result.out + result.err, secrets)
    if "--brief" not in form:
        assert leaks(plain.out, secrets)
    binary = run("decode", "--redact", *form, "--input-format", "binary", stdin=b"".join(hexes))
    assert not leaks(binary.out + binary.err, secrets)
    bare = run(
        "decode", "--redact", *form, "--input-format", "hex", stdin="\n".join(d.hex() for d in hexes).encode()
    )
    assert not leaks(bare.out + bare.err, secrets)


def test_words_that_are_not_hex_are_hidden_too() -> None:
    text = b"68 0C 00 VIN=LEVPR0T0X26030017 00\n680C0\n"
    for form in ([], ["--format", "jsonl"]):
        out = run("decode", "--redact", "--input-format", "hex", *form, stdin=text).out
        assert "LEVPR" not in out


def test_a_card_number_is_hidden_in_other_fields_as_well() -> None:
    transaction = "32010600019236011000000573260017"
    item = {
        "name": "remote_start_request",
        "fields": {
            "transaction_no": transaction,
            "pile_id": "32010600019236",
            "gun_no": "01",
            "logical_card_no": "0000001000000573",
            "physical_card_no": "00000000D14B0A54",
            "account_balance": 1,
        },
    }
    frame = run("encode", json.dumps(item)).out.strip()
    for form in ([], ["--explain"], ["--format", "jsonl"]):
        out = run("decode", frame, "--redact", *form).out
        assert "1000000573" not in re.sub(r"\s", "", out)
        assert "32010600019236" in out


def test_the_checksum_is_hidden_with_what_it_covers() -> None:
    item = json.loads(
        run("decode", "samples/session.log", "--only", "15", "--redact", "--format", "json").out
    )[0]
    assert item["redacted"] is True
    assert item["fields"]["vin"] == "***"
    assert item["raw"].endswith("****")
    assert item["raw"].count("**") == 17 + 2
    untouched = json.loads(
        run("decode", "samples/session.log", "--only", "3", "--redact", "--format", "json").out
    )[0]
    assert "*" not in untouched["raw"]
    assert untouched["redacted"] is True

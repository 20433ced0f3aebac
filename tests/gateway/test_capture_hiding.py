"""Captured frames: what is hidden in them, and that nothing else is changed."""

from __future__ import annotations

import json

import pytest

from evproto.gateway.capture_hiding import Hiding


def hidden(text: str, protocol: str = "ocpp1.6") -> tuple[str, bool]:
    data, changed = Hiding().frame(protocol, "CP1", True, text.encode())
    return data.decode(), changed


@pytest.mark.parametrize(
    "payload",
    [
        '{"idTag":"SECRETCARD","idTag":"***"}',
        '{"idTag":"SECRETCARD","idTag":null}',
        '{"idTag":"SECRETCARD","idTag":""}',
        '{"idTag":"***","\\u0069dTag":"SECRETCARD"}',
        '{"idTag":null,"idTag":{"x":"SECRETCARD","x":2}}',
    ],
)
def test_a_member_given_twice_hides_both(payload: str) -> None:
    found, changed = hidden(f'[2,"1","Authorize",{payload}]')
    assert changed
    assert "SECRETCARD" not in found
    assert json.loads(found)[:3] == [2, "1", "Authorize"]


def test_a_member_given_twice_inside_of_another() -> None:
    text = (
        '[2,"1","MeterValues",{"connectorId":1,"meterValue":[{"timestamp":"2026-01-01T00:00:00Z",'
        '"sampledValue":[{"value":"SECRETCARD","value":"5"}]}]}]'
    )
    found, changed = hidden(text)
    assert changed
    assert "SECRETCARD" not in found


@pytest.mark.parametrize(
    "text",
    [
        '[2, "1",  "Heartbeat", { }]',
        '[2,"1","StatusNotification",{"connectorId":1, "errorCode":"NoError","status":"\\u0041vailable"}]',
        '[3,"1", {}]',
    ],
)
def test_nothing_to_hide_is_written_as_it_was_sent(text: str) -> None:
    assert hidden(text) == (text, False)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://host/x?token=SECRET1", "https://host/x?***"),
        ("https://host?X-Sig=SECRET1&a=b#end", "https://host?***#end"),
        ("ftp://me:SECRET1@host/x?token=SECRET1", "ftp://***@host/x?***"),
        ("https://host/x?a=SECRET1@there", "https://host/x?***"),
        ("https://host/x", "https://host/x"),
        ("https://host/x?", "https://host/x?"),
    ],
)
@pytest.mark.parametrize("action", ["GetDiagnostics", "UpdateFirmware"])
def test_tokens_in_a_url(action: str, location: str, shown: str) -> None:
    payload = {"location": location, "retrieveDate": "2026-01-01T00:00:00Z"}
    if action == "GetDiagnostics":
        del payload["retrieveDate"]
    found, changed = hidden(json.dumps([2, "1", action, payload]))
    assert changed == (location != shown)
    assert json.loads(found) == [2, "1", action, {**payload, "location": shown}]


def test_tokens_in_a_url_of_a_log() -> None:
    log = {"remoteLocation": "https://host/x?token=SECRET1"}
    frame = [2, "1", "GetLog", {"logType": "DiagnosticsLog", "requestId": 1, "log": log}]
    found, changed = hidden(json.dumps(frame), "ocpp2.0.1")
    assert changed
    assert json.loads(found)[3]["log"] == {"remoteLocation": "https://host/x?***"}

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

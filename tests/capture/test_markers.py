from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.capture.markers import find_direction, find_time

from .samples import unhurried

BEIJING = timezone(timedelta(hours=8))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20 10:00:00 x", datetime(2026, 11, 20, 10)),
        ("[2026-11-20 10:00:00.123] x", datetime(2026, 11, 20, 10, 0, 0, 123000)),
        ("2026-11-20 10:00:00,123 x", datetime(2026, 11, 20, 10, 0, 0, 123000)),
        ("2026-11-20 10:00:00:123 x", datetime(2026, 11, 20, 10, 0, 0, 123000)),
        ("2026-11-20T10:00:00.123456789Z x", datetime(2026, 11, 20, 10, 0, 0, 123456, UTC)),
        ("2026-11-20T10:00:00+08:00 x", datetime(2026, 11, 20, 10, tzinfo=BEIJING)),
        ("2026-11-20T10:00:00.5+0800 x", datetime(2026, 11, 20, 10, 0, 0, 500000, BEIJING)),
        ("2026-11-20T10:00:00-05:30", datetime(2026, 11, 20, 10, tzinfo=timezone(-timedelta(hours=5.5)))),
        ("2026-11-20 10:00:00 UTC", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026/11/20 10:00:00", datetime(2026, 11, 20, 10)),
        ("2026.11.20 10:00:00", datetime(2026, 11, 20, 10)),
        ("20261120 10:00:00", datetime(2026, 11, 20, 10)),
        ("20261120T100000Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20 10:00", datetime(2026, 11, 20, 10)),
        ("2026年11月20日 10:00:00", datetime(2026, 11, 20, 10)),
        ("2026年1月2日 8时05分09秒", datetime(2026, 1, 2, 8, 5, 9)),
        ("10:00:00 x", time(10)),
        ("[10:00:00.123] x", time(10, 0, 0, 123000)),
        ("Nov 20 10:00:00 host app[1]: x", time(10)),
        ("11-20 10:00:00.123  1234 D tag: x", time(10, 0, 0, 123000)),
        ("1795168800 x", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("1795168800.25 x", datetime(2026, 11, 20, 10, 0, 0, 250000, UTC)),
        ("1795168800123 x", datetime(2026, 11, 20, 10, 0, 0, 123000, UTC)),
        ("[1795168800123] x", datetime(2026, 11, 20, 10, 0, 0, 123000, UTC)),
        ('{"ts":1795168800123,"a":1}', datetime(2026, 11, 20, 10, 0, 0, 123000, UTC)),
        ("level=info time=1795168800", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("order 1795168800123 x", None),
        ("2026-13-20 10:00:00", None),
        ("25:61:00 x", None),
        ("mac 10:00:00:11:22:33", None),
        ("nothing", None),
    ],
)
def test_times(text: str, expected: datetime | time | None) -> None:
    assert find_time(text) == expected
    if isinstance(expected, datetime):
        found = find_time(text)
        assert isinstance(found, datetime)
        assert found.tzinfo == expected.tzinfo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RX ", "received"),
        ("[RX] ", "received"),
        ("rx: ", "received"),
        ("RECV 192.0.2.7:53210 << ", "received"),
        ("received 38 bytes: ", "received"),
        ("<< ", "received"),
        ("<- ", "received"),
        ("<-- ", "received"),
        ("← ", "received"),
        ("[in] ", "received"),
        ("接收 ", "received"),
        ("收到报文：", "received"),
        ("[收] ", "received"),
        ("收：", "received"),
        ("【收】", "received"),
        ("TX ", "sent"),
        ("send to 192.0.2.7: ", "sent"),
        ("Sending: ", "sent"),
        (">> ", "sent"),
        ("-> ", "sent"),
        ("=> ", "sent"),
        ("→ ", "sent"),
        ("发送 ", "sent"),
        ("[发] ", "sent"),
        ("发: ", "sent"),
        ("uplink ", "pile_to_platform"),
        ("[up] ", "pile_to_platform"),
        ("up: ", "pile_to_platform"),
        ('"dir":"up","hex":"', "pile_to_platform"),
        ("dir=up ", "pile_to_platform"),
        ("上行 ", "pile_to_platform"),
        ("桩->平台 ", "pile_to_platform"),
        ("充电桩 → 平台 ", "pile_to_platform"),
        ("pile->platform ", "pile_to_platform"),
        ("pile to platform ", "pile_to_platform"),
        ("platform <- pile ", "pile_to_platform"),
        ("from charger: ", "pile_to_platform"),
        ("RX from pile 55031412782305: ", "pile_to_platform"),
        ("down: ", "platform_to_pile"),
        ("下行 ", "platform_to_pile"),
        ("下发 ", "platform_to_pile"),
        ("platform -> pile ", "platform_to_pile"),
        ("server=>client ", "platform_to_pile"),
        ("平台->桩 ", "platform_to_pile"),
        ("192.0.2.7:53210 -> 198.51.100.1:9000 ", ""),
        ("RX [192.0.2.7:53210 -> 198.51.100.1:9000] ", "received"),
        ("starting up ", ""),
        ("shut down ", ""),
        ("in 5 ms ", ""),
        ("text ", ""),
        ("context ", ""),
        ("发生错误 ", ""),
        ("RX then TX ", "sent"),
    ],
)
def test_directions(text: str, expected: str) -> None:
    assert find_direction(text) == expected


@unhurried
@given(st.text())
def test_any_text_will_do(text: str) -> None:
    find_time(text)
    find_direction(text)

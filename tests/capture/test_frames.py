from __future__ import annotations

import pytest

from evproto.capture.frames import begins_frame, has_header, has_right_checksum, missing, whole_frames

from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE


@pytest.mark.parametrize(
    ("data", "begins", "header", "checksum", "whole", "lacks"),
    [
        (b"", False, False, False, 0, 0),
        (b"h", False, False, False, 0, 0),
        (b"\x68\x03\x00\x00\x00\x01", False, False, False, 0, 0),
        (LOGIN, True, True, True, 38, 0),
        (LOGIN[:2], True, False, False, 0, 36),
        (LOGIN[:10], True, True, False, 0, 28),
        (LOGIN[:-1] + b"\x00", True, True, False, 38, 0),
        (LOGIN[:-2] + LOGIN[:-3:-1], True, True, True, 38, 0),
        (LOGIN + LOGIN_RESPONSE + HEARTBEAT[:5], True, True, True, 54, 12),
        (LOGIN + b"\x00", True, True, True, 38, 0),
        (LOGIN[:4] + b"\x02" + LOGIN[5:], True, False, False, 38, 0),
    ],
)
def test_what_bytes_look_like(
    data: bytes, begins: bool, header: bool, checksum: bool, whole: int, lacks: int
) -> None:
    assert begins_frame(data) is begins
    assert has_header(data) is header
    assert has_right_checksum(data) is checksum
    assert whole_frames(data) == whole
    assert missing(data) == lacks

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evproto.capture import CaptureError, Chunk, Item, Note, follow

from .samples import HEARTBEAT, LOGIN, LOGIN_RESPONSE

A, B, C = (f"10:00:00 RX {frame.hex(' ')}\n".encode() for frame in (LOGIN, LOGIN_RESPONSE, HEARTBEAT))


def run(path: Path, *steps: Callable[[], object], **kwargs: Any) -> list[Any]:
    """Follow ``path``; each time there is nothing to read, the next step happens."""
    todo = list(steps)

    def wait() -> bool:
        if not todo:
            return False
        todo.pop(0)()
        return True

    return list(follow(path, wait=wait, **kwargs))


def append(path: Path, data: bytes) -> Callable[[], object]:
    def step() -> None:
        with path.open("ab") as file:
            file.write(data)

    return step


def brief(items: list[Item]) -> list[object]:
    return [item.data if isinstance(item, Chunk) else item.kind for item in items]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pile.log"


def test_what_is_there_and_what_comes(path: Path) -> None:
    path.write_bytes(A)
    items = run(path, append(path, B), lambda: None, append(path, C))
    assert brief(items) == [LOGIN, LOGIN_RESPONSE, HEARTBEAT]
    assert [item.line for item in items] == [1, 2, 3]


def test_lines_are_whole_before_they_are_read(path: Path) -> None:
    path.write_bytes(A)
    items = run(path, append(path, B[:20]), append(path, B[20:40]), append(path, B[40:]))
    assert brief(items) == [LOGIN, LOGIN_RESPONSE]


def test_a_last_line_without_end_is_given_at_the_end(path: Path) -> None:
    path.write_bytes(A + B.rstrip())
    assert brief(run(path)) == [LOGIN, LOGIN_RESPONSE]


def test_items_are_given_as_they_come(path: Path) -> None:
    path.write_bytes(A)
    seen: list[Item] = []

    def wait() -> bool:
        assert brief(seen) == [LOGIN]
        return False

    for item in follow(path, wait=wait):
        seen += [item]


def test_waiting_for_the_file(path: Path) -> None:
    assert brief(run(path, lambda: None, append(path, A[:5]), append(path, A[5:]))) == [LOGIN]
    assert run(path.with_name("never"), lambda: None) == []


def test_truncation(path: Path) -> None:
    path.write_bytes(A + B)
    items = run(path, lambda: path.write_bytes(C), append(path, A))
    assert brief(items) == [LOGIN, LOGIN_RESPONSE, "truncated", HEARTBEAT, LOGIN]
    assert [item.line for item in items] == [1, 2, None, 1, 2]


def test_rotation(path: Path) -> None:
    path.write_bytes(A)
    old = path.with_suffix(".1")
    items = run(
        path,
        lambda: path.rename(old),
        append(old, B),  # the writer has not noticed yet
        lambda: path.write_bytes(C),
        append(path, A),
    )
    assert brief(items) == [LOGIN, LOGIN_RESPONSE, "rotated", HEARTBEAT, LOGIN]


def test_rotation_between_two_looks_loses_nothing(path: Path) -> None:
    path.write_bytes(A)
    old = path.with_suffix(".1")

    def rotate() -> None:
        append(path, B.rstrip())()
        path.rename(old)
        path.write_bytes(C)

    assert brief(run(path, rotate)) == [LOGIN, LOGIN_RESPONSE, "rotated", HEARTBEAT]


def test_from_the_end(path: Path) -> None:
    path.write_bytes(A * 3)
    assert brief(run(path, append(path, B), from_start=False)) == [LOGIN_RESPONSE]
    path.unlink()
    assert brief(run(path, append(path, B), from_start=False)) == [LOGIN_RESPONSE]


@pytest.mark.parametrize("encoding", ["utf-16", "gbk"])
def test_other_encodings(path: Path, encoding: str) -> None:
    text = [f"接收 {frame.hex(' ')}\r\n" for frame in (LOGIN, LOGIN_RESPONSE)]
    data = "".join(text).encode(encoding)
    path.write_bytes(data[:51])
    items = run(path, append(path, data[51:100]), append(path, data[100:]))
    assert brief(items) == [LOGIN, LOGIN_RESPONSE]
    assert all(isinstance(item, Chunk) and item.direction == "received" for item in items)


def test_binary(path: Path) -> None:
    path.write_bytes(LOGIN)
    items = run(path, append(path, LOGIN_RESPONSE))
    assert b"".join(item.data for item in items if isinstance(item, Chunk)) == LOGIN + LOGIN_RESPONSE
    assert not any(isinstance(item, Note) for item in items)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no input format"):
        follow(tmp_path, format="exe")
    with pytest.raises(CaptureError, match="cannot read"):
        list(follow(tmp_path, wait=lambda: False))


def test_the_file_is_closed(path: Path) -> None:
    path.write_bytes(A)
    items = follow(path, wait=lambda: True)
    next(items)
    items.close()  # type: ignore[attr-defined]

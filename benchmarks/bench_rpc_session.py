"""What a session adds to decoding and encoding: one request served, one call made.

"evproto" is the whole way with an :class:`RpcSession`: the frame in, the event
out, the answer in, the frame out. "codec" is the same frames through the same
codec with nothing around it, so the difference is the session's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.bench_ocpp import FRAMES, PAYLOADS
from evproto.ocpp import v16
from evproto.ocppj import Call, CallResult, Codec
from evproto.ocppj.events import CallEnded, CallReceived, CallSent
from evproto.ocppj.session import RpcSession

Measure = Callable[..., None]
HEARTBEAT = b'[2,"19223201","Heartbeat",{}]'
_TIME = v16.codec.decode(b'[3,"1",{"currentTime":"2026-11-20T10:00:00Z"}]', {"1": "Heartbeat"})
REQUESTS: dict[str, tuple[bytes, Any]] = {
    "Heartbeat 1.6": (HEARTBEAT, _TIME.payload),  # type: ignore[union-attr]
    "MeterValues 1.6": (FRAMES["MeterValues 1.6"], v16.messages.MeterValuesResponse()),
}
RESET = v16.messages.ResetRequest(type=v16.enums.ResetType.SOFT)
ACCEPTED = b'[3,"1",{"status":"Accepted"}]'


def served(session: RpcSession, frame: bytes, payload: Any) -> bytes:
    """What an endpoint does with one request whose answer is known."""
    session.receive(frame, 1.0)
    events, _ = session.take()
    for event in events:
        if type(event) is CallReceived:
            session.answer(CallResult(unique_id=event.call.unique_id, payload=payload), 1.0)
    _, frames = session.take()
    return frames[0]


def served_bare(codec: Codec, frame: bytes, payload: Any) -> bytes:
    call = codec.decode(frame)
    return codec.encode(CallResult(unique_id=call.unique_id, payload=payload))


def called(session: RpcSession) -> Any:
    """What an endpoint does with one call that is answered."""
    session.call(Call(unique_id="1", payload=RESET), 1.0)
    session.take()
    session.receive(ACCEPTED, 2.0)
    events, _ = session.take()
    return events


def called_bare(codec: Codec) -> Any:
    call = Call(unique_id="1", payload=RESET)
    codec.encode(call)
    return codec.decode(ACCEPTED, {"1": call})


@pytest.mark.parametrize("case", REQUESTS)
def test_the_same_is_measured(case: str) -> None:
    frame, payload = REQUESTS[case]
    assert case in PAYLOADS or case.startswith("Heartbeat")
    assert served(RpcSession(v16.codec), frame, payload) == served_bare(v16.codec, frame, payload)
    events = called(RpcSession(v16.codec))
    assert [type(event) for event in events] == [CallEnded]
    assert events[0].outcome == called_bare(v16.codec)
    session = RpcSession(v16.codec)
    session.call(Call(unique_id="1", payload=RESET), 1.0)
    assert [type(event) for event in session.take()[0]] == [CallSent]


@pytest.mark.parametrize("who", ["evproto", "codec"])
@pytest.mark.parametrize("case", REQUESTS)
def test_serve(measure: Measure, case: str, who: str) -> None:
    frame, payload = REQUESTS[case]
    if who == "evproto":
        measure(f"serve {case}", who, served, RpcSession(v16.codec), frame, payload)
    else:
        measure(f"serve {case}", who, served_bare, v16.codec, frame, payload)


@pytest.mark.parametrize("who", ["evproto", "codec"])
def test_call(measure: Measure, who: str) -> None:
    if who == "evproto":
        measure("call Reset 1.6", who, called, RpcSession(v16.codec))
    else:
        measure("call Reset 1.6", who, called_bare, v16.codec)

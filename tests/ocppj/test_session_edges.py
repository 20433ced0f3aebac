"""The table of malformed and edge frames, against a session of either role."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallError, CallResult, Codec
from evproto.ocppj.events import (
    AnswerRefused,
    CallDeclined,
    CallEnded,
    CallReceived,
    InvalidAnswer,
    Rejected,
    SendReceived,
    Unexpected,
)
from evproto.ocppj.session import RpcSession
from tests.ocppj.edge_frames import ASKED, EDGES, ENUM, MAX_SIZE, PING, SERVED, VERSIONS, Edge, cases

MODULES: dict[str, Any] = {"1.6": v16, "2.0.1": v201, "2.1": v21, "ntxcp": v10}
CODECS = {name: Codec(module.dialect, max_size=MAX_SIZE) for name, module in MODULES.items()}
OURS = "ours-1"


def session_in(situation: str, version: str) -> RpcSession:
    session = RpcSession(CODECS[version], call_timeout=30)
    if situation in ("asked", "late"):
        action, payload = ASKED
        session.call(Call(unique_id=OURS, action=action, payload=payload), 0)
    if situation == "late":
        session.tick(30)
    if situation == "serving":
        session.receive(SERVED, 0)
        assert session.serving is not None
    session.take()
    return session


def learned(event: Any) -> str:
    match event:
        case CallReceived():
            return "call"
        case SendReceived():
            return "send"
        case Rejected():
            return "nothing"
        case CallEnded(outcome=CallResult()):
            return "result"
        case CallEnded(outcome=CallError()):
            return "error"
        case CallEnded(outcome=InvalidAnswer()):
            return "invalid"
        case Unexpected():
            return "unexpected"
        case AnswerRefused():
            return "refused"
        case CallDeclined():
            return "declined"
    raise AssertionError(event)


def test_the_table_is_large_enough() -> None:
    assert len({edge.name for edge in EDGES}) == len(EDGES) >= 40
    for edge in EDGES:
        assert set(edge.reactions) == set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_words_in_the_table_are_actions(version: str) -> None:
    actions = MODULES[version].dialect.actions
    assert {ASKED[0], *PING.values(), *(action for action, _ in ENUM.values())} <= actions.keys()


@pytest.mark.parametrize(
    ("edge", "version", "role"),
    [pytest.param(*case, id="-".join([case[0].name, *case[1:]])) for case in cases()],
)
def test_reaction(edge: Edge, version: str, role: str) -> None:
    data = edge.data(role, OURS)
    react(edge, version, data)
    # A transport that gives text has refused what is none.
    with suppress(UnicodeDecodeError):
        react(edge, version, data.decode())


def react(edge: Edge, version: str, data: bytes | str) -> None:
    reaction = edge.reactions[version]
    session = session_in(edge.situation, version)
    session.receive(data, 40)
    events, frames = session.take()

    if reaction.learns == "later":
        assert events == []
        assert session.incoming == 1
    else:
        assert [learned(event) for event in events] == [reaction.learns]
    if reaction.back is None:
        assert frames == []
    else:
        kind, unique_id, code = reaction.back
        (frame,) = [json.loads(frame) for frame in frames]
        description, details = frame[3:]
        assert frame[:3] == [kind, unique_id.replace("OURS", OURS), code]
        assert 0 < len(description) <= 255
        assert details == {}
    for event in events:
        if isinstance(event, Rejected | CallDeclined):
            assert (event.reply is not None) == (reaction.back is not None)
        if isinstance(event, CallEnded):
            assert event.call.unique_id == OURS
            assert getattr(event.outcome, "error_code", "") == reaction.code
    if edge.situation == "asked":
        over = reaction.learns in ("result", "error", "invalid")
        assert (session.outstanding is None) == over
        if edge.still_outstanding:
            # Nothing of it has spoilt the answer that comes after it.
            session.receive(b'[3,"%b",{"status":"Accepted"}]' % OURS.encode(), 41)
            assert [learned(event) for event in session.take()[0]] == ["result"]
    if reaction.learns == "call":
        # It can be answered, with its own id, however odd that is.
        call = session.serving
        assert call is not None
        payload = {"status": "Accepted"}
        if call.action == "Heartbeat":
            payload = {"currentTime": "2026-11-20T10:00:00Z"}
        elif call.action == "FirmwareStatusNotification":
            payload = {}
        session.answer(CallResult(unique_id=call.unique_id, action=call.action, payload=payload), 41)
        ((), (frame,)) = session.take()
        assert json.loads(frame) == [3, json.loads(data, strict=False)[1], payload]
    # Whatever it was, the next call is served as if nothing had been.
    if edge.situation != "serving" and session.serving is None:
        session.receive(b'[2,"next","DataTransfer",{"vendorId":"acme"}]', 50)
        assert [learned(event) for event in session.take()[0]] == ["call"]

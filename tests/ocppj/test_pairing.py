"""From a payload class to its action, its response and its dialect, at run time."""

from __future__ import annotations

from typing import Any

import pytest

from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.payloads import Notification, Request, response_type

VERSIONS: tuple[Any, ...] = (v16, v201, v21, v10)
ACME: dict[str, Any] = {
    "actions": [
        {
            "action": "SetFan",
            "block": "Acme",
            "sentBy": ["csms"],
            "message": "call",
            "request": {
                "type": "object",
                "properties": {"rpm": {"type": "integer"}},
                "additionalProperties": False,
            },
            "response": {"type": "object", "properties": {}, "additionalProperties": False},
        },
    ]
}


@pytest.mark.parametrize("module", [*VERSIONS, *(module.codec.extended(ACME) for module in VERSIONS)])
def test_every_class_leads_to_its_action_and_response(module: Any) -> None:
    others = [other for other in VERSIONS if other.dialect.name != module.dialect.name]
    for name, action in module.dialect.actions.items():
        for shape in filter(None, (action.request, action.response)):
            assert shape.type.action_name == name
            assert module.dialect.action_of(shape.type) is action
            assert not any(other.dialect.action_of(shape.type) for other in others)
        if action.response is None:
            assert issubclass(action.request.type, Notification)
            with pytest.raises(TypeError):
                response_type(action.request.type)
        else:
            assert issubclass(action.request.type, Request)
            assert response_type(action.request.type) is action.response.type


def test_instances_do_as_well() -> None:
    reset = v16.messages.ResetRequest(type=v16.enums.ResetType.HARD)
    assert reset.action_name == "Reset"
    assert response_type(reset) is v16.messages.ResetResponse
    assert v16.dialect.action_of(reset) is v16.actions["Reset"]
    assert v201.dialect.action_of(reset) is None
    assert v16.codec.extended(ACME).dialect.action_of(reset) is v16.actions["Reset"]
    assert v16.dialect.action_of(v16.messages.IdTagInfo) is None
    for wrong in (v16.messages.ResetResponse, v16.messages.IdTagInfo, Request, int):
        with pytest.raises(TypeError):
            response_type(wrong)  # type: ignore[arg-type]

"""What the versions of OCPP-J differ in, as a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from evproto.payloads import Action, Payload, Shape

__all__ = ["CALL", "CALL_ERROR", "CALL_RESULT", "CALL_RESULT_ERROR", "SEND", "Dialect", "Mode", "Transfer"]

CALL, CALL_RESULT, CALL_ERROR, CALL_RESULT_ERROR, SEND = 2, 3, 4, 5, 6

Mode = Literal["strict", "lenient", "off"]


@dataclasses.dataclass(frozen=True, slots=True)
class Transfer:
    """What a vendor puts into the ``data`` of a data transfer; None: not described."""

    action: str
    vendor_id: str
    message_id: str
    """Empty where the transfer has none."""
    request: Shape | None = None
    response: Shape | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """One version of OCPP-J, or a protocol framed like it."""

    name: str
    """The WebSocket subprotocol, as in ``ocpp2.0.1``."""
    actions: Mapping[str, Action]
    specs: str
    """Where the schemas of the actions are, as in ``ocpp/v201``."""
    message_types: frozenset[int]
    error_codes: frozenset[str]
    """The codes this version lists."""
    keyword_codes: Mapping[str, str]
    """The code that belongs to what is broken, by :attr:`Deviation.keyword`.

    A keyword that is not in it is answered with the code of ``""``."""
    ignores_unknown_types: bool
    """Whether a message of unknown type is to be ignored rather than refused."""
    id_length: int = 36
    description_length: int = 255
    mode: Mode = "strict"
    """The mode of a codec that is given none."""
    schemas: Mapping[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Schemas that are not in ``specs``: of extensions, by action and ``request`` or ``response``."""
    transfers: tuple[Transfer, ...] = ()
    takes_unknown_actions: bool = False
    """Whether lenient mode hands on actions that are not in the table, their payloads as dicts."""
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Members that are sent under another name than that of the schema; see :meth:`spelled`."""

    def spelled(self, names: Mapping[str, str]) -> Dialect:
        """This dialect with members sent under other names that are known for them.

        ``{"serviceId": "connectorId"}`` is for peers that call it so. Both
        names are taken when they come, and this other one without a warning.

        Raises:
            ValueError: no payload has such a member, or it is not known under that name.
        """
        shapes = [shape for action in self.actions.values() for shape in (action.request, action.response)]
        known = {(right, alias) for shape in shapes if shape for alias, right in shape.aliases}
        for right, alias in names.items():
            if alias != right and (right, alias) not in known:
                others = sorted(other for name, other in known if name == right)
                raise ValueError(f"{right} is known as {', '.join(others) or 'nothing else'}, not as {alias}")
        return dataclasses.replace(self, names={**self.names, **names})

    def extended(
        self,
        actions: Mapping[str, Action],
        transfers: tuple[Transfer, ...],
        schemas: Mapping[tuple[str, str], dict[str, Any]],
    ) -> Dialect:
        """This dialect with what an extension adds.

        Raises:
            ValueError: an action is there already.
        """
        if again := sorted(actions.keys() & self.actions.keys()):
            raise ValueError(f"{self.name} has already: {', '.join(again)}")
        return dataclasses.replace(
            self,
            actions=MappingProxyType({**self.actions, **actions}),
            transfers=self.transfers + transfers,
            schemas={**self.schemas, **schemas},
        )

    def code(self, keyword: str) -> str:
        """The error code for what is broken."""
        found = self.keyword_codes.get(keyword)
        return self.keyword_codes[""] if found is None else found

    def action_of(self, payload: Payload | type[Payload]) -> Action | None:
        """The action that a request, a response or a notification belongs to, or its class.

        None if this dialect has none of that name, or another class for it:
        ``v16.dialect.action_of(v201.messages.HeartbeatRequest)`` is None.
        """
        cls = payload if isinstance(payload, type) else type(payload)
        action = self.actions.get(getattr(cls, "action_name", ""))
        if action is None or cls is action.request.type:
            return action
        return action if action.response is not None and cls is action.response.type else None

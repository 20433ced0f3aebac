"""The typed ``data`` of data transfers that an extension describes."""

from __future__ import annotations

from typing import Any

import msgspec

from evproto.ocppj.deviations import deviation, spell_steps
from evproto.ocppj.dialect import Dialect, Transfer
from evproto.ocppj.envelopes import Call, CallResult, Deviation
from evproto.ocppj.errors import InvalidMessageError
from evproto.ocppj.lenient import Policy, RefusalError, Walk, walk_payload
from evproto.ocppj.part import REFUSALS, Part, encode_json
from evproto.ocppj.reading import UnreadableError, read_json
from evproto.spec.actions import transfer_key

__all__ = ["Transfers"]


class Transfers:
    """Reads and writes ``data`` for one codec."""

    def __init__(self, dialect: Dialect, policy: Policy | None) -> None:
        self._dialect = dialect
        self._policy = policy
        self._known: dict[tuple[str, str, str], Transfer] = {
            (transfer.action, transfer.vendor_id, transfer.message_id): transfer
            for transfer in dialect.transfers
        }
        self._parts: dict[tuple[type, str], Part] = {}
        self._whose: dict[type, Transfer] = {}
        for transfer in dialect.transfers:
            for name, shape in (("request", transfer.request), ("response", transfer.response)):
                if shape is not None:
                    key = transfer_key(transfer.action, transfer.vendor_id, transfer.message_id)
                    self._parts[shape.type, name] = Part(key, name, shape)
                    self._whose[shape.type] = transfer

    def _described(self, request: Any, action: str) -> Transfer | None:
        """The transfer that a request is, by its vendorId and messageId."""
        vendor, message = getattr(request, "vendor_id", None), getattr(request, "message_id", None)
        return self._known.get((action, str(vendor), str(message or "")))

    def read(self, request: Any, answer: Any, *, action: str, mode: str) -> tuple[Any, tuple[Deviation, ...]]:
        """The typed data of a request, or of the answer to it, and what was unusual about it.

        Raises:
            RefusalError: it is not what the extension says.
        """
        transfer = self._described(request, action)
        name = "request" if answer is None else "response"
        shape = getattr(transfer, name, None)
        data = (request if answer is None else answer).data
        if shape is None or data is None:
            return None, ()
        part = self._parts[shape.type, name]
        raw = data.encode("utf-8", "replace") if isinstance(data, str) else encode_json(data)
        try:
            return part.decode_checked(raw), ()
        except REFUSALS:
            pass
        try:
            value = read_json(raw)
        except UnreadableError as error:
            found = deviation(self._dialect, "format", ("data",), action=action, value=data, note=error.note)
            raise RefusalError(found) from None
        if mode == "strict" and self._policy is None:
            for told in self.diagnose(part, value):
                raise RefusalError(_placed(told, action))
        walk = Walk(self._dialect, action, mode == "lenient", self._policy)
        try:
            typed = walk_payload(shape, value, walk)
        except RefusalError as refusal:
            raise RefusalError(_placed(refusal.deviation, action)) from None
        return typed, tuple(_placed(told, action) for told in walk.warnings)

    def diagnose(self, part: Part, value: Any) -> tuple[Deviation, ...]:
        """What is wrong with data by its schema."""
        from evproto.ocppj.diagnosis import diagnose

        schema = self._dialect.schemas[part.action, part.part]
        return diagnose(value, self._dialect, part.action, part.part, schema)

    def write(self, envelope: Call[Any] | CallResult[Any], digits: int) -> Call[Any] | CallResult[Any]:
        """The envelope with its typed data put into its payload.

        Raises:
            InvalidMessageError: the data breaks its schema, or no extension describes it.
        """
        name = "request" if isinstance(envelope, Call) else "response"
        action = envelope.action
        part = self._parts.get((type(envelope.data), name))
        if part is None:
            note = f"no extension describes a {type(envelope.data).__name__} as the data of a {name}"
            raise InvalidMessageError((deviation(self._dialect, "action", action=action, note=note),))
        try:
            body = part.encode_checked(envelope.data, digits)
        except (*REFUSALS, TypeError) as error:
            try:
                found = self.diagnose(part, read_json(part.encode(envelope.data, digits)))
            except (UnreadableError, *REFUSALS, TypeError):
                found = ()
            if not found:
                note = f"the data cannot be sent: {error}"
                found = (deviation(self._dialect, "format", ("data",), action=action, note=note),)
            raise InvalidMessageError(tuple(_placed(told, action) for told in found)) from None
        payload = envelope.payload
        whose = self._whose[type(envelope.data)]
        if name == "request" and self._described(payload, action) is not whose:
            kind = type(envelope.data).__name__
            note = f"a {kind} is data of vendor {whose.vendor_id!r}, message {whose.message_id!r}"
            raise InvalidMessageError((deviation(self._dialect, "action", action=action, note=note),))
        # OCPP 1.6 has a text there; a text that came is answered with one.
        texts = isinstance(payload.data, str) or any(
            field.name == "data" and field.type is str for field in msgspec.structs.fields(type(payload))
        )
        data = body.decode() if texts else msgspec.Raw(body)
        return msgspec.structs.replace(
            envelope, payload=msgspec.structs.replace(payload, data=data), data=None
        )


def _placed(found: Deviation, action: str) -> Deviation:
    """The same deviation, as one of the whole payload."""
    if found.steps[:1] == ("data",) and found.action == action:
        return found
    steps = ("data", *found.steps)
    return msgspec.structs.replace(found, steps=steps, path=spell_steps(steps), action=action)

"""Reading extensions: actions and data transfers of a vendor's own.

An extension is a dict, or a JSON file, in the form of the action specs::

    {
      "types": {"FanMode": {"type": "string", "enum": ["Silent", "Full"]}},
      "actions": [
        {"action": "SetFan", "block": "Acme", "sentBy": ["csms"], "message": "call",
         "request": {"type": "object", "properties": {"mode": {"$ref": "#/definitions/FanMode"}},
                     "required": ["mode"], "additionalProperties": false},
         "response": {"type": "object", "properties": {}, "additionalProperties": false}}
      ],
      "dataTransfers": [
        {"action": "DataTransfer", "vendorId": "com.acme", "messageId": "fanSpeed",
         "request": {"type": "object", "properties": {"rpm": {"type": "integer"}},
                     "additionalProperties": false}}
      ]
    }

The schemas have the keywords that OCPP's own have (``specs/meta``); others
are refused, because what is not checked must not look as if it were.
``#/definitions/CustomDataType`` is there without being defined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from evproto.spec.actions import ActionSpec, ActionSpecs, Schema, TransferSpec, references
from evproto.spec.problems import Path as Steps
from evproto.spec.problems import Problems, suggest
from evproto.spec.sense import payload_nonsense

__all__ = ["load_extension"]

_RESERVED = {
    *("Annotated", "Any", "ClassVar", "DataType", "DateTime", "Maybe", "Meta"),
    *("Notification", "OpenStrEnum", "Request", "Response"),
}
"""What generated modules call something else."""

CUSTOM_DATA: Schema = {
    "type": "object",
    "properties": {"vendorId": {"type": "string", "maxLength": 255}},
    "required": ["vendorId"],
}
"""``CustomDataType`` of OCPP 2.x."""


def load_extension(
    source: Mapping[str, Any] | Path | str, *, protocol: str, actions: Collection[str], sends: bool
) -> ActionSpecs:
    """An extension of ``protocol``, which has these ``actions``; ``sends``: also ones never answered.

    Raises:
        SpecError: it is not in the form above, names an action that is there
            already, or contradicts itself.
        OSError: the file cannot be read.
    """
    problems = Problems()
    file = "extension"
    given: Any = source
    if isinstance(source, str | Path):
        file = str(source)
        try:
            given = json.loads(Path(source).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            problems.add(file, getattr(error, "lineno", 1), (), f"it is not JSON in UTF-8: {error}")
            problems.raise_if_any()
    _Check(given, file, problems).run(protocol, actions, sends)
    return ActionSpecs(
        name=file,
        edition={"protocol": protocol},
        types={"CustomDataType": CUSTOM_DATA, **given.get("types", {})},
        actions={spec["action"]: _action(spec) for spec in given.get("actions", ())},
        transfers=tuple(_transfers(given.get("dataTransfers", ()))),
    )


def _action(spec: Mapping[str, Any]) -> ActionSpec:
    return ActionSpec(
        name=spec["action"],
        block=spec["block"],
        sent_by=tuple(spec["sentBy"]),
        request=spec["request"],
        response=spec.get("response"),
    )


def _transfers(specs: Collection[Mapping[str, Any]]) -> Iterator[TransferSpec]:
    short = [_title(spec.get("messageId") or spec["vendorId"]) for spec in specs]
    for spec, name in zip(specs, short, strict=True):
        message = spec.get("messageId", "")
        yield TransferSpec(
            action=spec["action"],
            vendor_id=spec["vendorId"],
            message_id=message,
            # Two vendors may have a message of one name.
            name=name if short.count(name) == 1 else _title(spec["vendorId"]) + _title(message),
            request=spec.get("request"),
            response=spec.get("response"),
        )


def _title(text: str) -> str:
    """``com.acme/fan-speed`` as ``ComAcmeFanSpeed``."""
    words = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(word[0].upper() + word[1:] for word in words)
    return f"N{name}" if name[:1].isdigit() else name


class _Check:
    """Everything that can be wrong with an extension, said at once."""

    def __init__(self, given: Any, file: str, problems: Problems) -> None:
        self.given = given
        self.file = file
        self.problems = problems

    def tell(self, at: Steps, message: str, hint: str = "") -> None:
        self.problems.add(self.file, 1, at, message, hint)

    def run(self, protocol: str, actions: Collection[str], sends: bool) -> None:
        self.form(protocol, actions, sends)
        self.problems.raise_if_any()
        # From here on, everything is of the right form.
        self.names()
        self.sense()
        self.problems.raise_if_any()

    def form(self, protocol: str, actions: Collection[str], sends: bool) -> None:
        from evproto.spec.schema import schema_errors

        if not isinstance(self.given, Mapping):
            self.tell((), "an extension is an object with types, actions and dataTransfers")
            return
        for key in sorted(set(self.given) - {"$schema", "types", "actions", "dataTransfers"}):
            self.tell((key,), "an extension has types, actions and dataTransfers")
        for key in ("actions", "dataTransfers"):
            if not isinstance(self.given.get(key, []), list | tuple):
                self.tell((key,), "this is a list")
                return
        for path, message in schema_errors({"definitions": self.given.get("types", {})}, "payload"):
            self.tell(("types", *path[1:]), message)
        for at, spec in enumerate(self.given.get("actions", ())):
            here: Steps = ("actions", at)
            for path, message in schema_errors(spec, "action"):
                self.tell((*here, *path), message)
            if not isinstance(spec, Mapping):
                continue
            if spec.get("action") in actions:
                self.tell((*here, "action"), f"{protocol} has an action {spec['action']}")
            if spec.get("message") == "send" and not sends:
                self.tell((*here, "message"), f"{protocol} has no SEND; every request is answered")
        for at, spec in enumerate(self.given.get("dataTransfers", ())):
            self.transfer(spec, ("dataTransfers", at), protocol, actions)

    def transfer(self, spec: Any, here: Steps, protocol: str, actions: Collection[str]) -> None:
        from evproto.spec.schema import schema_errors

        if not isinstance(spec, Mapping):
            self.tell(here, "a data transfer is an object")
            return
        for key in sorted(set(spec) - {"action", "vendorId", "messageId", "request", "response"}):
            self.tell((*here, key), "a data transfer has action, vendorId, messageId, request and response")
        if not isinstance(spec.get("vendorId"), str):
            self.tell(here, "a data transfer has a vendorId")
        if not isinstance(spec.get("messageId", ""), str):
            self.tell((*here, "messageId"), "a messageId is a text")
        if spec.get("action") not in actions:
            hint = suggest(spec.get("action"), actions)
            self.tell((*here, "action"), f"{protocol} has no action {spec.get('action')!r}", hint)
        for part in ("request", "response"):
            if part in spec:
                for path, message in schema_errors({"definitions": {"Data": spec[part]}}, "payload"):
                    self.tell((*here, part, *path[2:]), message)

    def names(self) -> None:
        """No name is given twice, to an action, a transfer or a class."""
        classes: dict[str, Steps] = {}
        transfers: dict[str, Steps] = {}

        def take(known: dict[str, Steps], name: str, at: Steps, what: str) -> None:
            if name in known:
                self.tell(at, f"there is another {what}")
            known[name] = at

        for name in sorted(_RESERVED):
            classes[name] = ()
        for name in self.given.get("types", {}):
            if name == "CustomDataType":
                self.tell(("types", name), "CustomDataType is there already")
            take(classes, name, ("types", name), f"class {name}")
        for at, spec in enumerate(self.given.get("actions", ())):
            suffixes = ("Request", "Response") if spec["message"] == "call" else ("",)
            for name in (f"{spec['action']}{suffix}" for suffix in suffixes):
                take(classes, name, ("actions", at), f"class {name}")
        specs = _transfers(self.given.get("dataTransfers", ()))
        for at, transfer in enumerate(specs):
            here: Steps = ("dataTransfers", at)
            take(transfers, transfer.key, here, f"transfer of {transfer.vendor_id} {transfer.message_id}")
            if not transfer.name.isidentifier():
                self.tell(here, "neither messageId nor vendorId has a letter to call the classes by")
            for _, name, _ in transfer.parts:
                take(classes, name, here, f"class {name}")

    def sense(self) -> None:
        types = {"CustomDataType": CUSTOM_DATA, **self.given.get("types", {})}
        for at, name, schema in self.schemas():
            for path, message in payload_nonsense(schema):
                self.tell((*at, *path), message)
            for reference in sorted(set(references(schema))):
                if reference not in types:
                    self.tell(at, f"no type {reference} in types", suggest(reference, types))
            if name and name in _reached(name, types):
                self.tell(at, f"{name} has a {name} inside")

    def schemas(self) -> Iterator[tuple[Steps, str, Schema]]:
        """Where each schema is, and its name if it is shared."""
        for name, schema in self.given.get("types", {}).items():
            yield ("types", name), name, schema
        for key in ("actions", "dataTransfers"):
            for at, spec in enumerate(self.given.get(key, ())):
                for part in ("request", "response"):
                    if part in spec:
                        yield (key, at, part), "", spec[part]


def _reached(name: str, types: Mapping[str, Schema]) -> set[str]:
    """The types inside a type, at every depth."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for reference in references(types.get(waiting.pop(), {})):
            if reference not in found:
                found.add(reference)
                waiting.append(reference)
    return found

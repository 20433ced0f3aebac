"""Protocols that are not there: adapters of chargers in memory, for what several protocols have in common."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evproto.gateway.adapter import (
    Adapter,
    ChargerOfflineError,
    CommandType,
    Ending,
    Glance,
    InvalidCommandError,
    Outlet,
    Prepared,
    Presence,
    Side,
    Sighting,
    Tap,
    UnknownChargerError,
    Verb,
)
from evproto.gateway.app import Server
from evproto.gateway.config import Config
from evproto.gateway.events import Event, new_id

SOME_TIME = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)

RESET = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["Hard", "Soft"]},
        "delay": {"type": "integer", "minimum": 0, "maximum": 60, "x-unit": "s"},
        "note": {"$ref": "#/$defs/Note"},
    },
    "required": ["type"],
    "additionalProperties": False,
    "$defs": {
        "Note": {
            "type": "object",
            "properties": {"text": {"type": "string", "maxLength": 10}, "inner": {"$ref": "#/$defs/Note"}},
            "required": ["text"],
        }
    },
}
TRIGGER = {
    "type": "object",
    "properties": {
        "requestedMessage": {"type": "string", "enum": ["BootNotification", "Heartbeat", "MeterValues"]},
        "connectorId": {"type": "integer"},
    },
    "required": ["requestedMessage"],
    "additionalProperties": False,
}
STATUS = {"type": "object", "properties": {"status": {"type": "string", "enum": ["Accepted", "Rejected"]}}}


class Seen:
    """Something that a charger said."""

    def __init__(
        self, protocol: str, charger: str, name: str, fields: dict[str, Any], time: dt.datetime
    ) -> None:
        self.charger = charger
        self.name = name
        self._event = Event(
            id=new_id(time.timestamp()),
            time=time,
            protocol=protocol,
            charger=charger,
            name=name,
            fields=fields,
            raw="[]",
        )

    def event(self) -> Event:
        return self._event


class FakeAdapter:
    """Chargers that are put in, and do as they are told."""

    charger_schema: dict[str, Any]

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.collection = protocol
        self.noun = "charger"
        self.charger_schema = {
            "ChargerView": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "heartbeat_interval": {"$ref": "#/components/schemas/Beat"},
                },
                "required": ["id"],
            },
            "Beat": {"type": "integer"},
        }
        kinds = [
            CommandType(
                name=name,
                code=name,
                title=name,
                answer=f"{name}Response",
                schema=schema,
                answer_schema=STATUS,
            )
            for name, schema in (("Reset", RESET), ("TriggerMessage", TRIGGER))
        ]
        self.commands: Mapping[str, CommandType] = {kind.name: kind for kind in kinds}
        self.messages: Mapping[str, dict[str, Any]] = {
            "Heartbeat": {"title": "Heartbeat", "properties": {protocol: {"x-unit": f"unit-{protocol}"}}}
        }
        self.known: dict[str, Glance] = {}
        self.said: list[Seen] = []
        self.told: list[Prepared] = []
        self.ending: Callable[[Prepared], asyncio.Future[Ending] | Ending] = lambda prepared: Ending(
            state="accepted", answer={"status": "Accepted"}, shown={"status": "Accepted"}
        )
        self._watchers: list[Callable[[Sighting], None]] = []

    def put(self, charger: str, *outlets: Outlet, state: str = "online", **more: Any) -> None:
        """A charger is here."""
        self.known[charger] = Glance(
            charger=charger,
            protocol=self.protocol.upper(),
            state=state,  # type: ignore[arg-type]
            seen=more.pop("seen", SOME_TIME),
            outlets=outlets,
            **more,
        )

    def say(self, charger: str, name: str = "Heartbeat", **fields: Any) -> Seen:
        """A charger says something."""
        seen = Seen(self.protocol, charger, name, fields, dt.datetime.now(dt.UTC))
        self.said.append(seen)
        for watcher in self._watchers:
            watcher(seen)
        return seen

    # --- the contract

    def chargers(self) -> Sequence[str]:
        return sorted(self.known)

    def charger(self, identity: str) -> dict[str, Any] | None:
        return {"id": identity, "heartbeat_interval": 42} if identity in self.known else None

    def is_online(self, identity: str) -> bool:
        return identity in self.known and self.known[identity].state == "online"

    def frames(self, identity: str, limit: int, *, reveal: bool) -> list[dict[str, Any]] | None:
        return [] if identity in self.known else None

    def spelled(self, identity: str) -> str:
        return identity

    def translate(self, identity: str, verb: Verb, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if verb == "reboot":
            return "Reset", {"type": "Hard" if body.get("immediate") else "Soft", "delay": len(self.told)}
        raise InvalidCommandError(f"{self.protocol} has no {verb}", path="connector")

    def check(self, identity: str, command: str, body: Any, *, version: str = "") -> Prepared:
        kind = self.commands.get(command)
        if kind is None:
            raise InvalidCommandError(f"no command {command}")
        if not isinstance(body, dict):
            raise InvalidCommandError("the body is an object")
        for name, schema in kind.schema["properties"].items():
            if name in kind.schema["required"] and name not in body:
                raise InvalidCommandError(f"{name} is missing", path=name)
            if "enum" in schema and name in body and body[name] not in schema["enum"]:
                raise InvalidCommandError(f"{body[name]} is none of {schema['enum']}", path=name)
        return Prepared(charger=identity, type=kind, fields=body, shown=body, payload=None)

    def prepare(self, identity: str, command: str, body: Any) -> Prepared:
        prepared = self.check(identity, command, body)
        if identity not in self.known:
            raise UnknownChargerError(f"no charger {identity}")
        if not self.is_online(identity):
            raise ChargerOfflineError(f"{identity} is offline")
        return prepared

    async def perform(
        self, prepared: Prepared, *, timeout: float | None, sent: Callable[[int | str | None], None]
    ) -> Ending:
        self.told.append(prepared)
        sent(f"n{len(self.told)}")
        ending = self.ending(prepared)
        return ending if isinstance(ending, Ending) else await ending

    def glance(self, identity: str) -> Glance | None:
        return self.known.get(identity)

    def suggest(self, identity: str, command: str) -> dict[str, Any]:
        return {}

    def recent(self, limit: int) -> list[Sighting]:
        return list(self.said[-limit:])

    def watch(self, watcher: Callable[[Sighting], None]) -> Callable[[], None]:
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def tap(self, tap: Tap) -> Callable[[], None]:
        return lambda: None


class FakeSide:
    """A side that listens nowhere."""

    def __init__(self, *adapters: FakeAdapter) -> None:
        self.adapters: Sequence[Adapter] = adapters
        self.presence: Presence | None = None

    async def start(self) -> Mapping[str, str]:
        return {}

    def stop_listening(self) -> None:
        pass

    async def close(self, drain: float) -> None:
        pass

    def online(self) -> Mapping[str, int]:
        return {one.protocol: sum(map(one.is_online, one.chargers())) for one in self.adapters}

    def connections(self) -> int:
        return 0


def beside(*adapters: FakeAdapter) -> Callable[[Config], Server]:
    """Makes servers that have these protocols beside their own."""

    class Made(Server):
        def _make_sides(self) -> list[Side]:
            return [*super()._make_sides(), FakeSide(*adapters)]

    return Made

"""One version of OCPP, or ntxcp, in the server; see :class:`evproto.gateway.adapter.Adapter`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from evproto.gateway.adapter import CommandType, Glance, Sighting, Tap
from evproto.gateway.admission import ChargerSettings
from evproto.gateway.events import moment
from evproto.gateway.ocpp.answers import Answers
from evproto.gateway.ocpp.commands import Commands
from evproto.gateway.ocpp.frames import FrameSighting, answer_name, redactor_of, show_frame
from evproto.gateway.ocpp.known import Heard, KnownCharger, KnownChargers
from evproto.gateway.ocpp.schemas import message_schemas
from evproto.gateway.ocpp.shown import OcppChargerView, glance_of, recent_of, view_of
from evproto.gateway.sightings import Connection
from evproto.ocppj import Call, CallResult, Codec, Dialect
from evproto.ocppj.dialect import Mode
from evproto.payloads import CustomDataType, Response, Sender

__all__ = ["OcppAdapter"]


def _custom(kind: type, value: Any) -> Any:
    """What is echoed of a request may have data of a vendor in it."""
    if kind is CustomDataType:
        return CustomDataType(value)
    raise NotImplementedError(kind)


class OcppAdapter:
    """The chargers that speak one version."""

    def __init__(
        self,
        dialect: Dialect,
        chargers: KnownChargers,
        *,
        mode: Mode,
        max_size: int,
        interval: int,
        answers: Answers,
        clock: Callable[[], float],
    ) -> None:
        """Make it.

        Args:
            dialect: the version.
            chargers: all that are known, of all versions.
            mode: what chargers may break.
            max_size: most bytes of a message.
            interval: between heartbeats, in seconds.
            answers: what chargers are answered.
            clock: seconds since 1970.
        """
        self.dialect = dialect
        self.answers = answers
        self._chargers = chargers
        self._max_size = max_size
        self._mode: Mode = mode
        self._interval = interval
        self._clock = clock
        self._codecs: dict[Mode, Codec] = {}
        self._strict = self.codec("strict")
        self._empty: dict[str, Response] = {}
        self._watchers: list[Callable[[Sighting], None]] = []
        self._taps: list[Tap] = []
        self.heard = frozenset(
            name for name, action in dialect.actions.items() if Sender.STATION in action.sent_by
        )
        """The actions that chargers send."""
        self._told = Commands(chargers, self._strict, self.noun)
        self.check = self._told.check
        self.prepare = self._told.prepare
        self.perform = self._told.perform
        self.translate = self._told.translate

    def __repr__(self) -> str:
        return f"<OcppAdapter {self.protocol}>"

    # --- for the side

    def codec(self, mode: Mode | None = None) -> Codec:
        """The codec for a charger that may break so much; None: as all of this version."""
        wanted: Mode = self._mode if mode is None else mode
        found = self._codecs.get(wanted)
        if found is None:
            found = self._codecs[wanted] = Codec(self.dialect, mode=wanted, max_size=self._max_size)
        return found

    def heartbeat_interval(self, settings: ChargerSettings) -> int:
        """Seconds between the heartbeats of a charger."""
        return self._interval if settings.heartbeat_interval is None else settings.heartbeat_interval

    def response(self, call: Call[Any], fields: dict[str, Any]) -> Any:
        """The response with this payload, which is right."""
        if isinstance(call.payload, dict):
            return fields
        if not fields:
            found = self._empty.get(call.action)
            if found is None:
                found = self._empty[call.action] = self._typed(call.action, fields)
            return found
        return self._typed(call.action, fields)

    def _typed(self, action: str, fields: dict[str, Any]) -> Response:
        shape = self.dialect.actions[action].response
        assert shape is not None
        made: Any = msgspec.convert(fields, shape.type, dec_hook=_custom)
        assert isinstance(made, Response)
        return made

    def checked_response(self, call: Call[Any], fields: dict[str, Any]) -> Any:
        """The same of a payload that may be wrong.

        Raises:
            MessageError: it is.
        """
        raw = msgspec.json.encode([3, "0", fields])
        envelope = self._strict.decode(raw, {"0": call.action})
        assert isinstance(envelope, CallResult)
        return fields if isinstance(call.payload, dict) else envelope.payload

    def written(self, unique_id: str) -> None:
        """A request is on its way to a charger."""
        self._told.written(unique_id)

    @property
    def sending(self) -> bool:
        """Whether a command waits to be written."""
        return self._told.waits

    def note(self, known: KnownCharger, heard: Heard) -> None:
        """A frame has come or gone."""
        known.frames.append(heard)
        if self._taps:
            for tap in self._taps:
                tap(self.protocol, known.charger, heard.received, heard.data, heard.time)
        if self._watchers:
            self._show(FrameSighting(known.charger, heard, self.dialect))

    def note_connection(self, connection: Connection) -> None:
        """A charger has come or gone."""
        self._show(connection)

    def _show(self, sighting: Sighting) -> None:
        for watcher in tuple(self._watchers):
            watcher(sighting)

    def warm_up(self) -> None:
        """Load what the first frame that is shown needs."""
        redactor_of(self.dialect)

    def event_names(self) -> frozenset[str]:
        """What messages are called in events."""
        names = set(self.dialect.actions)
        names.update(answer_name(name) for name in self.dialect.actions)
        names.update(f"{name}Error" for name in self.dialect.actions)
        return frozenset(names)

    # --- Adapter

    @property
    def protocol(self) -> str:
        """See :class:`Adapter`."""
        return self.dialect.name

    @property
    def collection(self) -> str:
        """See :class:`Adapter`."""
        return self.dialect.name

    @property
    def noun(self) -> str:
        """See :class:`Adapter`."""
        return "gateway" if self.dialect.name.startswith("ntxcp") else "charger"

    @cached_property
    def charger_schema(self) -> dict[str, Any]:
        """JSON Schema of a charger."""
        _, components = msgspec.json.schema_components(
            [OcppChargerView], ref_template="#/components/schemas/{name}"
        )
        return components

    @property
    def commands(self) -> Mapping[str, CommandType]:
        """See :class:`Adapter`."""
        return self._told.types

    @cached_property
    def messages(self) -> Mapping[str, dict[str, Any]]:
        """See :class:`Adapter`."""
        return message_schemas(self.dialect)

    def chargers(self) -> Sequence[str]:
        """See :class:`Adapter`."""
        return sorted(known.charger for known in self._chargers.of(self.protocol))

    def _known(self, identity: str) -> KnownCharger | None:
        return self._chargers.get(identity, self.protocol)

    def charger(self, identity: str) -> dict[str, Any] | None:
        """See :class:`Adapter`."""
        known = self._known(identity)
        if known is None:
            return None
        view = view_of(known, self.heartbeat_interval(known.settings))
        shown: dict[str, Any] = msgspec.to_builtins(view, builtin_types=(dt.datetime,))
        return shown

    def is_online(self, identity: str) -> bool:
        """See :class:`Adapter`."""
        known = self._known(identity)
        return known is not None and known.online

    def frames(self, identity: str, limit: int, *, reveal: bool) -> list[dict[str, Any]] | None:
        """See :class:`Adapter`."""
        known = self._known(identity)
        if known is None:
            return None
        return [show_frame(heard, self.dialect, reveal=reveal) for heard in known.frames.last(limit)]

    def spelled(self, identity: str) -> str:
        """See :class:`Adapter`; upper and lower case differ."""
        return identity

    def glance(self, identity: str) -> Glance | None:
        """See :class:`Adapter`."""
        known = self._known(identity)
        return None if known is None else glance_of(known)

    def suggest(self, identity: str, command: str) -> dict[str, Any]:
        """See :class:`Adapter`."""
        return self._told.suggest(identity, command, moment(self._clock()))

    def recent(self, limit: int) -> list[Sighting]:
        """See :class:`Adapter`."""
        return recent_of(self._chargers.of(self.protocol), limit, self.dialect)

    def watch(self, watcher: Callable[[Sighting], None]) -> Callable[[], None]:
        """See :class:`Adapter`."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def tap(self, tap: Tap) -> Callable[[], None]:
        """See :class:`Adapter`."""
        self._taps.append(tap)
        return lambda: self._taps.remove(tap)

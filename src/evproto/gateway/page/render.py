"""Pieces of the page, made of templates in which everything is escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from evproto.gateway.adapter import Adapter, CommandType, Glance
from evproto.gateway.commands import Command
from evproto.gateway.page.feed import Item
from evproto.gateway.page.fields import Shown, brief, fields_of
from evproto.gateway.page.forms import Entry, entries_of, label_of
from evproto.gateway.page.overview import Totals

__all__ = ["Renderer"]


class Renderer:
    """Makes the page and its pieces."""

    def __init__(self, adapters: Sequence[Adapter], *, version: str, assets: Mapping[str, str]) -> None:
        """Make a renderer.

        Args:
            adapters: the protocols, whose messages and commands are named.
            version: of the server.
            assets: names of static files, and the tags of their content.
        """
        self._adapters = tuple(adapters)
        environment = Environment(
            loader=PackageLoader("evproto.gateway.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["clock"] = _clock
        environment.filters["moment"] = _moment
        environment.filters["label"] = label_of
        environment.filters["figure"] = _figure
        environment.globals["version"] = version
        environment.globals["asset"] = lambda name: f"/page/assets/{name}?{assets[name]}"
        self._page = environment.get_template("page.html")
        self._pieces: Any = environment.get_template("pieces.html").module

    def page(self, *, charger: str, command: str, may_command: bool, **what: Any) -> str:
        """The whole page."""
        entries = self._entries(command, charger)
        return self._page.render(
            **what,
            may_command=may_command,
            charger=charger,
            command=self._command(command) if entries is not None else None,
            entries=entries or [],
            commands=self._commands(),
            messages=self._messages(),
            rows=[self._row(item) for item in reversed(what["items"])],
        )

    def card(self, glance: Glance) -> str:
        """One charger."""
        return str(self._pieces.card(glance)).strip()

    def totals(self, totals: Totals) -> str:
        """All chargers together."""
        return str(self._pieces.totals(totals)).strip()

    def row(self, item: Item) -> str:
        """One line of the log."""
        return str(self._pieces.row(self._row(item))).strip()

    def fields(self, command: str, charger: str) -> str | None:
        """The fields of a command's form; None: there is no such command."""
        entries = self._entries(command, charger)
        if entries is None:
            return None
        return str(self._pieces.command_fields(self._command(command), entries)).strip()

    def result(self, command: Command) -> str:
        """How a command stands."""
        type_ = self._command(command.name)
        schema = (type_.answer_schema or {}) if type_ is not None else {}
        answer = self._shown(command.answer, schema, type_.answer if type_ is not None else None)
        return str(self._pieces.result(command, type_, answer)).strip()

    def _row(self, item: Item) -> dict[str, Any]:
        event = item.event
        schema = self._schema(event.name)
        fields = event.fields or {}
        return {
            "event": event,
            "title": schema.get("title", ""),
            "zh": schema.get("x-zh", ""),
            "brief": brief(fields, schema, event.charger) or next((one.text for one in event.findings), ""),
            "fields": fields_of(fields, schema),
        }

    def _shown(self, fields: dict[str, Any] | None, schema: dict[str, Any], name: str | None) -> list[Shown]:
        if fields is None:
            return []
        return fields_of(fields, self._schema(name or "") or schema)

    def _schema(self, name: str) -> dict[str, Any]:
        for adapter in self._adapters:
            if name in adapter.messages:
                return adapter.messages[name]
        return {}

    def _command(self, name: str) -> CommandType | None:
        return next((one.commands[name] for one in self._adapters if name in one.commands), None)

    def _entries(self, command: str, charger: str) -> list[Entry] | None:
        for adapter in self._adapters:
            type_ = adapter.commands.get(command)
            if type_ is not None:
                return entries_of(type_.schema, adapter.suggest(charger, command))
        return None

    def _commands(self) -> list[tuple[str, list[tuple[str, CommandType]]]]:
        """Commands in groups: those that a charger answers first; each with the collection in its URL."""
        asked: list[tuple[str, CommandType]] = []
        told: list[tuple[str, CommandType]] = []
        for adapter in self._adapters:
            for type_ in adapter.commands.values():
                (asked if type_.answer is not None else told).append((adapter.collection, type_))
        return [("Commands", asked), ("Answers to the charger", told)]

    def _messages(self) -> list[tuple[str, str, str]]:
        """Name, title and code of every message, for the filter of the log."""
        found = [
            (name, schema.get("title", name), schema.get("x-frame-type", ""))
            for adapter in self._adapters
            for name, schema in adapter.messages.items()
        ]
        return sorted(found, key=lambda one: (one[2], one[0]))


def _clock(moment: dt.datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _moment(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _figure(number: float, places: int = 1) -> str:
    return f"{number:,.{places}f}"

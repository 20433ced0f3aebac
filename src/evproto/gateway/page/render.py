"""Pieces of the page, made of templates in which everything is escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from evproto.gateway.adapter import Adapter, CommandType, Glance, UnknownChargerError
from evproto.gateway.commands import Command
from evproto.gateway.neutral import AmbiguousChargerError, Chargers, family
from evproto.gateway.page.feed import Item
from evproto.gateway.page.fields import Shown, brief, fields_of
from evproto.gateway.page.forms import Entry, entries_of, label_of
from evproto.gateway.page.overview import Totals

__all__ = ["Renderer"]


class Renderer:
    """Makes the page and its pieces."""

    def __init__(self, chargers: Chargers, *, version: str, assets: Mapping[str, str]) -> None:
        """Make a renderer.

        Args:
            chargers: of all protocols, whose messages and commands are named.
            version: of the server.
            assets: names of static files, and the tags of their content.
        """
        self._chargers = chargers
        self._adapters = chargers.adapters
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
        self._environment = environment

    # Compiled when somebody looks at the page for the first time: most starts are not for that.

    @cached_property
    def _page(self) -> Template:
        return self._environment.get_template("page.html")

    @cached_property
    def _pieces(self) -> Any:
        return self._environment.get_template("pieces.html").module

    @property
    def compiled(self) -> bool:
        """Whether :meth:`compile` has nothing to do any more."""
        return {"_page", "_pieces"} <= self.__dict__.keys()

    def compile(self) -> None:
        """Compile the templates, which takes half a second; from any thread."""
        _ = self._page, self._pieces

    def page(self, *, charger: str, command: str, collection: str, may_command: bool, **what: Any) -> str:
        """The whole page."""
        adapter = self._adapter(command, charger, collection)
        return self._page.render(
            **what,
            may_command=may_command,
            charger=charger,
            command=None if adapter is None else adapter.commands[command],
            collection="" if adapter is None else adapter.collection,
            entries=[] if adapter is None else self._entries(adapter, command, charger),
            commands=self._commands(charger),
            messages=self._messages(),
            protocols=self._protocols(),
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

    def fields(self, command: str, charger: str, collection: str) -> str | None:
        """The fields of a command's form; None: there is no such command."""
        adapter = self._adapter(command, charger, collection)
        if adapter is None:
            return None
        entries = self._entries(adapter, command, charger)
        return str(self._pieces.command_fields(adapter.commands[command], entries)).strip()

    def options(self, charger: str) -> str:
        """The commands that a charger can be sent, to choose from; of all protocols, if it is not known."""
        return str(self._pieces.command_options(self._commands(charger), None, "")).strip()

    def result(self, command: Command) -> str:
        """How a command stands."""
        adapter = next((one for one in self._adapters if one.protocol == command.protocol), None)
        type_ = None if adapter is None else adapter.commands.get(command.name)
        answer: list[Shown] = []
        if adapter is not None and type_ is not None and command.answer is not None:
            schema = adapter.messages.get(type_.answer or "") or type_.answer_schema or {}
            answer = fields_of(command.answer, schema)
        elif command.answer is not None:
            answer = fields_of(command.answer, {})
        return str(self._pieces.result(command, type_, answer)).strip()

    def _row(self, item: Item) -> dict[str, Any]:
        event = item.event
        adapter = next((one for one in self._adapters if one.protocol == item.protocol), None)
        schema = {} if adapter is None else adapter.messages.get(event.name, {})
        fields = event.fields or {}
        return {
            "event": event,
            "title": schema.get("title", ""),
            "zh": schema.get("x-zh", ""),
            "brief": brief(fields, schema, event.charger) or next((one.text for one in event.findings), ""),
            "fields": fields_of(fields, schema),
        }

    def _adapter(self, command: str, charger: str, collection: str) -> Adapter | None:
        """Of which protocol a command is: as it says, or the charger's; else the first that has it."""
        have = [one for one in self._adapters if command in one.commands]
        spoken = self._spoken(charger)
        return (
            next((one for one in have if one.collection == collection), None)
            or next((one for one in have if one is spoken), None)
            or next(iter(have), None)
        )

    def _spoken(self, charger: str) -> Adapter | None:
        """What a charger speaks; None: nobody knows."""
        try:
            return self._chargers.find(charger).adapter if charger else None
        except (UnknownChargerError, AmbiguousChargerError):
            return None

    def _entries(self, adapter: Adapter, command: str, charger: str) -> list[Entry]:
        return entries_of(adapter.commands[command].schema, adapter.suggest(charger, command))

    def _commands(self, charger: str) -> list[tuple[str, list[tuple[str, CommandType]]]]:
        """Commands in groups: those that a charger answers first; each with the collection in its URL.

        Those of what the charger speaks, or of all protocols, if nobody knows.
        """
        spoken = self._spoken(charger)
        adapters = self._adapters if spoken is None else (spoken,)
        found: list[tuple[str, list[tuple[str, CommandType]]]] = []
        for adapter in adapters:
            asked = [(adapter.collection, one) for one in adapter.commands.values() if one.answer is not None]
            told = [(adapter.collection, one) for one in adapter.commands.values() if one.answer is None]
            of = f"{adapter.protocol}: " if len(self._adapters) > 1 else ""
            found.append((f"{of}Commands", asked))
            if told:
                found.append((f"{of}Answers to the charger", told))
        return found

    def _protocols(self) -> list[str]:
        """What can be chosen from; nothing, if there is one only."""
        if len(self._adapters) < 2:
            return []
        names = [one.protocol for one in self._adapters]
        several = {family(name) for name in names if sum(family(name) == family(one) for one in names) > 1}
        return sorted({*names, *several})

    def _messages(self) -> list[tuple[str, str, str]]:
        """Name, title and code of every message, for the filter of the log."""
        found = {
            name: (name, schema.get("title", name), schema.get("x-frame-type", ""))
            for adapter in self._adapters
            for name, schema in adapter.messages.items()
        }
        return sorted(found.values(), key=lambda one: (one[2], one[0]))


def _clock(moment: dt.datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _moment(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _figure(number: float, places: int = 1) -> str:
    return f"{number:,.{places}f}"

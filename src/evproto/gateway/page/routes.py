"""The page at ``/``, its stream and its forms, and ``/events`` for programs.

Who may look without a token is the setting ``http.page``; whoever may not is
asked for one by the browser (Basic, the token is the password). What a charger
is told goes through the API, and needs what the API needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from evproto.gateway.config import is_public
from evproto.gateway.neutral import Chargers, UnknownProtocolError
from evproto.gateway.page.events import Events, subscribed
from evproto.gateway.page.feed import Feed, Filter, batches
from evproto.gateway.page.overview import Totals, select, total
from evproto.gateway.page.render import Renderer
from evproto.gateway.page.stream import COMMENT, EventStream, field_of
from evproto.gateway.problems import ProblemError
from evproto.gateway.rest import Api, guarded, json_response
from evproto.gateway.tokens import Caller

__all__ = ["Page"]

Mode = Literal["auto", "open", "token", "off"]
Abort = Callable[[MutableMapping[str, Any]], None]

_SHOWN: Final = 100
"""Frames that the page begins with."""
_PAGE_RATE: Final = 100
"""Frames a second that the page is given; a person reads fewer."""
_TICK: Final = 1.0
"""Seconds between two looks at chargers that have changed."""
_TOTALS: Final = 5.0
"""Seconds for which totals are good."""
_SILENCE: Final = 15.0
"""Seconds after which a comment is sent if nothing happens."""
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page:
    """The page of a server. ``close`` ends its streams."""

    def __init__(self, api: Api, *, mode: Mode, version: str, abort: Abort) -> None:
        """Make a page.

        Args:
            api: whose chargers it shows, and where its commands go.
            mode: who may look without a token; ``auto``: those on this machine.
            version: of the server.
            abort: closes the connection of a request, given its scope.
        """
        self.feed = Feed(api.adapters)
        self._api = api
        self._chargers = Chargers(api.adapters)
        self._mode = mode
        self._abort = abort
        self._events = Events(api, self.feed, abort=abort, headers=_HEADERS)
        self._assets = _assets()
        self._render = Renderer(
            self._chargers, version=version, assets={name: tag for name, (_, _, tag) in self._assets.items()}
        )
        self._totals = Totals()
        self._totals_at = -_TOTALS

    def close(self) -> None:
        """End all streams."""
        self.feed.close()

    def routes(self) -> list[BaseRoute]:
        """What is served."""

        def route(
            path: str, handler: Callable[[Request, Caller], Awaitable[Response]], access: str = "open"
        ) -> Route:
            made = Route(path, guarded(self._api, handler, access), methods=["GET"])
            # Of what has no end nobody wants the head alone.
            made.methods = {"GET"}
            return made

        found: list[BaseRoute] = [route("/events", self._events.stream, "read")]
        if self._mode != "off":
            found += [
                route("/", self.show),
                route("/page/stream", self.stream),
                route("/page/form", self.form),
                route("/page/options", self.options),
                route("/page/caller", self.who, "read"),
                route("/page/commands/{id}", self.result, "read"),
                route("/page/assets/{name}", self.asset),
            ]
        return found

    # --- who

    def _reader(self, request: Request) -> Caller:
        """Who looks.

        Raises:
            ProblemError: nobody who may.
        """
        given = request.headers.get("authorization")
        found = self._api.tokens.caller(given)
        if found is not None:
            return found
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        # A name that is not local is that of a proxy's, or of a page that wants to read this one.
        here = self._api.local and not is_public(host)
        if given is None and (self._mode == "open" or (self._mode == "auto" and here)):
            return Caller("nobody", "read")
        raise ProblemError(
            "unauthorized",
            "a token is needed: give it as the password, with any name",
            headers={"WWW-Authenticate": 'Basic realm="evproto", charset="UTF-8"'},
        )

    async def _templates(self) -> None:
        """Have the templates compiled, while chargers go on being answered."""
        if not self._render.compiled:
            await asyncio.to_thread(self._render.compile)

    # --- handlers

    async def show(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /``."""
        caller = self._reader(request)
        await self._templates()
        query = request.query_params
        wanted = self._filter(request)
        sought = _sought(request)
        body = self._render.page(
            selection=select(self._chargers, **sought),
            totals=await self._current_totals(),
            items=self.feed.past(wanted, _SHOWN),
            wanted=wanted,
            query={**sought, "of": query.get("of", "")},
            may_command=caller.may_command,
            caller=caller.name,
            tokens=self._api.tokens.required,
            charger=query.get("to", ""),
            command=query.get("command", ""),
            collection=query.get("in", ""),
            now=_now(),
        )
        return Response(body, headers=_HEADERS, media_type="text/html")

    async def stream(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /page/stream``: what changes on the page, as pieces of it."""
        self._reader(request)
        await self._templates()
        query = request.query_params
        wanted = self._filter(request)
        sought = _sought(request)
        since = request.headers.get("last-event-id") or query.get("since", "")
        subscription = subscribed(self.feed, wanted, _PAGE_RATE)
        # From here to the first batch nothing waits, so nothing is lost or shown twice in between.
        backlog = self.feed.past(wanted, _SHOWN, after=since)
        shown: dict[str, str] = {}

        async def chunks() -> AsyncIterator[bytes]:
            yield b"retry: 2000\n\n"
            looked = -_TICK
            said = time.monotonic()
            totals: Totals | None = None
            order: list[str] = []
            async for batch in batches(self.feed, subscription, backlog, _TICK):
                out = [field_of(self._render.row(item), event="frame", id=item.event.id) for item in batch]
                if subscription.left_out:
                    out.append(field_of(str(subscription.left_out), event="left_out"))
                    subscription.left_out = 0
                now = time.monotonic()
                if now - looked >= _TICK:
                    looked = now
                    first = not order
                    changed, subscription.changed = subscription.changed, set()
                    selection = select(self._chargers, **sought)
                    cards = {
                        glance.charger: self._render.card(glance)
                        for glance in selection.glances
                        if first or glance.charger in changed or glance.charger not in shown
                    }
                    names = [glance.charger for glance in selection.glances]
                    out += [
                        field_of(card, event="charger")
                        for name, card in cards.items()
                        if shown.get(name) != card
                    ]
                    shown.update(cards)
                    if names != order:
                        order = names
                        for name in shown.keys() - set(names):
                            del shown[name]
                        out.append(field_of("\n".join(names) or " ", event="order"))
                    current = await self._current_totals()
                    if current != totals:
                        totals = current
                        out.append(field_of(self._render.totals(current), event="totals"))
                if out:
                    said = now
                    yield b"".join(out)
                elif now - said >= _SILENCE:
                    said = now
                    yield COMMENT

        return EventStream(self.feed, subscription, chunks(), abort=self._abort, headers=_HEADERS)

    async def form(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /page/form``: the fields of one command."""
        self._reader(request)
        await self._templates()
        query = request.query_params
        name = query.get("command", "")
        body = self._render.fields(name, query.get("to", ""), query.get("in", ""))
        if body is None:
            raise ProblemError("not_found", f"there is no command {name}")
        return Response(body, headers=_HEADERS, media_type="text/html")

    async def options(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /page/options``: the commands that a charger can be sent."""
        self._reader(request)
        await self._templates()
        body = self._render.options(request.query_params.get("to", ""))
        return Response(body, headers=_HEADERS, media_type="text/html")

    async def who(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /page/caller``: what a token is good for."""
        return json_response({"name": caller.name, "may_command": caller.may_command}, headers=_HEADERS)

    async def result(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /page/commands/{id}``: a command, or what it is after some seconds."""
        patience = 10.0 if request.query_params.get("wait") == "1" else 0.0
        found = await self._api.command_for(caller, request.path_params["id"], wait=patience)
        await self._templates()
        headers = {**_HEADERS, "X-Ended": "0" if found.ended is None else "1"}
        return Response(self._render.result(found), headers=headers, media_type="text/html")

    async def asset(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /page/assets/{name}``: script, style, icon."""
        name = request.path_params["name"]
        if name not in self._assets:
            raise ProblemError("not_found", f"there is no {name}")
        body, kind, _ = self._assets[name]
        # The hash of its content is in the URL.
        headers = {**_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return Response(body, headers=headers, media_type=kind)

    # --- streams

    def _filter(self, request: Request) -> Filter:
        """Which frames are looked for."""
        query = request.query_params
        protocols: list[str] = []
        if query.get("of"):
            with contextlib.suppress(UnknownProtocolError):
                protocols = [adapter.protocol for adapter in self._chargers.of(query["of"])]
        beats = query.get("heartbeats", "true") != "false"
        return Filter(query.get("charger", ""), query.get("name", ""), beats=beats, protocols=protocols)

    async def _current_totals(self) -> Totals:
        if time.monotonic() - self._totals_at >= _TOTALS or self._totals.known < 500:
            self._totals_at = time.monotonic()
            self._totals = await total(self._api.adapters)
        return self._totals


def _assets() -> dict[str, tuple[bytes, str, str]]:
    """Name to content, type and a tag that changes with the content."""
    found: dict[str, tuple[bytes, str, str]] = {}
    for one in (files("evproto.gateway.page") / "static").iterdir():
        kind = _KINDS.get(f".{one.name.rpartition('.')[2]}")
        if kind is not None:
            body = one.read_bytes()
            found[one.name] = body, kind, hashlib.sha256(body).hexdigest()[:12]
    return found


def _sought(request: Request) -> dict[str, Any]:
    """Which chargers are looked for."""
    query = request.query_params
    return {
        "text": query.get("q", ""),
        "online": query.get("online") == "1",
        "after": query.get("after", ""),
        "protocol": query.get("protocol", ""),
    }


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

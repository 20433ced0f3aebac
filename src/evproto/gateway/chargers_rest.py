"""The API for chargers of all protocols: what they are, and what they are told.

``/chargers`` shows them in the neutral form of :mod:`evproto.gateway.neutral`.
Commands are those of their protocols, by name; ``start``, ``stop`` and
``reboot`` become the command that they are for the charger's protocol
(:meth:`Adapter.translate`), and are commands like any other from there on.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evproto.gateway.adapter import (
    UnknownChargerError,
    Verb,
    informed,
    translated,
)
from evproto.gateway.neutral import (
    AmbiguousChargerError,
    ChargerList,
    Chargers,
    Found,
    UnknownProtocolError,
    charger_of,
    detail_of,
)
from evproto.gateway.params import flag, limit, patience
from evproto.gateway.problems import ProblemError
from evproto.gateway.rest import TURN, Api, Handler, adapter_refusals, guarded, json_response
from evproto.gateway.tokens import Caller

__all__ = ["VERBS", "ChargersApi", "CommandRequest", "Reboot", "Start", "Stop", "charger_routes"]


T = TypeVar("T")
_Text = Annotated[str, Meta(min_length=1)]


class CommandRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A command of the charger's own protocol."""

    name: Annotated[str, Meta(description="as in remote_start_request, or Reset")]
    fields: Annotated[dict[str, Any], Meta(description="of the message, in the units of the protocol")] = {}
    protocol: Annotated[
        str, Meta(description="of the charger, where several have its identity; its own otherwise")
    ] = ""


class Start(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Let a car charge. What is left out is filled in as far as it can be known."""

    connector: Annotated[_Text | None, Meta(description="name of the connector or gun")] = None
    token: Annotated[
        _Text | None, Meta(description="who charges: an idTag, an idToken, the number of a card")
    ] = None
    transaction: Annotated[
        _Text | None, Meta(description="its number, where the platform is who numbers them")
    ] = None


class Stop(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """End what a car is charged in. With neither member: the only one that goes on."""

    connector: Annotated[_Text | None, Meta(description="name of the connector or gun")] = None
    transaction: Annotated[_Text | None, Meta(description="as the connector's transaction says")] = None


class Reboot(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Start the charger anew."""

    immediate: Annotated[bool, Meta(description="do not wait for transactions to end")] = False


VERBS: Final[dict[Verb, type[Start | Stop | Reboot]]] = {"start": Start, "stop": Stop, "reboot": Reboot}
"""What each verb takes."""


class ChargersApi:
    """The handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.chargers = Chargers(api.adapters)

    # --- what they are

    async def list(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /chargers``."""
        query = request.query_params
        online, most = flag(request, "online"), limit(request)
        try:
            listed = self.chargers.listed(after=query.get("after", ""), protocol=query.get("protocol", ""))
        except UnknownProtocolError as error:
            raise ProblemError("invalid", str(error), path="protocol") from None
        page = ChargerList(items=[], next=None)
        for index, found in enumerate(listed, 1):
            if index % TURN == 0:
                # Few may be wanted of many.
                await asyncio.sleep(0)
            if online is not None and found.online != online:
                continue
            if len(page.items) == most:
                page.next = page.items[-1].id
                break
            shown = charger_of(found)
            if shown is not None:
                page.items.append(shown)
        return json_response(page)

    async def show(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /chargers/{id}``."""
        found = self.find(request)
        await informed(found.adapter, found.identity)
        shown = detail_of(found)
        if shown is None:
            raise ProblemError("unknown_charger", f"no charger {found.identity} has been here")
        return json_response(shown)

    async def frames(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /chargers/{id}/frames``."""
        found = self.find(request)
        return self._api.frames_of(request, caller, found.adapter, found.identity)

    def find(self, request: Request, protocol: str = "") -> Found:
        """The charger that the path of a request names.

        Raises:
            ProblemError: there is none, or there are several.
        """
        asked = request.query_params.get("protocol", "")
        try:
            if asked and protocol:
                both = set(self.chargers.of(asked)) & set(self.chargers.of(protocol))
                if not both:
                    text = f"the URL says {asked}, and the body {protocol}"
                    raise ProblemError("ambiguous", text, path="protocol")
                # One may be a family, as ocpp is, and the other one of it.
                protocol = min((asked, protocol), key=lambda one: len(self.chargers.of(one)))
            protocol = protocol or asked
            return self.chargers.find(request.path_params["identity"], protocol)
        except UnknownChargerError as error:
            raise ProblemError("unknown_charger", str(error)) from None
        except AmbiguousChargerError as error:
            raise ProblemError("ambiguous", str(error), path="protocol") from None
        except UnknownProtocolError as error:
            raise ProblemError("invalid", str(error), path="protocol") from None

    # --- what they are told

    async def command(self, request: Request, caller: Caller) -> Response:
        """The handler of ``POST /chargers/{id}/commands``."""
        wait, timeout = patience(request)
        wanted = _read(await self._api.json_body(request), CommandRequest)
        found = self.find(request, wanted.protocol)
        if wanted.name not in found.adapter.commands:
            raise ProblemError("not_found", _no_command(found, wanted.name), path="name")
        about = [wanted.name, wanted.fields]
        earlier = await self._api.repeated(request, caller, found.adapter, found.identity, about)
        if earlier is not None:
            return await self._api.answer(earlier, wait=wait)
        try:
            prepared = self._api.prepare(found.adapter, found.identity, wanted.name, wanted.fields)
        except ProblemError as problem:
            if problem.problem.path:
                problem.problem.path = f"fields.{problem.problem.path}"
            raise
        return await self._api.take(
            request, caller, found.adapter, prepared, wait=wait, timeout=timeout, about=about
        )

    async def named(self, request: Request, caller: Caller) -> Response:
        """The handler of ``POST /chargers/{id}/commands/{name}``."""
        wait, timeout = patience(request)
        found, name = self.find(request), request.path_params["name"]
        if name not in found.adapter.commands:
            raise ProblemError("not_found", _no_command(found, name))
        fields = await self._api.json_body(request)
        about = [name, fields]
        earlier = await self._api.repeated(request, caller, found.adapter, found.identity, about)
        if earlier is not None:
            return await self._api.answer(earlier, wait=wait)
        prepared = self._api.prepare(found.adapter, found.identity, name, fields)
        return await self._api.take(
            request, caller, found.adapter, prepared, wait=wait, timeout=timeout, about=about
        )

    def verb(self, verb: Verb) -> Handler:
        """The handler of ``POST /chargers/{id}/start``, ``stop`` and ``reboot``."""

        async def handle(request: Request, caller: Caller) -> Response:
            wait, timeout = patience(request)
            wanted = _read(await self._api.json_body(request, empty={}), VERBS[verb])
            body = {
                name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None
            }
            found = self.find(request)
            adapter, identity = found.adapter, found.identity
            # What it becomes depends on the time and on what goes on: the key is the request's.
            about = [f"/{verb}", body]
            earlier = await self._api.repeated(request, caller, adapter, identity, about)
            if earlier is not None:
                return await self._api.answer(earlier, wait=wait)
            self._api.refuse_if_draining()
            if not found.online:
                glance = adapter.glance(identity)
                why = (glance.reason if glance is not None else "") or "it is not connected"
                raise ProblemError("offline", f"charger {identity} is offline: {why}")
            with adapter_refusals():
                name, fields = await translated(adapter, identity, verb, body)
            prepared = self._api.prepare(adapter, identity, name, fields)
            return await self._api.take(
                request, caller, adapter, prepared, wait=wait, timeout=timeout, about=about
            )

        return handle


def charger_routes(api: Api) -> list[Route]:
    """The routes of the API for all chargers."""
    chargers = ChargersApi(api)

    def route(path: str, handler: Handler, method: str = "GET", access: str = "read") -> Route:
        return Route(path, guarded(api, handler, access), methods=[method])

    one = "/chargers/{identity}"
    return [
        route("/chargers", chargers.list),
        route(one, chargers.show),
        route(f"{one}/frames", chargers.frames),
        route(f"{one}/commands", chargers.command, "POST", "command"),
        route(f"{one}/commands/{{name}}", chargers.named, "POST", "command"),
        *(route(f"{one}/{verb}", chargers.verb(verb), "POST", "command") for verb in VERBS),
    ]


def _read(body: Any, type_: type[T]) -> T:
    """A body as what it should be.

    Raises:
        ProblemError: it is not; ``path`` names the member.
    """
    try:
        return msgspec.convert(body, type_)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        member = path.rstrip("`").lstrip(".")
        if not member and "`" in text:
            # "missing required field `name`", "unknown field `x`"
            member = text.split("`")[-2] if text.startswith("Object") else ""
        raise ProblemError("invalid", text, path=member) from None


def _no_command(found: Found, name: str) -> str:
    return f"chargers of {found.adapter.protocol} have no command {name!r}"

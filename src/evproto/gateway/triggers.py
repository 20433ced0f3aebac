"""The routes of ocpp16-go, a central system for OCPP 1.6, so that programs written for it go on working.

``GET /charger/{name}/status``, ``GET /message/{id}/status`` and
``POST /command/{name}/triggeraction/{action}``, with its JSON. What it does
otherwise: nothing tells a charger's password, a message that is not known is a
404, a charger that is not connected is refused at once, and every status is
what has become of the message. They need a token like the rest of the API.

They are for chargers of every protocol that has a TriggerMessage; an action is
taken if the protocol of the charger has it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evproto.gateway.adapter import Adapter, UnknownChargerError, informed
from evproto.gateway.commands import Command, Submission
from evproto.gateway.neutral import AmbiguousChargerError, Chargers, Found
from evproto.gateway.problems import ProblemError
from evproto.gateway.rest import Api, Handler, guarded, json_response
from evproto.gateway.tokens import Caller

__all__ = ["ChargerStatus", "MessageStatus", "Reference", "trigger_routes", "triggers"]

_TRIGGER: Final = "TriggerMessage"
_MEMBER: Final = "requestedMessage"


class ChargerStatus(msgspec.Struct, kw_only=True, rename="pascal"):
    """A charger, as ocpp16-go shows it."""

    auth_token: Annotated[str, Meta(description="always empty: passwords are kept as hashes")] = ""
    heart_beat_interval: Annotated[int, Meta(description="seconds; 0: it is not known")]
    auth_connection: Annotated[bool, Meta(description="whether it is connected, and was let in")]
    connected: bool
    remote_ip: Annotated[
        str, Meta(description="address and port of its connection; empty: there is none")
    ] = msgspec.field(name="RemoteIP")


class MessageStatus(msgspec.Struct, kw_only=True, rename="pascal"):
    """A message to a charger, as ocpp16-go shows it."""

    action: str
    received: Annotated[str, Meta(description="when its answer came; empty: there is none")]
    status: Annotated[
        Literal[1, 2, 3, 4, 5],
        Meta(description="1: waits to be sent; 2: sent; 4: answered; 5: refused, no answer, or not sent"),
    ]
    sent: Annotated[str, Meta(description="when it was sent; empty: it was not")]


class Reference(msgspec.Struct, kw_only=True):
    """What has become of a request."""

    status: Literal["success", "fail"]
    reference: Annotated[str, Meta(description="what /message/{id}/status and /commands/{id} take")] = ""
    description: Annotated[str, Meta(description="why it has failed")] = ""


_STATUS: Final[dict[str, Literal[1, 2, 3, 4, 5]]] = {
    "queued": 1,
    "sent": 2,
    "accepted": 4,
    "rejected": 5,
    "timeout": 5,
    "disconnected": 5,
}


def triggers(adapter: Adapter) -> tuple[str, ...]:
    """The messages that chargers of a protocol can be asked for; none: it has no TriggerMessage."""
    command = adapter.commands.get(_TRIGGER)
    if command is None:
        return ()
    member = command.schema.get("properties", {}).get(_MEMBER, {})
    return tuple(member.get("enum", ()))


def trigger_routes(api: Api) -> list[Route]:
    """The routes; none if nothing that is served has a TriggerMessage."""
    adapters = [adapter for adapter in api.adapters if triggers(adapter)]
    if not adapters:
        return []
    made = _Triggers(api, Chargers(adapters))

    def route(path: str, handler: Handler, method: str, access: str) -> Route:
        return Route(path, guarded(api, handler, access), methods=[method])

    return [
        route("/charger/{name}/status", made.charger, "GET", "read"),
        route("/message/{id}/status", made.message, "GET", "read"),
        route("/command/{name}/triggeraction/{action}", made.trigger, "POST", "command"),
    ]


class _Triggers:
    def __init__(self, api: Api, chargers: Chargers) -> None:
        self._api = api
        self._chargers = chargers

    async def charger(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /charger/{name}/status``."""
        try:
            found = self._find(request)
        except _FailError as fail:
            return fail.response()
        adapter, identity = found.adapter, found.identity
        await informed(adapter, identity)
        glance, detail = adapter.glance(identity), adapter.charger(identity) or {}
        connected = glance is not None and glance.state != "offline"
        interval = detail.get("heartbeat_interval")
        return json_response(
            ChargerStatus(
                heart_beat_interval=interval if isinstance(interval, int) else 0,
                auth_connection=glance is not None and glance.state == "online",
                connected=connected,
                remote_ip=glance.address if glance is not None and connected else "",
            )
        )

    async def message(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /message/{id}/status``."""
        command = await self._api.desk.get(request.path_params["id"])
        if command is None:
            return _FailError(404, "Message is not exist").response()
        return json_response(_message(command))

    async def trigger(self, request: Request, caller: Caller) -> Response:
        """The handler of ``POST /command/{name}/triggeraction/{action}``."""
        action = request.path_params["action"]
        try:
            found = self._find(request)
            known = triggers(found.adapter)
            if action not in known:
                one_of = ", ".join(known)
                raise _FailError(400, f"{found.adapter.protocol} triggers {one_of}, not {action}")
            adapter, body = found.adapter, {_MEMBER: action}
            about = [_TRIGGER, body]
            earlier = await self._api.repeated(request, caller, adapter, found.identity, about)
            if earlier is not None:
                return _referred(earlier)
            if not found.online:
                raise _FailError(409, f"charger {found.identity} is not connected; nothing was sent")
            prepared = _prepared(self._api, found, body)
        except _FailError as fail:
            return fail.response()
        return _referred(await self._api.submit(request, caller, adapter, prepared, about=about))

    def _find(self, request: Request) -> Found:
        name = request.path_params["name"]
        try:
            return self._chargers.find(name)
        except UnknownChargerError:
            raise _FailError(404, f"no charger {name} has been here") from None
        except AmbiguousChargerError as error:
            raise _FailError(409, str(error)) from None


class _FailError(Exception):
    """A request that has failed."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__(description)
        self._status = status

    def response(self) -> Response:
        return json_response(Reference(status="fail", description=str(self)), self._status)


def _prepared(api: Api, found: Found, body: dict[str, Any]) -> Any:
    try:
        return api.prepare(found.adapter, found.identity, _TRIGGER, body)
    except ProblemError as problem:
        if problem.code == "draining":
            raise
        raise _FailError(problem.status, str(problem)) from None


def _referred(submission: Submission) -> Response:
    return json_response(Reference(status="success", reference=submission.command.id))


def _message(command: Command) -> MessageStatus:
    def text(time: Any) -> str:
        return "" if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # "sent" is the end of what nothing answers.
    over = command.state == "sent" and command.ended is not None
    return MessageStatus(
        action=command.name,
        received=text(command.ended) if command.answer is not None else "",
        status=4 if over else _STATUS[command.state],
        sent=text(command.sent),
    )

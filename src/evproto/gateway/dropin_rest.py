"""The routes of ykc-proxy-server, ``POST /proxy/02`` and so on, done right.

They answer ``200 {"message": "done"}`` once the frame is written to the pile's
connection. Where that program said the same of a pile that is gone, of a body
it could not read, or ``500 {"message": {}}``, there is a status and a sentence.
The pile's own answer is forwarded as an event, as it was there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from evproto.gateway.adapter import ChargerOfflineError, UnknownChargerError
from evproto.gateway.audit import AuditError
from evproto.gateway.dropin import COMMANDS, SUBJECT, SeedError, path_of, read_command, shown_event
from evproto.gateway.events import Event
from evproto.gateway.http_sink import HttpRequest, HttpShape
from evproto.gateway.nats_sink import NatsMessage, NatsShape
from evproto.gateway.problems import ProblemError
from evproto.gateway.rest import Api, json_response
from evproto.gateway.tokens import Caller
from evproto.gateway.ykc_adapter import YkcAdapter
from evproto.ykc.codec import VERSIONS, Codec

__all__ = ["dropin_routes", "http_shape", "nats_shape"]


def dropin_routes(api: Api, adapter: YkcAdapter, trusted: Sequence[str]) -> list[BaseRoute]:
    """The eight routes. ``trusted`` networks need no token."""
    networks = [ipaddress.ip_network(one, strict=False) for one in trusted]

    def caller(request: Request) -> Caller:
        found = api.tokens.caller(request.headers.get("authorization"))
        if found is None and request.client is not None:
            try:
                address = ipaddress.ip_address(request.client.host)
            except ValueError:
                address = None
            if address is not None and any(address in network for network in networks):
                return Caller("trusted network")
        if found is None:
            raise ProblemError("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="evproto"'})
        if not found.may_command:
            raise ProblemError("forbidden", f"the token {found.name} may only read")
        return found

    def route(frame_type: int) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                api.admit(request)
                status, message = await _command(api, adapter, frame_type, request, caller(request))
                headers: dict[str, str] = {}
            except ProblemError as problem:
                status, message, headers = problem.status, str(problem), problem.headers
            api.metrics.requests.labels(request.method, str(status)).inc()
            return json_response({"message": message}, status, headers=headers)

        return Route(f"/proxy/{path_of(frame_type)}", endpoint, methods=["POST"])

    return [route(frame_type) for frame_type in COMMANDS]


async def _command(
    api: Api, adapter: YkcAdapter, frame_type: int, request: Request, caller: Caller
) -> tuple[int, str]:
    body = await api.json_body(request, strict=False)
    if api.draining:
        raise ProblemError("draining")
    identity = body.get("id", body.get("Id")) if isinstance(body, dict) else None
    codec = adapter.codec_of(identity if isinstance(identity, str) else "")
    try:
        command = read_command(frame_type, body, codec)
        if command.encrypted:
            # It sent plain text with the flag set, which no pile can read.
            raise SeedError("encrypted bodies need a cipher, and there is none", "header.encrypted")
        prepared = adapter.prepare_message(
            command.pile_id, command.message, codec.encode(command.message), command.sequence
        )
    except SeedError as error:
        return 400, str(error)
    except UnknownChargerError as error:
        return 404, str(error)
    except ChargerOfflineError as error:
        return 409, str(error)
    try:
        submission = await api.desk.submit(
            adapter,
            prepared,
            by=caller.name,
            address=request.client.host if request.client else "",
        )
    except AuditError:
        raise ProblemError("storage") from None
    written = await api.desk.written(submission.command.id)
    if written is None or written.sent is None:
        return 409, (written.text if written is not None else "") or f"pile {command.pile_id} is offline"
    return 200, "done"


class _Codecs:
    """The codec by which an event's bytes were read."""

    def __init__(self) -> None:
        self._by_version = {version: Codec(version, checksum="either") for version in VERSIONS}
        self._newest = self._by_version[list(VERSIONS)[-1]]

    def of(self, event: Event) -> Codec:
        return self._by_version.get(event.protocol.removeprefix("ykc"), self._newest)


def http_shape(vin: Literal["text", "hex"]) -> HttpShape:
    """Events as they are posted there: to ``{endpoint}/{frame type}``."""
    codecs = _Codecs()

    def shape(endpoint: str, event: Event) -> HttpRequest | None:
        shown = shown_event(event, codecs.of(event), vin=vin)
        if shown is None:
            return None
        path, body = shown
        return HttpRequest(f"{endpoint.rstrip('/')}/{path}", body, {"Content-Type": "application/json"})

    return shape


def nats_shape(vin: Literal["text", "hex"]) -> NatsShape:
    """Events as they are published there: on ``charge.proxy.ykc.{frame type}``."""
    codecs = _Codecs()

    def shape(event: Event) -> NatsMessage | None:
        shown = shown_event(event, codecs.of(event), vin=vin)
        if shown is None:
            return None
        path, body = shown
        return NatsMessage(f"{SUBJECT}.{path}", body)

    return shape

"""The REST API: chargers, commands, audit log, dead letters, state.

Bodies are read by msgspec and checked by the protocol's own codec, so an error
names the field as the codec does. Every error has the form of
:class:`evproto.gateway.problems.Problem`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from evproto.gateway.adapter import (
    Adapter,
    ChargerOfflineError,
    InvalidCommandError,
    Prepared,
    UnknownChargerError,
)
from evproto.gateway.audit import Audit, AuditEntry, AuditError, moment
from evproto.gateway.commands import Command, CommandDesk, IdempotencyError
from evproto.gateway.config import is_public
from evproto.gateway.events import schema as event_schema
from evproto.gateway.metrics import CONTENT_TYPE, Metrics
from evproto.gateway.outbox import DeadLetter, Outbox, OutboxError
from evproto.gateway.problems import ProblemError
from evproto.gateway.tokens import Caller, Tokens
from evproto.gateway.views import (
    AuditPage,
    ChargerPage,
    DeadLetterView,
    DeadPage,
    FramePage,
    Health,
    Readiness,
)

__all__ = ["Api", "Handler", "guarded", "json_response", "make_app"]

logger = logging.getLogger("evproto.gateway.rest")

Handler = Callable[[Request, Caller], Awaitable[Response]]

_MOST: Final = 1000
"""Most entries of one page."""
_PLACES: Final = 2**53 - 1
"""The largest place there is: what JSON numbers carry exactly."""
_LONGEST: Final = 3600.0
"""Longest timeout of a command, in seconds."""
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")


class Api:
    """What the API works on, and its handlers."""

    def __init__(
        self,
        adapters: Sequence[Adapter],
        *,
        desk: CommandDesk,
        audit: Audit,
        outbox: Outbox,
        metrics: Metrics,
        tokens: Tokens,
        max_body: int,
        local: bool = True,
        readiness: Callable[[], list[str]] = list,
    ) -> None:
        """Make an API.

        Args:
            adapters: the protocols.
            desk: takes commands.
            audit: the audit log.
            outbox: where dead letters are.
            metrics: what ``/metrics`` shows.
            tokens: who may use it.
            max_body: most bytes of a request body.
            local: whether it can be reached from this machine only. Without tokens it then
                answers to local names only, so that no web page gets at it through a name of its own.
            readiness: what keeps the server from being ready, in sentences.
        """
        self.adapters = tuple(adapters)
        self.desk = desk
        self.audit = audit
        self.outbox = outbox
        self.metrics = metrics
        self.tokens = tokens
        self.max_body = max_body
        self.local = local
        self.readiness = readiness
        self.draining = False
        self.openapi: dict[str, Any] = {}

    # --- state

    async def health(self, request: Request, caller: Caller) -> Response:
        """The process runs."""
        return json_response(Health())

    async def ready(self, request: Request, caller: Caller) -> Response:
        """Whether chargers and callers should be sent here."""
        problems = self.readiness()
        return json_response(Readiness(ready=not problems, problems=problems), 503 if problems else 200)

    async def show_metrics(self, request: Request, caller: Caller) -> Response:
        """The counters."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    async def show_openapi(self, request: Request, caller: Caller) -> Response:
        """The description of this API."""
        return json_response(self.openapi)

    async def show_event_schema(self, request: Request, caller: Caller) -> Response:
        """The JSON Schema of forwarded events."""
        return json_response(event_schema(), media_type="application/schema+json")

    # --- chargers

    def list_chargers(self, adapter: Adapter) -> Handler:
        """The handler of ``GET /piles``."""

        async def handle(request: Request, caller: Caller) -> Response:
            online = _flag(request, "online")
            after = request.query_params.get("after", "").upper()
            limit = _limit(request)
            found: list[Any] = []
            more = False
            for identity in adapter.chargers():
                if identity <= after or (online is not None and adapter.is_online(identity) != online):
                    continue
                if len(found) == limit:
                    more = True
                    break
                found.append(adapter.charger(identity))
            return json_response(ChargerPage(items=found, next=found[-1]["id"] if more and found else None))

        return handle

    def show_charger(self, adapter: Adapter) -> Handler:
        """The handler of ``GET /piles/{id}``."""

        async def handle(request: Request, caller: Caller) -> Response:
            identity = request.path_params["identity"]
            found = adapter.charger(identity)
            if found is None:
                raise _unknown(adapter, identity)
            return json_response(found)

        return handle

    def show_frames(self, adapter: Adapter) -> Handler:
        """The handler of ``GET /piles/{id}/frames``."""

        async def handle(request: Request, caller: Caller) -> Response:
            identity = request.path_params["identity"]
            reveal = bool(_flag(request, "reveal"))
            if reveal and not caller.may_command:
                raise ProblemError("forbidden", "hidden values are shown to tokens of scope command only")
            found = adapter.frames(identity, _limit(request), reveal=reveal)
            if found is None:
                raise _unknown(adapter, identity)
            return json_response(FramePage(items=found))

        return handle

    # --- commands

    def post_command(self, adapter: Adapter, name: str) -> Handler:
        """The handler of ``POST /piles/{id}/commands/{name}``."""

        async def handle(request: Request, caller: Caller) -> Response:
            wait, timeout = _patience(request)
            body = await self.json_body(request)
            prepared = self.prepare(adapter, request.path_params["identity"], name, body)
            return await self.take(request, caller, adapter, prepared, wait=wait, timeout=timeout)

        return handle

    def prepare(self, adapter: Adapter, identity: str, name: str, body: Any) -> Prepared:
        """Check a command.

        Raises:
            ProblemError: it is not taken.
        """
        if self.draining:
            raise ProblemError("draining", headers={"Retry-After": "5"})
        try:
            return adapter.prepare(identity, name, body)
        except InvalidCommandError as error:
            raise ProblemError("invalid", str(error), path=error.path) from None
        except UnknownChargerError as error:
            raise ProblemError("unknown_charger", str(error)) from None
        except ChargerOfflineError as error:
            raise ProblemError("offline", str(error)) from None

    async def take(
        self,
        request: Request,
        caller: Caller,
        adapter: Adapter,
        prepared: Prepared,
        *,
        wait: bool,
        timeout: float | None,
    ) -> Response:
        """Submit a command, and wait for its end if that is wanted."""
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise ProblemError(
                "invalid", "Idempotency-Key takes 1 to 128 visible characters", path="Idempotency-Key"
            )
        try:
            submission = await self.desk.submit(
                adapter,
                prepared,
                by=caller.name,
                address=request.client.host if request.client else "",
                timeout=timeout,
                key=key,
            )
        except IdempotencyError as error:
            raise ProblemError("idempotency_conflict", str(error)) from None
        except AuditError as error:
            logger.error("a command was refused, it could not be written down: %s", error)
            raise ProblemError("storage", "the audit log cannot be written; nothing was sent") from None
        command = submission.command
        headers = {"Location": f"/commands/{command.id}"}
        if submission.repeated:
            headers["Idempotent-Replayed"] = "true"
        if not wait:
            return json_response(command, 202, headers=headers)
        ended = await self.desk.wait(command.id)
        return _ended(ended or command, headers)

    async def show_command(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /commands/{id}``."""
        wait = _number(request, "wait", 0.0, 60.0, 0.0)
        id = request.path_params["id"]
        found = await (self.desk.wait(id, wait) if wait else self.desk.get(id))
        if found is None:
            raise ProblemError("not_found", f"there is no command {id}")
        if not caller.may_command:
            found = await self.desk.redacted(found)
        return json_response(found)

    async def show_audit(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /audit``."""
        limit = _limit(request)
        before = _number(request, "before", 1, _PLACES, None, whole=True)
        entries = await self.audit.entries(
            charger=request.query_params.get("charger") or None, before=before, limit=limit
        )
        more = len(entries) == limit and bool(entries)
        return json_response(
            AuditPage(items=[_audit(one) for one in entries], next=entries[-1].seq if more else None)
        )

    # --- dead letters

    async def list_dead(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /dead-letters``."""
        skip = _number(request, "skip", 0, _PLACES, 0, whole=True)
        found = await self.outbox.dead(
            sink=request.query_params.get("sink") or None, limit=_limit(request), skip=skip
        )
        return json_response(DeadPage(items=[_dead(letter) for letter in found]))

    async def replay_dead(self, request: Request, caller: Caller) -> Response:
        """The handler of ``POST /dead-letters/{id}/replay``."""
        await self._settle(request, self.outbox.replay)
        return Response(status_code=204)

    async def discard_dead(self, request: Request, caller: Caller) -> Response:
        """The handler of ``DELETE /dead-letters/{id}``."""
        await self._settle(request, self.outbox.discard)
        return Response(status_code=204)

    async def _settle(self, request: Request, function: Callable[..., Awaitable[None]]) -> None:
        id = request.path_params["id"]
        try:
            await function(id, sink=request.query_params.get("sink") or None)
        except LookupError:
            raise ProblemError("not_found", f"there is no dead letter {id}") from None

    # --- requests

    async def json_body(self, request: Request, *, strict: bool = True) -> Any:
        """The JSON in the body of a request.

        Args:
            request: the request.
            strict: it must say that it is JSON.

        Raises:
            ProblemError: it is too large, or no JSON.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if strict and kind != "application/json" and not kind.endswith("+json"):
            raise ProblemError(
                "unsupported_media_type", f"the body is {kind or 'of no type'}, not application/json"
            )
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body:
                raise ProblemError("too_large", f"the body is larger than {self.max_body} bytes")
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise ProblemError("malformed", f"the body is no JSON: {error}") from None

    def admit(self, request: Request) -> None:
        """Refuse what a web page of somebody else may have made a browser send.

        Raises:
            ProblemError: it is refused.
        """
        host = request.headers.get("host", "")
        if self.local and not self.tokens.required and is_public(_split(f"//{host}").hostname or ""):
            raise ProblemError(
                "forbidden", f"this API has no tokens and answers to local names only, not {host}"
            )
        origin = request.headers.get("origin")
        if origin and request.method not in ("GET", "HEAD") and _split(origin).netloc != host:
            raise ProblemError("forbidden", f"requests from pages of {origin} are refused")

    def caller(self, request: Request) -> Caller:
        """Who sends a request.

        Raises:
            ProblemError: nobody that is known.
        """
        found = self.tokens.caller(request.headers.get("authorization"))
        if found is None:
            raise ProblemError("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="evproto"'})
        return found


def make_app(api: Api, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application: the routes of the API, and ``more`` ones (the page)."""

    def route(path: str, handler: Handler, method: str = "GET", *, access: str = "read") -> Route:
        return Route(path, guarded(api, handler, access), methods=[method])

    routes: list[BaseRoute] = [
        route("/health", api.health, access="open"),
        route("/ready", api.ready, access="open"),
        route("/metrics", api.show_metrics),
        route("/openapi.json", api.show_openapi, access="open"),
        route("/schemas/event.json", api.show_event_schema, access="open"),
        route("/commands/{id}", api.show_command),
        route("/audit", api.show_audit),
        route("/dead-letters", api.list_dead),
        route("/dead-letters/{id}/replay", api.replay_dead, "POST", access="command"),
        route("/dead-letters/{id}", api.discard_dead, "DELETE", access="command"),
    ]
    for adapter in api.adapters:
        base = f"/{adapter.collection}"
        one = f"{base}/{{identity}}"
        routes += [
            route(base, api.list_chargers(adapter)),
            route(one, api.show_charger(adapter)),
            route(f"{one}/frames", api.show_frames(adapter)),
        ]
        routes += [
            route(f"{one}/commands/{name}", api.post_command(adapter, name), "POST", access="command")
            for name in adapter.commands
        ]
    return Starlette(
        routes=[*routes, *more],
        exception_handlers={HTTPException: _http_exception, Exception: _mistake},
    )


def guarded(api: Api, handler: Handler, access: str) -> Callable[[Request], Awaitable[Response]]:
    """A handler behind admission, token and error form. ``access``: open, read or command."""

    async def endpoint(request: Request) -> Response:
        response: Response
        try:
            api.admit(request)
            caller = Caller("anyone", "read") if access == "open" else api.caller(request)
            if access == "command" and not caller.may_command:
                raise ProblemError("forbidden", f"the token {caller.name} may only read")
            response = await handler(request, caller)
        except ProblemError as problem:
            response = problem.response()
        except (OutboxError, AuditError) as error:
            logger.error("%s %s: %s", request.method, request.url.path, error)
            response = ProblemError("storage", "the server's files cannot be read or written").response()
        except ClientDisconnect:
            response = Response(status_code=400)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            response = ProblemError("internal").response()
        api.metrics.requests.labels(request.method, str(response.status_code)).inc()
        return response

    return endpoint


def json_response(
    value: Any,
    status: int = 200,
    *,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """An answer with JSON in it."""
    return Response(msgspec.json.encode(value), status, headers, media_type)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        return ProblemError("method_not_allowed", headers=headers).response()
    if error.status_code == 404:
        return ProblemError("not_found", f"there is nothing at {request.url.path}").response()
    return ProblemError("malformed", str(error.detail)).response()


async def _mistake(request: Request, error: Exception) -> Response:
    return ProblemError("internal").response()


def _split(url: str) -> SplitResult:
    """The parts of a URL; none if it is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _unknown(adapter: Adapter, identity: str) -> ProblemError:
    return ProblemError("unknown_charger", f"no {adapter.noun} {identity} has been here")


def _ended(command: Command, headers: dict[str, str]) -> Response:
    if command.state in ("timeout", "disconnected"):
        raise ProblemError(command.state, command.text, command=command, headers=headers)
    return json_response(command, headers=headers)


def _patience(request: Request) -> tuple[bool, float | None]:
    """Whether a request waits for the charger, and how long the charger has."""
    wait = _flag(request, "wait")
    timeout = _number(request, "timeout", 1.0, _LONGEST, None)
    prefer = [part.strip().lower() for part in request.headers.get("prefer", "").split(",")]
    if wait is None:
        wait = "respond-async" not in prefer
    return wait, timeout


def _flag(request: Request, name: str) -> bool | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise ProblemError("invalid", f"{name} is true or false, not {text!r}", path=name)
    return text.lower() in ("true", "1")


def _limit(request: Request) -> int:
    return int(_number(request, "limit", 1, _MOST, 100, whole=True))


def _number(
    request: Request, name: str, low: float, high: float, default: Any, *, whole: bool = False
) -> Any:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ProblemError("invalid", f"{name} is a number from {low:g} to {high:g}, not {text!r}", path=name)
    return value


def _audit(entry: AuditEntry) -> AuditEntry:
    return msgspec.structs.replace(entry, digest="")


def _dead(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        charger=letter.charger,
        sink=letter.sink,
        reason=letter.reason,
        attempts=letter.attempts,
        died=moment(letter.died),
        event=msgspec.Raw(letter.body),
    )

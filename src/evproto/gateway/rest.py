"""The REST API: chargers, commands, audit log, dead letters, state.

Bodies are read by msgspec and checked by the protocol's own codec, so an error
names the field as the codec does. Every error has the form of
:class:`evproto.gateway.problems.Problem`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from evproto.gateway.adapter import (
    Adapter,
    ChargerOfflineError,
    InvalidCommandError,
    Prepared,
    UnknownChargerError,
    informed,
)
from evproto.gateway.audit import Audit, AuditEntry, AuditError
from evproto.gateway.commands import Command, CommandDesk, IdempotencyError, Submission
from evproto.gateway.config import is_public
from evproto.gateway.events import moment
from evproto.gateway.events import schema as event_schema
from evproto.gateway.metrics import CONTENT_TYPE, Metrics
from evproto.gateway.outbox import DeadLetter, Outbox, OutboxError
from evproto.gateway.params import PLACES, flag, limit, number, patience
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

__all__ = ["TURN", "Api", "Handler", "adapter_refusals", "guarded", "idempotency_key", "json_response"]

logger = logging.getLogger("evproto.gateway.rest")

Handler = Callable[[Request, Caller], Awaitable[Response]]

TURN: Final = 1000
"""Chargers that are looked at in one go, before others have their turn."""
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
        self.describe: Callable[[], dict[str, Any]] = dict
        """Makes the description of this API; asked once, when somebody wants it: it takes its time."""
        self._described: asyncio.Future[bytes] | None = None

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
        if self._described is None:
            self._described = asyncio.ensure_future(
                asyncio.to_thread(lambda: msgspec.json.encode(self.describe()))
            )
        try:
            # Who goes away meanwhile does not take it from the others who wait.
            body = await asyncio.shield(self._described)
        except Exception:
            self._described = None
            raise
        return Response(body, media_type="application/json")

    async def show_event_schema(self, request: Request, caller: Caller) -> Response:
        """The JSON Schema of forwarded events."""
        return json_response(event_schema(), media_type="application/schema+json")

    # --- chargers

    def list_chargers(self, adapter: Adapter) -> Handler:
        """The handler of ``GET /piles``."""

        async def handle(request: Request, caller: Caller) -> Response:
            online = flag(request, "online")
            after = adapter.spelled(request.query_params.get("after", ""))
            most = limit(request)
            found: list[Any] = []
            last = next_ = None
            for index, identity in enumerate(adapter.chargers(), 1):
                if index % TURN == 0:
                    await asyncio.sleep(0)
                if identity <= after or (online is not None and adapter.is_online(identity) != online):
                    continue
                if len(found) == most:
                    next_ = last
                    break
                shown = adapter.charger(identity)
                if shown is not None:
                    # None: it has been forgotten meanwhile.
                    found.append(shown)
                    last = identity
            return json_response(ChargerPage(items=found, next=next_))

        return handle

    def show_charger(self, adapter: Adapter) -> Handler:
        """The handler of ``GET /piles/{id}``."""

        async def handle(request: Request, caller: Caller) -> Response:
            identity = request.path_params["identity"]
            await informed(adapter, identity)
            found = adapter.charger(identity)
            if found is None:
                raise _unknown(adapter, identity)
            return json_response(found)

        return handle

    def show_frames(self, adapter: Adapter) -> Handler:
        """The handler of ``GET /piles/{id}/frames``."""

        async def handle(request: Request, caller: Caller) -> Response:
            return self.frames_of(request, caller, adapter, request.path_params["identity"])

        return handle

    def frames_of(self, request: Request, caller: Caller, adapter: Adapter, identity: str) -> Response:
        """The last frames of a charger, as a request wants them.

        Raises:
            ProblemError: a parameter is wrong, the caller may not, or there is no such charger.
        """
        reveal = bool(flag(request, "reveal"))
        if reveal and not caller.may_command:
            raise ProblemError("forbidden", "hidden values are shown to tokens of scope command only")
        found = adapter.frames(identity, limit(request), reveal=reveal)
        if found is None:
            raise _unknown(adapter, identity)
        return json_response(FramePage(items=found))

    # --- commands

    def post_command(self, adapter: Adapter, name: str) -> Handler:
        """The handler of ``POST /piles/{id}/commands/{name}``."""

        async def handle(request: Request, caller: Caller) -> Response:
            wait, timeout = patience(request)
            body = await self.json_body(request)
            identity, about = request.path_params["identity"], [name, body]
            earlier = await self.repeated(request, caller, adapter, adapter.spelled(identity), about)
            if earlier is not None:
                return await self.answer(earlier, wait=wait)
            prepared = self.prepare(adapter, identity, name, body)
            return await self.take(
                request, caller, adapter, prepared, wait=wait, timeout=timeout, about=about
            )

        return handle

    def prepare(self, adapter: Adapter, identity: str, name: str, body: Any) -> Prepared:
        """Check a command.

        Raises:
            ProblemError: it is not taken.
        """
        self.refuse_if_draining()
        with adapter_refusals():
            return adapter.prepare(identity, name, body)

    def refuse_if_draining(self) -> None:
        """Take no commands any more while the server stops.

        Raises:
            ProblemError: it does.
        """
        if self.draining:
            raise ProblemError("draining", headers={"Retry-After": "5"})

    async def take(
        self,
        request: Request,
        caller: Caller,
        adapter: Adapter,
        prepared: Prepared,
        *,
        wait: bool,
        timeout: float | None,
        about: Any = None,
    ) -> Response:
        """Submit a command, and wait for its end if that is wanted.

        Args:
            request, caller, adapter, prepared, timeout, about: see :meth:`submit`.
            wait: for its end.

        Raises:
            ProblemError: it was not taken, or ended in one.
        """
        submission = await self.submit(request, caller, adapter, prepared, timeout=timeout, about=about)
        return await self.answer(submission, wait=wait)

    async def submit(
        self,
        request: Request,
        caller: Caller,
        adapter: Adapter,
        prepared: Prepared,
        *,
        timeout: float | None = None,
        about: Any = None,
    ) -> Submission:
        """Submit a command.

        Args:
            request, caller: who wants it.
            adapter: of the charger.
            prepared: the command.
            timeout: how long the charger has to answer, in seconds.
            about: see :meth:`CommandDesk.submit`.

        Raises:
            ProblemError: it was not taken.
        """
        with _refusals():
            return await self.desk.submit(
                adapter,
                prepared,
                by=caller.name,
                address=request.client.host if request.client else "",
                timeout=timeout,
                key=idempotency_key(request),
                about=about,
            )

    async def repeated(
        self, request: Request, caller: Caller, adapter: Adapter, identity: str, about: Any
    ) -> Submission | None:
        """The command that this caller got for the same request, under the same idempotency key.

        To be asked before anything that may be different by now, as whether the charger is online.

        Args:
            request, caller, adapter: see :meth:`submit`.
            identity: of the charger, as its protocol spells it.
            about: what :meth:`submit` is given, too.

        Raises:
            ProblemError: the key is wrong, or was used for something else.
        """
        key = idempotency_key(request)
        if key is None:
            return None
        with _refusals():
            try:
                return await self.desk.repeated(adapter, identity, about, by=caller.name, key=key)
            except RecursionError:
                # Nested as deep as can just be read: no command was ever that.
                return None

    async def answer(self, submission: Submission, *, wait: bool) -> Response:
        """What is said of a command that was taken: at once, or when it has ended.

        Raises:
            ProblemError: it has ended in one.
        """
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
        wait = number(request, "wait", 0.0, 60.0, 0.0)
        return json_response(await self.command_for(caller, request.path_params["id"], wait=wait))

    async def command_for(self, caller: Caller, id: str, *, wait: float = 0.0) -> Command:
        """A command as a caller may see it: for those that may only read, what is hidden is hidden.

        Args:
            caller: who wants to see it.
            id: of the command.
            wait: at most so many seconds for its end.

        Raises:
            ProblemError: there is no such command.
        """
        found = await (self.desk.wait(id, wait) if wait else self.desk.get(id))
        if found is None:
            raise ProblemError("not_found", f"there is no command {id}")
        return found if caller.may_command else await self.desk.redacted(found)

    async def show_audit(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /audit``."""
        most = limit(request)
        before = number(request, "before", 1, PLACES, None, whole=True)
        entries = await self.audit.entries(
            charger=request.query_params.get("charger") or None, before=before, limit=most
        )
        more = len(entries) == most and bool(entries)
        return json_response(
            AuditPage(items=[_audit(one) for one in entries], next=entries[-1].seq if more else None)
        )

    # --- dead letters

    async def list_dead(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /dead-letters``."""
        skip = number(request, "skip", 0, PLACES, 0, whole=True)
        found = await self.outbox.dead(
            sink=request.query_params.get("sink") or None, limit=limit(request), skip=skip
        )
        return json_response(DeadPage(items=[_dead(letter, whole=caller.may_command) for letter in found]))

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

    async def json_body(self, request: Request, *, strict: bool = True, empty: Any = ...) -> Any:
        """The JSON in the body of a request.

        Args:
            request: the request.
            strict: it must say that it is JSON.
            empty: what no body at all means; not given: there has to be one.

        Raises:
            ProblemError: it is too large, or no JSON.
        """
        headers = request.headers
        if (
            empty is not ...
            and headers.get("content-length", "0") == "0"
            and "transfer-encoding" not in headers
        ):
            return empty
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


@contextlib.contextmanager
def adapter_refusals() -> Iterator[None]:
    """What an adapter says of a command that it does not take, as a problem.

    Raises:
        ProblemError: it said so.
    """
    try:
        yield
    except InvalidCommandError as error:
        raise ProblemError("invalid", str(error), path=error.path) from None
    except UnknownChargerError as error:
        raise ProblemError("unknown_charger", str(error)) from None
    except ChargerOfflineError as error:
        raise ProblemError("offline", str(error)) from None


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


def idempotency_key(request: Request) -> str | None:
    """The key under which a request may be sent again.

    Raises:
        ProblemError: it is none.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise ProblemError(
            "invalid", "Idempotency-Key takes 1 to 128 visible characters", path="Idempotency-Key"
        )
    return key


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the desk refuses, as problems."""
    try:
        yield
    except IdempotencyError as error:
        raise ProblemError("idempotency_conflict", str(error)) from None
    except AuditError as error:
        logger.error("a command was refused, it could not be written down: %s", error)
        raise ProblemError("storage", "the audit log cannot be written; nothing was sent") from None


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


def _audit(entry: AuditEntry) -> AuditEntry:
    return msgspec.structs.replace(entry, digest="")


def _dead(letter: DeadLetter, *, whole: bool) -> DeadLetterView:
    """A dead letter; without what its event says of cards and passwords, unless it is shown ``whole``."""
    body = letter.body
    if not whole:
        # Receivers are sent all of it, so nothing in it is marked as hidden.
        body = msgspec.json.encode({**msgspec.json.decode(body), "fields": None, "raw": "", "findings": []})
    return DeadLetterView(
        id=letter.id,
        charger=letter.charger,
        sink=letter.sink,
        reason=letter.reason,
        attempts=letter.attempts,
        died=moment(letter.died),
        event=msgspec.Raw(body),
    )

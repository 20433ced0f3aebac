"""The one form of errors of the API: problem details (RFC 9457) with a code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.responses import Response

from evproto.errors import EvprotoError
from evproto.gateway.commands import Command

__all__ = ["CODES", "MEDIA_TYPE", "Problem", "ProblemError"]

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final = {
    "malformed": (400, "the request is no JSON, or a parameter is wrong"),
    "unauthorized": (401, "a token is needed"),
    "forbidden": (403, "the token does not allow this"),
    "not_found": (404, "there is no such thing"),
    "unknown_charger": (404, "no charger of this identity has been here"),
    "method_not_allowed": (405, "the path has no such method"),
    "offline": (409, "the charger is not connected; nothing was sent"),
    "ambiguous": (409, "several chargers have this identity, of different protocols: name one"),
    "idempotency_conflict": (409, "the idempotency key was used for another command"),
    "too_large": (413, "the body is too large"),
    "unsupported_media_type": (415, "the body must be application/json"),
    "invalid": (422, "a field or parameter is wrong; path names it"),
    "internal": (500, "the server made a mistake; its log says more"),
    "disconnected": (502, "the connection to the charger ended first; it may have acted or not"),
    "busy": (503, "too many streams of events are open"),
    "storage": (503, "the server's files cannot be written; nothing was sent"),
    "draining": (503, "the server is stopping; nothing was sent"),
    "timeout": (504, "the charger did not answer in time; an answer may still come, as an event"),
}
"""Status and meaning of each code."""


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a request was not done."""

    title: Annotated[str, Meta(description="the name of the status")]
    status: Annotated[int, Meta(ge=400, le=599, description="the status")]
    code: Annotated[str, Meta(description="what it is, for programs")]
    detail: Annotated[str, Meta(description="one sentence for a person")]
    path: Annotated[str, Meta(description="the field or parameter concerned, as in cards[1].result")] = ""
    command: Annotated[Command | None, Meta(description="the command that has ended this way")] = None


class ProblemError(EvprotoError):
    """A request that ends in a problem."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        path: str = "",
        command: Command | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, meaning = CODES[code]
        self.code = code
        self.headers = headers or {}
        self.problem = Problem(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=code,
            detail=detail or meaning,
            path=path,
            command=command,
        )
        super().__init__(self.problem.detail)

    def response(self) -> Response:
        """As an answer."""
        content: Any = msgspec.json.encode(self.problem)
        return Response(content, self.status, self.headers, MEDIA_TYPE)

"""``/events``: what happens, for programs, as server-sent events in the envelope of forwarded events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from evproto.gateway.events import Kind
from evproto.gateway.neutral import Chargers, UnknownProtocolError
from evproto.gateway.page.feed import Feed, Filter, Subscription, TooManyError, batches
from evproto.gateway.page.stream import COMMENT, EventStream, field_of
from evproto.gateway.params import flag, number
from evproto.gateway.problems import ProblemError
from evproto.gateway.rest import Api
from evproto.gateway.tokens import Caller

__all__ = ["KINDS", "MOST_RATE", "Events", "subscribed"]

KINDS: Final[tuple[str, ...]] = get_args(Kind)
MOST_RATE: Final = 10_000

_SILENCE: Final = 15.0
"""Seconds after which a comment is sent if nothing happens."""


class Events:
    """The stream. Beside events there are:

    ``left_out``
        with ``{"count": 12}``: so many more came in a second than were wanted
    ``gap``
        first, with ``{"after": id}``: the event that the reader saw last is not remembered, and what
        follows need not be what came next
    ``dropped``
        last: the reader has not kept up
    """

    def __init__(
        self,
        api: Api,
        feed: Feed,
        *,
        abort: Callable[[MutableMapping[str, Any]], None],
        headers: dict[str, str],
    ) -> None:
        """Make a stream.

        Args:
            api: whose chargers.
            feed: what happens.
            abort: closes the connection of a request, given its scope.
            headers: of every answer.
        """
        self._chargers = Chargers(api.adapters)
        self._feed = feed
        self._abort = abort
        self._headers = headers

    async def stream(self, request: Request, caller: Caller) -> Response:
        """The handler of ``GET /events``."""
        wanted = self._wanted(request)
        rate = number(request, "rate", 1, MOST_RATE, None, whole=True)
        since = request.headers.get("last-event-id", "")
        subscription = subscribed(self._feed, wanted, rate)
        # From here to the first batch nothing waits, so nothing is lost or shown twice in between.
        backlog, follow = self._feed.behind(wanted, 1000, since) if since else ([], True)

        async def chunks() -> AsyncIterator[bytes]:
            yield b"retry: 2000\n\n"
            if not follow:
                yield field_of(_json({"after": since}), event="gap")
            async for batch in batches(self._feed, subscription, backlog, _SILENCE):
                out = [field_of(item.event.to_json().decode(), id=item.event.id) for item in batch]
                if subscription.left_out:
                    out.append(field_of(_json({"count": subscription.left_out}), event="left_out"))
                    subscription.left_out = 0
                yield b"".join(out) or COMMENT
            text = "too many events were waiting to be read; go on with Last-Event-ID"
            yield field_of(_json({"detail": text}), event="dropped")

        return EventStream(self._feed, subscription, chunks(), abort=self._abort, headers=self._headers)

    def _wanted(self, request: Request) -> Filter:
        query = request.query_params
        try:
            adapters = self._chargers.of(query.get("protocol", ""))
        except UnknownProtocolError as error:
            raise ProblemError("invalid", str(error), path="protocol") from None
        kinds = query.getlist("kind")
        for kind in kinds:
            if kind not in KINDS:
                raise ProblemError("invalid", f"kind is one of {', '.join(KINDS)}, not {kind!r}", path="kind")
        identity = query.get("id")
        return Filter(
            query.get("charger", ""),
            query.get("name", ""),
            beats=flag(request, "heartbeats") is not False,
            protocols=[adapter.protocol for adapter in adapters] if query.get("protocol") else (),
            kinds=kinds,
            identities=None if identity is None else {identity, *(one.spelled(identity) for one in adapters)},
        )


def subscribed(feed: Feed, wanted: Filter, rate: int | None) -> Subscription:
    """Look on from now.

    Raises:
        ProblemError: too many do.
    """
    try:
        return feed.subscribe(wanted, rate=rate)
    except TooManyError:
        raise ProblemError("busy", headers={"Retry-After": "10"}) from None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

"""Server-sent events: an answer that goes on, and ends when nobody reads it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evproto.gateway.page.feed import Feed, Subscription

__all__ = ["COMMENT", "EventStream", "field_of"]

_LAST: Final = 3.0
"""Seconds that one who is dropped has to read what was said last."""
COMMENT: Final = b": still here\n\n"
"""What is sent when nothing happens, so that proxies and dead connections are noticed."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
"""What ends a line of a stream of events, and nothing else: U+2028 stays what it is."""


def field_of(data: str, *, event: str = "", id: str = "") -> bytes:
    """One event of a stream."""
    lines = [f"id: {id}"] if id else []
    if event:
        lines.append(f"event: {event}")
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode()


class EventStream(Response):
    """A stream for one subscription; ends it with the connection.

    A reader that does not keep up has a few seconds to read up to the end of
    its stream. Then ``abort`` is called with the scope of its request, and
    closes the connection as it is.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        feed: Feed,
        subscription: Subscription,
        chunks: AsyncIterator[bytes],
        *,
        abort: Callable[[MutableMapping[str, Any]], None],
        headers: dict[str, str],
    ) -> None:
        super().__init__(None, 200, {**headers, "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._subscription = subscription
        self._chunks = chunks
        self._abort = abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader goes, is too slow, or the server stops."""
        sending = asyncio.create_task(self._send(send), name="event stream")
        gone = asyncio.create_task(_disconnected(receive))
        dropped = asyncio.create_task(self._subscription.dropped.wait())
        closed = asyncio.create_task(self._subscription.closed.wait())
        tasks: list[asyncio.Task[Any]] = [sending, gone, dropped, closed]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if dropped.done():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST):
                        await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                    return
                if gone.done():
                    return
                self._abort(scope)
                # What was aborted is told so at once; nothing is sent any more.
                async with asyncio.timeout(5.0):
                    await gone
            elif closed.done() and not gone.done():
                sending.cancel()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif sending.done():
                sending.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._feed.unsubscribe(self._subscription)
            await self._chunks.aclose()  # type: ignore[attr-defined]

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

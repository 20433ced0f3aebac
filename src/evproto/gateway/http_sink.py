"""Events to HTTP endpoints.

Endpoints are alternatives, in the order of preference: the first that takes an
event has it. One that does not answer is left out for a while. An answer other
than 2xx is a failure; those in ``refused`` are a verdict on the event.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import httpx

from evproto.gateway.events import Event
from evproto.gateway.sink import SinkError, SinkRefusedError, SinkUnavailableError

__all__ = ["REFUSED", "HttpRequest", "HttpShape", "HttpSink", "envelope", "sign"]

REFUSED = frozenset({400, 413, 415, 422})
"""Answers that say that an event is wrong. 401, 403 and 404 say it of the configuration."""

_SAID = 500
"""Most bytes of an answer that are kept for people."""


class HttpRequest(NamedTuple):
    """What is posted."""

    url: str
    content: bytes
    headers: Mapping[str, str] = {}


HttpShape = Callable[[str, Event], HttpRequest | None]
"""Makes the request out of an endpoint and an event; None: it is not posted, and counts as delivered."""


def envelope(endpoint: str, event: Event) -> HttpRequest:
    """The event as it is, to the endpoint as it is."""
    return HttpRequest(endpoint, event.to_json(), {"Content-Type": "application/json"})


def sign(secret: bytes, timestamp: str, content: bytes) -> str:
    """The value of ``X-Evproto-Signature``: an HMAC-SHA256 over ``timestamp``, a full stop and the body."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()


class _Endpoint:
    def __init__(self, url: str) -> None:
        self.url = url
        self.name = _without_password(url)
        """What it is called where people read it."""
        self.rests_until = 0.0


class HttpSink:
    """Posts events one by one; each request carries the event's id in ``Idempotency-Key``."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        name: str = "http",
        shape: HttpShape = envelope,
        timeout: float = 10.0,
        rest: float = 30.0,
        patience: float = 30.0,
        refused: Collection[int] = REFUSED,
        secret: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        connections: int = 64,
        proxy: str | None = None,
        verify: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a sink.

        Args:
            endpoints: URLs, http or https, the preferred first.
            name: what its progress is stored under.
            shape: what is posted where.
            timeout: for connecting, and for an answer to begin and to go on, in seconds.
            rest: an endpoint that does not answer is tried last for so many seconds.
            patience: a call that has taken so many seconds stops after the event it is at, so that what
                a slow receiver has taken is written down before the call as a whole is given up.
            refused: status codes that say that an event will never be taken.
            secret: sign each request, see :func:`sign`; the time is in ``X-Evproto-Timestamp``.
            headers: added to each request, as an Authorization.
            connections: most connections open at a time.
            proxy: URL of a proxy; the environment is not looked at.
            verify: check certificates.
            transport: in place of the network.
            clock, monotonic: seconds since 1970, and seconds.

        Raises:
            ValueError: an endpoint is no URL, or there is none.
        """
        if not endpoints:
            raise ValueError("there is no endpoint to post to")
        for url in endpoints:
            _check_url(url)
        self._name = name
        self._endpoints = [_Endpoint(url) for url in endpoints]
        self._shape = shape
        self._rest = rest
        self._patience = patience
        self._refused = frozenset(refused)
        self._secret = secret
        self._clock = clock
        self._monotonic = monotonic
        self._client = httpx.AsyncClient(
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"User-Agent": "evproto", **(headers or {})},
            proxy=proxy,
            verify=verify,
            transport=transport,
            trust_env=False,
        )

    @property
    def name(self) -> str:
        return self._name

    async def deliver(self, events: Sequence[Event]) -> int | None:
        """Post events, in order; see :class:`evproto.gateway.sink.Sink`."""
        end = self._monotonic() + self._patience
        for number, event in enumerate(events):
            if number and self._monotonic() >= end:
                return number
            try:
                await self._deliver(event)
            except SinkError as error:
                error.delivered = number
                raise
        return None

    async def close(self) -> None:
        await self._client.aclose()

    async def _deliver(self, event: Event) -> None:
        now = self._monotonic()
        order = sorted(self._endpoints, key=lambda endpoint: endpoint.rests_until > now)
        problems: list[str] = []
        unreachable = 0
        for endpoint in order:
            request = self._shape(endpoint.url, event)
            if request is None:
                return
            try:
                response, said = await self._post(request, event)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
                unreachable += 1
                problem = f"{endpoint.name}: cannot be reached ({error or type(error).__name__})"
            except httpx.TimeoutException as error:
                problem = f"{endpoint.name}: no answer in time ({type(error).__name__})"
            except httpx.HTTPError as error:
                problem = f"{endpoint.name}: {error or type(error).__name__} ({type(error).__name__})"
            else:
                endpoint.rests_until = 0.0
                if 200 <= response.status_code < 300:
                    return
                problem = f"{endpoint.name}: answered {response.status_code} {said}".rstrip()
                if response.status_code in self._refused:
                    raise SinkRefusedError(problem)
                problems.append(problem)
                continue
            endpoint.rests_until = self._monotonic() + self._rest
            problems.append(problem)
        text = "; ".join(problems)
        raise SinkUnavailableError(text) if unreachable == len(order) else SinkError(text)

    async def _post(self, request: HttpRequest, event: Event) -> tuple[httpx.Response, str]:
        headers = {"Idempotency-Key": event.id, **request.headers}
        if self._secret is not None:
            timestamp = str(int(self._clock()))
            headers["X-Evproto-Timestamp"] = timestamp
            headers["X-Evproto-Signature"] = sign(self._secret, timestamp, request.content)
        built = self._client.build_request("POST", request.url, content=request.content, headers=headers)
        response = await self._client.send(built, stream=True)
        try:
            return response, await _beginning(response)
        finally:
            await response.aclose()


async def _beginning(response: httpx.Response) -> str:
    """The first bytes of an answer, for a person. The rest is read only if it is short."""
    read = b""
    async for chunk in response.aiter_bytes():
        read += chunk
        if len(read) > 64 * 1024:
            break
    return " ".join(read[:_SAID].decode("utf-8", "replace").split())


def _without_password(url: str) -> str:
    parsed = httpx.URL(url)
    return str(parsed.copy_with(username="***", password=None)) if parsed.userinfo else url


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no URL to post to: it should begin with http:// or https:// and a host")

"""Questions to a program elsewhere: JSON is posted to a URL, and its answer is the answer.

For whoever decides something that a charger waits for: whether it may come in,
what it is answered. The answer is JSON in a response with status 200, of at
most 64 KiB. Redirects are not followed, proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from evproto.errors import EvprotoError

__all__ = ["MAX_ANSWER", "Hook", "HookError"]

MAX_ANSWER: Final = 64 * 1024
"""Most bytes of an answer."""
_SAID: Final = 200
"""Most characters of a refusal's body that are kept for people."""
_BUSY: Final = frozenset({408, 425, 429})
"""Answers that say nothing but that it should be asked later."""


class HookError(EvprotoError):
    """There was no answer that can be used.

    Attributes:
        status: the status of the response; 0: there was none.
        said: how its body begins, where the status was another than 200. Not in the text: some
            programs repeat there what they were asked, and that may be secret.
    """

    def __init__(self, text: str, *, status: int = 0, said: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.said = said

    @property
    def answered(self) -> bool:
        """Whether it was reached and did answer, with something else than "later"."""
        return 200 <= self.status < 500 and self.status not in _BUSY


class Hook:
    """A URL that is asked. Connections stay open between questions."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        headers: Mapping[str, str] | None = None,
        connections: int = 64,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        """Make a hook; nothing is connected yet.

        Args:
            url: http or https; user name and password in it are sent as basic authentication.
            timeout: from the question to the whole answer, in seconds, waiting for one of the
                connections included.
            headers: added to each request, as an Authorization.
            connections: most questions at a time; further ones wait.
            max_answer: most bytes of an answer.

        Raises:
            ValueError: the URL is none of http or https.
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise ValueError(f"this is no URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("this is no URL to post to: it begins with http:// or https:// and a host")
        self.url = url
        self.name = str(parsed.copy_with(username="***", password=None)) if parsed.userinfo else url
        """What it is called where people read it."""
        self._tls = parsed.scheme == "https"
        self.private = self._tls or _is_loopback(parsed.host)
        """Whether nobody on the way can read along."""
        self._timeout = timeout
        self._max_answer = max_answer
        self._free = asyncio.Semaphore(connections)
        self._headers = dict(headers or {})
        self._verify: ssl.SSLContext | bool = False
        self._clients: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False

    async def ask(self, body: Any) -> Any:
        """Post something and return what is answered, both as JSON.

        Raises:
            HookError: there was no answer, not in time, not with status 200, too long, or no JSON.
        """
        content = msgspec.json.encode(body)
        try:
            async with asyncio.timeout(self._timeout), self._free:
                client = self._idle.pop() if self._idle else self._client()
                try:
                    status, raw = await self._post(client, content)
                finally:
                    self._idle.append(client)
        except TimeoutError:
            raise HookError(f"{self.name}: no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, RuntimeError) as error:
            # RuntimeError: it was closed.
            why = str(error) or type(error).__name__
            raise HookError(f"{self.name}: {why}") from None
        if status != 200:
            said = " ".join(raw[: 4 * _SAID].decode("utf-8", "replace").split())[:_SAID]
            more = "; redirects are not followed" if 300 <= status < 400 else ""
            raise HookError(f"{self.name}: answered {status}{more}", status=status, said=said)
        if len(raw) > self._max_answer:
            raise HookError(f"{self.name}: its answer is longer than {self._max_answer} bytes", status=status)
        try:
            return msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise HookError(f"{self.name}: its answer is no JSON: {error}", status=status) from None

    async def close(self) -> None:
        """Close the connections; questions that still come fail."""
        self._closed = True
        await asyncio.gather(*(client.aclose() for client in self._clients))

    def _client(self) -> httpx.AsyncClient:
        """One more connection: a client of its own, since a pool of many looks at all of them each time.

        Raises:
            HookError: it is closed.
        """
        if self._closed:
            raise HookError(f"{self.name}: it is not asked any more")
        if self._tls and not self._clients:
            # Reading all authorities takes a while, and once will do. SSL_CERT_FILE names others.
            self._verify = httpx.create_ssl_context(trust_env=True)
        client = httpx.AsyncClient(
            timeout=None,
            # Shorter than servers keep them: a question must not meet one that is just being closed.
            limits=httpx.Limits(max_connections=1, keepalive_expiry=1.5),
            # What is not compressed cannot be small here and huge there.
            headers={"User-Agent": "evproto", "Accept-Encoding": "identity", **self._headers},
            follow_redirects=False,
            trust_env=False,
            verify=self._verify,
        )
        self._clients.append(client)
        return client

    async def _post(self, client: httpx.AsyncClient, content: bytes) -> tuple[int, bytes]:
        """Status, and the body as far as it is looked at."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        async with client.stream("POST", self.url, content=content, headers=headers) as response:
            encoding = response.headers.get("Content-Encoding", "identity")
            if response.status_code == 200 and encoding.lower() != "identity":
                raise HookError(f"{self.name}: its answer is encoded as {encoding!r}", status=200)
            raw = bytearray()
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > self._max_answer:
                    break
            return response.status_code, bytes(raw)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"

"""Knocks at doors, entries in files and lists, and hooks that answer as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from evproto.gateway.admission import Admitted, ChargerSettings, Door, Knock, Refused, make_door
from evproto.gateway.admission_passwords import make_hash
from evproto.gateway.config import Layer, load

WAIT = 30.0
PASSWORD = b"correct horse battery"
CARD_KEY = bytes.fromhex("00ff10203040506070809fa0b0c0d0e0f0a1b2c3")
"""Twenty bytes that are no text, as AuthorizationKey is in OCPP 1.6."""


@functools.cache
def hash_of(password: bytes) -> str:
    """A cheap hash of a password, made once."""
    return make_hash(password, 10)


def ocpp(charger: str = "CP1", password: bytes | None = None, **more: Any) -> Knock:
    """A knock of OCPP; with a password, there is a user name too."""
    given = {"username": charger, "password": password} if password is not None else {}
    return Knock(**{"protocol": "ocpp", "charger": charger, "address": "192.0.2.7:5000", **given, **more})


def ykc(charger: str = "55031412782305", address: str = "192.0.2.7:5000") -> Knock:
    return Knock(protocol="ykc", charger=charger, address=address, version="1.6")


@contextlib.asynccontextmanager
async def door(folder: Path, **admission: Any) -> AsyncIterator[Door]:
    """The door that a server with these settings of [admission] has; as in ``serving``."""
    values = {"outbox.data": str(folder / "data")}
    for name, value in admission.items():
        values[f"admission.{name.replace('_', '-')}"] = value
    made = make_door(load(Layer(values, {})))
    assert made is not None
    try:
        yield made
    finally:
        await made.close()


async def admitted(at: Door, knock: Knock) -> ChargerSettings:
    """The settings with which somebody is let in."""
    async with asyncio.timeout(WAIT):
        verdict = await at.ask(knock)
    assert isinstance(verdict, Admitted), verdict
    return verdict.settings


async def refused(at: Door, knock: Knock) -> str:
    """Why somebody is not let in."""
    async with asyncio.timeout(WAIT):
        verdict = await at.ask(knock)
    assert isinstance(verdict, Refused), verdict
    return verdict.reason


class HookServer:
    """An HTTP server on bytes: writes down what is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.connections = 0
        self.answer: Callable[[Any], Any] = lambda body: {"admit": True}
        """JSON, or the bytes of a whole response; None: nothing is answered."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> HookServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/admit"
        return self

    async def __aexit__(self, *details: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._serving.values():
            writer.close()
        await asyncio.gather(*self._serving)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
                }
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                self.heads.append(head)
                self.asked.append(body)
                answer = self.answer(body)
                if answer is None:
                    continue
                if not isinstance(answer, bytes):
                    answer = response(200, json.dumps(answer).encode())
                writer.write(answer)
                await writer.drain()
        del self._serving[task]
        writer.close()


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a response."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

"""The plug-ins of one server, in its process."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from evproto.aio.ocpp.handlers import Handler
from evproto.aio.ocpp.link import Ending
from evproto.aio.ocpp.routing import Identity
from evproto.aio.plugins.discovery import load_plugin
from evproto.aio.plugins.plugin import Charger, EndedCall, Plugin, ReceivedCall, RequestHandler
from evproto.aio.plugins.running import Runner
from evproto.errors import CallEndedError
from evproto.ocppj import Call, CallResult, Send
from evproto.payloads import Request, Response

if TYPE_CHECKING:
    from evproto.aio.ocpp.server import Server, Station

__all__ = ["PluginHost", "ServerCommand"]

logger = logging.getLogger("evproto.aio.plugins")

R = TypeVar("R", bound=Response)


class ServerCommand:
    """The :class:`~evproto.aio.plugins.Command` of a plug-in in the server's own process."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(
        self,
        identity: str | Identity,
        request: Request[R],
        *,
        timeout: float | None = None,
        total: float | None = None,
    ) -> R:
        return await self.station(identity).call(request, timeout=timeout, total=total)

    def station(self, identity: str | Identity) -> Station:
        """The connection of a charger; raises SessionClosedError if there is none."""
        return self._server.station(*((identity,) if isinstance(identity, str) else identity))


async def _serve(
    runner: Runner, handler: RequestHandler, call: ReceivedCall, station: Station, payload: Any
) -> Any:
    serving = station.serving
    if serving is not None and serving.call is call.call:
        call = ReceivedCall(call.charger, call.call, call.codec, serving.raw)
    answer = await runner.serve(handler, call)
    if isinstance(answer, Response):
        # Raises here for what cannot be sent, where it is still known whose it is.
        call.codec.encode(CallResult(unique_id=call.message_id, payload=answer, action=call.action))
    return answer


async def _nobody(station: Any, payload: Any) -> Any:
    raise NotImplementedError


_SERVES = Handler.of(_nobody, thread=False)
"""A handler but for its function and name: to look at a signature takes longer than to serve a request."""


class PluginHost:
    """Stands between a server and its plug-ins: finds handlers, passes notices on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._command = ServerCommand(server)
        self._runners: list[Runner] = []
        self._chargers: dict[Any, Charger] = {}
        self._found: tuple[Any, Handler | None] = None, None
        self._started = 0
        self._starting = asyncio.Lock()
        server.handlers.plugged = self.find
        server.on_connect(self._connected)
        server.on_disconnect(self._disconnected)
        server.on_call_ended(self._call_ended)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        return tuple(runner.plugin for runner in self._runners)

    def add(self, plugin: Plugin | str) -> None:
        """Add a plug-in, or the one that is installed under a name.

        Raises:
            PluginError: none is installed under that name, or it cannot be loaded.
            TypeError: it is no plug-in.
            ValueError: it was added before, or the server has opened its ports.
        """
        if self._started:
            raise ValueError("plug-ins are added before the server listens")
        runner = Runner(load_plugin(plugin) if isinstance(plugin, str) else plugin)
        if any(other.plugin is runner.plugin for other in self._runners):
            raise ValueError(f"plug-in {runner.name} was added before")
        self._runners.append(runner)

    async def start(self) -> None:
        """Start those that were not started yet; raises PluginError."""
        async with self._starting:
            for runner in self._runners[self._started :]:
                await runner.start(self._command)
                self._started += 1

    async def close(self, grace: float) -> None:
        """Close those that were started, each in ``grace`` seconds."""
        started, self._started = self._runners[: self._started], 0
        await asyncio.gather(*(runner.close(grace) for runner in reversed(started)))

    # Requests of chargers

    def find(self, station: Station, call: Call[Any] | Send[Any]) -> Handler | None:
        """The handler of the first plug-in that has one, in the order they were added."""
        if self._found[0] is call:
            # Asked when it came, and again when its turn has come: mostly at once.
            return self._found[1]
        handler = self._find(station, call)
        self._found = call, handler
        return handler

    def _find(self, station: Station, call: Call[Any] | Send[Any]) -> Handler | None:
        received = ReceivedCall(self._charger(station), call, station.codec)
        for runner in self._runners:
            handler = runner.request_handler(received)
            if handler is None:
                continue

            serve = functools.partial(_serve, runner, handler, received)
            return dataclasses.replace(_SERVES, function=serve, name=runner.name_of(handler))
        return None

    # What else plug-ins are told

    def _charger(self, station: Station) -> Charger:
        charger = self._chargers.get(station)
        if charger is None:
            host, *port = station.remote_address or ("",)
            spelled = f"[{host}]" if ":" in str(host) else str(host)
            charger = Charger(
                station.identity,
                station.version,
                secrets.token_hex(8),
                f"{spelled}:{port[0]}" if port else spelled,
                self._command,
            )
            if station.connected:
                self._chargers[station] = charger
        return charger

    def _connected(self, station: Station) -> None:
        charger = self._charger(station)
        for runner in self._runners:
            runner.tell(charger.identity, f"{charger} online", runner.plugin.online, charger)

    def _disconnected(self, station: Station, ending: Ending) -> None:
        charger = self._chargers.pop(station, None) or self._charger(station)
        for runner in self._runners:
            runner.tell(charger.identity, f"{charger} offline", runner.plugin.offline, charger, str(ending))

    def _call_ended(
        self, station: Station, call: Call[Any], result: CallResult[Any] | CallEndedError
    ) -> None:
        ended: EndedCall[Any] = EndedCall(self._charger(station), call, result, station.codec)
        for runner in self._runners:
            handler = runner.response_handler(ended)
            if handler is not None:
                what = f"the end of {ended.action} {ended.message_id} to {ended.charger}"
                runner.tell(ended.charger.identity, what, handler, ended)

"""Commands over HTTP: ``curl -d '{"type": "Soft"}' localhost:8000/stations/CP001/Reset``.

A Starlette application that runs a central system for OCPP 1.6 in the same process, on port 9000.
Start it with ``uvicorn --app-dir examples http_commands:app``.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evproto.aio.ocpp import CentralSystem
from evproto.errors import CallEndedError, CallRefusedError, CallTimeoutError, SessionError
from evproto.ocpp.v16 import dialect
from evproto.payloads import Sender

central_system = CentralSystem()
PORT = 9000


async def command(request: Request) -> Response:
    """Send the action of the path, with the body as its payload; the answer's payload."""
    action = dialect.actions.get(request.path_params["action"])
    if action is None or Sender.CSMS not in action.sent_by:
        return JSONResponse({"error": "no such command"}, 404)
    try:
        payload: Any = msgspec.json.decode(await request.body() or b"{}", type=action.request.type)
        station = central_system.station(request.path_params["station"])
        answer: Any = await station.call(payload, total=20)
    except msgspec.ValidationError as error:
        return JSONResponse({"error": str(error)}, 400)
    except CallRefusedError as error:
        return JSONResponse({"error": error.error_code, "description": error.error_description}, 502)
    except (CallTimeoutError, CallEndedError) as error:
        return JSONResponse({"error": str(error)}, 504)
    except SessionError as error:
        return JSONResponse({"error": str(error)}, 409)
    return Response(msgspec.json.encode(answer), media_type="application/json")


async def stations(request: Request) -> Response:
    connected = [{"id": each.id, "version": each.version} for each in central_system.stations.values()]
    return JSONResponse(connected)


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with central_system:
        app.state.listener = await central_system.listen("localhost", PORT)
        yield


routes = [Route("/stations", stations), Route("/stations/{station}/{action}", command, methods=["POST"])]
app = Starlette(routes=routes, lifespan=lifespan)

"""The application: which path is whose."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from evproto.gateway.chargers_rest import charger_routes
from evproto.gateway.problems import ProblemError
from evproto.gateway.rest import Api, Handler, guarded
from evproto.gateway.triggers import trigger_routes

__all__ = ["make_app"]


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
    routes += [*charger_routes(api), *trigger_routes(api)]
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

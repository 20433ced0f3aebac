"""Plug-ins for OCPP and ntxcp servers, in process and over NATS.

See ``docs/plugins.md``. What needs nats-py is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evproto.aio.ocpp.handlers import RefuseCall, handles
from evproto.aio.plugins.discovery import load_plugin, load_plugins
from evproto.aio.plugins.plugin import (
    Charger,
    Command,
    EndedCall,
    Plugin,
    PluginError,
    ReceivedCall,
    handles_answer,
)

if TYPE_CHECKING:
    from evproto.aio.plugins.remote import RemotePlugin as RemotePlugin
    from evproto.aio.plugins.service import PluginService as PluginService
    from evproto.aio.plugins.service import serve_plugin as serve_plugin

__all__ = [
    "Charger",
    "Command",
    "EndedCall",
    "Plugin",
    "PluginError",
    "PluginService",
    "ReceivedCall",
    "RefuseCall",
    "RemotePlugin",
    "handles",
    "handles_answer",
    "load_plugin",
    "load_plugins",
    "serve_plugin",
]

_REMOTE = {"RemotePlugin": "remote", "PluginService": "service", "serve_plugin": "service"}


def __getattr__(name: str) -> Any:
    if name in _REMOTE:
        return getattr(importlib.import_module(f"evproto.aio.plugins.{_REMOTE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

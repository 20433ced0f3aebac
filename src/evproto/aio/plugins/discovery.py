"""Plug-ins that other packages offer, by entry point."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from evproto.aio.plugins.plugin import Plugin, PluginError

__all__ = ["GROUP", "load_plugin", "load_plugins"]

GROUP = "evproto.plugins"
"""The group of entry points; each names a plug-in, its class, or a function that makes one."""


def load_plugins(names: Iterable[str] | None = None) -> list[Plugin]:
    """The plug-ins of these names, in this order; None: all that are installed, by name.

    Raises:
        PluginError: there is none of a name, there are two, or it cannot be loaded.
    """
    if names is None:
        names = sorted({point.name for point in entry_points(group=GROUP)})
    return [load_plugin(name) for name in names]


def load_plugin(name: str) -> Plugin:
    """The plug-in of that name; raises PluginError like :func:`load_plugins`."""
    found: dict[str, EntryPoint] = {
        point.value: point for point in entry_points(group=GROUP) if point.name == name
    }
    if not found:
        known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)})) or "none"
        raise PluginError(f"no plug-in {name!r} is installed; there is {known}")
    if len(found) > 1:
        raise PluginError(f"several packages offer a plug-in {name!r}: {', '.join(sorted(found))}")
    (point,) = found.values()
    try:
        plugin = point.load()
        if not isinstance(plugin, Plugin):
            plugin = plugin()
    except Exception as error:
        raise PluginError(f"plug-in {name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(plugin, Plugin):
        raise PluginError(f"plug-in {name!r} ({point.value}) is no Plugin, but {plugin!r}")
    if not plugin.name:
        plugin.name = name
    return plugin

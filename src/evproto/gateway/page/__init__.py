"""The live page, and the stream of events that it stands on.

Pages are rendered on the server and work without scripts; a small script adds
what is live. Nothing in here knows a protocol: chargers, frames and commands
come through :class:`evproto.gateway.adapter.Adapter`.
"""

from evproto.gateway.page.routes import Page

__all__ = ["Page"]

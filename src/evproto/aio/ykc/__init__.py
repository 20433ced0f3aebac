"""YKC endpoints on asyncio: the platform's server, and a pile as a client."""

from evproto.aio.ykc.connected import ConnectedPile
from evproto.aio.ykc.events import Offline, Online, Watched
from evproto.aio.ykc.limits import Limits
from evproto.aio.ykc.pile import Backoff, Pile
from evproto.aio.ykc.server import Admission, PileServer

__all__ = [
    "Admission",
    "Backoff",
    "ConnectedPile",
    "Limits",
    "Offline",
    "Online",
    "Pile",
    "PileServer",
    "Watched",
]

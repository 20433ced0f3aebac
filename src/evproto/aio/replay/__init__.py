"""Playing the chargers' side of a capture against a server.

:func:`read_capture` reads what ``evproto serve`` has captured, and captures of
piles in pcap files; :func:`scripts_of` makes a :class:`Script` for each charger
of it, and :class:`Replay` plays them: what the charger sent is sent again, byte
for byte, and what the server said then is what it is expected to say now.
"""

from __future__ import annotations

from evproto.aio.replay.comparing import Difference
from evproto.aio.replay.playing import Outcome, Replay
from evproto.aio.replay.reading import Captured, ReplayError, read_capture
from evproto.aio.replay.scripts import Script, scripts_of

__all__ = [
    "Captured",
    "Difference",
    "Outcome",
    "Replay",
    "ReplayError",
    "Script",
    "read_capture",
    "scripts_of",
]

"""OCPP-J on the command line: frames in lines of logs, which protocol they are of, what they say.

:mod:`~evproto.cli.ocppj.finding` finds frames in a line, :mod:`~evproto.cli.ocppj.context`
asks the rest of the line, :mod:`~evproto.cli.ocppj.reading` makes items of both;
:mod:`~evproto.cli.ocppj.pairing` and :mod:`~evproto.cli.ocppj.guessing` are what decoding a
single frame takes from those before it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from evproto.ocppj import Codec

__all__ = ["PROTOCOLS", "codec_of"]

PROTOCOLS: Final = {
    "ocpp1.6": "evproto.ocpp.v16",
    "ocpp2.0.1": "evproto.ocpp.v201",
    "ocpp2.1": "evproto.ocpp.v21",
    "ntxcp": "evproto.ntxcp.v10",
}
"""What ``--protocol`` takes, and where it is; of two that fit as well, the first is guessed."""


def codec_of(protocol: str) -> Codec:
    """The codec of one of :data:`PROTOCOLS`."""
    codec: Codec = importlib.import_module(PROTOCOLS[protocol]).codec
    return codec

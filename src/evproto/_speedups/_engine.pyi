from typing import Any

from evproto._speedups._checksum import crc16_modbus as crc16_modbus
from evproto._speedups._splitter import Splitter as Splitter
from evproto.wire.engine import Options
from evproto.wire.frame import AnyMessage, Frame
from evproto.wire.framing import Piece

__all__ = ["Engine", "Splitter", "crc16_modbus"]

class Engine:
    def __init__(self, options: Options) -> None: ...
    def decode(self, data: Any, /) -> Frame: ...
    def unpack(self, piece: Piece, /) -> Frame: ...
    def encode(self, message: Frame | AnyMessage, sequence: int = 0, /) -> bytes: ...

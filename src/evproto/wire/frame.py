"""The envelope of a message, as a value."""

from __future__ import annotations

from typing import Final

from evproto.messages import EncryptedMessage, Message, Record, UnknownMessage
from evproto.wire.framing import ChecksumStatus

__all__ = ["PLAIN", "TRIPLE_DES", "AnyMessage", "Frame"]

PLAIN: Final = 0
TRIPLE_DES: Final = 1

AnyMessage = Message | UnknownMessage | EncryptedMessage


class Frame(Record, frozen=True, kw_only=True, gc=False):
    """One YKC frame (V1.6, section 3.1).

    A Frame is immutable; ``dataclasses.replace`` makes a changed copy.
    """

    message: AnyMessage
    sequence: int = 0
    """The two sequence bytes read low byte first, 0 to 65535. The document
    leaves the byte order open, so an answer should carry the number of its
    request unchanged and not count on what it means."""
    encryption: int = PLAIN
    """The encryption flag as sent: 0 = none, 1 = 3DES; other codes are kept."""
    trailing: bytes = b""
    """Bytes of the body behind the last field of the layout."""
    checksum: ChecksumStatus = "ok"
    """How the checksum was when the frame was decoded; always sent right."""

    @property
    def frame_type(self) -> int:
        """The frame-type code of the message."""
        return self.message.frame_type

    @property
    def encrypted(self) -> bool:
        """Whether the encryption flag is set (the message may be open all the same)."""
        return self.encryption != PLAIN

    @property
    def sequence_bytes(self) -> bytes:
        """The two sequence bytes in wire order."""
        return self.sequence.to_bytes(2, "little")

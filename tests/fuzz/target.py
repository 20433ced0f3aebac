"""What has to hold for any bytes; shared by atheris and hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference.bodies import wrap

from evproto.errors import DecodeError, EncodeError
from evproto.ykc import Frame

POLICIES = ("strict", "either", "ignore")


class Shut:
    """A cipher whose own inverse it is; refuses every 16th body."""

    def encrypt(self, body: bytes) -> bytes:
        if len(body) % 16 == 15:
            raise ValueError("refused")
        return body[::-1]

    decrypt = encrypt


class Target:
    """Codecs on the given engines, and the questions asked of them."""

    def __init__(self, make: list[Callable[..., Any]]) -> None:
        self._codecs = [
            [one("1.7", checksum=policy) for one in make]
            + [one("1.7", checksum=policy, unknown="error", trailing="error") for one in make]
            for policy in POLICIES
        ]
        self._ciphered = [one("1.5", cipher=Shut()) for one in make]
        self._engines = len(make)

    def run(self, data: bytes) -> None:
        """Raise AssertionError, or whatever a codec lets out, on a finding.

        The first byte says how the rest is used: as it stands, as a body under
        a right checksum, or as a stream.
        """
        mode, rest = data[:1] or b"\0", data[1:]
        codecs = self._codecs[mode[0] // 4 % 3]
        if mode[0] % 4 == 0:
            self.one_frame(codecs, rest)
            self.one_stream(codecs, rest, 1 + mode[0] // 16)
        elif mode[0] % 4 == 1:
            self.one_frame(codecs, wrap(rest[0] if rest else 0, rest[1:252], mode * 2))
        elif mode[0] % 4 == 2:
            self.one_frame(self._ciphered, wrap(rest[0] if rest else 0, rest[1:252], mode * 2, 1))
        else:
            frames = [wrap(part[0], part[1:252]) if part else part for part in rest.split(b"\x68\x68")]
            self.one_stream(codecs, b"".join(frames), 1 + mode[0] // 16)

    def one_frame(self, codecs: list[Any], data: bytes) -> None:
        said = [self._decode(codec, data) for codec in codecs]
        for first in range(0, len(said), self._engines):
            engines = said[first : first + self._engines]
            assert all(one == engines[0] for one in engines), engines

    def _decode(self, codec: Any, data: bytes) -> Any:
        try:
            frame = codec.decode(data)
        except DecodeError as error:
            return type(error), str(error), vars(error)
        self._encode(codec, frame, data)
        codec.check(frame)
        return repr(frame)

    def _encode(self, codec: Any, frame: Frame, data: bytes) -> None:
        try:
            again = codec.encode(frame)
        except EncodeError:
            # The cipher is allowed to refuse; nothing else is.
            assert codec in self._ciphered
            assert frame.encrypted
            return
        assert again[:-2] == data[:-2], (again, data)
        assert (again == data) == (frame.checksum == "ok"), (again, data)

    def one_stream(self, codecs: list[Any], data: bytes, step: int) -> None:
        for first in range(0, len(codecs), self._engines):
            said = []
            for codec in codecs[first : first + self._engines]:
                said += [self._stream(codec, data, max(1, len(data))), self._stream(codec, data, step)]
            assert all(one == said[0] for one in said), said

    def _stream(self, codec: Any, data: bytes, step: int) -> list[Any]:
        decoder = codec.stream()
        items = []
        for at in range(0, len(data), step):
            items += decoder.feed(data[at : at + step])
            assert decoder.pending <= 260
        items += decoder.finish()
        assert (decoder.pending, decoder.position) == (0, len(data))
        said: list[Any] = []
        for item in items:
            if isinstance(item, Frame):
                assert codec.encode(item)[:-2] in data
                said.append(repr(item))
            else:
                assert isinstance(item, DecodeError)
                assert item.position is not None
                assert data[item.position : item.position + len(item.data)] == item.data
                said.append((type(item), str(item), vars(item)))
        return said

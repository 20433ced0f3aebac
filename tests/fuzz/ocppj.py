"""What has to hold of OCPP-J for any bytes; shared by atheris and hypothesis."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Codec,
    Envelope,
    MessageError,
    PayloadError,
)
from evproto.ocppj.diagnosis import diagnose
from evproto.ocppj.reading import read_json

EXTENSION = Path(__file__).resolve().parents[2] / "samples" / "acme.json"


def codecs() -> list[Codec]:
    """One of each kind; date-times keep all their digits, so that they come back equal."""
    dialects = [module.dialect for module in (v16, v201, v21, v10)]
    extended = [v16.codec.extended(EXTENSION).dialect, v21.codec.extended(EXTENSION).dialect]
    return [Codec(dialect, time_precision="microseconds", mode="strict") for dialect in dialects + extended]


class Answering(Mapping[str, str]):
    """Requests that wait for an answer: of one action, under every id there is."""

    def __init__(self, action: str) -> None:
        self.action = action

    def __getitem__(self, unique_id: str) -> str:
        return self.action

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Target:
    """Codecs, and the questions asked of them."""

    def __init__(self, made: list[Codec] | None = None) -> None:
        self.codecs = made or codecs()

    def run(self, data: bytes) -> None:
        """Raise AssertionError, or whatever a codec lets out, on a finding.

        The first two bytes say which codec reads the rest, and which action
        answers are taken for.
        """
        head, frame = data[:2].ljust(2, b"\0"), data[2:]
        codec = self.codecs[head[0] % len(self.codecs)]
        actions = list(codec.dialect.actions)
        self.one_frame(codec, frame, Answering(actions[head[1] % len(actions)]))

    def one_frame(self, codec: Codec, data: bytes, pending: Answering) -> Envelope | None:
        """The envelope that strict decoding makes of ``data``, if it takes it."""
        found = codec.check(data, pending)
        try:
            envelope = codec.decode(data, pending)
        except MessageError as error:
            assert error.deviations
            assert found[: len(error.deviations)] == error.deviations
            self._answers(codec, error)
            if isinstance(error, PayloadError):
                self._refused(codec, data, error)
            self._tolerant(codec, data, pending, None)
            return None
        assert [told for told in found if told.keyword != "duplicate"] == list(envelope.warnings)
        if isinstance(envelope, CallError | CallResultError):
            return envelope
        assert not envelope.warnings
        assert not diagnosed(codec, data, envelope.action, isinstance(envelope, CallResult))
        sent = codec.encode(envelope)
        again = codec.decode(sent, pending)
        assert again.unique_id == envelope.unique_id
        assert same(again, envelope), (again, envelope)
        assert codec.encode(again) == sent
        self._tolerant(codec, data, pending, envelope)
        return envelope

    def _refused(self, codec: Codec, data: bytes, error: MessageError) -> None:
        """The schema refuses it too, or there is no such moment in Python."""
        part = error.message_type == 3
        if not diagnosed(codec, data, error.action, part) and error.deviations[0].steps[:1] != ("data",):
            assert error.deviations[0].keyword == "format"
            assert str(error.deviations[0].value).startswith("0000-")

    def _answers(self, codec: Codec, error: MessageError) -> None:
        for answer in (error.to_call_error(), error.to_call_result_error()):
            if answer is not None:
                assert codec.encode(answer, mode="lenient")

    def _tolerant(self, codec: Codec, data: bytes, pending: Answering, strict: Envelope | None) -> None:
        """The other modes let nothing out either, and see the same in what is right."""
        for mode in ("lenient", "off"):
            try:
                envelope = codec.decode(data, pending, mode=mode)  # type: ignore[arg-type]
            except MessageError:
                assert strict is None
                continue
            if strict is not None and mode == "lenient":
                assert same(envelope, strict)
                assert not envelope.warnings
            sent = codec.encode(envelope, mode=mode)  # type: ignore[arg-type]
            assert same(codec.decode(sent, pending, mode=mode), envelope), sent  # type: ignore[arg-type]


def same(one: Envelope, other: Envelope) -> bool:
    """Whether two envelopes say the same; how they were spelled, and what was unusual, is left out."""
    if type(one) is not type(other):
        return False
    if isinstance(one, CallError | CallResultError) or isinstance(other, CallError | CallResultError):
        return True
    if one.action != other.action or _settled(one.payload) != _settled(other.payload):
        return False
    data = [envelope.data if isinstance(envelope, Call | CallResult) else None for envelope in (one, other)]
    return data[0] == data[1]


def _settled(payload: Any) -> Any:
    """A payload whose serviceId, which ntxcp sends as a text or as an integer, is a text."""
    service = getattr(payload, "service_id", None)
    return msgspec.structs.replace(payload, service_id=str(service)) if service is not None else payload


def diagnosed(codec: Codec, data: bytes, action: str, answer: bool) -> Any:
    """What the schema says of the payload of a frame."""
    part = "response" if answer else "request"
    dialect = codec.dialect
    payload = read_json(data)[2 if answer else 3]
    if payload is None:
        # Where there is nothing to say, null is as good as an empty object.
        payload = {}
    return diagnose(payload, dialect, action, part, dialect.schemas.get((action, part)))


@functools.cache
def seeds() -> dict[str, bytes]:
    """A full frame of every action, and one that is full of oddities."""
    from ocppj.instances import Maker

    from evproto.ocppj.diagnosis import schema_of

    found: dict[str, bytes] = {}
    for number, codec in enumerate(codecs()):
        dialect = codec.dialect
        for at, (name, action) in enumerate(dialect.actions.items()):
            for part in ("request", "response"):
                if getattr(action, part) is None:
                    continue
                schema = dialect.schemas.get((name, part)) or schema_of(dialect.specs, name, part)
                payload = Maker(schema).full()
                kind = 3 if part == "response" else 2 if action.response else 6
                frame = [3, "1", payload] if kind == 3 else [kind, "1", name, payload]
                text = json.dumps(frame, ensure_ascii=at % 2 == 0).encode()
                found[f"{number}-{name}-{part}"] = bytes([number, at]) + text
    for at, text in enumerate((b'[4,"1","GenericError","",{}]', b'[5,"1","x","y",{"a":1.5}]', b"[9]")):
        found[f"error-{at}"] = b"\2\0" + text
    return found


__all__ = ["Answering", "Target", "codecs", "diagnosed", "same", "seeds"]

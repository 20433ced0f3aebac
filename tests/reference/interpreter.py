"""A second reading of the YKC spec files, as naive as it can be.

It loads ``specs/ykc`` with plain YAML, follows the rules written down in
``specs/meta`` and turns frames into plain dicts and back. It shares no code
with evproto, so what it and both engines agree on is in the spec files, or
wrong in three places at once.

Values: numbers without scale and enum codes are ints, numbers with a scale
exact Decimals, BCD and text str, opaque fields bytes, times a :class:`Moment`
or, if no calendar knows them, a :class:`NoMoment`; bit fields and entries are
dicts, groups lists.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

SPECS = Path(__file__).resolve().parents[2] / "specs" / "ykc"
KINDS = ("bcd", "uint", "ascii", "bytes", "cp56time2a", "bits", "group")


class RefusedError(Exception):
    """The bytes or values are not what the spec says."""


class Moment(NamedTuple):
    """A CP56Time2a with a possible date; behind the time, the bits beside it."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    millis: int  # the seconds too
    invalid: int
    beside_minute: int
    summer_time: int
    beside_hour: int
    weekday: int
    beside_month: int
    beside_year: int

    def iso(self) -> str:
        seconds, millis = divmod(self.millis, 1000)
        return (
            f"{self.year:04}-{self.month:02}-{self.day:02}"
            f"T{self.hour:02}:{self.minute:02}:{seconds:02}.{millis:03}"
        )


class NoMoment(NamedTuple):
    """A CP56Time2a that names no moment: its seven bytes."""

    raw: bytes


class _Loader(yaml.SafeLoader):
    """Reads ``0.1`` as one tenth, not as the nearest float, and ``no`` as a word."""


_BOOLEANS: dict[str, Any] = {"true": True, "false": False}
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(node.value))
_Loader.add_constructor("tag:yaml.org,2002:bool", lambda loader, node: _BOOLEANS.get(node.value, node.value))


def load_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)


# --- one field ---------------------------------------------------------------


def _number(about: dict[str, Any], raw: int) -> int | Decimal:
    if "enum" in about:
        return raw
    value = raw * about.get("scale", 1) + about.get("offset", 0)
    return value if "scale" in about else int(value)


def _raw(about: dict[str, Any], value: int | Decimal, bits: int) -> int:
    raw = (value - about.get("offset", 0)) / Decimal(about.get("scale", 1))
    if raw != int(raw) or not 0 <= raw < 1 << bits:
        raise RefusedError(f"{about['name']}: {value} is not on the wire")
    return int(raw)


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _read_time(data: bytes) -> Moment | NoMoment:
    moment = Moment(
        year=2000 + data[6] % 128,
        month=data[5] % 16,
        day=data[4] % 32,
        hour=data[3] % 32,
        minute=data[2] % 64,
        millis=data[0] + 256 * data[1],
        invalid=data[2] // 128,
        beside_minute=data[2] // 64 % 2,
        summer_time=data[3] // 128,
        beside_hour=data[3] // 32 % 4,
        weekday=data[4] // 32,
        beside_month=data[5] // 16,
        beside_year=data[6] // 128,
    )
    possible = (
        1 <= moment.month <= 12
        and 1 <= moment.day <= _days(moment.year, moment.month)
        and moment.hour <= 23
        and moment.minute <= 59
        and moment.millis <= 59999
    )
    return moment if possible else NoMoment(data)


def _write_time(value: Moment | NoMoment) -> bytes:
    if isinstance(value, NoMoment):
        return value.raw
    return bytes(
        (
            value.millis % 256,
            value.millis // 256,
            value.minute + 64 * value.beside_minute + 128 * value.invalid,
            value.hour + 32 * value.beside_hour + 128 * value.summer_time,
            value.day + 32 * value.weekday,
            value.month + 16 * value.beside_month,
            value.year - 2000 + 128 * value.beside_year,
        )
    )


def _span(part: dict[str, Any]) -> tuple[int, int]:
    """Lowest bit and number of bits of ``bits: 3`` or ``bits: 4-7``."""
    low, _, high = str(part["bits"]).partition("-")
    return int(low), int(high or low) - int(low) + 1


def _read_bits(about: dict[str, Any], data: bytes) -> dict[str, Any]:
    word = int.from_bytes(data, "little")
    values = {}
    for part in about["parts"]:
        low, width = _span(part)
        values[part["name"]] = _number(part, (word >> low) % (1 << width))
    return values


def _write_bits(about: dict[str, Any], values: dict[str, Any]) -> bytes:
    word = 0
    for part in about["parts"]:
        low, width = _span(part)
        word += _raw(part, values[part["name"]], width) << low
    return word.to_bytes(about["size"], "little")


def _reader(about: dict[str, Any]) -> Callable[[bytes], Any]:
    """How the bytes of a field other than a group become its value."""
    kind = about["kind"]
    if kind == "uint":
        if "scale" not in about and "offset" not in about:
            return lambda data: int.from_bytes(data, "little")
        return lambda data: _number(about, int.from_bytes(data, "little"))
    if kind == "bcd":
        return lambda data: data.hex().upper()
    if kind == "ascii":
        strip = isinstance(about["size"], int)  # NULs fill fixed sizes only
        turn = -1 if about.get("reversed") else 1

        def read_text(data: bytes) -> str:
            text = "".join(map(chr, data[::turn]))
            return text.rstrip("\0") if strip else text

        return read_text
    if kind == "bytes":
        return lambda data: data
    if kind == "cp56time2a":
        return _read_time
    return lambda data: _read_bits(about, data)


def _write(about: dict[str, Any], value: Any) -> bytes:
    """The bytes of a field other than a group."""
    kind, size = about["kind"], about["size"]
    if kind == "uint":
        return _raw(about, value, 8 * size).to_bytes(size, "little")
    if kind == "bcd":
        data = bytes.fromhex(value)
    elif kind == "ascii":
        data = bytes(map(ord, value))
        if isinstance(size, str):
            return data
        data += bytes(size - len(data))
        data = data[::-1] if about.get("reversed") else data
    elif kind == "bytes":
        data = value
    elif kind == "cp56time2a":
        data = _write_time(value)
    else:
        data = _write_bits(about, value)
    if len(data) != size:
        raise RefusedError(f"{about['name']} takes {size} bytes, not {len(data)}")
    return data


# --- one frame ---------------------------------------------------------------


class Frame:
    """The body of one frame, its fields resolved."""

    def __init__(self, about: dict[str, Any], fields: list[dict[str, Any]]) -> None:
        self.name: str = about["name"]
        self.frame_type: int = about["frame_type"]
        self.variant: bool = about.get("variant", False)
        self.since: str | None = about.get("since")
        self.extension: str | None = about.get("extension")
        self.checks: list[dict[str, Any]] = about.get("checks", [])
        self.fields = fields
        self._steps = [(field, _reader(field)) for field in fields]
        self._entries = {
            field["name"]: Frame({**about, "name": field["entry"]}, field["fields"])
            for field in fields
            if field["kind"] == "group"
        }
        self.fixed = sum(self.width(field) for field in fields)

    def width(self, field: dict[str, Any]) -> int:
        """Bytes a field always takes; none if its length varies."""
        if field["kind"] == "group":
            return field["count"] * self.stride(field) if isinstance(field["count"], int) else 0
        return field["size"] if isinstance(field["size"], int) else 0

    def stride(self, field: dict[str, Any]) -> int:
        """Bytes of one entry of a group, or of one character."""
        return self._entries[field["name"]].fixed if field["kind"] == "group" else 1

    @property
    def varying(self) -> dict[str, Any] | None:
        """The field that makes the body longer or shorter."""
        for field in self.fields:
            if isinstance(field["count"] if field["kind"] == "group" else field["size"], str):
                return field
        return None

    def fits(self, length: int) -> bool:
        beyond = length - self.fixed
        if self.varying is None:
            return beyond == 0
        return beyond >= 0 and beyond % self.stride(self.varying) == 0

    def decode(self, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Values and the bytes behind the last field."""
        values: dict[str, Any] = {}
        at = 0
        for field, read in self._steps:
            name = field["name"]
            if field["kind"] == "group":
                entry = self._entries[name]
                count = field["count"]
                if count == "remaining":
                    count = (len(body) - at) // entry.fixed
                elif isinstance(count, str):
                    count = values[count]
                values[name] = []
                for _ in range(count):
                    values[name].append(entry.decode(body[at : at + entry.fixed])[0])
                    at += entry.fixed
                continue
            size = field["size"] if isinstance(field["size"], int) else values[field["size"]]
            if at + size > len(body):
                raise RefusedError(f"{self.name} ends inside {name}")
            values[name] = read(body[at : at + size])
            at += size
        return values, body[at:]

    def encode(self, values: dict[str, Any]) -> bytes:
        body = b""
        for field in self.fields:
            value = values[field["name"]]
            if field["kind"] == "group":
                body += b"".join(map(self._entries[field["name"]].encode, value))
            else:
                body += _write(field, value)
        return body


# --- the protocol ------------------------------------------------------------


class Interpreter:
    """The spec files of ``root``, and frames by them."""

    def __init__(self, root: Path = SPECS) -> None:
        self._types = load_yaml(root / "types.yaml")
        self._envelope = load_yaml(root / "protocol.yaml")["envelope"]
        self.enums = load_yaml(root / "enums.yaml")
        self.versions = [entry["version"] for entry in load_yaml(root / "versions.yaml")["versions"]]
        files = [load_yaml(path) for path in sorted((root / "frames").glob("*.yaml"))]
        self._files = {about["name"]: about for about in files}
        self.frames = {
            name: Frame(about, [self._resolve(field) for field in self._fields(name)])
            for name, about in self._files.items()
        }

    def layouts(self, version: str) -> dict[int, list[Frame]]:
        """What a version knows, by frame type: the documented layout, then its
        variants. Extensions belong to every version."""
        found: dict[int, list[Frame]] = {}
        for frame in sorted(self.frames.values(), key=lambda frame: frame.variant):
            since = frame.since or self.versions[0]
            if self.versions.index(since) <= self.versions.index(version):
                found.setdefault(frame.frame_type, []).append(frame)
        return found

    def _fields(self, name: str) -> list[dict[str, Any]]:
        """The fields of a frame as written, what it extends carried out."""
        about = self._files[name]
        if "fields" in about:
            return copy.deepcopy(about["fields"])
        fields = self._fields(about["extends"])
        for change in about.get("insert", []):
            where, index = _find(fields, change.get("after", change.get("before")))
            index += "after" in change
            where[index:index] = copy.deepcopy(change["fields"])
        for change in about.get("replace", []):
            where, index = _find(fields, change["field"])
            where[index : index + 1] = copy.deepcopy(change["fields"])
        for change in about.get("adjust", []):
            where, index = _find(fields, change["field"])
            where[index].update({key: value for key, value in change.items() if key != "field"})
        for path in about.get("remove", []):
            where, index = _find(fields, path)
            del where[index]
        return fields

    def _resolve(self, field: dict[str, Any]) -> dict[str, Any]:
        """A field with what its named type says, and its kind."""
        kind = field["type"]
        whole = {"kind": kind, **field} if kind in KINDS else {**self._types[kind], **field}
        if whole["kind"] == "cp56time2a":
            whole["size"] = 7
        if whole["kind"] == "group":
            whole["fields"] = [self._resolve(inner) for inner in whole["fields"]]
        return whole

    def checksum(self, data: bytes) -> int:
        """The CRC, bit by bit."""
        about = self._envelope["checksum"]
        assert about["reflected"]
        polynomial = int(f"{about['polynomial']:016b}"[::-1], 2)
        crc = about["initial"]
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc // 2 ^ polynomial if crc % 2 else crc // 2
        return crc ^ about["final_xor"]

    def envelope(self, sequence: bytes, encryption: int, frame_type: int, body: bytes) -> bytes:
        """A whole frame around a body."""
        parts = {
            "sequence": sequence,
            "encryption": bytes([encryption]),
            "frame_type": bytes([frame_type]),
            "body": body,
        }
        counted = [item["name"] for item in self._envelope["layout"] if item.get("counted")]
        covered = b"".join(parts[name] for name in counted)
        order: Literal["little", "big"] = (
            "little" if self._envelope["checksum"]["byte_order"] == "low_first" else "big"
        )
        parts["length"] = bytes([len(covered)])
        parts["checksum"] = self.checksum(covered).to_bytes(2, order)
        for item in self._envelope["layout"]:
            if "value" in item:
                parts[item["name"]] = bytes([item["value"]])
        return b"".join(parts[item["name"]] for item in self._envelope["layout"])

    def decode(self, data: bytes, version: str) -> dict[str, Any]:
        """One whole, unencrypted frame.

        Raises:
            RefusedError: it is none of this version.
        """
        outside = sum(item["size"] for item in self._envelope["layout"])
        parts = {}
        at = 0
        for item in self._envelope["layout"]:
            size = item["size"] if item["name"] != "body" else len(data) - outside
            parts[item["name"]] = data[at : at + size]
            at += size
        again = self.envelope(
            parts["sequence"], parts["encryption"][0], parts["frame_type"][0], parts["body"]
        )
        if again != data:
            raise RefusedError(f"the envelope should be {again.hex()}")
        layouts = self.layouts(version).get(data[5])
        if layouts is None:
            raise RefusedError(f"frame type {data[5]:02X}")
        frame = next((one for one in layouts if one.fits(len(parts["body"]))), layouts[0])
        fields, trailing = frame.decode(parts["body"])
        return {
            "name": frame.name,
            "frame_type": frame.frame_type,
            "sequence": int.from_bytes(parts["sequence"], "little"),
            "fields": fields,
            "trailing": trailing,
        }

    def encode(self, name: str, fields: dict[str, Any], sequence: int = 0, trailing: bytes = b"") -> bytes:
        """The frame with these values."""
        frame = self.frames[name]
        body = frame.encode(fields) + trailing
        return self.envelope(sequence.to_bytes(2, "little"), 0, frame.frame_type, body)


def _find(fields: list[dict[str, Any]], path: str) -> tuple[list[dict[str, Any]], int]:
    """Where a field stands; ``group.field`` reaches inside a group."""
    outer, _, inner = path.partition(".")
    for index, field in enumerate(fields):
        if field["name"] == outer:
            return _find(field["fields"], inner) if inner else (fields, index)
    raise KeyError(path)

"""Hiding who charged, and what opens doors: id tags and tokens, certificates, keys, passwords.

What is hidden comes from the table below: members and types by name, the same
in all versions. Beside it hidden is what nobody can vouch for: members that no
schema has, values that do not fit theirs, data of vendors, payloads of unknown
actions, the texts of CALLERRORs, and everything in a frame that is not JSON.
A value that is hidden is looked for in the rest of its frame and line as well,
and in those that follow for a while.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from evproto.ocppj.dialect import CALL, CALL_ERROR, CALL_RESULT, CALL_RESULT_ERROR, SEND, Dialect
from evproto.ocppj.envelopes import Deviation, Steps
from evproto.ocppj.formats import is_date_time
from evproto.spec.actions import Schema, load_actions

__all__ = ["HIDDEN", "Memory", "Redacted", "Redactor", "mask"]

HIDDEN: Final = "***"
"""What stands in place of a hidden value."""

_IDENTITY, _CERTIFICATE, _ACCESS, _PERSON, _VENDOR = "identity", "certificate", "access", "person", "vendor"
SECRET_MEMBERS: Final = {
    # Who charges.
    "idTag": _IDENTITY,
    "parentIdTag": _IDENTITY,
    "idToken": _IDENTITY,
    "idTokens": _IDENTITY,
    "groupIdToken": _IDENTITY,
    "additionalIdToken": _IDENTITY,
    "customerIdentifier": _IDENTITY,
    "prioritizedEMAIDs": _IDENTITY,
    "evInverterSerialNumber": _IDENTITY,
    "iccid": _IDENTITY,
    "imsi": _IDENTITY,
    # Signed meter data name who charged (OCMF).
    "signedMeterData": _IDENTITY,
    # Certificates, and what is made of them.
    "certificate": _CERTIFICATE,
    "certificateChain": _CERTIFICATE,
    "signingCertificate": _CERTIFICATE,
    "csr": _CERTIFICATE,
    "exiRequest": _CERTIFICATE,
    "exiResponse": _CERTIFICATE,
    "ocspResult": _CERTIFICATE,
    # What opens doors.
    "password": _ACCESS,
    "basicAuthPassword": _ACCESS,
    "apnUserName": _ACCESS,
    "apnPassword": _ACCESS,
    # What is written to or about a person.
    "personalMessage": _PERSON,
    "updatedPersonalMessage": _PERSON,
    "updatedPersonalMessageExtra": _PERSON,
    "vatNumber": _PERSON,
    "pspRef": _PERSON,
    "receiptId": _PERSON,
    "receiptUrl": _PERSON,
    # What only a vendor understands.
    "customData": _VENDOR,
}
"""Members whose values are hidden wherever they are, and everything inside them."""
SECRET_TYPES: Final = {
    "APNType": _ACCESS,
    "VPNType": _ACCESS,
    "AddressType": _PERSON,
    "CertificateHashDataType": _CERTIFICATE,
    "OCSPRequestDataType": _CERTIFICATE,
}
"""Types everything inside of which is hidden."""
SECRET_PAYLOAD_MEMBERS: Final = {
    ("DataTransfer", "data"): _VENDOR,
    ("NotifyCustomerInformation", "data"): _PERSON,
}
"""Members of the payload of an action."""
_SECRET_SETTING: Final = re.compile(
    r"pass(?:word|wd|phrase|code)|pwd|secret|credential|auth\w*key|(?:private|shared|security|encryption|api"
    r"|access)_?key|vpn|psk|apn|ssid|wi-?_?fi|wlan|token|id_?tag|\bpin\b|simpin|\bvin\b|vehicle_?id|evcc_?id"
    r"|emaid|contract_?(?:id|cert)|master_?pass|imsi|iccid|rfid|cert(?!ificateentries)",
    re.IGNORECASE,
)
"""Names of settings (keys of 1.6, variables of 2.x) whose values are hidden."""
_SETTING_VALUES: Final = frozenset({"value", "attributeValue", "actualValue", "variableAttribute"})

_ABOUT_NAMES: Final = frozenset({"required", "additionalProperties", "duplicate", "alias"})
"""What is broken whatever the value is; the sentences about it have none."""
_SHORTEST: Final = 4
"""Characters of a hidden value that are enough to look for it elsewhere."""
_LEAST_NUMBER: Final = 6
"""The same of numbers, which may well be other numbers."""
_MOST_WORDS: Final = 50
_LONG: Final = 64
_PLAIN_WORD: Final = re.compile(r"[A-Za-z_]{1,50}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.+\-]{6,}")
_CREDENTIALS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)(?P<value>[^/\s\"'@<>]+)@")
_QUERY: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://[^\s?#\"'<>]*\?)(?P<value>[^\s#\"'<>]+)")
_NOTHING: Final = frozenset({"", "null", "none", "true", "false", "basic", "bearer", "unknown"})
_NAMES = (
    r"id[_ -]?tags?|id[_ -]?tokens?"
    r"|parent[_ -]?id[_ -]?tag|token|rfid|card(?:[_ -]?(?:no|number|id))?|uid|vin|evcc[_ -]?id|e-?maid"
    r"|contract[_ -]?id|vehicle[_ -]?id|mac(?:[_ -]?address)?|pass(?:word|wd|phrase)?|pwd|secret|credentials?"
    r"|authorization(?:[_ -]?key)?|auth[_ -]?key|api[_ -]?key|private[_ -]?key|psk|ssid|apn"
    r"|imsi|iccid|user(?:[_ -]?name)?"
)
_SAID: Final = re.compile(
    rf"""(?<![A-Za-z0-9])((?:\w{{0,24}}[_.-])?(?:{_NAMES})\\*["']?\s{{0,3}}[:=]\s{{0,3}}(?:(?:basic|bearer)\s+)?)"""
    r"""(?P<value>\\*["'][^"']*["']?|[^\s"',;&)}\]]+)""",
    re.IGNORECASE,
)
_LONG_BASE64: Final = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)|\bMI[A-Za-z0-9+/]{2}[A-Za-z0-9+/=\\]{28,}",
    re.DOTALL,
)
_PIECE: Final = re.compile(
    r'"(?P<body>[^"\\]*(?:\\.[^"\\]*)*)(?P<end>"|\\?\Z)(?P<colon>\s*:)?|(?P<rest>[^\s"\[\]{},:]+)', re.DOTALL
)


class Redacted(msgspec.Struct, frozen=True):
    """A frame without what is hidden.

    Attributes:
        value: the frame as JSON; None if it is not JSON.
        needles: what was hidden, to be looked for elsewhere.
        text: the frame, if it is not JSON.
    """

    value: Any
    needles: tuple[str, ...]
    text: str = ""

    @property
    def raw(self) -> str:
        """The frame as text."""
        return self.text if self.value is None else dumped(self.value)


class Redactor:
    """Hides what is to be hidden of the frames of one version."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        loaded = load_actions(dialect.specs)
        self._types = loaded.types
        self._actions = loaded.actions
        self._known: dict[str, list[Schema]] = {}
        for schema in [
            *loaded.types.values(),
            *(action.request for action in loaded.actions.values()),
            *(action.response for action in loaded.actions.values() if action.response is not None),
        ]:
            self._learn(schema)
        self._words = frozenset(word.lower() for word in self._vocabulary())

    def _vocabulary(self) -> Iterator[str]:
        """The words of the protocol: they are hidden where they stand in for something, but nowhere else."""
        yield from self._known
        yield from self._actions
        yield from self._dialect.error_codes
        for schemas in self._known.values():
            for schema in schemas:
                yield from schema.get("enum", ())
                yield from self._resolved(schema.get("items", {}))[0].get("enum", ())

    def _learn(self, schema: Schema) -> None:
        for name, member in schema.get("properties", {}).items():
            self._known.setdefault(name, []).append(self._resolved(member)[0])
            self._learn(member)

    def _resolved(self, schema: Schema) -> tuple[Schema, str]:
        name = ""
        while "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = self._types.get(name, {})
        return schema, name

    # Frames

    def frame(self, text: str, value: Any, action: str = "") -> Redacted:
        """A frame; ``action`` is that of the request that a CALLRESULT answers."""
        if isinstance(value, list) and value:
            # Deeper than Python goes is nothing that a schema has.
            with contextlib.suppress(RecursionError):
                return self._readable(text, value, action)
        return self._broken(text)

    def _readable(self, text: str, value: list[Any], action: str) -> Redacted:
        hider = _Hider(self._words, self._known)
        kind, rest = value[0], value[1:]
        out: list[Any] = [kind if type(kind) is int else hider.hide(kind)]
        if rest:
            out.append(rest[0] if isinstance(rest[0], str) else hider.leaf(rest[0]))
        if kind in (CALL, SEND) and len(rest) > 1:
            action = rest[1] if isinstance(rest[1], str) else ""
            out.append(action if _PLAIN_WORD.fullmatch(action) else hider.all(rest[1]))
            if len(rest) > 2:
                out.append(self._payload(rest[2], action, "request", hider))
        elif kind == CALL_RESULT and len(rest) > 1:
            out.append(self._payload(rest[1], action, "response", hider))
        elif kind in (CALL_ERROR, CALL_RESULT_ERROR) and len(rest) > 1:
            code = rest[1]
            plain = isinstance(code, str) and _PLAIN_WORD.fullmatch(code)
            out.append(code if plain else hider.all(code))
        out += [hider.all(element) for element in value[len(out) :]]
        hider.all_given_twice(text)
        masked = mask(out, hider.needles)
        return Redacted(masked, tuple(hider.needles))

    def _payload(self, value: Any, action: str, part: str, hider: _Hider) -> Any:
        schema = self._dialect.schemas.get((action, part))
        if schema is None and action in self._actions:
            schema = getattr(self._actions[action], part)
        if schema is None:
            return self._untyped(value, [], hider)
        return self._typed(value, schema, action, hider, hidden=False)

    def _typed(self, value: Any, schema: Schema, action: str, hider: _Hider, *, hidden: bool) -> Any:
        """``value`` as its schema has it; ``action`` is that of the payload, "" inside of it."""
        schema, name = self._resolved(schema)
        hidden = hidden or name in SECRET_TYPES
        if isinstance(value, dict):
            members = schema.get("properties", {})
            values = _setting_values(value)
            made = {}
            for key, member in value.items():
                inner = members.get(key)
                if inner is None:
                    made[hider.name(key)] = hider.all(member)
                    continue
                secret = (
                    hidden
                    or key in SECRET_MEMBERS
                    or key in values
                    or (action, key) in SECRET_PAYLOAD_MEMBERS
                )
                if key == "customData" and isinstance(member, dict):
                    vendor = member.get("vendorId")
                    made[key] = {
                        (hider.name(one)): vendor
                        if one == "vendorId" and isinstance(vendor, str)
                        else hider.all(of)
                        for one, of in member.items()
                    }
                    continue
                made[key] = self._typed(member, inner, "", hider, hidden=secret)
            return made
        if isinstance(value, list):
            items = schema.get("items", {})
            return [self._typed(entry, items, "", hider, hidden=hidden) for entry in value]
        if hidden:
            return value if value in schema.get("enum", ()) and isinstance(value, str) else hider.leaf(value)
        return hider.scrubbed(value) if _fits(value, schema) else hider.leaf(value)

    def _untyped(self, value: Any, schemas: list[Schema], hider: _Hider) -> Any:
        """A payload nobody knows the schema of: shown is what can be no name, number or text of anybody."""
        if isinstance(value, dict):
            return {
                hider.name(key): (
                    hider.all(member)
                    if key in SECRET_MEMBERS or key not in self._known
                    else self._untyped(member, self._known[key], hider)
                )
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [self._untyped(entry, schemas, hider) for entry in value]
        told = [schema for schema in schemas if schema.get("type") != "string" or _is_narrow(schema)]
        return value if any(schema and _fits(value, schema) for schema in told) else hider.leaf(value)

    def _broken(self, text: str) -> Redacted:
        """A frame that is not JSON: shown are its head, and names that are known."""
        hider = _Hider(self._words, self._known)
        strings = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal strings
            rest = match["rest"]
            if rest is not None:
                if rest in ("true", "false", "null") or (not strings and rest.isdecimal() and len(rest) < 3):
                    return rest
                return hider.hide(rest) if not rest.isdecimal() else hider.hide(int(rest[:40]))
            strings += 1
            body, colon = match["body"], match["colon"] or ""
            whole = match["end"] == '"'
            known = body in self._known if colon else strings == 2 and body in self._actions
            if whole and (known or (strings == 1 and len(body) <= self._dialect.id_length)):
                return match[0]
            return hider.hide(body) + colon

        raw = _PIECE.sub(replace, text)
        return Redacted(None, tuple(hider.needles), raw)

    # Deviations

    def sentence(self, found: Deviation, redacted: Redacted, payload: Any) -> str:
        """What a deviation says, without the value if that is hidden.

        ``payload`` is that of the redacted frame.
        """
        path = self.path(found)
        if found.keyword in _ABOUT_NAMES:
            shown = path != HIDDEN
        elif found.keyword == "action":
            shown = _PLAIN_WORD.fullmatch(found.action) is not None
        elif found.action:
            shown = not _is_hidden(payload, found.steps)
        else:
            shown = found.keyword != "number"
        if shown:
            return str(mask(found.message, redacted.needles))
        where = f"{found.action}: " if _PLAIN_WORD.fullmatch(found.action) else ""
        return f"{where}{path or 'the frame'} breaks {found.keyword} (value not shown)"

    def path(self, found: Deviation) -> str:
        """The path of a deviation; hidden if there are names in it that may be something else."""
        for step in found.steps:
            if not isinstance(step, int) and step not in self._known and not _PLAIN_WORD.fullmatch(step):
                return HIDDEN
        return found.path


class Memory:
    """Hides in texts what was hidden lately."""

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._needles: OrderedDict[str, None] = OrderedDict()

    def add(self, needles: Iterable[str]) -> None:
        """Remember what was hidden."""
        for needle in needles:
            self._needles[needle.lower()] = None
            self._needles.move_to_end(needle.lower())
        while len(self._needles) > self._most:
            self._needles.popitem(last=False)

    def mask(self, value: Any) -> Any:
        """A text, or the texts in JSON, without anything that was hidden lately."""
        # Most of what was hidden is not there: one look at the whole does for all texts in it.
        text = (value if isinstance(value, str) else dumped(value)).lower()
        there = [needle for needle in self._needles if needle in text or '"' in needle or "\\" in needle]
        return mask(value, there) if there else value

    def context(self, text: str, needles: Iterable[str] = ()) -> str:
        """What stands around a frame: also without what calls itself a tag, a password or the like."""
        if not text:
            return text
        for match in itertools.chain(_SAID.finditer(text), _CREDENTIALS.finditer(text)):
            value = match["value"].strip("\\\"'")
            if value.lower() not in _NOTHING:
                self.add(_spellings(value))
        text = _CREDENTIALS.sub(rf"\1{HIDDEN}@", _LONG_BASE64.sub(HIDDEN, text))
        shown: str = self.mask(mask(_SAID.sub(_hidden_value, text), needles))
        return shown


def _hidden_value(match: re.Match[str]) -> str:
    """The value of ``name=value`` hidden, its quotes kept."""
    value = match["value"]
    begin = re.match(r"""\\*["']""", value)
    if begin is None:
        return f"{match[1]}{HIDDEN}"
    end = begin[0] if value[begin.end() :].endswith(begin[0][-1]) else ""
    return f"{match[1]}{begin[0]}{HIDDEN}{end}"


def mask(value: Any, needles: Iterable[str]) -> Any:
    """``value`` with every occurrence of the needles hidden, in its texts and in the names in it."""
    if isinstance(value, str):
        lowered = value.lower()
        there = [needle for needle in needles if needle.lower() in lowered]
        if not there:
            return value
        there.sort(key=len, reverse=True)
        return re.sub("|".join(map(re.escape, there)), HIDDEN, value, flags=re.IGNORECASE)
    if isinstance(value, dict):
        return {mask(key, needles): mask(member, needles) for key, member in value.items()}
    if isinstance(value, list):
        return [mask(entry, needles) for entry in value]
    if type(value) in (int, float):
        return HIDDEN if str(value) in needles else value
    return value


class _Hider:
    """Replaces values, and remembers them."""

    def __init__(self, words: Container[str], known: Container[str]) -> None:
        self._words = words
        self._known = known
        self.needles: dict[str, None] = {}

    def name(self, name: str) -> str:
        """The name of a member; one that is nobody's word and looks like a number is hidden."""
        if name in self._known or _PLAIN_WORD.fullmatch(name):
            return name
        return self.hide(name)

    def hide(self, value: Any) -> str:
        """A value that must not be shown."""
        if isinstance(value, str):
            if value.lower() not in self._words and not is_date_time(value):
                self.needles.update(dict.fromkeys(_spellings(value)))
        else:
            text = json.dumps(value)
            if len(text) >= _LEAST_NUMBER:
                self.needles[text] = None
        return HIDDEN

    def leaf(self, value: Any) -> Any:
        """The same; true, false and null are nobody's."""
        return value if value is None or isinstance(value, bool) else self.hide(value)

    def all(self, value: Any) -> Any:
        """Everything in a value."""
        if isinstance(value, dict):
            return {self.name(key): self.all(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self.all(entry) for entry in value]
        return self.leaf(value)

    def scrubbed(self, value: Any) -> Any:
        """A value that may be shown, but for the password in a URL, and its query: tokens are in those."""
        if not isinstance(value, str) or "://" not in value:
            return value
        for match in itertools.chain(_CREDENTIALS.finditer(value), _QUERY.finditer(value)):
            self.hide(match["value"])
        return _QUERY.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(rf"\1{HIDDEN}@", value))

    def all_given_twice(self, text: str) -> None:
        """Remember what JSON drops of members given twice."""

        def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
            made = dict(found)
            if len(made) < len(found):
                for name, value in found:
                    if made[name] is not value:
                        self.all(value)
            return made

        with contextlib.suppress(ValueError, RecursionError):
            json.loads(text, object_pairs_hook=pairs)


def _spellings(value: str) -> Iterator[str]:
    """A hidden value in the forms that it may have elsewhere."""
    value = value.strip()
    forms = [value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    if len(value) <= _LONG:
        forms.append(quote(value, safe="", errors="replace"))
    # Of a longer text a part says enough: a line of a certificate, the number in a sentence.
    words = (word for word in _WORD.findall(value) if any(char.isdigit() for char in word))
    forms += itertools.islice(words, _MOST_WORDS)
    for form in dict.fromkeys(forms):
        if len(form) >= _SHORTEST and form != HIDDEN and not is_date_time(form):
            yield form


def _setting_values(value: dict[str, Any]) -> frozenset[str]:
    """The members that hold the value of a setting, if that is one to hide."""
    variable = value.get("variable")
    names = [value.get("key")] + ([variable.get("name")] if isinstance(variable, dict) else [])
    component = value.get("component")
    if isinstance(component, dict):
        names.append(component.get("name"))
    if any(isinstance(name, str) and _SECRET_SETTING.search(name) for name in names):
        return _SETTING_VALUES
    # The value of a signed sample names who charged.
    return frozenset({"value"}) if value.get("format") == "SignedData" else frozenset()


def _is_narrow(schema: Schema) -> bool:
    """Whether a text that fits is no text of anybody's choice."""
    return "enum" in schema or schema.get("format") == "date-time"


_KINDS: Final[dict[str, Any]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def _fits(value: Any, schema: Schema) -> bool:
    """Whether a leaf is what its schema says it is, limits aside."""
    if value is None or isinstance(value, bool):
        return True
    if "enum" in schema:
        return value in schema["enum"]
    if schema.get("format") == "date-time":
        return isinstance(value, str) and is_date_time(value)
    wanted = schema.get("type", ())
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not kinds:
        return True
    return any(isinstance(value, _KINDS[kind]) for kind in kinds)


def _is_hidden(payload: Any, steps: Steps) -> bool:
    """Whether a value, or one it is in, is hidden; also if it cannot be found."""
    for step in steps:
        try:
            payload = payload[step]
        except (LookupError, TypeError):
            return True
    return _holds_hidden(payload)


def _holds_hidden(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_hidden, value.values())) or any(map(_holds_hidden, value))
    if isinstance(value, list):
        return any(map(_holds_hidden, value))
    return isinstance(value, str) and HIDDEN in value


def dumped(value: Any) -> str:
    """A frame as text, without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

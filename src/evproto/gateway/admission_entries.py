"""What is kept of one charger, in a file or a table, and how a knock is judged by it."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta

from evproto.errors import EvprotoError
from evproto.gateway.admission import Admitted, ChargerSettings, Knock, Refused, Spoken, Validation
from evproto.gateway.admission_passwords import HashError, Passwords, check_hash

__all__ = [
    "VERSIONS",
    "Entry",
    "EntryError",
    "Judge",
    "check_settings",
    "entry_keys",
    "of_text",
    "read_entry",
    "read_name",
    "shows_certificate",
    "unknown_key",
]

VERSIONS: Final[Mapping[Spoken, tuple[str, ...]]] = {
    "ykc": ("1.5", "1.6", "1.7"),
    "ocpp": ("ocpp1.6", "ocpp2.0.1", "ocpp2.1"),
    "ntxcp": ("ntxcp1.0",),
}
"""The versions that can be set, by protocol."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A charger that may come in, or may not."""

    password_hash: str = ""
    enabled: bool = True
    protocol: Spoken | None = None
    addresses: tuple[str, ...] = ()
    heartbeat_interval: Annotated[int, Meta(ge=1, le=7 * 86400)] | None = None
    validation: Validation | None = None
    dialect: Annotated[str, Meta(pattern="^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")] | None = None
    version: str | None = None

    @property
    def settings(self) -> ChargerSettings:
        """What is set for it."""
        return ChargerSettings(
            heartbeat_interval=self.heartbeat_interval,
            validation=self.validation,
            dialect=self.dialect,
            version=self.version,
        )


class EntryError(EvprotoError):
    """An entry that cannot be used.

    Attributes:
        problems: the key concerned (empty: the entry as a whole), and a sentence, for each. Nothing that
            may be a password is quoted.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{key}: {text}" if key else text for key, text in self.problems))


_LONGEST: Final = 255
"""Characters of a name."""
_TYPES: Final = {
    field.encode_name: get_type_hints(Entry, include_extras=True)[field.name]
    for field in msgspec.structs.fields(Entry)
}
_EXPECTED: Final = {
    "password-hash": "a text that 'evproto serve chargers hash' has made",
    "enabled": "true or false",
    "protocol": "ykc, ocpp or ntxcp",
    "addresses": 'a list of networks, as in ["10.0.0.0/8", "192.0.2.7"]',
    "heartbeat-interval": "a whole number of seconds, from 1 to 604800",
    "validation": "strict, lenient or off",
    "dialect": "the name of a dialect: letters, digits, full stops, hyphens",
    "version": "one of " + ", ".join(version for known in VERSIONS.values() for version in known),
}


def entry_keys() -> tuple[str, ...]:
    """What an entry can have."""
    return tuple(_TYPES)


def read_entry(values: Any) -> Entry:
    """An entry of what stands in a file, a table or on a command line.

    Raises:
        EntryError: it cannot be used; says everything that is wrong.
    """
    if not isinstance(values, dict):
        raise EntryError([("", "this is no table; write [chargers.ID] and what is set for it below")])
    problems: list[tuple[str, str]] = []
    good: dict[str, Any] = {}
    for key, value in values.items():
        if key not in _TYPES:
            problems.append((str(key), unknown_key(str(key))))
            continue
        try:
            good[key.replace("-", "_")] = msgspec.convert(value, _TYPES[key])
        except msgspec.ValidationError:
            problems.append((key, f"it should be {_EXPECTED[key]}"))
    entry = Entry(**good)
    problems += _check(entry)
    if problems:
        raise EntryError(problems)
    return entry


def read_name(charger: str, entry: Entry) -> str:
    """The name of a charger as it is kept: see :attr:`evproto.gateway.admission.Knock.charger`.

    Raises:
        EntryError: no charger can have this name.
    """
    if entry.protocol == "ykc":
        if not re.fullmatch("[0-9A-Fa-f]{14}", charger):
            raise EntryError([("", f"{charger!r} is no pile number; it has 14 digits")])
        # The digits of piles are written with capitals.
        return charger.upper()
    if not charger or len(charger) > _LONGEST:
        raise EntryError([("", f"a name has between 1 and {_LONGEST} characters")])
    if re.search(r"[/\x00-\x1f\x7f-\x9f]|%(?![0-9A-F]{2})", charger):
        text = "in a name / and % are written %2F and %25; so are control characters, and ~ in an id"
        raise EntryError([("", f"{charger!r}: {text}")])
    return charger


def unknown_key(key: str) -> str:
    """What to say of a key that there is not."""
    if key in ("password", "password_hash", "passwordHash"):
        return "only hashes are kept: make one with 'evproto serve chargers hash', and write password-hash"
    close = difflib.get_close_matches(key.replace("_", "-"), _TYPES, n=1, cutoff=0.5)
    return f"a charger has no such key{f'; did you mean {close[0]!r}?' if close else ''}"


def of_text(key: str, text: str) -> Any:
    """The value that a text stands for, on a command line; what it cannot be is for :func:`read_entry`."""
    if key == "enabled":
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    if key == "heartbeat-interval":
        return int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else text
    if key == "addresses":
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def check_settings(settings: ChargerSettings, protocol: Spoken | None) -> Iterable[tuple[str, str]]:
    """What is wrong with the settings of a charger that speaks this protocol, or any: key and sentence."""
    known = [version for spoken in VERSIONS for version in VERSIONS[spoken] if protocol in (None, spoken)]
    if settings.version is not None and settings.version not in known:
        close = difflib.get_close_matches(settings.version, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        yield "version", f"{settings.version!r} is not one of {', '.join(known)}{hint}"
    if settings.dialect is not None and protocol != "ykc":
        more = ": say protocol = ykc too" if protocol is None else ""
        yield "dialect", f"this is for piles of YKC{more}"
    if settings.dialect is not None and settings.version is not None:
        yield "version", "a dialect has a version of its own"
    if protocol == "ykc" and settings.validation is not None:
        yield "validation", "this is for chargers of OCPP and ntxcp"


def _check(entry: Entry) -> Iterable[tuple[str, str]]:
    if entry.password_hash:
        try:
            check_hash(entry.password_hash)
        except HashError as error:
            yield "password-hash", str(error)
        if entry.protocol == "ykc":
            yield "password-hash", "piles of YKC have no passwords"
    for network in entry.addresses:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield "addresses", f"{network!r} is no network; write 10.0.0.0/8 or 192.0.2.7"
    yield from check_settings(entry.settings, entry.protocol)


class Judge:
    """Judges knocks by entries.

    Who sends a password for a charger that is not there, or has none, waits as
    long as with a wrong one, so that nobody learns which chargers there are.
    """

    def __init__(self, passwords: Passwords, *, require_password: bool) -> None:
        """Make a judge; see ``admission.require-password``."""
        self._passwords = passwords
        self._require = require_password

    async def judge(self, knock: Knock, entry: Entry | None, usual: str | None) -> Admitted | Refused:
        """Whether a charger may come in.

        Args:
            knock: what it shows.
            entry: what is kept of it; None: nothing.
            usual: a hash of a password as others here are; None: there is none.

        Raises:
            HashError: what is kept of its password cannot be used.
        """
        if knock.username is not None and knock.username != knock.id:
            return Refused("its user name is not its id")
        right = False
        if knock.password is not None and knock.protocol != "ykc":
            if entry is not None and entry.password_hash:
                right = await self._passwords.is_right(knock.password, entry.password_hash)
            else:
                await self._passwords.waste(knock.password, usual)
        if entry is None:
            return Refused("it is not among the chargers")
        reason = self._against(knock, entry, right)
        return Refused(reason) if reason else Admitted(entry.settings)

    def _against(self, knock: Knock, entry: Entry, right: bool) -> str:
        """Why a charger may not come in; empty: it may."""
        if not entry.enabled:
            return "it is disabled"
        if entry.protocol not in (None, knock.protocol):
            return f"it came with {knock.protocol}, and is one of {entry.protocol}"
        if entry.addresses and not _is_among(knock.address, entry.addresses):
            return "it may not come from this address"
        if entry.version is not None and entry.version not in VERSIONS[knock.protocol]:
            return f"it came with {knock.protocol}, and its version is {entry.version}"
        if knock.protocol == "ykc":
            # Else whoever speaks YKC could be a charger of OCPP without its password.
            return "it has a password, and piles of YKC have none" if entry.password_hash else ""
        if knock.password is not None and entry.password_hash:
            return "" if right else "its password is wrong"
        if shows_certificate(knock):
            return ""
        if entry.password_hash:
            return "its password is missing"
        if self._require:
            return "a password is required, and none is set for it"
        return ""


def shows_certificate(knock: Knock) -> bool:
    """Whether a charger has proved by a certificate who it is."""
    if not knock.certificate:
        return False
    # Not above: who only keeps the list needs no WebSockets.
    from evproto.aio.ocpp.tls import certificate_names

    return knock.id in certificate_names(knock.certificate)


def _is_among(address: str, networks: Iterable[str]) -> bool:
    try:
        host = ipaddress.ip_address(_host(address))
    except ValueError:
        return False
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return any(host in ipaddress.ip_network(network, strict=False) for network in networks)


def _host(address: str) -> str:
    """The address alone, of ``host``, ``host:port`` or ``[host]:port``; of IPv6 also ``host:port``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, _ = address.rpartition(":")
    if not colon:
        return address
    if host.count(":") == 0:
        return host
    return address

"""The settings of a server: from a file, the environment and the command line.

There is one table of settings, :class:`Config` and its sections. A setting has
the same name everywhere: ``tcp-port`` in the section ``[ykc]`` of the file,
``EVPROTO_YKC_TCP_PORT`` in the environment; the command line has options for
the ones that are changed most. What is set in several places is taken from
the command line, then the environment, then the file, then the defaults. What
is wrong is said with the place it comes from, all of it at once.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from evproto.errors import EvprotoError

__all__ = [
    "Config",
    "ConfigError",
    "DropInConfig",
    "ForwardConfig",
    "HttpConfig",
    "Layer",
    "LogConfig",
    "OutboxConfig",
    "ServerConfig",
    "Setting",
    "TokenConfig",
    "YkcConfig",
    "describe",
    "environment_layer",
    "file_layer",
    "is_public",
    "load",
    "settings",
]

_PREFIX: Final = "EVPROTO_"
_NOT_OURS: Final = frozenset(
    {
        "EVPROTO_BODIES",
        "EVPROTO_INSTANCES",
        "EVPROTO_KILLS",
        "EVPROTO_NO_EXTENSIONS",
        "EVPROTO_PURE",
        "EVPROTO_REQUIRE_EXTENSIONS",
        "EVPROTO_REQUIRE_FOREIGN",
        "EVPROTO_SERVER_KILLS",
        "EVPROTO_UPDATE_GOLDEN",
    }
)
"""Variables that mean something to the library, its build or its tests."""

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class ConfigError(EvprotoError):
    """Settings that cannot be used.

    Attributes:
        problems: a sentence for each, beginning with where the setting stands.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class _Section(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    pass


class YkcConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[ykc]``: the port that piles connect to, and what they are answered without being asked for."""

    host: Annotated[str, Meta(description="address that piles connect to")] = "0.0.0.0"
    tcp_port: Annotated[Port, Meta(description="port that piles connect to; 0: any free one")] = 27600
    auto_login: Annotated[
        bool | None, Meta(description="accept logins (0x01); default: yes, in drop-in mode no")
    ] = None
    auto_heartbeat: Annotated[bool, Meta(description="answer heartbeats (0x03); default: yes")] = True
    auto_billing_model: Annotated[
        bool | None,
        Meta(
            description="answer 0x05 and, with a billing-model file, 0x09; default: yes, in drop-in mode no"
        ),
    ] = None
    auto_record_confirm: Annotated[
        bool | None,
        Meta(description="confirm records (0x40) once they are safe; default: yes, in drop-in mode no"),
    ] = None
    auto_start: Annotated[
        bool, Meta(description="let everybody charge who asks a pile to (0x31, 0xA1): for trying out")
    ] = False
    start_balance: Annotated[
        Annotated[float, Meta(ge=0, le=42949672.95)], Meta(description="the balance they have then, in CNY")
    ] = 100.0
    confirm: Annotated[
        Literal["stored", "delivered"],
        Meta(description="when a record is safe: on this disk, or taken by the receivers of events"),
    ] = "stored"
    billing_model: Annotated[
        Path | None, Meta(description="JSON file with the fields of a billing model, as in 0x0A")
    ] = None
    time_sync: Annotated[bool, Meta(description="set the clocks of piles after login, and daily")] = True
    allow: Annotated[tuple[str, ...] | None, Meta(description="the piles that may log in; default: all")] = (
        None
    )
    version: Annotated[
        Literal["1.5", "1.6", "1.7"] | None, Meta(description="speak this version, whatever the login says")
    ] = None
    versions: Annotated[
        dict[str, Literal["1.5", "1.6", "1.7"]], Meta(description="version by pile, where the login is wrong")
    ] = {}
    checksum: Annotated[
        Literal["strict", "either"], Meta(description="either: also checksums with their bytes exchanged")
    ] = "strict"
    duplicate: Annotated[
        Literal["probe", "newest", "refuse"],
        Meta(description="a second connection of a pile: probe asks the first if it lives, newest ends it"),
    ] = "probe"
    answer_timeout: Annotated[Seconds, Meta(description="how long a pile has to answer a command")] = 30.0
    login_timeout: Annotated[Seconds, Meta(description="how long a connection has to log in")] = 30.0
    heartbeat_interval: Annotated[Seconds, Meta(description="between heartbeats; three missed: offline")] = (
        10.0
    )
    max_connections: Annotated[Count, Meta(description="most connections at a time")] = 20_000
    max_connections_per_address: Annotated[
        Annotated[int, Meta(ge=0)], Meta(description="most connections from one address; 0: no limit")
    ] = 2000
    max_frames_per_second: Annotated[Count, Meta(description="most frames a second of one pile")] = 200
    tls_cert: Annotated[Path | None, Meta(description="certificate chain (PEM): piles speak TLS")] = None
    tls_key: Annotated[Path | None, Meta(description="its private key (PEM)")] = None


class TokenConfig(_Section, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """``[[http.tokens]]``: somebody who may use the API. The token itself is nowhere."""

    name: Annotated[str, Meta(min_length=1, description="who has it; stands in the audit log")]
    sha256: Annotated[
        str, Meta(pattern="^[0-9a-fA-F]{64}$", description="SHA-256 of the token: evproto serve token")
    ]
    scope: Annotated[
        Literal["read", "command"],
        Meta(description="read: look at everything; command: also tell piles what to do"),
    ] = "command"


class HttpConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[http]``: the REST API."""

    host: Annotated[str, Meta(description="address of the REST API")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the REST API; 0: any free one")] = 9556
    token: Annotated[
        Annotated[str, Meta(min_length=16)] | None,
        Meta(description="a token in clear, for the environment: EVPROTO_HTTP_TOKEN"),
    ] = None
    tokens: Annotated[tuple[TokenConfig, ...], Meta(description="who may use the API")] = ()
    tls_cert: Annotated[Path | None, Meta(description="certificate chain (PEM): the API speaks HTTPS")] = None
    tls_key: Annotated[Path | None, Meta(description="its private key (PEM)")] = None
    max_body: Annotated[Count, Meta(description="most bytes of a request body")] = 65536
    frames_kept: Annotated[Annotated[int, Meta(ge=0)], Meta(description="recent frames kept per charger")] = (
        32
    )
    page: Annotated[
        Literal["auto", "open", "token", "off"],
        Meta(
            description="who may look at the page without a token: auto (who is on this machine, if the API "
            "is there only), open (everybody), token (nobody); off: there is no page"
        ),
    ] = "auto"


class ForwardConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[forward]``: where events go."""

    to: Annotated[Literal["none", "http", "nats"], Meta(description="how events are forwarded")] = "none"
    servers: Annotated[
        tuple[str, ...],
        Meta(description="URLs, the first that works is used: http://host/path, nats://host:4222"),
    ] = ()
    username: Annotated[str, Meta(description="for the servers")] = ""
    password: Annotated[str, Meta(description="for the servers")] = ""
    timeout: Annotated[Seconds, Meta(description="how long a server has to take an event")] = 10.0
    jetstream: Annotated[
        bool | None,
        Meta(
            description="records through JetStream; default: yes, unless the back end confirms records itself"
        ),
    ] = None
    stream: Annotated[str, Meta(description="name of the JetStream stream")] = "EVPROTO"
    duplicate_window: Annotated[
        Seconds, Meta(description="how long JetStream remembers ids; longer than any outage")
    ] = 86400.0
    leave_out: Annotated[
        tuple[str, ...], Meta(description="messages that are not forwarded, as in heartbeat_request")
    ] = ()


class OutboxConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[outbox]``: the files in which events wait, and commands are written down."""

    data: Annotated[Path, Meta(description="directory of the server's files")] = Path("evproto-data")
    max_bytes: Annotated[
        Count | None, Meta(description="most bytes of the outbox file; default: no limit")
    ] = None
    keep_records: Annotated[Seconds, Meta(description="how long delivered records are kept, in seconds")] = (
        90 * 86400.0
    )
    expire_messages: Annotated[
        Seconds, Meta(description="when undelivered events that are no records are given up, in seconds")
    ] = 86400.0
    keep_audit: Annotated[Seconds, Meta(description="how long the audit log goes back, in seconds")] = (
        365 * 86400.0
    )


class DropInConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[drop-in]``: speak to a back end that was written for ykc-proxy-server."""

    enabled: Annotated[
        bool, Meta(description="take ykc-proxy-server's place: its routes, URLs, subjects and JSON")
    ] = False
    trusted: Annotated[
        tuple[str, ...],
        Meta(description="networks that use the /proxy routes without a token, as 10.0.0.0/8"),
    ] = ()
    vin: Annotated[
        Literal["text", "hex"], Meta(description="hex: VINs as hex digits, as ykc-proxy-server sends them")
    ] = "text"


class LogConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[log]``: what is written to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="debug: every frame, redacted")
    ] = "info"
    format: Annotated[
        Literal["text", "json"], Meta(description="text: key=value; json: one object per line")
    ] = "text"


class ServerConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[server]``: the process."""

    drain_timeout: Annotated[
        Seconds, Meta(description="how long commands and events have to finish when the server stops")
    ] = 20.0
    uvloop: Annotated[bool | None, Meta(description="use uvloop; default: if it is installed")] = None


class Config(_Section, frozen=True, kw_only=True, rename="kebab"):
    """All settings. ``auto_*`` and ``jetstream`` of a loaded one are never None."""

    server: ServerConfig = ServerConfig()
    ykc: YkcConfig = YkcConfig()
    http: HttpConfig = HttpConfig()
    forward: ForwardConfig = ForwardConfig()
    outbox: OutboxConfig = OutboxConfig()
    drop_in: DropInConfig = DropInConfig()
    log: LogConfig = LogConfig()


class Setting(NamedTuple):
    """One setting, as it is called everywhere."""

    key: str
    """Section and name, as in ``ykc.tcp-port``."""
    section: str
    """Attribute of :class:`Config`."""
    name: str
    """Attribute of the section."""
    type: Any
    help: str
    default: Any

    @property
    def variable(self) -> str:
        """The environment variable."""
        return _PREFIX + re.sub("[.-]", "_", self.key).upper()

    @property
    def is_bool(self) -> bool:
        """Whether it is yes or no."""
        return _bare(self.type) is bool

    @property
    def is_list(self) -> bool:
        """Whether it is several texts, separated by commas where there is one text only."""
        return get_origin(_bare(self.type)) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """What it can be, if that is a few words."""
        bare = _bare(self.type)
        return get_args(bare) if get_origin(bare) is Literal else ()


class Layer(NamedTuple):
    """Settings of one origin, by key; ``places`` says for each what to call it in a complaint."""

    values: Mapping[str, Any]
    places: Mapping[str, str]
    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def _bare(kind: Any) -> Any:
    """A type without its limits and without None."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    options = [one for one in get_args(kind) if one is not type(None)]
    if type(None) in get_args(kind) and len(options) == 1:
        return _bare(options[0])
    return kind


def _settings() -> Iterator[Setting]:
    for section in msgspec.structs.fields(Config):
        cls: Any = section.type
        hints = get_type_hints(cls, include_extras=True)
        for field in msgspec.structs.fields(cls):
            kind = hints[field.name]
            meta = [one for one in get_args(kind)[1:] if isinstance(one, Meta)]
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            yield Setting(
                f"{section.encode_name}.{field.encode_name}",
                section.name,
                field.name,
                kind,
                next((one.description for one in meta if one.description), ""),
                default,
            )


_SETTINGS: Final = {setting.key: setting for setting in _settings()}


def settings() -> Mapping[str, Setting]:
    """All settings, by key."""
    return _SETTINGS


# Layers


def file_layer(path: str | Path) -> Layer:
    """The settings in a TOML file.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    import tomllib

    try:
        with Path(path).open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: this is no TOML: {error}"]) from None
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    sections = [field.encode_name for field in msgspec.structs.fields(Config)]
    for section, table in tables.items():
        if section not in sections:
            problems.append(f"{path}: there is no section [{section}]{_suggest(section, sections)}")
            continue
        if not isinstance(table, dict):
            problems.append(f"{path}: {section} is a section: write [{section}] and its settings below")
            continue
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in _SETTINGS:
                names = [one.partition(".")[2] for one in _SETTINGS if one.startswith(f"{section}.")]
                problems.append(f"{path}: [{section}] has no setting {name!r}{_suggest(name, names)}")
                continue
            values[key] = value
            places[key] = f"{path}: {key}"
    base = Path(path).parent
    for key, value in values.items():
        # A path in a file is meant from where the file is.
        if _bare(_SETTINGS[key].type) is Path and isinstance(value, str):
            values[key] = str(base / value)
    return Layer(values, places, tuple(problems))


def environment_layer(environment: Mapping[str, str] | None = None) -> Layer:
    """The settings in the environment. An empty variable is as if it were not there."""
    known = {setting.variable: setting for setting in _SETTINGS.values()}
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    notices: list[str] = []
    for variable, text in (os.environ if environment is None else environment).items():
        if not variable.startswith(_PREFIX) or variable in _NOT_OURS or not text:
            continue
        setting = known.get(variable)
        if setting is None:
            # Container platforms make variables of service names, so a stranger is no error; a slip is.
            close = difflib.get_close_matches(variable, known, n=1, cutoff=0.85)
            if close:
                problems.append(f"{variable}: there is no such variable; did you mean {close[0]}?")
            else:
                notices.append(f"the environment variable {variable} means nothing to evproto")
            continue
        values[setting.key] = text
        places[setting.key] = variable
    return Layer(values, places, tuple(problems), tuple(notices))


def load(*layers: Layer) -> Config:
    """The settings of several layers, the first one deciding.

    Raises:
        ConfigError: something is wrong; it says all of it.
    """
    problems = [problem for layer in layers for problem in layer.problems]
    places: dict[str, str] = {}
    sections: dict[str, dict[str, Any]] = {}
    for key, setting in _SETTINGS.items():
        for layer in layers:
            if key not in layer.values:
                continue
            places[key] = layer.places.get(key, key)
            try:
                value = _read(setting, layer.values[key])
            except ValueError as error:
                problems.append(f"{places[key]}: {error}")
            else:
                sections.setdefault(setting.section, {})[setting.name] = value
            break
    made: dict[str, Any] = {}
    for section in msgspec.structs.fields(Config):
        made[section.name] = section.type(**sections.get(section.name, {}))
    config = _resolved(Config(**made))
    problems += _check(config, places)
    if problems:
        raise ConfigError(problems)
    return config


_YES: Final = frozenset({"1", "t", "true", "yes", "on"})
_NO: Final = frozenset({"0", "f", "false", "no", "off"})


def _read(setting: Setting, value: Any) -> Any:
    """A value of the setting's type, of what a layer has.

    Raises:
        ValueError: it is none; says what it should be.
    """
    if isinstance(value, str) and value != "" and _bare(setting.type) is not str:
        if setting.is_list:
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif setting.is_bool:
            if value.lower() not in _YES | _NO:
                raise ValueError(f"{value!r} is not true or false")
            value = value.lower() in _YES
        elif get_origin(_bare(setting.type)) is dict:
            pairs = [part.partition("=") for part in value.split(",") if part.strip()]
            if not all(equals for _, equals, _ in pairs):
                raise ValueError(f"{value!r} is not of the form name=value,name=value")
            value = {name.strip(): what.strip() for name, _, what in pairs}
    elif isinstance(value, bool) and not setting.is_bool:
        raise ValueError(f"{str(value).lower()} is not what is expected: {setting.help}")
    bare = _bare(setting.type)
    if bare is Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(f"{value!r} is no path")
        return Path(value)
    if isinstance(value, str) and bare in (int, float):
        try:
            value = bare(value)
        except ValueError:
            raise ValueError(f"{value!r} is no {'whole ' if bare is int else ''}number") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that anything can be set to")
    try:
        # Text of a number is a number where it comes from the environment or the command line.
        return msgspec.convert(value, setting.type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        if setting.choices:
            raise ValueError(
                f"{value!r} is not one of {', '.join(setting.choices)}{_suggest(str(value), setting.choices)}"
            ) from None
        said = str(error)
        shown = "the value" if "token" in setting.key or "password" in setting.key else repr(value)
        raise ValueError(f"{shown} does not fit: {said[:1].lower()}{said[1:]}") from None


def _resolved(config: Config) -> Config:
    """With the defaults that depend on other settings."""
    alone = not config.drop_in.enabled
    ykc = config.ykc
    return msgspec.structs.replace(
        config,
        ykc=msgspec.structs.replace(
            ykc,
            auto_login=alone if ykc.auto_login is None else ykc.auto_login,
            auto_billing_model=alone if ykc.auto_billing_model is None else ykc.auto_billing_model,
            auto_record_confirm=alone if ykc.auto_record_confirm is None else ykc.auto_record_confirm,
        ),
        forward=msgspec.structs.replace(
            config.forward,
            jetstream=(alone or bool(ykc.auto_record_confirm))
            if config.forward.jetstream is None
            else config.forward.jetstream,
        ),
    )


def _check(config: Config, places: Mapping[str, str]) -> Iterator[str]:
    """What does not go together."""

    def at(key: str) -> str:
        return places.get(key, f"{key} (its default)")

    forward = config.forward
    if forward.to != "none" and not forward.servers:
        yield f"{at('forward.to')}: forwarding to {forward.to} needs servers: set forward.servers (--servers)"
    if forward.to == "none" and forward.servers:
        yield f"{at('forward.servers')}: nothing is forwarded unless forward.to (--forward) is http or nats"
    schemes = {"http": ("http", "https"), "nats": ("nats", "tls", "ws", "wss")}.get(forward.to, ())
    for server in forward.servers:
        scheme, separator, rest = server.partition("://")
        if schemes and (not separator or scheme not in schemes or not rest):
            yield f"{at('forward.servers')}: {server!r} is no URL; write {schemes[0]}://{rest or server}"
    if config.ykc.confirm == "delivered" and forward.to == "none":
        yield (
            f"{at('ykc.confirm')}: records can be confirmed when they are delivered "
            "only if they are forwarded: set forward.to"
        )
    for name, cert, private in (
        ("ykc", config.ykc.tls_cert, config.ykc.tls_key),
        ("http", config.http.tls_cert, config.http.tls_key),
    ):
        if (cert is None) != (private is None):
            given = f"{name}.tls-cert" if private is None else f"{name}.tls-key"
            yield f"{at(given)}: TLS needs both a certificate and its key"
    for key, path in (
        ("ykc.tls-cert", config.ykc.tls_cert),
        ("ykc.tls-key", config.ykc.tls_key),
        ("http.tls-cert", config.http.tls_cert),
        ("http.tls-key", config.http.tls_key),
        ("ykc.billing-model", config.ykc.billing_model),
    ):
        if path is not None and not path.is_file():
            yield f"{at(key)}: there is no file {path}"
    for pile in (*(config.ykc.allow or ()), *config.ykc.versions):
        if not re.fullmatch("[0-9A-Fa-f]{14}", pile):
            key = "ykc.allow" if pile in (config.ykc.allow or ()) else "ykc.versions"
            yield f"{at(key)}: {pile!r} is no pile number; it has 14 digits"
    for network in config.drop_in.trusted:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield f"{at('drop-in.trusted')}: {network!r} is no network; write 10.0.0.0/8 or 192.0.2.7"
    if len({token.name for token in config.http.tokens}) < len(config.http.tokens):
        yield f"{at('http.tokens')}: two tokens have the same name"
    if not config.http.token and not config.http.tokens and is_public(config.http.host):
        yield (
            f"{at('http.host')}: {config.http.host} can be reached from other machines, and no token is set. "
            "Make one with 'evproto serve token', or listen on 127.0.0.1"
        )


def is_public(host: str) -> bool:
    """Whether an address to listen on may be reached from other machines.

    Names other than ``localhost`` count as public: what they mean changes.
    """
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() != "localhost"


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.replace("_", "-"), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def describe(config: Config) -> dict[str, Any]:
    """The settings by key, for the log; what is secret is left out."""
    out: dict[str, Any] = {}
    for key, setting in _SETTINGS.items():
        value = getattr(getattr(config, setting.section), setting.name)
        if key in ("http.token", "forward.password"):
            value = "***" if value else None
        elif key == "http.tokens":
            value = [token.name for token in value]
        elif key == "forward.servers":
            value = [re.sub("//[^/@]*@", "//***@", server) for server in value]
        out[key] = str(value) if isinstance(value, Path) else value
    return out

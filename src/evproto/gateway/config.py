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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from evproto.errors import EvprotoError
from evproto.gateway.sections import (
    SCHEMES,
    AdmissionConfig,
    CaptureConfig,
    ClusterConfig,
    Config,
    DropInConfig,
    ForwardConfig,
    HttpConfig,
    LogConfig,
    NtxcpConfig,
    OcppConfig,
    OutboxConfig,
    ServerConfig,
    TokenConfig,
    WebSocketConfig,
    YkcConfig,
)

__all__ = [
    "AdmissionConfig",
    "CaptureConfig",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "DropInConfig",
    "ForwardConfig",
    "HttpConfig",
    "Layer",
    "LogConfig",
    "NtxcpConfig",
    "OcppConfig",
    "OutboxConfig",
    "ServerConfig",
    "Setting",
    "TokenConfig",
    "WebSocketConfig",
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


class ConfigError(EvprotoError):
    """Settings that cannot be used.

    Attributes:
        problems: a sentence for each, beginning with where the setting stands.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


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
        """What it can be, or each of several, if that is a few words."""
        bare = _bare(self.type)
        if self.is_list:
            bare = _bare(get_args(bare)[0])
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
            given = value if isinstance(value, list) else [value]
            wrong = next((one for one in given if one not in setting.choices), value)
            raise ValueError(
                f"{wrong!r} is not one of {', '.join(setting.choices)}{_suggest(str(wrong), setting.choices)}"
            ) from None
        said = str(error)
        shown = "the value" if "token" in setting.key or "password" in setting.key else repr(value)
        raise ValueError(f"{shown} does not fit: {said[:1].lower()}{said[1:]}") from None


def _resolved(config: Config) -> Config:
    """With the defaults that depend on other settings."""
    alone = not config.drop_in.enabled
    ykc = config.ykc
    none_named = not any(part.enabled for part in (ykc, config.ocpp, config.ntxcp))
    forward = config.forward
    jetstream = alone or bool(ykc.auto_record_confirm) if forward.jetstream is None else forward.jetstream
    # The disk of a node that dies in a cluster is out of reach for the others.
    shared = bool(config.cluster.servers) and "nats" in forward.kinds and jetstream
    confirm: Literal["stored", "delivered"] = "delivered" if shared else "stored"
    return msgspec.structs.replace(
        config,
        ocpp=msgspec.structs.replace(
            config.ocpp, enabled=bool(config.ocpp.enabled), confirm=config.ocpp.confirm or confirm
        ),
        ntxcp=msgspec.structs.replace(config.ntxcp, enabled=bool(config.ntxcp.enabled)),
        ykc=msgspec.structs.replace(
            ykc,
            enabled=none_named if ykc.enabled is None else ykc.enabled,
            confirm=ykc.confirm or confirm,
            auto_login=alone if ykc.auto_login is None else ykc.auto_login,
            auto_billing_model=alone if ykc.auto_billing_model is None else ykc.auto_billing_model,
            auto_record_confirm=alone if ykc.auto_record_confirm is None else ykc.auto_record_confirm,
        ),
        forward=msgspec.structs.replace(forward, jetstream=jetstream),
    )


def _check(config: Config, places: Mapping[str, str]) -> Iterator[str]:
    """What does not go together."""

    def at(key: str) -> str:
        return places.get(key, f"{key} (its default)")

    forward = config.forward
    yield from _check_forwarding(forward, at)
    for key, confirm in (("ykc.confirm", config.ykc.confirm), ("ocpp.confirm", config.ocpp.confirm)):
        if confirm == "delivered" and not forward.kinds:
            yield (
                f"{at(key)}: records can be confirmed when they are delivered "
                "only if they are forwarded: set forward.to"
            )
    yield from _check_chargers(config, at)
    for name, cert, private in (
        ("ykc", config.ykc.tls_cert, config.ykc.tls_key),
        ("websocket", config.websocket.tls_cert, config.websocket.tls_key),
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
        ("websocket.tls-cert", config.websocket.tls_cert),
        ("websocket.tls-key", config.websocket.tls_key),
        ("websocket.tls-client-ca", config.websocket.tls_client_ca),
        ("admission.file", config.admission.file),
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


def _check_forwarding(forward: ForwardConfig, at: Callable[[str], str]) -> Iterator[str]:
    """What does not go together in the section about receivers of events."""
    kinds, servers = forward.kinds, forward.servers
    if kinds and "none" in forward.to:
        yield f"{at('forward.to')}: none is not forwarded beside {' and '.join(kinds)}"
    missing = [kind for kind in kinds if not forward.servers_of(kind)]
    if missing and (not servers or len(kinds) > 1):
        yield (
            f"{at('forward.to')}: forwarding to {' and '.join(missing)} needs servers: "
            "set forward.servers (--servers)"
        )
    if not kinds and servers:
        yield f"{at('forward.servers')}: nothing is forwarded unless forward.to (--forward) is http or nats"
    schemes = [scheme for kind in kinds for scheme in SCHEMES[kind]]
    for server in servers if kinds else ():
        scheme, separator, rest = server.partition("://")
        if not separator or scheme not in schemes or not rest:
            right = " or ".join(f"{SCHEMES[kind][0]}://{rest or server}" for kind in kinds)
            yield f"{at('forward.servers')}: {server!r} is no URL; write {right}"
    if len(kinds) > 1 and (forward.username or forward.password):
        yield (
            f"{at('forward.username' if forward.username else 'forward.password')}: there are servers of two "
            "kinds: write it into the URLs it is for, as in nats://user:password@host:4222"
        )


def _check_chargers(config: Config, at: Callable[[str], str]) -> Iterator[str]:
    """What does not go together in the sections about chargers of OCPP and ntxcp, and about all chargers."""
    sockets, ocpp, admission = config.websocket, config.ocpp, config.admission
    if not any(part.enabled for part in (config.ykc, ocpp, config.ntxcp)):
        yield f"{at('ykc.enabled')}: no protocol is served: enable ykc, ocpp or ntxcp"
    if sockets.tls_port is not None and sockets.tls_cert is None:
        yield f"{at('websocket.tls-port')}: wss:// needs websocket.tls-cert and websocket.tls-key"
    if sockets.tls_port is None:
        for key, value in (("tls-cert", sockets.tls_cert), ("tls-client-ca", sockets.tls_client_ca)):
            if value is not None:
                yield f"{at(f'websocket.{key}')}: nothing speaks TLS without websocket.tls-port"
    if not sockets.plain and sockets.tls_port is None and (ocpp.enabled or config.ntxcp.enabled):
        yield f"{at('websocket.plain')}: neither ws:// nor wss:// is served: set websocket.tls-port"
    if config.drop_in.enabled and not config.ykc.enabled:
        yield f"{at('drop-in.enabled')}: ykc-proxy-server speaks YKC, and ykc is not enabled"
    for route in sockets.routes:
        if not route.startswith("/") or "{id}" not in route:
            yield f"{at('websocket.routes')}: {route!r} is no path with {{id}} in it, as in /ocpp/{{id}}"
    if ocpp.authorize == "hook" and not ocpp.hook:
        yield f"{at('ocpp.authorize')}: set the URL that is asked: ocpp.hook"
    if ocpp.ask and not ocpp.hook:
        yield f"{at('ocpp.ask')}: set the URL that is asked: ocpp.hook"
    if admission.mode == "open" and admission.require_password:
        yield f"{at('admission.require-password')}: nobody knows the passwords while admission.mode is open"
    if admission.mode == "file" and admission.file is None:
        yield f"{at('admission.mode')}: set the file with the chargers: admission.file"
    if admission.mode == "hook" and not admission.hook:
        yield f"{at('admission.mode')}: set the URL that is asked: admission.hook"
    # What would be ignored is most often a mode that was forgotten.
    if admission.file is not None and admission.mode != "file":
        yield f"{at('admission.file')}: nobody reads it unless admission.mode is file"
    if admission.hook and admission.mode != "hook":
        yield f"{at('admission.hook')}: nobody asks it unless admission.mode is hook"
    if ocpp.hook and not ocpp.ask and ocpp.authorize != "hook":
        yield f"{at('ocpp.hook')}: nobody asks it unless ocpp.authorize is hook, or ocpp.ask names actions"
    if config.cluster.node and not config.cluster.servers:
        yield f"{at('cluster.node')}: a node without a cluster: set cluster.servers (--cluster)"
    for key, url in (("ocpp.hook", ocpp.hook), ("admission.hook", admission.hook)):
        if url and not re.match("https?://[^/]", url):
            yield f"{at(key)}: {url!r} is no URL; write http://host/path"
    for server in config.cluster.servers:
        if not re.match("(nats|tls|ws|wss)://[^/]", server):
            yield f"{at('cluster.servers')}: {server!r} is no URL; write nats://host:4222"


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
        if key in ("http.token", "forward.password", "cluster.password"):
            value = "***" if value else None
        elif key == "http.tokens":
            value = [token.name for token in value]
        elif key == "forward.to":
            value = ",".join(value) or "none"
        elif key in ("forward.servers", "cluster.servers"):
            value = [re.sub("//[^/@]*@", "//***@", server) for server in value]
        elif key in ("ocpp.hook", "admission.hook"):
            value = re.sub("//[^/@]*@", "//***@", value)
        out[key] = str(value) if isinstance(value, Path) else value
    return out

"""The sections of the settings: what can be set, what it means, what it is by itself.

``evproto.gateway.config`` reads them from files, environment and command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "SCHEMES",
    "AdmissionConfig",
    "CaptureConfig",
    "ClusterConfig",
    "Config",
    "DropInConfig",
    "ForwardConfig",
    "HttpConfig",
    "LogConfig",
    "NtxcpConfig",
    "OcppConfig",
    "OutboxConfig",
    "ServerConfig",
    "TokenConfig",
    "WebSocketConfig",
    "YkcConfig",
]

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    pass


class YkcConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[ykc]``: the port that piles connect to, and what they are answered without being asked for."""

    enabled: Annotated[
        bool | None,
        Meta(description="serve piles of YKC; default: with 'evproto serve ykc' and 'evproto serve all'"),
    ] = None
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
        Literal["stored", "delivered"] | None,
        Meta(
            description="when a record is safe: on this disk, or taken by the receivers of events; default: "
            "stored, and delivered in a cluster that forwards through JetStream"
        ),
    ] = None
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


class WebSocketConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[websocket]``: the ports that chargers of OCPP and ntxcp connect to; each says what it speaks."""

    host: Annotated[str, Meta(description="address that chargers of OCPP and ntxcp connect to")] = "0.0.0.0"
    plain: Annotated[bool, Meta(description="serve ws://, without TLS; default: yes")] = True
    port: Annotated[Port, Meta(description="port for ws://; 0: any free one")] = 9000
    tls_port: Annotated[Port | None, Meta(description="port for wss://; 0: any free one; default: none")] = (
        None
    )
    tls_cert: Annotated[Path | None, Meta(description="certificate chain (PEM) for wss://")] = None
    tls_key: Annotated[Path | None, Meta(description="its private key (PEM)")] = None
    tls_client_ca: Annotated[
        Path | None,
        Meta(description="chargers on wss:// show a certificate of these (PEM): security profile 3"),
    ] = None
    routes: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="paths of chargers' URLs; {id} and {tenant} are who they are"),
    ] = ("/ocpp/{id}", "/ocppj/1.6/{id}", "/{id}")
    default_version: Annotated[
        Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1", "ntxcp1.0"] | None,
        Meta(description="what chargers speak that do not say; default: they are turned away"),
    ] = None
    duplicate: Annotated[
        Literal["newest", "alive", "oldest"],
        Meta(
            description="a second connection of a charger: newest ends the first, alive asks it whether it "
            "lives, oldest is refused"
        ),
    ] = "newest"
    ping_interval: Annotated[Seconds, Meta(description="silence after which a charger is pinged")] = 30.0
    ping_timeout: Annotated[Seconds, Meta(description="silence after that, after which it is offline")] = 20.0
    answer_timeout: Annotated[Seconds, Meta(description="how long a charger has to answer a command")] = 30.0
    max_connections: Annotated[Count, Meta(description="most connections at a time")] = 20_000
    max_message: Annotated[Count, Meta(description="most bytes of a message")] = 1 << 20
    max_messages_per_second: Annotated[
        Count, Meta(description="most messages a second of one charger, in the long run")
    ] = 100
    deflate: Annotated[bool, Meta(description="compress where chargers can; costs memory and time")] = False


class OcppConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[ocpp]``: what chargers of OCPP are answered."""

    enabled: Annotated[
        bool | None,
        Meta(
            description="serve chargers of OCPP; default: with 'evproto serve ocpp' and 'evproto serve all'"
        ),
    ] = None
    versions: Annotated[
        tuple[Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"], ...],
        Meta(min_length=1, description="the versions that are spoken"),
    ] = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
    heartbeat_interval: Annotated[
        Annotated[int, Meta(ge=1)], Meta(description="between heartbeats of a charger, in seconds")
    ] = 300
    validation: Annotated[
        Literal["strict", "lenient", "off"],
        Meta(description="what chargers may break: strict: nothing; lenient: what can be understood"),
    ] = "lenient"
    boot: Annotated[
        Literal["accept", "pending"],
        Meta(description="accept: all chargers that were let in; pending: none, they wait"),
    ] = "accept"
    authorize: Annotated[
        Literal["accept", "refuse", "hook"],
        Meta(description="who may charge: everybody, nobody, or whom the ocpp.hook says"),
    ] = "accept"
    hook: Annotated[
        str,
        Meta(description="URL that is asked for the answer to the actions of ocpp.ask, and to Authorize"),
    ] = ""
    ask: Annotated[
        tuple[str, ...], Meta(description="actions whose answer the hook gives, as in DataTransfer")
    ] = ()
    hook_timeout: Annotated[Seconds, Meta(description="how long the hook has to answer")] = 5.0
    confirm: Annotated[
        Literal["stored", "delivered"] | None,
        Meta(
            description="when transaction messages are answered: when they are on this disk, or taken by the "
            "receivers of events; default: as ykc.confirm"
        ),
    ] = None


class NtxcpConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[ntxcp]``: what gateways of ntxcp are answered."""

    enabled: Annotated[
        bool | None,
        Meta(
            description="serve gateways of ntxcp; default: with 'evproto serve ntxcp' and 'evproto serve all'"
        ),
    ] = None
    heartbeat_interval: Annotated[
        Annotated[int, Meta(ge=1)], Meta(description="between heartbeats of a gateway, in seconds")
    ] = 86400
    validation: Annotated[
        Literal["strict", "lenient", "off"], Meta(description="what gateways may break, as in [ocpp]")
    ] = "lenient"


class AdmissionConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[admission]``: which chargers may come in, of all protocols, and what is set for each."""

    mode: Annotated[
        Literal["open", "file", "table", "hook"],
        Meta(
            description="open: all; file: those in a TOML file; table: those in the server's own list, kept "
            "with 'evproto serve chargers'; hook: those that a URL lets in"
        ),
    ] = "open"
    file: Annotated[
        Path | None, Meta(description="TOML file with the chargers; read again when it changes")
    ] = None
    hook: Annotated[str, Meta(description="URL that is asked for each connection")] = ""
    hook_timeout: Annotated[Seconds, Meta(description="how long the hook has to answer")] = 5.0
    hook_failure: Annotated[
        Literal["refuse", "accept"],
        Meta(description="what becomes of chargers while the hook does not answer"),
    ] = "refuse"
    require_password: Annotated[
        bool, Meta(description="chargers of OCPP and ntxcp need a password, even if none is set for them")
    ] = False


class ClusterConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[cluster]``: several of these servers that act as one, over NATS with JetStream."""

    servers: Annotated[
        tuple[str, ...], Meta(description="NATS servers of the cluster, nats://host:4222; none: it is alone")
    ] = ()
    node: Annotated[
        Annotated[str, Meta(max_length=64)],
        Meta(description="name of this node, another one for each; default: host name and process id"),
    ] = ""
    name: Annotated[
        Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,32}$")], Meta(description="name of the cluster")
    ] = "evproto"
    lease: Annotated[
        Annotated[float, Meta(ge=1)],
        Meta(description="seconds after which a node that says nothing is taken for dead"),
    ] = 10.0
    replicas: Annotated[
        Annotated[int, Meta(ge=1, le=5)],
        Meta(description="NATS servers that keep what the nodes share; 3 where NATS is a cluster"),
    ] = 1
    username: Annotated[str, Meta(description="for the NATS servers")] = ""
    password: Annotated[str, Meta(description="for the NATS servers")] = ""


class CaptureConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[capture]``: what chargers say and are told, written down as it is on the wire."""

    file: Annotated[
        Path | None, Meta(description="file that 'evproto decode' and 'evproto replay' read; default: none")
    ] = None
    max_bytes: Annotated[
        Count, Meta(description="size at which a file is put aside as FILE.1 and a new one begun")
    ] = 256 << 20
    files: Annotated[Count, Meta(description="most files that are kept")] = 4
    redact: Annotated[
        bool, Meta(description="without cards, VINs and passwords; such a capture cannot be replayed")
    ] = False


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


SCHEMES: Final = {"http": ("http", "https"), "nats": ("nats", "tls", "ws", "wss")}
"""How the URLs of servers begin, by their kind."""


class ForwardConfig(_Section, frozen=True, kw_only=True, rename="kebab"):
    """``[forward]``: where events go."""

    to: Annotated[
        tuple[Literal["none", "http", "nats"], ...],
        Meta(description="how events are forwarded; http,nats: each event in both ways; default: not at all"),
    ] = ()
    servers: Annotated[
        tuple[str, ...],
        Meta(
            description="URLs, of each kind the first that works is used: http://host/path, nats://host:4222"
        ),
    ] = ()
    username: Annotated[
        str, Meta(description="for the servers; where they are of two kinds, it stands in the URLs")
    ] = ""
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

    @property
    def kinds(self) -> tuple[str, ...]:
        """``http``, ``nats``, both or none."""
        return tuple(dict.fromkeys(kind for kind in self.to if kind != "none"))

    def servers_of(self, kind: str) -> tuple[str, ...]:
        """The servers of one kind, told by how their URLs begin."""
        return tuple(one for one in self.servers if one.partition("://")[0] in SCHEMES[kind])


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
    """All settings. ``enabled``, ``auto_*``, ``confirm`` and ``jetstream`` of a loaded one are never None."""

    server: ServerConfig = ServerConfig()
    ykc: YkcConfig = YkcConfig()
    websocket: WebSocketConfig = WebSocketConfig()
    ocpp: OcppConfig = OcppConfig()
    ntxcp: NtxcpConfig = NtxcpConfig()
    admission: AdmissionConfig = AdmissionConfig()
    cluster: ClusterConfig = ClusterConfig()
    capture: CaptureConfig = CaptureConfig()
    http: HttpConfig = HttpConfig()
    forward: ForwardConfig = ForwardConfig()
    outbox: OutboxConfig = OutboxConfig()
    drop_in: DropInConfig = DropInConfig()
    log: LogConfig = LogConfig()

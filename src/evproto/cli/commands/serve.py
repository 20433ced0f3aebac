"""``evproto serve``: the server between chargers and a back end."""

from __future__ import annotations

import argparse
import difflib
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError
from evproto.cli.seed_options import modernized
from evproto.cli.serving_chargers import add_chargers, run_chargers

SUMMARY: Final = "serve chargers: answer, store, forward, command"
DESCRIPTION: Final = (
    "Serve chargers: answer what they ask, store and forward what they say, and let a back end command them "
    "through a REST API. Settings come from the command line, then the environment (EVPROTO_...), then a "
    "TOML file, then the defaults."
)
EXAMPLES: Final = (
    ("evproto serve ykc --check", "the settings that piles would be served with"),
    ("evproto serve all --check", "the same, with chargers of all protocols"),
    ("evproto serve settings", "everything that can be set, and where"),
    ("evproto serve token", "make a token for the API, and what to write into the settings"),
)
EPILOG: Final = """
They serve until SIGTERM or SIGINT; see `evproto serve all --help`, docs/gateway.md and docs/serve-ykc.md.
"""

_YKC_EXAMPLES: Final = """\
examples:
  # piles on port 27600, the API on http://127.0.0.1:9556, files in ./evproto-data
  evproto serve ykc
  # what piles say is posted to a back end, at least once and in order
  evproto serve ykc --forward http --servers http://127.0.0.1:8080/events
  # in the place of ykc-proxy-server
  evproto serve ykc --drop-in --forward nats --servers nats://127.0.0.1:4222

Settings without an option stand in the file, or in the environment
(EVPROTO_YKC_ALLOW=...); `evproto serve settings` lists all of them. The options
of ykc-proxy-server (-tcpPort 27600 -autoVerification=true ...) are taken too.
SIGTERM or SIGINT: nothing new is taken, what is under way is finished; a second
one ends it at once.
Exit status: 0 stopped, 2 wrong settings, or an address or file that cannot be used.
"""

_ALL_EXAMPLES: Final = """\
examples:
  # piles on port 27600, chargers at ws://HOST:9000/ocpp/{{id}}, the API on http://127.0.0.1:9556
  evproto serve {what}
  # the settings of a file, which also says which protocols are served
  evproto serve {what} --config gateway.toml

Settings without an option stand in the file, or in the environment
(EVPROTO_OCPP_AUTHORIZE=...); `evproto serve settings` lists all of them.
SIGTERM or SIGINT: nothing new is taken, what is under way is finished; a second
one ends it at once.
Exit status: 0 stopped, 2 wrong settings, or an address or file that cannot be used.
"""

_PROTOCOLS: Final = ("ykc", "ocpp", "ntxcp")

_WHATS: Final = {
    "all": ("all protocols", "Serve chargers of all protocols that are not switched off."),
    "ykc": ("YKC (云快充) piles", "Serve YKC (云快充) piles."),
    "ocpp": ("OCPP 1.6, 2.0.1 and 2.1 chargers", "Serve chargers of OCPP 1.6, 2.0.1 and 2.1."),
    "ntxcp": ("ntxcp gateways", "Serve gateways of ntxcp."),
}
"""What can be served: for the list, and for the page of help."""

_YKC_OPTIONS: Final = {
    "--host": "ykc.host",
    "--tcp-port": "ykc.tcp-port",
    "--auto-login": "ykc.auto-login",
    "--auto-heartbeat": "ykc.auto-heartbeat",
    "--auto-billing-model": "ykc.auto-billing-model",
    "--auto-record-confirm": "ykc.auto-record-confirm",
    "--auto-start": "ykc.auto-start",
    "--confirm": "ykc.confirm",
    "--billing-model": "ykc.billing-model",
    "--drop-in": "drop-in.enabled",
}
"""Options of what serves piles, and the settings they set."""

_SOCKET_OPTIONS: Final = {
    "--ws-host": "websocket.host",
    "--ws-port": "websocket.port",
    "--wss-port": "websocket.tls-port",
    "--tls-cert": "websocket.tls-cert",
    "--tls-key": "websocket.tls-key",
    "--authorize": "ocpp.authorize",
    "--validation": "ocpp.validation",
}
"""Options of what serves chargers of OCPP and ntxcp."""

_OPTIONS: Final = {
    "--http-host": "http.host",
    "--http-port": "http.port",
    "--admission": "admission.mode",
    "--forward": "forward.to",
    "--servers": "forward.servers",
    "--username": "forward.username",
    "--password": "forward.password",
    "--data": "outbox.data",
    "--cluster": "cluster.servers",
    "--node": "cluster.node",
    "--capture": "capture.file",
    "--drain-timeout": "server.drain-timeout",
    "--log-level": "log.level",
    "--log-format": "log.format",
}
"""Options of everything that serves."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and their options."""
    base: Any = type(parser)

    class SeedParser(base):  # type: ignore[misc]
        """Takes the spellings of ykc-proxy-server too."""

        def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
            given: list[str] = list(args or ())
            notices: list[str] = []
            if self.prog.endswith(" ykc"):
                given, notices = modernized(given)
            result, rest = super().parse_known_args(given, namespace)
            for word in rest:
                close = difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, n=1)
                if word.startswith("-") and close:
                    self.error(f"there is no option {word}; did you mean {close[0]}?")
            result.notices = notices
            return result, rest

    subparsers = parser.add_subparsers(title="what", metavar="WHAT", required=True, parser_class=SeedParser)
    for what, (summary, description) in _WHATS.items():
        serve = subparsers.add_parser(
            what,
            help=summary,
            description=description,
            epilog=_YKC_EXAMPLES if what == "ykc" else _ALL_EXAMPLES.format(what=what),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_settings(serve, options_of(what))
        serve.set_defaults(what=what)
    token = subparsers.add_parser(
        "token", help="make a token for the API", description="Make a token for the API."
    )
    token.set_defaults(what="token")
    listing = subparsers.add_parser(
        "settings",
        help="list all settings",
        description="List all settings with their variables and defaults.",
    )
    listing.set_defaults(what="settings")
    add_chargers(subparsers, base)


def options_of(what: str) -> dict[str, str]:
    """The options that serving it takes, and the settings they set."""
    options = dict(_OPTIONS)
    if what in ("ykc", "all"):
        options |= _YKC_OPTIONS
    if what != "ykc":
        options |= _SOCKET_OPTIONS
    return options


def _add_settings(parser: argparse.ArgumentParser, options: dict[str, str]) -> None:
    from evproto.gateway.config import settings

    known = settings()
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument(
        "--check", action="store_true", help="check the settings, say what they are, and do not serve"
    )
    for option, key in options.items():
        setting = known[key]
        text = setting.help.replace("%", "%%")
        default = setting.default
        if setting.choices:
            text += f": {', '.join(setting.choices)}"
        if default not in (None, "", ()) and not setting.is_bool:
            text += f" (default: {default})"
        if setting.is_bool:
            parser.add_argument(
                option, dest=key, nargs="?", const="true", default=None, metavar="true|false", help=text
            )
            parser.add_argument(
                f"--no-{option[2:]}", dest=key, action="store_const", const="false", help=argparse.SUPPRESS
            )
        else:
            name = option.rsplit("-", 1)[-1].upper()
            parser.add_argument(option, dest=key, default=None, metavar=name, help=text)


def run(options: argparse.Namespace, console: Console) -> int:
    """Serve, or do what else was asked for."""
    if options.what == "token":
        return _token(console)
    if options.what == "settings":
        return _settings(console)
    if options.what == "chargers":
        return run_chargers(options, console)
    for notice in options.notices:
        console.note(notice)
    return _serve(options, console)


def _token(console: Console) -> int:
    from evproto.gateway.tokens import hash_of, new_token

    token = new_token()
    console.line(f"token   {token}")
    console.line(f"sha256  {hash_of(token)}")
    console.line("")
    console.line("Give the token to the caller (Authorization: Bearer ...), and write into the settings:")
    console.line("")
    console.line("[[http.tokens]]")
    console.line('name = "back end"')
    console.line(f'sha256 = "{hash_of(token)}"')
    console.line('scope = "command"    # or "read"')
    console.flush()
    return 0


def _settings(console: Console) -> int:
    from evproto.gateway.config import settings

    section = ""
    for setting in settings().values():
        name, _, key = setting.key.partition(".")
        if name != section:
            console.line(f"{'' if not section else chr(10)}[{name}]")
            section = name
        default = setting.default
        shown = (
            ""
            if default in (None, (), {})
            else f" (default: {str(default).lower() if setting.is_bool else default})"
        )
        console.line(f"{key:<28} {setting.variable}")
        choices = f": {', '.join(setting.choices)}" if setting.choices else ""
        console.line(f"{'':<28} {setting.help}{choices}{shown}")
    console.flush()
    return 0


def _serve(options: argparse.Namespace, console: Console) -> int:
    import asyncio

    from evproto.gateway.config import ConfigError, Layer, describe, environment_layer, file_layer, load

    taken = options_of(options.what)
    given = {key: value for key in taken.values() if (value := getattr(options, key, None)) is not None}
    places = {key: option for option, key in taken.items()}
    wanted = {f"{name}.enabled": True for name in _PROTOCOLS if options.what in (name, "all")}
    try:
        environment = environment_layer()
        layers = [Layer(given, places), environment]
        if options.config is not None:
            layers.append(file_layer(options.config))
        # What the file switches on or off comes before "all", and one protocol by name before the file.
        layers.insert(len(layers) if options.what == "all" else 0, Layer(wanted, {}))
        config = load(*layers)
    except ConfigError as error:
        raise UsageError(*error.problems) from None
    for notice in environment.notices:
        console.note(notice)
    try:
        from evproto.gateway.app import StartError, run
        from evproto.gateway.logs import set_up
    except ImportError as error:
        raise UsageError(
            f"serving needs more packages ({error.name}): pip install 'evproto[server]'"
        ) from None
    if options.check:
        for key, value in describe(config).items():
            console.line(f"{key} = {value!r}")
        console.flush()
        return 0
    console.flush()
    set_up(config.log.level, config.log.format)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(config.server.uvloop)) as runner:
            return runner.run(run(config))
    except ConfigError as error:
        raise UsageError(*error.problems) from None
    except StartError as error:
        raise UsageError(str(error)) from None


def _loop_factory(wanted: bool | None) -> Any:
    if wanted is False:
        return None
    try:
        import uvloop
    except ImportError:
        if wanted:
            raise UsageError("server.uvloop: uvloop is not installed: pip install 'evproto[fast]'") from None
        return None
    return uvloop.new_event_loop

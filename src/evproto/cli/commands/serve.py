"""``evproto serve``: the server between chargers and a back end."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, Final

from evproto.cli.console import Console
from evproto.cli.errors import UsageError

SUMMARY: Final = "serve chargers: answer, store, forward, command"
DESCRIPTION: Final = (
    "Serve chargers: answer what they ask, store and forward what they say, and let a back end command them "
    "through a REST API. Settings come from the command line, then the environment (EVPROTO_...), then a "
    "TOML file, then the defaults."
)
EXAMPLES: Final = (
    ("evproto serve ykc --check", "the settings that piles would be served with"),
    ("evproto serve settings", "everything that can be set, and where"),
    ("evproto serve token", "make a token for the API, and what to write into the settings"),
)
EPILOG: Final = """
`evproto serve ykc` serves until SIGTERM or SIGINT; see its --help and docs/serve-ykc.md.
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

_OPTIONS: Final = {
    "--host": "ykc.host",
    "--tcp-port": "ykc.tcp-port",
    "--http-host": "http.host",
    "--http-port": "http.port",
    "--auto-login": "ykc.auto-login",
    "--auto-heartbeat": "ykc.auto-heartbeat",
    "--auto-billing-model": "ykc.auto-billing-model",
    "--auto-record-confirm": "ykc.auto-record-confirm",
    "--auto-start": "ykc.auto-start",
    "--confirm": "ykc.confirm",
    "--billing-model": "ykc.billing-model",
    "--forward": "forward.to",
    "--servers": "forward.servers",
    "--username": "forward.username",
    "--password": "forward.password",
    "--drop-in": "drop-in.enabled",
    "--data": "outbox.data",
    "--drain-timeout": "server.drain-timeout",
    "--log-level": "log.level",
    "--log-format": "log.format",
}
"""Options, and the settings they set."""

_SEED_OPTIONS: Final = {
    "host": "--host",
    "tcpPort": "--tcp-port",
    "httpPort": "--http-port",
    "autoVerification": "--auto-login",
    "autoHeartbeatResponse": "--auto-heartbeat",
    "autoBillingModelVerify": "--auto-billing-model",
    "autoTransactionRecordConfirm": "--auto-record-confirm",
    "messagingServerType": "--forward",
    "servers": "--servers",
    "username": "--username",
    "password": "--password",
}
"""The options of ykc-proxy-server, without their dash."""

_GO_BOOL: Final = frozenset({"1", "0", "t", "f", "T", "F", "true", "false", "TRUE", "FALSE", "True", "False"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands and their options."""
    base: Any = type(parser)

    class SeedParser(base):  # type: ignore[misc]
        """Takes the spellings of ykc-proxy-server too."""

        def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
            given, notices = modernized(list(args or ()))
            result, rest = super().parse_known_args(given, namespace)
            for word in rest:
                close = difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, n=1)
                if word.startswith("-") and close:
                    self.error(f"there is no option {word}; did you mean {close[0]}?")
            result.notices = notices
            return result, rest

    subparsers = parser.add_subparsers(title="what", metavar="WHAT", required=True, parser_class=SeedParser)
    serve = subparsers.add_parser(
        "ykc",
        help="YKC (云快充) piles",
        description="Serve YKC (云快充) piles.",
        epilog=_YKC_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_ykc(serve)
    serve.set_defaults(what="ykc")
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


def _add_ykc(parser: argparse.ArgumentParser) -> None:
    from evproto.gateway.config import settings

    known = settings()
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument(
        "--check", action="store_true", help="check the settings, say what they are, and do not serve"
    )
    for option, key in _OPTIONS.items():
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


def modernized(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line in the spelling of ykc-proxy-server, in this one's; and what to say about it.

    >>> modernized(["-tcpPort=27601", "-autoVerification", "true"])[0]
    ['--tcp-port=27601', '--auto-login=true']
    """
    out: list[str] = []
    notices: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        ours = _SEED_OPTIONS.get(name)
        # What is spelt the same there and here is theirs with one dash only.
        if ours is None or not argument.startswith("-") or argument.split("=")[0] == ours:
            out.append(argument)
            continue
        is_bool = ours.startswith("--auto-")
        if is_bool:
            if not equals and waiting and waiting[0] in _GO_BOOL:
                # There, a bare value ended the options, and everything behind it was ignored.
                value = waiting.pop(0)
                notices.append(
                    f"{argument} {value}: taken for -{name}={value}; ykc-proxy-server stops reading here"
                )
            out.append(f"{ours}={value or 'true'}")
        elif equals:
            out.append(f"{ours}={value}")
        elif waiting:
            value = waiting.pop(0)
            out.append(f"{ours}={value}")
        else:
            out.append(ours)
        notices.append(f"-{name} is {ours} here")
        if name == "host":
            notices.append(
                "-host is where piles connect; the API listens on 127.0.0.1 unless --http-host is given"
            )
    names = {one.partition("=")[0] for one in out}
    if notices and "--servers" in names and "--forward" not in names:
        notices.append("-servers alone forwarded nothing there; here it needs --forward http or nats")
    return out, notices


def run(options: argparse.Namespace, console: Console) -> int:
    """Serve, or do what else was asked for."""
    if options.what == "token":
        return _token(console)
    if options.what == "settings":
        return _settings(console)
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

    given = {
        key: value for option, key in _OPTIONS.items() if (value := getattr(options, key, None)) is not None
    }
    places = {key: option for option, key in _OPTIONS.items()}
    try:
        environment = environment_layer()
        layers = [Layer(given, places), environment]
        if options.config is not None:
            layers.append(file_layer(options.config))
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

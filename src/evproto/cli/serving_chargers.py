"""``evproto serve chargers``: the list of chargers that may come in, with ``admission.mode`` table."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from evproto.cli.console import Console, display_width, pad
from evproto.cli.errors import UsageError

if TYPE_CHECKING:
    from evproto.gateway.admission_entries import Entry
    from evproto.gateway.admission_table import ChargerTable

__all__ = ["add_chargers", "run_chargers"]

_EXAMPLES: Final = """\
examples:
  # let a charger in; its password is asked for, or read from standard input
  evproto serve chargers add CP1 --password heartbeat-interval=60
  # a new password, made here; --hex: twenty bytes, the AuthorizationKey of OCPP 1.6
  evproto serve chargers password CP1 --generate --hex
  # a pile, which has no password, from one network
  evproto serve chargers add 55031412782305 protocol=ykc addresses=10.0.0.0/8
  evproto serve chargers set CP1 enabled=false
  # for a file of chargers (admission.mode file)
  evproto serve chargers hash

What can be set: enabled, protocol, addresses, heartbeat-interval, validation,
dialect, version; see docs/admission.md. Nothing behind the = takes it away. A
running server knows at the next connection of the charger. Of passwords only
hashes are kept; they are never shown.
"""


def add_chargers(subparsers: Any, base: Any) -> None:
    """Add the command to those of ``evproto serve``, with parsers of class ``base``."""

    class AnyOrder(base):  # type: ignore[misc]
        """Takes options between the words too: argparse takes KEY=VALUE in one piece only."""

        def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
            return super().parse_known_args(
                _options_first(args or (), self._option_string_actions), namespace
            )

    parser = subparsers.add_parser(
        "chargers",
        help="the list of chargers that may come in",
        description="Keep the list of chargers that may come in, with admission.mode = table.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(what="chargers")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--config", metavar="FILE", help="TOML file with the settings of the server")
    where.add_argument("--data", metavar="DIR", help="directory of the server's files (outbox.data)")
    secret = argparse.ArgumentParser(add_help=False)
    secret.add_argument("--hex", action="store_true", help="the password is in hex, as an AuthorizationKey")
    secret.add_argument("--generate", action="store_true", help="make a password, and show it this once")
    secret.add_argument(
        "--cost", type=int, metavar="N", help="what a guess costs: 10 to 18, twice as much each (default: 12)"
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=AnyOrder
    )

    def command(name: str, text: str, act: Callable[..., int], *parents: argparse.ArgumentParser) -> Any:
        about = f"{text[0].upper()}{text[1:]}."
        made = commands.add_parser(name, help=text, description=about, parents=parents, allow_abbrev=False)
        made.set_defaults(act=act)
        return made

    listing = command("list", "show the chargers and what is set for them", _list, where)
    listing.add_argument("chargers", nargs="*", metavar="CHARGER", help="these only")
    listing.add_argument("--json", action="store_true", help="one object per line")
    adding = command("add", "let a charger in", _add, where, secret)
    adding.add_argument("charger", metavar="CHARGER", help="its id; with a tenant: TENANT~ID")
    adding.add_argument("values", nargs="*", metavar="KEY=VALUE", help="what is set for it")
    adding.add_argument("--password", action="store_true", help="ask for its password")
    setting = command("set", "change what is set for a charger", _set, where)
    setting.add_argument("charger", metavar="CHARGER")
    setting.add_argument("values", nargs="+", metavar="KEY=VALUE", help="KEY= takes it away")
    removing = command("remove", "take chargers off the list", _remove, where)
    removing.add_argument("chargers", nargs="+", metavar="CHARGER")
    password = command("password", "set the password of a charger", _password, where, secret)
    password.add_argument("charger", metavar="CHARGER")
    password.add_argument("--none", action="store_true", help="it needs none any more")
    command("hash", "make the hash of a password, for a file of chargers", _hash, secret)


def run_chargers(options: argparse.Namespace, console: Console) -> int:
    """Do what was asked for; returns the exit status."""
    from evproto.gateway.admission_entries import EntryError
    from evproto.gateway.admission_table import TableError

    try:
        status: int = options.act(options, console)
    except (EntryError, TableError) as error:
        raise UsageError(str(error)) from None
    console.flush()
    return status


def _options_first(words: Iterable[str], options: Mapping[str, argparse.Action]) -> list[str]:
    found: tuple[list[str], list[str]] = [], []
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            found[1].extend(waiting)
        elif not word.startswith("-") or word == "-":
            found[1].append(word)
        else:
            found[0].append(word)
            known = options.get(word)
            if known is not None and known.nargs is None:
                found[0].extend(value for value in [next(waiting, None)] if value is not None)
    return [*found[0], "--", *found[1]] if found[1] else found[0]


# --- commands


def _list(options: argparse.Namespace, console: Console) -> int:
    from evproto.gateway.admission_entries import EntryError

    with _opened(options, console) as table:
        found = [] if table is None else list(table.all())
    wanted = {*options.chargers}
    rows: list[tuple[str, ...]] = []
    status = 0
    for charger, entry in found:
        if options.chargers and charger not in wanted:
            continue
        wanted.discard(charger)
        if isinstance(entry, EntryError):
            console.error(f"{charger}: {entry}")
            status = 1
        elif options.json:
            console.line(msgspec.json.encode({"charger": charger, **_shown(entry)}).decode())
        else:
            rows.append(_row(charger, entry))
    if rows:
        _columns(console, [("charger", "enabled", "protocol", "password", "addresses", "settings"), *rows])
    for charger in sorted(wanted):
        console.error(f"{charger} is not in the list")
        status = 1
    return status


def _add(options: argparse.Namespace, console: Console) -> int:
    from evproto.gateway.admission_entries import read_entry, read_name

    values = _values(options.values)
    entry = read_entry(values)
    charger = read_name(options.charger, entry)
    if not options.password and not options.generate and (options.hex or options.cost is not None):
        raise UsageError("--hex and --cost are about a password: add --password or --generate")
    with _opened(options, console, make=True) as table:
        assert table is not None
        _see_that_it_is_new(table, charger)
        if options.password or options.generate:
            entry = read_entry({**values, "password-hash": _hashed(options, console, charger)})
        with table.change():
            # Somebody else may have been quicker while the password was typed.
            _see_that_it_is_new(table, charger)
            table.put(charger, entry)
    return 0


def _set(options: argparse.Namespace, console: Console) -> int:
    given = _values(options.values, emptied=True)
    with _opened(options, console) as table:
        _change(table, options.charger, given)
    return 0


def _password(options: argparse.Namespace, console: Console) -> int:
    if options.none and (options.hex or options.generate or options.cost is not None):
        raise UsageError("--none is no password, and the other options say which")
    with _opened(options, console) as table:
        # Before the password is typed.
        _change(table, options.charger, {})
        kept = "" if options.none else _hashed(options, console, options.charger)
        _change(table, options.charger, {"password-hash": kept})
    return 0


def _remove(options: argparse.Namespace, console: Console) -> int:
    status = 0
    with _opened(options, console) as table:
        for charger in options.chargers:
            if table is None or not table.remove(_name(table, charger)):
                console.error(f"{charger} is not in the list")
                status = 1
    return status


def _hash(options: argparse.Namespace, console: Console) -> int:
    console.line(f'password-hash = "{_hashed(options, console, "the charger")}"')
    return 0


# --- parts


@contextlib.contextmanager
def _opened(
    options: argparse.Namespace, console: Console, *, make: bool = False
) -> Iterator[ChargerTable | None]:
    """The list of the server with these settings; None: there is none yet."""
    from evproto.gateway.admission_table import FILE, ChargerTable
    from evproto.gateway.config import ConfigError, Layer, environment_layer, file_layer, load

    given = {} if options.data is None else {"outbox.data": options.data}
    try:
        layers = [Layer(given, {"outbox.data": "--data"}), environment_layer()]
        if options.config is not None:
            layers.append(file_layer(options.config))
        config = load(*layers)
    except ConfigError as error:
        raise UsageError(*error.problems) from None
    if options.config is not None and config.admission.mode != "table":
        console.note(
            f"with these settings the list is not looked at: admission.mode is {config.admission.mode}"
        )
    path: Path = config.outbox.data / FILE
    if make:
        config.outbox.data.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        console.note(f"there is no list yet: {path}")
        yield None
        return
    table = ChargerTable.open(path)
    try:
        yield table
    finally:
        table.close()


def _values(words: Iterable[str], *, emptied: bool = False) -> dict[str, Any]:
    """What stands behind KEY=, by key; with ``emptied``, None for what is to be taken away."""
    from evproto.gateway.admission_entries import EntryError, entry_keys, of_text, unknown_key

    values: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            problems.append((word, "write KEY=VALUE, as in heartbeat-interval=60"))
        elif key not in entry_keys():
            problems.append((key, unknown_key(key)))
        elif text:
            values[key] = of_text(key, text)
        elif emptied:
            values[key] = None
    if problems:
        raise EntryError(problems)
    return values


def _see_that_it_is_new(table: ChargerTable, charger: str) -> None:
    if table.get(charger) is not None:
        raise UsageError(f"{charger} is in the list already; change it with 'set' or 'password'")


def _change(table: ChargerTable | None, charger: str, changes: Mapping[str, Any]) -> None:
    """Change what is kept of a charger; None takes away."""
    from evproto.gateway.admission_entries import EntryError, read_entry, read_name

    missing = UsageError(f"{charger} is not in the list; put it there with 'add'")
    if table is None:
        raise missing
    with table.change():
        name = _name(table, charger)
        entry = table.get(name)
        if entry is None:
            raise missing
        changed = {**_kept(entry), **changes}
        entry = read_entry({key: value for key, value in changed.items() if value is not None})
        if read_name(name, entry) != name:
            raise EntryError([("protocol", f"pile {name} is written with capitals: remove it, and add it")])
        table.put(name, entry)


def _name(table: ChargerTable, charger: str) -> str:
    """As it is in the list: piles may be written with small letters."""
    return charger.upper() if table.get(charger) is None and len(charger) == 14 else charger


def _kept(entry: Entry) -> dict[str, Any]:
    """All that an entry says, by key."""
    from evproto.gateway.admission_entries import entry_keys

    return {key: getattr(entry, key.replace("-", "_")) for key in entry_keys()}


def _shown(entry: Entry) -> dict[str, Any]:
    """The same for people: whether there is a password, not its hash."""
    shown = {key: value for key, value in _kept(entry).items() if key != "password-hash"}
    return {**shown, "password": bool(entry.password_hash)}


def _row(charger: str, entry: Entry) -> tuple[str, ...]:
    settings = ("heartbeat-interval", "validation", "dialect", "version")
    kept = _kept(entry)
    return (
        charger,
        "yes" if entry.enabled else "no",
        entry.protocol or "any",
        "set" if entry.password_hash else "none",
        ",".join(entry.addresses) or "any",
        " ".join(f"{key}={kept[key]}" for key in settings if kept[key] is not None),
    )


def _columns(console: Console, rows: list[tuple[str, ...]]) -> None:
    widths = [max(display_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        line = "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.line(line if number else console.paint(line, "head"))


def _hashed(options: argparse.Namespace, console: Console, charger: str) -> str:
    """The hash of a password that is asked for, or made."""
    from evproto.gateway.admission_passwords import COST, COSTS, make_hash

    cost = COST if options.cost is None else options.cost
    if cost not in COSTS:
        raise UsageError(f"--cost is between {COSTS[0]} and {COSTS[-1]}")
    if options.generate:
        # 20 bytes: AuthorizationKey (OCPP 1.6); 32 characters, of those that passwordString has (2.x).
        made = secrets.token_hex(20) if options.hex else secrets.token_urlsafe(24)
        console.line(f"password {made}")
        text = made
    else:
        text = _asked_for(charger)
    try:
        password = bytes.fromhex(text) if options.hex else text.encode()
    except ValueError:
        raise UsageError("this is no hex: two digits for each byte, 0 to 9 and a to f") from None
    try:
        hashed = make_hash(password, cost)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not options.generate and len(password) < 16:
        console.note("this password is short: OCPP asks for 16 to 40 characters, or 20 bytes in hex")
    return hashed


def _asked_for(charger: str) -> str:
    """A password from a person, or else the first line of standard input. Never from the command line,
    which others on the machine can read."""
    if sys.stdin.isatty():
        try:
            first = getpass.getpass(f"Password of {charger}: ")
            if getpass.getpass("Once more: ") != first:
                raise UsageError("these were two different passwords; nothing was changed")
        except EOFError:
            raise UsageError("there was no password; nothing was changed") from None
        return first
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError("this password is no UTF-8; write it in hex, and add --hex") from None

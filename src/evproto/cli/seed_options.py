"""Command lines written for ykc-proxy-server, in the spelling of ``evproto serve ykc``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["modernized"]

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

"""Chargers that a program elsewhere lets in: a URL is asked for each connection.

It gets, by POST, as JSON::

    {"protocol": "ocpp", "charger": "acme~CP1", "id": "CP1", "address": "192.0.2.7:49152",
     "secure": true, "version": "ocpp1.6", "username": "CP1", "password": "c2VjcmV0",
     "password_given": true, "certificate": null}

``password`` is in base64, for those of OCPP 1.6 are no text; null if none was
sent, or if somebody on the way to the hook could read it. ``certificate`` has
``names`` and ``serial`` of a verified one. It answers, with status 200::

    {"admit": true, "heartbeat_interval": 60, "validation": "strict", "version": "ocpp1.6"}
    {"admit": false, "reason": "not paid for"}
"""

from __future__ import annotations

import base64
import logging
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from evproto.gateway.admission import Admitted, ChargerSettings, Knock, Refused, Validation
from evproto.gateway.admission_entries import check_settings, shows_certificate
from evproto.gateway.hook import Hook, HookError
from evproto.gateway.logs import Throttle, data

__all__ = ["HookDoor"]

logger = logging.getLogger("evproto.gateway.admission")

_REASON = 200
"""Most characters of a reason."""


class _Answer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    admit: bool
    reason: str = ""
    heartbeat_interval: Annotated[int, Meta(ge=1, le=7 * 86400)] | None = None
    validation: Validation | None = None
    dialect: Annotated[str, Meta(pattern="^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")] | None = None
    version: str | None = None


class HookDoor:
    """Asks a hook; see :class:`evproto.gateway.admission.Door`.

    An answer that is none (a status other than 200, JSON of another form) lets
    nobody in. Only where no answer comes at all, or one that says "later" (408,
    425, 429, 5xx), may chargers be let in without one.
    """

    def __init__(self, hook: Hook, *, accept_on_failure: bool, require_password: bool) -> None:
        """Make a door; see ``admission.hook-failure`` and ``admission.require-password``."""
        self._hook = hook
        self._accept = accept_on_failure
        self._require = require_password
        self._may_complain = Throttle(10)
        if not hook.private:
            logger.warning(
                "the hook is on another machine, and not asked over https: it gets no passwords",
                extra=data(hook=hook.name),
            )

    async def ask(self, knock: Knock) -> Admitted | Refused:
        """See :class:`evproto.gateway.admission.Door`."""
        if knock.username is not None and knock.username != knock.id:
            return Refused("its user name is not its id")
        if self._require and knock.protocol != "ykc" and not knock.password and not shows_certificate(knock):
            return Refused("its password is missing")
        try:
            said = await self._hook.ask(self._question(knock))
        except HookError as error:
            if error.answered or not self._accept:
                return Refused(f"the hook cannot be asked: {error}")
            if self._may_complain:
                logger.warning(
                    "chargers are let in without the hook: %s", error, extra=data(charger=knock.charger)
                )
            return Admitted()
        try:
            answer = msgspec.convert(said, _Answer)
        except msgspec.ValidationError as error:
            return Refused(f"the hook's answer cannot be used: {error}")
        if not answer.admit:
            reason = _hidden(answer.reason[:_REASON], knock.password)
            return Refused(f"the hook says no: {reason}" if reason else "the hook says no")
        settings = ChargerSettings(
            heartbeat_interval=answer.heartbeat_interval,
            validation=answer.validation,
            dialect=answer.dialect,
            version=answer.version,
        )
        for key, text in check_settings(settings, knock.protocol):
            return Refused(f"the hook's answer cannot be used: {key}: {text}")
        return Admitted(settings)

    async def close(self) -> None:
        """Close the connections to the hook."""
        await self._hook.close()

    def _question(self, knock: Knock) -> dict[str, Any]:
        password = None
        if knock.password is not None and self._hook.private:
            password = base64.b64encode(knock.password).decode()
        certificate = None
        if knock.certificate:
            # Here alone, as in shows_certificate.
            from evproto.aio.ocpp.tls import certificate_names

            certificate = {
                "names": certificate_names(knock.certificate),
                "serial": knock.certificate.get("serialNumber", ""),
            }
        return {
            "protocol": knock.protocol,
            "charger": knock.charger,
            "id": knock.id,
            "address": knock.address,
            "secure": knock.secure,
            "version": knock.version,
            "username": knock.username,
            "password": password,
            "password_given": knock.password is not None,
            "certificate": certificate,
        }


def _hidden(reason: str, password: bytes | None) -> str:
    """A reason for the log; not if the hook repeats the password in it."""
    if password is None:
        return reason
    for spelt in (password.decode("utf-8", "replace"), password.hex(), base64.b64encode(password).decode()):
        if spelt and spelt.lower() in reason.lower():
            return ""
    return reason

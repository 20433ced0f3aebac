"""What chargers are answered, by itself: the truth of a server that stores what it hears, and knows no more.

Whatever a charger may send is answered. What only somebody else could grant
(a certificate, a charging schedule, a VAT number) is answered with the no of
the protocol, unless the hook of the settings answers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

__all__ = ["ECHOING", "PENDING_RETRY", "Answers"]

Fields = dict[str, Any]

PENDING_RETRY: Final = 60
"""Most seconds until a charger that has to wait asks again."""

_NOES: Final[dict[str, Fields]] = {
    "DataTransfer": {"status": "UnknownVendorId"},
    "SignCertificate": {"status": "Rejected"},
    "Get15118EVCertificate": {"status": "Failed", "exiResponse": ""},
    "GetCertificateStatus": {"status": "Failed"},
    "NotifyEVChargingNeeds": {"status": "Rejected"},
    # It was taken, which is all that this says (2.x part 2, use case K15).
    "NotifyEVChargingSchedule": {"status": "Accepted"},
    "OpenPeriodicEventStream": {"status": "Rejected"},
    "PullDynamicScheduleUpdate": {"status": "Rejected"},
}
"""Of the versions that have them; everything that is not here, nor below, is answered with nothing in it."""


class Answers:
    """The answers of one version.

    Args:
        protocol: as in ``ocpp1.6``.
        boot: the status that BootNotifications are answered with.
        authorize: the status of an authorization, as in ``Accepted``.
    """

    def __init__(self, protocol: str, *, boot: str, authorize: str) -> None:
        self._boot = boot
        self._authorize = authorize
        first = protocol == "ocpp1.6"
        self._info = "idTagInfo" if first else "idTokenInfo"
        self._made: dict[str, Callable[[Fields, int, dt.datetime], Fields]] = {
            "BootNotification": self._boot_notification,
            "Heartbeat": lambda fields, interval, now: {"currentTime": _spelled(now)},
            "Authorize": self._authorization,
            "StartTransaction": self._authorization,
            "TransactionEvent": self._transaction_event,
            "VatNumberValidation": lambda fields, interval, now: {
                "vatNumber": fields.get("vatNumber"),
                "status": "Rejected",
            },
            "GetCertificateChainStatus": self._chain_status,
        }

    def answer(
        self, action: str, fields: Callable[[], Fields], interval: int, now: Callable[[], dt.datetime]
    ) -> Fields:
        """The payload of the answer; StartTransaction lacks its transaction's number.

        Args:
            action: of the request.
            fields: gives its payload, where that matters.
            interval: seconds between heartbeats.
            now: gives the time, where that matters.
        """
        made = self._made.get(action)
        if made is not None:
            return made(fields() if action in _LOOKED_AT else {}, interval, now())
        return _NOES.get(action, {})

    def _boot_notification(self, fields: Fields, interval: int, now: dt.datetime) -> Fields:
        if self._boot != "Accepted":
            interval = min(interval, PENDING_RETRY)
        return {"currentTime": _spelled(now), "interval": interval, "status": self._boot}

    def _authorization(self, fields: Fields, interval: int, now: dt.datetime) -> Fields:
        return {self._info: {"status": self._authorize}}

    def _transaction_event(self, fields: Fields, interval: int, now: dt.datetime) -> Fields:
        # Said of the token that the event has, if it has one (2.x part 2, E01.FR.11, C01.FR.17).
        return {self._info: {"status": self._authorize}} if "idToken" in fields else {}

    def _chain_status(self, fields: Fields, interval: int, now: dt.datetime) -> Fields:
        asked = fields.get("certificateStatusRequests")
        verdict = {"status": "Failed", "nextUpdate": _spelled(now)}
        return {
            "certificateStatus": [
                {**{name: one[name] for name in _CERTIFICATE if name in one}, **verdict}
                for one in (asked if isinstance(asked, list) else ())
                if isinstance(one, dict)
            ]
        }


_CERTIFICATE: Final = ("certificateHashData", "source")
ECHOING: Final = frozenset({"VatNumberValidation", "GetCertificateChainStatus"})
"""Actions whose answers repeat what was asked: they may be as wrong as that was."""
_LOOKED_AT: Final = ECHOING | {"TransactionEvent"}


def _spelled(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

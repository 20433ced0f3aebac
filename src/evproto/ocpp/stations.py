"""What the documents say about single actions of a station: before it is accepted, and while it is offline.

OCPP 1.6 sections 3.7, 4.2, 5.11 and 5.12; OCPP 2.0.1 and 2.1 part 2, use
cases A04, B02, B03, E04. For ntxcp, which is derived from 1.6, see
:data:`BOOT_1_6`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from evproto.ocppj.boot import BootRules, Serving
from evproto.ocppj.offline import Retention

__all__ = ["BOOT_1_6", "BOOT_2", "retention_1_6", "retention_2"]

BOOT_1_6 = BootRules(
    boot="BootNotification",
    declined_while_pending=frozenset({"RemoteStartTransaction", "RemoteStopTransaction"}),
    # "While Rejected, the Charge Point SHALL NOT respond to any Central System initiated message."
    rejected=Serving.SILENCE,
)
BOOT_2 = BootRules(
    boot="BootNotification",
    declined_while_pending=frozenset({"RequestStartTransaction", "RequestStopTransaction"}),
    served_while_rejected=frozenset({"TriggerMessage"}),
    instructions=MappingProxyType(
        {"GetBaseReport": frozenset({"NotifyReport"}), "GetReport": frozenset({"NotifyReport"})}
    ),
)


def retention_1_6(request: Any) -> Retention:
    """Whether a request of a 1.6 charge point is kept while it is offline."""
    match request.action_name:
        case "StartTransaction" | "StopTransaction" | "SecurityEventNotification":
            return Retention.KEEP
        case "MeterValues" if request.transaction_id is not None:
            # Transaction-related, but the bill stands without.
            return Retention.THIN
    return Retention.DROP


def retention_2(request: Any) -> Retention:
    """Whether a request of a 2.0.1 or 2.1 charging station is kept while it is offline."""
    match request.action_name:
        case "TransactionEvent":
            return Retention.THIN if request.event_type == "Updated" else Retention.KEEP
        case "SecurityEventNotification":
            return Retention.KEEP
    return Retention.DROP

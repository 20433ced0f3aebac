"""A charging station of OCPP 2.0.1: ``python examples/station_201.py [URL]``."""

import asyncio
import sys
from datetime import UTC, datetime

from evproto.aio.ocpp import ChargingStation, Upstream
from evproto.ocpp.v201 import codec, enums, messages


async def run(url: str, identity: str = "CS001", store: str | None = None) -> None:
    """Start and end one transaction; with ``store``, its events survive a restart."""
    boot = messages.BootNotificationRequest(
        reason=enums.BootReasonEnumType.POWER_UP,
        charging_station=messages.ChargingStationType(model="One", vendor_name="ACME"),
    )
    station = ChargingStation(url, identity, codecs=[codec], boot=boot, store=store)

    @station.on(messages.GetTransactionStatusRequest)
    def status(
        upstream: Upstream, request: messages.GetTransactionStatusRequest
    ) -> messages.GetTransactionStatusResponse:
        return messages.GetTransactionStatusResponse(messages_in_queue=station.undelivered > 0)

    @station.on(messages.ClearCacheRequest)
    def clear(upstream: Upstream, request: messages.ClearCacheRequest) -> messages.ClearCacheResponse:
        return messages.ClearCacheResponse(status=enums.ClearCacheStatusEnumType.ACCEPTED)

    def event(kind: enums.TransactionEventEnumType, number: int) -> messages.TransactionEventRequest:
        return messages.TransactionEventRequest(
            event_type=kind,
            timestamp=datetime.now(UTC),
            trigger_reason=enums.TriggerReasonEnumType.CABLE_PLUGGED_IN,
            seq_no=number,
            transaction_info=messages.TransactionType(transaction_id="t-1"),
        )

    async with station:
        await station.accepted()
        kinds = enums.TransactionEventEnumType
        await station.deliver(event(kinds.STARTED, 0))
        await station.deliver(event(kinds.UPDATED, 1))
        await (await station.deliver(event(kinds.ENDED, 2)))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:9000"))

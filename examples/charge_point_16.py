"""A charge point of OCPP 1.6, one transaction long: ``python examples/charge_point_16.py [URL]``."""

import asyncio
import sys
from datetime import UTC, datetime

from evproto.aio.ocpp import ChargePoint, Upstream
from evproto.ocpp.v16 import enums, messages


async def run(url: str, identity: str = "CP001") -> int:
    """Charge once; the transaction's id."""
    boot = messages.BootNotificationRequest(charge_point_vendor="ACME", charge_point_model="One")
    charge_point = ChargePoint(url, identity, boot=boot)

    @charge_point.on(messages.ResetRequest)
    async def reset(upstream: Upstream, request: messages.ResetRequest) -> messages.ResetResponse:
        return messages.ResetResponse(status=enums.ResetStatus.ACCEPTED)

    async with charge_point:
        await charge_point.accepted()
        # Kept until they have arrived, whatever happens to the connection.
        start = await charge_point.deliver(
            messages.StartTransactionRequest(
                connector_id=1, id_tag="04A2B3C4", meter_start=0, timestamp=datetime.now(UTC)
            )
        )
        transaction = (await start).transaction_id
        stop = await charge_point.deliver(
            messages.StopTransactionRequest(
                transaction_id=transaction, meter_stop=8_400, timestamp=datetime.now(UTC)
            )
        )
        await stop
        return transaction


if __name__ == "__main__":
    print("transaction", asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:9000")))

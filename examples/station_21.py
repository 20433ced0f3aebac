"""A charging station of OCPP 2.1 that also speaks 2.0.1: ``python examples/station_21.py [URL]``."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

from evproto.aio.ocpp import ChargingStation
from evproto.ocpp import v21, v201
from evproto.payloads import Request


def boot(version: str) -> Request[Any]:
    """The announcement, in the version that was agreed upon."""
    module: Any = v21 if version == "ocpp2.1" else v201
    announcement: Request[Any] = module.messages.BootNotificationRequest(
        reason=module.enums.BootReasonEnumType.POWER_UP,
        charging_station=module.messages.ChargingStationType(model="One", vendor_name="ACME"),
    )
    return announcement


async def run(url: str, identity: str = "CS021") -> str:
    """Connect and stream three values; the version that was spoken."""
    async with ChargingStation(url, identity, boot=boot) as station:
        upstream = await station.accepted()
        if upstream.version == "ocpp2.1":
            data = tuple(v21.messages.StreamDataElementType(t=t, v=str(16 + t)) for t in range(3))
            station.send(
                v21.messages.NotifyPeriodicEventStream(id=1, pending=0, basetime=datetime.now(UTC), data=data)
            )
            await station.call(v21.messages.HeartbeatRequest())
        return upstream.version


if __name__ == "__main__":
    print(asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:9000")))

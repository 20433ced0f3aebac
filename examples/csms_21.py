"""A CSMS for OCPP 2.1 and 2.0.1 stations, on one port: ``python examples/csms_21.py``."""

import asyncio
from datetime import UTC, datetime

from evproto.aio.ocpp import CSMS, Station
from evproto.ocpp import v21, v201

csms = CSMS()


@csms.on(v21.messages.BootNotificationRequest)
def boot_21(
    station: Station, request: v21.messages.BootNotificationRequest
) -> v21.messages.BootNotificationResponse:
    return v21.messages.BootNotificationResponse(
        current_time=datetime.now(UTC), interval=300, status=v21.enums.RegistrationStatusEnumType.ACCEPTED
    )


@csms.on(v201.messages.BootNotificationRequest)
def boot_201(
    station: Station, request: v201.messages.BootNotificationRequest
) -> v201.messages.BootNotificationResponse:
    return v201.messages.BootNotificationResponse(
        current_time=datetime.now(UTC), interval=300, status=v201.enums.RegistrationStatusEnumType.ACCEPTED
    )


@csms.on("Heartbeat")
def heartbeat(station: Station, request: object) -> object:
    module = v21 if station.version == "ocpp2.1" else v201
    return module.messages.HeartbeatResponse(current_time=datetime.now(UTC))


@csms.on(v21.messages.NotifyPeriodicEventStream)
def stream(station: Station, values: v21.messages.NotifyPeriodicEventStream) -> None:
    # A SEND: the station waits for no answer.
    print(station.id, "stream", values.id, [element.v for element in values.data])


async def main() -> None:
    listener = await csms.listen("localhost", 9000)
    print("listening on port", listener.port)
    await csms.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

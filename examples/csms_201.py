"""A CSMS for OCPP 2.0.1 stations: ``python examples/csms_201.py``, stations at ws://localhost:9000/{id}."""

import asyncio
from datetime import UTC, datetime

from evproto.aio.ocpp import CSMS, Station
from evproto.errors import CallEndedError
from evproto.ocpp.v201 import codec, enums, messages

csms = CSMS([codec])


@csms.on(messages.BootNotificationRequest)
async def boot(
    station: Station, request: messages.BootNotificationRequest
) -> messages.BootNotificationResponse:
    return messages.BootNotificationResponse(
        current_time=datetime.now(UTC), interval=300, status=enums.RegistrationStatusEnumType.ACCEPTED
    )


@csms.on(messages.HeartbeatRequest)
def heartbeat(station: Station, request: messages.HeartbeatRequest) -> messages.HeartbeatResponse:
    return messages.HeartbeatResponse(current_time=datetime.now(UTC))


@csms.on(messages.TransactionEventRequest)
async def transaction(
    station: Station, request: messages.TransactionEventRequest
) -> messages.TransactionEventResponse:
    print(station.id, request.event_type, request.transaction_info.transaction_id, request.seq_no)
    if request.event_type == "Started" and request.transaction_info.remote_start_id is None:
        # A handler may call the station: its answer does not wait for this handler to end.
        limits = await station.call(messages.GetTransactionStatusRequest())
        print("messages in its queue:", limits.messages_in_queue)
    return messages.TransactionEventResponse()


@csms.on_boot
async def ask_for_model(station: Station, request: object, response: object) -> None:
    try:
        answer = await station.call(messages.ClearCacheRequest())
        print(station.id, "cleared its cache:", answer.status)
    except CallEndedError as error:
        print(station.id, "did not:", error)


async def main() -> None:
    listener = await csms.listen("localhost", 9000)
    print("listening on port", listener.port)
    await csms.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""A central system for OCPP 1.6 charge points: ``python examples/central_system_16.py``."""

import asyncio
import itertools
from datetime import UTC, datetime

from evproto.aio.ocpp import CentralSystem, HandlerGroup, Station, handles
from evproto.ocpp.v16 import enums, messages


class Core(HandlerGroup):
    """The handlers of one profile."""

    block = "Core"
    transactions = itertools.count(1)

    @handles(messages.BootNotificationRequest)
    def boot(
        self, station: Station, request: messages.BootNotificationRequest
    ) -> messages.BootNotificationResponse:
        accepted = enums.RegistrationStatus.ACCEPTED
        return messages.BootNotificationResponse(
            current_time=datetime.now(UTC), interval=300, status=accepted
        )

    @handles(messages.HeartbeatRequest)
    def heartbeat(self, station: Station, request: messages.HeartbeatRequest) -> messages.HeartbeatResponse:
        return messages.HeartbeatResponse(current_time=datetime.now(UTC))

    @handles(messages.StartTransactionRequest)
    async def start(
        self, station: Station, request: messages.StartTransactionRequest
    ) -> messages.StartTransactionResponse:
        info = messages.IdTagInfo(status=enums.AuthorizationStatus.ACCEPTED)
        return messages.StartTransactionResponse(transaction_id=next(self.transactions), id_tag_info=info)

    @handles(messages.StopTransactionRequest)
    async def stop(
        self, station: Station, request: messages.StopTransactionRequest
    ) -> messages.StopTransactionResponse:
        print(station.id, "transaction", request.transaction_id, "ended at", request.meter_stop, "Wh")
        return messages.StopTransactionResponse()


central_system = CentralSystem(routes=["/ocpp/{location}/{id}", "/ocppj/1.6/{id}", "/{id}"])
central_system.add(Core())


async def main() -> None:
    listener = await central_system.listen("localhost", 9000)
    print("listening on port", listener.port)
    await central_system.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

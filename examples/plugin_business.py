"""The business side of a 1.6 central system as a plug-in.

``python examples/plugin_business.py`` runs it in the server's process;
``python examples/plugin_business.py nats://localhost:4222`` behind NATS, for
examples/plugin_server.py, as often as there is work for.
"""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

from evproto.aio.ocpp import CentralSystem
from evproto.aio.plugins import EndedCall, Plugin, ReceivedCall, handles, handles_answer, serve_plugin
from evproto.ocpp.v16 import enums, messages


class Business(Plugin):
    @handles(messages.BootNotificationRequest)
    async def boot(
        self, call: ReceivedCall, request: messages.BootNotificationRequest
    ) -> messages.BootNotificationResponse:
        # A handler may command the charger it serves.
        await call.charger.call(messages.ClearCacheRequest())
        return messages.BootNotificationResponse(
            current_time=datetime.now(UTC), interval=300, status=enums.RegistrationStatus.ACCEPTED
        )

    @handles(messages.HeartbeatRequest)
    def heartbeat(self, call: ReceivedCall, request: object) -> messages.HeartbeatResponse:
        # A plain function runs in a thread: it may ask a data base.
        return messages.HeartbeatResponse(current_time=datetime.now(UTC))

    @handles_answer("*")
    async def ended(self, call: EndedCall[Any]) -> None:
        print(call.charger.id, call.action, call.message_id, call.response or call.error)


central_system = CentralSystem(plugins=[Business()])


async def main(nats_url: str | None = None) -> None:
    if nats_url is not None:
        await serve_plugin(Business(), nats_url)
    listener = await central_system.listen("localhost", 9000)
    print("listening on port", listener.port)
    await central_system.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))

"""A 1.6 central system whose business side is behind NATS: ``python examples/plugin_server.py nats://localhost:4222``.

It starts without NATS and without a business side, and refuses requests until they are there.
"""

import asyncio
import sys

from evproto.aio.ocpp import CentralSystem
from evproto.aio.plugins import RemotePlugin


def central_system(nats_url: str) -> CentralSystem:
    return CentralSystem(plugins=[RemotePlugin(nats_url, request_timeout=10, connect_patience=5)])


async def main(nats_url: str = "nats://localhost:4222") -> None:
    async with central_system(nats_url) as server:
        listener = await server.listen("localhost", 9000)
        print("listening on port", listener.port)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))

"""A control center of ntxcp and a gateway that connects to it: ``python examples/control_center.py``."""

import asyncio
from datetime import UTC, datetime

from evproto.aio.ocpp import ControlCenter, Gateway, Station, Upstream
from evproto.ntxcp.v10 import enums, messages

center = ControlCenter()


@center.on(messages.BootNotificationRequest)
def boot(gateway: Station, request: messages.BootNotificationRequest) -> messages.BootNotificationResponse:
    accepted = enums.RegistrationStatus.ACCEPTED
    return messages.BootNotificationResponse(current_time=datetime.now(UTC), interval=86400, status=accepted)


@center.on(messages.MeterValuesRequest)
def values(gateway: Station, request: messages.MeterValuesRequest) -> messages.MeterValuesResponse:
    print(gateway.id, "service", request.service_id, request.meter_value[0].sampled_value[0].value)
    return messages.MeterValuesResponse()


async def run() -> enums.CaptureProcessStatus:
    """Connect the one to the other, send a value up and a command down."""
    async with center:
        listener = await center.listen("localhost")
        announcement = messages.BootNotificationRequest(dingx_gateway_model="DX-1")
        gateway = Gateway(f"ws://localhost:{listener.port}", "GW001", boot=announcement)

        @gateway.on(messages.CaptureProcessRequest)
        def capture(
            upstream: Upstream, request: messages.CaptureProcessRequest
        ) -> messages.CaptureProcessResponse:
            return messages.CaptureProcessResponse(status=enums.CaptureProcessStatus.ACCEPTED)

        async with gateway:
            await gateway.accepted()
            sample = messages.SampledValue(value="42.5")
            meter = messages.MeterValue(timestamp=datetime.now(UTC), sampled_value=(sample,))
            await gateway.call(messages.MeterValuesRequest(service_id=7, meter_value=(meter,)))
            command = messages.CaptureProcessRequest(service_id="7", datapoint_ids=("power",))
            answer = await center.gateway("GW001").call(command)
            return answer.status


if __name__ == "__main__":
    print("CaptureProcess:", asyncio.run(run()))

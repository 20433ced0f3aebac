"""Chargers of another library for a server on real sockets: they say exactly what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import websockets

from gateway.live import WAIT, Running

MOMENT = "2026-11-20T10:15:30Z"


class RawCharger:
    """A charger, or gateway, over a WebSocket of its own."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)

    async def text(self, text: str) -> None:
        async with asyncio.timeout(WAIT):
            await self.socket.send(text)

    async def read(self) -> list[Any]:
        """The next frame."""
        async with asyncio.timeout(WAIT):
            frame: list[Any] = json.loads(await self.socket.recv())
        return frame

    async def send(self, action: str, payload: Any, unique_id: str | None = None, kind: int = 2) -> str:
        unique_id = unique_id or f"c{next(self.numbers)}"
        await self.text(json.dumps([kind, unique_id, action, payload]))
        return unique_id

    async def ask(self, action: str, payload: Any, unique_id: str | None = None) -> list[Any]:
        """The answer to a request: the next frame, which has its message id."""
        sent = await self.send(action, payload, unique_id)
        frame = await self.read()
        assert frame[1] == sent
        return frame

    async def result(self, action: str, payload: Any) -> dict[str, Any]:
        """The payload of the CALLRESULT to a request."""
        frame = await self.ask(action, payload)
        assert frame[0] == 3, frame
        found: dict[str, Any] = frame[2]
        return found

    async def answer(self, payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Answer the command that comes next; what it was."""
        kind, unique_id, action, asked = await self.read()
        assert kind == 2
        await self.text(json.dumps([3, unique_id, payload]))
        return action, asked

    async def closed(self) -> tuple[int, str]:
        """How the server closed the connection."""
        async with asyncio.timeout(WAIT):
            await self.socket.wait_closed()
        return self.socket.close_code or 0, self.socket.close_reason or ""


@contextlib.asynccontextmanager
async def charger(
    running: Running, name: str = "CP1", protocol: str | None = "ocpp1.6", path: str = "/ocpp/{}", **more: Any
) -> AsyncIterator[RawCharger]:
    """A connected charger."""
    url = more.pop("url", f"ws://127.0.0.1:{running.server.ports['ws']}") + path.format(name)
    subprotocols: Any = None if protocol is None else [protocol]
    async with websockets.connect(
        url,
        subprotocols=subprotocols,
        open_timeout=WAIT,
        close_timeout=WAIT,
        max_size=None,
        proxy=None,
        **more,
    ) as socket:
        yield RawCharger(socket)


BOOT_1_6 = {"chargePointVendor": "Acme", "chargePointModel": "Box", "firmwareVersion": "1.2.3"}
BOOT_2 = {
    "reason": "PowerUp",
    "chargingStation": {"vendorName": "Acme", "model": "Tower", "firmwareVersion": "4.5"},
}
BOOTS = {
    "ocpp1.6": BOOT_1_6,
    "ocpp2.0.1": BOOT_2,
    "ocpp2.1": BOOT_2,
    "ntxcp1.0": {"dingxGatewayModel": "Ding"},
}


def start(**more: Any) -> dict[str, Any]:
    """A StartTransaction."""
    return {"connectorId": 1, "idTag": "CARD4711", "meterStart": 1000, "timestamp": MOMENT, **more}


def stop(transaction: int, **more: Any) -> dict[str, Any]:
    """A StopTransaction."""
    return {"transactionId": transaction, "meterStop": 6000, "timestamp": MOMENT, **more}


def transaction_event(kind: str, number: int, transaction: str = "TX-1", **more: Any) -> dict[str, Any]:
    """A TransactionEvent."""
    return {
        "eventType": kind,
        "timestamp": MOMENT,
        "triggerReason": "Authorized",
        "seqNo": number,
        "transactionInfo": {"transactionId": transaction, **more.pop("info", {})},
        **more,
    }


def energy(register: float, power: float = 7200.0, soc: float = 55.0) -> dict[str, Any]:
    """A meter value of 2.x, as a charger measures one."""
    return {
        "timestamp": MOMENT,
        "sampledValue": [
            {"value": register},
            {"value": power, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W"}},
            {"value": soc, "measurand": "SoC", "unitOfMeasure": {"unit": "Percent"}},
            {"value": 230.5, "measurand": "Voltage", "phase": "L1-N", "unitOfMeasure": {"unit": "V"}},
            {"value": 229.5, "measurand": "Voltage", "phase": "L2-N", "unitOfMeasure": {"unit": "V"}},
            {"value": 16, "measurand": "Current.Import", "phase": "L1", "unitOfMeasure": {"unit": "A"}},
            {"value": 15, "measurand": "Current.Import", "phase": "L2", "unitOfMeasure": {"unit": "A"}},
        ],
    }

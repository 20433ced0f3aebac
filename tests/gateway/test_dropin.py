"""In the place of ykc-proxy-server: a back end written for its JSON goes on working, over HTTP and NATS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from reference.bodies import wrap
from ykc.vectors import VECTORS

from gateway.live import PILE, WAIT, Backend, Running, serving
from gateway.nats_server import NatsServer

TRANSACTION = "55031412782305012018061910262392"


class OldBackend:
    """A back end as they were written for ykc-proxy-server: it reads its JSON and answers on its routes.

    The records it has booked are in ``booked``.
    """

    def __init__(self, running: Running, *, answers: bool = True) -> None:
        self._client = running.client
        self._answers = answers
        self.booked: dict[str, dict[str, Any]] = {}
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.news = asyncio.Condition()

    async def take(self, frame_id: str, message: dict[str, Any]) -> None:
        self.messages.append((frame_id, message))
        header = {"encrypted": False, "seq": message["header"]["seq"]}
        if not self._answers:
            pass
        elif frame_id == "01":
            body = {"header": header, "id": message["Id"], "result": True}
            await self._post("02", body)
        elif frame_id == "05":
            body = {"header": header, "id": message["Id"], "billingModelCode": message["billingModelCode"]}
            await self._post("06", body | {"result": True})
        elif frame_id == "3b":
            self.booked[message["tradeSeq"]] = message
            body = {"header": header, "id": message["id"], "tradeSeq": message["tradeSeq"], "result": 0}
            await self._post("40", body)
        async with self.news:
            self.news.notify_all()

    async def until(self, frame_id: str) -> dict[str, Any]:
        async with asyncio.timeout(WAIT), self.news:
            await self.news.wait_for(lambda: frame_id in dict(self.messages))
        return dict(self.messages)[frame_id]

    async def _post(self, route: str, body: dict[str, Any]) -> None:
        response = await self._client.post(f"/proxy/{route}", json=body)
        assert (response.status_code, response.json()) == (200, {"message": "done"}), response.text


async def a_charge(running: Running, old: OldBackend) -> None:
    """Login, billing model, start, record, end: what old back ends do."""
    pile = await running.raw_pile()
    pile.write(bytes.fromhex(VECTORS["6.1"]["frame"]))
    _, _, body = await pile.expect(0x02)
    assert body == bytes.fromhex(f"{PILE} 00")
    pile.send(0x05, bytes.fromhex(f"{PILE} 0100"), b"\xce\x04")
    assert (await pile.expect(0x06))[1:] == (b"\xce\x04", bytes.fromhex(f"{PILE} 0100 00"))
    started = await running.client.post(
        "/proxy/34",
        json={
            "header": {"encrypted": False},
            "tradeSeq": TRANSACTION,
            "id": PILE,
            "gunId": "01",
            "logicCard": "1000000573",
            "physicalCard": "D14B0A54",
            "balance": 100000,
        },
    )
    assert (started.status_code, started.json()) == (200, {"message": "done"})
    _, sequence, body = await pile.expect(0x34)
    assert body == bytes.fromhex(f"{TRANSACTION} {PILE} 01 0000001000000573 00000000D14B0A54 A0860100")
    pile.send(0x33, bytes.fromhex(f"{TRANSACTION} {PILE} 01 01 00"), sequence)
    assert (await old.until("33"))["result"] is True
    frame = bytes.fromhex(VECTORS["8.7"]["frame"])
    pile.write(frame)
    assert (await pile.expect(0x40))[2] == bytes.fromhex(f"{TRANSACTION} 00")
    assert list(old.booked) == [TRANSACTION]
    # Its confirmation got lost: it comes again, and is confirmed without being booked again.
    pile.write(frame)
    assert (await pile.expect(0x40))[2] == bytes.fromhex(f"{TRANSACTION} 00")
    await running.server.outbox.drained()
    assert [frame_id for frame_id, _ in old.messages].count("3b") == 1


@contextlib.asynccontextmanager
async def posted_to(folder: Path, **settings: Any) -> AsyncIterator[tuple[Running, OldBackend, Backend]]:
    """A server in drop-in mode that posts to an old back end."""
    async with (
        Backend() as backend,
        serving(
            folder,
            drop_in__enabled=True,
            forward__to="http",
            forward__servers=[f"{backend.url}/charge/ykc/messages/"],
            **settings,
        ) as running,
    ):
        old = OldBackend(running, answers=not settings)
        tasks: set[asyncio.Task[None]] = set()

        def status(path: str, body: Any) -> int:
            assert path.startswith("/charge/ykc/messages/")
            task = asyncio.ensure_future(old.take(path.rpartition("/")[2], body))
            tasks.add(task)
            return 200

        backend.status = status
        yield running, old, backend
        for task in tasks:
            await task


def test_an_old_back_end_over_http(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path) as (running, old, _):
            await a_charge(running, old)

    asyncio.run(run())


@pytest.mark.parametrize("jetstream", [False, True])
def test_an_old_back_end_over_nats(jetstream: bool, tmp_path: Path) -> None:
    async def run(url: str) -> None:
        async with serving(
            tmp_path,
            drop_in__enabled=True,
            forward__to="nats",
            forward__servers=[url],
            forward__jetstream=jetstream,
        ) as running:
            old = OldBackend(running)
            client = await nats.connect(url)

            async def heard(message: Any) -> None:
                await old.take(message.subject.rpartition(".")[2], msgspec.json.decode(message.data))

            await client.subscribe("charge.proxy.ykc.*", cb=heard)
            await client.flush()
            await a_charge(running, old)
            if jetstream:
                info = await client.jetstream().stream_info("EVPROTO")
                assert info.state.messages == 1
            await client.drain()

    folder = tmp_path / "nats"
    folder.mkdir()
    with NatsServer(folder) as server:
        asyncio.run(run(server.url))


@pytest.mark.parametrize(
    ("frame", "path", "wanted"),
    [
        (
            # As ykc-proxy-server itself was seen to forward it, but for the number: it read 206 of CE04.
            wrap(0x03, bytes.fromhex(f"{PILE} 01 00"), b"\xce\x04"),
            "03",
            {
                "header": {"length": 13, "seq": 1230, "encrypted": False, "frameId": "03"},
                "id": PILE,
                "Id": PILE,
                "gun": "01",
                "gunStatus": 0,
            },
        ),
        (
            bytes.fromhex(VECTORS["6.1"]["frame"]),
            "01",
            {
                "header": {"length": 34, "seq": 0, "encrypted": False, "frameId": "01"},
                "id": PILE,
                "Id": PILE,
                "elcType": 0,
                "guns": 2,
                "protocolVersion": 15,
                "softwareVersion": "V4.1.50",
                "network": 1,
                "sim": "01010101010101010101",
                "operator": 4,
            },
        ),
        (
            wrap(
                0x13,
                bytes.fromhex(f"{TRANSACTION} {PILE} 02 03 01 01")
                + bytes.fromhex(
                    "9A0E E803 64 0102030405060708 5A 55 3C00 1E00 40E20100 41E20100 10270000 0180"
                ),
            ),
            "13",
            {
                "header": {"length": 64, "seq": 0, "encrypted": False, "frameId": "13"},
                "tradeSeq": TRANSACTION,
                "id": PILE,
                "Id": PILE,
                "gunId": "02",
                "status": 3,
                "reset": 1,
                "plugged": 1,
                "ov": 3738,
                "oc": 1000,
                "lineTemp": 100,
                "lineCode": str(0x0807060504030201),
                "soc": 90,
                "bpTopTemp": 85,
                "accumulatedChargingTime": 60,
                "remainingTime": 30,
                "chargingDegrees": 123456,
                "lossyChargingDegrees": 123457,
                "chargedAmount": 10000,
                "hardwareFailure": 0x8001,
            },
        ),
        (
            wrap(
                0x19,
                bytes.fromhex(f"{TRANSACTION} {PILE} 01 5A 4A01 A401 46 5A 2C01 E803 78563412"),
            ),
            "19",
            {
                "header": {"length": 43, "seq": 0, "encrypted": False, "frameId": "19"},
                "tradeSeq": TRANSACTION,
                "id": PILE,
                "Id": PILE,
                "gunId": "01",
                "bmsSoc": 90,
                "bmsBatteryPackLowestVoltage": 0x014A,
                "bmsBatteryPackHighestVoltage": 0x01A4,
                "bmsBatteryPackLowestTemperature": 70,
                "bmsBatteryPackHighestTemperature": 90,
                "cumulativeChargingDuration": 300,
                "outputPower": 1000,
                "chargingUnitId": 0x12345678,
            },
        ),
        (
            wrap(0x33, bytes.fromhex(f"{TRANSACTION} {PILE} 01 00 05"), b"\x01\x02"),
            "33",
            {
                "header": {"length": 30, "seq": 0x0201, "encrypted": False, "frameId": "33"},
                "tradeSeq": TRANSACTION,
                "id": PILE,
                "Id": PILE,
                "gunId": "01",
                "result": False,
                "reason": 5,
            },
        ),
        (
            wrap(0x35, bytes.fromhex(f"{PILE} 01 01 00")),
            "35",
            {
                "header": {"length": 14, "seq": 0, "encrypted": False, "frameId": "35"},
                "id": PILE,
                "Id": PILE,
                "gunId": "01",
                "result": True,
                "reason": 0,
            },
        ),
        (
            wrap(0x57, bytes.fromhex(f"{PILE} 01")),
            "57",
            {
                "header": {"length": 12, "seq": 0, "encrypted": False, "frameId": "57"},
                "id": PILE,
                "Id": PILE,
                "result": 1,
            },
        ),
        (
            wrap(0x09, bytes.fromhex(PILE)),
            "09",
            {
                "header": {"length": 11, "seq": 0, "encrypted": False, "frameId": "09"},
                "id": PILE,
                "Id": PILE,
            },
        ),
    ],
    ids=["03", "01", "13", "19", "33", "35", "57", "09"],
)
def test_messages_have_the_members_they_had(
    frame: bytes, path: str, wanted: dict[str, Any], tmp_path: Path
) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.raw_pile()
            if path != "01":
                pile.send(0x01, bytes.fromhex(VECTORS["6.1"]["frame"])[6:-2])
                await pile.expect(0x02)
            pile.write(frame)
            assert await old.until(path) == wanted

    asyncio.run(run())


def test_a_record_has_the_members_it_had(tmp_path: Path) -> None:
    frame = bytes.fromhex(VECTORS["8.7"]["frame"])
    fields = VECTORS["8.7"]["fields"]

    async def run() -> None:
        async with posted_to(tmp_path) as (running, old, _):
            await a_charge(running, old)
            record = old.booked[TRANSACTION]
            assert record["header"]["length"] == frame[1]
            assert record["consumptionAmount"] == fields["total_amount"] * 10000
            assert record["initialMeterReading"] == fields["meter_start"] * 10000
            assert record["sharpUnitPrice"] == fields["sharp_price"] * 100000
            assert set(record) == {
                *("header", "tradeSeq", "id", "Id", "gunId", "startAt", "endAt"),
                *(f"{tier}{what}" for tier in TIERS for what in ("UnitPrice", "ElectricCharge", "Price")),
                *(f"lossy{tier.capitalize()}ElectricCharge" for tier in TIERS),
                *("initialMeterReading", "finalMeterReading", "totalElectricCharge"),
                *("lossyTotalElectricCharge", "consumptionAmount", "vin", "startType"),
                *("transactionDateTime", "stopReason", "physicalCardNumber"),
            }

    asyncio.run(run())


TIERS = ("sharp", "peak", "flat", "valley")


MODEL = {
    "header": {"encrypted": False},
    "id": PILE,
    "billingModelCode": "0100",
    **{f"{tier}UnitPrice": 100000 * (number + 2) for number, tier in enumerate(TIERS)},
    **{f"{tier}ServiceFee": 16540 for tier in TIERS},
    "accrualRatio": 0,
    "rateList": [0] * 48,
}


@pytest.mark.parametrize(
    ("route", "body", "frame_type", "sample"),
    [
        ("0a", MODEL, 0x0A, "6.8"),
        ("58", MODEL, 0x58, "9.5"),
        ("36", {"header": {}, "id": PILE, "gunId": "01"}, 0x36, None),
        ("92", {"header": {}, "id": PILE, "control": 1}, 0x92, None),
        ("92", {"id": PILE, "control": "2"}, 0x92, None),
        ("40", {"header": {}, "id": PILE, "tradeSeq": TRANSACTION, "result": 0}, 0x40, None),
        ("02", {"header": {"seq": 1230}, "id": PILE, "result": False}, 0x02, None),
        ("06", {"header": {"seq": 1230}, "id": PILE, "billingModelCode": "01", "result": False}, 0x06, None),
    ],
)
def test_routes_send_the_right_bytes(
    route: str, body: dict[str, Any], frame_type: int, sample: str | None, tmp_path: Path
) -> None:
    wanted = {
        "36": f"{PILE} 01",
        "92": f"{PILE} {int(body.get('control', 0)):02X}",
        "40": f"{TRANSACTION} 00",
        "02": f"{PILE} 01",
        "06": f"{PILE} 0001 01",
    }

    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, _):
            pile = await running.pile()
            response = await running.client.post(f"/proxy/{route}", json=body)
            assert (response.status_code, response.json()) == (200, {"message": "done"})
            _, sequence, sent = await pile.expect(frame_type)
            if sample is not None:
                assert sent == bytes.fromhex(VECTORS[sample]["frame"])[6:-2]
            else:
                assert sent == bytes.fromhex(wanted[route])
            if "seq" in body.get("header", {}):
                assert sequence == b"\xce\x04"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"[]", 400, "the body is a JSON object"),
        (b"{}", 400, "id is missing"),
        (b'{"id": "%s"}' % PILE.encode(), 400, "gunId is missing"),
        (b'{"id": "%s", "gunId": true}' % PILE.encode(), 400, "gunId takes text"),
        (b'{"id": "%s", "gunId": "0x1"}' % PILE.encode(), 400, "gunId: gun_no takes 2 digits"),
        (b'{"id": "%s", "gunId": "01", "header": 3}' % PILE.encode(), 400, "header is an object"),
        (b'{"id": "%s", "gunId": "01", "header": {"encrypted": true}}' % PILE.encode(), 400, "encrypted bodies need a cipher"),
        (b'{"id": "99999999999999", "gunId": "01"}', 404, "no pile 99999999999999 has been here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(content: bytes, status: int, said: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, _):
            pile = await running.pile()
            response = await running.client.post("/proxy/36", content=content)
            assert response.status_code == status
            assert response.json()["message"].startswith(said)
            probe = bytes.fromhex(f"{PILE} 01 00")
            assert await pile.nothing_before(0x04, lambda: pile.send(0x03, probe)) == []

    asyncio.run(run())


def test_trusted_networks_need_no_token_for_the_old_routes_and_for_nothing_else(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(
            tmp_path,
            drop_in__enabled=True,
            drop_in__trusted=["127.0.0.0/8"],
            ykc__auto_login=True,
            http__token="a-token-that-is-long",
        ) as running:
            pile = await running.pile()
            response = await running.client.post("/proxy/36", json={"id": PILE, "gunId": "01"})
            assert response.status_code == 200
            await pile.expect(0x36)
            assert (await running.client.get("/piles")).status_code == 401
        async with serving(
            tmp_path,
            drop_in__enabled=True,
            drop_in__trusted=["192.0.2.0/24"],
            http__token="a-token-that-is-long",
        ) as running:
            response = await running.client.post("/proxy/36", json={"id": PILE, "gunId": "01"})
            assert (response.status_code, response.json()) == (401, {"message": "a token is needed"})

    asyncio.run(run())


def test_without_drop_in_mode_the_old_routes_are_not_there(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            assert (await running.client.post("/proxy/36", json={"id": PILE})).status_code == 404

    asyncio.run(run())

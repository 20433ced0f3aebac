"""The bugs of ykc-proxy-server in REST, forwarding and options, each shown not to be here.

Those in framing and sessions (1, 2, 7, 12 to 14 on the wire) have their tests beside the endpoints.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from reference.bodies import wrap
from ykc.vectors import VECTORS

from evproto.cli.seed_options import modernized
from gateway.live import PILE, Backend, serving
from gateway.test_dropin import MODEL, posted_to

TRANSACTION = "55031412782305012018061910262392"
RECORD = bytes.fromhex(VECTORS["8.7"]["frame"])


def test_seed_bug_02_a_split_or_stray_byte_leaves_the_server_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as running:
            pile = await running.pile()
            stray = await running.raw_pile("99000000000001")
            stray.write(b"\x01")
            heartbeat = wrap(0x03, bytes.fromhex(f"{PILE} 01 00"), b"\x01\x00")
            pile.write(heartbeat[:8])
            # The API is served while half a frame waits.
            assert (await running.client.get("/health")).status_code == 200
            pile.write(heartbeat[8:])
            assert (await pile.expect(0x04))[1] == b"\x01\x00"

    asyncio.run(run())


@pytest.mark.parametrize("drop_in", [False, True])
def test_seed_bug_03_a_record_that_is_confirmed_is_not_lost(drop_in: bool, tmp_path: Path) -> None:
    """It confirmed records and threw them away; here one waits for a back end that is down."""

    async def run() -> None:
        async with Backend() as backend:
            settings: dict[str, Any] = {
                "drop_in__enabled": drop_in,
                "ykc__auto_login": True,
                "ykc__auto_record_confirm": True,
                "forward__to": "http",
                "forward__servers": [backend.url],
            }
            backend.status = lambda path, body: 500
            async with serving(tmp_path, server__drain_timeout=0.2, **settings) as running:
                pile = await running.pile()
                pile.write(RECORD)
                assert (await pile.expect(0x40))[2] == bytes.fromhex(f"{TRANSACTION} 00")
            assert backend.got == []
            backend.status = lambda path, body: 200
            async with serving(tmp_path, **settings) as running:
                name = "tradeSeq" if drop_in else "key"
                await backend.until(lambda path, body: body.get(name) == TRANSACTION)
                assert not drop_in or backend.got[-1][0] == "/3b"
                assert await running.metric('evproto_records_total{outcome="not_stored",protocol="ykc"}') == 0

    asyncio.run(run())


def test_seed_bug_03_logins_and_billing_models_are_forwarded_though_answered(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True, ykc__auto_billing_model=True) as (
            running,
            old,
            _,
        ):
            pile = await running.pile()
            assert (await old.until("01"))["Id"] == PILE
            pile.send(0x05, bytes.fromhex(f"{PILE} 0100"))
            await pile.expect(0x06)
            assert (await old.until("05"))["billingModelCode"] == "0100"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("route", "body", "frame_type", "wanted"),
    [
        ("40", {"id": PILE, "tradeSeq": TRANSACTION, "result": 0}, 0x40, f"{TRANSACTION} 00"),
        ("40", {"id": PILE, "tradeSeq": TRANSACTION, "result": 1}, 0x40, f"{TRANSACTION} 01"),
        ("92", {"id": PILE, "control": 1}, 0x92, f"{PILE} 01"),
        ("92", {"id": PILE, "control": 2}, 0x92, f"{PILE} 02"),
    ],
)
def test_seed_bug_04_codes_are_codes_and_not_digits(
    route: str, body: dict[str, Any], frame_type: int, wanted: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, _):
            pile = await running.pile()
            assert (await running.client.post(f"/proxy/{route}", json=body)).status_code == 200
            assert (await pile.expect(frame_type))[2] == bytes.fromhex(wanted)

    asyncio.run(run())


def test_seed_bug_05_setting_the_billing_model_is_0x58_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.pile()
            assert (await running.client.post("/proxy/58", json=MODEL)).status_code == 200
            _, sequence, _ = await pile.expect(0x58)
            assert 0x0A not in [frame[0] for frame in pile.seen]
            pile.send(0x57, bytes.fromhex(f"{PILE} 01"), sequence)
            assert (await old.until("57"))["result"] == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("balance", "on_wire"), [(100000, "A0860100"), (1000000, "40420F00"), (7, "07000000")]
)
def test_seed_bug_06_balances_are_low_byte_first_with_all_digits(
    balance: int, on_wire: str, tmp_path: Path
) -> None:
    body = {
        "tradeSeq": TRANSACTION,
        "id": PILE,
        "gunId": "01",
        "logicCard": "0",
        "physicalCard": "0",
        "balance": balance,
    }

    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, _):
            pile = await running.pile()
            assert (await running.client.post("/proxy/34", json=body)).status_code == 200
            assert (await pile.expect(0x34))[2][-4:] == bytes.fromhex(on_wire)

    asyncio.run(run())


def test_seed_bug_07_numbers_are_whole_echoed_and_never_used_twice(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.pile()
            pile.send(0x05, bytes.fromhex(f"{PILE} 0100"), b"\xce\x04")
            shown = await old.until("05")
            assert shown["header"]["seq"] == 0x04CE
            answer = {"header": shown["header"], "id": PILE, "billingModelCode": "0100", "result": True}
            assert (await running.client.post("/proxy/06", json=answer)).status_code == 200
            assert (await pile.expect(0x06))[1] == b"\xce\x04"
            numbers = set()
            for _ in range(20):
                await running.client.post("/proxy/36", json={"id": PILE, "gunId": "01"})
                _, sequence, _ = await pile.expect(0x36)
                numbers.add(sequence)
            assert len(numbers) == 20

    asyncio.run(run())


def test_seed_bug_08_logins_are_read_at_the_right_places(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.raw_pile()
            pile.write(bytes.fromhex(VECTORS["6.1"]["frame"]))
            await pile.expect(0x02)
            login = await old.until("01")
            assert (login["operator"], login["sim"], login["network"]) == (4, "01010101010101010101", 1)
            assert login["protocolVersion"] == 15
            assert login["softwareVersion"] == "V4.1.50"

    asyncio.run(run())


def test_seed_bug_09_real_time_data_is_whole(tmp_path: Path) -> None:
    body = bytes.fromhex(f"{TRANSACTION} {PILE} 01 03 01 01") + bytes.fromhex(
        "9A0E E803 64 0102030405060708 5A 55 3C00 1E00 40E20100 40E20100 10270000 0000"
    )

    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.pile()
            pile.send(0x13, body)
            data = await old.until("13")
            assert (data["oc"], data["lineTemp"], data["remainingTime"]) == (1000, 100, 30)
            assert data["chargingDegrees"] == 123456
            assert int(data["lineCode"]) == 0x0807060504030201
            shown = (await running.client.get(f"/piles/{PILE}")).json()["guns"][0]["realtime"]
            assert (shown["output_current"], shown["cable_temperature"]) == (100.0, 50)
            assert shown["energy"] == 12.3456

    asyncio.run(run())


def test_seed_bug_10_records_have_all_bytes_the_vin_as_text_and_true_times(tmp_path: Path) -> None:
    changed = bytearray(RECORD[6:-2])
    times = bytes.fromhex("98B7 0E 11 10 03 14")  # 2020-03-16 17:14:47.000
    changed[24:31] = changed[31:38] = times
    vin = b"LTV1A2B3C4D5E6F70"
    at_vin = len(changed) - 8 - 1 - 7 - 1 - 17
    changed[at_vin : at_vin + 17] = vin
    meters = at_vin - 12 - 10
    changed[meters : meters + 10] = bytes.fromhex("0102030405 0602030405")

    async def run(hex_vin: bool) -> None:
        settings = {"drop_in__vin": "hex"} if hex_vin else {}
        async with posted_to(tmp_path / str(hex_vin), ykc__auto_login=True, **settings) as (running, old, _):
            pile = await running.pile()
            pile.send(0x3B, bytes(changed))
            record = await old.until("3b")
            # 17:14:47 in Beijing is 09:14:47 UTC.
            assert record["startAt"] == record["endAt"] == 1584350087000
            assert record["vin"] == (vin.hex() if hex_vin else vin.decode())
            assert record["initialMeterReading"] == 0x0504030201
            assert record["finalMeterReading"] == 0x0504030206

    asyncio.run(run(False))
    asyncio.run(run(True))


def test_seed_bug_11_the_end_of_charging_is_low_byte_first(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.pile()
            pile.send(0x19, bytes.fromhex(f"{TRANSACTION} {PILE} 01 5A 4A01 A401 46 5A 2C01 E803 78563412"))
            end = await old.until("19")
            assert end["cumulativeChargingDuration"] == 300
            assert end["bmsBatteryPackLowestVoltage"] == 330

    asyncio.run(run())


def test_seed_bug_12_frames_with_a_wrong_checksum_are_counted_and_not_forwarded(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.pile()
            frame = bytearray(wrap(0x05, bytes.fromhex(f"{PILE} 0100")))
            frame[-1] ^= 0xFF
            pile.write(bytes(frame))
            pile.send(0x09, bytes.fromhex(PILE))
            await old.until("09")
            assert [frame_id for frame_id, _ in old.messages] == ["01", "09"]
            assert await running.metric('evproto_bad_frames_total{error="ChecksumError"}') == 1

    asyncio.run(run())


def test_seed_bug_13_encrypted_frames_are_not_read_as_plain_text(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, old, _):
            pile = await running.pile()
            pile.write(wrap(0x35, bytes.fromhex(f"{PILE} 01 01 00"), encryption=1))
            shown = await old.until("35")
            assert shown["header"]["encrypted"] is True
            assert "result" not in shown
            body = {"header": {"encrypted": True}, "id": PILE, "gunId": "01"}
            response = await running.client.post("/proxy/36", json=body)
            assert response.status_code == 400
            probe = bytes.fromhex(f"{PILE} 01 00")
            assert await pile.nothing_before(0x04, lambda: pile.send(0x03, probe)) == []

    asyncio.run(run())


def test_seed_bug_14_nothing_of_a_pile_is_forwarded_or_commanded_before_its_login(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=False) as (running, old, _):
            pile = await running.raw_pile()
            pile.send(0x09, bytes.fromhex(PILE))
            pile.write(bytes.fromhex(VECTORS["6.1"]["frame"]))
            await old.until("01")
            assert [frame_id for frame_id, _ in old.messages] == ["01"]
            response = await running.client.post("/proxy/36", json={"id": PILE, "gunId": "01"})
            assert (response.status_code, response.json()["message"]) == (
                409,
                f"pile {PILE} is offline: its login waits",
            )
            refusal = {"header": {"seq": 0}, "id": PILE, "result": False}
            assert (await running.client.post("/proxy/02", json=refusal)).status_code == 200
            assert (await pile.expect(0x02))[2] == bytes.fromhex(f"{PILE} 01")
            await pile.closed()

    asyncio.run(run())


def test_seed_bug_15_a_short_billing_model_number_shifts_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, _):
            pile = await running.pile()
            response = await running.client.post("/proxy/58", json=MODEL | {"billingModelCode": "01"})
            assert response.status_code == 200
            _, _, body = await pile.expect(0x58)
            assert body[7:9] == b"\x00\x01"
            assert body[9:] == bytes.fromhex(VECTORS["9.5"]["frame"])[6 + 9 : -2]
            response = await running.client.post("/proxy/58", json=MODEL | {"billingModelCode": "00001"})
            assert response.status_code == 400

    asyncio.run(run())


# Further ones that the list of its description has no number for.


def test_seed_bug_options_behind_a_bare_true_are_read() -> None:
    line = ["-autoVerification", "true", "-autoBillingModelVerify", "true", "-tcpPort", "27999"]
    assert modernized(line)[0] == ["--auto-login=true", "--auto-billing-model=true", "--tcp-port=27999"]


def test_seed_bug_an_answer_other_than_2xx_is_a_failure(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, backend):
            answers = iter([500, 503])
            seen: list[str] = []

            def status(path: str, body: Any) -> int:
                seen.append(path.rpartition("/")[2])
                return next(answers, 200)

            backend.status = status
            await running.pile()
            await backend.until(lambda path, body: path.endswith("/01"))
            await running.server.outbox.drained()
            assert seen == ["01", "01", "01"]

    asyncio.run(run())


def test_seed_bug_a_dead_back_end_does_not_stall_a_pile(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(
            tmp_path,
            drop_in__enabled=True,
            ykc__auto_login=True,
            forward__to="http",
            forward__servers=["http://127.0.0.1:9"],
            server__drain_timeout=0.2,
        ) as running:
            pile = await running.pile()
            for number in range(50):
                pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"), number.to_bytes(2, "little"))
            for number in range(50):
                assert (await pile.expect(0x04))[1] == number.to_bytes(2, "little")

    asyncio.run(run())


def test_seed_bug_a_pile_that_is_gone_is_not_done(tmp_path: Path) -> None:
    async def run() -> None:
        async with posted_to(tmp_path, ykc__auto_login=True) as (running, _, _):
            pile = await running.pile()
            await pile.close()
            while (await running.client.get(f"/piles/{PILE}")).json()["online"]:
                await asyncio.sleep(0.01)
            response = await running.client.post("/proxy/36", json={"id": PILE, "gunId": "01"})
            assert response.status_code == 409
            assert response.json()["message"].startswith(f"pile {PILE} is offline")

    asyncio.run(run())

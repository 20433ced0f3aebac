"""What a widespread server gets wrong on the wire, and this one must not.

The bugs of ykc-proxy-server that concern bytes, framing and sessions; those of
its HTTP side and its forwarding are tested with the gateway.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from reference.bodies import wrap

from aio.ykc_raw import PILE, Heard, RawPile, connected, heartbeat, login, run, serving
from evproto.aio.ykc import ConnectedPile, Online, PileServer
from evproto.errors import ChecksumError, EncodeError, SkippedBytesError
from evproto.messages import EncryptedMessage
from evproto.ykc import enums
from evproto.ykc.messages import (
    BillingModelSettingRequest,
    BillingModelVerificationRequest,
    ChargingEnd,
    HeartbeatRequest,
    LoginRequest,
    RealtimeDataReport,
    RebootRequest,
    RemoteStartRequest,
    RemoteStopRequest,
    TransactionRecord,
    TransactionRecordResponse,
)
from evproto.ykc.session import Damaged, LoginReceived, MessageReceived, NotServed, PlatformSettings
from evproto.ykc.tariff import Price, Tariff, periods

QUIET = PlatformSettings(sync_time=False)
TRANSACTION = "55031412782305012018061910262392"


async def online_pile(server: PileServer, raw: RawPile) -> ConnectedPile:
    heard = Heard()
    server.on(Online)(heard.add)
    await raw.log_in()
    await heard.count(1)
    return server.piles[PILE]


def test_seed_bug_01_merged_segments() -> None:
    """Three heartbeats in one segment got one answer, the rest vanished."""

    async def main() -> None:
        async with serving(PileServer(QUIET)) as port, connected(port) as pile:
            await pile.log_in()
            await pile.send(*(heartbeat(1, bytes((number, 0))) for number in (7, 8, 9)))
            answers = [await pile.frame() for _ in range(3)]
            assert [(answer[5], answer[2]) for answer in answers] == [(0x04, 7), (0x04, 8), (0x04, 9)]

    run(main())


@pytest.mark.parametrize("at", [1, 2, 5, 6, 8, 16])
def test_seed_bug_02_split_segments(at: int) -> None:
    """A heartbeat in two segments, or a single byte, ended the whole process."""

    async def main() -> None:
        async with serving(PileServer(QUIET)) as port, connected(port) as other, connected(port) as pile:
            await other.log_in("32010200000001")
            frame = login()
            for start in range(0, len(frame), at):
                await pile.send(frame[start : start + at])
                await asyncio.sleep(0)
            assert (await pile.frame())[5] == 0x02
            frame = heartbeat()
            await pile.send(frame[:at])
            await other.send(heartbeat(1, pile="32010200000001"))
            assert (await other.frame())[5] == 0x04
            await pile.send(frame[at:])
            assert await pile.frame() == wrap(0x04, bytes.fromhex(f"{PILE} 01 00"), b"\x01\0")

    run(main())


def test_seed_bug_02_one_byte_and_gone() -> None:
    """A connection that sends one byte, or none, and goes takes nobody along."""

    async def main() -> None:
        async with serving(PileServer(QUIET)) as port, connected(port) as pile:
            for data in (b"\x01", b"\x68", b""):
                async with connected(port) as other:
                    await other.send(data)
            await pile.log_in()

    run(main())


def test_seed_bug_03_a_record_is_not_confirmed_by_itself() -> None:
    """Records were acknowledged and thrown away; here, only a handler's answer acknowledges one."""

    async def main() -> None:
        server = PileServer(PlatformSettings(sync_time=False, confirm_any_billing_model=True))
        heard = Heard()
        server.on(TransactionRecord)(heard.add)
        body = bytes.fromhex(f"{TRANSACTION} {PILE} 01") + bytes.fromhex("98B70E11100314") * 2 + bytes(120)
        async with serving(server) as port, connected(port) as pile:
            await pile.log_in()
            await pile.send(wrap(0x3B, body, b"\x05\0"), heartbeat())
            await heard.count(1)
            assert (await pile.frame())[5] == 0x04  # and no 0x40

            def confirm(pile: ConnectedPile, received: MessageReceived) -> TransactionRecordResponse:
                return TransactionRecordResponse(
                    transaction_no=TRANSACTION, result=enums.TransactionAck.ACCEPTED
                )

            server.on_record(confirm)
            await pile.send(wrap(0x3B, body, b"\x06\0"))
            assert await pile.frame() == wrap(0x40, bytes.fromhex(f"{TRANSACTION} 00"), b"\x06\0")

    run(main())


def test_seed_bug_03_answering_does_not_keep_a_message_from_handlers() -> None:
    """Logins and billing-model requests that were answered automatically were not forwarded."""

    async def main() -> None:
        server = PileServer(PlatformSettings(sync_time=False, confirm_any_billing_model=True))
        heard = Heard()
        server.on(LoginReceived, BillingModelVerificationRequest, HeartbeatRequest)(heard.add)
        async with serving(server) as port, connected(port) as pile:
            await pile.log_in()
            await pile.send(wrap(0x05, bytes.fromhex(f"{PILE} 0001")), heartbeat())
            assert [(await pile.frame())[5] for _ in range(2)] == [0x06, 0x04]
            await heard.count(3)
            assert [type(one).__name__ for one in heard.all] == [
                "LoginReceived",
                "BillingModelVerificationRequest",
                "HeartbeatRequest",
            ]

    run(main())


def test_seed_bug_04_codes_are_numbers_not_digits() -> None:
    """Results went out as ASCII: 0 as 0x30, so that piles repeated their records for ever."""

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            pile.send(
                TransactionRecordResponse(transaction_no=TRANSACTION, result=enums.TransactionAck.ACCEPTED)
            )
            assert (await raw.frame())[6:-2] == bytes.fromhex(f"{TRANSACTION} 00")
            pile.send(RebootRequest(pile_id=PILE, execution_control=enums.ExecutionControl.IMMEDIATELY))
            assert (await raw.frame())[6:-2] == bytes.fromhex(f"{PILE} 01")

    run(main())


def tariff() -> Tariff:
    return Tariff(
        billing_model_no="0100",
        prices={rate: Price(energy=Decimal(1), service=Decimal("0.4")) for rate in enums.TariffRate},
        periods=periods([], default=enums.TariffRate.FLAT),
    )


def test_seed_bug_05_setting_the_billing_model_is_0x58_and_0x57_comes_back() -> None:
    """It was sent as 0x0A, and no pile ever answered with 0x57."""

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            call = asyncio.ensure_future(pile.set_tariff(tariff()))
            frame = await raw.frame()
            assert frame[5] == 0x58
            assert frame[6:-2] == bytes.fromhex(f"{PILE} 0100" + "A0860100 409C0000" * 4 + "00" + "02" * 48)
            await raw.send(wrap(0x57, bytes.fromhex(f"{PILE} 01"), frame[2:4]))
            assert (await call).result is enums.FailureSuccess.SUCCESS
            assert pile.tariff == tariff()

    run(main())


@pytest.mark.parametrize(
    ("balance", "on_wire"), [(1000.0, "A0860100"), (10000.0, "40420F00"), (0.01, "01000000")]
)
def test_seed_bug_06_balances_go_low_byte_first(balance: float, on_wire: str) -> None:
    """1000.00 went out as 0000186A, which a pile reads as 17,799,577.60."""

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            pile.send(
                RemoteStartRequest(
                    transaction_no=TRANSACTION,
                    pile_id=PILE,
                    gun_no="01",
                    logical_card_no="1000000573",
                    physical_card_no=bytes(8),
                    account_balance=balance,
                )
            )
            assert (await raw.frame())[-6:-2] == bytes.fromhex(on_wire)

    run(main())


@pytest.mark.parametrize("sequence", ["CE04", "04CE", "FFFF", "0000"])
def test_seed_bug_07_both_sequence_bytes_come_back(sequence: str) -> None:
    """Only one byte survived, and logins were answered with 0 whatever they said."""

    async def main() -> None:
        server = PileServer(PlatformSettings(sync_time=False, confirm_any_billing_model=True))
        async with serving(server) as port, connected(port) as pile:
            number = bytes.fromhex(sequence)
            await pile.send(login(sequence=number))
            assert (await pile.frame())[2:6] == number + b"\x00\x02"
            await pile.send(heartbeat(1, number), wrap(0x05, bytes.fromhex(f"{PILE} 0001"), number))
            assert (await pile.frame())[2:6] == number + b"\x00\x04"
            assert (await pile.frame())[2:6] == number + b"\x00\x06"

    run(main())


def test_seed_bug_07_commands_are_numbered_from_zero_on_each_connection() -> None:
    """Commands took the milliseconds of the clock for a number, so numbers collided."""

    async def main() -> None:
        server = PileServer(QUIET)
        for _ in range(2):
            async with serving(server) as port, connected(port) as raw:
                pile = await online_pile(server, raw)
                for _ in range(3):
                    pile.send(RemoteStopRequest(pile_id=PILE, gun_no="01"))
                assert [(await raw.frame())[2:4] for _ in range(3)] == [b"\0\0", b"\x01\0", b"\x02\0"]
                server.handlers = type(server.handlers)()

    run(main())


def test_seed_bug_08_the_login_is_read_to_its_last_field() -> None:
    """Everything behind the version was shifted by one: the operator was a checksum byte."""

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            heard = Heard()
            server.on(Online)(heard.add)
            await raw.send(
                bytes.fromhex("6822000000015503141278230500020F56342E312E3530000101010101010101010101040F32")
            )
            await heard.count(1)
            assert server.piles[PILE].login == LoginRequest(
                pile_id=PILE,
                pile_type=enums.PileType.DC,
                gun_count=2,
                protocol_version=1.5,
                firmware_version="V4.1.50",
                network_type=enums.NetworkType.LAN,
                sim_no="01010101010101010101",
                network_operator=enums.Operator.OTHER,
            )
            assert server.piles[PILE].version == "1.5"

    run(main())


def test_seed_bug_09_every_number_of_the_real_time_data_arrives() -> None:
    """Current, cable temperature and remaining time were always 0, the energy lost its low 16 bits."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(RealtimeDataReport)(heard.add)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            body = bytes.fromhex(
                f"{TRANSACTION} {PILE} 01 03 00 01 A00F E803 52 0102030405060708 4B 55 2D00 0F00"
                "40E20100 40E20100 54B40000 0100"
            )
            await raw.send(wrap(0x13, body))
            (data,) = await heard.count(1)
            assert data.output_current == 100.0
            assert data.cable_temperature == 32
            assert data.remaining_time == 15
            assert data.energy == 12.3456
            assert data.cable_code == bytes.fromhex("0102030405060708")
            assert pile.data["01"] is data

    run(main())


def test_seed_bug_10_meters_vin_and_times_of_a_record_are_whole() -> None:
    """Meters lost their fifth byte, the VIN was hex, times were 8 h off and without seconds."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(TransactionRecord)(heard.add)
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            body = (
                bytes.fromhex(f"{TRANSACTION} {PILE} 01 98B70E11100314 98B70E11100314")
                + bytes(64)
                + bytes.fromhex("0000000001 0100000001 01000000 00000000 00000000")
                + b"LTEST000000000001"
                + bytes.fromhex("01 98B70E11100314 45 0102030405060708")
            )
            await raw.send(wrap(0x3B, body))
            (record,) = await heard.count(1)
            assert (record.meter_start, record.meter_end) == (429496.7296, 429496.7297)
            assert record.vin == "LTEST000000000001"
            assert record.start_time.isoformat() == "2020-03-16T17:14:47+08:00"

    run(main())


def test_seed_bug_11_numbers_are_read_low_byte_first() -> None:
    """All of 0x19 was read high byte first."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(ChargingEnd)(heard.add)
        async with serving(server) as port, connected(port) as raw:
            await raw.log_in()
            body = bytes.fromhex(f"{TRANSACTION} {PILE} 01 62 5901 6001 52 55 2D00 7B00 00000000")
            await raw.send(wrap(0x19, body))
            (end,) = await heard.count(1)
            numbers = [end.min_cell_voltage, end.max_cell_voltage, end.charging_time]
            assert numbers == [3.45, 3.52, 45]

    run(main())


def test_seed_bug_12_damaged_frames_are_not_answered() -> None:
    """A wrong checksum or start byte made no difference."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(Damaged)(heard.add)
        async with serving(server) as port, connected(port) as pile:
            await pile.log_in()
            wrong = heartbeat(1, b"\x07\0")[:-2] + b"\0\0"
            no_start = b"\0" + heartbeat(1, b"\x08\0")[1:]
            await pile.send(wrong, no_start, heartbeat(1, b"\x09\0"))
            assert (await pile.frame())[2:6] == b"\x09\0\0\x04"
            await heard.until(lambda all_: b"".join(one.raw for one in all_) == wrong + no_start)
            kinds = {type(one.error) for one in heard.all}
            assert kinds == {ChecksumError, SkippedBytesError}

    run(main())


def test_seed_bug_13_encrypted_frames_are_not_read_as_plain_ones() -> None:
    """They were, and the answers said "encrypted" and were not."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(EncryptedMessage)(heard.add)
        async with serving(server) as port, connected(port) as pile:
            await pile.log_in()
            await pile.send(wrap(0x03, bytes(16), b"\x01\0", encryption=1), heartbeat(1, b"\x02\0"))
            answer = await pile.frame()
            assert answer[2:6] == b"\x02\0\0\x04"
            assert (await heard.count(1))[0] == EncryptedMessage(frame_type=0x03, body=bytes(16))

    run(main())


def test_seed_bug_14_nothing_before_the_login() -> None:
    """Heartbeats were answered whether a pile was logged in or not."""

    async def main() -> None:
        server = PileServer(QUIET)
        heard = Heard()
        server.on(NotServed)(heard.add)
        async with serving(server) as port, connected(port) as pile:
            await pile.send(heartbeat(), wrap(0x3B, bytes(158)))
            await heard.count(2)
            await pile.send(login())
            assert (await pile.frame())[5] == 0x02  # the first that ever came

    run(main())


def test_seed_bug_14_a_refused_pile_is_disconnected() -> None:
    """It was neither told nor blocked."""

    async def main() -> None:
        server = PileServer(QUIET, authenticate=lambda pile, login: login.login.pile_id != PILE)
        async with serving(server) as port, connected(port) as pile:
            await pile.send(login(), heartbeat())
            assert await pile.ended() == wrap(0x02, bytes.fromhex(f"{PILE} 01"))
            assert not server.piles

    run(main())


def test_seed_bug_15_a_message_of_wrong_length_is_never_sent() -> None:
    """A billing model number of one byte shifted all that followed."""

    async def main() -> None:
        server = PileServer(QUIET)
        async with serving(server) as port, connected(port) as raw:
            pile = await online_pile(server, raw)
            good = tariff().setting(PILE)
            fields = {name: getattr(good, name) for name in good.__struct_fields__}
            for wrong in (
                {"billing_model_no": "01"},
                {"billing_model_no": "01000"},
                {"period_rates": good.period_rates[:47]},
            ):
                with pytest.raises(EncodeError):
                    pile.send(BillingModelSettingRequest(**{**fields, **wrong}))
            pile.send(good)
            frame = await raw.frame()
            assert (frame[5], frame[2:4], frame[13:15], len(frame)) == (0x58, b"\0\0", b"\x01\x00", 98)

    run(main())

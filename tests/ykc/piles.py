"""Frames of piles made without the codec, and sessions to feed them to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from reference.bodies import wrap

from evproto.ykc import enums
from evproto.ykc.messages import RemoteStartRequest, RemoteStopRequest
from evproto.ykc.session import PlatformSession, PlatformSettings
from evproto.ykc.tariff import Price, Tariff, periods

PILE = "55031412782305"
OTHER = "32010200000001"
TRANSACTION = "55031412782305012018061914444680"


def login(version: int = 0x10, pile: str = PILE, sequence: bytes = b"\x00\x00") -> bytes:
    body = bytes.fromhex(f"{pile} 00 02 {version:02X} 56342E312E353000 01 01010101010101010101 04")
    return wrap(0x01, body, sequence)


def heartbeat(gun: int = 1, sequence: bytes = b"\x00\x01", pile: str = PILE, health: int = 0) -> bytes:
    return wrap(0x03, bytes.fromhex(f"{pile} {gun:02d} {health:02X}"), sequence)


def stop_response(sequence: bytes, gun: int = 1, pile: str = PILE, result: int = 1) -> bytes:
    return wrap(0x35, bytes.fromhex(f"{pile} {gun:02d} {result:02X} 00"), sequence)


def start_response(sequence: bytes, result: int, reason: int = 0, transaction: str = TRANSACTION) -> bytes:
    return wrap(0x33, bytes.fromhex(f"{transaction} {PILE} 01 {result:02X} {reason:02X}"), sequence)


def report(sequence: bytes, gun: int = 1) -> bytes:
    return wrap(0x13, bytes.fromhex(f"{'00' * 16} {PILE} {gun:02d}") + bytes(36), sequence)


def stop(gun: int = 1) -> RemoteStopRequest:
    return RemoteStopRequest(pile_id=PILE, gun_no=f"{gun:02d}")


def start(transaction: str = TRANSACTION) -> RemoteStartRequest:
    return RemoteStartRequest(
        transaction_no=transaction,
        pile_id=PILE,
        gun_no="01",
        logical_card_no="1000000573",
        physical_card_no=bytes.fromhex("00000000D14B0A54"),
        account_balance=1000.0,
    )


def tariff(number: str = "0100") -> Tariff:
    return Tariff(
        billing_model_no=number,
        prices={rate: Price(energy=Decimal("1.2"), service=Decimal("0.4")) for rate in enums.TariffRate},
        periods=periods([], default=enums.TariffRate.FLAT),
    )


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def session(now: float = 0.0, **settings: Any) -> PlatformSession:
    return PlatformSession(settings=PlatformSettings(**settings), now=now)


def online(now: float = 0.0, version: int = 0x10, **settings: Any) -> PlatformSession:
    settings.setdefault("sync_time", False)
    made = session(now, **settings)
    made.receive(login(version), now)
    made.accept_login(now)
    made.take()
    return made

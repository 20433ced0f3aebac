"""What the tests of the YKC server share: messages, and piles that are online."""

from __future__ import annotations

from reference.bodies import wrap

from aio.ykc_raw import PILE, RawPile, eventually
from evproto.aio.ykc import ConnectedPile, PileServer
from evproto.ykc import enums
from evproto.ykc.messages import RemoteStopRequest, StartRequest, StartResponse
from evproto.ykc.session import PlatformSettings

QUIET = PlatformSettings(sync_time=False)
OTHER = "32010200000001"
STOP = RemoteStopRequest(pile_id=PILE, gun_no="01")
START = wrap(0x31, bytes.fromhex(f"{PILE} 01 01 00 00000000D14B0A54") + bytes(33), b"\x04\0")


def stop_answer(sequence: bytes, gun: int = 1) -> bytes:
    return wrap(0x35, bytes.fromhex(f"{PILE} {gun:02d} 01 00"), sequence)


def report(gun: int, sequence: int = 0) -> bytes:
    return wrap(
        0x13, bytes.fromhex(f"{'00' * 16} {PILE} {gun:02d}") + bytes(36), sequence.to_bytes(2, "little")
    )


def start_response(request: StartRequest) -> StartResponse:
    return StartResponse(
        transaction_no="55" * 16,
        pile_id=request.pile_id,
        gun_no=request.gun_no,
        logical_card_no="0",
        account_balance=1.0,
        result=enums.FailureSuccess.SUCCESS,
        failure_reason=enums.AuthFailureReason(0),
    )


async def online_pile(server: PileServer, raw: RawPile, pile_id: str = PILE) -> ConnectedPile:
    await raw.log_in(pile_id)
    await eventually(lambda: pile_id in server.piles)
    return server.piles[pile_id]


def frames_of(data: bytes) -> list[bytes]:
    frames = []
    while data:
        size = data[1] + 4
        frames.append(data[:size])
        data = data[size:]
    return frames

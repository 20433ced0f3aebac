"""What evproto is measured against, and the frames both are given.

The constructs are kept bare on purpose: plain integers and bytes, no scaling,
no checksum, no times, no enumerations. They do far less than evproto does, and
they are what one would write first. Do not change them: figures from
different days are compared by their ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

from construct import Bytes, BytesInteger, Int8ul, Int16ul, Int32ul, Struct

CALLS = 100
"""Calls per measured round: what the measuring itself costs is lost in them."""

_TIERS = [
    f"{tier}_{what}" / Int32ul
    for tier in ("sharp", "peak", "flat", "valley")
    for what in ("price", "energy", "energy_with_loss", "amount")
]

TRANSACTION_RECORD = Struct(
    "transaction_no" / Bytes(16),
    "pile_id" / Bytes(7),
    "gun_no" / Bytes(1),
    "start_time" / Bytes(7),
    "end_time" / Bytes(7),
    *_TIERS,
    "meter_start" / BytesInteger(5, swapped=True),
    "meter_end" / BytesInteger(5, swapped=True),
    "total_energy" / Int32ul,
    "total_energy_with_loss" / Int32ul,
    "total_amount" / Int32ul,
    "vin" / Bytes(17),
    "start_source" / Int8ul,
    "transaction_time" / Bytes(7),
    "stop_reason" / Int8ul,
    "physical_card_no" / Bytes(8),
)

REALTIME_DATA = Struct(
    "transaction_no" / Bytes(16),
    "pile_id" / Bytes(7),
    "gun_no" / Bytes(1),
    "gun_status" / Int8ul,
    "gun_docked" / Int8ul,
    "gun_plugged" / Int8ul,
    "output_voltage" / Int16ul,
    "output_current" / Int16ul,
    "cable_temperature" / Int8ul,
    "cable_code" / Bytes(8),
    "soc" / Int8ul,
    "max_battery_temperature" / Int8ul,
    "charging_time" / Int16ul,
    "remaining_time" / Int16ul,
    "energy" / Int32ul,
    "energy_with_loss" / Int32ul,
    "amount" / Int32ul,
    "hardware_faults" / Int16ul,
)

HEARTBEAT = Struct("pile_id" / Bytes(7), "gun_no" / Bytes(1), "gun_health" / Int8ul)

CONSTRUCTS = {0x3B: TRANSACTION_RECORD, 0x13: REALTIME_DATA, 0x03: HEARTBEAT}

FRAMES = {
    # A record of 8.8 kWh over two tiers, every field filled.
    0x3B: bytes.fromhex(
        "68A28001003B 18220000000155021673797553635328 18220000000155 02 08CF1C16170A19 D0841517170A19"
        "400D0300 905F0100 905F0100 54B40000 400D0300 40420F00 40420F00 18E40700"
        "F0490200 10270000 10270000 983A0000 F0490200 20030000 20030000 B0040000"
        "A85B010000 7375030000 005B0500 005B0500 A8220900"
        "4C545354303030303030303030303030 31 01 D0841517170A19 45 0102030405060708 2B98"
    ),
    # A pile that is charging.
    0x13: bytes.fromhex(
        "68401A030013 18220000000155021673797553635328 18220000000155 01 03 00 01"
        "A00F E803 52 0102030405060708 4B 55 2D00 0F00 905F0100 905F0100 54B40000 0100 66A4"
    ),
    0x03: bytes.fromhex("680D00010003 32010200000001 01 00 F11A"),
}
"""Whole frames, by type."""


def times(call: Callable[..., Any], *arguments: Any) -> None:
    """Call :data:`CALLS` times, for the benchmark of one round."""
    for _ in repeat(None, CALLS):
        call(*arguments)

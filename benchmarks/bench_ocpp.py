"""A whole OCPP-J frame to a typed, validated object and back, against the ocpp package.

Ours is ``Codec.decode`` and ``Codec.encode`` as anybody calls them, what is
sent validated too. Theirs is what ``ChargePoint`` does with a frame before
and after the handler: unpack, validate, names to snake case; names to camel
case, validate, pack. Their objects keep nested members as dicts.

"msgspec" is bare decoding of the same bytes into the same classes, in two
steps (the envelope with the payload raw, then the payload), without any check
that msgspec does not do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import ocpp.messages as theirs
import ocpp.v16.call
import ocpp.v201.call
import pytest
from ocpp.charge_point import (
    camel_to_snake_case,
    remove_nones,
    serialize_as_dict,
    snake_to_camel_case,
)

from evproto.ocpp import v16, v201
from evproto.ocppj import Call, Codec
from evproto.ocppj.part import REFUSALS
from evproto.payloads import CustomDataType

Measure = Callable[..., None]
_TIME = "2026-11-20T10:00:00Z"
_SAMPLE_16 = {
    "value": "12.5",
    "context": "Sample.Periodic",
    "format": "Raw",
    "measurand": "Energy.Active.Import.Register",
    "phase": "L1",
    "location": "Outlet",
    "unit": "Wh",
}
_SAMPLE_201 = {
    "value": 12.5,
    "context": "Sample.Periodic",
    "measurand": "Energy.Active.Import.Register",
    "unitOfMeasure": {"unit": "Wh"},
}
_REPORT = [
    {
        "component": {"name": "ChargingStation", "evse": {"id": 1}},
        "variable": {"name": f"Variable{number}"},
        "variableAttribute": [
            {
                "type": "Actual",
                "value": str(number),
                "mutability": "ReadOnly",
                "persistent": True,
                "constant": False,
            }
        ],
        "variableCharacteristics": {
            "dataType": "integer",
            "supportsMonitoring": False,
            "unit": "W",
            "minLimit": 0,
        },
    }
    for number in range(50)
]
PAYLOADS: dict[str, tuple[Any, str, str, dict[str, Any]]] = {
    "BootNotification 1.6": (
        v16,
        "1.6",
        "BootNotification",
        {
            "chargePointVendor": "VendorX",
            "chargePointModel": "SingleSocketCharger",
            "firmwareVersion": "1.2.3",
        },
    ),
    "MeterValues 1.6": (
        v16,
        "1.6",
        "MeterValues",
        {
            "connectorId": 1,
            "transactionId": 42,
            "meterValue": [{"timestamp": _TIME, "sampledValue": [_SAMPLE_16] * 12}],
        },
    ),
    "TransactionEvent 2.0.1": (
        v201,
        "2.0.1",
        "TransactionEvent",
        {
            "eventType": "Updated",
            "timestamp": _TIME,
            "triggerReason": "MeterValuePeriodic",
            "seqNo": 5,
            "transactionInfo": {"transactionId": "abc123", "chargingState": "Charging"},
            "evse": {"id": 1, "connectorId": 1},
            "idToken": {"idToken": "ABCDEF", "type": "ISO14443"},
            "meterValue": [{"timestamp": _TIME, "sampledValue": [_SAMPLE_201, {"value": 230.1}]}],
        },
    ),
    "NotifyReport 2.0.1": (
        v201,
        "2.0.1",
        "NotifyReport",
        {"requestId": 7, "generatedAt": _TIME, "seqNo": 0, "tbc": False, "reportData": _REPORT},
    ),
}
FRAMES = {
    name: json.dumps([2, "19223201", action, payload], separators=(",", ":")).encode()
    for name, (_, _, action, payload) in PAYLOADS.items()
}
CASES = list(PAYLOADS)
LARGE = [case for case in CASES if len(FRAMES[case]) > 500]


def their_decode(data: bytes, version: str) -> Any:
    call = theirs.unpack(data)
    theirs._validate_payload(call, version)
    return camel_to_snake_case(call.payload)


def their_encode(payload: Any, action: str, version: str) -> str:
    members = snake_to_camel_case(remove_nones(serialize_as_dict(payload)))
    call = theirs.Call(unique_id="19223201", action=action, payload=members)
    theirs._validate_payload(call, version)
    text: str = call.to_json()
    return text


def their_payload(case: str) -> Any:
    _, version, action, _ = PAYLOADS[case]
    module = {"1.6": ocpp.v16.call, "2.0.1": ocpp.v201.call}[version]
    return getattr(module, action)(**their_decode(FRAMES[case], version))


def bare(case: str) -> Callable[[bytes], Any]:
    """Bare msgspec, the envelope and then the payload."""
    module, _, action, _ = PAYLOADS[case]
    envelope = msgspec.json.Decoder(tuple[int, str, str, msgspec.Raw]).decode
    kind = module.actions[action].request.type
    payload = msgspec.json.Decoder(kind, dec_hook=lambda _, value: CustomDataType(value)).decode

    def decode(data: bytes) -> Any:
        try:
            return payload(envelope(data)[3])
        except REFUSALS:
            return None

    return decode


@pytest.mark.parametrize("version", ["v16", "v201", "v21"])
def test_importing_a_version_takes_less_than_100_ms(version: str, tmp_path: Path) -> None:
    """Processor time of a process of its own, the best of several: what disturbs only makes it slower."""
    code = (
        f"import time; began = time.process_time(); import evproto.ocpp.{version}\n"
        "print(time.process_time() - began)"
    )
    command = [sys.executable, "-c", code]
    # The first run compiles.
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = [subprocess.run(command, env=env, capture_output=True, check=True) for _ in range(10)]
    times = [float(run.stdout) for run in runs]
    print(f"\nimport of {version}: {min(times) * 1000:.0f} ms")
    assert min(times) < 0.1


@pytest.mark.parametrize("case", CASES)
def test_the_same_is_measured(case: str) -> None:
    module, version, action, payload = PAYLOADS[case]
    call = module.codec.decode(FRAMES[case])
    assert isinstance(call, Call)
    assert not call.warnings
    assert json.loads(module.codec.encode(call))[3] == payload
    assert bare(case)(FRAMES[case]) == call.payload
    assert json.loads(their_encode(their_payload(case), action, version))[3] == payload


@pytest.mark.parametrize("case", CASES)
def test_decode(measure: Measure, case: str) -> None:
    codec: Codec = PAYLOADS[case][0].codec
    codec.decode(FRAMES[case])
    measure(f"decode {case}", "evproto", codec.decode, FRAMES[case])


@pytest.mark.parametrize("case", CASES)
def test_decode_theirs(measure: Measure, case: str) -> None:
    measure(f"decode {case}", "ocpp", their_decode, FRAMES[case], PAYLOADS[case][1], calls=1)


@pytest.mark.parametrize("case", LARGE)
def test_decode_bare(measure: Measure, case: str) -> None:
    measure(f"decode {case} bare", "msgspec", bare(case), FRAMES[case])


@pytest.mark.parametrize("case", LARGE)
def test_decode_against_bare(measure: Measure, case: str) -> None:
    codec: Codec = PAYLOADS[case][0].codec
    codec.decode(FRAMES[case])
    measure(f"decode {case} bare", "evproto", codec.decode, FRAMES[case])


@pytest.mark.parametrize("case", CASES)
def test_encode(measure: Measure, case: str) -> None:
    codec: Codec = PAYLOADS[case][0].codec
    call = codec.decode(FRAMES[case])
    codec.encode(call)
    measure(f"encode {case}", "evproto", codec.encode, call)


@pytest.mark.parametrize("case", CASES)
def test_encode_theirs(measure: Measure, case: str) -> None:
    _, version, action, _ = PAYLOADS[case]
    measure(f"encode {case}", "ocpp", their_encode, their_payload(case), action, version, calls=1)

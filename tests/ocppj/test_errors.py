"""The right code for everything that can be wrong, per version; hostile input; what is sent back."""

from __future__ import annotations

import json
import pickle
import time
import tracemalloc
from typing import Any

import pytest

from evproto.errors import DecodeError, EvprotoError
from evproto.ntxcp import v10
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Codec,
    FrameTooLargeError,
    InvalidMessageError,
    MalformedFrameError,
    MessageError,
    MessageTypeError,
    PayloadError,
    Send,
    UnexpectedResponseError,
    UnknownActionError,
)
from evproto.spec.actions import load_actions

VERSIONS: dict[str, Any] = {"1.6": v16, "2.0.1": v201, "2.1": v21}
FORM = {"1.6": "FormationViolation", "2.0.1": "FormatViolation", "2.1": "FormatViolation"}
OCCURRENCE = {
    "1.6": "OccurenceConstraintViolation",
    "2.0.1": "OccurrenceConstraintViolation",
    "2.1": "OccurrenceConstraintViolation",
}
FRAME = {"1.6": "FormationViolation", "2.0.1": "RpcFrameworkError", "2.1": "RpcFrameworkError"}
PROPERTY = dict.fromkeys(VERSIONS, "PropertyConstraintViolation")
TYPE = dict.fromkeys(VERSIONS, "TypeConstraintViolation")

_METER_16 = '{"connectorId":1,"meterValue":[{"timestamp":"%s","sampledValue":%s}]}'
_TIME = "2026-11-20T10:00:00Z"
_STATUS_2 = '{"timestamp":"%s","connectorStatus":"%s","evseId":%s,"connectorId":1%s}'
_NEEDS = (
    '{"evseId":1,"chargingNeeds":{"requestedEnergyTransfer":"DC","dcChargingParameters":'
    '{"evMaxCurrent":1,"evMaxVoltage":1,"stateOfCharge":%s}}}'
)
_CHARGE = "chargingNeeds.dcChargingParameters.stateOfCharge"
PAYLOADS = {
    # what is wrong: (1.6, 2.x) each (action, payload, path), and the code
    "required": (
        ("Authorize", "{}", "idTag"),
        ("Authorize", '{"idToken":{"type":"Central"}}', "idToken.idToken"),
        OCCURRENCE,
    ),
    "minItems": (
        ("MeterValues", _METER_16 % (_TIME, "[]"), "meterValue[0].sampledValue"),
        ("GetVariables", '{"getVariableData":[]}', "getVariableData"),
        OCCURRENCE,
    ),
    "maxItems": (
        None,
        (
            "GetMonitoringReport",
            (
                '{"requestId":1,"monitoringCriteria":["DeltaMonitoring","DeltaMonitoring","DeltaMonitoring",'
                '"DeltaMonitoring"]}'
            ),
            "monitoringCriteria",
        ),
        OCCURRENCE,
    ),
    "type": (
        ("Authorize", '{"idTag":12}', "idTag"),
        ("Authorize", '{"idToken":{"idToken":12,"type":"Central"}}', "idToken.idToken"),
        TYPE,
    ),
    "null": (
        (
            "StopTransaction",
            f'{{"transactionId":1,"meterStop":2,"timestamp":"{_TIME}","idTag":null}}',
            "idTag",
        ),
        ("Authorize", '{"idToken":{"idToken":"x","type":"Central"},"certificate":null}', "certificate"),
        TYPE,
    ),
    "enum": (
        ("Reset", '{"type":"Lukewarm"}', "type"),
        ("StatusNotification", _STATUS_2 % (_TIME, "Busy", 1, ""), "connectorStatus"),
        PROPERTY,
    ),
    "maxLength": (
        ("Authorize", '{"idTag":"%s"}' % ("x" * 21), "idTag"),
        ("Authorize", '{"idToken":{"idToken":"%s","type":"Central"}}' % ("x" * 300), "idToken.idToken"),
        PROPERTY,
    ),
    "minimum": (None, ("NotifyEVChargingNeeds", _NEEDS % -1, _CHARGE), PROPERTY),
    "maximum": (None, ("NotifyEVChargingNeeds", _NEEDS % 101, _CHARGE), PROPERTY),
    "multipleOf": (
        (
            "SetChargingProfile",
            (
                '{"connectorId":1,"csChargingProfiles":{"chargingProfileId":1,"stackLevel":0,'
                '"chargingProfilePurpose":"TxProfile","chargingProfileKind":"Absolute","chargingSchedule":'
                '{"chargingRateUnit":"A","chargingSchedulePeriod":[{"startPeriod":0,"limit":6.25}]}}}'
            ),
            "csChargingProfiles.chargingSchedule.chargingSchedulePeriod[0].limit",
        ),
        None,
        PROPERTY,
    ),
    "format": (
        ("MeterValues", _METER_16 % ("yesterday", '[{"value":"1"}]'), "meterValue[0].timestamp"),
        ("StatusNotification", _STATUS_2 % ("2026-11-20 10:00:00Z", "Available", 1, ""), "timestamp"),
        PROPERTY,
    ),
    "additional member": (
        ("Heartbeat", '{"fanSpeed":1}', "fanSpeed"),
        ("StatusNotification", _STATUS_2 % (_TIME, "Available", 1, ',"fan speed":1'), "['fan speed']"),
        FORM,
    ),
    "payload not an object": (("Heartbeat", "[]", ""), ("Heartbeat", "[]", ""), FORM),
}


_KEYWORDS = {"null": "type", "additional member": "additionalProperties", "payload not an object": "type"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fault", PAYLOADS)
def test_codes_of_payloads(version: str, fault: str) -> None:
    first, second, codes = PAYLOADS[fault]
    case = first if version == "1.6" else second
    if case is None:
        # There is nothing of the kind in this version: no schema has the keyword.
        specs = load_actions(VERSIONS[version].dialect.specs)
        assert f'"{fault}"' not in json.dumps([*specs.schemas().values()])
        return
    action, payload, path = case
    data = f'[2,"19","{action}",{payload}]'
    with pytest.raises(PayloadError) as caught:
        VERSIONS[version].codec.decode(data)
    error = caught.value
    assert (error.code, error.path) == (codes[version], path)
    assert error.deviations[0].keyword == _KEYWORDS.get(fault, fault)
    assert error.code in VERSIONS[version].dialect.error_codes
    assert error.action == action
    answer = error.to_call_error()
    assert isinstance(answer, CallError)
    assert (answer.unique_id, answer.error_code) == ("19", codes[version])
    assert 0 < len(answer.error_description) <= 255
    # The envelope to send back can be sent back.
    frame = VERSIONS[version].codec.encode(answer)
    assert VERSIONS[version].codec.decode(frame).error_code == codes[version]


FRAMES: dict[str, tuple[str, type[MessageError], str, str]] = {
    # what is wrong: (frame, error, keyword, id to answer with)
    "not JSON": ('[2,"19",', MalformedFrameError, "json", "-1"),
    "empty": ("", MalformedFrameError, "json", "-1"),
    "not an array": ('{"a":1}', MalformedFrameError, "frame", "-1"),
    "nothing in it": ("[]", MalformedFrameError, "frame", "-1"),
    "type is a text": ('["2","19","Heartbeat",{}]', MalformedFrameError, "frame", "-1"),
    "no id": ("[2]", MalformedFrameError, "messageId", "-1"),
    "id is a number": ('[2,19,"Heartbeat",{}]', MalformedFrameError, "messageId", "-1"),
    "id is empty": ('[2,"","Heartbeat",{}]', MalformedFrameError, "messageId", ""),
    "id too long": ('[2,"%s","Heartbeat",{}]' % ("x" * 37), MalformedFrameError, "messageId", "x" * 37),
    "too few elements": ('[2,"19","Heartbeat"]', MalformedFrameError, "frame", "19"),
    "too many elements": ('[2,"19","Heartbeat",{},1]', MalformedFrameError, "frame", "19"),
    "action is no text": ('[2,"19",7,{}]', MalformedFrameError, "frame", "19"),
    "a byte order mark": ('\ufeff[2,"19","Heartbeat",{}]', MalformedFrameError, "json", "-1"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fault", FRAMES)
def test_codes_of_frames(version: str, fault: str) -> None:
    frame, kind, keyword, unique_id = FRAMES[fault]
    with pytest.raises(kind) as caught:
        VERSIONS[version].codec.decode(frame)
    assert caught.value.code == FRAME[version]
    assert caught.value.deviations[0].keyword == keyword
    answer = caught.value.to_call_error()
    assert answer is not None
    assert answer.unique_id == unique_id


@pytest.mark.parametrize("version", VERSIONS)
def test_actions_and_message_types(version: str) -> None:
    codec = VERSIONS[version].codec
    with pytest.raises(UnknownActionError) as unknown:
        codec.decode('[2,"19","MakeCoffee",{}]')
    assert unknown.value.code == "NotImplemented"
    assert unknown.value.to_call_error() is not None
    with pytest.raises(MessageTypeError) as caught:
        codec.decode('[9,"19","Heartbeat",{}]')
    # 1.6 and 2.1 say to ignore it; 2.0.1, section 4.4, to answer.
    answer = caught.value.to_call_error()
    assert caught.value.ignored == (version != "2.0.1")
    assert (answer is None) == (version != "2.0.1")
    if answer is not None:
        assert (answer.unique_id, answer.error_code) == ("19", "MessageTypeNotSupported")
    for frame in ('[5,"19","GenericError","",{}]', '[6,"19","NotifyPeriodicEventStream",{}]'):
        if version != "2.1":
            with pytest.raises(MessageTypeError):
                codec.decode(frame)


def test_a_send_is_never_answered() -> None:
    with pytest.raises(PayloadError) as caught:
        v21.codec.decode('[6,"19","NotifyPeriodicEventStream",{"id":123}]')
    assert caught.value.to_call_error() is None
    with pytest.raises(UnknownActionError) as unknown:
        v21.codec.decode('[6,"19","Heartbeat",{}]')
    assert unknown.value.to_call_error() is None
    with pytest.raises(UnknownActionError) as called:
        v21.codec.decode('[2,"19","NotifyPeriodicEventStream",{}]')
    assert called.value.code == "NotSupported"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "frame", ['[3,"19",{"a":1}]', '[3,"19",[]]', '[3,"19"]', '[3,"19",{', '[3,"20",{}]', '[4,"19"]', "[4,"]
)
def test_an_answer_is_never_answered_with_callerror(version: str, frame: str) -> None:
    with pytest.raises(MessageError) as caught:
        VERSIONS[version].codec.decode(frame, pending={"19": "Heartbeat"})
    assert caught.value.to_call_error() is None


def test_callresulterror_is_for_2_1() -> None:
    for version, module in VERSIONS.items():
        with pytest.raises(PayloadError) as caught:
            module.codec.decode('[3,"19",{}]', pending={"19": "Heartbeat"})
        answer = caught.value.to_call_result_error()
        assert (answer is not None) == (version == "2.1")
        if answer is not None:
            assert module.codec.encode(answer).startswith(b'[5,"19","OccurrenceConstraintViolation",')
            assert isinstance(module.codec.decode(module.codec.encode(answer)), CallResultError)


def test_an_answer_to_nothing() -> None:
    for pending in (None, {}, {"20": "Heartbeat"}):
        with pytest.raises(UnexpectedResponseError) as caught:
            v21.codec.decode('[3,"19",{}]', pending=pending)
        assert caught.value.to_call_error() is None
        assert caught.value.to_call_result_error() is None


def test_codes_of_received_errors_are_kept_in_either_spelling() -> None:
    for code in ("OccurrenceConstraintViolation", "FormatViolation", "Nonsense"):
        error = v16.codec.decode(f'[4,"19","{code}","",{{}}]', pending={"19": "Reset"})
        assert isinstance(error, CallError)
        assert (error.error_code, error.action) == (code, "Reset")
        assert [found.keyword for found in error.warnings] == ["errorCode"]
    with pytest.raises(InvalidMessageError):
        v16.codec.encode(CallError(unique_id="19", error_code="FormatViolation"))


HOSTILE: dict[str, bytes] = {
    "brackets": b"[" * 100_000,
    "brackets in the payload": b'[2,"19","DataTransfer",{"vendorId":"x","data":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}]",
    "objects in the payload": b'[2,"19","Heartbeat",' + b'{"a":' * 100_000,
    "deep but complete": b'[2,"19","DataTransfer",{"vendorId":"x","data":' + b"[" * 900 + b"]" * 900 + b"}]",
    "bad UTF-8 in the id": b'[2,"\xff","Heartbeat",{}]',
    "bad UTF-8 in the payload": b'[2,"19","DataTransfer",{"vendorId":"\xc3\x28"}]',
    "bad UTF-8 in an unknown member": b'[2,"19","Heartbeat",{"a":"\xff"}]',
    "bad UTF-8 in a name": b'[2,"19","Heartbeat",{"\xff":1}]',
    "NaN": b'[2,"19","DataTransfer",{"vendorId":"x","data":NaN}]',
    "Infinity": b'[2,"19","DataTransfer",{"vendorId":"x","data":-Infinity}]',
    "1e400": b'[2,"19","DataTransfer",{"vendorId":"x","data":1e400}]',
    "1e999999999 for tenths": b'[2,"19","SetChargingProfile",{"connectorId":1e999999999}]',
    "1e-999999999": b'[2,"19","DataTransfer",{"vendorId":"x","data":1e-999999999}]',
    "10,000 digits": b'[2,"19","StatusNotification",{"connectorId":' + b"9" * 10_000 + b"}]",
    "10,000 digits as message type": b"[" + b"9" * 10_000 + b"]",
    "a lone surrogate": b'[2,"19","Authorize",{"idTag":"\\ud800"}]',
    "a lone surrogate in the id": b'[2,"\\ud800","Heartbeat",{}]',
    "50 MB of text": b'[2,"19","DataTransfer",{"vendorId":"x","data":"' + b"x" * 50_000_000 + b'"}]',
    "400,000 faults": b'[2,"19","GetConfiguration",{"key":[' + b"1," * 400_000 + b"1]}]",
    "400,000 unknown members": b'[2,"19","Heartbeat",{'
    + b",".join(b'"a%d":1' % number for number in range(400_000))
    + b"}]",
    "nothing but quotes": b'"' * 1_000_000,
}


@pytest.mark.parametrize("mode", ["strict", "lenient", "off"])
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_input(what: str, mode: Any) -> None:
    data = HOSTILE[what]
    for size in (1 << 20, 1 << 27):
        for module in (v16, v201):
            codec = Codec(module.dialect, max_size=size)
            # Of this process alone: other work on the machine does not count.
            began = time.process_time()
            try:
                codec.decode(data, mode=mode)
            except MessageError as error:
                assert len(str(error)) < 600
                if (answer := error.to_call_error()) is not None and len(answer.unique_id) <= 36:
                    codec.encode(answer, mode="lenient")
            assert time.process_time() - began < 20
    if what == "50 MB of text":
        with pytest.raises(FrameTooLargeError):
            v16.codec.decode(data)


def test_memory_stays_bounded() -> None:
    data = HOSTILE["400,000 faults"]
    codec = Codec(v16.dialect, max_size=1 << 24)
    tracemalloc.start()
    with pytest.raises(PayloadError) as caught:
        codec.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * len(data)
    assert len(caught.value.deviations) <= 20


def test_errors_are_errors_of_evproto_and_pickle() -> None:
    with pytest.raises(EvprotoError) as caught:
        v16.codec.decode('[2,"19","Authorize",{"idTag":7}]')
    error = caught.value
    assert isinstance(error, DecodeError)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, PayloadError)
    assert (str(again), again.code, again.deviations) == (str(error), error.code, error.deviations)
    assert again.to_call_error() == error.to_call_error()
    assert str(error) == "Authorize: idTag is a number (7), not text"


def test_of_members_given_twice_the_last_counts() -> None:
    call = v16.codec.decode('[2,"19","Authorize",{"idTag":"first","idTag":"last"}]')
    assert isinstance(call, Call)
    assert call.payload.id_tag == "last"


EXAMPLES: list[tuple[Any, str, type]] = [
    # Example frames of the OCPP-J documents.
    (
        v16,
        (
            '[2,\n "19223201",\n "BootNotification",\n {"chargePointVendor": "VendorX", "chargePointModel": '
            '"SingleSocketCharger"}\n]'
        ),
        Call,
    ),
    (
        v16,
        (
            '[3,\n "19223201",\n {"status":"Accepted", "currentTime":"2013-02-01T20:53:32.486Z", '
            '"heartbeatInterval":300}\n]'
        ),
        PayloadError,
    ),
    (
        v16,
        '[3,"19223201",{"status":"Accepted","currentTime":"2013-02-01T20:53:32.486Z","interval":300}]',
        CallResult,
    ),
    *(
        (module, frame, kind)
        for module in (v201, v21)
        for frame, kind in (
            (
                (
                    '[2, "19223201", "BootNotification", {"reason": "PowerUp", "chargingStation": '
                    '{"model": "SingleSocketCharger", "vendorName": "VendorX"}}]'
                ),
                Call,
            ),
            (
                (
                    '[3, "19223201", {"currentTime": "2013-02-01T20:53:32.486Z", "interval": 300, '
                    '"status": "Accepted"}]'
                ),
                CallResult,
            ),
            ('[4, "162376037", "NotSupported", "SetDisplayMessageRequest not supported", {}]', CallError),
        )
    ),
    # The document's own SEND is not valid: t is a time of day there, basetime is missing.
    (
        v21,
        (
            '[6, "19223201", "NotifyPeriodicEventStream", {"id": 123, "pending": 0, "data": '
            '[{"t": "2024-08-27T12:30:40Z", "v": "230.4"}, {"t": "2024-08-27T12:30:45Z", "v": "230.2"}]}]'
        ),
        PayloadError,
    ),
    (
        v21,
        (
            '[6, "19223201", "NotifyPeriodicEventStream", {"id": 123, "pending": 0, "basetime": '
            '"2024-08-27T12:30:40Z", "data": [{"t": 0, "v": "230.4"}, {"t": 5, "v": "230.2"}]}]'
        ),
        Send,
    ),
]


@pytest.mark.parametrize(("module", "frame", "kind"), EXAMPLES)
def test_examples_of_the_documents(module: Any, frame: str, kind: type) -> None:
    pending = {"19223201": "BootNotification", "162376037": "SetDisplayMessage"}
    if issubclass(kind, Exception):
        with pytest.raises(kind):
            module.codec.decode(frame, pending=pending)
        return
    envelope = module.codec.decode(frame, pending=pending)
    assert type(envelope) is kind
    assert not envelope.warnings
    assert module.codec.decode(module.codec.encode(envelope), pending=pending) == envelope


def test_ntxcp_answers_with_its_own_spelling() -> None:
    with pytest.raises(PayloadError) as caught:
        v10.codec.decode('[2,"19","Reset",{}]')
    assert caught.value.code == "OccurrenceConstraintViolation"
    with pytest.raises(UnknownActionError):
        v10.codec.decode('[2,"19","StartTransaction",{}]', mode="strict")

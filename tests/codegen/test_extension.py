"""Typed code made of an extension behaves as the classes made of it at run time do."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.actions import render_extension
from evproto.cli import main
from evproto.errors import SpecError
from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult, Codec, Envelope, MessageError
from evproto.payloads import OpenStrEnum, response_type

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "acme.json"
BASES: dict[str, Any] = {"ocpp1.6": v16, "ocpp2.0.1": v201, "ocpp2.1": v21}


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


EVERYTHING: dict[str, Any] = {
    "types": {
        "Mode": {"type": "string", "enum": ["Silent", "Full-Speed", "50%", "2nd"]},
        "Inner": closed(("a",), a={"type": "string", "maxLength": 3}, b={"$ref": "#/definitions/Mode"}),
    },
    "actions": [
        {
            "action": "Everything",
            "block": 'Acme "quoted" \\ Corp',
            "sentBy": ["csms", "station"],
            "message": "call",
            "request": closed(
                ("integer", "mode", "inner"),
                integer={"type": "integer"},
                bounded={"type": "integer", "minimum": -2, "maximum": 5.0},
                number={"type": "number"},
                half={"type": "number", "minimum": 0.5, "maximum": 9.75},
                tenths={"type": "number", "multipleOf": 0.1},
                boolean={"type": "boolean"},
                text={"type": "string", "maxLength": 4},
                when={"type": "string", "format": "date-time"},
                where={"type": "string", "format": "uri", "maxLength": 30},
                either={"type": ["string", "integer"]},
                anything={},
                mode={"$ref": "#/definitions/Mode"},
                inner={"$ref": "#/definitions/Inner"},
                words={"type": "array", "items": {"type": "string", "maxLength": 2}, "minItems": 1},
                inners={"type": "array", "items": {"$ref": "#/definitions/Inner"}, "maxItems": 2},
                grid={
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 2},
                },
                **{
                    "class": {"type": "string"},
                    "odd name-Ünd more": {"type": "integer"},
                    "customData": {"$ref": "#/definitions/CustomDataType"},
                },
            ),
            "response": closed(),
        },
        {"action": "Ping", "block": "Acme", "sentBy": ["station"], "message": "call"}
        | {"request": closed(), "response": closed(at={"type": "string", "format": "date-time"})},
    ],
    "dataTransfers": [
        {"action": "DataTransfer", "vendorId": vendor, "messageId": "speed"}
        | {"request": closed(("rpm",), rpm={"type": "integer", "maximum": 9000}), "response": closed()}
        for vendor in ("com.acme", "org.else")
    ]
    + [
        {"action": "DataTransfer", "vendorId": 'it\'s "me" \\'}
        | {"request": closed(inner={"$ref": "#/definitions/Inner"})}
    ],
}
VALID: dict[str, Any] = {
    "integer": 1,
    "bounded": 5,
    "number": 12.345,
    "half": 0.5,
    "tenths": 0.3,
    "boolean": True,
    "text": "é" * 4,
    "when": "2026-11-20T10:15:30.5+08:00",
    "where": "ftp://example.org/a",
    "either": 7,
    "anything": {"a": [1, None]},
    "mode": "50%",
    "inner": {"a": "x", "b": "2nd"},
    "words": ["a", "bc"],
    "inners": [{"a": ""}],
    "grid": [[], [1, 2]],
    "class": "x",
    "odd name-Ünd more": 3,
    "customData": {"vendorId": "v", "more": [1.5]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Packages ``everything_ocpp16`` and so on, importable."""
    here = tmp_path_factory.mktemp("extensions")
    file = here / "everything.json"
    file.write_text(json.dumps(EVERYTHING), encoding="utf-8")
    for protocol in BASES:
        package = f"everything_{protocol.replace('.', '')}"
        made = ["--extension", str(file), "--protocol", protocol, "-o", str(here), "--package", package]
        assert main(["generate", *made]) == 0
    assert main(["generate", "--extension", str(SAMPLE), "--protocol", "ocpp1.6", "-o", str(here)]) == 0
    sys.path.insert(0, str(here))
    try:
        yield here
    finally:
        sys.path.remove(str(here))


def generated(folder: Path, protocol: str) -> ModuleType:
    return importlib.import_module(f"everything_{protocol.replace('.', '')}")


def shape(kind: Any, seen: dict[Any, Any]) -> Any:
    """A type as plain data, with classes by what is in them."""
    if isinstance(kind, type) and issubclass(kind, OpenStrEnum):
        return kind.__name__, [(member.name, member.value) for member in kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in seen:
            seen[kind] = kind.__name__
            seen[kind] = (
                kind.__name__,
                [base.__name__ for base in kind.__mro__ if base.__module__ == "evproto.payloads"],
                {
                    word: getattr(kind.__struct_config__, word)
                    for word in (
                        "frozen",
                        "gc",
                        "omit_defaults",
                        "forbid_unknown_fields",
                        "array_like",
                        "tag",
                    )
                },
                [
                    (field.name, field.encode_name, field.required, field.default, shape(field.type, seen))
                    for field in msgspec.structs.fields(kind)
                ],
            )
        return seen[kind]
    if get_origin(kind) is Annotated:
        return kind.__metadata__, shape(kind.__origin__, seen)
    if get_args(kind):
        word = "union" if get_origin(kind) in (Union, UnionType) else get_origin(kind)
        return word, [shape(argument, seen) for argument in get_args(kind)]
    return kind


@pytest.mark.parametrize("protocol", BASES)
def test_the_classes_are_the_same(folder: Path, protocol: str) -> None:
    package = generated(folder, protocol)
    made = BASES[protocol].codec.extended(EVERYTHING)
    assert package.actions.keys() == made.dialect.actions.keys()
    assert package.dialect.schemas == made.dialect.schemas
    pairs = [(package.actions[name], made.dialect.actions[name]) for name in ("Everything", "Ping")]
    for written, built in pairs:
        assert (written.block, written.sent_by) == (built.block, built.sent_by)
    pairs += zip(package.dialect.transfers, made.dialect.transfers, strict=True)
    seen: dict[Any, Any] = {}
    for written, built in pairs:
        for part in ("request", "response"):
            one, other = getattr(written, part), getattr(built, part)
            assert (one is None) == (other is None)
            if one is not None:
                assert (one.times, one.tenths, one.uris) == (other.times, other.tenths, other.uris)
                assert shape(one.type, seen) == shape(other.type, {})
                assert getattr(package.messages, one.type.__name__) is one.type
    assert [transfer.request.type.__name__ for transfer in package.dialect.transfers] == [
        "ComAcmeSpeedRequestData",
        "OrgElseSpeedRequestData",
        "ItSMeRequestData",
    ]
    everything = package.messages.EverythingRequest
    assert response_type(everything) is package.messages.EverythingResponse
    assert package.dialect.action_of(everything).name == "Everything"


def told(codec: Codec, frame: bytes, pending: Any, mode: Any) -> Any:
    """What a codec makes of a frame, without the classes it makes of it."""
    try:
        envelope = codec.decode(frame, pending, mode=mode)
    except MessageError as error:
        return type(error), error.code, error.deviations, error.to_call_error()
    return plain(envelope), codec.encode(envelope, mode="lenient"), envelope.warnings


def plain(envelope: Envelope) -> Any:
    assert isinstance(envelope, Call | CallResult)
    return type(envelope), envelope.action, *map(repr, (envelope.payload, envelope.data, envelope.unknown))


MUTANTS: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.sampled_from([0.5, 0.25, 12.345, 1.0, 2**70, -0.0, 9.75, 9.8, 0.49]),
    st.sampled_from(
        ["", "x", "xxxxx", "Silent", "2026-11-20T10:15:30Z", "2026-11-20 10:15:30", "a:b", "50%"]
    ),
    st.lists(st.integers(0, 3) | st.just("a"), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "vendorId"]), st.sampled_from(["x", "Silent", 1]), max_size=3),
)


@given(data=st.data(), protocol=st.sampled_from(list(BASES)), mode=st.sampled_from(["strict", "lenient"]))
def test_they_take_and_refuse_the_same(folder: Path, data: st.DataObject, protocol: str, mode: str) -> None:
    package = generated(folder, protocol)
    payload: Any = copy.deepcopy(VALID)
    for name in data.draw(st.lists(st.sampled_from([*VALID, "unknown"]), max_size=2)):
        if data.draw(st.booleans()):
            payload.pop(name, None)
        elif name in ("inner", "customData") and data.draw(st.booleans()):
            payload[name] = {
                **VALID[name],
                data.draw(st.sampled_from(["a", "b", "vendorId"])): data.draw(MUTANTS),
            }
        else:
            payload[name] = data.draw(MUTANTS)
    frame = json.dumps([2, "1", "Everything", payload]).encode()
    made = _RUN_TIME[protocol]
    assert told(package.codec, frame, None, mode) == told(made, frame, None, mode)
    assert package.codec.check(frame) == made.check(frame)


_RUN_TIME = {protocol: module.codec.extended(EVERYTHING) for protocol, module in BASES.items()}


@given(
    rpm=MUTANTS,
    vendor=st.sampled_from(["com.acme", "org.else", "net.other"]),
    message=st.sampled_from(["speed", "", None]),
    mode=st.sampled_from(["strict", "lenient"]),
)
def test_data_transfers_are_the_same(folder: Path, rpm: Any, vendor: str, message: Any, mode: Any) -> None:
    for protocol in ("ocpp1.6", "ocpp2.1"):
        package, made = generated(folder, protocol), _RUN_TIME[protocol]
        data = {"rpm": rpm}
        payload = {"vendorId": vendor, "data": json.dumps(data) if protocol == "ocpp1.6" else data}
        if message is not None:
            payload["messageId"] = message
        frame = json.dumps([2, "1", "DataTransfer", payload]).encode()
        assert told(package.codec, frame, None, mode) == told(made, frame, None, mode)


@pytest.mark.parametrize("protocol", BASES)
def test_a_whole_message(folder: Path, protocol: str) -> None:
    package = generated(folder, protocol)
    frame = json.dumps([2, "1", "Everything", VALID], ensure_ascii=False).encode()
    for _ in range(2):
        call = package.codec.decode(frame)
        assert isinstance(call.payload, package.messages.EverythingRequest)
        assert call.payload.mode is package.enums.Mode("50%")
        assert call.payload.odd_name_nd_more == 3
        sent = json.loads(package.codec.encode(call))[3]
        assert {**sent, "when": VALID["when"]} == VALID
        # What the run-time classes cannot.
        assert pickle.loads(pickle.dumps(call)) == call
    assert isinstance(
        package.codec.decode(b'[3,"1",{}]', {"1": call}).payload, package.messages.EverythingResponse
    )
    boot = BASES[protocol].messages.HeartbeatRequest()
    assert package.codec.decode(package.codec.encode(Call(unique_id="2", payload=boot))).payload == boot


def test_generating_again_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ["--extension", str(SAMPLE), "--protocol", "ocpp1.6", "-o", str(folder)]
    assert main(["generate", *again]) == 0
    assert capsys.readouterr().out.count("(unchanged)") == len(list((folder / "acme").glob("*.py"))) == 5


@pytest.mark.parametrize("given", [{}, {"actions": []}, {"types": {"Mode": EVERYTHING["types"]["Mode"]}}])
def test_hardly_anything_is_an_extension_too(given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "little.json"
    file.write_text(json.dumps(given))
    for path, text in render_extension(file, "ocpp/v16", "little").items():
        compile(text, str(path), "exec")


def test_declarations_only(tmp_path: Path) -> None:
    for path, text in render_extension(SAMPLE, "ocpp/v21", "acme").items():
        for line in text.splitlines():
            assert not line.lstrip().startswith(("def ", "if ", "for ", "while ", "try:", "lambda")), path


USE = """
from typing import Any, assert_type

import acme
from evproto.ocppj import Call, Codec
from evproto.payloads import response_type
from everything_ocpp21 import enums, messages

request = acme.messages.SetFanRequest(mode=acme.enums.FanMode.FULL_SPEED, gain=0.3)
assert_type(request.windows, tuple[acme.messages.Window, ...] | None)
assert_type(response_type(request), type[acme.messages.SetFanResponse])
assert_type(acme.codec, Codec)
call = acme.codec.decode(acme.codec.encode(Call(unique_id="1", payload=request)))
match call:
    case Call(payload=acme.messages.SetFanRequest() as fan):
        assert_type(fan.mode, acme.enums.FanMode)
    case Call(data=acme.messages.FanSpeedRequestData() as speed):
        assert_type(speed.rpm, int)
everything = messages.EverythingRequest(integer=1, mode=everything_mode, inner=messages.Inner(a="x"))
assert_type(everything.either, str | int | None)
assert_type(everything.anything, Any | None)
assert_type(everything.grid, tuple[tuple[int, ...], ...] | None)
""".replace("everything_mode", "enums.Mode.SILENT")


@pytest.fixture(scope="module")
def use(folder: Path) -> Path:
    file = folder / "use.py"
    file.write_text(USE, encoding="utf-8")
    configuration = {"extraPaths": [str(ROOT / "src"), str(folder)], "typeCheckingMode": "standard"}
    (folder / "pyrightconfig.json").write_text(json.dumps(configuration))
    return file


def checked(folder: Path, *command: str) -> None:
    env = {**os.environ, "MYPYPATH": f"{ROOT / 'src'}{os.pathsep}{folder}"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy(use: Path) -> None:
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={use.parent / '.mypy'}"]
    checked(use.parent, sys.executable, "-m", "mypy", *options, str(use), "acme", "everything_ocpp21")


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright(use: Path) -> None:
    checked(use.parent, sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "use.py", "acme")


def action(**request: Any) -> dict[str, Any]:
    about = {"action": "SetFan", "block": "Acme", "sentBy": ["csms"], "message": "call"}
    return {"actions": [{**about, "request": closed(**request), "response": closed()}]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[]", "an extension is an object"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('{"actions": 7}', "this is a list"),
        ({"actions": [7]}, "actions[0]: 7 is not of type 'object'"),
        ({"dataTransfers": [7]}, "a data transfer is an object"),
        ({"dataTransfers": [{"action": "DataTransfr", "vendorId": "x"}]}, "did you mean 'DataTransfer'?"),
        (
            {"dataTransfers": [{"action": "DataTransfer", "vendorId": "x", "sentBy": []}]},
            "has action, vendorId",
        ),
        ({"dataTransfers": [{"action": "DataTransfer", "vendorId": "x"}] * 2}, "there is another transfer"),
        ({"dataTransfers": [{"action": "DataTransfer", "vendorId": "云"}]}, "has a letter"),
        ({"actions": action()["actions"] * 2}, "there is another class SetFanRequest"),
        ({"types": {"SetFanRequest": closed()}, **action()}, "there is another class SetFanRequest"),
        ({"types": {"DateTime": closed()}}, "there is another class DateTime"),
        ({"types": {"CustomDataType": closed()}}, "CustomDataType is there already"),
        (
            {
                "types": {
                    "A": closed(b={"$ref": "#/definitions/B"}),
                    "B": closed(a={"$ref": "#/definitions/A"}),
                }
            },
            "A has a A inside",
        ),
        ({"types": {"Mode": {"type": "string", "enum": ["a-b", "a b"]}}}, "would both be A_B"),
        ({"types": {"Mode": {"type": "string", "enum": [""]}}}, "cannot be the name"),
        (
            action(a={"$ref": "#/definitions/Mod"}) | {"types": {"Mode": EVERYTHING["types"]["Mode"]}},
            "did you mean 'Mode'?",
        ),
        (action(required=("a",)), "there is no member a"),
        (action(soC={"type": "string"}, soc={"type": "string"}), "would both be soc"),
        (action(**{'a"b': {"type": "string"}}), "with a quote"),
        (action(actionName={"type": "string"}), "cannot be the name"),
        (action(云={"type": "string"}), "cannot be the name"),
        (action(a={"type": "integer", "maxLength": 3}), "a member of type integer has no maxLength"),
        (action(a={"maxLength": 3}), "a member of any type has no maxLength"),
        (action(a={"type": "string", "format": "date-time", "maxLength": 3}), "a date-time has no maxLength"),
        (action(a={"type": "integer", "minimum": 0.5}), "the bound of an integer is an integer"),
        (action(a={"type": "number", "minimum": 2, "maximum": 1}), "it is more than maximum"),
        (
            '{"types":{"A":{"type":"object","additionalProperties":false,"properties":{"a":{"type":"number","maximum":1e999}}}}}',
            "out of range",
        ),
        (action(a={"type": "array"}), "say what its items are"),
        (action(a={"type": "array", "items": {"type": "string", "minimum": 1}}), "has no minimum"),
        ({"types": {"Open": {"type": "object", "properties": {}}}}, "say additionalProperties: false"),
        (
            {"actions": [{**action()["actions"][0], "message": "send", "response": None}]},
            "ocpp1.6 has no SEND",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_both(given: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(given if isinstance(given, str) else json.dumps(given), encoding="utf-8")
    with pytest.raises(SpecError) as written:
        render_extension(file, "ocpp/v16", "wrong")
    assert said in str(written.value)
    with pytest.raises(SpecError) as built:
        v16.codec.extended(file)
    assert str(built.value) == str(written.value)


def test_what_generate_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"actions": [{"action": "Reset"}]}')
    for arguments, said in (
        (["--extension", str(SAMPLE)], "--protocol what it extends: ocpp1.6, ocpp2.0.1, ocpp2.1, ntxcp"),
        (
            ["--extension", str(SAMPLE), "--protocol", "ocpp1.6", "--revision", "1.6"],
            "--revision goes with --dialect",
        ),
        (
            ["--dialect", str(ROOT / "samples" / "v1_8.yaml"), "--protocol", "ocpp1.6"],
            "--protocol goes with --extension",
        ),
        (["--extension", str(tmp_path / "none.json"), "--protocol", "ocpp1.6"], "there is no such file"),
        (["--extension", str(broken), "--protocol", "ocpp1.6"], "ocpp1.6 has an action Reset"),
    ):
        assert main(["generate", *arguments, "-o", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

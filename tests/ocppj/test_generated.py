"""What the generator makes of the specs: complete, reproducible, importable alone."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evproto.messages import Record
from evproto.payloads import Notification, OpenStrEnum, Payload, Request, Response
from evproto.spec.naming import attribute_name, enum_member_name

from .instances import Maker
from .official import VERSIONS, payloads, schema

ROOT = Path(__file__).parents[2]
COUNTS = {"ocpp.v16": 39, "ocpp.v201": 64, "ocpp.v21": 91, "ntxcp.v10": 16}


def tables(name: str) -> Any:
    return importlib.import_module(f"evproto._generated.{name}.actions")


def test_count_of_actions(capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in COUNTS.items():
        actions = tables(name).ACTIONS
        assert len(actions) == count
        requests = [a for a in actions.values() if issubclass(a.request.type, Request)]
        sends = [a.name for a in actions.values() if issubclass(a.request.type, Notification)]
        assert all(issubclass(a.response.type, Response) for a in requests)
        assert sends == (["NotifyPeriodicEventStream"] if name == "ocpp.v21" else [])
        with capsys.disabled():
            print(f"\n{name}: {count} actions, {len(requests)} answered, SEND: {sends or 'none'}", end="")


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_regeneration_changes_nothing(seed: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "codegen", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[:3000] + run.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_names_and_order_are_those_of_the_official_schemas(version: str) -> None:
    """Read naively: wire names from the Structs against property names from the files."""
    actions = tables(f"ocpp.{version}").ACTIONS
    seen = 0

    def compare(cls: Any, node: dict[str, Any], document: dict[str, Any]) -> None:
        nonlocal seen
        while "$ref" in node:
            node = document["definitions"][node["$ref"].rsplit("/", 1)[1]]
        if node.get("type") == "array":
            compare(cls, node["items"], document)
            return
        if isinstance(cls, type) and issubclass(cls, OpenStrEnum):
            assert node["enum"] == [member.value for member in cls] or cls.__name__ == "UnitOfMeasure"
        if not (isinstance(cls, type) and issubclass(cls, Payload)):
            return
        fields = msgspec.structs.fields(cls)
        assert [field.encode_name for field in fields] == list(node.get("properties", ()))
        assert [field.name for field in fields] == [
            attribute_name(wire) for wire in node.get("properties", ())
        ]
        assert {f.encode_name for f in fields if f.required} == set(node.get("required", ()))
        for field in fields:
            seen += 1
            compare(_named(field.type), node["properties"][field.encode_name], document)

    for action, part in payloads(version):
        document = schema(version, action, part)
        compare(getattr(actions[action], part).type, document, document)
    assert seen > 200


def _named(annotation: Any) -> Any:
    """The class inside Annotated and tuple."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif getattr(annotation, "__origin__", None) is tuple:
            annotation = annotation.__args__[0]
        else:
            return annotation


def test_every_name_of_2_1_maps_to_snake_case_and_back() -> None:
    names: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            names.update(value.get("properties", {}))
            for entry in value.values():
                collect(entry)

    for action, part in payloads("v21"):
        collect(schema("v21", action, part))
    assert len(names) == 555
    messages = importlib.import_module("evproto._generated.ocpp.v21.messages")
    back: dict[str, set[str]] = {"vendor_id": {"vendorId"}}
    for name in messages.__all__:
        for field in msgspec.structs.fields(getattr(messages, name)):
            assert field.name == attribute_name(field.encode_name)
            assert field.name.isidentifier()
            assert field.name == field.name.lower()
            back.setdefault(field.name, set()).add(field.encode_name)
    assert set().union(*back.values()) == names
    # Two pairs share an attribute name, never inside one class.
    assert {name: wires for name, wires in back.items() if len(wires) > 1} == {
        "soc": {"soC", "soc"},
        "price_schedule_id": {"priceScheduleID", "priceScheduleId"},
    }


@pytest.mark.parametrize(
    ("wire", "python"),
    [
        ("limit_L2", "limit_l2"),
        ("setpointReactive_L3", "setpoint_reactive_l3"),
        ("fixedPFAbsorb", "fixed_pf_absorb"),
        ("prioritizedEMAIDs", "prioritized_emaids"),
        ("soC", "soc"),
        ("evMaximumLevel1DCInjection", "ev_maximum_level1_dc_injection"),
        ("iso15118CertificateHashData", "iso15118_certificate_hash_data"),
        ("responderURL", "responder_url"),
        ("v2xBaseline", "v2x_baseline"),
        ("id", "id"),
        ("from", "from_"),
    ],
)
def test_attribute_names(wire: str, python: str) -> None:
    assert attribute_name(wire) == python


@pytest.mark.parametrize(
    ("value", "python"),
    [
        ("Energy.Active.Import.Register", "ENERGY_ACTIVE_IMPORT_REGISTER"),
        ("L1-N", "L1_N"),
        ("cCCS1", "C_CCS1"),
        ("s309-1P-16A", "S309_1P_16A"),
        ("SHA256", "SHA256"),
        ("kWh", "KWH"),
        ("SoC", "SOC"),
        ("AC_BPT_DER", "AC_BPT_DER"),
        ("2nd", "N2ND"),
    ],
)
def test_enum_member_names(value: str, python: str) -> None:
    assert enum_member_name(value) == python


@pytest.mark.parametrize("name", COUNTS)
def test_one_version_is_imported_without_the_others(name: str) -> None:
    code = (
        f"import sys, json; import evproto._generated.{name}.actions\n"
        "print(json.dumps([m for m in sys.modules if m.startswith('evproto._generated.')"
        " or m in ('jsonschema', 'construct', 'asyncio')]))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    package = f"evproto._generated.{name}"
    loaded = set(json.loads(run.stdout))
    modules = (f"{package}.{module}" for module in ("actions", "enums", "messages"))
    assert loaded == {package.rpartition(".")[0], package, *modules}


@pytest.mark.parametrize("name", COUNTS)
def test_messages_satisfy_the_dataclass_protocol(name: str) -> None:
    for action in tables(name).ACTIONS.values():
        for shape in filter(None, (action.request, action.response)):
            assert issubclass(shape.type, Record)
            assert shape.type.action_name == action.name
            assert dataclasses.is_dataclass(shape.type)
            names = [field.name for field in dataclasses.fields(shape.type)]
            assert names == list(shape.type.__struct_fields__)


def test_a_message_behaves() -> None:
    messages = importlib.import_module("evproto._generated.ocpp.v16.messages")
    boot = messages.BootNotificationRequest(charge_point_vendor="V", charge_point_model="M")
    assert dataclasses.asdict(boot)["charge_point_vendor"] == "V"
    assert dataclasses.replace(boot, charge_point_model="N").charge_point_model == "N"
    assert pickle.loads(pickle.dumps(boot)) == boot
    assert hash(boot) == hash(dataclasses.replace(boot))
    assert msgspec.json.encode(boot) == b'{"chargePointVendor":"V","chargePointModel":"M"}'
    with pytest.raises(AttributeError):
        boot.charge_point_vendor = "W"


def test_enumerations_hold_words_outside_their_list_on_purpose_only() -> None:
    enums = importlib.import_module("evproto._generated.ocpp.v16.enums")
    with pytest.raises(ValueError, match="Occupied"):
        enums.ChargePointStatus("Occupied")
    word = enums.ChargePointStatus.unlisted("Occupied")
    assert word == "Occupied"
    assert not word.listed
    assert isinstance(word, enums.ChargePointStatus)
    assert pickle.loads(pickle.dumps(word)) == word
    assert type(pickle.loads(pickle.dumps(word))) is enums.ChargePointStatus
    assert msgspec.json.encode(word) == b'"Occupied"'
    assert enums.ChargePointStatus.unlisted("Available") is enums.ChargePointStatus.AVAILABLE
    assert enums.ChargePointStatus.AVAILABLE.listed
    assert "Occupied" not in [member.value for member in enums.ChargePointStatus]


@pytest.mark.parametrize("name", ["v16", "v201", "v21"])
def test_importing_a_version_loads_little(name: str) -> None:
    """How long it takes is measured in benchmarks/bench_ocpp.py."""
    code = f"import sys, json; import evproto.ocpp.{name}; print(json.dumps(list(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    slow = {"jsonschema", "yaml", "construct", "asyncio", "jinja2", "fractions"}
    assert not loaded & slow
    assert (
        not {f"evproto.ocppj.{module}" for module in ("diagnosis", "lenient", "frames", "extensions")}
        & loaded
    )
    others = {"v16", "v201", "v21"} - {name}
    assert not {
        module for module in loaded if module.startswith("evproto.") and others & set(module.split("."))
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_of_every_type_is_present_in_what_goes_around(version: str) -> None:
    """The full instances that round trips are made with leave nothing out."""
    module = importlib.import_module(f"evproto.ocpp.{version}")
    seen: set[tuple[str, str]] = set()
    words: set[type] = set()

    def note(value: Any) -> None:
        if isinstance(value, tuple):
            for entry in value:
                note(entry)
        if isinstance(value, OpenStrEnum):
            words.add(type(value))
        if isinstance(value, Payload):
            for name in value.__struct_fields__:
                if getattr(value, name) is not None:
                    seen.add((type(value).__name__, name))
                    note(getattr(value, name))

    for action, part in payloads(version):
        instance = Maker(schema(version, action, part)).full()
        kind = 3 if part == "response" else 2 if module.actions[action].response else 6
        frame = [3, "1", instance] if kind == 3 else [kind, "1", action, instance]
        envelope = module.codec.decode(json.dumps(frame), {"1": action})
        assert json.loads(module.codec.encode(envelope))[-1].keys() == instance.keys()
        note(envelope.payload)
    messages = [getattr(module.messages, name) for name in module.messages.__all__]
    every = {(cls.__name__, name) for cls in messages for name in cls.__struct_fields__}
    assert seen == every
    assert words == {getattr(module.enums, name) for name in module.enums.__all__}


def test_the_names_that_defeat_conversion_survive() -> None:
    """Those the ocpp package cannot convert to snake case and back are here, and go around."""
    from ocpp.charge_point import camel_to_snake_case, snake_to_camel_case

    messages = importlib.import_module("evproto._generated.ocpp.v21.messages")
    wires = {wire for name in messages.__all__ for wire in getattr(messages, name).__struct_encode_fields__}
    wires.add("vendorId")
    odd = {wire for wire in wires if list(snake_to_camel_case(camel_to_snake_case({wire: 1}))) != [wire]}
    assert len(odd) == 43
    for name in messages.__all__:
        cls = getattr(messages, name)
        for attribute, wire in zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True):
            if wire in odd:
                blank = dict.fromkeys(cls.__struct_fields__) | {attribute: 1}
                assert json.loads(msgspec.json.encode(cls(**blank)))[wire] == 1

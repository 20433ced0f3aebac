"""The specs say what the official files say, and nothing in their words."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from codegen.ocpp_import import SchemaImportError, import_folder
from evproto.errors import SpecError
from evproto.spec.actions import check_actions, load_actions

from .official import VERSIONS, folder

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"


@pytest.mark.parametrize("version", VERSIONS)
def test_importing_again_changes_nothing(version: str, tmp_path: Path) -> None:
    target = tmp_path / "specs" / "ocpp" / version
    shutil.copytree(SPECS / "ocpp" / version, target)
    assert import_folder(folder(version), target) == []
    for file in sorted(target.rglob("*.json")):
        committed = SPECS / "ocpp" / version / file.relative_to(target)
        assert file.read_text("utf-8") == committed.read_text("utf-8"), file
    assert len(list(target.rglob("*.json"))) == len(list((SPECS / "ocpp" / version).rglob("*.json")))


@pytest.mark.parametrize("name", ["ocpp/v16", "ocpp/v201", "ocpp/v21", "ntxcp/v10"])
def test_the_specs_are_in_their_own_form(name: str) -> None:
    check_actions(name, SPECS)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_text_of_the_alliance_is_copied(version: str) -> None:
    texts: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            texts.update(value[key] for key in ("description", "comment") if isinstance(value.get(key), str))
            for entry in value.values():
                collect(entry)

    for file in folder(version).glob("*.json"):
        collect(json.loads(file.read_text("utf-8-sig")))
    ours = "".join(file.read_text("utf-8") for file in (SPECS / "ocpp" / version).rglob("*.json"))
    generated = ROOT / "src" / "evproto" / "_generated" / "ocpp" / version
    ours += "".join(file.read_text("utf-8") for file in generated.glob("*.py"))
    for text in texts:
        for sentence in re.split(r"[\r\n]+", text):
            if len(sentence.split()) > 4:
                assert sentence not in ours


@pytest.mark.parametrize(("name", "count"), [("v16", 39), ("v201", 64), ("v21", 91)])
def test_every_action_says_who_sends_it(name: str, count: int) -> None:
    specs = load_actions(f"ocpp/{name}", SPECS)
    assert len(specs.actions) == count
    assert all(action.block and action.sent_by for action in specs.actions.values())
    unanswered = [action.name for action in specs.actions.values() if action.response is None]
    assert unanswered == (["NotifyPeriodicEventStream"] if name == "v21" else [])
    both = [action.name for action in specs.actions.values() if len(action.sent_by) == 2]
    assert both == ["DataTransfer"]


def test_every_fact_of_ntxcp_says_where_it_is_from() -> None:
    def members(value: Any) -> int:
        found = 0
        if isinstance(value, dict):
            for name, member in value.get("properties", {}).items():
                assert member["x-source"] in ("documented", "named", "analogy"), name
                found += 1
            for entry in value.values():
                found += members(entry)
        return found

    files = [*(SPECS / "ntxcp" / "v10" / "actions").glob("*.json"), SPECS / "ntxcp" / "v10" / "types.json"]
    assert sum(members(json.loads(file.read_text("utf-8"))) for file in files) > 60


def test_a_new_keyword_is_refused_and_not_dropped(tmp_path: Path) -> None:
    source, target = tmp_path / "official", tmp_path / "v99"
    source.mkdir()
    target.mkdir()
    (target / "edition.json").write_text("{}")
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    (source / "Act.json").write_text(json.dumps(schema))
    with pytest.raises(SchemaImportError, match="no place for pattern"):
        import_folder(source, target)
    schema["properties"] = {"a": {"type": "string", "enum": ["X"]}}
    (source / "Act.json").write_text(json.dumps(schema))
    with pytest.raises(SchemaImportError, match="name this type"):
        import_folder(source, target)
    schema["properties"] = {"a": {"type": "string"}}
    (source / "Act.json").write_text(json.dumps(schema))
    (source / "ActResponse.json").write_text(json.dumps(schema))
    assert import_folder(source, target) == [f"{target}/actions/Act.json: say block and sentBy"]


def test_a_bad_spec_is_refused_with_its_place(tmp_path: Path) -> None:
    target = tmp_path / "ocpp" / "v16"
    shutil.copytree(SPECS / "ocpp" / "v16", target)
    file = target / "actions" / "Reset.json"
    value = json.loads(file.read_text("utf-8"))
    value["request"]["properties"]["type"]["$ref"] = "../types.json#/definitions/Rest"
    value["response"]["properties"]["status"]["maxLenght"] = 3
    file.write_text(json.dumps(value))
    with pytest.raises(SpecError) as caught:
        check_actions("ocpp/v16", tmp_path)
    assert {problem.file for problem in caught.value.problems} == {"specs/ocpp/v16/actions/Reset.json"}
    assert "Rest" in str(caught.value)
    assert "maxLenght" in str(caught.value)


def test_editions_are_those_of_the_files() -> None:
    """What edition.json says of edition and errata can be seen in the official files."""
    about = {
        name: json.loads((SPECS / "ocpp" / name / "edition.json").read_text("utf-8")) for name in VERSIONS
    }
    files = {
        (name, file.stem): json.loads(file.read_text("utf-8-sig"))
        for name in VERSIONS
        for file in folder(name).glob("*.json")
    }
    for name in VERSIONS:
        assert about[name]["files"]["count"] == len([stem for version, stem in files if version == name])
    # 1.6: the security extensions are marked, the core is told by what the errata sheet corrects.
    marks = {
        value["$id"].rsplit(":", 1)[0]
        for (name, _), value in files.items()
        if name == "v16" and "$id" in value
    }
    assert marks == {"urn:OCPP:Cp:1.6:2020:3"}
    assert "urn:OCPP:Cp:1.6:2020:3" in about["v16"]["edition"]
    assert sum(name == "v16" and "$id" in value for (name, _), value in files.items()) == 22
    assert "errata sheet v1.0 (2019-12-04)" in about["v16"]["errata"][0]
    assert files["v16", "BootNotificationResponse"]["properties"]["interval"]["type"] == "integer"
    for member in ("retries", "retryInterval"):
        assert files["v16", "UpdateFirmware"]["properties"][member]["type"] == "integer"
    inner = files["v16", "AuthorizeResponse"]["properties"]["idTagInfo"]
    assert inner["additionalProperties"] is False
    meter = files["v16", "MeterValues"]["properties"]["meterValue"]
    sampled = meter["items"]["properties"]["sampledValue"]
    assert (meter["minItems"], sampled["minItems"]) == (1, 1)
    assert "Hertz" in sampled["items"]["properties"]["unit"]["enum"]
    stop = files["v16", "StopTransaction"]["properties"]["transactionData"]["items"]["properties"]
    units = stop["sampledValue"]["items"]["properties"]["unit"]["enum"]
    assert {"Celsius", "Celcius"} <= set(units)
    assert "Hertz" not in units
    # 2.x: every file says it.
    for name, words in (("v201", "OCPP 2.0.1 FINAL"), ("v21", "OCPP 2.1 Edition 1")):
        assert about[name]["edition"] in words
        comments = {value["comment"] for (version, _), value in files.items() if version == name}
        assert all(words in comment for comment in comments), comments
    exi = files["v201", "Get15118EVCertificateResponse"]["properties"]["exiResponse"]
    assert exi["maxLength"] == 7500
    assert "7500" in about["v201"]["errata"][0]

"""The description of the API: every command of every protocol with its fields, valid and of bounded size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from evproto.gateway.adapter import Adapter
from gateway.fakes import FakeAdapter, beside
from gateway.live import serving

LARGEST = 3_000_000


def described(
    folder: Path, *fakes: FakeAdapter, **settings: Any
) -> tuple[dict[str, Any], list[Adapter], int]:
    """The document, the protocols, and how many bytes it has."""

    async def run() -> tuple[dict[str, Any], list[Adapter], int]:
        async with serving(folder, make=beside(*fakes), **settings) as running:
            answer = await running.client.get("/openapi.json")
            return answer.json(), list(running.server.adapters), len(answer.content)

    return asyncio.run(run())


def resolved(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        where: Any = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            where = where[step]
        value = where
    return value


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def inlined(document: dict[str, Any], value: Any, depth: int = 12) -> Any:
    """A schema without references, so far down."""
    if isinstance(value, list):
        return [inlined(document, one, depth) for one in value]
    if not isinstance(value, dict) or not depth:
        return value
    if "$ref" in value:
        return inlined(document, resolved(document, value), depth - 1)
    return {key: inlined(document, one, depth) for key, one in value.items()}


def body_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    return resolved(document, content["application/json"]["schema"])


def check(document: dict[str, Any], adapters: list[Adapter]) -> int:
    """That everything is there; how many commands that is."""
    assert document["openapi"] == "3.1.0"
    components = document["components"]
    for name in (name for part in ("schemas", "parameters", "responses") for name in components[part]):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    for reference in references(document["paths"]):
        resolved(document, {"$ref": reference})
    for reference in references(components):
        resolved(document, {"$ref": reference})
    for schema in components["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [one for path in document["paths"].values() for one in path.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids)
    for path, methods in document["paths"].items():
        for one in methods.values():
            parameters = [resolved(document, parameter) for parameter in one.get("parameters", ())]
            assert {one["name"] for one in parameters if one["in"] == "path"} == set(
                re.findall(r"\{([a-z_A-Z]+)\}", path)
            )
            assert any(status.startswith("2") for status in one["responses"])
    count = 0
    told = inlined(document, body_of(document, "/chargers/{identity}/commands"), 3)
    by_protocol = {one["title"].removeprefix("A command of "): one for one in told["anyOf"]}
    assert set(by_protocol) == {adapter.protocol for adapter in adapters}
    for adapter in adapters:
        variants = {one["properties"]["name"]["const"]: one for one in by_protocol[adapter.protocol]["oneOf"]}
        assert set(variants) == set(adapter.commands)
        mapping = by_protocol[adapter.protocol]["discriminator"]["mapping"]
        assert set(mapping) == set(variants)
        for name, command in adapter.commands.items():
            count += 1
            wanted = command.schema["properties"]
            own = body_of(document, f"/{adapter.collection}/{{identity}}/commands/{name}")
            assert list(own["properties"]) == list(wanted)
            assert own.get("required", []) == command.schema.get("required", [])
            for field, about in wanted.items():
                assert resolved(document, own["properties"][field]).get("type") == about.get("type") or (
                    "$ref" in about
                )
            shared = body_of(document, f"/chargers/{{identity}}/commands/{name}")
            assert own in [resolved(document, one) for one in shared.get("anyOf", [shared])]
            assert resolved(document, variants[name]["properties"]["fields"]) == own
    return count


def test_the_description_of_two_versions_with_schemas_of_their_own(tmp_path: Path) -> None:
    one, two = FakeAdapter("fake1.0"), FakeAdapter("fake2.0")
    document, adapters, size = described(tmp_path, one, two)
    assert [adapter.protocol for adapter in adapters] == ["ykc", "fake1.0", "fake2.0"]
    assert check(document, adapters) == 22 + 2 + 2
    assert size < LARGEST
    # What a schema defines for itself is a component, also where it refers to itself.
    schemas = document["components"]["schemas"]
    note = {"$ref": "#/components/schemas/fake1.0.Note"}
    assert schemas["fake1.0.Reset"]["properties"]["note"] == note
    assert schemas["fake1.0.Note"]["properties"]["inner"] == note
    assert "$defs" not in schemas["fake1.0.Reset"]
    # The detail of a charger is what its protocol shows.
    detail = schemas["ChargerDetail"]["properties"]["detail"]
    assert detail["anyOf"][0] == {"$ref": "#/components/schemas/PileView"}
    # Bodies that the server takes are what it describes, and others are not.
    told = document["paths"]["/chargers/{identity}/commands"]["post"]["requestBody"]["content"]
    validator = jsonschema.Draft202012Validator(
        {**told["application/json"]["schema"], "components": document["components"]}
    )
    for body, valid in (
        ({"name": "Reset", "fields": {"type": "Soft"}}, True),
        ({"name": "Reset", "fields": {"type": "Soft"}, "protocol": "fake2.0"}, True),
        ({"name": "Reset", "fields": {"type": "Soft"}, "protocol": "ykc"}, False),
        ({"name": "Reset", "fields": {"type": "Other"}}, False),
        ({"name": "reboot_request", "fields": {"execution_control": 1}}, True),
        ({"name": "reboot_request", "fields": {"type": "Soft"}}, False),
        ({"name": "Nothing", "fields": {}}, False),
    ):
        assert validator.is_valid(body) == valid, body


def test_every_action_and_field_of_all_protocols_is_described(tmp_path: Path) -> None:
    everything = {"ykc__enabled": True, "ocpp__enabled": True, "ntxcp__enabled": True}
    document, adapters, size = described(tmp_path, **everything)
    assert {adapter.protocol for adapter in adapters} == {
        "ykc",
        "ocpp1.6",
        "ocpp2.0.1",
        "ocpp2.1",
        "ntxcp1.0",
    }
    assert check(document, adapters) > 130
    assert size < LARGEST
    bodies = {
        path: body_of(document, path)["properties"]
        for path in ("/ocpp1.6/{identity}/commands/Reset", "/ocpp2.1/{identity}/commands/Reset")
    }
    # From the documents of OCPP: what Reset takes.
    assert [resolved(document, one["type"])["enum"] for one in bodies.values()] == [
        ["Hard", "Soft"],
        ["Immediate", "OnIdle", "ImmediateAndResume"],
    ]
    limits = body_of(document, "/ocpp2.0.1/{identity}/commands/SetChargingProfile")
    assert list(limits["properties"])[-2:] == ["evseId", "chargingProfile"]
    assert len(document["paths"]["/chargers/{identity}/commands/Reset"]["post"]["responses"]) > 5

    # What the documents say that can be asked for can be.
    patterns = [
        (re.compile(re.sub(r"\\{[a-z]+\\}", "[^/]+", re.escape(path))), set(methods))
        for path, methods in document["paths"].items()
    ]
    found = 0
    for page in ("rest.md", "neutral.md"):
        text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
        for line in re.findall(r"^(?:\$ )?curl (?:.*\\\n)*.*", text, re.MULTILINE):
            method = "post" if re.search(r"\s-d |-X POST", line) else "get"
            path = re.search(r"localhost:9556(/[^\s'?]*)", line)
            assert path is not None, line
            wanted = path[1].replace("...", "")
            assert any(one.fullmatch(wanted) and method in methods for one, methods in patterns), line
            found += 1
    assert found > 15


def test_one_name_for_two_things_is_kept_apart(tmp_path: Path) -> None:
    from evproto.gateway.openapi_parts import Components

    components = Components()
    text = {"properties": {"a": {"$ref": "#/$defs/T"}}, "$defs": {"T": {"type": "string"}}}
    number = {"properties": {"a": {"$ref": "#/definitions/T"}}, "definitions": {"T": {"type": "number"}}}
    components.move_in("p.One", text, "p")
    components.move_in("p.Two", number, "p")
    components.move_in("p.Three", text, "p")
    assert components.schemas["p.One"] == {"properties": {"a": {"$ref": "#/components/schemas/p.T"}}}
    assert components.schemas["p.Two"] == {"properties": {"a": {"$ref": "#/components/schemas/p.Two.T"}}}
    assert components.schemas["p.Three"] == components.schemas["p.One"]
    assert components.schemas["p.T"] == {"type": "string"}
    assert components.schemas["p.Two.T"] == {"type": "number"}
    with pytest.raises(ValueError, match="two schemas"):
        components.add("p.T", {"type": "number"})

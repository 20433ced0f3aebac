"""schemathesis against the live server, a pile online: every operation works, every answer is as described."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.answering import answer_everything
from gateway.live import PILE, Backend, Running, serving

TOKEN = "a-token-for-schemathesis"
EXAMPLES = 6
LONGEST = 540.0


def schemathesis() -> str:
    """The program, or skip: EVPROTO_REQUIRE_FOREIGN=1 makes it a failure."""
    found = shutil.which(
        "schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        reason = "schemathesis is not installed"
        if os.environ.get("EVPROTO_REQUIRE_FOREIGN") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


async def dead_letters(running: Running, backend: Backend) -> list[str]:
    """The ids of two events that the back end refuses."""
    backend.status = lambda path, body: 422 if body["code"] == "0x15" else 200
    pile = await running.pile("99000000000001")
    for number in range(2):
        pile.send(0x15, bytes(16) + bytes.fromhex("99000000000001 01") + bytes(number for _ in range(49)))
    while True:
        found = (await running.client.get("/dead-letters")).json()["items"]
        if len(found) == 2:
            await pile.close()
            return [one["id"] for one in found]
        await asyncio.sleep(0.05)


def with_steps(document: dict[str, Any]) -> dict[str, Any]:
    """The document with ``multipleOf`` in the bodies of commands, for the generator.

    The document itself has ``x-step``: validators judge ``multipleOf`` in
    binary floating point, and would refuse most prices.
    """

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            out = {key: walk(inner) for key, inner in value.items()}
            return out | {"multipleOf": out["x-step"]} if "x-step" in out else out
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for path in document["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
    }
    schemas = document["components"]["schemas"]
    schemas |= {name: walk(schemas[name]) for name in bodies}
    return document


async def examine(folder: Path) -> tuple[int, str, dict[str, Any], list[dict[str, Any]]]:
    """Exit status and output of schemathesis, the document, and what was asked and answered."""
    async with (
        Backend() as backend,
        serving(
            folder,
            http__token=TOKEN,
            forward__to="http",
            forward__servers=[backend.url],
            ykc__max_frames_per_second=10_000,
            ykc__heartbeat_interval=3600.0,
        ) as running,
    ):
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        pile = await running.pile()
        answering = asyncio.create_task(answer_everything(pile))
        replayed, discarded = await dead_letters(running, backend)
        command = (await running.command("reboot_request", {"execution_control": 1})).json()
        document = (await running.client.get("/openapi.json")).json()
        (folder / "openapi.json").write_text(json.dumps(with_steps(document)))
        (folder / "schemathesis.toml").write_text(
            f"""
            parameters = {{ "path.identity" = "{PILE}" }}

            [[operations]]
            include-path = "/commands/{{id}}"
            parameters = {{ "path.id" = "{command["id"]}" }}

            [[operations]]
            include-path = "/dead-letters/{{id}}/replay"
            parameters = {{ "path.id" = "{replayed}" }}

            [[operations]]
            include-path = "/dead-letters/{{id}}"
            parameters = {{ "path.id" = "{discarded}" }}
            """
        )
        process = await asyncio.create_subprocess_exec(
            schemathesis(),
            *("--config-file", "schemathesis.toml", "run", "openapi.json"),
            *("--url", str(running.client.base_url), "-H", f"Authorization: Bearer {TOKEN}"),
            *("--phases", "examples,coverage,fuzzing", "-n", str(EXAMPLES), "--workers", "2"),
            "--generation-deterministic",
            *("--continue-on-failure", "--no-shrink", "--suppress-health-check", "all"),
            *("--report", "har", "--report-har-path", "report.har"),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(LONGEST):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        answering.cancel()
        report = folder / "report.har"
        entries = json.loads(report.read_text())["log"]["entries"] if report.exists() else []
        return process.returncode or 0, output.decode(), document, entries


def operations(document: dict[str, Any]) -> dict[str, tuple[str, re.Pattern[str]]]:
    return {
        operation["operationId"]: (
            method.upper(),
            re.compile(re.sub(r"\\{[a-z]+\\}", "[^/]+", re.escape(path))),
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_api_is_as_it_says(tmp_path: Path) -> None:
    schemathesis()
    status, output, document, entries = asyncio.run(examine(tmp_path))
    assert status == 0, output
    worked = {
        name
        for name, (method, path) in operations(document).items()
        for entry in entries
        if entry["request"]["method"] == method
        and 200 <= entry["response"]["status"] < 300
        and path.fullmatch(
            "/" + entry["request"]["url"].partition("://")[2].partition("/")[2].partition("?")[0]
        )
    }
    assert worked == set(operations(document))
    assert len([name for name in worked if name.endswith(("_request", "_response"))]) == 22

"""schemathesis against the live server: every operation works, every answer is as described.

A pile and chargers of OCPP are online. Of the many commands there are all of
piles, and some of the others: the rest is described by the same code.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from gateway.ocpp_live import BOOT_1_6, BOOT_2, RawCharger, charger
from gateway.test_page import report as gun_report

TOKEN = "a-token-for-schemathesis"
OCPP = {"ocpp1.6": "CP1", "ocpp2.0.1": "CS1"}
"""Chargers, by what they speak."""
SAMPLED = ("Reset", "TriggerMessage", "ClearCache")
"""Commands of OCPP."""
BY_NAME = ("reboot_request", "Reset")
"""Commands under /chargers, by their names."""
TOLD = ("reboot_request", "realtime_data_request")
"""Commands under /chargers, in one body."""
EXAMPLES = 4
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

    schemas = document["components"]["schemas"]
    schemas |= {name: walk(one) for name, one in schemas.items() if name.endswith(("_request", "_response"))}
    return document


def sampled(document: dict[str, Any]) -> dict[str, Any]:
    """The document with some of the commands of OCPP; and without the stream, which has no end."""

    def wanted(path: str) -> bool:
        base, _, name = path.partition("/commands/")
        if base == "/chargers/{identity}":
            return name in ("", *BY_NAME)
        return path != "/events" and (not base.startswith("/ocpp") or name in ("", *SAMPLED))

    # Of the commands that one body may be, a few of the pile's: what is generated for each is a lot.
    told = document["components"]["schemas"]["ykc.commands"]
    mapping = told["discriminator"]["mapping"]
    told["discriminator"]["mapping"] = {name: mapping[name] for name in TOLD}
    told["oneOf"] = [{"$ref": mapping[name]} for name in TOLD]
    body = document["paths"]["/chargers/{identity}/commands"]["post"]["requestBody"]
    body["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/ykc.commands"}
    return {**document, "paths": {path: one for path, one in document["paths"].items() if wanted(path)}}


async def accept_everything(charger: RawCharger) -> None:
    while True:
        # It may not be told anything for a while.
        with contextlib.suppress(TimeoutError):
            await charger.answer({"status": "Accepted"})


async def examine(folder: Path) -> tuple[int, str, dict[str, Any], list[dict[str, Any]]]:
    """Exit status and output of schemathesis, the document, and what was asked and answered."""
    async with (
        Backend() as backend,
        serving(
            folder,
            http__token=TOKEN,
            forward__to="http",
            forward__servers=[backend.url],
            ykc__enabled=True,
            ykc__max_frames_per_second=10_000,
            ykc__heartbeat_interval=3600.0,
            ocpp__enabled=True,
            ocpp__versions=list(OCPP),
        ) as running,
        charger(running, OCPP["ocpp1.6"], "ocpp1.6") as cp,
        charger(running, OCPP["ocpp2.0.1"], "ocpp2.0.1") as cs,
    ):
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        pile = await running.pile()
        # One gun to stop, and one to start at: nothing is guessed.
        pile.send(0x13, gun_report(gun=1))
        pile.send(0x13, gun_report(gun=2, status=2))
        await cp.result("BootNotification", BOOT_1_6)
        await cs.result("BootNotification", BOOT_2)
        answering = [
            asyncio.create_task(answer_everything(pile)),
            asyncio.create_task(accept_everything(cp)),
            asyncio.create_task(accept_everything(cs)),
        ]
        replayed, discarded = await dead_letters(running, backend)
        command = (await running.command("reboot_request", {"execution_control": 1})).json()
        document = sampled((await running.client.get("/openapi.json")).json())
        (folder / "openapi.json").write_text(json.dumps(with_steps(document)))
        (folder / "schemathesis.toml").write_text(
            f"""
            parameters = {{ "path.identity" = "{PILE}", "path.name" = "{OCPP["ocpp1.6"]}" }}

            [[operations]]
            include-path = "/commands/{{id}}"
            parameters = {{ "path.id" = "{command["id"]}" }}

            [[operations]]
            include-path = "/message/{{id}}/status"
            parameters = {{ "path.id" = "{command["id"]}" }}

            [[operations]]
            include-path-regex = "^/ocpp1.6/"
            parameters = {{ "path.identity" = "{OCPP["ocpp1.6"]}" }}

            [[operations]]
            include-path-regex = "^/ocpp2.0.1/"
            parameters = {{ "path.identity" = "{OCPP["ocpp2.0.1"]}" }}

            [[operations]]
            include-path = "/chargers/{{identity}}/commands/Reset"
            parameters = {{ "path.identity" = "{OCPP["ocpp2.0.1"]}" }}
            # What is right for one version is wrong for another.
            checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]

            [[operations]]
            # Of the actions there are some that this charger does not have.
            include-path-regex = "/triggeraction/"
            checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]

            [[operations]]
            # What can be left out, and what a token looks like, depends on the protocol.
            include-path-regex = "/(start|stop|reboot)$"
            checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]

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
            # With several workers Python 3.11 fails in its compiler, which is not made for threads.
            *("--phases", "examples,coverage,fuzzing", "-n", str(EXAMPLES), "--workers", "1"),
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
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        report = folder / "report.har"
        entries = json.loads(report.read_text())["log"]["entries"] if report.exists() else []
        return process.returncode or 0, output.decode(), document, entries


def operations(document: dict[str, Any]) -> dict[str, tuple[str, re.Pattern[str]]]:
    return {
        operation["operationId"]: (
            method.upper(),
            re.compile(re.sub(r"\\{[a-zA-Z]+\\}", "[^/]+", re.escape(path))),
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
    commands = [name for name in worked if name.endswith(("_request", "_response")) and "." not in name]
    assert len(commands) == 22
    assert {f"{version}.{name}" for version in OCPP for name in SAMPLED} <= worked
    assert {"start_charger", "stop_charger", "reboot_charger", "tell_charger", "trigger_action"} <= worked

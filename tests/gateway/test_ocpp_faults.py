"""Whatever is wrong with a message, it is answered, shown and forwarded, and nothing here fails over it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from aio.plugins_support import module_of, schema
from ocppj.instances import Maker

from evproto.payloads import Sender
from gateway.live import Backend, serving
from gateway.ocpp_live import charger

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}
VERSIONS = {"v16": "ocpp1.6", "v201": "ocpp2.0.1", "v21": "ocpp2.1"}
MOST = 20
"""Faulty messages of one action; of those with more, every so many-th."""


def faulty(version: str, action: str) -> list[object]:
    made = [payload for _, payload in Maker(schema(version, action, "request"), thorough=False).variants()]
    return made[:: max(1, len(made) // MOST)]


@pytest.mark.parametrize("mode", ["strict", "lenient", "off"])
@pytest.mark.parametrize("version", VERSIONS)
def test_payloads_with_one_fault(
    tmp_path: Path, version: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    protocol = VERSIONS[version]
    actions = module_of(version).actions

    async def work() -> None:
        async with (
            Backend() as backend,
            serving(
                tmp_path,
                **ALL,
                ocpp__validation=mode,
                websocket__max_messages_per_second=100_000,
                forward__to="http",
                forward__servers=[backend.url],
            ) as running,
            charger(running, "CP1", protocol) as cp,
        ):
            adapter = next(one for one in running.server.adapters if one.protocol == protocol)
            shown = 0

            def watch(sighting: object) -> None:
                nonlocal shown
                sighting.event().to_json()  # type: ignore[attr-defined]
                shown += 1

            adapter.watch(watch)
            sent = 0
            for name, action in actions.items():
                if Sender.STATION not in action.sent_by or action.response is None:
                    continue
                for payload in faulty(version, name):
                    await cp.text(json.dumps([2, f"m{sent}", name, payload]))
                    answer = await cp.read()
                    assert answer[0] in (3, 4)
                    assert answer[1] == f"m{sent}"
                    assert answer[2] != "InternalError", (name, payload)
                    sent += 1
                assert adapter.charger("CP1") is not None
                assert adapter.glance("CP1") is not None
            assert shown == 2 * sent
            adapter.frames("CP1", 100, reveal=False)
            assert (await cp.result("Heartbeat", {}))["currentTime"]

    caplog.set_level(logging.WARNING)
    asyncio.run(work())
    failures = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert failures == []

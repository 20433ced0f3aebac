"""The examples do what they say, over real sockets."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from aio.ocpp_support import run, soon
from evproto.aio.ocpp import ChargePoint, Server
from evproto.ocpp.v16 import enums, messages

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_under_60_lines(file: Path) -> None:
    assert len(file.read_text().splitlines()) < 60


async def together(server: Server, station: Any, *args: Any, base: str = "") -> Any:
    async with server:
        listener = await server.listen("localhost")
        return await soon(station.run(f"ws://localhost:{listener.port}{base}", *args))


def test_16(capsys: pytest.CaptureFixture[str]) -> None:
    server = load("central_system_16").central_system
    assert run(together(server, load("charge_point_16"), base="/ocpp/garage")) == 1
    assert "CP001 transaction 1 ended at 8400 Wh" in capsys.readouterr().out


def test_201(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store = str(tmp_path / "station.db")
    run(together(load("csms_201").csms, load("station_201"), "CS001", store))
    out = capsys.readouterr().out
    assert "CS001 cleared its cache: Accepted" in out
    assert "messages in its queue: True" in out
    assert [line.split()[1] for line in out.splitlines() if " t-1 " in line] == [
        "Started",
        "Updated",
        "Ended",
    ]


def test_21(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(together(load("csms_21").csms, load("station_21"))) == "ocpp2.1"
    assert "CS021 stream 1 ['16', '17', '18']" in capsys.readouterr().out


def test_a_21_station_falls_back_to_a_201_csms() -> None:
    assert run(together(load("csms_201").csms, load("station_21"))) == "ocpp2.0.1"


def test_ntxcp(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(soon(load("control_center").run())) == "Accepted"
    assert "GW001 service 7 42.5" in capsys.readouterr().out


def test_a_command_from_an_http_request() -> None:
    module = load("http_commands")
    module.PORT = 0

    async def work() -> None:
        app = module.app
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as http,
            ChargePoint(f"ws://localhost:{app.state.listener.port}", "CP001") as charge_point,
        ):

            @charge_point.on(messages.ResetRequest)
            async def reset(upstream: Any, request: messages.ResetRequest) -> messages.ResetResponse:
                hard = request.type is enums.ResetType.HARD
                status = enums.ResetStatus.REJECTED if hard else enums.ResetStatus.ACCEPTED
                return messages.ResetResponse(status=status)

            await soon(charge_point.wait_connected())
            answers = [
                await http.post("/stations/CP001/Reset", json={"type": kind}) for kind in ("Soft", "Hard")
            ]
            assert [(answer.status_code, answer.json()) for answer in answers] == [
                (200, {"status": "Accepted"}),
                (200, {"status": "Rejected"}),
            ]
            assert (await http.get("/stations")).json() == [{"id": "CP001", "version": "ocpp1.6"}]
            for path, body, status in (
                ("/stations/CP002/Reset", {"type": "Soft"}, 409),
                ("/stations/CP001/Heartbeat", {}, 404),
                ("/stations/CP001/Reset", {"type": "Gentle"}, 400),
                ("/stations/CP001/ClearCache", {}, 502),
            ):
                assert (await http.post(path, json=body)).status_code == status

    run(work())

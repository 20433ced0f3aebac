"""What the page on the server of OCPP says of settings is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evproto.gateway.config import Layer, load
from evproto.gateway.sections import NtxcpConfig, OcppConfig, WebSocketConfig
from evproto.ocpp import v16, v21, v201
from evproto.payloads import Sender

PAGE = (Path(__file__).parents[2] / "docs" / "serve-ocpp.md").read_text()


@pytest.mark.parametrize("section", [WebSocketConfig, OcppConfig, NtxcpConfig])
def test_every_setting_is_on_the_page(section: Any) -> None:
    for field in msgspec.structs.fields(section):
        if field.name not in ("host", "enabled"):
            assert re.search(rf"\b{re.escape(field.encode_name)}\b", PAGE), field.encode_name


def test_the_settings_of_the_page_can_be_loaded(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    values: dict[str, Any] = {}
    for section, settings in tomllib.loads(block).items():
        for key, value in settings.items():
            values[f"{section}.{key}"] = str(tmp_path / value) if key in ("tls-cert", "tls-key") else value
    for key in ("tls-cert", "tls-key"):
        Path(values[f"websocket.{key}"]).touch()
    config = load(Layer(values, {}))
    assert config.ocpp.versions == ("ocpp1.6", "ocpp2.0.1")
    assert config.websocket.routes == ("/ocpp/{tenant}/{id}", "/{id}")


def test_actions_that_the_page_answers_exist() -> None:
    table = PAGE.split("## What chargers are answered")[1].split("## The hook")[0]
    heard = {
        name
        for module in (v16, v201, v21)
        for name, action in module.actions.items()
        if Sender.STATION in action.sent_by
    }
    named = {
        name
        for row in re.findall(r"^\| ([A-Z][^|]*) \|", table, re.MULTILINE)
        for name in re.findall(r"\b[A-Z][A-Za-z0-9]+", row)
    }
    assert len(named) > 12
    assert named <= heard

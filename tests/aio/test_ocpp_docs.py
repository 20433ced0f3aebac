"""The page on endpoints is a program that runs."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from aio.ocpp_support import run, soon

PAGE = Path(__file__).parents[2] / "docs" / "endpoints.md"


def test_the_blocks_of_the_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) > 6
    space: dict[str, Any] = {}

    async def work() -> None:
        for block in blocks:
            code = compile(block, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, space)
            if inspect.isawaitable(result):
                await soon(result)

    run(work())
    seen = space["seen"]
    assert next(entry for entry in seen if entry[0] == "in")[1].startswith(b'[2,"')
    assert any(entry[0] == "Heartbeat" for entry in seen)
    assert ("CS001", 1000, "the station is going away", "peer") in seen

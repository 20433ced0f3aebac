"""The kill run, short. ``EVPROTO_SERVER_KILLS=20`` is what CI asks for; more is for a long evening."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gateway.kill_run import HEAD, kill_run

KILLS = int(os.environ.get("EVPROTO_SERVER_KILLS", "4"))
PILES = 100 if KILLS >= 20 else 20


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_every_record_that_a_pile_saw_confirmed_is_delivered(tmp_path: Path) -> None:
    reports = asyncio.run(kill_run(tmp_path, piles=PILES, kills=KILLS, pause=0.5 if PILES > 50 else 0.2))
    print(HEAD)
    for report in reports:
        print(report.line())
    for report in reports:
        assert report.confirmed >= PILES // 2
        assert report.kills >= KILLS // 2
        assert report.lost == 0
        assert report.out_of_order == 0
        assert report.stored_twice == 0
        # Piles did meet the kills: something was sent again.
        assert report.uploads > report.generated

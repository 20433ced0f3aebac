"""The README's code runs, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "specs" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]
ONE_PROGRAM = {"endpoints.md", "plugins.md"}
"""Pages whose blocks belong together and need servers; tests/aio runs them. A sketch is fenced ``py``."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ONE_PROGRAM], ids=lambda page: page.name
)
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {})
    if page.name == "README.md" and page.parent == ROOT:
        out = capsys.readouterr().out
        assert "skipped 5 bytes" in out
        assert "RemoteStopRequest(pile_id='55031412782305', gun_no='01')" in out


def test_the_overlay_of_the_readme_loads(tmp_path: Path) -> None:
    from evproto import ykc

    (text,) = blocks(ROOT / "README.md", "yaml")
    (tmp_path / "v1_8.yaml").write_text(text, encoding="utf-8")
    dialect = ykc.Dialect.load(tmp_path / "v1_8.yaml")
    assert set(dialect.changed) == {"login_response", "heartbeat_request"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_shows_the_example_as_it_is() -> None:
    (shown,) = blocks(ROOT / "README.md", "py")
    assert shown == (ROOT / "examples" / "csms_201.py").read_text(encoding="utf-8")

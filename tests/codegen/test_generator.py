"""Regenerating is a no-op, deterministic, and depends on nothing generated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.__main__ import main
from codegen.ykc import render_builtin
from evproto import ykc
from evproto.messages import Part
from evproto.spec import load_protocol
from evproto.wire.table import Field
from evproto.ykc.build import Builder

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "src" / "evproto" / "_generated"


def test_check_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_check_shows_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "_generated"
    shutil.copytree(GENERATED, copy, ignore=shutil.ignore_patterns("__pycache__"))
    messages = copy / "ykc" / "messages.py"
    messages.write_text(
        messages.read_text(encoding="utf-8").replace("pile_id: str", "pile: str", 1), encoding="utf-8"
    )
    (copy / "ykc" / "stale.py").write_text("x = 1\n")
    (copy / "ykc" / "enums.py").unlink()
    assert main(["--check", "--output", str(copy)]) == 1
    out = capsys.readouterr().out
    assert "-    pile: str\n+    pile_id: str\n" in out
    assert "stale.py" in out
    assert "enums.py" in out
    assert main(["--output", str(copy)]) == 0
    assert main(["--check", "--output", str(copy)]) == 0


def test_a_bad_spec_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    login = tmp_path / "specs" / "ykc" / "frames" / "0x01_login_request.yaml"
    login.write_text(
        login.read_text(encoding="utf-8").replace("type: pile_id", "type: pile_idd"), encoding="utf-8"
    )
    assert main(["--check", "--specs", str(tmp_path / "specs")]) == 2
    err = capsys.readouterr().err
    assert "0x01_login_request.yaml:" in err
    assert "did you mean 'pile_id'?" in err
    assert "Traceback" not in err


def test_restores_what_is_deleted(tmp_path: Path) -> None:
    """With ``_generated`` gone the generator still runs, and writes the very same bytes."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    shutil.copytree(ROOT / "codegen", tmp_path / "codegen", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "src" / "evproto"
    shutil.copytree(
        ROOT / "src" / "evproto",
        source,
        ignore=shutil.ignore_patterns("__pycache__", "_generated", "*.so", "*.pyd"),
    )
    for seed in ("0", "1", "4242"):
        shutil.rmtree(source / "_generated", ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "codegen"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(tmp_path / "src")},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        written = {
            path.relative_to(source / "_generated"): path.read_bytes()
            for path in (source / "_generated").rglob("*.py")
        }
        committed = {path.relative_to(GENERATED): path.read_bytes() for path in GENERATED.rglob("*.py")}
        assert written == committed


def test_declarations_only() -> None:
    """No template holds library code: nothing generated defines a function or has a branch."""
    for path, text in render_builtin(ROOT / "specs" / "ykc").items():
        for line in text.splitlines():
            assert not line.lstrip().startswith(("def ", "if ", "for ", "while ", "try:", "lambda")), (
                path,
                line,
            )


def plain(field: Field) -> dict[str, object]:
    """A field with classes by name, so that two makers' classes compare."""
    out = {name: getattr(field, name) for name in Field.__struct_fields__}
    out["enum"] = field.enum and (
        field.enum.__name__,
        {m.name: int(m) for m in field.enum},
        dict(field.enum.labels_zh()),
    )
    out["type"] = field.type and field.type.__name__
    out["fields"] = [plain(inner) for inner in field.fields]
    return out


def test_run_time_and_generator_agree() -> None:
    """The layouts a dialect would make of the built-in specs are the generated ones."""
    newest = load_protocol().revision("1.7")
    made = {layout.name: layout for layout in Builder(newest, None, {}, {}, {}, "made").build()}
    generated = {layout.name: layout for variants in ykc.Codec("1.7").layouts.values() for layout in variants}
    assert made.keys() == generated.keys()
    for name, layout in generated.items():
        other = made[name]
        for attribute in type(layout).__struct_fields__:
            if attribute not in ("message", "fields"):
                assert getattr(layout, attribute) == getattr(other, attribute), (name, attribute)
        assert [plain(f) for f in layout.fields] == [plain(f) for f in other.fields]
        assert layout.message.__name__ == other.message.__name__
        assert layout.message.__struct_fields__ == other.message.__struct_fields__
        assert layout.message.__struct_defaults__ == other.message.__struct_defaults__


def test_generated_constructs_are_those_of_the_table() -> None:
    """The construct written out in layouts.py and the one made from the table read alike."""
    from evproto.wire.fields import construct_of

    for variants in ykc.Codec("1.7").layouts.values():
        for layout in variants:
            written = getattr(ykc.layouts, layout.message.__name__)
            made = construct_of(layout)
            count = 2
            body = bytes((7 * i + 3) % 256 for i in range(layout.base_size + count * layout.stride))
            if (
                isinstance(layout.variable and layout.variable.count, str)
                and layout.variable.count != "remaining"
            ):
                at = sum(
                    f.size
                    for f in layout.fields[: [f.name for f in layout.fields].index(layout.variable.count)]
                )
                body = body[:at] + bytes([count]) + body[at + 1 :]
            one, other = written.parse(body), made.parse(body)
            del one["_io"], other["_io"]
            assert one == other
            assert written.build(one) == made.build(other) == body


def test_every_attribute_is_documented() -> None:
    """Docstrings carry the Chinese name, and the unit where there is one."""
    text = (GENERATED / "ykc" / "messages.py").read_text(encoding="utf-8")
    assert '"""输出电压: uint, 2 bytes, in V, step 0.1' in text
    assert "YKC V1.6, section 8.7." in text
    assert "Errata:" in text
    assert issubclass(ykc.messages.PeriodRate, Part)

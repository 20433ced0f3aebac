"""``frames``, ``diff`` and ``generate``."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from cli.shell import ROOT, run
from cli.test_plain import frames_of
from evproto import ykc

OVERLAY = "samples/v1_8.yaml"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("0x13", "0x13"),
        ("13", "0x13"),
        ("3b", "0x3B"),
        ("5", "0x05"),
        ("realtime_data_report", "0x13"),
        ("RealtimeDataReport", "0x13"),
        ("Real-time data report", "0x13"),
        ("上传实时监测数据", "0x13"),
        ("login-request", "0x01"),
    ],
)
def test_a_frame_is_found_by(word: str, code: str) -> None:
    result = run("frames", word)
    assert result.status == 0
    assert result.out.startswith(code)


def test_every_frame_and_field_has_a_table() -> None:
    codec = ykc.Codec("1.7")
    listed = run("frames").out
    for code, layouts in codec.layouts.items():
        out = run("frames", f"{code:02X}").out
        for layout in layouts:
            assert f"0x{code:02X}  {layout.name} " in listed
            assert layout.title in out
            for field in layout.fields:
                assert f" {field.name} " in out
                assert field.zh in out


@pytest.mark.parametrize(
    ("word", "said"),
    [("0x99", "there is no frame 0x99; near it are"), ("logn_request", "did you mean 'login_request'?")],
)
def test_no_such_frame(word: str, said: str) -> None:
    result = run("frames", word)
    assert result.status == 2
    assert said in result.err


def test_versions_and_dialects() -> None:
    assert "0xA1" not in run("frames", "--revision", "1.5").out
    assert "0x3D" in run("frames").out
    assert "power_limit_request" in run("frames", "--dialect", OVERLAY).out
    assert " 4  plugged_waiting" in run("frames", "13", "--dialect", OVERLAY).out


def test_offsets_in_json_and_text_agree_with_the_wire() -> None:
    tables = json.loads(run("frames", "--format", "json").out)
    assert len(tables) == sum(len(variants) for variants in ykc.Codec("1.7").layouts.values())
    record = next(table for table in tables if table["name"] == "transaction_record")
    assert record["body_size"] == 158
    assert sum(field["size"] for field in record["fields"]) == 158


def test_diff_of_versions() -> None:
    out = run("diff", "1.5", "1.6").out
    assert out.count("\n+ 0xA") == 4
    assert "+ 0x3D transaction_record_v17" in run("diff", "V1.6", "1.7").out
    assert "- 0x3D transaction_record_v17" in run("diff", "1.7", "1.6").out
    assert "no difference" in run("diff", OVERLAY, OVERLAY).out


def test_diff_says_everything_about_a_field(tmp_path: Path) -> None:
    file = tmp_path / "changes.yaml"
    file.write_text(
        """
overlay: changes
base: "1.7"
enums:
  gun_status: {remove: [0], add: {5: {name: reserved_by_app}}}
frames:
  remove: [reboot_request, reboot_response]
  change:
    - frame: heartbeat_request
      title: Beat
      remove: [gun_health]
      adjust: [{field: gun_no, type: u8, range: [1, 8]}]
    - frame: bms_demand_and_charger_output
      adjust: [{field: soc, scale: 0.5}]
    - frame: card_sync_request
      insert:
        - before: cards.physical_card_no
          fields: [{name: kind, type: code}]
""",
        encoding="utf-8",
    )
    result = run("diff", "1.7", str(file))
    assert result.status == 0, result.err
    for line in (
        "- 0x92 reboot_request",
        "~ 0x03 heartbeat_request, body 9 → 8 bytes",
        "  ~ title 'Pile heartbeat' → 'Beat'",
        "  - gun_health (code gun_health, 1 byte)",
        "    ~ kind bcd → uint",
        "    ~ high none → 8",
        "  ~ soc: scale 1 → 0.5",
        "~ 0x44 card_sync_request, body 8 + 16n → 8 + 17n bytes",
        "    + kind (uint, 1 byte) after logical_card_no, byte of the entry 8",
        "~ codes gun_status, used by 0x13",
        "  - 0x00 offline 离线",
        "  + 0x05 reserved_by_app",
    ):
        assert f"\n{line}" in result.out


@pytest.mark.parametrize("arguments", [["1.7", "9.9"], ["1.7", "samples"], ["1.7", "samples/login.hex"]])
def test_diff_of_nothing(arguments: list[str]) -> None:
    result = run("diff", *arguments)
    assert result.status == 2
    assert result.err.startswith("evproto: error: ")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    result = run("generate", "--dialect", OVERLAY, "-o", str(folder))
    assert (result.status, result.err) == (0, "")
    assert "from v1_8 import DIALECT" in result.out
    return folder


@pytest.fixture(scope="module")
def package(generated: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(generated))
    try:
        yield importlib.import_module("v1_8")
    finally:
        sys.path.remove(str(generated))
        for name in [name for name in sys.modules if name.partition(".")[0] == "v1_8"]:
            del sys.modules[name]


def test_the_generated_package_decodes(package: ModuleType) -> None:
    codec = ykc.Codec(dialect=package.DIALECT)
    assert codec.version == "1.7"
    loaded = ykc.Codec(dialect=ykc.Dialect.load(ROOT / OVERLAY))
    for data in frames_of("login_request", 10) + frames_of("bms_information", 10):
        assert codec.decode(data) == loaded.decode(data) == ykc.Codec("1.7").decode(data)
    messages, enums = package.messages, package.enums
    request = messages.PowerLimitRequest(
        pile_id="55031412782305", gun_no="01", power_limit=60.5, valid_until=ykc.RawTime(bytes(7))
    )
    data = codec.encode(request, 7)
    assert codec.decode(data).message == request
    assert loaded.encode(loaded.decode(data)) == data
    assert enums.GunStatus(4).name == "PLUGGED_WAITING"
    assert enums.GunStatus(4).zh == "已插枪等待"
    assert enums.StopReason(0x8A).name == "INSUFFICIENT_ENERGY_BALANCE"
    old = ykc.Codec("1.7").decode(frames_of("realtime_data_report", 3)[2]).message
    values = {name: getattr(old, name) for name in old.__struct_fields__}
    values |= {"gun_status": enums.GunStatus.PLUGGED_WAITING, "output_power": 12.3, "power_limit": 60.0}
    report = messages.RealtimeDataReport(**values)
    data = codec.encode(report)
    assert len(data) == 68 + 4
    assert codec.decode(data).message.output_power == 12.3
    assert loaded.decode(data).message.gun_status.name == "PLUGGED_WAITING"


def test_the_generated_package_type_checks(generated: Path) -> None:
    use = generated / "use.py"
    use.write_text(
        "from evproto import ykc\n"
        "from v1_8 import DIALECT, enums, messages\n\n"
        "codec = ykc.Codec(dialect=DIALECT)\n"
        "message = messages.PowerLimitResponse(\n"
        "    pile_id='1', gun_no='01', result=ykc.enums.FailureSuccess.SUCCESS\n"
        ")\n"
        "status: enums.GunStatus = enums.GunStatus.PLUGGED_WAITING\n"
        "data: bytes = codec.encode(message)\n",
        encoding="utf-8",
    )
    mypy = pytest.importorskip("mypy.api")
    before = os.environ.get("MYPYPATH")
    os.environ["MYPYPATH"] = f"{ROOT / 'src'}:{generated}"
    try:
        out, err, status = mypy.run(
            [
                "--strict",
                "--config-file=",
                f"--cache-dir={generated / '.mypy'}",
                "--follow-imports=silent",
                *["--explicit-package-bases", str(generated / "v1_8"), str(use)],
            ]
        )
    finally:
        if before is None:
            del os.environ["MYPYPATH"]
        else:
            os.environ["MYPYPATH"] = before
    assert status == 0, out + err


def test_generating_again_changes_nothing(generated: Path) -> None:
    result = run("generate", "--dialect", OVERLAY, "-o", str(generated))
    assert result.out.count("(unchanged)") == len(list((generated / "v1_8").glob("*.py")))


@pytest.mark.parametrize("name", ["v1_8", "five_price_tariff"])
def test_both_samples_generate_and_are_named_after_their_overlay(name: str, tmp_path: Path) -> None:
    result = run("generate", "--dialect", f"samples/{name}.yaml", "-o", str(tmp_path))
    assert result.status == 0
    assert (tmp_path / name / "__init__.py").is_file()


def test_what_generate_refuses(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    (own / "__init__.py").write_text("print('hand-written')\n")
    cases = [
        (["--dialect", OVERLAY, "-o", str(tmp_path), "--package", "mine"], "was not generated"),
        (["--dialect", OVERLAY, "-o", str(tmp_path), "--package", "a.b"], "cannot be the name of a package"),
        (["--dialect", "nowhere.yaml", "-o", str(tmp_path)], "there is no such file"),
        (["--dialect", "samples", "-o", str(tmp_path)], "it is a directory"),
        (["--dialect", "samples/login.hex", "-o", str(tmp_path)], "login.hex"),
        (["--dialect", OVERLAY, "-o", str(own / "__init__.py")], "cannot write"),
        (["--dialect", OVERLAY, "-o", str(tmp_path), "--revision", "1.4"], "there is no version '1.4'"),
    ]
    for arguments, said in cases:
        result = run("generate", *arguments)
        assert result.status == 2
        assert said in result.err
    assert (own / "__init__.py").read_text() == "print('hand-written')\n"


def test_without_jinja2_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = run("generate", "--dialect", OVERLAY, "-o", str(tmp_path))
    assert result.status == 2
    assert "pip install 'evproto[codegen]'" in result.err


def test_starting_up_imports_little() -> None:
    """The time until --version or a typing mistake is answered."""
    code = (
        "import sys; from evproto.cli import main; main(['--version']);"
        "heavy = {'yaml', 'jsonschema', 'construct', 'jinja2', 'tqdm', 'dpkt', 'asyncio'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

"""A wrong spec gives all its problems at once, in place, with a suggestion, and never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.errors import SpecError
from evproto.spec import load_overlay, load_protocol
from evproto.spec.locate import specs_root

WRONG = """\
overlay: acme
base: "1.6"
types:
  big: {kind: uint, size: 9}
enums:
  gun_statu: {add: {4: {name: x}}}
  gun_status: {add: {4: {name: idle}}}
frames:
  add:
    - frame_type: 0x30
      name: foo_report
      title: Foo
      direction: pile_to_platform
      role: report
      fields:
        - {name: a, type: big}
        - {name: class, type: pile_idd}
        - {name: c, type: bits, size: 1, parts: [{name: x, bits: 0-9}, {name: y, bits: 0-3}, {name: z, bits: 3-5}]}
        - {name: n, type: u8, enum: stop_reasn}
        - {name: g, type: group, count: nn, entry: g_entry, fields: [{name: a, type: u8}, {name: a, type: u8}]}
        - {name: f, type: u16, fixed: "00", range: [3, 1]}
  change:
    - frame: heartbeat_reqest
    - frame: heartbeat_request
      remove: [gun_nr]
  remove: [nothing]
"""

EXPECTED = [
    (6, "enums.gun_statu", "there is no enumeration 'gun_statu'", "did you mean 'gun_status'?"),
    (7, "enums.gun_status.add.4", "'idle' is the name of code 2 already", ""),
    (16, "frames.add[0].fields[0]", "a uint field of 9 bytes is not possible", "at most 8"),
    (17, "frames.add[0].fields[1].name", "'class' cannot be an attribute", "try 'class_'"),
    (17, "frames.add[0].fields[1].type", "there is no type 'pile_idd'", "did you mean 'pile_id'?"),
    (18, "frames.add[0].fields[2].parts", "no part covers bit 4, 5, 6, 7 of 'c'", "reserved"),
    (18, "frames.add[0].fields[2].parts[0].bits", "bits 0-9 are not inside a word of 8 bits", "bit 0 first"),
    (18, "frames.add[0].fields[2].parts[2].bits", "bit 3 belongs to 'y' already", ""),
    (19, "frames.add[0].fields[3].enum", "there is no enumeration 'stop_reasn'", "'stop_reason'"),
    (20, "frames.add[0].fields[4].count", "no field 'nn' stands before 'g'", "did you mean 'n'?"),
    (20, "frames.add[0].fields[4].fields[1].name", "the field 'a' is there twice", "first in"),
    (21, "frames.add[0].fields[5].fixed", "'f' is uint of 2 bytes, what is fixed does not fit", ""),
    (21, "frames.add[0].fields[5].range", "the range goes from 3 down to 1", "lower limit first"),
    (23, "frames.change[0].frame", "version 1.6 has no frame 'heartbeat_reqest'", "'heartbeat_request'"),
    (25, "frames.change[1].remove[0]", "there is no field 'gun_nr'", "did you mean 'gun_no'?"),
    (26, "frames.remove[0]", "version 1.6 has no frame 'nothing'", ""),
]


def problems_of(tmp_path: Path, text: str) -> list[tuple[int, str, str, str]]:
    file = tmp_path / "overlay.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_overlay(file)
    assert all(problem.file == str(file) for problem in caught.value.problems)
    return [(p.line, p.path, p.message, p.suggestion) for p in caught.value.problems]


def test_all_problems_at_once(tmp_path: Path) -> None:
    found = problems_of(tmp_path, WRONG)
    assert [(line, path) for line, path, _, _ in found] == [(line, path) for line, path, _, _ in EXPECTED]
    for (_, _, message, suggestion), (_, _, wanted, hint) in zip(found, EXPECTED, strict=True):
        assert wanted in message
        assert hint in suggestion


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("", 1, "", "the file is empty"),
        ("a: [", 1, "", "not YAML"),
        ("- 1", 1, "", "a list is not a mapping"),
        ("title: x", 1, "", "'overlay' is missing"),
        ("overlay: x\noverlay: y", 2, "overlay", "the key 'overlay' is there twice"),
        ("overlay: x\ntitle: &a b\nbase: *a", 3, "base", "anchors and aliases"),
        ("overlay: !!python/object:os.system x", 1, "overlay", "tags are not part of the language"),
        ("? [a]\n: b", 1, "", "a key must be a word or a number"),
        ("overlay: x\nbase: '9.9'", 2, "base", "there is no version '9.9'"),
        ("overlay: x\nframez: {}", 2, "framez", "'framez' is not a word of the language here"),
        ("x: " + "[" * 5000, 1, "", ""),
        (
            "overlay: x\nframes: {add: [{frame_type: 300, name: a, fields: []}]}",
            2,
            "frames.add[0].frame_type",
            "300",
        ),
    ],
)
def test_one_problem(tmp_path: Path, text: str, line: int, path: str, message: str) -> None:
    found = problems_of(tmp_path, text)
    assert any(f[0] == line and f[1] == path and message in f[2] for f in found), found


@pytest.mark.parametrize(
    ("count", "text", "message"),
    [
        (
            "{name: n, type: u8, reversed: true}",
            "{name: t, type: ascii, size: n}",
            "'n' is not a plain count",
        ),
        ("{name: n, type: u8, offset: 1}", "{name: t, type: ascii, size: n}", "'n' is not a plain count"),
        (
            "{name: n, type: code, enum: no_yes}",
            "{name: t, type: ascii, size: n}",
            "'n' is not a plain count",
        ),
        ("{name: n, type: u8}", "{name: t, type: ascii, size: remaining}", "only a group takes what remains"),
    ],
)
def test_counts(tmp_path: Path, count: str, text: str, message: str) -> None:
    frame = (
        "{frame_type: 0x71, name: z, title: t, direction: pile_to_platform, role: report, fields: [%s, %s]}"
    )
    found = problems_of(tmp_path, f"overlay: x\nframes: {{add: [{frame % (count, text)}]}}")
    assert [message for _, _, message, _ in found] == [message]


def test_a_word_known_elsewhere_is_not_called_unknown(tmp_path: Path) -> None:
    """Where one part of a schema fails, the words of that part are not blamed too."""
    text = "overlay: x\nframes:\n  add:\n    - {frame_type: 5, name: z, title: t, direction: up, role: report, fields: []}"
    assert [path for _, path, _, _ in problems_of(tmp_path, text)] == ["frames.add[0].direction"]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_overlay(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes("overlay: caf\xe9".encode("latin-1"))
    with pytest.raises(SpecError, match="not UTF-8 text"):
        load_overlay(tmp_path / "latin.yaml")
    with pytest.raises(SpecError):
        load_overlay(tmp_path)


def test_problems_of_a_whole_protocol(tmp_path: Path) -> None:
    """Several wrong files of the base specs are all reported."""
    root = tmp_path / "ykc"
    shutil.copytree(specs_root() / "ykc", root)
    login = root / "frames" / "0x01_login_request.yaml"
    login.write_text(
        login.read_text(encoding="utf-8").replace("type: pile_id", "type: pile_idd"), encoding="utf-8"
    )
    record = root / "frames" / "0x3b_transaction_record.yaml"
    record.write_text(
        record.read_text(encoding="utf-8").replace("total: total_energy", "total: total_enrgy"),
        encoding="utf-8",
    )
    (root / "frames" / "0x02_login_response.yaml").rename(root / "frames" / "0x02_response.yaml")
    with pytest.raises(SpecError) as caught:
        load_protocol(root)
    texts = [str(problem) for problem in caught.value.problems]
    assert any("0x01_login_request.yaml" in text and "did you mean 'pile_id'?" in text for text in texts)
    assert any(
        "0x3b_transaction_record.yaml" in text and "did you mean 'total_energy'?" in text for text in texts
    )
    assert any("0x02_response.yaml" in text and "0x02_login_response.yaml" in text for text in texts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pair: 0x02", "pair: 0x07"), "there is no frame 0x07"),
        (("pair: 0x02", "pair: 0x03"), "0x03 is sent by the same side"),
        (('since: "1.5"', 'since: "0.9"'), "there is no version '0.9'"),
        (("frame_type: 0x01", "frame_type: 0x02"), "0x02"),
    ],
)
def test_what_only_shows_together(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    root = tmp_path / "ykc"
    shutil.copytree(specs_root() / "ykc", root)
    login = root / "frames" / "0x01_login_request.yaml"
    text = login.read_text(encoding="utf-8")
    assert change[0] in text
    login.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_protocol(root)
    assert message in str(caught.value)


@given(st.text(alphabet="overlay:frames add[]{}-\n \t'\"&*!|>#0x12.\u4e00", max_size=200))
def test_nothing_but_a_spec_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load_overlay(file)
    except SpecError as error:
        assert error.problems

"""A wrong spec gives all its problems at once, in place, with a suggestion, and never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evproto import ykc
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


def test_a_field_put_into_a_group_is_blamed_where_it_stands(tmp_path: Path) -> None:
    text = """\
overlay: inside
frames:
  change:
    - frame: card_sync_request
      insert: [{after: cards.logical_card_no, fields: [{name: kind, type: u9}]}]
    - frame: realtime_data_report
      insert:
        - after: hardware_faults.door_open
          fields: [{name: more, type: u8}]
"""
    found = problems_of(tmp_path, text)
    assert [(line, path) for line, path, _, _ in found] == [
        (5, "frames.change[0].insert[0].fields[0].type"),
        (8, "frames.change[1].insert[0].after"),
    ]
    assert found[1][2:] == ("'door_open' stands among parts, not fields", "say 'parts' here")


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


VALID = """\
overlay: acme
base: "1.7"
types: {dew_point: {kind: uint, size: 2, scale: 0.5, offset: -40, unit: degC}}
enums:
  gun_health: {add: {0x02: {name: maintenance, zh: a}}, remove: [1]}
  weather: {title: Weather, codes: {0: {name: dry}, 1: {name: wet, note: b}}}
frames:
  add:
    - frame_type: 0x71
      name: climate_report
      title: Climate report
      direction: pile_to_platform
      role: report
      errata: [none]
      checks: [{rule: sum, of: [dew_point, dew_point], total: dew_point, tolerance: 1}]
      fields:
        - {name: pile_id, type: pile_id}
        - {name: dew_point, type: dew_point, range: [0, 1]}
        - {name: weather, type: code, enum: weather}
        - {name: flags, type: bits, size: 1, parts: [{name: fan, bits: 0}, {name: reserved, bits: 1-7}]}
        - {name: n, type: u8}
        - {name: s, type: group, count: n, entry: climate_sensor, fields: [{name: a, type: u8, fixed: "00"}]}
    - {frame_type: 0x72, name: more_report, extends: climate_report, remove: [flags], since: "1.5"}
  change:
    - frame: realtime_data_report
      insert: [{after: hardware_faults.door_open, parts: [{name: arc, bits: 13}]}]
      replace: [{field: hardware_faults.reserved, parts: [{name: reserved, bits: 14-15}]}]
      adjust: [{field: soc, note: c}]
    - {frame: card_sync_request, insert: [{before: cards.physical_card_no, fields: [{name: k, type: u8}]}]}
  remove: [qr_prefix_request, qr_prefix_response]
"""


def test_the_valid_one_is_valid(tmp_path: Path) -> None:
    (tmp_path / "valid.yaml").write_text(VALID, encoding="utf-8")
    revision = load_overlay(tmp_path / "valid.yaml")
    faults = revision.frame("realtime_data_report").fields[-1]
    assert [(part.name, part.bit, part.size) for part in faults.fields[-2:]] == [
        ("arc", 13, 1),
        ("reserved", 14, 2),
    ]
    assert [field.name for field in revision.frame("more_report").fields] == [
        "pile_id",
        "dew_point",
        "weather",
        "n",
        "s",
    ]


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


@settings(max_examples=400)
@given(st.data())
def test_any_change_of_a_valid_one_is_understood(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A word taken out, moved or replaced anywhere gives problems or a dialect, never a traceback."""
    root = yaml.safe_load(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in places(root) if p]))
        parent = root
        for step in path[:-1]:
            parent = parent[step]
        if data.draw(st.booleans()):
            del parent[path[-1]]
        else:
            words = [
                0,
                -1,
                3,
                300,
                1.5,
                "x",
                "u8",
                "bits",
                "group",
                "remaining",
                "n",
                "cards.x",
                "1.5",
                None,
                [],
                {},
            ]
            words += [
                ["a"],
                {"name": "a"},
                {"name": "a", "type": "u8"},
                "9-3",
                True,
                10**30,
                "dew_point",
                "type",
            ]
            parent[path[-1]] = data.draw(st.sampled_from(words))
        if not root:
            break
    file = tmp_path_factory.getbasetemp() / "changed.yaml"
    file.write_text(yaml.safe_dump(root, allow_unicode=True), encoding="utf-8")
    try:
        ykc.Codec(dialect=ykc.Dialect.load(file))
    except SpecError as error:
        assert error.problems


@given(st.text(alphabet="overlay:frames add[]{}-\n \t'\"&*!|>#0x12.\u4e00", max_size=200))
def test_nothing_but_a_spec_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load_overlay(file)
    except SpecError as error:
        assert error.problems

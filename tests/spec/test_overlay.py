"""A later revision, as an overlay file, is served at run time without touching anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from evproto import ykc
from evproto.errors import EncodeError
from evproto.spec import load_overlay, load_protocol
from evproto.spec.novelty import Novelty

V1_8 = """\
overlay: "1.8"
base: "1.7"
title: an imaginary revision
types:
  dew_point: {kind: uint, size: 2, scale: 0.5, offset: -40, unit: degC}
enums:
  gun_health:
    add: {0x02: {name: maintenance, zh: 检修}}
frames:
  add:
    - frame_type: 0x71
      name: climate_report
      title: Climate report
      zh: 环境数据
      direction: pile_to_platform
      role: report
      fields:
        - {name: pile_id, type: pile_id}
        - {name: dew_point, type: dew_point, zh: 露点}
        - {name: flags, type: bits, size: 1, parts: [{name: fan, bits: 0}, {name: reserved, bits: 1-7}]}
        - {name: sensor_count, type: u8}
        - name: sensors
          type: group
          count: sensor_count
          entry: climate_sensor
          fields:
            - {name: sensor_no, type: u8}
            - {name: value, type: temperature}
  change:
    - frame: login_response
      insert:
        - after: pile_id
          fields: [{name: server_time, type: cp56time2a, zh: 服务器时间}]
  remove: [qr_prefix_request, qr_prefix_response]
"""


@pytest.fixture
def dialect(tmp_path: Path) -> ykc.Dialect:
    file = tmp_path / "v1_8.yaml"
    file.write_text(V1_8, encoding="utf-8")
    return ykc.Dialect.load(file, base="1.7")


def test_a_new_frame(dialect: ykc.Dialect) -> None:
    codec = ykc.Codec(dialect=dialect)
    m = dialect.messages
    report = m.ClimateReport(
        pile_id="55031412782305",
        dew_point=-12.5,
        flags=m.ClimateReportFlags(fan=1),
        sensors=(m.ClimateSensor(sensor_no=1, value=21), m.ClimateSensor(sensor_no=2, value=-5)),
    )
    data = codec.encode(report, 7)
    # Typed by hand: -12.5 is (-12.5 + 40) / 0.5 = 55 = 0x37.
    assert data[6:-2].hex() == "55031412782305370001020147022d"
    frame = codec.decode(data)
    assert frame.message == report
    assert frame.message.sensor_count == 2
    assert codec.encode(frame) == data


def test_a_changed_frame_and_enum(dialect: ykc.Dialect) -> None:
    codec = ykc.Codec(dialect=dialect)
    assert [f.name for f in codec.layouts[0x02][0].fields] == ["pile_id", "server_time", "result"]
    heartbeat = codec.decode(
        codec.encode(ykc.UnknownMessage(frame_type=3, body=bytes.fromhex("550314127823050102")))
    )
    assert heartbeat.message.gun_health.name == "MAINTENANCE"
    assert heartbeat.message.gun_health.zh == "检修"
    assert type(heartbeat.message) is dialect.messages.HeartbeatRequest is not ykc.messages.HeartbeatRequest


def test_the_rest_is_borrowed(dialect: ykc.Dialect) -> None:
    codec = ykc.Codec(dialect=dialect)
    assert set(dialect.changed) == {"login_response", "heartbeat_request", "climate_report"}
    assert codec.messages[0x3D] is ykc.messages.TransactionRecordV17
    assert 0xF0 not in codec.messages
    with pytest.raises(EncodeError, match="not a message of dialect 1.8"):
        codec.encode(ykc.messages.LoginResponse(pile_id="55031412782305", result=0))


def test_a_changed_type_changes_every_frame_that_uses_it(tmp_path: Path) -> None:
    file = tmp_path / "wide.yaml"
    file.write_text("overlay: wide\nbase: '1.6'\ntypes: {pile_id: {kind: bcd, size: 8, pad: left}}\n")
    codec = ykc.Codec(dialect=ykc.Dialect.load(file))
    using = [
        code
        for code, (layout, *_) in codec.layouts.items()
        if any(f.name == "pile_id" for f in layout.fields)
    ]
    assert len(using) == len(codec.layouts) - 1  # all but 0x40
    assert all(codec.messages[code] is not ykc.Codec("1.6").messages[code] for code in using)


def test_reaching_into_groups_and_bits(tmp_path: Path) -> None:
    file = tmp_path / "inside.yaml"
    file.write_text(
        """\
overlay: inside
base: "1.6"
frames:
  change:
    - frame: card_sync_request
      insert: [{after: cards.logical_card_no, fields: [{name: kind, type: u8}]}]
    - frame: realtime_data_report
      replace:
        - field: hardware_faults.reserved
          fields: []
""",
        encoding="utf-8",
    )
    with pytest.raises(Exception, match="should be non-empty"):
        load_overlay(file)
    file.write_text(file.read_text().split("    - frame: realtime_data_report")[0], encoding="utf-8")
    revision = load_overlay(file)
    cards = revision.frame("card_sync_request").fields[-1]
    assert [field.name for field in cards.fields] == ["logical_card_no", "kind", "physical_card_no"]
    assert cards.size == 17


def test_versions_are_what_they_add() -> None:
    protocol = load_protocol()
    names = {v.version: {f.name for f in protocol.revision(v.version).frames} for v in protocol.versions}
    parallel = {
        "parallel_start_request",
        "parallel_start_response",
        "parallel_remote_start_request",
        "parallel_remote_start_response",
    }
    assert names["1.6"] - names["1.5"] == parallel
    assert names["1.7"] - names["1.6"] == {"transaction_record_v17"}
    assert names["1.5"] < names["1.6"] < names["1.7"]
    # 51 of the document; beside them 0x3D, two layouts told apart by length, and the extension.
    assert len(names["1.6"]) == 51 + 2 + 2
    novelty = Novelty(protocol.revision("1.7"), protocol.revision("1.6"))
    assert [f.name for f in protocol.revision("1.7").frames if novelty.frame(f)] == ["transaction_record_v17"]

"""The envelope: its JSON, its published schema, its ids."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from importlib import resources

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.gateway.events import Event, EventFinding, digest_of, new_id, schema
from gateway.outbox_helpers import event

PUBLISHED = json.loads(resources.files("evproto.gateway").joinpath("event.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(PUBLISHED, format_checker=jsonschema.FormatChecker())

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
events = st.builds(
    Event,
    id=st.builds(new_id),
    time=st.datetimes(timezones=st.just(dt.UTC)),
    protocol=texts,
    charger=texts.filter(bool),
    kind=st.sampled_from(["record", "message", "command", "online", "offline", "error"]),
    direction=st.sampled_from(["from_charger", "to_charger", "gateway"]),
    code=texts,
    name=texts,
    sequence=st.none() | st.integers(0, 65535) | texts,
    fields=st.none() | st.dictionaries(texts, json_values, max_size=4),
    raw=texts,
    findings=st.lists(
        st.builds(EventFinding, kind=texts, path=texts, text=texts, value=json_values), max_size=2
    ).map(tuple),
    conflict=st.booleans(),
)


def test_the_published_schema_is_that_of_the_class() -> None:
    assert schema() == PUBLISHED
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)


@given(events)
def test_every_event_fits_the_schema_and_comes_back(made: Event) -> None:
    text = made.to_json()
    # json.loads, not msgspec: the reader is somebody else.
    VALIDATOR.validate(json.loads(text))
    assert set(json.loads(text)) == set(PUBLISHED["properties"])
    assert Event.from_json(text) == made


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "invoice"},
        {"direction": "sideways"},
        {"charger": ""},
        {"time": "yesterday"},
        {"fields": []},
        {"id": 7},
        {"findings": [{"path": "a"}]},
    ],
)
def test_what_is_no_event_is_refused_by_class_and_schema(change: dict[str, object]) -> None:
    wrong = {**json.loads(event().to_json()), **change}
    assert not VALIDATOR.is_valid(wrong)
    with pytest.raises(msgspec.ValidationError):
        Event.from_json(json.dumps(wrong))


def test_a_key_without_a_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="a key and a digest, or neither"):
        event(key="1")


def test_fields_that_json_cannot_carry_are_named() -> None:
    with pytest.raises(TypeError, match="what JSON can carry"):
        event(fields={"socket": object()}).to_json()
    with pytest.raises(ValueError, match="what JSON can carry"):
        event(charger="\ud800").to_json()


def test_values_become_what_json_has_for_them() -> None:
    class Reason(enum.IntEnum):
        FULL = 64

    made = event(
        fields={"at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "reason": Reason.FULL, "tiers": (1, 2)}
    )
    assert json.loads(made.to_json())["fields"] == {
        "at": "2026-01-01T00:00:00Z",
        "reason": 64,
        "tiers": [1, 2],
    }


def test_ids_are_uuids_of_version_7() -> None:
    # The example of RFC 9562, appendix A.6: 2022-02-22T19:22:22.000Z, random parts CC3 and 18C4DC0C0C07398F.
    made = uuid.UUID(new_id(1645557742.0, bytes.fromhex("18C4DC0C0C07398F")))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert str(made) == "017f22e2-79b0-7000-98c4-dc0c0c07398f"


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_ids_sort_by_time(one: float, other: float) -> None:
    if abs(one - other) > 1e-5:
        assert (new_id(one) < new_id(other)) is (one < other)


def test_ids_are_unique() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert len({new_id(5.0) for _ in range(10_000)}) == 10_000


def test_the_digest_is_the_beginning_of_sha256() -> None:
    # FIPS 180-2, appendix B.1.
    assert digest_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223"

"""Accepted and refused exactly as jsonschema does on the official schemas.

By default each member is tried with some of the values there are for it,
others for the next; ``EVPROTO_INSTANCES=all`` tries all (some minutes).
"""

from __future__ import annotations

import copy
import datetime as dt
import importlib
import json
import os
from collections import Counter
from typing import Any

import pytest

from evproto.ocppj import CallResult, Envelope, PayloadError

from .instances import Maker
from .official import VERSIONS, payloads, schema
from .oracle import judge

DIFFERENCES = {
    # version, action, part, path, value: (official verdict, verdict here, reason)
    ("v16", "StopTransaction", "request", "transactionData/0/sampledValue/0/unit", "Hertz"): (
        False,
        True,
        "the type is shared with MeterValues, whose schema was given the unit Hertz by an erratum",
    ),
}
"""All that is judged otherwise, of at most 15."""

NULL = "null for a whole payload is an empty object (1.6-J, section 4.2.1; part 4, section 4.1.5)"

EVERY = [(version, action, part) for version in VERSIONS for action, part in payloads(version)]


def module(version: str) -> Any:
    return importlib.import_module(f"evproto.ocpp.{version}")


def frame(version: str, action: str, part: str, payload: Any) -> bytes:
    if part == "response":
        return json.dumps([3, "id", payload]).encode()
    sends = module(version).actions[action].response is None
    return json.dumps([6 if sends else 2, "id", action, payload], ensure_ascii=False).encode()


def decode(version: str, action: str, part: str, payload: Any, **options: Any) -> Envelope:
    envelope: Envelope = module(version).codec.decode(
        frame(version, action, part, payload), pending={"id": action}, **options
    )
    assert (part == "response") == isinstance(envelope, CallResult)
    return envelope


_COUNT: Counter[str] = Counter()
_ALL = os.environ.get("EVPROTO_INSTANCES") == "all"


@pytest.mark.parametrize(("version", "action", "part"), EVERY, ids=lambda value: value)
def test_verdicts(version: str, action: str, part: str) -> None:
    official = judge(version, action, part)
    lenient = type(module(version).codec)(
        module(version).dialect, mode="lenient", policy=lambda found: "accept"
    )
    maker = Maker(schema(version, action, part), thorough=_ALL)
    for number, (word, instance) in enumerate(maker.variants()):
        # The one difference that is no schema's matter: see NULL.
        judged = {} if instance is None else instance
        valid = official.is_valid(judged)
        _COUNT["valid" if valid else "invalid"] += 1
        try:
            envelope = decode(version, action, part, instance)
            accepted = True
        except PayloadError as error:
            accepted = False
            refusal = error
        assert accepted == valid, f"{word}: {instance}"
        if accepted:
            assert not envelope.warnings
        elif _ALL or number % 4 == 0:
            places = {tuple(error.absolute_path) for error in official.iter_errors(judged)}
            steps = refusal.deviations[0].steps
            assert steps in places or steps[:-1] in places, f"{word}: {refusal}"
        # The way of lenient decoding sees a deviation exactly where there is one.
        if isinstance(instance, dict) and (_ALL or number % 3 == 0):
            kept = lenient.decode(frame(version, action, part, instance), pending={"id": action})
            assert bool(kept.warnings) != valid, f"{word}: {kept.warnings}"


def test_list_of_differences(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{dict(_COUNT)} instances; judged otherwise than by the official schemas:")
        for place, (official, here, reason) in DIFFERENCES.items():
            print(" ", *place, f": {official} there, {here} here: {reason}")
        print("  every action:", NULL)


@pytest.mark.parametrize("version", VERSIONS)
def test_null_for_a_payload(version: str) -> None:
    assert len(DIFFERENCES) + 1 <= 15
    for action, part in payloads(version):
        official = judge(version, action, part)
        assert not official.is_valid(None)
        if official.is_valid({}):
            assert decode(version, action, part, None) == decode(version, action, part, {})
        else:
            with pytest.raises(PayloadError) as caught:
                decode(version, action, part, None)
            assert caught.value.deviations[0].keyword == "required"


@pytest.mark.parametrize("place", DIFFERENCES, ids=str)
def test_differences_are_what_they_are_said_to_be(place: tuple[str, str, str, str, Any]) -> None:
    version, action, part, path, value = place
    official, here, _ = DIFFERENCES[place]
    instance = copy.deepcopy(Maker(schema(version, action, part)).full())
    target = instance
    *steps, last = path.split("/")
    for step in steps:
        target = target[int(step) if step.isdigit() else step]
    target[last] = value
    assert judge(version, action, part).is_valid(instance) == official
    assert here
    assert not decode(version, action, part, instance).warnings


def same(ours: Any, theirs: Any) -> bool:
    """Whether two JSON values are the same, numbers by value and date-times as instants."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, str) and isinstance(theirs, str) and ours != theirs:
        # What is sent is cut to milliseconds.
        moments = [dt.datetime.fromisoformat(text.upper()) for text in (ours, theirs)]
        return abs(moments[0] - moments[1]) < dt.timedelta(milliseconds=1)
    numbers = isinstance(ours, int | float) and isinstance(theirs, int | float)
    return (numbers or type(ours) is type(theirs)) and bool(ours == theirs)


@pytest.mark.parametrize(("version", "action", "part"), EVERY, ids=lambda value: value)
def test_round_trips(version: str, action: str, part: str) -> None:
    codec = module(version).codec
    official = judge(version, action, part)
    for number, (word, instance) in enumerate(Maker(schema(version, action, part)).variants()):
        # The first two have every member once, and the required ones only.
        if (number > 1 and number % 7) or not official.is_valid(instance):
            continue
        envelope = decode(version, action, part, instance)
        sent = json.loads(codec.encode(envelope))
        assert same(sent[-1], instance), word
        assert codec.decode(codec.encode(envelope), pending={"id": action}).payload == envelope.payload or (
            "format" in word
        )


@pytest.mark.parametrize(("version", "action", "part"), EVERY, ids=lambda value: value)
def test_members_are_sent_in_the_order_of_the_schema(version: str, action: str, part: str) -> None:
    maker = Maker(schema(version, action, part))
    instance = maker.full()
    backwards = {name: instance[name] for name in reversed(list(instance))}
    sent = json.loads(module(version).codec.encode(decode(version, action, part, backwards)))
    assert list(sent[-1]) == list(instance)

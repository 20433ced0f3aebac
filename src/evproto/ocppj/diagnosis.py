"""What is wrong with a payload, by its schema and jsonschema.

Loaded when a payload is refused for the first time; valid messages never get
here. Formats and multiples are judged by the same rules as on the fast way.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from evproto.ocppj.deviations import deviation, most_telling_first
from evproto.ocppj.dialect import Dialect
from evproto.ocppj.envelopes import Deviation
from evproto.ocppj.formats import is_date_time, is_uri
from evproto.spec.actions import Schema, load_schema

__all__ = ["MOST", "diagnose", "schema_of", "validator_for"]

MOST = 20
"""Deviations that are told at most: a payload may have as many as it has members."""


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "number") and Fraction(repr(value)) % Fraction(repr(step)):
        yield ValidationError(f"{value!r} is not a multiple of {step}")


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft6Validator, {"multipleOf": _multiple_of}
)

_FORMATS = jsonschema.FormatChecker(formats=())
_FORMATS.checks("date-time")(lambda value: not isinstance(value, str) or is_date_time(value))
_FORMATS.checks("uri")(lambda value: not isinstance(value, str) or is_uri(value))


@functools.cache
def schema_of(specs: str, action: str, part: str) -> Schema:
    """The self-contained schema of the ``request`` or ``response`` of an action."""
    return load_schema(specs, action, part)


def validator_for(schema: Schema) -> Any:
    """A validator that judges as this package does."""
    return _Validator(schema, format_checker=_FORMATS)


@functools.cache
def _cached_validator(specs: str, action: str, part: str) -> Any:
    return validator_for(schema_of(specs, action, part))


def diagnose(
    payload: Any, dialect: Dialect, action: str, part: str, schema: Schema | None = None
) -> tuple[Deviation, ...]:
    """Everything wrong with ``payload`` (at most :data:`MOST`), the most telling first."""
    validator = (
        validator_for(schema) if schema is not None else _cached_validator(dialect.specs, action, part)
    )
    errors = itertools.islice(validator.iter_errors(payload), MOST)
    found = itertools.islice(_told(errors, dialect, action), MOST)
    kept: dict[tuple[Any, ...], Deviation] = {}
    for entry in sorted(found, key=most_telling_first):
        # What is of the wrong type is not blamed for its value as well.
        if (entry.steps, "type") not in kept:
            kept.setdefault((entry.steps, entry.keyword), entry)
    return tuple(kept.values())


def _told(errors: Iterable[ValidationError], dialect: Dialect, action: str) -> Iterator[Deviation]:
    for error in errors:
        steps = tuple(error.absolute_path)
        keyword = str(error.validator)
        value: Any = error.instance
        limit: Any = error.validator_value
        if keyword == "required":
            for name in limit:
                if name not in value:
                    yield deviation(dialect, keyword, (*steps, name), action=action)
        elif keyword == "additionalProperties":
            schema: Any = error.schema
            for name in value:
                if name not in schema.get("properties", ()):
                    yield deviation(dialect, keyword, (*steps, name), action=action, value=value[name])
        else:
            yield deviation(dialect, keyword, steps, action=action, value=value, limit=limit)

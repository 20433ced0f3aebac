"""The judge: jsonschema on the official files, draft 6, real formats, decimal multiples."""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import Any

import jsonschema
from jsonschema.validators import extend

from .official import schema


def _multiple(validator: Any, step: Any, value: Any, _: Any) -> Any:
    if validator.is_type(value, "number") and Decimal(str(value)) % Decimal(str(step)):
        yield jsonschema.ValidationError(f"{value} is not a multiple of {step}")


_Judge = extend(jsonschema.Draft6Validator, {"multipleOf": _multiple})


@functools.cache
def judge(version: str, action: str, part: str) -> Any:
    """A validator of the official schema, whichever draft the file says it is."""
    return _Judge(schema(version, action, part), format_checker=jsonschema.Draft6Validator.FORMAT_CHECKER)

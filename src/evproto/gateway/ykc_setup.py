"""What the YKC adapter is made of: the certificate, the billing model, what piles can be told."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from evproto.errors import EncodeError, FieldError, SpecError
from evproto.gateway.adapter import CommandType
from evproto.gateway.config import ConfigError, HttpConfig, YkcConfig
from evproto.gateway.left_out import check_left_out
from evproto.gateway.ykc_schema import command_schema, message_schema
from evproto.wire.table import Layout
from evproto.ykc import messages
from evproto.ykc.codec import Codec
from evproto.ykc.dialect import Dialect
from evproto.ykc.plain import from_plain
from evproto.ykc.tariff import Tariff

__all__ = ["check_left_out", "command_type", "read_billing_model", "read_dialects", "ssl_context"]

_NEWEST: Final = "1.7"


def command_type(layout: Layout, codec: Codec) -> CommandType:
    """The command that a layout of the platform is."""
    paired = codec.layouts.get(layout.pair) if layout.pair is not None else None
    other = paired[0] if paired else None
    asks = layout.role == "request"
    answer = other if asks else None
    return CommandType(
        name=layout.name,
        code=f"0x{layout.frame_type:02X}",
        title=layout.title,
        zh=layout.zh,
        answer=None if answer is None else answer.name,
        replies_to=None if asks or other is None else other.name,
        schema=command_schema(layout),
        answer_schema=None
        if answer is None or paired is None
        else {"anyOf": [message_schema(one) for one in paired]}
        if len(paired) > 1
        else message_schema(answer),
    )


def ssl_context(config: YkcConfig | HttpConfig, section: str = "ykc") -> ssl.SSLContext | None:
    """The server's side of TLS; None: there is no certificate in this section of the settings.

    Raises:
        ConfigError: certificate or key cannot be used.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            [f"{section}.tls-cert: {config.tls_cert} and {config.tls_key} cannot be used: {error}"]
        ) from None
    return context


def read_billing_model(path: Path) -> Tariff:
    """The billing model in a JSON file: the fields of ``billing_model_response`` without ``pile_id``.

    Raises:
        ConfigError: the file cannot be read, or is none.
    """
    try:
        fields = msgspec.json.decode(path.read_bytes())
        if not isinstance(fields, dict):
            raise FieldError("it is not an object", path="")
        plain = {"name": "billing_model_response", "fields": {"pile_id": "0" * 14, **fields}}
        message = from_plain(plain, Codec(_NEWEST)).message
        assert isinstance(message, messages.BillingModelResponse)
        Codec(_NEWEST).encode(message)
        return Tariff.of(message)
    except OSError as error:
        raise ConfigError([f"ykc.billing-model: {path} cannot be read: {error.strerror or error}"]) from None
    except (msgspec.MsgspecError, ValueError, EncodeError) as error:
        raise ConfigError([f"ykc.billing-model: {path}: {error}"]) from None


def read_dialects(folder: Path, checksum: Literal["strict", "either"]) -> Mapping[str, Codec]:
    """The codecs of the dialects in a directory, by the names of their files without ``.yaml``.

    Raises:
        ConfigError: one of them is wrong.
    """
    found: dict[str, Codec] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            found[path.stem] = Codec(dialect=Dialect.load(path), checksum=checksum)
        except SpecError as error:
            problems += [str(problem) for problem in error.problems]
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}")
    if problems:
        raise ConfigError(problems)
    return found

"""Paths to identities, credentials, subprotocols: without sockets."""

from __future__ import annotations

import base64

import pytest

from evproto.aio.ocpp.admission import Credentials, parse_credentials, select_subprotocol
from evproto.aio.ocpp.routing import Routes


@pytest.mark.parametrize(
    ("patterns", "path", "identity"),
    [
        (["/{id}"], "/CS1", ("CS1",)),
        (["/{id}"], "/RDAM%20123", ("RDAM 123",)),
        (["/{id}"], "/%E7%94%B5%E6%A1%A9", ("电桩",)),
        (["/{id}"], "/a%2Fb", ("a/b",)),
        (["/{id}"], "/CS1?token=1", ("CS1",)),
        (["/ocpp/{name}/{id}"], "/ocpp/a-b/c", ("a-b", "c")),
        (["/ocpp/{name}/{id}"], "/ocpp/a/b-c", ("a", "b-c")),
        (["/ocppj/1.6/{id}"], "/ocppj/1.6/CS1", ("CS1",)),
        (["/{tenant}/{id}", "/{id}"], "/tenantB/cp1", ("tenantB", "cp1")),
        (["/{tenant}/{id}", "/{id}"], "/cp1", ("cp1",)),
        # The first that matches wins.
        (["/ocpp/{id}", "/{tenant}/{id}"], "/ocpp/cp1", ("cp1",)),
        (["/{tenant}/{id}", "/ocpp/{id}"], "/ocpp/cp1", ("ocpp", "cp1")),
        (["/{id}"], "/", None),
        (["/{id}"], "/CS1/", None),
        (["/{id}"], "/a/b", None),
        (["/{id}"], "/%ZZ", None),
        (["/{id}"], "/%FF", None),
        (["/{id}"], "/a%00b", None),
        (["/{id}"], "/a%0Ab", None),
        (["/{id}"], "CS1", None),
        (["/ocpp/{id}"], "/OCPP/CS1", None),
    ],
)
def test_paths(patterns: list[str], path: str, identity: tuple[str, ...] | None) -> None:
    found = Routes(patterns).match(path)
    assert (found[1] if found else None) == identity


@pytest.mark.parametrize("pattern", ["CS1", "/", "/static", "/{id}/x{y}", "/{a}/{a}", "/{}", "/a//{id}"])
def test_wrong_patterns(pattern: str) -> None:
    with pytest.raises(ValueError, match="route|name"):
        Routes([pattern])


def test_the_1_6_example_of_credentials() -> None:
    # OCPP-J 1.6 section 6.2.2.
    found = parse_credentials("Basic QUwxMDAwOgABAgMEBQYH////////////////")
    key = bytes.fromhex("0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF")
    assert found == Credentials("AL1000", key)


def header(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (header(b"a:b:c"), Credentials("a", b"b:c")),
        (header(b"a:"), Credentials("a", b"")),
        (header(b"a:\x00\n\xff"), Credentials("a", b"\x00\n\xff")),
        (header(b"a:b").replace("Basic", "bAsIc"), Credentials("a", b"b")),
        (header(b"nothing"), None),
        (header(b"\xff:b"), None),
        ("Basic !!!", None),
        ("Bearer abc", None),
        ("", None),
        (None, None),
    ],
)
def test_credentials(value: str | None, wanted: Credentials | None) -> None:
    assert parse_credentials(value) == wanted


def test_a_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Credentials("a", b"secret"))


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        (("ocpp2.0.1", "ocpp1.6"), ("ocpp1.6", "ocpp2.0.1"), ("ocpp2.0.1", "ocpp2.0.1")),
        (("ocpp1.5", "ocpp1.6"), ("ocpp2.0.1", "ocpp1.6"), ("ocpp1.6", "ocpp1.6")),
        (("OCPP1.6",), ("ocpp1.6",), ("ocpp1.6", "OCPP1.6")),
        (("ocpp1.5",), ("ocpp1.6",), None),
        ((), ("ocpp1.6",), None),
    ],
)
def test_subprotocols(
    offered: tuple[str, ...], spoken: tuple[str, ...], chosen: tuple[str, str] | None
) -> None:
    assert select_subprotocol(offered, spoken) == chosen

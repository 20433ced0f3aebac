"""Who is let in: route, security profile, credentials, certificate, subprotocol.

Security profiles are those of OCPP 2.0.1 part 2, A00, and of the OCPP 1.6
security whitepaper: 0 is none, 1 basic authentication, 2 the same over TLS,
3 TLS with a certificate on both sides.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from evproto.aio.ocpp.link import Handshake, Refuse
from evproto.aio.ocpp.routing import Identity
from evproto.aio.ocpp.tls import certificate_names

__all__ = [
    "Admission",
    "Authenticate",
    "Credentials",
    "Security",
    "parse_credentials",
    "select_subprotocol",
]

REALM = (("WWW-Authenticate", 'Basic realm="charging stations", charset="UTF-8"'),)


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What basic authentication carried. The password is bytes: 1.6 keys are binary (1.6-J, section 6.2)."""

    username: str
    password: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """What a decision about a client may look at."""

    identity: Identity
    handshake: Handshake
    credentials: Credentials | None
    """None if the client sent none."""
    certificate: dict[str, Any] | None
    """The verified client certificate, as :meth:`ssl.SSLSocket.getpeercert` gives it."""

    @property
    def id(self) -> str:
        """The last element of the identity: the charger's own id."""
        return self.identity[-1]


Authenticate = Callable[[Admission], "bool | Awaitable[bool]"]
"""Says whether a client may come in: True, or False for 401."""


def parse_credentials(header: str | None) -> Credentials | None:
    """The content of an ``Authorization`` header; None if it is none of basic authentication.

    The user name ends at the first colon; the password may hold any byte,
    colons and NULs included.
    """
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(), validate=True)
        name, colon, password = decoded.partition(b":")
        return Credentials(name.decode("utf-8"), password) if colon else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


@dataclasses.dataclass(frozen=True)
class Security:
    """What one port asks of those who connect to it."""

    profile: int = 0
    authenticate: Authenticate | None = None
    """Asked for every client, in every profile; required for profiles 1 and 2."""
    names_match: Callable[[Identity, dict[str, Any]], bool] | None = None
    """For profile 3: whether a certificate belongs to an identity. By default one of its names
    (common name, DNS name, URI) must be the charger's id."""

    def __post_init__(self) -> None:
        if self.profile not in (0, 1, 2, 3):
            raise ValueError(f"a security profile is 0, 1, 2 or 3, not {self.profile!r}")
        if self.profile in (1, 2) and self.authenticate is None:
            raise ValueError(f"security profile {self.profile} needs somebody who knows the passwords")

    async def check(self, identity: Identity, handshake: Handshake) -> Refuse | None:
        """None if the client may come in."""
        credentials = parse_credentials(handshake.headers.get("Authorization"))
        certificate = handshake.peer_certificate
        if self.profile in (2, 3) and not handshake.secure:
            return Refuse(403, "This port is for TLS.\n")
        if self.profile in (1, 2) and credentials is None:
            return Refuse(401, "Credentials are missing.\n", REALM)
        if self.profile == 3:
            if certificate is None:
                return Refuse(403, "A client certificate is missing.\n")
            match = self.names_match or names_identity
            if not match(identity, certificate):
                return Refuse(403, "The client certificate names somebody else.\n")
        if credentials is not None and self.profile in (1, 2) and credentials.username != identity[-1]:
            return Refuse(401, "The user name is the charger's id.\n", REALM)
        if self.authenticate is not None:
            answer = self.authenticate(Admission(identity, handshake, credentials, certificate))
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not True:
                return Refuse(401, "Not authorized.\n", REALM)
        return None


def names_identity(identity: Identity, certificate: dict[str, Any]) -> bool:
    """Whether a certificate carries the charger's id as one of its names."""
    return identity[-1] in certificate_names(certificate)


def select_subprotocol(offered: Sequence[str], spoken: Sequence[str]) -> tuple[str, str] | None:
    """What to speak: the first of the client's offers that is spoken here, and how the client spelled it.

    The client's order counts (OCPP-J 1.6 section 3.1.2: it is its preference);
    upper and lower case do not, because chargers in the field differ in it.
    """
    known = {name.lower(): name for name in spoken}
    for name in offered:
        if name.lower() in known:
            return known[name.lower()], name
    return None

"""Server certificates that can be renewed while connections stand, and who a client certificate names.

OCPP 2.0.1 part 2, A00 (security profiles 2 and 3); OCPP 1.6 security
whitepaper, section 2.
"""

from __future__ import annotations

import dataclasses
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ServerTLS", "certificate_names", "client_context"]

logger = logging.getLogger("evproto.aio.ocpp")

CHECK_EVERY = 1.0
"""Seconds between two looks at the files, at most; handshakes cause them."""


@dataclasses.dataclass
class ServerTLS:
    """Certificate, key and, for security profile 3, the CA of the clients: files in PEM.

    The files are looked at again when clients connect: a changed file takes
    effect within a second, for new connections. Files that cannot be used
    (half written, say, or a key that does not belong to the certificate) are
    reported and the last good ones stay in use.

    Raises:
        OSError, ssl.SSLError: the files cannot be used from the start.
    """

    certificate: str | Path
    key: str | Path
    client_ca: str | Path | None = None
    password: Callable[[], str] | str | None = None
    """Opens the key, if it is encrypted."""
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    """What both documents ask for."""
    ciphers: str | None = None
    """Of TLS 1.2, in OpenSSL's notation; None: the library's choice."""

    def __post_init__(self) -> None:
        self._stamp = self._stamps()
        self._current = self._load()
        self._looked = time.monotonic()
        self.context = self._load()
        """The context to listen with."""
        self.context.sni_callback = self._choose

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.minimum_version
        if self.ciphers is not None:
            context.set_ciphers(self.ciphers)
        context.load_cert_chain(self.certificate, self.key, self.password)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        files = (self.certificate, self.key, self.client_ca)
        stats = [Path(file).stat() for file in files if file is not None]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def reload(self) -> None:
        """Read the files now.

        Raises:
            OSError, ssl.SSLError: they cannot be used; the last good ones stay in use.
        """
        stamp = self._stamps()
        self._current = self._load()
        self._stamp = stamp

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Called by OpenSSL for each handshake, before a certificate is sent."""
        now = time.monotonic()
        if now - self._looked >= CHECK_EVERY:
            self._looked = now
            try:
                stamp = self._stamps()
                if stamp != self._stamp:
                    # One try for each change: a broken file is reported once.
                    self._stamp = stamp
                    self._current = self._load()
                    logger.info("certificates reloaded from %s", self.certificate)
            except (OSError, ValueError) as error:
                logger.error("changed certificates cannot be used, the last good ones stay: %s", error)
        connection.context = self._current


def client_context(
    ca: str | Path | None = None,
    *,
    certificate: str | Path | None = None,
    key: str | Path | None = None,
    password: Callable[[], str] | str | None = None,
) -> ssl.SSLContext:
    """The context of a station: the CA to trust (None: the system's), its own certificate for profile 3.

    Raises:
        OSError, ssl.SSLError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key, password)
    return context


def certificate_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """What a certificate calls its owner: common names, then DNS names and URIs.

    ``certificate`` is what :meth:`ssl.SSLSocket.getpeercert` gives.
    """
    common = [
        value for entry in certificate.get("subject", ()) for name, value in entry if name == "commonName"
    ]
    other = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI")]
    return tuple(dict.fromkeys(common + other))

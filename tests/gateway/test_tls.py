"""TLS on both listeners, and certificates that cannot be used."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from evproto.gateway.config import ConfigError
from gateway.live import PILE, RawPile, login_body, serving


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A certificate for localhost, its key, and who has signed it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    cert.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    ca.write_bytes(authority.cert_pem.bytes())
    return cert, key, ca


def test_piles_and_callers_over_tls(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cert, key, ca = files

    async def run() -> None:
        async with serving(
            tmp_path,
            ykc__tls_cert=str(cert),
            ykc__tls_key=str(key),
            http__tls_cert=str(cert),
            http__tls_key=str(key),
        ) as running:
            context = ssl.create_default_context(cafile=str(ca))
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.tcp_port, ssl=context)
            pile = RawPile(reader, writer, PILE)
            running.piles.append(pile)
            pile.send(0x01, login_body())
            assert (await pile.expect(0x02))[2] == bytes.fromhex(f"{PILE} 00")
            base = f"https://127.0.0.1:{running.server.http_port}"
            async with httpx.AsyncClient(base_url=base, verify=context, trust_env=False) as client:
                assert (await client.get(f"/piles/{PILE}")).json()["online"] is True
            with pytest.raises(httpx.HTTPError):
                await running.client.get("/health")

    asyncio.run(run())


@pytest.mark.parametrize("section", ["ykc", "http"])
def test_a_certificate_that_cannot_be_used_is_said(
    section: str, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    cert, _, ca = files

    async def run() -> None:
        settings = {f"{section}__tls_cert": str(cert), f"{section}__tls_key": str(ca)}
        async with serving(tmp_path, **settings):
            pass

    with pytest.raises(ConfigError, match=rf"{section}.tls-cert: .*cert.pem and .*ca.pem cannot be used"):
        asyncio.run(run())

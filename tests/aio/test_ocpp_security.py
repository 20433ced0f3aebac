"""Security profiles 0 to 3 on real TLS, renewed certificates, and compression."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets

from aio.ocpp_support import ENGINES, PATIENCE, central_system, raw, run, serving, until
from evproto.aio.ocpp import (
    Admission,
    ChargePoint,
    HandshakeError,
    LinkOptions,
    PeerSettings,
    ServerSettings,
    ServerTLS,
    StationSettings,
    client_context,
)
from evproto.aio.ocpp.tls import certificate_names
from evproto.ocpp import v16

engines = pytest.mark.parametrize("engine", ENGINES)

# The key of the example in OCPP-J 1.6, section 6.2.2, and what a station may hold besides.
KEYS = [
    bytes.fromhex("0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF"),
    b"with:colon",
    b"\x00\n\r\xff",
    "пароль".encode(),
]


class Files:
    """A CA and what it has signed, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, *names: str, common_name: str | None = None) -> tuple[Path, Path]:
        made = self.ca.issue_cert(*names, common_name=common_name)
        stem = (common_name or names[0]).replace("/", "_")
        certificate, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        self.write(made, certificate, key)
        return certificate, key

    def write(self, made: Any, certificate: Path, key: Path) -> None:
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def basic(identity: str, password: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(identity.encode() + b":" + password).decode()}


@engines
@pytest.mark.parametrize("key", KEYS)
def test_profile_1(engine: Any, key: bytes) -> None:
    asked: list[Admission] = []

    async def authenticate(who: Admission) -> bool:
        await asyncio.sleep(0)
        asked.append(who)
        return who.credentials is not None and who.credentials.password == key

    server = central_system(authenticate=authenticate, settings=ServerSettings(engine=engine))

    async def work() -> None:
        async with serving(server, profile=1):
            async with raw(server, "/AL1000", additional_headers=basic("AL1000", key)) as station:
                assert (await station.ask("Heartbeat", {}))[0] == 3
            assert asked[0].identity == ("AL1000",)
            assert asked[0].handshake.headers["user-agent"]
            for headers in (
                {},
                basic("AL1000", key + b"x"),
                basic("AL1001", key),
                {"Authorization": "Bearer x"},
            ):
                with pytest.raises(websockets.InvalidStatus) as refused:
                    async with raw(server, "/AL1000", additional_headers=headers):
                        pass
                assert refused.value.response.status_code == 401
                assert refused.value.response.headers["WWW-Authenticate"].startswith("Basic ")
            url = f"ws://127.0.0.1:{server.listeners[0].port}"
            async with ChargePoint(url, "AL1000", password=key) as charge_point:
                assert (await charge_point.accepted()).connected

    run(work())


@engines
def test_an_authenticator_that_fails_lets_nobody_in(engine: Any) -> None:
    def broken(who: Admission) -> bool:
        raise RuntimeError("the database is gone")

    server = central_system(authenticate=broken, settings=ServerSettings(engine=engine))

    async def work() -> None:
        async with serving(server, profile=0):
            with pytest.raises(websockets.InvalidStatus, match="500"):
                async with raw(server):
                    pass

    run(work())


@engines
def test_paths_that_nobody_can_have(engine: Any) -> None:
    server = central_system(settings=ServerSettings(engine=engine))

    async def work() -> None:
        async with serving(server):
            for path in ("/", "/a/b", "/%FF"):
                with pytest.raises(websockets.InvalidStatus, match="404"):
                    async with raw(server, path):
                        pass
            async with raw(server, "/RDAM%20123") as station:
                assert (await station.ask("Heartbeat", {}))[0] == 3
                assert ("RDAM 123",) in server.stations

    run(work())


@engines
def test_profile_2_and_1_on_two_ports_of_one_server(engine: Any, files: Files) -> None:
    server = central_system(
        authenticate=lambda who: who.credentials is not None and who.credentials.password == b"secret",
        settings=ServerSettings(engine=engine),
    )
    trust = client_context(files.ca_file)

    async def work() -> None:
        async with server:
            open_port = await server.listen("127.0.0.1")
            safe_port = await server.listen("127.0.0.1", tls=ServerTLS(*files.issue("127.0.0.1")))
            assert (open_port.security.profile, safe_port.security.profile) == (1, 2)
            async with (
                raw(server, "/A", port=open_port.port, additional_headers=basic("A", b"secret")) as plain,
                raw(
                    server,
                    "/B",
                    port=safe_port.port,
                    scheme="wss",
                    ssl=trust,
                    additional_headers=basic("B", b"secret"),
                ) as safe,
            ):
                for station in (plain, safe):
                    assert (await station.ask("Heartbeat", {}))[0] == 3
                assert not server.station("A").secure
                assert server.station("B").secure
                # A large message, in many TLS records.
                await safe.send(2, "1", "DataTransfer", {"vendorId": "v", "data": "x" * 300_000})
                assert (await safe.read())[2] == "NotSupported"
            with pytest.raises(websockets.InvalidStatus, match="401"):
                async with raw(server, "/B", port=safe_port.port, scheme="wss", ssl=trust):
                    pass
            with pytest.raises(ssl.SSLCertVerificationError):
                async with raw(server, "/B", port=safe_port.port, scheme="wss", ssl=client_context()):
                    pass

    run(work())


@engines
def test_profile_3(engine: Any, files: Files, tmp_path: Path) -> None:
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    stranger = Files(strangers).issue("cs1.example", common_name="CS1")
    tls = ServerTLS(*files.issue("127.0.0.1"), client_ca=files.ca_file)
    server = central_system(settings=ServerSettings(engine=engine))
    certificate, key = files.issue("cs1.example", common_name="CS1")

    async def work() -> None:
        async with serving(server, tls=tls):
            assert server.listeners[0].security.profile == 3
            url = f"wss://127.0.0.1:{server.listeners[0].port}"
            mine = client_context(files.ca_file, certificate=certificate, key=key)
            async with ChargePoint(url, "CS1", tls=mine) as station:
                await station.wait_connected()
                names = certificate_names(server.station("CS1").peer_certificate or {})
                assert names == ("CS1", "cs1.example")
                assert await station.call(v16.messages.HeartbeatRequest())
            # The certificate is good, but somebody else's.
            with pytest.raises(websockets.InvalidStatus, match="403"):
                async with raw(server, "/CS2", scheme="wss", ssl=mine):
                    pass
            for wrong in (
                client_context(files.ca_file),
                client_context(files.ca_file, certificate=stranger[0], key=stranger[1]),
            ):
                # TLS 1.3 tells the client after its handshake: as an error, or by closing.
                with pytest.raises((ssl.SSLError, ConnectionError, websockets.InvalidHandshake)):
                    async with raw(server, "/CS1", scheme="wss", ssl=wrong):
                        pass
            assert not server.stations

    run(work())


def test_a_profile_needs_what_it_needs(files: Files) -> None:
    async def work() -> None:
        tls = ServerTLS(*files.issue("127.0.0.1"))
        server = central_system()
        with pytest.raises(ValueError, match="somebody who knows the passwords"):
            await server.listen("127.0.0.1", profile=2, tls=tls)
        server = central_system(authenticate=lambda who: True)
        for more, said in (
            ({"profile": 2}, "certificates"),
            ({"profile": 3, "tls": tls}, "CA of the clients"),
            ({"profile": 7}, "0, 1, 2 or 3"),
            ({"profile": 1, "tls": tls}, "it is profile 2"),
        ):
            with pytest.raises(ValueError, match=said):
                await server.listen("127.0.0.1", **more)  # type: ignore[arg-type]
        assert not server.listeners

    run(work())


@engines
def test_certificates_are_renewed_without_a_restart(engine: Any, files: Files) -> None:
    certificate, key = files.issue("127.0.0.1")
    tls = ServerTLS(certificate, key)
    server = central_system(settings=ServerSettings(engine=engine))
    trust = client_context(files.ca_file)

    async def serial() -> str:
        async with raw(server, scheme="wss", ssl=trust) as station:
            assert (await station.ask("Heartbeat", {}))[0] == 3
            return str(station.socket.transport.get_extra_info("ssl_object").getpeercert()["serialNumber"])

    async def until_changed(before: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while (now := await serial()) == before:
                await asyncio.sleep(0.05)
        return now

    async def work() -> None:
        async with serving(server, tls=tls), raw(server, "/STAYS", scheme="wss", ssl=trust) as stays:
            first = await serial()
            files.write(files.ca.issue_cert("127.0.0.1"), certificate, key)
            second = await until_changed(first)
            # Half of a renewal: the key does not belong to the certificate.
            other = files.ca.issue_cert("127.0.0.1")
            key.write_bytes(other.private_key_pem.bytes())
            with pytest.raises(ssl.SSLError):
                tls.reload()
            assert await serial() == second
            files.write(other, certificate, key)
            tls.reload()
            assert await serial() not in (first, second)
            assert (await stays.ask("Heartbeat", {}))[0] == 3

    run(work())


def test_the_client_ca_is_renewed_too(files: Files, tmp_path: Path) -> None:
    tls = ServerTLS(*files.issue("127.0.0.1"), client_ca=files.ca_file)
    server = central_system()
    old = files.issue("CS1.example", common_name="CS1")
    (tmp_path / "new").mkdir()
    renewed = Files(tmp_path / "new")
    new = renewed.issue("CS1.example", common_name="CS1")
    trust = tmp_path / "trust.pem"
    files.ca.cert_pem.write_to_path(trust)

    async def comes_in(certificate: tuple[Path, Path]) -> bool:
        context = client_context(trust, certificate=certificate[0], key=certificate[1])
        try:
            async with raw(server, "/CS1", scheme="wss", ssl=context) as station:
                return (await station.ask("Heartbeat", {}))[0] == 3
        except (ssl.SSLError, ConnectionError, websockets.WebSocketException):
            return False

    async def work() -> None:
        async with serving(server, tls=tls):
            assert (await comes_in(old), await comes_in(new)) == (True, False)
            renewed.ca.cert_pem.write_to_path(files.ca_file)
            os.utime(files.ca_file, (time.time() + 10, time.time() + 10))
            tls.reload()
            assert (await comes_in(old), await comes_in(new)) == (False, True)

    run(work())


def test_a_station_keeps_trying_a_server_that_does_not_let_it_in() -> None:
    allowed: list[str] = []
    server = central_system(authenticate=lambda who: who.id in allowed)
    quick = StationSettings(wait_minimum=0.01, random_range=0.01, peer=PeerSettings(call_timeout=5))

    async def work() -> None:
        async with serving(server, profile=0):
            url = f"ws://127.0.0.1:{server.listeners[0].port}"
            async with ChargePoint(url, "CS1", settings=quick) as station:
                await until(lambda: isinstance(station.failure, HandshakeError))
                assert vars(station.failure)["status"] == 401
                allowed.append("CS1")
                await station.wait_connected()
                assert station.failure is None

    run(work())


@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("client_side", [False, True])
def test_compression_where_both_want_it(server_side: bool, client_side: bool) -> None:
    server = central_system(settings=ServerSettings(link=LinkOptions(deflate=server_side)))

    async def work() -> None:
        async with serving(server):
            compression = "deflate" if client_side else None
            async with raw(server, compression=compression) as station:
                assert server.station("CS1").link.deflate is (server_side and client_side)
                for number in range(3):
                    answer = await station.ask(
                        "DataTransfer", {"vendorId": "v", "data": "x" * 5000}, str(number)
                    )
                    assert answer[:3] == [4, str(number), "NotSupported"]
                await station.socket.send(['[2,"f","Heart', 'beat"', ",{}]"])
                assert (await station.read())[:2] == [3, "f"]
            url = f"ws://127.0.0.1:{server.listeners[0].port}"
            options = StationSettings(link=LinkOptions(deflate=client_side))
            async with ChargePoint(url, "CS2", settings=options) as charge_point:
                upstream = await charge_point.wait_connected()
                assert upstream.link.deflate is (server_side and client_side)
                assert await charge_point.call(v16.messages.HeartbeatRequest())

    run(work())


def test_a_bomb_of_compressed_zeros_is_refused() -> None:
    server = central_system(settings=ServerSettings(link=LinkOptions(deflate=True, max_size=10_000)))

    async def work() -> None:
        async with serving(server), raw(server, compression="deflate") as station:
            await station.send_text("0" * 1_000_000)
            assert (await station.closed())[0] == 1009

    run(work())

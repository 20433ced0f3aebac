"""Chargers of OCPP and gateways of ntxcp at the door: real connections, with passwords and certificates."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets

from evproto.gateway.admission_entries import Entry
from evproto.gateway.admission_table import FILE, ChargerTable
from gateway.knocking import CARD_KEY, PASSWORD, HookServer, hash_of
from gateway.live import PILE, WAIT, Running, serving
from gateway.ocpp_live import BOOTS, charger

ALL: dict[str, Any] = {"ykc__enabled": True, "ocpp__enabled": True, "ntxcp__enabled": True}


def basic(name: str, password: bytes) -> dict[str, Any]:
    """The header of basic authentication."""
    token = base64.b64encode(name.encode() + b":" + password).decode()
    return {"additional_headers": {"Authorization": f"Basic {token}"}}


def put(folder: Path, charger: str, **entry: Any) -> None:
    (folder / "data").mkdir(exist_ok=True)
    table = ChargerTable.open(folder / "data" / FILE)
    table.put(charger, Entry(**entry))
    table.close()


async def status(running: Running, name: str = "CP1", protocol: str = "ocpp1.6", **more: Any) -> int:
    """The HTTP status with which a charger is turned away; 101: it is not."""
    try:
        async with charger(running, name, protocol, **more):
            return 101
    except websockets.InvalidStatus as error:
        # Why is nobody's business.
        assert b"password" not in error.response.body.lower()
        assert name.encode() not in error.response.body
        return error.response.status_code


async def speaks(running: Running, name: str, *offers: str) -> str | None:
    """What a charger that offers these speaks then; None: it is turned away."""
    url = f"ws://127.0.0.1:{running.server.ports['ws']}/ocpp/{name}"
    subprotocols: Any = list(offers) or None
    async with websockets.connect(url, subprotocols=subprotocols, open_timeout=WAIT, proxy=None) as socket:
        if socket.subprotocol is not None:
            return str(socket.subprotocol)
        async with asyncio.timeout(WAIT):
            await socket.wait_closed()
        return None


def test_a_file_knows_passwords_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "chargers.toml"
    path.write_text(
        f"""
        [chargers.CP1]
        password-hash = "{hash_of(PASSWORD)}"
        heartbeat-interval = 17
        validation = "strict"
        [chargers.CP2]
        password-hash = "{hash_of(CARD_KEY)}"
        [chargers.CP3]
        enabled = false
        [chargers."55031412782305"]
        protocol = "ykc"
        [chargers.GW1]
        protocol = "ntxcp"
        heartbeat-interval = 19
        """
    )
    odd = {**BOOTS["ocpp1.6"], "colour": "red"}

    async def run() -> None:
        async with serving(
            tmp_path, **ALL, admission__mode="file", admission__file=str(path), ocpp__validation="off"
        ) as server:
            async with charger(server, "CP1", **basic("CP1", PASSWORD)) as cp:
                assert (await cp.ask("BootNotification", odd))[0] == 4
                assert (await cp.result("BootNotification", BOOTS["ocpp1.6"]))["interval"] == 17
            async with charger(server, "CP2", **basic("CP2", CARD_KEY)) as cp:
                assert (await cp.result("BootNotification", odd))["interval"] == 300
            async with charger(server, "GW1", "ntxcp1.0") as gateway:
                assert (await gateway.result("BootNotification", BOOTS["ntxcp1.0"]))["interval"] == 19
            for name, more in (
                ("CP1", {}),
                ("CP1", basic("CP1", b"guess")),
                ("CP1", basic("CP1", b"")),
                ("CP1", basic("CP2", PASSWORD)),
                ("CP1", basic("CP2", CARD_KEY)),
                ("CP2", basic("CP2", CARD_KEY.hex().encode())),
                ("CP3", {}),
                ("CP4", basic("CP4", PASSWORD)),
                ("GW1", {}),
                (PILE, {}),
            ):
                assert await status(server, name, **more) == 401, (name, more)
            assert await status(server, "CP1", "ntxcp1.0", **basic("CP1", PASSWORD)) == 101
            assert await server.metric('evproto_logins_total{outcome="refused",protocol="ocpp1.6"}') == 10
            await server.pile()
            # Another password, while the server runs.
            path.write_text(path.read_text().replace(hash_of(PASSWORD), hash_of(b"another password")))
            assert await status(server, "CP1", **basic("CP1", PASSWORD)) == 401
            assert await status(server, "CP1", **basic("CP1", b"another password")) == 101

    asyncio.run(run())


def test_a_list_knows_them_too_and_passwords_may_be_required(tmp_path: Path) -> None:
    put(tmp_path, "CP1", password_hash=hash_of(PASSWORD))
    put(tmp_path, "CP2")
    put(tmp_path, PILE, protocol="ykc")

    async def run() -> None:
        settings = {"admission__mode": "table", "admission__require_password": True}
        async with serving(tmp_path, **ALL, **settings) as server:
            assert await status(server, "CP1", **basic("CP1", PASSWORD)) == 101
            assert await status(server, "CP2") == 401
            assert await status(server, "CP2", **basic("CP2", b"any")) == 401
            put(tmp_path, "CP2", password_hash=hash_of(CARD_KEY))
            assert await status(server, "CP2", **basic("CP2", CARD_KEY)) == 101
            # Piles have no passwords.
            await server.pile()

    asyncio.run(run())


def test_a_hook_checks_passwords_and_gives_settings(tmp_path: Path) -> None:
    def decide(body: Any) -> Any:
        known = base64.b64encode(CARD_KEY).decode()
        if body["id"] == "CP1" and body["password"] == known:
            return {"admit": True, "heartbeat_interval": 23}
        return {"admit": False, "reason": "unknown"}

    async def run() -> None:
        async with HookServer() as hook:
            hook.answer = decide
            settings = {"admission__mode": "hook", "admission__hook": hook.url}
            async with serving(tmp_path, **ALL, **settings) as server:
                async with charger(server, "CP1", **basic("CP1", CARD_KEY)) as cp:
                    assert (await cp.result("BootNotification", BOOTS["ocpp1.6"]))["interval"] == 23
                assert await status(server, "CP1", **basic("CP1", PASSWORD)) == 401
                assert await status(server, "CP2", "ocpp2.0.1") == 401
                asked = [(one["protocol"], one["version"], one["id"]) for one in hook.asked]
                assert asked == [("ocpp", "ocpp1.6", "CP1")] * 2 + [("ocpp", "ocpp2.0.1", "CP2")]

    asyncio.run(run())


def test_a_hook_that_is_away(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookServer() as hook:
            url = hook.url
        for failure, wanted in (("refuse", 401), ("accept", 101)):
            settings = {
                "admission__mode": "hook",
                "admission__hook": url,
                "admission__hook_failure": failure,
            }
            async with serving(tmp_path / failure, **ALL, **settings) as server:
                assert await status(server, "CP1", **basic("CP1", PASSWORD)) == wanted

    asyncio.run(run())


def test_the_version_that_is_set_is_the_one_that_is_spoken(tmp_path: Path) -> None:
    put(tmp_path, "CP1", version="ocpp1.6")
    put(tmp_path, "CP2")

    async def run() -> None:
        async with serving(tmp_path, **ALL, admission__mode="table") as server:
            assert await speaks(server, "CP1", "ocpp2.0.1", "ocpp1.6") == "ocpp1.6"
            assert await speaks(server, "CP2", "ocpp2.0.1", "ocpp1.6") == "ocpp2.0.1"
            assert await speaks(server, "CP1", "ocpp2.0.1") is None
            assert await speaks(server, "CP2") is None
            async with charger(server, "CP1", None) as cp:
                await cp.result("BootNotification", BOOTS["ocpp1.6"])

    asyncio.run(run())


def test_a_certificate_takes_the_place_of_a_password(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    cert.write_bytes(b"".join(one.bytes() for one in own.cert_chain_pems))
    own.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    context = ssl.create_default_context(cafile=str(ca))
    authority.issue_cert("cp1.example", common_name="CP1").configure_cert(context)
    put(tmp_path, "CP1", password_hash=hash_of(PASSWORD))
    settings: dict[str, Any] = {
        "websocket__tls_port": 0,
        "websocket__tls_cert": str(cert),
        "websocket__tls_key": str(key),
        "websocket__tls_client_ca": str(ca),
        "admission__mode": "table",
        "admission__require_password": True,
    }

    async def run() -> None:
        async with serving(tmp_path, **ALL, **settings) as server:
            secure: dict[str, Any] = {"url": f"wss://127.0.0.1:{server.server.ports['wss']}", "ssl": context}
            assert await status(server, "CP1", **secure) == 101
            # On the other port it has none to show.
            assert await status(server, "CP1") == 401
            assert await status(server, "CP1", **basic("CP1", PASSWORD)) == 101
            # A certificate does not make a wrong password right.
            assert await status(server, "CP1", **secure, **basic("CP1", b"guess")) == 401

    asyncio.run(run())


def test_a_tenant_is_part_of_the_name_and_not_of_the_user_name(tmp_path: Path) -> None:
    put(tmp_path, "acme~CP1", password_hash=hash_of(PASSWORD))

    async def run() -> None:
        settings = {"websocket__routes": ["/{tenant}/{id}", "/{id}"], "admission__mode": "table"}
        async with serving(tmp_path, **ALL, **settings) as server:
            more = {"path": "/acme/{}", **basic("CP1", PASSWORD)}
            assert await status(server, "CP1", **more) == 101
            assert await status(server, "CP1", **{**more, "path": "/other/{}"}) == 401
            assert await status(server, "CP1", **{**more, "path": "/{}"}) == 401
            assert await status(server, "CP1", path="/acme/{}", **basic("acme~CP1", PASSWORD)) == 401

    asyncio.run(run())


def test_a_storm_of_reconnects_computes_each_password_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evproto.gateway import admission_passwords

    computed: list[bytes] = []
    real = admission_passwords._compare

    def compare(password: bytes, kept: Any) -> bool:
        computed.append(password)
        return real(password, kept)

    monkeypatch.setattr(admission_passwords, "_compare", compare)
    (tmp_path / "data").mkdir()
    table = ChargerTable.open(tmp_path / "data" / FILE)
    with table.change():
        for number in range(60):
            table.put(f"CP{number}", Entry(password_hash=hash_of(PASSWORD)))
    # One hash for all: what is remembered belongs to the hash.
    for number in range(4):
        table.put(f"CP{number}", Entry(password_hash=hash_of(f"of its own {number}".encode())))
    table.close()

    def password(number: int) -> bytes:
        return f"of its own {number}".encode() if number < 4 else PASSWORD

    async def run() -> None:
        async with serving(tmp_path, **ALL, admission__mode="table") as server:
            for _ in range(3):
                found = await asyncio.gather(
                    *(status(server, f"CP{n}", **basic(f"CP{n}", password(n))) for n in range(60))
                )
                assert found == [101] * 60

    asyncio.run(run())
    assert {*computed} == {password(number) for number in range(5)}
    # The first few of those with one hash may have begun together.
    assert len(computed) <= 5 + 4


def test_the_password_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {
        PASSWORD.decode(),
        base64.b64encode(PASSWORD).decode(),
        base64.b64encode(b"CP1:" + PASSWORD).decode(),
        PASSWORD.hex(),
        "wrong but nearly right",
        base64.b64encode(b"CP1:wrong but nearly right").decode(),
    }
    put(tmp_path, "CP1", password_hash=hash_of(PASSWORD))
    shown: list[str] = []

    async def run() -> None:
        async with serving(tmp_path, **ALL, admission__mode="table", log__level="debug") as server:
            assert await status(server, "CP1", **basic("CP1", b"wrong but nearly right")) == 401
            assert await status(server, "CP1", **basic("wrong but nearly right", PASSWORD)) == 401
            async with charger(server, "CP1", **basic("CP1", PASSWORD)) as cp:
                await cp.result("BootNotification", BOOTS["ocpp1.6"])
                for path in (
                    "/chargers",
                    "/chargers/CP1",
                    "/chargers/CP1/frames?reveal=true&limit=100",
                    "/ocpp1.6/CP1",
                    "/ocpp1.6/CP1/frames?reveal=true&limit=100",
                    "/audit",
                    "/metrics",
                ):
                    answer = await server.client.get(path)
                    shown.append(f"{path} {answer.status_code} {answer.text}")

    asyncio.run(run())
    assert any("200" in one and "BootNotification" in one for one in shown), shown
    files = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert any(b"CP1" in content for content in files)
    # The charger's own library is not the server's, though it is in this process.
    records = [record for record in caplog.records if record.name != "websockets.client"]
    assert {record.name.partition(".")[0] for record in records} >= {"evproto"}
    for record in records:
        # What a line is about goes beside its text.
        assert not any(secret in f"{record.getMessage()} {record.__dict__}" for secret in secrets)
    for secret in secrets:
        for one in shown:
            assert secret not in one
        for content in files:
            assert secret.encode() not in content


def test_strangers_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> None:
        async with serving(tmp_path, **ALL, admission__mode="table") as server:
            for _ in range(26):
                found = await asyncio.gather(*(status(server, f"CP{number}") for number in range(10)))
                assert found == [401] * 10

    asyncio.run(run())
    lines = [one for one in caplog.records if one.name.startswith("evproto") and "CP" in one.getMessage()]
    # Who is asked at the door, and who is turned away: each a hundred of 260, or two if a minute begins.
    assert 200 <= len(lines) <= 400


def test_two_refusals_look_alike_from_outside(tmp_path: Path) -> None:
    put(tmp_path, "CP1", password_hash=hash_of(PASSWORD))
    put(tmp_path, "CP2", enabled=False)

    async def run() -> None:
        async with serving(tmp_path, **ALL, admission__mode="table") as server:
            seen = set()
            for name in ("CP1", "CP2", "CP3"):
                with pytest.raises(websockets.InvalidStatus) as caught:
                    async with charger(server, name, **basic(name, b"guess")):
                        pass
                response = caught.value.response
                headers = {key.lower(): value for key, value in response.headers.raw_items()}
                headers.pop("date", None)
                seen.add((response.status_code, bytes(response.body), tuple(sorted(headers.items()))))
            assert len(seen) == 1

    asyncio.run(run())

"""Who comes in, under which name, with which settings, on which port; what of two connections becomes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets

from evproto.gateway.adapter import Adapter
from evproto.gateway.admission import Admitted, ChargerSettings, Knock, Refused
from evproto.gateway.app import Server, StartError
from evproto.gateway.config import ConfigError
from evproto.gateway.ocpp import OcppSide
from evproto.gateway.ocpp.known import FrameRing, Heard, KnownChargers
from evproto.gateway.ocpp.names import charger_name, identity_of
from gateway.live import WAIT, Running, serving
from gateway.ocpp_live import BOOTS, RawCharger, charger, start, transaction_event

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}


def side_of(running: Running) -> OcppSide:
    return next(side for side in running.server.sides if isinstance(side, OcppSide))


def adapter_of(running: Running, protocol: str) -> Any:
    return next(adapter for adapter in running.server.adapters if adapter.protocol == protocol)


class DoorOf:
    """A door that a test decides about."""

    def __init__(self, decide: Callable[[Knock], Admitted | Refused]) -> None:
        self.decide = decide
        self.knocks: list[Knock] = []

    async def ask(self, knock: Knock) -> Admitted | Refused:
        self.knocks.append(knock)
        return self.decide(knock)

    async def close(self) -> None:
        pass


def behind(door: DoorOf) -> Callable[[Any], Server]:
    """A server whose WebSocket side has this door."""

    class _Server(Server):
        def _make_sides(self) -> Any:
            assert self._outbox is not None
            return [OcppSide(self.config, self._outbox, self.metrics, forwarding=False, door=door)]

    return _Server


async def refused(running: Running, name: str, **more: Any) -> int:
    """The status that a charger is refused with."""
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with charger(running, name, **more):
            pass
    return caught.value.response.status_code


# --- names


def test_names_are_one_to_one() -> None:
    identities = [
        ("a",),
        ("a", "b"),
        ("a~b",),
        ("a/b",),
        ("a%7Eb",),
        ("a%2Fb",),
        ("%",),
        (".",),
        ("..",),
        ("...",),
        ("%2E",),
        ("Zürich 1",),
        ("a\x01",),
        ("a", "b~c"),
        ("a~b", "c"),
        ("a", "b", "c"),
    ]
    names = [charger_name(identity) for identity in identities]
    assert len(set(names)) == len(names)
    assert [identity_of(name) for name in names] == identities
    for name in names:
        assert "/" not in name
        assert name not in (".", "..")
        assert name.isprintable()
    assert charger_name(("CP1",)) == "CP1"
    assert charger_name(("north", "CP1")) == "north~CP1"
    assert charger_name(("a/b", "c~d")) == "a%2Fb~c%7Ed"


def test_tenants_are_in_the_name(tmp_path: Path) -> None:
    async def work() -> None:
        routes = ["/t/{tenant}/{id}", "/{id}"]
        async with (
            serving(tmp_path, **ALL, websocket__routes=routes) as running,
            charger(running, "CP1", path="/t/north/{}") as north,
            charger(running, "CP1", path="/t/south%2Feast/{}") as south,
            charger(running, "CP1", path="/{}") as plain,
        ):
            for one in (north, south, plain):
                await one.result("BootNotification", BOOTS["ocpp1.6"])
            adapter = adapter_of(running, "ocpp1.6")
            assert adapter.chargers() == ["CP1", "north~CP1", "south%2Feast~CP1"]
            # The API finds each of them by its name.
            for name in adapter.chargers():
                answer = await running.client.get(f"/chargers/{name.replace('%', '%25')}")
                assert answer.status_code == 200
                assert answer.json()["id"] == name
            assert await refused(running, "CP1", path="/no/such/way/{}") == 404
            assert await refused(running, "C" * 256, path="/{}") == 404

    asyncio.run(work())


# --- versions


def test_who_says_no_version(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running, protocol=None) as cp:
            assert (await cp.closed())[0] == 1002
        async with (
            serving(tmp_path, **ALL, websocket__default_version="ocpp1.6") as running,
            charger(running, protocol=None) as cp,
        ):
            assert cp.socket.subprotocol is None
            await cp.result("BootNotification", BOOTS["ocpp1.6"])
            assert adapter_of(running, "ocpp1.6").chargers() == ["CP1"]

    asyncio.run(work())


def test_only_what_is_switched_on_is_spoken(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(
            tmp_path, ykc__enabled=False, ocpp__enabled=True, ocpp__versions=["ocpp1.6"]
        ) as running:
            assert [adapter.protocol for adapter in running.server.adapters] == ["ocpp1.6"]
            async with charger(running, "CS1", "ocpp2.0.1") as cs:
                assert (await cs.closed())[0] == 1002

    asyncio.run(work())


# --- the door


def test_the_door_is_asked_and_its_settings_hold(tmp_path: Path) -> None:
    settings = {
        "CP1": ChargerSettings(heartbeat_interval=11, validation="strict"),
        "CP2": ChargerSettings(heartbeat_interval=22, validation="lenient"),
        "CP3": ChargerSettings(version="ocpp2.1"),
    }

    def decide(knock: Knock) -> Admitted | Refused:
        found = settings.get(knock.charger)
        return Refused("nobody knows it") if found is None else Admitted(found)

    door = DoorOf(decide)
    odd = {**BOOTS["ocpp1.6"], "colour": "red"}

    async def work() -> None:
        async with serving(tmp_path, make=behind(door), **ALL, ocpp__validation="off") as running:
            token = base64.b64encode(b"CP1:\x00\xff:x").decode()
            async with charger(running, "CP1", additional_headers={"Authorization": f"Basic {token}"}) as cp:
                (knock,) = door.knocks
                assert (knock.protocol, knock.version, knock.secure) == ("ocpp", "ocpp1.6", False)
                assert (knock.username, knock.password) == ("CP1", b"\x00\xff:x")
                assert knock.address.startswith("127.0.0.1:")
                assert (await cp.ask("BootNotification", odd))[0] == 4
                assert (await cp.result("BootNotification", BOOTS["ocpp1.6"]))["interval"] == 11
            async with charger(running, "CP2") as cp:
                assert (await cp.result("BootNotification", odd))["interval"] == 22
            # One that offers nothing speaks what is set for it.
            async with charger(running, "CP3", None) as cp:
                assert (await cp.result("BootNotification", BOOTS["ocpp2.1"]))["interval"] == 300
            async with charger(running, "CP2", "ntxcp1.0"):
                assert door.knocks[-1].protocol == "ntxcp"
            assert await refused(running, "CP4") == 401
            assert await running.metric('evproto_logins_total{outcome="refused",protocol="ocpp1.6"}') == 1.0
            assert adapter_of(running, "ocpp1.6").glance("CP4") is None

    asyncio.run(work())


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issue(authority: trustme.CA, folder: Path, *names: str, **more: Any) -> tuple[Path, Path]:
    made = authority.issue_cert(*names, **more)
    cert, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
    cert.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return cert, key


def test_plain_and_tls_side_by_side(tmp_path: Path, authority: trustme.CA) -> None:
    cert, key = issue(authority, tmp_path, "localhost", "127.0.0.1")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    tls = {"websocket__tls_port": 0, "websocket__tls_cert": str(cert), "websocket__tls_key": str(key)}

    async def work() -> None:
        async with serving(tmp_path, **ALL, **tls) as running:
            url = f"wss://127.0.0.1:{running.server.ports['wss']}"
            async with (
                charger(running, "CP1") as plain,
                charger(running, "CP2", url=url, ssl=context) as secure,
            ):
                for one in (plain, secure):
                    await one.result("BootNotification", BOOTS["ocpp1.6"])
                adapter = adapter_of(running, "ocpp1.6")
                assert [adapter.charger(name)["secure"] for name in ("CP1", "CP2")] == [False, True]
        async with serving(tmp_path, **ALL, **tls, websocket__plain=False) as running:
            assert list(running.server.ports) == ["wss"]

    asyncio.run(work())


def test_a_client_ca_asks_for_certificates_that_name_the_charger(
    tmp_path: Path, authority: trustme.CA
) -> None:
    cert, key = issue(authority, tmp_path, "localhost", "127.0.0.1")
    own, own_key = issue(authority, tmp_path, "cp1.example", common_name="CP1")
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    door = DoorOf(lambda knock: Admitted())

    async def work() -> None:
        async with serving(
            tmp_path,
            make=behind(door),
            **ALL,
            websocket__tls_port=0,
            websocket__tls_cert=str(cert),
            websocket__tls_key=str(key),
            websocket__tls_client_ca=str(ca),
        ) as running:
            url = f"wss://127.0.0.1:{running.server.ports['wss']}"
            context = ssl.create_default_context(cafile=str(ca))
            with pytest.raises((OSError, websockets.WebSocketException)):
                async with charger(running, "CP1", url=url, ssl=context) as cp:
                    await cp.result("Heartbeat", {})
            context.load_cert_chain(own, own_key)
            async with charger(running, "CP1", url=url, ssl=context) as cp:
                await cp.result("BootNotification", BOOTS["ocpp1.6"])
            certificate = door.knocks[-1].certificate
            assert certificate is not None
            assert ("commonName", "CP1") in [pair for entry in certificate["subject"] for pair in entry]
            assert await refused(running, "CP2", url=url, ssl=context) == 403

    asyncio.run(work())


def test_what_cannot_be_listened_on_is_said(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            port = running.server.ports["ws"]
            with pytest.raises(StartError, match=rf"websocket\.port: cannot listen on 127\.0\.0\.1:{port}"):
                async with serving(tmp_path / "other", **ALL, websocket__port=port):
                    pass
        wrong = tmp_path / "wrong.pem"
        wrong.write_text("nothing")
        with pytest.raises(ConfigError, match=r"websocket\.tls-cert"):
            async with serving(
                tmp_path,
                **ALL,
                websocket__tls_port=0,
                websocket__tls_cert=str(wrong),
                websocket__tls_key=str(wrong),
            ):
                pass
        with pytest.raises(ConfigError, match=r"'Hartbeat'; did you mean 'Heartbeat'"):
            async with serving(tmp_path, **ALL, forward__leave_out=["Hartbeat"]):
                pass
        with pytest.raises(ConfigError, match=r"websocket\.default-version: ocpp2\.1 is not spoken here"):
            async with serving(
                tmp_path,
                ykc__enabled=False,
                ocpp__enabled=True,
                ocpp__versions=["ocpp1.6"],
                websocket__default_version="ocpp2.1",
            ):
                pass
        with pytest.raises(ConfigError, match=r"websocket\.routes: \{id\} is the last name"):
            async with serving(tmp_path, **ALL, websocket__routes=["/{id}/of/{tenant}"]):
                pass
        with pytest.raises(ConfigError, match=r"ocpp\.ask.*'DataTransfr'; did you mean 'DataTransfer'"):
            async with serving(
                tmp_path,
                ykc__enabled=False,
                ocpp__enabled=True,
                ocpp__hook="http://127.0.0.1:9",
                ocpp__ask=["DataTransfr"],
            ):
                pass

    asyncio.run(work())


# --- limits and duplicates


def test_there_is_room_for_so_many(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, websocket__max_connections=2) as running,
            charger(running, "CP1"),
            charger(running, "CP2") as second,
        ):
            assert await refused(running, "CP3") == 503
            # Who is here already may connect again.
            async with charger(running, "CP2") as again:
                assert (await second.closed())[0] in (1008, 1006)
                assert (await again.result("Heartbeat", {}))["currentTime"]
            assert side_of(running).connections() <= 2

    asyncio.run(work())


class Watching:
    """Writes down who comes and goes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, object]] = []
        self.closes: dict[object, Callable[[str], None]] = {}
        self.news = asyncio.Condition()

    def came(self, adapter: Adapter, charger: str, connection: object, close: Callable[[str], None]) -> None:
        self.seen.append(("came", f"{adapter.protocol} {charger}", connection))
        self.closes[connection] = close

    def went(self, adapter: Adapter, charger: str, connection: object) -> None:
        self.seen.append(("went", f"{adapter.protocol} {charger}", connection))


def test_of_two_connections_the_newer_is_served(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running:
            presence = side_of(running).presence = Watching()
            events: list[Any] = []
            adapter = adapter_of(running, "ocpp1.6")
            adapter.watch(lambda sighting: events.append(sighting.event()))
            async with charger(running) as old:
                await old.result("BootNotification", BOOTS["ocpp1.6"])
                async with charger(running) as new:
                    await old.closed()
                    assert (await new.result("Heartbeat", {}))["currentTime"]
                    async with asyncio.timeout(WAIT):
                        while len(presence.seen) < 3:
                            await new.result("Heartbeat", {})
                    assert sorted(what for what, _, _ in presence.seen) == ["came", "came", "went"]
                    assert {who for _, who, _ in presence.seen} == {"ocpp1.6 CP1"}
                    gone = next(connection for what, _, connection in presence.seen if what == "went")
                    assert gone is presence.seen[0][2]
                    assert adapter.is_online("CP1")
                    said = [event for event in events if event.direction == "gateway"]
                    assert [event.kind for event in said] == ["online", "offline", "online"]
                    assert "replaced by a newer connection" in said[1].fields["reason"]
                    # Another node has it: its connection is closed from here.
                    newest = [connection for what, _, connection in presence.seen if what == "came"][-1]
                    presence.closes[newest]("it is connected to another node: " + "é" * 100)
                    code, reason = await new.closed()
                    assert code == 1008
                    assert re.fullmatch("it is connected to another node: é+", reason)

    asyncio.run(work())


def test_the_oldest_connection_may_be_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, websocket__duplicate="oldest") as running,
            charger(running) as cp,
        ):
            assert await refused(running, "CP1") == 409
            assert (await cp.result("Heartbeat", {}))["currentTime"]

    asyncio.run(work())


def test_who_says_nothing_any_more_is_offline(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(
            tmp_path, **ALL, websocket__ping_interval=0.2, websocket__ping_timeout=0.2
        ) as running:
            adapter = adapter_of(running, "ocpp1.6")
            gone = asyncio.Event()
            adapter.watch(lambda sighting: gone.set() if sighting.name == "offline" else None)
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.ports["ws"])
            # A handshake by hand: nothing answers pings.
            writer.write(
                b"GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
            )
            assert b" 101 " in await reader.readline()
            await asyncio.wait_for(gone.wait(), WAIT)
            assert "nothing was heard" in adapter.charger("CP1")["offline_reason"]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    asyncio.run(work())


# --- before they are accepted


@pytest.mark.parametrize("protocol", ["ocpp2.0.1", "ocpp2.1"])
def test_a_station_that_waits_may_say_what_it_is_asked_for(tmp_path: Path, protocol: str) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, ocpp__boot="pending") as running,
            charger(running, "CS1", protocol) as cs,
        ):
            adapter = adapter_of(running, protocol)
            boot = await cs.result("BootNotification", BOOTS[protocol])
            assert (boot["status"], boot["interval"]) == ("Pending", 60)
            assert adapter.glance("CS1").state == "waiting"
            status = {
                "timestamp": "2026-11-20T10:15:30Z",
                "connectorStatus": "Available",
                "evseId": 1,
                "connectorId": 1,
            }
            for name, payload in (
                ("StatusNotification", status),
                ("TransactionEvent", transaction_event("Started", 0)),
                ("Heartbeat", {}),
            ):
                assert (await cs.ask(name, payload))[:3:2] == [4, "SecurityError"]
            assert adapter.charger("CS1")["connectors"] == []
            prepared = adapter.prepare("CS1", "TriggerMessage", {"requestedMessage": "StatusNotification"})
            task = asyncio.create_task(adapter.perform(prepared, timeout=None, sent=lambda number: None))
            assert (await cs.answer({"status": "Accepted"}))[0] == "TriggerMessage"
            assert (await task).state == "accepted"
            assert await cs.result("StatusNotification", status) == {}
            # On a new connection it still waits.
            await cs.socket.close()
            async with charger(running, "CS1", protocol) as again:
                assert (await again.ask("Heartbeat", {}))[:3:2] == [4, "SecurityError"]

    asyncio.run(work())


def test_a_charge_point_of_1_6_that_waits_loses_no_record(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL, ocpp__boot="pending") as running, charger(running) as cp:
            assert (await cp.result("BootNotification", BOOTS["ocpp1.6"]))["status"] == "Pending"
            assert (await cp.result("StartTransaction", start()))["transactionId"] > 0

    asyncio.run(work())


# --- memory


def test_what_is_kept_of_a_charger_is_bounded(tmp_path: Path) -> None:
    async def flood(cp: RawCharger) -> None:
        for number in range(1, 300):
            await cp.result(
                "StatusNotification", {"connectorId": number, "errorCode": "NoError", "status": "Available"}
            )
            await cp.result("StartTransaction", start(connectorId=number))

    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, websocket__max_messages_per_second=100_000) as running,
            charger(running) as cp,
        ):
            await flood(cp)
            shown = adapter_of(running, "ocpp1.6").charger("CP1")
            assert len(shown["connectors"]) == 64
            assert len(shown["transactions"]) == 64
            # Each of them was stored all the same.
            assert await running.metric('evproto_records_total{outcome="stored",protocol="ocpp1.6"}') == 299

    asyncio.run(work())


def test_frames_and_chargers_are_forgotten() -> None:
    ring = FrameRing(3)
    for number in range(10):
        ring.append(Heard(float(number), True, b"x" * 10, 2, "Heartbeat", 10))
    assert [heard.time for heard in ring.last(10)] == [7.0, 8.0, 9.0]
    ring.append(Heard(11.0, True, b"x" * 1_000_000, 2, "DataTransfer", 1_000_000))
    (kept,) = ring.last(1)
    assert len(kept.data) < 100_000
    assert kept.size == 1_000_000
    many = FrameRing(1000)
    for number in range(1000):
        many.append(Heard(float(number), True, b"x" * 10_000, 2, "DataTransfer", 10_000))
    assert sum(len(heard.data) for heard in many.last(1000)) <= 64 << 10
    assert FrameRing(0).last(5) == []
    known = KnownChargers(limit=2, frames_kept=0)
    for name in ("a", "b", "a", "c"):
        known.meet(name, "ocpp1.6")
    assert [one.charger for one in known.of("ocpp1.6")] == ["a", "c"]


def test_a_message_that_is_too_long_ends_the_connection(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, websocket__max_message=2000) as running,
            charger(running) as cp,
            charger(running, "CP2") as other,
        ):
            vendor = {"vendorId": "v", "data": "x" * 1000}
            assert await cp.result("DataTransfer", vendor) == {"status": "UnknownVendorId"}
            await cp.send("DataTransfer", {"vendorId": "v", "data": "x" * 3000})
            assert (await cp.closed())[0] == 1009
            assert (await other.result("Heartbeat", {}))["currentTime"]

    asyncio.run(work())


def test_who_says_too_much_is_read_later(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            serving(tmp_path, **ALL, websocket__max_messages_per_second=100) as running,
            charger(running) as cp,
            charger(running, "CP2") as other,
        ):
            # 200 go at once; whoever has said a hundred more has to wait for a second.
            begun = asyncio.get_running_loop().time()
            for number in range(300):
                await cp.text(f'[2,"{number}","Heartbeat",{{}}]')
            answers = asyncio.create_task(heard(cp, 300))
            for _ in range(20):
                await other.result("Heartbeat", {})
            assert [frame[1] for frame in await answers] == [str(number) for number in range(300)]
            await cp.result("Heartbeat", {})
            assert asyncio.get_running_loop().time() - begun > 0.8

    async def heard(cp: RawCharger, count: int) -> list[Any]:
        return [await cp.read() for _ in range(count)]

    asyncio.run(work())

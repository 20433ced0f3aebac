"""What chargers say, in the one envelope: beside piles, to one back end, and what is shown without secrets."""

from __future__ import annotations

import asyncio
import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import nats
import pytest

from gateway.live import WAIT, Backend, serving
from gateway.nats_server import NatsServer
from gateway.ocpp_live import (
    BOOTS,
    MOMENT,
    charger,
    energy,
    start,
    stop,
    transaction_event,
)
from gateway.test_forwarding_ykc import record

ALL = {"ykc__enabled": False, "ocpp__enabled": True, "ntxcp__enabled": True}
SECRETS = {
    "idTag": "SECRETCARD1",
    "idToken": "SECRETTOKEN2",
    "iccid": "89860123456789012345",
    "csr": "-----BEGIN CERTIFICATE REQUEST-----MIIBsecretCSR3secretCSR3secretCSR3==",
    "password": "secret-pass-word-4",
}


def adapter_of(running: Any, protocol: str) -> Any:
    return next(adapter for adapter in running.server.adapters if adapter.protocol == protocol)


def forwarding(backend: Backend) -> dict[str, Any]:
    return {"forward__to": "http", "forward__servers": [backend.url]}


def test_one_back_end_gets_all_protocols_in_one_schema(tmp_path: Path) -> None:
    schema = json.loads((files("evproto.gateway") / "event.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )

    async def work() -> None:
        async with (
            Backend() as backend,
            serving(
                tmp_path, ykc__enabled=True, ocpp__enabled=True, ntxcp__enabled=True, **forwarding(backend)
            ) as running,
        ):
            pile = await running.pile()
            pile.send(0x3B, record(7))
            await pile.expect(0x40)
            async with (
                charger(running, "CP1") as cp,
                charger(running, "CS1", "ocpp2.0.1") as cs,
                charger(running, "CS2", "ocpp2.1") as newer,
                charger(running, "GW1", "ntxcp1.0") as gw,
            ):
                for one, protocol in zip((cp, cs, newer, gw), BOOTS, strict=True):
                    await one.result("BootNotification", BOOTS[protocol])
                number = (await cp.result("StartTransaction", start()))["transactionId"]
                await cp.result("StopTransaction", stop(number))
                for one in (cs, newer):
                    await one.result("TransactionEvent", transaction_event("Started", 0))
                    await one.result(
                        "TransactionEvent", transaction_event("Ended", 1, meterValue=[energy(5)])
                    )
                stream = {"id": 1, "pending": 0, "basetime": MOMENT, "data": [{"t": 1.5, "v": "3"}]}
                await newer.send("NotifyPeriodicEventStream", stream, kind=6)
                await gw.result(
                    "StatusNotification", {"serviceId": "s1", "errorCode": "NoError", "status": "Available"}
                )
                # A command, and what the charger answers to it.
                prepared = adapter_of(running, "ocpp1.6").prepare("CP1", "GetConfiguration", {"key": ["a"]})
                task = asyncio.create_task(
                    adapter_of(running, "ocpp1.6").perform(prepared, timeout=None, sent=lambda number: None)
                )
                await cp.answer({"unknownKey": ["a"]})
                await task
                await cp.text("[nonsense")
                await cp.read()
                wanted = {
                    ("ykc1.6", "record", "transaction_record"),
                    ("ykc1.6", "online", "online"),
                    ("ocpp1.6", "message", "BootNotification"),
                    ("ocpp1.6", "record", "StartTransaction"),
                    ("ocpp1.6", "record", "StopTransaction"),
                    ("ocpp1.6", "message", "GetConfigurationResponse"),
                    ("ocpp1.6", "error", ""),
                    ("ocpp2.0.1", "record", "TransactionEvent"),
                    ("ocpp2.1", "record", "TransactionEvent"),
                    ("ocpp2.1", "message", "NotifyPeriodicEventStream"),
                    ("ntxcp1.0", "message", "StatusNotification"),
                    ("ntxcp1.0", "online", "online"),
                }

                def seen() -> set[Any]:
                    return {(body["protocol"], body["kind"], body["name"]) for _, _, body in backend.got}

                await backend.until(lambda path, body: wanted <= seen(), 1)
            await backend.until(
                lambda path, body: (body["protocol"], body["kind"]) == ("ntxcp1.0", "offline"), 1
            )
            for _, _, body in backend.got:
                validator.validate(body)
            ended = [
                body
                for _, _, body in backend.got
                if body["charger"] == "CS1" and body["fields"].get("eventType") == "Ended"
            ]
            assert ended[0]["fields"]["meterValue"] == [energy(5)]
            assert ended[0]["key"] == "event|TX-1|1"
            assert ended[0]["raw"].startswith('[2, "')
            # In the order in which each of them spoke.
            names = [body["name"] for _, _, body in backend.got if body["charger"] == "CP1"]
            assert names[:4] == ["online", "BootNotification", "StartTransaction", "StopTransaction"]

    asyncio.run(work())


def test_what_is_odd_is_told_and_put_right(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, **ALL, **forwarding(backend)) as running,
            charger(running) as cp,
            charger(running, "GW1", "ntxcp1.0") as gw,
        ):
            await cp.result("BootNotification", {**BOOTS["ocpp1.6"], "colour": "red", "iccid": "x" * 30})
            # Another name of dingxGatewayModel.
            await gw.result("BootNotification", {"chargePointModel": "Ding"})
            (boot,) = await backend.until(
                lambda path, body: (body["charger"], body["name"]) == ("CP1", "BootNotification")
            )
            assert {(one["kind"], one["path"]) for one in boot["findings"]} == {
                ("additionalProperties", "colour"),
                ("maxLength", "iccid"),
            }
            assert boot["fields"]["colour"] == "red"
            (boot,) = await backend.until(
                lambda path, body: (body["charger"], body["name"]) == ("GW1", "BootNotification")
            )
            assert boot["fields"] == {"dingxGatewayModel": "Ding"}
            assert json.loads(boot["raw"])[3] == {"chargePointModel": "Ding"}
            assert [one["kind"] for one in boot["findings"]] == ["alias"]

    asyncio.run(work())


def test_what_is_refused_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, **ALL, ocpp__validation="strict", **forwarding(backend)) as running,
            charger(running) as cp,
        ):
            assert (await cp.ask("BootNotification", {"chargePointVendor": "A"}, "id7"))[0] == 4
            (told,) = await backend.until(lambda path, body: body["kind"] == "error")
            assert (told["name"], told["sequence"], told["fields"]) == ("BootNotification", "id7", None)
            assert told["findings"][0]["path"] == "chargePointModel"
            assert json.loads(told["raw"])[1] == "id7"
            assert await running.metric('evproto_bad_frames_total{error="PayloadError"}') == 1.0

    asyncio.run(work())


def test_what_is_left_out_is_answered_and_not_forwarded(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, **ALL, forward__leave_out=["Heartbeat"], **forwarding(backend)) as running,
            charger(running) as cp,
        ):
            for _ in range(3):
                assert (await cp.result("Heartbeat", {}))["currentTime"]
            await cp.result("BootNotification", BOOTS["ocpp1.6"])
            await backend.until(lambda path, body: body["name"] == "BootNotification")
            assert "Heartbeat" not in {body["name"] for _, _, body in backend.got}

    asyncio.run(work())


def test_nobody_sees_secrets_who_does_not_ask_for_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "evproto")

    async def work() -> None:
        async with Backend() as backend, serving(tmp_path, **ALL, **forwarding(backend)) as running:
            first, second = (adapter_of(running, name) for name in ("ocpp1.6", "ocpp2.0.1"))
            seen: list[Any] = []
            for adapter in (first, second):
                adapter.watch(lambda sighting: seen.append(sighting.event()))
            async with charger(running) as cp, charger(running, "CS1", "ocpp2.0.1") as cs:
                await cp.result("BootNotification", {**BOOTS["ocpp1.6"], "iccid": SECRETS["iccid"]})
                await cp.result("Authorize", {"idTag": SECRETS["idTag"]})
                await cp.result("StartTransaction", start(idTag=SECRETS["idTag"]))
                await cp.result("SignCertificate", {"csr": SECRETS["csr"]})
                token = {"idToken": SECRETS["idToken"], "type": "ISO14443"}
                await cs.result("TransactionEvent", transaction_event("Started", 0, idToken=token))
                await cp.text(f'[2,"broken","Authorize",{{"idTag":"{SECRETS["idTag"]}"')
                await cp.read()
                body = {"key": "AuthorizationKey", "value": SECRETS["password"]}
                prepared = first.prepare("CP1", "ChangeConfiguration", body)
                assert prepared.fields == body
                assert prepared.shown == {"key": "AuthorizationKey", "value": "***"}
                task = asyncio.create_task(first.perform(prepared, timeout=None, sent=lambda number: None))
                await cp.answer({"status": "Accepted"})
                assert (await task).state == "accepted"
                # What is asked for with a right is all there.
                revealed = json.dumps(first.frames("CP1", 100, reveal=True), default=str) + json.dumps(
                    second.frames("CS1", 100, reveal=True), default=str
                )
                for name, secret in SECRETS.items():
                    assert secret in revealed, name
                shown = json.dumps(
                    [
                        first.frames("CP1", 100, reveal=False),
                        second.frames("CS1", 100, reveal=False),
                        first.charger("CP1"),
                        second.charger("CS1"),
                        [event.to_json().decode() for event in seen],
                        [sighting.event().to_json().decode() for sighting in first.recent(100)],
                        [repr(first.glance("CP1")), repr(second.glance("CS1"))],
                        caplog.text,
                    ],
                    default=str,
                )
                assert "StartTransaction" in shown
                for name, secret in SECRETS.items():
                    assert secret not in shown, name
                await backend.until(lambda path, body: body["kind"] == "error")
                forwarded = json.dumps([body for _, _, body in backend.got])
                for name in ("idTag", "idToken", "iccid"):
                    assert SECRETS[name] in forwarded

    asyncio.run(work())


def test_watchers_see_every_frame_and_taps_get_its_bytes(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, **ALL) as running, charger(running) as cp:
            adapter = adapter_of(running, "ocpp1.6")
            names: list[str] = []
            tapped: list[Any] = []
            end_watch = adapter.watch(lambda sighting: names.append(sighting.name))
            end_tap = adapter.tap(lambda *frame: tapped.append(frame))
            await cp.text('[2, "7", "Heartbeat", {}]')
            answer = await cp.socket.recv()
            assert names == ["Heartbeat", "HeartbeatResponse"]
            assert [frame[:4] for frame in tapped] == [
                ("ocpp1.6", "CP1", True, b'[2, "7", "Heartbeat", {}]'),
                ("ocpp1.6", "CP1", False, str(answer).encode()),
            ]
            end_watch()
            end_tap()
            await cp.result("Heartbeat", {})
            assert (len(names), len(tapped)) == (2, 2)
            frames = adapter.frames("CP1", 2, reveal=True)
            assert [frame["direction"] for frame in frames] == ["from_charger", "to_charger"]
            assert [frame["name"] for frame in frames] == ["Heartbeat", "HeartbeatResponse"]
            assert adapter.frames("CP2", 2, reveal=True) is None
            assert [sighting.name for sighting in adapter.recent(1)] == ["HeartbeatResponse"]
            line = 'evproto_messages_total{direction="in",message="Heartbeat",protocol="ocpp1.6"}'
            text = (await running.client.get("/metrics")).text
            assert f"{line} 2.0" in text

    asyncio.run(work())


def test_numbers_beyond_everybody_do_no_harm(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            Backend() as backend,
            serving(tmp_path, **ALL, ocpp__validation="off", **forwarding(backend)) as running,
            charger(running) as cp,
        ):
            await cp.text(f'[2,"n1","StopTransaction",{{"transactionId":{10**40},"meterStop":1.5}}]')
            assert (await cp.read())[:2] == [3, "n1"]
            await cp.text('[2,"n2","StatusNotification",{"connectorId":[],"status":{"a":1}}]')
            assert (await cp.read())[:2] == [3, "n2"]
            await cp.text('[2,"n3","MeterValues",{"connectorId":1,"meterValue":"none"}]')
            assert (await cp.read())[:2] == [3, "n3"]
            (told,) = await backend.until(lambda path, body: body["sequence"] == "n1")
            assert str(10**40) in told["raw"]
            async with asyncio.timeout(WAIT):
                assert (await cp.result("Heartbeat", {}))["currentTime"]

    asyncio.run(work())


def test_events_over_nats(tmp_path: Path) -> None:
    """Records are in JetStream, and everything is on a subject that has the names in it, whatever they are."""

    async def work(server: NatsServer) -> None:
        listener = await nats.connect(server.url)
        got: dict[str, Any] = {}
        news = asyncio.Condition()

        async def on_message(message: Any) -> None:
            async with news:
                got[message.subject] = json.loads(message.data)
                news.notify_all()

        await listener.subscribe("evproto.>", cb=on_message)
        await listener.flush()
        settings = {"forward__to": "nats", "forward__servers": [server.url]}
        async with (
            serving(tmp_path, **ALL, **settings, websocket__routes=["/{tenant}/{id}"]) as running,
            charger(running, "C.P*1", path="/no%2Frth/{}") as cp,
        ):
            assert await cp.result("StopTransaction", stop(5)) == {}
            await cp.text("[")
            await cp.read()
            charger_token = "no=252Frth=7EC=2EP=2A1"
            wanted = {
                f"evproto.record.ocpp1=2E6.{charger_token}.StopTransaction",
                f"evproto.error.ocpp1=2E6.{charger_token}.=",
                f"evproto.online.ocpp1=2E6.{charger_token}.online",
            }
            async with asyncio.timeout(WAIT), news:
                await news.wait_for(lambda: wanted <= got.keys())
            info = await listener.jetstream().stream_info("EVPROTO")
            assert info.state.messages == 1
            record_event = got[f"evproto.record.ocpp1=2E6.{charger_token}.StopTransaction"]
            assert record_event["charger"] == "no%2Frth~C.P*1"
            assert record_event["fields"] == stop(5)
        await listener.close()

    folder = tmp_path / "nats"
    folder.mkdir()
    with NatsServer(folder) as server:
        asyncio.run(work(server))

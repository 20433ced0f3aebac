"""Events to a real nats-server, which is killed and comes back; and subjects for any identity."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.gateway.events import Event
from evproto.gateway.nats_sink import (
    NatsMessage,
    NatsSink,
    NatsStream,
    _covered,
    envelope,
    escape_token,
    unescape_token,
)
from evproto.gateway.outbox import DeliverySettings, Outbox
from evproto.gateway.sink import Sink, SinkError, SinkRefusedError, SinkUnavailableError
from gateway.nats_server import NatsServer
from gateway.outbox_helpers import event, run, until

STREAM = NatsStream(duplicate_window=3600.0)
SETTINGS = DeliverySettings(backoff=0.05, backoff_limit=0.5, batch=16)


async def stored(server: NatsServer, stream: str = "EVPROTO") -> list[Event]:
    """What is in a stream, read by a client of its own."""
    client = await nats.connect(server.url)
    try:
        jetstream = client.jetstream()
        count = (await jetstream.stream_info(stream)).state.messages
        found = [await jetstream.get_msg(stream, seq) for seq in range(1, count + 1)]
        return [Event.from_json(message.data or b"") for message in found]
    finally:
        await client.close()


def test_records_are_in_the_stream_once_and_messages_are_heard(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        listener = await nats.connect(server.url)
        subscription = await listener.subscribe("evproto.>")
        await listener.flush()
        sink = NatsSink([server.url], stream=STREAM)
        assert isinstance(sink, Sink)
        events = [
            event("p 1", "message", name="Heartbeat"),
            event("p 1"),
            event("p 1", "online", name=""),
            event("p 1"),
        ]
        await sink.deliver(events)
        await sink.deliver(events)
        assert sink.duplicates == 2
        assert await stored(server) == [events[1], events[3]]
        heard = [await subscription.next_msg(timeout=20) for _ in range(8)]
        assert [Event.from_json(message.data) for message in heard] == events * 2
        assert [message.subject for message in heard[:3]] == [
            "evproto.message.ykc1=2E6.p=201.Heartbeat",
            "evproto.record.ykc1=2E6.p=201.TransactionRecord",
            "evproto.online.ykc1=2E6.p=201.=",
        ]
        assert heard[0].headers == {"Nats-Msg-Id": events[0].id}
        await sink.close()
        await listener.close()

    with NatsServer(tmp_path) as server:
        run(scenario(server))


def test_subjects_of_ykc_proxy_server_with_a_stream_on_the_records(tmp_path: Path) -> None:
    def shape(made: Event) -> NatsMessage | None:
        return (
            None if made.kind == "online" else NatsMessage(f"charge.proxy.ykc.{made.code[2:].lower()}", b"{}")
        )

    async def scenario(server: NatsServer) -> None:
        listener = await nats.connect(server.url)
        subscription = await listener.subscribe("charge.proxy.ykc.*")
        await listener.flush()
        stream = NatsStream(name="RECORDS", subjects=("charge.proxy.ykc.3b", "charge.proxy.ykc.3d"))
        sink = NatsSink([server.url.removeprefix("nats://")], shape=shape, stream=stream)
        await sink.deliver([event(kind="online"), event(kind="message", code="0x03"), event(code="0x3B")])
        heard = [(await subscription.next_msg(timeout=20)).subject for _ in range(2)]
        assert heard == ["charge.proxy.ykc.03", "charge.proxy.ykc.3b"]
        assert (await listener.jetstream().stream_info("RECORDS")).state.messages == 1
        await sink.close()
        await listener.close()

    with NatsServer(tmp_path) as server:
        run(scenario(server))


def test_without_a_stream_records_are_plain_messages(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        listener = await nats.connect(server.url)
        subscription = await listener.subscribe("evproto.record.>")
        await listener.flush()
        sink = NatsSink([server.url], stream=None)
        made = event()
        await sink.deliver([made])
        assert Event.from_json((await subscription.next_msg(timeout=20)).data) == made
        await sink.close()
        await listener.close()

    with NatsServer(tmp_path) as server:
        run(scenario(server))


def test_nobody_there_is_an_unavailable_sink(tmp_path: Path) -> None:
    async def scenario() -> None:
        sink = NatsSink(["nats://127.0.0.1:9"], timeout=1.0)
        with pytest.raises(SinkUnavailableError, match=re.escape("127.0.0.1:9")):
            await sink.deliver([event()])
        await sink.close()

    run(scenario())


def test_a_wrong_password_is_said(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        wrong = NatsSink([server.url], username="u", password="no", timeout=2.0)
        with pytest.raises(SinkUnavailableError, match=r"(?i)authoriz"):
            await wrong.deliver([event()])
        await wrong.close()
        right = NatsSink([server.url], username="u", password="yes")
        await right.deliver([event()])
        await right.close()

    with NatsServer(tmp_path, "--user", "u", "--pass", "yes") as server:
        run(scenario(server))


def test_a_client_that_swallows_a_cancellation_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``asyncio.wait_for`` may make it do before Python 3.12, when its own time is up in the same moment."""

    async def stubborn(self: Any, **options: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        await asyncio.get_running_loop().create_future()

    async def scenario() -> None:
        sink = NatsSink(["nats://127.0.0.1:9"], timeout=0.05)
        with pytest.raises(SinkUnavailableError, match="cannot connect"):
            await sink.deliver([event()])
        await sink.close()

    monkeypatch.setattr("nats.aio.client.Client.connect", stubborn)
    run(scenario())


def test_a_stream_that_would_not_do_is_said(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="SHORT", subjects=["evproto.record.>"], duplicate_window=120)
        sink = NatsSink([server.url], stream=NatsStream(name="SHORT", duplicate_window=3600))
        with pytest.raises(SinkUnavailableError, match="repetitions for 120 s, 3600 s"):
            await sink.deliver([event()])
        await jetstream.delete_stream("SHORT")
        await jetstream.add_stream(name="OTHER", subjects=["elsewhere"], duplicate_window=3600)
        sink = NatsSink([server.url], stream=NatsStream(name="OTHER", duplicate_window=3600))
        with pytest.raises(SinkUnavailableError, match=r"does not collect evproto\.record\.>"):
            await sink.deliver([event()])
        # It was mended.
        await jetstream.delete_stream("OTHER")
        await sink.deliver([event()])
        await sink.close()
        # Somebody takes the stream away later.
        await jetstream.delete_stream("OTHER")
        sink = NatsSink([server.url], stream=STREAM, shape=lambda made: NatsMessage("nowhere", b""))
        with pytest.raises(SinkError, match="no stream takes nowhere"):
            await sink.deliver([event()])
        await sink.close()
        await client.close()

    with NatsServer(tmp_path) as server:
        run(scenario(server))


def test_what_is_larger_than_the_server_takes_is_refused(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        sink = NatsSink([server.url], stream=STREAM)
        small, large = event(), event(raw="00" * 1_000_000)
        with pytest.raises(SinkRefusedError) as caught:
            await sink.deliver([small, large, small])
        assert caught.value.delivered == 1
        message = event(kind="message")
        with pytest.raises(SinkError) as unsure:
            await sink.deliver([message, event(kind="message", raw="00" * 1_000_000)])
        assert not isinstance(unsure.value, SinkRefusedError)
        with pytest.raises(SinkRefusedError):
            await sink.deliver([event(kind="message", raw="00" * 1_000_000)])
        await sink.close()

    with NatsServer(tmp_path) as server:
        run(scenario(server))


def test_a_server_that_is_killed_loses_no_record_and_stores_none_twice(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()

    async def scenario(server: NatsServer) -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = NatsSink([server.url], stream=STREAM, timeout=1.0)
            await outbox.deliver(sink, SETTINGS)
            progress = outbox.counts().sinks["nats"]
            for outage in range(3):
                enough = progress.delivered + 5
                burst = [event(f"c{n % 6}", sequence=outage * 60 + n) for n in range(60)]
                await asyncio.gather(*map(outbox.put, burst))
                await until(lambda enough=enough: progress.delivered >= enough)  # type: ignore[misc]
                await asyncio.to_thread(server.kill)
                # The outage is no concern of the chargers.
                await outbox.put(event("late", sequence=outage))
                await asyncio.to_thread(server.start)
            await outbox.drained()
            assert await outbox.dead() == []
        found = await stored(server)
        assert len(found) == len({made.id for made in found}) == 183
        for charger in range(6):
            sequences = [made.sequence for made in found if made.charger == f"c{charger}"]
            assert sequences == list(range(charger, 180, 6))

    with NatsServer(tmp_path / "nats") as server:
        run(scenario(server))


def test_after_a_kill_of_this_process_jetstream_drops_the_repetition(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()

    class Forgetful(NatsSink):
        async def deliver(self, events: object) -> None:
            await super().deliver(events)  # type: ignore[arg-type]
            raise SinkError("the process ends before it can write down what has arrived")

    async def scenario(server: NatsServer) -> None:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            await outbox.deliver(Forgetful([server.url], stream=STREAM), SETTINGS)
            made = event()
            await outbox.put(made)
            await until(lambda: outbox.counts().sinks["nats"].failures >= 2)
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = NatsSink([server.url], stream=STREAM)
            await outbox.deliver(sink, SETTINGS)
            await outbox.drained()
            assert sink.duplicates == 1
        assert await stored(server) == [made]

    with NatsServer(tmp_path / "nats") as server:
        run(scenario(server))


@given(st.text())
def test_any_text_is_a_token_and_comes_back(text: str) -> None:
    token = escape_token(text)
    # What both a subject and a key of a KV bucket take.
    assert re.fullmatch(r"[-=_a-zA-Z0-9]+", token)
    assert unescape_token(token) == text


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("55031412782305", "55031412782305"),
        ("a.b", "a=2Eb"),
        ("*", "=2A"),
        (">", "=3E"),
        ("", "="),
        ("桩", "=E6=A1=A9"),
        ("a=b", "a=3Db"),
    ],
)
def test_tokens(text: str, token: str) -> None:
    assert escape_token(text) == token


@pytest.mark.parametrize("token", ["", "a.b", "=4", "=2e", "=41", "=="])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="no escaped token"):
        unescape_token(token)


@pytest.mark.parametrize(
    ("subject", "pattern", "covered"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.*", True),
        ("a.b.c", "a.*", False),
        ("a.b.c", "a.>", True),
        ("a", "a.>", False),
        ("a.>", "a.>", True),
        ("a.b.>", "a.>", True),
        ("a.>", "a.b.>", False),
        ("a.>", "a.*", False),
        ("a.*", "a.b", False),
        ("a.*", "a.*", True),
        ("a.*", ">", True),
        ("a.b", "a.b.c", False),
    ],
)
def test_which_subjects_a_stream_collects(subject: str, pattern: str, covered: bool) -> None:
    assert _covered(subject, ["x", pattern]) is covered


def test_a_shape_makes_subjects_of_odd_identities() -> None:
    made = envelope("acme")(event("a.b *>\u4e91", name="Stop Transaction"))
    assert made is not None
    assert made.subject == "acme.record.ykc1=2E6.a=2Eb=20=2A=3E=E4=BA=91.Stop=20Transaction"

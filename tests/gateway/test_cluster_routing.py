"""Commands between nodes when messages are lost on the way, and what the registry makes of odd entries."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.aio.nats import unescape
from evproto.aio.plugins.nats_link import LinkError, NatsLink
from evproto.gateway.cluster.buckets import Bucket, BucketError, RevisionError, Watch
from evproto.gateway.cluster.records import same_from_all_nodes
from evproto.gateway.cluster.registry import key_of
from evproto.gateway.config import Layer, load
from evproto.gateway.nats_sink import NatsSink, NatsStream, envelope
from gateway.cluster_support import cluster, holder, nodes, registry, until
from gateway.live import PILE, RawPile, Running
from gateway.nats_server import NatsServer
from gateway.outbox_helpers import event
from gateway.test_cluster import obey, obeyed, run, stop

Meddler = Callable[[Callable[[], Awaitable[bytes]], bytes], Awaitable[bytes]]


def meddle(running: Running, meddler: Meddler) -> None:
    """Have something happen to the requests that a node sends to other nodes."""
    link: NatsLink = cluster(running).link
    plain = link.request

    async def request(subject: str, data: bytes, timeout: float, *more: Any) -> bytes:
        async def send() -> bytes:
            return await plain(subject, data, timeout, *more)

        return await (meddler(send, data) if ".node." in subject else send())

    link.request = request  # type: ignore[method-assign]


def kind_of(data: bytes) -> str:
    return str(msgspec.json.decode(data)["type"])


async def apart(nats: NatsServer, a: Running, b: Running) -> RawPile:
    """A pile at b, of which a knows."""
    pile = await b.pile()
    await until(lambda: holder(a, PILE) == "b")
    return pile


def test_a_command_whose_taking_was_not_heard_of_is_carried_out_once(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await apart(nats, a, b)
            asked: list[str] = []

            async def deaf(send: Callable[[], Awaitable[bytes]], data: bytes) -> bytes:
                asked.append(kind_of(data))
                answer = await send()
                if asked[-1] == "run":
                    raise LinkError("late", "no answer within 5 s")
                return answer

            meddle(a, deaf)
            answering = stop(a)
            await until(lambda: asked[:2] == ["run", "ask"])
            await obey(pile)
            assert (await answering).json()["state"] == "accepted"
            # Nothing else comes.
            await pile.nothing_before(0x04, lambda: pile.send(0x03, bytes.fromhex(f"{PILE} 01 00")))
            assert [frame[0] for frame in pile.seen].count(0x36) == 1

    run(tmp_path, scenario)


def test_a_command_that_did_not_arrive_ends_and_is_not_carried_out_later(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await apart(nats, a, b)
            on_the_way: list[Callable[[], Awaitable[bytes]]] = []

            async def slow(send: Callable[[], Awaitable[bytes]], data: bytes) -> bytes:
                if kind_of(data) != "run":
                    return await send()
                on_the_way.append(send)
                raise LinkError("lost", "the connection to NATS was lost")

            meddle(a, slow)
            answer = await stop(a)
            assert answer.json()["code"] == "disconnected"
            assert "does not know the command" in answer.json()["detail"]
            # It comes after all: too late.
            said = msgspec.json.decode(await on_the_way[0]())
            assert (said["taken"], said["text"]) == (False, "it came too late")
            before = await pile.nothing_before(0x04, lambda: pile.send(0x03, bytes.fromhex(f"{PILE} 01 00")))
            assert [frame[0] for frame in before if frame[0] == 0x36] == []

    run(tmp_path, scenario)


def test_an_end_that_was_lost_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evproto.gateway.cluster.routing._CHECK", 0.2)

    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await apart(nats, a, b)

            async def mute(send: Callable[[], Awaitable[bytes]], data: bytes) -> bytes:
                if kind_of(data) == "ended":
                    raise LinkError("nobody", "nobody is there to answer")
                return await send()

            meddle(b, mute)
            await obeyed(a, pile)

    run(tmp_path, scenario)


def test_a_command_under_way_survives_an_outage_of_nats(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await apart(nats, a, b)
            asked = stop(a)
            _, sequence, _ = await pile.expect(0x36)
            await asyncio.to_thread(nats.kill)
            await until(lambda: not registry(a).ready.is_set() and not registry(b).ready.is_set())
            pile.send(0x35, bytes.fromhex(f"{PILE} 01 01 00"), sequence)
            await until(lambda: cluster(b).router.running == 0)
            await asyncio.to_thread(nats.start)
            answer = await asked
            assert (answer.status_code, answer.json()["state"]) == (200, "accepted")

    run(tmp_path, scenario)


def test_what_is_too_large_for_nats_is_said(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            pile = await apart(nats, a, b)
            cluster(a).link._client._max_payload = 300
            answer = await stop(a)
            assert answer.json()["state"] == "rejected"
            assert "a message of" in answer.json()["text"]
            cluster(a).link._client._max_payload = 1 << 20
            # An answer that does not fit is left out, and what became of the command is not.
            cluster(b).link._client._max_payload = 1100
            asked = stop(a)
            await obey(pile)
            said = (await asked).json()
            assert (said["state"], said["answer"]) == ("accepted", None)
            assert "larger than NATS takes" in said["text"]
            cluster(b).link._client._max_payload = 1 << 20

    run(tmp_path, scenario)


def test_a_charger_that_comes_and_goes_all_the_time_is_as_it_was_last(tmp_path: Path) -> None:
    async def scenario(nats: NatsServer) -> None:
        async with nodes(nats, tmp_path, "a", "b") as (a, b):
            announcer = cluster(a).announcer
            closed: list[str] = []
            connections = [object() for _ in range(40)]
            for round in range(20):
                for number, connection in enumerate(connections):
                    announcer.came("ykc", f"c{number}", "1.6", connection, closed.append)
                    if (round + number) % 3:
                        announcer.went("ykc", f"c{number}", connection)
                if round % 5 == 0:
                    # Some of it is being written when it changes again.
                    await asyncio.sleep(0)
            await announcer.settled()
            present = {f"c{number}" for number in range(40) if not (19 + number) % 3}
            await until(lambda: set(registry(b).chargers("ykc")) == present)
            assert set(registry(a).chargers("ykc")) == present
            assert closed == []
            for number, connection in enumerate(connections):
                announcer.went("ykc", f"c{number}", connection)
            await announcer.settled()
            await until(lambda: registry(b).count() == 0)

    run(tmp_path, scenario)


def test_of_chargers_that_have_left_nothing_stays_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(server: NatsServer) -> None:
        settings = {"cluster__lease": 5}
        async with nodes(server, tmp_path, "a", "b", **settings) as (a, b):
            client = await nats.connect(server.url)
            stream = client.jetstream().stream_info
            announcer = cluster(b).announcer
            connections = {f"c{number}": object() for number in range(60)}
            for name, connection in connections.items():
                announcer.came("ykc", name, "", connection, print)
            await announcer.settled()
            for name, connection in connections.items():
                announcer.went("ykc", name, connection)
            announcer.came("ykc", "stays", "", announcer, print)
            await announcer.settled()
            assert (await stream("KV_evproto_chargers")).state.messages == 61
            stale = registry(b).revision(key_of("ykc", "c7"))
            assert stale
            monkeypatch.setattr("evproto.gateway.cluster.registry._FORGOTTEN", 0.0)
            async with asyncio.timeout(30):
                while (await stream("KV_evproto_chargers")).state.messages > 1:
                    await asyncio.sleep(0.05)
            assert registry(a).chargers("ykc") == ["stays"]
            # One of them comes again, to a node that thinks it knows the revision of its deletion.
            registry(b)._deleted[key_of("ykc", "c7")] = stale, 0.0
            announcer.came("ykc", "c7", "", announcer, print)
            await announcer.settled()
            await until(lambda: holder(a, "c7") == "b")
            # What was written since is not taken away.
            await registry(a).chargers_bucket.forget(key_of("ykc", "c7"), stale)
            assert await registry(a).look_up(key_of("ykc", "c7")) is not None
            await client.close()

    run(tmp_path, scenario)


def test_a_node_whose_entry_was_taken_away_announces_it_again(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        async with nodes(server, tmp_path, "a", "b") as (a, b):
            pile = await apart(server, a, b)
            old = registry(a).registered(key_of("ykc", PILE)).revision
            # As somebody does who took node b for dead.
            await registry(a).chargers_bucket.delete(key_of("ykc", PILE), last=old)
            await until(lambda: registry(a).revision(key_of("ykc", PILE)) > old + 1)
            assert holder(a, PILE) == "b"
            await obeyed(a, pile)

    run(tmp_path, scenario)


def test_what_somebody_else_writes_into_the_buckets_does_no_harm(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        async with nodes(server, tmp_path, "a", "b") as (a, b):
            pile = await apart(server, a, b)
            client = await nats.connect(server.url)
            jetstream = client.jetstream()
            chargers = await jetstream.key_value("evproto_chargers")
            for key, value in (("x", b"\xff"), ("a.b.c", b"{}"), ("ykc.1", b'{"node": 1}'), ("=4.x", b"[]")):
                await chargers.put(key, value)
            leases = await jetstream.key_value("evproto_nodes")
            await leases.put("x", b"nonsense")
            await client.publish("evproto.node.b.command", b"\xff nonsense")
            await client.publish("evproto.node.b.command", b'{"type": "ended", "id": "x"}')
            await client.flush()
            await obeyed(a, pile)
            # Plain tools of NATS see what is there.
            found = await chargers.get(key_of("ykc", PILE))
            assert msgspec.json.decode(found.value or b"")["node"] == "b"
            # What is no entry stands in nobody's way.
            other = "55031412782306"
            for key in (key_of("ykc", other), key_of("ykc", PILE)):
                await chargers.put(key, b"nonsense")
            other_pile = await b.pile(other)
            await until(lambda: holder(a, other) == holder(a, PILE) == "b")
            await obeyed(a, other_pile)
            await obeyed(a, pile)
            await client.close()

    run(tmp_path, scenario)


def test_a_record_that_comes_from_two_nodes_is_in_the_stream_once(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        stream = NatsStream(duplicate_window=3600.0)
        shape = same_from_all_nodes(envelope())
        sinks = [NatsSink([server.url], shape=shape, stream=stream) for _ in range(2)]
        first = event("p.1", key="4711", digest="one")
        again = msgspec.structs.replace(first, id=event("p.1").id)
        other = event("p.1", key="4711", digest="another")
        assert first.id != again.id
        await sinks[0].deliver([first])
        await sinks[1].deliver([again, other, event("p.1", "message")])
        assert [sink.duplicates for sink in sinks] == [0, 1]
        client = await nats.connect(server.url)
        assert (await client.jetstream().stream_info("EVPROTO")).state.messages == 2
        await client.close()
        for sink in sinks:
            await sink.close()

    run(tmp_path, scenario)


def test_a_bucket_is_written_on_condition_and_watched_without_gaps(tmp_path: Path) -> None:
    async def scenario(server: NatsServer) -> None:
        link = NatsLink(server.url, name="test", options={})
        await link.start(20.0)
        bucket = Bucket(link, "things", about="for a test")
        with pytest.raises(BucketError):
            await bucket.put("x", b"1")
        await bucket.ensure()
        await bucket.ensure()
        empty = Watch(bucket, lambda key, revision, value: None)
        await empty.start()
        assert empty.complete.is_set()
        assert await bucket.get("a.b") is None
        first = await bucket.put("a.b", b"1", last=0)
        with pytest.raises(RevisionError):
            await bucket.put("a.b", b"2", last=0)
        with pytest.raises(RevisionError):
            await bucket.delete("a.b", last=first + 1)
        assert await bucket.get("a.b") == (first, b"1")
        gone = await bucket.delete("a.b", last=first)
        assert await bucket.get("a.b") == (gone, None)
        second = await bucket.put("a.b", b"3", last=gone)
        told: list[tuple[str, int, bytes | None]] = []
        watch = Watch(bucket, lambda *entry: told.append(entry))
        await watch.start()
        await asyncio.wait_for(watch.complete.wait(), 20)
        assert told == [("a.b", second, b"3")]
        for number in range(1000):
            await bucket.put(f"n.{number % 10}", b"%d" % number)
        await until(lambda: len(told) == 1001)
        assert [value for _, _, value in told[1:]] == [b"%d" % number for number in range(1000)]
        assert [revision for _, revision, _ in told] == sorted(revision for _, revision, _ in told)
        # A message that does not arrive is noticed by the next one.
        running = asyncio.create_task(watch.run())
        watch._delivered -= 1
        await bucket.put("x", b"")
        await asyncio.wait_for(running, 20)
        assert watch.broken == "something was lost on the way"
        assert len(told) == 1001
        # Or by a heartbeat.
        empty._delivered -= 1
        await asyncio.wait_for(empty.run(), 20)
        # Somebody made the bucket to his liking: it is taken as it is.
        other = Bucket(link, "things", about="something else", keep=3600.0)
        await other.ensure()
        await other.put("y", b"")
        await link.close()

    run(tmp_path, scenario)


def test_a_password_in_the_url_of_nats_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: NatsServer) -> None:
        link = NatsLink(server.url.replace("//", "//me:secret@"), name="test", options={})
        await asyncio.to_thread(server.kill)
        await link.start(0.0)
        await until(lambda: link.problem)
        await link.close()

    run(tmp_path, scenario)
    assert "nats://***@127.0.0.1" in caplog.text
    assert "secret" not in caplog.text


def test_a_server_that_is_alone_has_no_part_in_this() -> None:
    program = (
        "import sys, evproto.gateway.app; "
        "sys.exit(any(name.startswith('evproto.gateway.cluster') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "confirm"),
    [
        ({}, "stored"),
        ({"forward.to": "nats", "forward.servers": "nats://h:1"}, "stored"),
        ({"cluster.servers": "nats://h:1"}, "stored"),
        ({"cluster.servers": "nats://h:1", "forward.to": "http", "forward.servers": "http://h/"}, "stored"),
        (
            {"cluster.servers": "nats://h:1", "forward.to": "nats", "forward.servers": "nats://h:1"},
            "delivered",
        ),
        (
            {
                "cluster.servers": "nats://h:1",
                "forward.to": "nats",
                "forward.servers": "nats://h:1",
                "forward.jetstream": "no",
            },
            "stored",
        ),
    ],
)
def test_when_records_are_confirmed_by_default(settings: dict[str, str], confirm: str) -> None:
    config = load(Layer(settings, {}))
    assert (config.ykc.confirm, config.ocpp.confirm) == (confirm, confirm)
    other = {"stored": "delivered", "delivered": "stored"}[confirm]
    if "forward.to" in settings:
        config = load(Layer({**settings, "ykc.confirm": other}, {}))
        assert (config.ykc.confirm, config.ocpp.confirm) == (other, confirm)


@given(st.text())
def test_any_identity_has_a_key_of_its_own(charger: str) -> None:
    protocol, _, name = key_of("ocpp1.6", charger).partition(".")
    assert (protocol, unescape(name)) == ("ocpp", charger)
    assert key_of("ocpp2.0.1", charger) == key_of("ocpp1.6", charger) != key_of("ykc", charger)

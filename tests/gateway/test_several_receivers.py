"""Events to HTTP and NATS at once: each gets everything, and a record is safe when both have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from evproto.gateway.config import Config, ConfigError, Layer, describe, environment_layer, file_layer, load
from gateway.live import PILE, WAIT, Backend, RawPile, serving
from gateway.nats_server import NatsServer
from gateway.test_forwarding_ykc import confirmed, record

HEARTBEAT = bytes.fromhex(f"{PILE} 01 00")


def of(**values: Any) -> Config:
    return load(Layer({f"forward.{name}": value for name, value in values.items()}, {}))


@pytest.mark.parametrize("to", ["http,nats", "nats, http", ["http", "nats"], "http,nats,http"])
def test_servers_are_told_apart_by_their_urls(to: Any) -> None:
    config = of(to=to, servers="nats://a:4222,https://b/x,tls://c,http://d")
    assert sorted(config.forward.kinds) == ["http", "nats"]
    assert config.forward.servers_of("http") == ("https://b/x", "http://d")
    assert config.forward.servers_of("nats") == ("nats://a:4222", "tls://c")


@pytest.mark.parametrize("to", ["none", "", []])
def test_nothing_is_forwarded(to: Any) -> None:
    # An empty variable is none at all; elsewhere it is an empty list.
    layer = Layer({"forward.to": to}, {}) if to != "" else environment_layer({"EVPROTO_FORWARD_TO": ""})
    config = load(layer)
    assert config.forward.kinds == ()
    assert describe(config)["forward.to"] == "none"


def test_a_file_may_have_a_word_or_a_list(tmp_path: Path) -> None:
    path = tmp_path / "evproto.toml"
    path.write_text("[forward]\nto = 'nats'\nservers = ['nats://a']\n")
    assert load(file_layer(path)).forward.kinds == ("nats",)
    path.write_text("[forward]\nto = ['nats', 'http']\nservers = ['nats://a', 'http://b']\n")
    assert describe(load(file_layer(path)))["forward.to"] == "nats,http"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"to": "htpp"}, "forward.to: 'htpp' is not one of none, http, nats; did you mean 'http'?"),
        ({"to": "http,nast"}, "forward.to: 'nast' is not one of none, http, nats; did you mean 'nats'?"),
        ({"to": "none,http", "servers": "http://a"}, "forward.to: none is not forwarded beside http"),
        ({"to": "http,nats"}, "forward.to: forwarding to http and nats needs servers: set forward.servers (--servers)"),
        ({"to": "http,nats", "servers": "http://a"}, "forward.to: forwarding to nats needs servers: set forward.servers (--servers)"),
        ({"to": "http,nats", "servers": "http://a,nats://b,amqp://c"}, "forward.servers: 'amqp://c' is no URL; write http://c or nats://c"),
        ({"to": "http,nats", "servers": "http://a,nats://b", "password": "x"}, "forward.password: there are servers of two kinds: write it into the URLs it is for, as in nats://user:password@host:4222"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(**values)
    assert caught.value.problems == (said,)


async def eventually(wanted: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT):
        while not await wanted():
            await asyncio.sleep(0.02)


async def not_confirmed(pile: RawPile) -> None:
    assert await pile.nothing_before(0x04, lambda: pile.send(0x03, HEARTBEAT)) == []


def test_a_record_is_confirmed_when_both_have_it(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    folder.mkdir()

    async def run(broker: NatsServer) -> None:
        async with (
            Backend() as backend,
            serving(
                tmp_path,
                forward__to="http,nats",
                forward__servers=[backend.url, broker.url],
                ykc__confirm="delivered",
            ) as running,
        ):
            client = await nats.connect(broker.url)
            stream = client.jetstream()

            async def stored(count: int) -> bool:
                try:
                    return (await stream.stream_info("EVPROTO")).state.messages == count
                except nats.js.errors.NotFoundError:
                    return False

            pile = await running.pile()
            # Both take it.
            await confirmed(pile, record(1), 1)
            await backend.until(lambda path, event: event["key"] == f"{1:032d}")
            assert await stored(1)
            # The one over HTTP does not: nothing is confirmed, though NATS has it.
            backend.status = lambda path, event: 503 if event["kind"] == "record" else 200
            pile.send(0x3B, record(2))
            await eventually(lambda: stored(2))
            await not_confirmed(pile)
            backend.status = lambda path, event: 200
            assert (await pile.expect(0x40))[2] == bytes.fromhex(f"{2:032d} 00")
            await backend.until(lambda path, event: event["key"] == f"{2:032d}")
            # NATS is gone: nothing is confirmed, though the one over HTTP has it.
            await client.close()
            broker.kill()
            pile.send(0x3B, record(3))
            await backend.until(lambda path, event: event["key"] == f"{3:032d}")
            await not_confirmed(pile)
            broker.start()
            assert (await pile.expect(0x40))[2] == bytes.fromhex(f"{3:032d} 00")
            # What is no record goes to both, too.
            await running.server.outbox.drained()
            assert {event["name"] for _, _, event in backend.got} > {"login_request", "online"}
            assert await running.metric('evproto_outbox_pending{sink="http"}') == 0
            assert await running.metric('evproto_outbox_pending{sink="nats"}') == 0
            assert await running.metric('evproto_delivered_total{sink="nats"}') == len(backend.got)

    with NatsServer(folder) as broker:
        asyncio.run(run(broker))


def test_a_receiver_that_is_configured_no_more_is_not_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with Backend() as backend:
            both = {"forward__to": "http,nats", "forward__servers": [backend.url, "nats://127.0.0.1:9"]}
            async with serving(tmp_path, server__drain_timeout=0.2, **both) as running:
                await confirmed(await running.pile(), record(4), 4)
                await backend.until(lambda path, event: event["key"] == f"{4:032d}")
                assert running.server.outbox.sinks() == ["http", "nats"]
            async with serving(
                tmp_path, forward__to="http", forward__servers=[backend.url], ykc__confirm="delivered"
            ) as running:
                assert running.server.outbox.sinks() == ["http"]
                await confirmed(await running.pile(), record(5), 5)
                # It had the first already, and gets it once.
                records = [event["key"] for _, _, event in backend.got if event["kind"] == "record"]
                assert records == [f"{4:032d}", f"{5:032d}"]

    asyncio.run(run())

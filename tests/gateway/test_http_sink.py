"""Events to HTTP endpoints: a real server on loopback, sound or flaky."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evproto.gateway.events import Event
from evproto.gateway.http_sink import HttpRequest, HttpSink
from evproto.gateway.outbox import DeliverySettings, Outbox
from evproto.gateway.sink import Sink, SinkError, SinkRefusedError, SinkUnavailableError
from gateway.outbox_helpers import event, run


class Receiver:
    """What a server got, and what it answers: a status, or None to break the connection, or a callable."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.taken: list[bytes] = []
        self.answer: Callable[[bytes], int | None] = lambda body: 204
        self.hang = threading.Event()
        self.hang.set()
        self.said = b""
        self.url = ""


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(
                (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            )
            found.hang.wait(60)
            status = found.answer(body)
            if status is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if 200 <= status < 300:
                found.taken.append(body)
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(found.said)))
            self.end_headers()
            if status != 204:
                self.wfile.write(found.said)

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}/charge"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        found.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


def nobody() -> str:
    """A URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/"


async def deliver(sink: HttpSink, *events: Event) -> None:
    try:
        await sink.deliver(events)
    finally:
        await sink.close()


def test_events_are_posted_in_order_as_their_json() -> None:
    with receiver() as server:
        sink = HttpSink([server.url])
        assert isinstance(sink, Sink)
        events = [event(sequence=number) for number in range(3)]
        run(deliver(sink, *events))
        assert [Event.from_json(body) for _, _, body in server.requests] == events
        path, headers, _ = server.requests[0]
        assert path == "/charge"
        assert headers["content-type"] == "application/json"
        assert headers["idempotency-key"] == events[0].id


def test_the_signature_is_one_that_receivers_can_compute() -> None:
    with receiver() as server:
        run(deliver(HttpSink([server.url], secret=b"s3cret", clock=lambda: 1700000000.9), event()))
        ((_, headers, body),) = server.requests
        expected = hmac.new(b"s3cret", b"1700000000." + body, hashlib.sha256).hexdigest()
        assert headers["x-evproto-timestamp"] == "1700000000"
        assert headers["x-evproto-signature"] == f"sha256={expected}"


def test_url_and_body_are_what_a_function_makes_of_them() -> None:
    def shape(endpoint: str, made: Event) -> HttpRequest | None:
        if made.kind == "online":
            return None
        return HttpRequest(
            f"{endpoint.rstrip('/')}/3b", json.dumps({"id": made.charger}).encode(), {"X-Seed": "yes"}
        )

    with receiver() as server:
        run(
            deliver(
                HttpSink([server.url + "/"], shape=shape, headers={"Authorization": "Bearer t"}),
                event(kind="online"),
                event("p1"),
            )
        )
        ((path, headers, body),) = server.requests
        assert (path, body, headers["x-seed"]) == ("/charge/3b", b'{"id": "p1"}', "yes")
        assert headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, SinkError),
        (503, SinkError),
        (404, SinkError),
        (401, SinkError),
        (302, SinkError),
        (429, SinkError),
    ]
    + [(status, SinkRefusedError) for status in (400, 413, 415, 422)],
)
def test_whatever_is_not_2xx_is_a_failure(status: int, kind: type[SinkError]) -> None:
    with receiver() as server:
        answers = [204, status]
        server.answer = lambda body: answers.pop(0)
        server.said = "第二个不行".encode()
        with pytest.raises(SinkError) as caught:
            run(deliver(HttpSink([server.url]), event(), event(), event()))
        assert type(caught.value) is kind
        assert caught.value.delivered == 1
        assert f"{status} 第二个不行" in str(caught.value)
        assert len(server.requests) == 2


def test_which_answers_are_final_is_a_setting() -> None:
    with receiver() as server:
        server.answer = lambda body: 409
        with pytest.raises(SinkRefusedError):
            run(deliver(HttpSink([server.url], refused={409}), event()))


def test_nobody_there_is_an_unavailable_sink() -> None:
    with pytest.raises(SinkUnavailableError) as caught:
        run(deliver(HttpSink([nobody(), nobody()]), event()))
    assert str(caught.value).count("cannot be reached") == 2


def test_the_first_endpoint_that_answers_has_it_and_the_preferred_is_taken_again() -> None:
    async def scenario() -> None:
        now = 0.0
        sink = HttpSink([first.url, second.url], monotonic=lambda: now, rest=30)
        await sink.deliver([event()])
        first.answer = lambda body: None  # breaks the connection
        await sink.deliver([event()])
        assert (len(first.taken), len(second.taken)) == (1, 1)
        asked = len(first.requests)
        first.answer = lambda body: 200
        await sink.deliver([event()])
        assert (len(first.requests), len(second.taken)) == (asked, 2)
        now = 31.0
        await sink.deliver([event()])
        assert (len(first.taken), len(second.taken)) == (2, 2)
        # A 500 is no reason to leave it out the next time, but to ask the other.
        first.answer = lambda body: 500
        await sink.deliver([event()])
        first.answer = lambda body: 200
        await sink.deliver([event()])
        assert (len(first.taken), len(second.taken)) == (3, 3)
        # With all of them resting, all are asked.
        first.answer = second.answer = lambda body: None
        with pytest.raises(SinkError):
            await sink.deliver([event()])
        first.answer = lambda body: 200
        await sink.deliver([event()])
        assert len(first.taken) == 4
        await sink.close()

    with receiver() as first, receiver() as second:
        run(scenario())


def test_no_answer_is_a_failure_after_the_timeout() -> None:
    with receiver() as server:
        server.hang.clear()
        with pytest.raises(SinkError, match="no answer in time") as caught:
            run(deliver(HttpSink([server.url], timeout=0.1), event()))
        assert not isinstance(caught.value, SinkUnavailableError)


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with receiver() as server:
        server.said = b"x" * 50_000_000
        server.answer = lambda body: 500
        with pytest.raises(SinkError) as caught:
            run(deliver(HttpSink([server.url]), event()))
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("url", ["127.0.0.1:8080/x", "ftp://host/", "http://", "http://[::1", "", "host"])
def test_an_endpoint_that_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        HttpSink([url])
    with pytest.raises(ValueError, match="no endpoint"):
        HttpSink([])


def test_through_an_outbox_to_two_flaky_endpoints_everything_arrives_in_order(tmp_path: Path) -> None:
    chance = random.Random(3)

    def moody(body: bytes) -> int | None:
        return chance.choice([200, 201, 204, 500, 503, 404, None])

    async def scenario() -> list[str]:
        async with await Outbox.open(tmp_path / "o.db") as outbox:
            sink = HttpSink([nobody(), first.url, second.url], rest=0.01, timeout=20)
            await outbox.deliver(
                sink, DeliverySettings(backoff=0.002, backoff_limit=0.02, concurrency=4, batch=5)
            )
            stored = await asyncio.gather(*(outbox.put(event(f"c{n % 8}", sequence=n)) for n in range(120)))
            await outbox.drained()
            assert outbox.counts().sinks["http"].failures > 0
            assert await outbox.dead() == []
            return [found.id for found in stored]

    with receiver() as first, receiver() as second:
        order: list[bytes] = []
        lock = threading.Lock()

        def noting(body: bytes) -> int | None:
            with lock:
                status = moody(body)
                if status is not None and status < 300:
                    order.append(body)
                return status

        first.answer = second.answer = noting
        ids = run(scenario())
        arrived = [Event.from_json(body) for body in order]
        assert {made.id for made in arrived} == set(ids)
        for charger in range(8):
            first_seen = list(
                dict.fromkeys(made.sequence for made in arrived if made.charger == f"c{charger}")
            )
            assert first_seen == list(range(charger, 120, 8))

"""Questions over HTTP: what is sent, and everything that is no answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import trustme

from evproto.gateway.hook import MAX_ANSWER, Hook, HookError
from gateway.knocking import HookServer, response

WAIT = 30.0


async def failing(hook: Hook, body: object = None) -> HookError:
    async with asyncio.timeout(WAIT):
        with pytest.raises(HookError) as caught:
            await hook.ask(body)
    return caught.value


def test_json_goes_there_and_comes_back_over_one_connection() -> None:
    async def run() -> None:
        async with HookServer() as server:
            hook = Hook(server.url, headers={"Authorization": "Bearer abc"})
            server.answer = lambda body: [body, None, 1.5]
            for question in ({"a": ["密", None]}, "text", 7):
                assert await hook.ask(question) == [question, None, 1.5]
            assert server.connections == 1
            head = server.heads[0].lower()
            assert head.startswith("post /admit http/1.1\r\n")
            assert "authorization: bearer abc\r\n" in head
            assert "content-type: application/json\r\n" in head
            await hook.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "status", "answered", "text"),
    [
        (response(204), 204, True, "answered 204"),
        (response(302, b"", "Location: /other"), 302, True, "redirects are not followed"),
        (response(404, b"gone fishing"), 404, True, "answered 404"),
        (response(429), 429, False, "answered 429"),
        (response(503), 503, False, "answered 503"),
        (response(200, b"{'a': 1}"), 200, True, "no JSON"),
        (response(200, b"\xff"), 200, True, "no JSON"),
        (response(200, b"[" * 20_000), 200, True, "no JSON"),
        (response(200, b" " * (MAX_ANSWER + 1)), 200, True, "longer than"),
        (response(200, b"{}", "Content-Encoding: br"), 200, True, "encoded"),
        (b"nonsense\r\n\r\n", 0, False, "127.0.0.1"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_so(
    answer: bytes, status: int, answered: bool, text: str
) -> None:
    async def run() -> None:
        async with HookServer() as server:
            hook = Hook(server.url)
            server.answer = lambda body: answer
            error = await failing(hook, {"secret": "word"})
            assert (error.status, error.answered) == (status, answered)
            assert text in str(error)
            assert str(error).startswith(server.url)
            # It goes on with the next question.
            server.answer = lambda body: "yes"
            assert await hook.ask(None) == "yes"
            await hook.close()

    asyncio.run(run())


def test_what_a_refusal_says_is_kept_apart() -> None:
    async def run() -> None:
        async with HookServer() as server:
            hook = Hook(server.url)
            server.answer = lambda body: response(422, b"you asked: secret\nword")
            error = await failing(hook)
            assert error.said == "you asked: secret word"
            assert "secret" not in str(error)
            await hook.close()

    asyncio.run(run())


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def run() -> None:
        async with HookServer() as server:
            hook = Hook(server.url, max_answer=1000, timeout=WAIT)
            server.answer = lambda body: (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b" " * 5000
            )
            assert "longer than 1000" in str(await failing(hook))
            await hook.close()

    asyncio.run(run())


def test_an_answer_that_drips_ends_with_the_time() -> None:
    async def run() -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            try:
                while not reader.at_eof():
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            except ConnectionError:
                pass
            writer.close()

        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            hook = Hook(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.3)
            error = await failing(hook)
            assert "no answer within 0.3 s" in str(error)
            assert not error.answered
            await hook.close()

    asyncio.run(run())


def test_waiting_for_a_connection_counts() -> None:
    async def run() -> None:
        async with HookServer() as server:
            hook = Hook(server.url, connections=1, timeout=1.0)
            server.answer = lambda body: None
            begun = asyncio.get_running_loop().time()
            errors = await asyncio.gather(*(failing(hook, number) for number in range(20)))
            took = asyncio.get_running_loop().time() - begun
            assert all("no answer within 1 s" in str(error) for error in errors)
            # One after the other they would take twenty seconds.
            assert took < 15
            # The connection is free again; a busy machine may need more than one second for a question.
            server.answer = lambda body: body
            async with asyncio.timeout(WAIT):
                while True:
                    with contextlib.suppress(HookError):
                        assert await hook.ask("later") == "later"
                        break
            await hook.close()

    asyncio.run(run())


def test_who_waits_in_time_is_answered() -> None:
    async def run() -> None:
        async with HookServer() as server:
            hook = Hook(server.url, connections=1, timeout=WAIT)
            server.answer = lambda body: body
            async with asyncio.timeout(WAIT):
                assert await asyncio.gather(*map(hook.ask, range(12))) == list(range(12))
            assert server.connections == 1
            await hook.close()

    asyncio.run(run())


def test_a_closed_hook_is_not_asked() -> None:
    async def run() -> None:
        async with HookServer() as server:
            for asked in (False, True):
                hook = Hook(server.url)
                if asked:
                    await hook.ask(1)
                await hook.close()
                error = await failing(hook)
                assert not error.answered

    asyncio.run(run())


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(pem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, b'"yes"'))
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server:
            # In capitals: what is checked must not hang on how the URL is written.
            hook = Hook(f"HTTPS://localhost:{port}")
            assert "certificate" in str(await failing(hook)).lower()
            await hook.close()
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
            hook = Hook(f"https://localhost:{port}")
            assert await hook.ask(1) == "yes"
            await hook.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["", "localhost:80", "ftp://host/", "http://", "file:///etc/passwd", "http://[::"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no URL"):
        Hook(url)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://hooks.example/", True),
        ("http://localhost:8080/", True),
        ("http://127.1.2.3/", True),
        ("http://[::1]:80/", True),
        ("http://hooks.example/", False),
        ("http://localhost.example/", False),
        ("http://10.0.0.1/", False),
        ("http://0.0.0.0/", False),
    ],
)
def test_where_nobody_reads_along(url: str, private: bool) -> None:
    assert Hook(url).private is private

"""``evproto replay`` against servers on real sockets: what they get is what the capture says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets
from reference.bodies import wrap

from cli.shell import run
from evproto.capture import write_pcap

WAIT = 60.0
PILE = "55031412782305"
LOGIN = wrap(0x01, bytes.fromhex(f"{PILE} 00 02 10 56342E312E353000 01 01010101010101010101 04"), b"\x01\x00")
LOGIN_OK = wrap(0x02, bytes.fromhex(f"{PILE} 00"), b"\x01\x00")
LOGIN_REFUSED = wrap(0x02, bytes.fromhex(f"{PILE} 01"), b"\x01\x00")


def heartbeat(number: int) -> bytes:
    return wrap(0x03, bytes.fromhex(f"{PILE} 01 00"), number.to_bytes(2, "little"))


def heartbeat_answer(number: int) -> bytes:
    return wrap(0x04, bytes.fromhex(f"{PILE} 01 00"), number.to_bytes(2, "little"))


def stop(number: int) -> bytes:
    """0x36, remote stop."""
    return wrap(0x36, bytes.fromhex(f"{PILE} 01"), number.to_bytes(2, "little"))


def stopped(number: int, reason: int) -> bytes:
    """0x35, the answer: it did not work, for this reason."""
    return wrap(0x35, bytes.fromhex(f"{PILE} 01 00 {reason:02X}"), number.to_bytes(2, "little"))


class Lines:
    """A capture, written by hand."""

    def __init__(self) -> None:
        self.lines: list[str] = ["# a capture"]
        self._moment = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)

    def after(self, seconds: float) -> Lines:
        self._moment += dt.timedelta(seconds=seconds)
        return self

    def pile(self, up: bool, frame: bytes, charger: str = PILE) -> Lines:
        return self._add("ykc1.6", charger, up, frame.hex().upper())

    def station(
        self, up: bool, frame: Any, charger: str = "CP001", protocol: str = "ocpp1.6", word: str = ""
    ) -> Lines:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        return self._add(protocol, charger, up, word + text)

    def _add(self, protocol: str, charger: str, up: bool, text: str) -> Lines:
        way = "charger->server" if up else "server->charger"
        moment = self._moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.lines.append(f"{moment} {protocol} charger={charger} {way} {text}")
        return self

    def write(self, folder: Path, name: str = "capture.log") -> Path:
        path = folder / name
        path.write_text("\n".join(self.lines) + "\n")
        return path


async def replay(*arguments: object) -> tuple[int, str, str]:
    """Status, output and errors of the command, which runs in a thread beside the servers."""
    async with asyncio.timeout(WAIT):
        result = await asyncio.to_thread(run, "replay", *map(str, arguments))
    return result.status, result.out, result.err


Talk = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of a connection, frame by frame."""

    def __init__(
        self, read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self.read = read
        self.write = write
        self.path = ""
        self.authorization: str | None = None


@contextlib.asynccontextmanager
async def platform(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server for piles; where it listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def read() -> bytes:
            head = await reader.readexactly(2)
            return head + await reader.readexactly(head[1] + 2)

        async def write(frame: bytes) -> None:
            writer.write(frame)
            await writer.drain()

        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(Peer(read, write))
            while await reader.read(1000):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def csms(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server for OCPP; its URL."""

    async def serve(socket: websockets.ServerConnection) -> None:
        async def read() -> bytes:
            message = await socket.recv()
            return message.encode() if isinstance(message, str) else message

        peer = Peer(read, lambda frame: socket.send(frame.decode()))
        assert socket.request is not None
        peer.path = socket.request.path
        peer.authorization = socket.request.headers.get("Authorization")
        with contextlib.suppress(websockets.ConnectionClosed):
            await talk(peer)
            await socket.wait_closed()

    async with websockets.serve(
        serve, "127.0.0.1", 0, subprotocols=["ocpp1.6", "ocpp2.0.1"], ssl=tls
    ) as server:  # type: ignore[list-item]
        scheme = "ws" if tls is None else "wss"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp"


def play(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# As it was


def test_a_pile_says_the_same_and_waits_where_it_waited(tmp_path: Path) -> None:
    # The server does not answer before it knows that nothing came in the meantime; before the last
    # heartbeat, the pile did not wait.
    path = (
        Lines()
        .pile(True, LOGIN, "127.0.0.1:5555")
        .pile(False, LOGIN_OK, "127.0.0.1:5555")
        .pile(True, heartbeat(1))
        .pile(True, heartbeat(2))
        .pile(False, heartbeat_answer(1))
        .pile(False, heartbeat_answer(2))
        .write(tmp_path)
    )
    got: list[bytes] = []
    early: list[bool] = []

    async def talk(peer: Peer) -> None:
        got.append(await peer.read())
        following = asyncio.ensure_future(peer.read())
        done, _ = await asyncio.wait([following], timeout=0.3)
        early.append(bool(done))
        await peer.write(LOGIN_OK)
        got.append(await following)
        got.append(await peer.read())
        await peer.write(heartbeat_answer(2) + heartbeat_answer(1))

    async def scenario() -> None:
        async with platform(talk) as where:
            status, out, err = await replay(path, "--ykc", where)
        assert (status, err) == (0, "")
        assert out.splitlines() == [
            f"✓ {PILE}  ykc  3 sent, 3 answered",
            "1 charger, 3 frames sent, 3 answers, 0 missing, 0 different",
        ]

    play(scenario())
    assert got == [LOGIN, heartbeat(1), heartbeat(2)]
    assert early == [False]


def test_a_station_says_the_same_on_its_own_url(tmp_path: Path) -> None:
    # Not one byte is another: blanks, escapes, what is no frame at all.
    odd = '[2, "7",\\n "Heartbeat", {}]'
    path = (
        Lines()
        .station(True, [2, "1", "Heartbeat", {}], "CP%2520A")
        .station(False, [3, "1", {"currentTime": "2026-03-01T08:00:00Z"}], "CP%2520A")
        .station(True, json.dumps(odd.replace("\\n", "\n")), "CP%2520A")
        .station(True, json.dumps("hello"), "CP%2520A")
        .write(tmp_path)
    )
    got: list[bytes] = []
    paths: list[str] = []

    async def talk(peer: Peer) -> None:
        paths.append(peer.path)
        got.append(await peer.read())
        await peer.write(b'[3,"1",{"currentTime":"2031-01-01T00:00:00Z"}]')
        got.append(await peer.read())
        got.append(await peer.read())

    async def scenario() -> None:
        async with csms(talk) as url:
            status, out, _ = await replay(path, "--ocpp", url, "--compare")
        assert status == 0, out
        assert "✓ CP%20A  ocpp1.6  3 sent, 1 answered" in out

    play(scenario())
    assert got == [b'[2, "1", "Heartbeat", {}]', b'[2, "7",\n "Heartbeat", {}]', b"hello"]
    assert paths == ["/ocpp/CP%20A"]


@pytest.mark.parametrize(
    ("base", "wanted"),
    [("/x", "/x/T/C%201"), ("/x/{id}/y", "/x/C%201/y"), ("/{tenant}/ocpp/{id}", "/T/ocpp/C%201")],
)
def test_where_a_charger_stands_in_the_url(base: str, wanted: str, tmp_path: Path) -> None:
    path = Lines().station(True, [2, "1", "Heartbeat", {}], "T~C%201").write(tmp_path)
    paths: list[str] = []

    async def talk(peer: Peer) -> None:
        paths.append(peer.path)
        await peer.read()

    async def scenario() -> None:
        async with csms(talk) as url:
            assert (await replay(path, "--ocpp", url.removesuffix("/ocpp") + base))[0] == 0

    play(scenario())
    assert paths == [wanted]


def test_what_the_server_asks_is_answered_as_it_was(tmp_path: Path) -> None:
    # Two stops were answered with different reasons; a third is new and gets the last one.
    path = (
        Lines()
        .pile(True, LOGIN, "127.0.0.1:5555")
        .pile(False, LOGIN_OK, "127.0.0.1:5555")
        .pile(False, stop(7))
        .pile(True, stopped(7, 1))
        .pile(False, stop(8))
        .pile(True, stopped(8, 2))
        .pile(True, heartbeat(1))
        .pile(False, heartbeat_answer(1))
        .station(True, [2, "1", "Heartbeat", {}])
        .station(False, [2, "s1", "Reset", {"type": "Soft"}])
        .station(True, [3, "s1", {"status": "Rejected"}])
        .station(False, [3, "1", {"currentTime": "2026-03-01T08:00:00Z"}])
        .write(tmp_path)
    )
    answers: list[bytes] = []
    said: list[Any] = []

    async def pile(peer: Peer) -> None:
        assert await peer.read() == LOGIN
        await peer.write(LOGIN_OK)
        assert await peer.read() == heartbeat(1)
        for number in (100, 101, 102):
            await peer.write(stop(number))
            answers.append(await peer.read())
        await peer.write(heartbeat_answer(1))

    async def station(peer: Peer) -> None:
        assert json.loads(await peer.read()) == [2, "1", "Heartbeat", {}]
        for frame in ([2, "new", "Reset", {"type": "Hard"}], [2, "other", "ClearCache", {}]):
            await peer.write(json.dumps(frame).encode())
            said.append(json.loads(await peer.read()))
        await peer.write(b'[3,"1",{"currentTime":"2026-03-01T08:00:00Z"}]')

    async def scenario() -> None:
        async with platform(pile) as where, csms(station) as url:
            status, out, _ = await replay(path, "--ykc", where, "--ocpp", url)
        assert status == 0, out
        assert f"✓ {PILE}  ykc  2 sent, 2 answered, 3 requests of the server\n" in out
        assert "✓ CP001  ocpp1.6  1 sent, 1 answered, 2 requests of the server, 1 answered\n" in out

    play(scenario())
    assert answers == [stopped(100, 1), stopped(101, 2), stopped(102, 2)]
    assert said[0] == [3, "new", {"status": "Rejected"}]
    assert said[1][:3] == [4, "other", "NotImplemented"]


def test_an_answer_that_came_twice_comes_twice(tmp_path: Path) -> None:
    # "Not plugged in" first, and then it worked (YKC V1.6, section 8.4).
    def started(number: int, result: int) -> bytes:
        return wrap(
            0x33, bytes(16) + bytes.fromhex(f"{PILE} 01 {result:02X} 00"), number.to_bytes(2, "little")
        )

    def start(number: int) -> bytes:
        return wrap(0x34, bytes(44), number.to_bytes(2, "little"))

    path = (
        Lines()
        .pile(True, LOGIN, "127.0.0.1:5555")
        .pile(False, LOGIN_OK, "127.0.0.1:5555")
        .pile(False, start(7))
        .pile(True, started(7, 0))
        .pile(True, started(8, 1))
        .pile(True, stopped(9, 3))
        .pile(True, heartbeat(1))
        .pile(False, heartbeat_answer(1))
        .write(tmp_path)
    )
    answers: list[bytes] = []

    async def talk(peer: Peer) -> None:
        assert await peer.read() == LOGIN
        await peer.write(LOGIN_OK)
        # Nobody asked for this in the capture, so it is said as it was.
        assert await peer.read() == stopped(9, 3)
        assert await peer.read() == heartbeat(1)
        await peer.write(start(300))
        answers.extend([await peer.read(), await peer.read()])
        await peer.write(heartbeat_answer(1))

    async def scenario() -> None:
        async with platform(talk) as where:
            status, out, _ = await replay(path, "--ykc", where)
            assert status == 0, out

    play(scenario())
    assert answers == [started(300, 0), started(300, 1)]


def test_it_takes_as_long_as_it_took_and_less_if_told_to(tmp_path: Path) -> None:
    lines = (
        Lines().station(True, [2, "1", "Heartbeat", {}]).after(2.0).station(True, [2, "2", "Heartbeat", {}])
    )
    path = lines.write(tmp_path)
    slow = lines.after(9 * 3600.0).station(True, [2, "3", "Heartbeat", {}]).write(tmp_path, "slow.log")
    times: list[float] = []

    async def talk(peer: Peer) -> None:
        while True:
            await peer.read()
            times.append(time.monotonic())

    async def scenario() -> None:
        async with csms(talk) as url:
            assert (await replay(path, "--ocpp", url, "--speed", 4))[0] == 0
            assert times[1] - times[0] > 0.4
            assert (await replay(slow, "--ocpp", url, "--fast"))[0] == 0

    play(scenario())
    assert len(times) == 5


def test_a_pile_that_came_again_comes_again(tmp_path: Path) -> None:
    lines = Lines()
    for port in (5555, 5556):
        lines.pile(True, LOGIN, f"127.0.0.1:{port}").pile(False, LOGIN_OK, f"127.0.0.1:{port}")
        lines.pile(True, heartbeat(port)).pile(False, heartbeat_answer(port))
    path = lines.write(tmp_path)
    got: list[list[bytes]] = []

    async def talk(peer: Peer) -> None:
        mine = [await peer.read()]
        got.append(mine)
        await peer.write(LOGIN_OK)
        mine.append(await peer.read())
        await peer.write(heartbeat_answer(int.from_bytes(mine[-1][2:4], "little")))

    async def scenario() -> None:
        async with platform(talk) as where:
            assert (await replay(path, "--ykc", where))[0] == 0

    play(scenario())
    assert got == [[LOGIN, heartbeat(5555)], [LOGIN, heartbeat(5556)]]


def test_files_are_put_into_their_order_and_captures_of_packets_are_read(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
    old = Lines().station(True, [2, "1", "Heartbeat", {}]).write(tmp_path, "c.log.1")
    new = Lines().after(60).station(True, [2, "2", "Heartbeat", {}]).write(tmp_path, "c.log")
    pcap = tmp_path / "c.pcap"
    with pcap.open("wb") as file:
        # A frame in two segments, two in one.
        write_pcap(
            file,
            [
                (True, LOGIN[:9], moment),
                (True, LOGIN[9:], moment),
                (False, LOGIN_OK, moment),
                (True, heartbeat(1) + heartbeat(2), moment),
                (False, heartbeat_answer(1) + heartbeat_answer(2), moment),
            ],
        )
    got: list[bytes] = []

    async def pile(peer: Peer) -> None:
        got.append(await peer.read())
        await peer.write(LOGIN_OK)
        got.extend([await peer.read(), await peer.read()])
        await peer.write(heartbeat_answer(1) + heartbeat_answer(2))

    async def station(peer: Peer) -> None:
        got.extend([await peer.read(), await peer.read()])

    async def scenario() -> None:
        async with platform(pile) as where, csms(station) as url:
            status, out, err = await replay(new, old, "--ocpp", url, "--fast")
            assert (status, err) == (0, ""), out
            status, out, err = await replay(pcap, "--ykc", where)
            assert (status, err) == (0, ""), out
            assert f"✓ {PILE}  ykc  3 sent, 3 answered" in out

    play(scenario())
    assert [json.loads(frame)[1] for frame in got[:2]] == ["1", "2"]
    assert got[2:] == [LOGIN, heartbeat(1), heartbeat(2)]


def test_passwords_and_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = (
        Lines()
        .pile(True, LOGIN, "127.0.0.1:5555")
        .pile(False, LOGIN_OK, "127.0.0.1:5555")
        .station(True, [2, "1", "Heartbeat", {}], "T~C%201")
        .write(tmp_path)
    )
    asked: list[str | None] = []

    async def pile(peer: Peer) -> None:
        assert await peer.read() == LOGIN
        await peer.write(LOGIN_OK)

    async def station(peer: Peer) -> None:
        asked.append(peer.authorization)
        await peer.read()

    async def scenario() -> None:
        async with platform(pile, context) as where, csms(station, context) as url:
            assert url.startswith("wss://")
            servers = ("--ykc", f"tls://{where}", "--ocpp", url, "--password", "p:ß")
            status, out, _ = await replay(path, *servers, "--tls-ca", ca)
            assert status == 0, out
            status, out, _ = await replay(path, *servers)
            assert status == 1
            assert out.count("certificate verify failed") == 2

    play(scenario())
    assert [base64.b64decode((one or "").removeprefix("Basic ")).decode() for one in asked] == ["C 1:p:ß"]


# Otherwise


def test_answers_that_are_others_now(tmp_path: Path) -> None:
    path = (
        Lines()
        .pile(True, LOGIN, "127.0.0.1:5555")
        .pile(False, LOGIN_OK, "127.0.0.1:5555")
        .station(True, [2, "1", "BootNotification", {"chargePointVendor": "A", "chargePointModel": "B"}])
        .station(
            False, [3, "1", {"status": "Accepted", "currentTime": "2026-03-01T08:00:00Z", "interval": 300}]
        )
        .station(True, [2, "2", "Heartbeat", {}])
        .station(False, [3, "2", {"currentTime": "2026-03-01T08:00:00Z"}])
        .write(tmp_path)
    )

    async def pile(peer: Peer) -> None:
        await peer.read()
        await peer.write(LOGIN_REFUSED)

    async def station(peer: Peer) -> None:
        await peer.read()
        await peer.write(b'[3,"1",{"status":"Pending","currentTime":"2031-03-01T08:00:00Z","interval":10}]')
        await peer.read()
        await peer.write(b'[4,"2","InternalError","out of order",{}]')

    async def scenario() -> None:
        async with platform(pile) as where, csms(station) as url:
            status, out, _ = await replay(path, "--ykc", where, "--ocpp", url)
            assert status == 1
            lines = out.splitlines()
            assert f"✗ {PILE}  ykc  1 sent, 1 answered, 1 answered otherwise" in lines
            assert f"    otherwise: 0x01 login_request: result was success, is failure ({path}:3)" in lines
            assert "✗ CP001  ocpp1.6  2 sent, 2 answered, 2 answered otherwise" in lines
            assert (
                f"    otherwise: BootNotification: payload.status was Accepted, is Pending ({path}:5)"
                in lines
            )
            assert (
                f"    otherwise: Heartbeat: message was CALLRESULT, is CALLERROR InternalError ({path}:7)"
                in lines
            )
            assert "interval" not in out
            assert lines[-1] == "2 chargers, 3 frames sent, 3 answers, 0 missing, 3 different"
            _, out, _ = await replay(path, "--ykc", where, "--ocpp", url, "--compare")
            assert "BootNotification: payload.interval was 300, is 10" in out
            assert "currentTime was 2026" not in out.replace(
                "payload.currentTime was 2026-03-01T08:00:00Z, is nothing", ""
            )

    play(scenario())


def test_answers_that_do_not_come_and_connections_that_end(tmp_path: Path) -> None:
    path = (
        Lines()
        .station(True, [2, "1", "Heartbeat", {}])
        .station(False, [3, "1", {"currentTime": "2026-03-01T08:00:00Z"}])
        .station(True, [2, "2", "Heartbeat", {}])
        .station(True, [2, "1", "Heartbeat", {}], "CP002")
        .station(False, [3, "1", {"currentTime": "2026-03-01T08:00:00Z"}], "CP002")
        .station(True, [2, "2", "Heartbeat", {}], "CP002")
        .station(True, [2, "1", "Heartbeat", {}], "CP003", protocol="ocpp2.1")
        .write(tmp_path)
    )

    async def talk(peer: Peer) -> None:
        if peer.path.endswith("CP002"):
            await peer.read()
            raise ConnectionAbortedError
        await peer.read()
        await peer.read()

    async def scenario() -> None:
        async with csms(talk) as url:
            status, out, _ = await replay(path, "--ocpp", url, "--timeout", 1)
        assert status == 1
        lines = out.splitlines()
        assert "✗ CP001  ocpp1.6  2 sent, 0 answered, 1 not answered" in lines
        assert f"    no answer to Heartbeat ({path}:3)" in lines
        assert "✗ CP002  ocpp1.6  1 sent, 0 answered, 1 not sent, 1 not answered" in lines
        assert "    closed by the peer (1011)" in out
        # The server speaks no 2.1.
        assert "✗ CP003  ocpp2.1  0 sent, 0 answered, 1 not sent" in lines
        assert lines[-1].endswith(
            "1 frame sent, 0 answers, 2 missing, 0 different, 2 frames not sent"
        ) or lines[-1].endswith("3 frames sent, 0 answers, 2 missing, 0 different, 2 frames not sent")

    play(scenario())


# What cannot be played


def refused(*arguments: object) -> str:
    result = run("replay", *map(str, arguments))
    assert result.status == 2
    assert result.out == ""
    return result.err


def test_what_cannot_be_played_is_said(tmp_path: Path) -> None:
    good = Lines().station(True, [2, "1", "Heartbeat", {}]).write(tmp_path)
    empty = tmp_path / "empty.log"
    empty.write_text("")
    head = Lines().write(tmp_path, "head.log")
    other = tmp_path / "other.log"
    other.write_text('2026-03-01 08:00:00 INFO CP001 <- [2,"1","Heartbeat",{}]\n')
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 8)
    hidden = (
        Lines()
        .station(True, [2, "1", "Authorize", {"idTag": "***"}], word="redacted ")
        .write(tmp_path, "h.log")
    )
    silent = Lines().station(False, [2, "1", "Reset", {"type": "Soft"}]).write(tmp_path, "silent.log")
    url = "ws://127.0.0.1:9/ocpp"
    assert "say where to play it: --ykc HOST:PORT, --ocpp URL" in refused(good)
    assert f"{empty}: there is no frame in it" in refused(empty, "--ocpp", url)
    assert f"{head}: there is no frame in it" in refused(head, "--ocpp", url)
    assert f"{other} is no capture: none of its 1 lines is a captured frame" in refused(other, "--ocpp", url)
    assert f"{binary} is no capture" in refused(binary, "--ocpp", url)
    assert f"{hidden}:2: something was hidden in this frame (capture.redact)" in refused(
        hidden, "--ocpp", url
    )
    assert "no charger of the capture says anything" in refused(silent, "--ocpp", url)
    assert "cannot read" in refused(tmp_path / "nowhere.log", "--ocpp", url)
    assert "--charger: CP9 is not in the capture; there are CP001" in refused(
        good, "--ocpp", url, "--charger", "CP9"
    )
    assert "--ocpp: nobody listens at 127.0.0.1:9: Connect" in refused(good, "--ocpp", url)
    assert "1 charger left out: --ocpp is not given" in refused(good, "--ykc", "127.0.0.1:9")
    assert "--ocpp: write ws://HOST:PORT/PATH, not 'http://a'" in refused(good, "--ocpp", "http://a")
    assert "--ykc: write HOST:PORT, not '27600'" in refused(good, "--ykc", "27600")
    assert f"--tls-ca: {empty} cannot be used" in refused(good, "--ocpp", url, "--tls-ca", empty)
    assert "'0' is no number above 0" in refused(good, "--ocpp", url, "--speed", "0")


def test_only_some_chargers_and_what_is_missing_is_said(tmp_path: Path) -> None:
    lines = Lines().station(True, [2, "1", "Heartbeat", {}]).station(True, [2, "1", "Heartbeat", {}], "CP002")
    lines.lines.append("2026-03-01T08:00:01.000000Z missing 12 frames, 3456 bytes: the disk was full")
    lines.pile(True, LOGIN, "127.0.0.1:5555")
    path = lines.write(tmp_path)
    paths: list[str] = []

    async def talk(peer: Peer) -> None:
        paths.append(peer.path)
        await peer.read()

    async def scenario() -> None:
        async with csms(talk) as url:
            status, _, err = await replay(path, "--ocpp", url, "--charger", "CP002")
        assert status == 0
        assert f"{path}:4: 12 frames, 3456 bytes, were not written: the disk was full" in err

    play(scenario())
    assert paths == ["/ocpp/CP002"]

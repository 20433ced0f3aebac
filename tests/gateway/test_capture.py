"""Captures: what was on the wire is in the file, and nothing that is said there is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from cli.shell import run as run_command
from reference.bodies import wrap
from ykc.vectors import VECTORS

from evproto.capture.spoken import Spoken, read_spoken
from evproto.gateway.app import StartError
from evproto.gateway.capture import Capture
from evproto.gateway.capture_file import CaptureFile
from gateway.live import PILE, WAIT, RawPile, Running, login_body, serving
from gateway.ocpp_live import BOOTS, RawCharger, charger, start, stop, transaction_event
from gateway.test_metrics import scraped, value

OTHER = "55031412782399"
ALL = {"ykc__enabled": True, "ocpp__enabled": True, "ntxcp__enabled": True}


def until(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not wanted():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def a_file(path: Path, max_bytes: int = 1 << 20, files: int = 4) -> CaptureFile:
    return CaptureFile(path, max_bytes=max_bytes, files=files, head="# head")


# The file


def test_files_are_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    file = a_file(path, max_bytes=100, files=3)
    lines = [b"line %03d ............................\n" % number for number in range(11)]
    assert file.write(lines[:1]) == 1
    assert file.write(lines[1:]) == 10
    file.close()
    # 37 bytes each, behind a head of 7: two to a file.
    found = {one.name: lines_of(one) for one in tmp_path.iterdir()}
    assert sorted(found) == ["c.log", "c.log.1", "c.log.2"]
    assert [[line[:8] for line in found[name]] for name in ("c.log.2", "c.log.1", "c.log")] == [
        ["line 006", "line 007"],
        ["line 008", "line 009"],
        ["line 010"],
    ]
    for one in tmp_path.iterdir():
        assert one.stat().st_size <= 100
        assert stat.S_IMODE(one.stat().st_mode) == 0o600


def test_one_file_only_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    file = a_file(path, max_bytes=30, files=1)
    assert file.write([b"a" * 19 + b"\n", b"b" * 19 + b"\n"]) == 2
    file.close()
    assert [one.name for one in tmp_path.iterdir()] == ["c.log"]
    assert lines_of(path) == ["b" * 19]


def test_a_line_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    file = a_file(path, max_bytes=30)
    assert file.write([b"a\n", b"b" * 99 + b"\n", b"c\n"]) == 3
    file.close()
    assert lines_of(path) == ["c"]
    assert lines_of(tmp_path / "c.log.1") == ["b" * 99]


def test_it_goes_on_where_it_left_off_and_others_cannot_read_it(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    path.write_text("# head\nwhole\nin the mid")
    path.chmod(0o644)
    file = a_file(path)
    file.open()
    assert file.write([b"next\n"]) == 1
    file.close()
    assert lines_of(path) == ["whole", "in the mid", "next"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_a_full_disk_cuts_off_is_taken_back(tmp_path: Path) -> None:
    # A limit on the size of files is the failure of write() that a full disk is, in the middle of a line.
    path = tmp_path / "c.log"
    file = a_file(path)
    assert file.write([b"first\n"]) == 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, before[1]))
    try:
        assert file.write([b"the second line\n"]) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.error is not None
    assert path.read_text() == "# head\nfirst\n"
    assert file.write([b"the second line\n", b"third\n"]) == 2
    assert file.error is None
    file.close()
    assert lines_of(path) == ["first", "the second line", "third"]


# The queue


def test_a_disk_that_was_full_has_everything_once_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.log"
    capture = Capture(path, max_bytes=1 << 20, files=2)
    capture.start()
    capture.tap("ocpp1.6", "CP1", True, b'[2,"1","Heartbeat",{}]', 1.0)
    until(lambda: capture.frames == 1)
    # /dev/full answers as a full disk does; the file is opened again by its name.
    path.rename(tmp_path / "before.log")
    path.symlink_to("/dev/full")
    capture._file.close()
    with caplog.at_level(logging.INFO, "evproto.gateway.capture"):
        for number in range(3):
            capture.tap("ocpp1.6", "CP1", False, b'[3,"%d",{}]' % number, 2.0)
        until(lambda: "No space left" in caplog.text)
        path.unlink()
        until(lambda: capture.frames == 4)
    assert "the capture goes on" in caplog.text
    capture.close()
    assert [line[-10:] for line in lines_of(path)] == ['[3,"0",{}]', '[3,"1",{}]', '[3,"2",{}]']
    assert capture.missing == 0


def test_what_a_full_disk_never_took_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    path.symlink_to("/dev/null")
    capture = Capture(path, max_bytes=1 << 20, files=2)
    capture.start()
    path.unlink()
    path.symlink_to("/dev/full")
    capture._file.close()
    for _ in range(3):
        capture.tap("ocpp1.6", "CP1", True, b"[]", 2.0)
    until(lambda: capture._file.error is not None)
    capture.close()
    assert (capture.frames, capture.missing) == (0, 3)


def test_what_comes_too_fast_is_counted_and_said_at_its_place(tmp_path: Path) -> None:
    # A pipe that nobody reads takes 64 KiB and then nothing: the slowest disk there is.
    path = tmp_path / "c.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    capture = Capture(path, max_bytes=1 << 30, files=2, waiting=400_000)
    capture.start()
    frame = b'[2,"1","DataTransfer",{"vendorId":"x","data":"' + b"." * 2000 + b'"}]'
    sent = 0
    begun = time.monotonic()
    while not capture.missing or sent < 1000:
        capture.tap("ocpp1.6", f"CP{sent}", True, frame, 1.0)
        sent += 1
        assert sent < 100_000
    assert time.monotonic() - begun < WAIT  # it has not waited for the pipe
    os.set_blocking(reader, True)
    pieces: list[bytes] = []

    def read() -> None:
        while piece := os.read(reader, 1 << 16):
            pieces.append(piece)

    reading = threading.Thread(target=read)
    reading.start()
    until(lambda: capture.frames + capture.missing == sent)
    missed = capture.missing
    # There is room again; this comes behind what is missing.
    capture.tap("ocpp1.6", "LAST", True, b'[2,"9","Heartbeat",{}]', 2.0)
    capture.close()
    reading.join(WAIT)
    os.close(reader)
    lines = [line for line in b"".join(pieces).decode().splitlines() if not line.startswith("#")]
    said = [line for line in lines if " missing " in line]
    written = [line for line in lines if " missing " not in line]
    assert len(written) == sent - missed + 1
    assert "charger=LAST" in lines[-1]
    assert sum(int(line.split(" missing ")[1].split()[0]) for line in said) == missed
    assert said[-1].endswith(
        f" missing {missed} frames, {missed * len(frame)} bytes: they came faster than they could be written"
    )
    assert lines[-2] == said[-1]
    # Nothing is twice, and what is there is in order.
    numbers = [int(line.partition("charger=CP")[2].split()[0]) for line in written[:-1]]
    assert numbers == list(range(len(numbers)))


def test_a_disk_that_stands_still_does_not_keep_the_server_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr("evproto.gateway.capture._CLOSING", 0.1)
    capture = Capture(path, max_bytes=1 << 30, files=2)
    capture.start()
    thread = capture._thread
    assert thread is not None
    for _ in range(100):
        capture.tap("ocpp1.6", "CP1", True, b"[" + b"." * 2000, 1.0)
    capture.close()
    assert "the capture cannot be closed" in caplog.text
    # It can be read after all: the thread ends.
    os.set_blocking(reader, True)
    while thread.is_alive() and os.read(reader, 1 << 16):
        pass
    thread.join(WAIT)
    assert not thread.is_alive()
    os.close(reader)


def test_frames_of_which_nobody_knows_what_to_hide_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "c.log"
    capture = Capture(path, max_bytes=1 << 20, files=1, redact=True)
    capture.start()
    capture.tap("ocpp9.9", "CP1", True, b'[2,"1","Authorize",{"idTag":"CARD4711"}]', 1.0)
    capture.tap("ocpp1.6", "CP1", True, b'[2,"1","Heartbeat",{}]', 2.0)
    capture.close()
    first, second = lines_of(path)
    assert first.endswith("missing 1 frames, 40 bytes: it is not known what is to be hidden in them")
    assert second.endswith('charger->server [2,"1","Heartbeat",{}]')
    assert (capture.frames, capture.missing) == (1, 1)


# In a server


class Pile(RawPile):
    """A pile that also remembers what it sends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pile: str) -> None:
        super().__init__(reader, writer, pile)
        self.sent: list[bytes] = []

    def send(self, frame_type: int, body: bytes, sequence: bytes = b"\x00\x00") -> None:
        self.sent.append(wrap(frame_type, body, sequence))
        super().send(frame_type, body, sequence)

    @property
    def received(self) -> list[bytes]:
        return [wrap(kind, body, sequence) for kind, sequence, body in self.seen]


async def login(port: int, pile: str) -> Pile:
    made = await Pile.connect(port, pile)
    assert isinstance(made, Pile)
    made.send(0x01, login_body(pile))
    await made.expect(0x02)
    return made


def decoded(path: Path, *options: str) -> tuple[int, list[dict[str, object]]]:
    result = run_command("decode", str(path), "--format", "jsonl", *options)
    return result.status, [json.loads(line) for line in result.out.splitlines()]


def test_a_capture_of_a_server_is_what_its_piles_sent_and_got(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"
    piles: list[Pile] = []

    async def scenario() -> None:
        async with serving(tmp_path, capture__file=str(path)) as running:
            port = running.server.tcp_port
            piles.extend([await login(port, PILE), await login(port, OTHER)])
            for round in range(5):
                for pile in piles:
                    pile.send(0x03, bytes.fromhex(f"{pile.pile} 01 00"), round.to_bytes(2, "little"))
                    await pile.expect(0x04)
            await running.command("heartbeat_response", {"gun_no": "01"}, OTHER)
            await piles[1].expect(0x04)
            for pile in piles:
                await pile.close()

    asyncio.run(scenario())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    status, items = decoded(path)
    assert status == 0
    for pile in piles:
        of_pile = [item for item in items if item["fields"]["pile_id"] == pile.pile]  # type: ignore[index]
        assert [
            bytes.fromhex(str(item["raw"])) for item in of_pile if item["seen"] == "pile_to_platform"
        ] == pile.sent
        assert [
            bytes.fromhex(str(item["raw"])) for item in of_pile if item["seen"] == "platform_to_pile"
        ] == pile.received
        # Before its login, nobody knew whose connection it was.
        address = str(of_pile[0]["charger"])
        assert address.startswith("127.0.0.1:")
        assert [item["charger"] for item in of_pile] == [address] * 2 + [pile.pile] * (len(of_pile) - 2)
    times = [str(item["time"]) for item in items]
    assert times == sorted(times)


def test_a_redacted_capture_can_be_decoded_and_names_nobody(tmp_path: Path) -> None:
    vector = VECTORS["capture-3B-EFA9"]
    frame = bytes.fromhex(vector["frame"])
    fields = vector["fields"]
    vin, card = fields["vin"].encode().hex().upper(), fields["physical_card_no"]
    assert vin in frame.hex().upper()
    assert card in frame.hex().upper()
    path = tmp_path / "capture.log"

    async def scenario() -> None:
        async with serving(tmp_path, capture__file=str(path), capture__redact=True) as running:
            pile = await login(running.server.tcp_port, PILE)
            pile.write(frame)
            pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
            await pile.expect(0x04)
            await pile.close()

    asyncio.run(scenario())
    text = path.read_text().upper()
    assert vin not in text
    assert card not in text
    status, items = decoded(path)
    assert status == 0
    found = next(item["fields"] for item in items if item["name"] == vector["name"])
    assert isinstance(found, dict)
    assert (found["vin"], found["physical_card_no"]) == ("", "0" * 16)
    for name in ("pile_id", "gun_no", "transaction_no"):
        assert found[name] == fields[name]
    # The login has nothing to hide.
    assert login_body().hex().upper() in text


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(StartError, match="capture.file: .*nowhere"):
            async with serving(tmp_path, capture__file=str(tmp_path / "nowhere" / "c.log")):
                pass

    asyncio.run(scenario())


def test_the_metrics_say_how_much_is_captured(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, capture__file=str(tmp_path / "c.log")) as running:
            pile = await running.pile()
            async with asyncio.timeout(WAIT):
                while await running.metric("evproto_capture_frames_total") < len(pile.seen) + 1:
                    await asyncio.sleep(0.02)
            assert await running.metric("evproto_capture_missing_total") == 0

    asyncio.run(scenario())


# All protocols


class Said(RawCharger):
    """A charger that also remembers what it sent and got."""

    def __init__(self, socket: Any, name: str) -> None:
        super().__init__(socket)
        self.name = name
        self.said: list[tuple[str, list[Any]]] = []

    async def text(self, text: str) -> None:
        self.said.append(("station_to_csms", json.loads(text)))
        await super().text(text)

    async def read(self) -> list[Any]:
        frame = await super().read()
        self.said.append(("csms_to_station", frame))
        return frame


@contextlib.asynccontextmanager
async def station(running: Running, name: str, protocol: str) -> AsyncIterator[Said]:
    async with charger(running, quote(name, safe=""), protocol) as raw:
        yield Said(raw.socket, name)


async def mixed_run(running: Running) -> tuple[Pile, list[Said]]:
    """A pile, chargers of three versions and a gateway, each of which charges or at least says hello."""
    pile = await login(running.server.tcp_port, PILE)
    chargers: list[Said] = []
    async with contextlib.AsyncExitStack() as stack:
        for name, protocol in (
            ("CP 1", "ocpp1.6"),
            ("CS201", "ocpp2.0.1"),
            ("CS21", "ocpp2.1"),
            ("GW1", "ntxcp1.0"),
        ):
            one = await stack.enter_async_context(station(running, name, protocol))
            chargers.append(one)
            await one.result("BootNotification", BOOTS[protocol])
            await one.result("Heartbeat", {})
        old, new = chargers[:2]
        begun = await old.result("StartTransaction", start())
        await old.result("StopTransaction", stop(begun["transactionId"]))
        for number, kind in enumerate(("Started", "Ended")):
            await new.result("TransactionEvent", transaction_event(kind, number))
        for one in (old, new):
            # Both have the same message id on their way.
            await one.send("Heartbeat", {}, "same")
        for one in (old, new):
            assert (await one.read())[1] == "same"
        pile.send(0x03, bytes.fromhex(f"{PILE} 01 00"))
        await pile.expect(0x04)
        command = asyncio.create_task(
            running.client.post("/chargers/CS201/commands/Reset", json={"type": "Immediate"})
        )
        assert await new.answer({"status": "Rejected"}) == ("Reset", {"type": "Immediate"})
        assert (await command).status_code == 200
    await pile.close()
    return pile, chargers


def test_a_capture_of_all_protocols_is_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"

    async def scenario() -> tuple[Pile, list[Said]]:
        async with serving(tmp_path, capture__file=str(path), **ALL) as running:
            said = await mixed_run(running)
            samples = await scraped(running)
            for protocol, count in (("ocpp1.6", 3), ("ocpp2.0.1", 3), ("ntxcp1.0", 2)):
                heard = {
                    dict(labels)["message"]: int(count)
                    for (name, labels), count in samples.items()
                    if name == "evproto_messages_total"
                    and dict(labels)["protocol"] == protocol
                    and dict(labels)["direction"] == "in"
                }
                assert "unknown" not in heard
                assert sum(heard.values()) >= count
            assert value(samples, "evproto_records_total", protocol="ocpp1.6", outcome="stored") == 2
            return said

    pile, chargers = asyncio.run(scenario())
    status, items = decoded(path)
    assert status == 0
    for one in chargers:
        mine = [item for item in items if unquote(str(item["charger"])) == one.name]
        found = [(str(item["seen"]), json.loads(str(item["raw"]))) for item in mine]
        assert found == one.said
    # Answers are paired with the request of their own charger.
    actions = {
        (item["charger"], item["unique_id"]): item["action"]
        for item in items
        if item.get("message") == "CALLRESULT"
    }
    assert actions["CP 1", "same"] == actions["CS201", "same"] == "Heartbeat"
    assert all(actions.values())
    assert {str(item.get("protocol", "ykc")) for item in items} == {
        *("ykc", "ocpp1.6", "ocpp2.0.1", "ocpp2.1", "ntxcp")
    }
    raw = [bytes.fromhex(str(item["raw"])) for item in items if "protocol" not in item]
    assert sorted(raw) == sorted([*pile.sent, *pile.received])


def test_a_capture_is_played_against_another_server(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()

    async def scenario() -> None:
        async with serving(tmp_path / "first", capture__file=str(path), **ALL) as running:
            await mixed_run(running)
        async with serving(tmp_path / "second", **ALL) as running:
            ports = running.server.ports
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "evproto", "replay", str(path), "--fast"),
                *("--ykc", f"127.0.0.1:{running.server.tcp_port}"),
                *("--ocpp", f"ws://127.0.0.1:{ports['ws']}/ocpp"),
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(WAIT):
                out = (await process.communicate())[0].decode()
            assert process.returncode == 0, out
            assert "✓ CP 1  ocpp1.6  5 sent, 5 answered\n" in out
            assert "✓ CS201  ocpp2.0.1  5 sent, 5 answered\n" in out
            assert f"✓ {PILE}  ykc  2 sent, 2 answered\n" in out
            assert out.splitlines()[-1] == "5 chargers, 16 frames sent, 16 answers, 0 missing, 0 different"
            # What was played is there: the chargers, and what they charged.
            assert len((await running.client.get("/chargers")).json()["items"]) == 5
            samples = await scraped(running)
            assert value(samples, "evproto_records_total", protocol="ocpp1.6", outcome="stored") == 2

    asyncio.run(scenario())


def test_a_redacted_capture_of_stations(tmp_path: Path) -> None:
    path = tmp_path / "capture.log"

    async def scenario() -> None:
        async with (
            serving(tmp_path, capture__file=str(path), capture__redact=True, **ALL) as running,
            station(running, "CP1", "ocpp1.6") as one,
        ):
            await one.result("Authorize", {"idTag": "CARD4711"})
            begun = await one.result("StartTransaction", start())
            # In a field where nobody expects it.
            await one.result(
                "DataTransfer", {"vendorId": "acme", "data": f"who: CARD4711 in {begun['transactionId']}"}
            )

    asyncio.run(scenario())
    text = path.read_text()
    assert "CARD4711" not in text
    status, items = decoded(path)
    assert status == 0
    assert [item["action"] for item in items] == [
        *("Authorize",) * 2,
        *("StartTransaction",) * 2,
        *("DataTransfer",) * 2,
    ]
    assert items[0]["payload"] == {"idTag": "***"}
    assert " charger->server redacted [2," in text
    # What has nothing to hide is as it was.
    assert ' server->charger [3,"c1",' in text


async def evproto(*arguments: object) -> str:
    """The output of a command that ends well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evproto", *map(str, arguments)), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WAIT):
        out = (await process.communicate())[0].decode()
    assert process.returncode == 0, out
    return out


def frames_by_charger(path: Path) -> dict[tuple[str, bool], list[bytes]]:
    found: dict[tuple[str, bool], list[bytes]] = {}
    for line in lines_of(path):
        spoken = read_spoken(line)
        assert isinstance(spoken, Spoken)
        found.setdefault((spoken.charger, spoken.from_charger), []).append(spoken.data)
    return found


def test_simulated_stations_write_down_the_same_and_it_can_be_played(tmp_path: Path) -> None:
    server_side, stations_side = tmp_path / "server.log", tmp_path / "stations.log"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()

    async def scenario() -> None:
        async with serving(tmp_path / "first", capture__file=str(server_side), **ALL) as running:
            await evproto(
                *("simulate", "ocpp", "--url", f"ws://127.0.0.1:{running.server.ports['ws']}/ocpp"),
                *("--stations", 2, "--version", "1.6", "--version", "2.0.1", "--speed-up", 600),
                *("--duration", 2, "--finish", 20, "--record", stations_side),
            )
        theirs, ours = frames_by_charger(stations_side), frames_by_charger(server_side)
        assert set(theirs) == set(ours)
        for key, frames in theirs.items():
            # One may be on its way when the connection ends.
            assert abs(len(frames) - len(ours[key])) <= 1
            common = min(len(frames), len(ours[key]))
            assert common > 5
            assert frames[:common] == ours[key][:common]
        async with serving(tmp_path / "second", **ALL) as running:
            url = f"ws://127.0.0.1:{running.server.ports['ws']}/ocpp"
            out = await evproto("replay", stations_side, "--ocpp", url, "--fast", "--compare")
            assert out.splitlines()[-1].endswith(" 0 missing, 0 different")

    asyncio.run(scenario())

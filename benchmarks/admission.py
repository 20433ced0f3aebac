"""``python -m benchmarks.admission``: what it costs to ask who may come in.

Run by hand; a minute or two. 1,000 chargers come at once, first to a server that
has just started, then again: through the list, the file and a hook on this
machine. CPU time is of the whole process, the hook's own side included.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from evproto.gateway.admission import Admitted, Door, Knock, make_door
from evproto.gateway.admission_entries import Entry
from evproto.gateway.admission_file import read_file
from evproto.gateway.admission_passwords import COST, COSTS, Passwords, make_hash
from evproto.gateway.admission_table import FILE, ChargerTable
from evproto.gateway.config import Layer, load

PASSWORD = b"0123456789abcdef0123"


def knock(charger: str, password: bytes | None = PASSWORD) -> Knock:
    """A charger of OCPP with its password."""
    return Knock(
        protocol="ocpp", charger=charger, address="192.0.2.7:5000", username=charger, password=password
    )


def door(folder: Path, **values: str) -> Door:
    """The door of a server with these settings of [admission]."""
    settings = {"outbox.data": str(folder)}
    settings |= {f"admission.{name}": value for name, value in values.items()}
    made = make_door(load(Layer(settings, {})))
    assert made is not None
    return made


async def longest_turn(work: Awaitable[object]) -> float:
    """How long other tasks waited for their turn at most, in seconds, while this was done."""
    longest = 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - begun - 0.001)
    task.result()
    return longest


async def storm(at: Door, chargers: list[str]) -> tuple[float, float]:
    """Wall time and CPU time of a storm, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = await asyncio.gather(*(at.ask(knock(charger)) for charger in chargers))
    assert all(isinstance(one, Admitted) for one in found)
    return time.perf_counter() - wall, time.process_time() - cpu


async def compare(at: Door, rounds: int) -> tuple[float, float]:
    """How long a wrong password takes, and a charger that is not there: medians in seconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which, charger in enumerate(("CP0", f"nobody{number}")):
            begun = time.perf_counter()
            await at.ask(knock(charger, f"guess {number}".encode()))
            times[which].append(time.perf_counter() - begun)
    return statistics.median(times[0]), statistics.median(times[1])


def report(name: str, found: tuple[float, float], count: int) -> None:
    """One line."""
    wall, cpu = found
    print(f"{name:<34} {wall:8.2f} s {cpu / count * 1e3:9.3f} ms each")


async def hooked(serve: Callable[..., Awaitable[None]], chargers: list[str], folder: Path) -> None:
    """The storm through a hook."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        at = door(folder, mode="hook", hook=url, **{"hook-timeout": "60"})
        report("hook, first", await storm(at, chargers), len(chargers))
        report("hook, again", await storm(at, chargers), len(chargers))
        await at.close()


async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The cheapest hook there is."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"admit": true}')
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(chargers: int, cost: int) -> None:
    """Everything."""
    print(f"{'cost (ln)':<34} one password")
    for number in COSTS:
        begun = time.process_time()
        make_hash(PASSWORD, number)
        print(f"{number:<34} {(time.process_time() - begun) * 1e3:8.1f} ms")
    names = [f"CP{number}" for number in range(chargers)]
    entries = {name: Entry(password_hash=make_hash(PASSWORD, cost)) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        table = ChargerTable.open(data / FILE)
        with table.change():
            for name, entry in entries.items():
                table.put(name, entry)
        table.close()
        print(f"\n{chargers} chargers at once, cost {cost:<6} {'wall':>10} {'CPU':>12}")
        at = door(data, mode="table")
        report("list, first", await storm(at, names), chargers)
        report("list, again", await storm(at, names), chargers)
        wrong, unknown = await compare(at, 15)
        await at.close()
        path = data / "chargers.toml"
        path.write_text(
            "".join(
                f'[chargers.{name}]\npassword-hash = "{one.password_hash}"\n' for name, one in entries.items()
            )
        )
        at = door(data, mode="file", file=str(path))
        report("file, first", await storm(at, names), chargers)
        report("file, again", await storm(at, names), chargers)
        await at.close()
        await hooked(admit, names, data)
        passwords = Passwords()
        kept = entries["CP0"].password_hash
        guesses = asyncio.gather(*(passwords.is_right(b"guess %d" % n, kept) for n in range(20)))
        longest = await longest_turn(guesses)
        passwords.close()
        print(f"\nthe event loop was held up for {longest * 1e3:.1f} ms at most by 20 wrong passwords")
        print(f"wrong password {wrong * 1e3:.2f} ms, no such charger {unknown * 1e3:.2f} ms (medians)")
        many = "".join(
            f'[chargers.CP{n}]\npassword-hash = "{entries["CP0"].password_hash}"\n' for n in range(20_000)
        )
        path.write_text(many)
        begun = time.perf_counter()
        read_file(path)
        print(f"reading a file of 20,000 chargers: {time.perf_counter() - begun:.2f} s, in a thread")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chargers", type=int, default=1000)
    parser.add_argument("--cost", type=int, default=COST)
    given = parser.parse_args()
    logging.disable()
    asyncio.run(main(given.chargers, given.cost))

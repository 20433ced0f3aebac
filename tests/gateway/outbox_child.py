"""An outbox in a process of its own, to be killed, traced or starved.

Reads events as JSON, one on a line, from standard input, and answers each with
a line: ``+ID`` when it is stored, ``=ID`` when it was before, ``-CAUSE`` when it
is not. A line that begins with ``limit`` limits the size of files, in bytes.

    outbox_child.py FILE [SINK]

With a SINK every delivery is appended to that file, an id on a line.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from evproto.gateway.delivery import DeliverySettings
from evproto.gateway.events import Event
from evproto.gateway.outbox import Outbox, OutboxError


class Lines:
    """A sink that writes to a file; what it has written outlives a kill."""

    name = "lines"

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def deliver(self, events: Sequence[Event]) -> None:
        os.write(self._file, b"".join(b"%s %s\n" % (e.charger.encode(), e.id.encode()) for e in events))

    async def close(self) -> None:
        os.close(self._file)


def limit(size: int) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def main(path: str, sink: str | None) -> None:
    outbox = await Outbox.open(path)
    if sink is not None:
        await outbox.deliver(Lines(Path(sink)), DeliverySettings(backoff=0.01, backoff_limit=0.1))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    tasks: set[asyncio.Task[None]] = set()

    async def store(line: bytes) -> None:
        try:
            stored = await outbox.put(Event.from_json(line))
        except OutboxError as error:
            answer = f"-{error.cause}"
        else:
            answer = f"{'=' if stored.duplicate else '+'}{stored.id}"
        os.write(1, answer.encode() + b"\n")

    os.write(1, b"ready\n")
    while line := await reader.readline():
        if line.startswith(b"limit"):
            limit(int(line.split()[1]))
            os.write(1, b"limited\n")
        else:
            task = asyncio.create_task(store(line))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    if sink is not None:
        await outbox.drained()
    await outbox.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))

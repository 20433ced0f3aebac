"""Running a fleet from a program without an event loop: in this process, or spread over several.

SIGINT ends a run early, with everything counted so far; a second one ends it
without waiting for anything.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import multiprocessing.connection
import signal
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from evproto.errors import EvprotoError
from evproto.simulate.recording import Recording
from evproto.simulate.statistics import Statistics
from evproto.simulate.ykc.fleet import Fleet, FleetPlan, NoServerError, RecordEvent

__all__ = ["Progress", "RunPlan", "RunResult", "run_fleet"]

_TICK: Final = 0.5
_FAREWELL: Final = 10.0


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a fleet is to be run."""

    fleet: FleetPlan
    processes: int = 1
    duration: float | None = None
    """Seconds; None: until SIGINT."""
    finish: float = 0.0
    """Seconds at the end for having all records confirmed, once charging has stopped."""
    record: str | None = None
    """A pcap file of all connections; for one process only."""
    records: str | None = None
    """A file of JSON lines: what becomes of each transaction record."""
    tls_ca: str | None = None
    """Speak TLS, and trust the certificates in this file."""


class Progress(msgspec.Struct, frozen=True):
    """How things stand."""

    elapsed: float
    snapshot: dict[str, float]
    statistics: Statistics


class RunResult(msgspec.Struct, frozen=True):
    """What came of it."""

    elapsed: float
    snapshot: dict[str, float]
    """How things stood at the end, before the connections were closed."""
    statistics: Statistics
    interrupted: bool


OnProgress = Callable[[Progress], None]


def run_fleet(plan: RunPlan, on_progress: OnProgress | None = None) -> RunResult:
    """Run a fleet to its end; ``on_progress`` is called about twice a second.

    Raises:
        NoServerError: nobody listens there.
        EvprotoError: a process of the run has died.
        OSError: a file cannot be written, or there are not enough file descriptors.
        ValueError: the plan contradicts itself.
    """
    if plan.processes > 1 and plan.record is not None:
        raise ValueError("one process at a time can write a capture")
    if not 1 <= plan.processes <= plan.fleet.piles:
        raise ValueError("there are at least one process and at least one pile for each")
    _allow_connections(-(-plan.fleet.piles // plan.processes))
    if plan.records is not None:
        Path(plan.records).write_bytes(b"")
    if plan.processes == 1:
        return _new_loop_run(_run(plan, on_progress, None))
    return _run_processes(plan, on_progress)


def _allow_connections(number: int) -> None:
    """Raise the limit of open files if it is too low.

    Raises:
        OSError: the system does not allow it.
    """
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    needed = number + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OSError(
            f"{number} connections in one process need {needed} open files, the system allows {hard}; "
            "use more processes"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _new_loop_run(main: Coroutine[Any, Any, RunResult]) -> RunResult:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _run(
    plan: RunPlan, on_progress: OnProgress | None, control: multiprocessing.connection.Connection | None
) -> RunResult:
    """One process' part; the parent speaks through ``control``, if there is one."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    interrupted = False
    with ExitStack() as stack:
        settle = stack.enter_context(_quiet_collector())
        recording = stack.enter_context(Recording(plan.record)) if plan.record else None
        tls = ssl.create_default_context(cafile=plan.tls_ca) if plan.tls_ca else None
        fleet = Fleet(plan.fleet, recording=recording, tls=tls)
        if plan.records is not None:
            file = stack.enter_context(Path(plan.records).open("a", encoding="utf-8", buffering=1))
            fleet.on_record_event = _writer(file)
        running = asyncio.create_task(fleet.run(plan.duration, finish=plan.finish))
        snapshot: dict[str, float] = {}

        def stop() -> None:
            nonlocal interrupted
            if interrupted:
                running.cancel()
            interrupted = True
            fleet.stop()

        def told() -> None:
            # The parent wants an end, or is gone.
            loop.remove_reader(control)  # type: ignore[arg-type]
            stop()

        if control is None:
            with suppress(NotImplementedError, RuntimeError):  # no signals here: not the main thread
                loop.add_signal_handler(signal.SIGINT, stop)
        else:
            loop.add_reader(control, told)
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=_TICK)
                if not running.done():
                    snapshot = fleet.snapshot()
                    if snapshot["piles"] == plan.fleet.piles:
                        settle()
                    if on_progress is not None:
                        on_progress(Progress(loop.time() - begin, snapshot, fleet.statistics))
            statistics = fleet.statistics
            with suppress(asyncio.CancelledError):
                statistics = running.result()
        finally:
            if control is None:
                with suppress(NotImplementedError, RuntimeError):
                    loop.remove_signal_handler(signal.SIGINT)
            else:
                loop.remove_reader(control)
        snapshot = {**snapshot, **fleet.final}
        return RunResult(loop.time() - begin, snapshot, statistics, interrupted)


@contextmanager
def _quiet_collector() -> Iterator[Callable[[], None]]:
    """Keep the garbage collector from going through thousands of piles again and again.

    It would stand still for longer than the answers that are measured take.
    What is given is to be called when the piles are there.
    """
    thresholds = gc.get_threshold()
    frozen = False

    def settle() -> None:
        nonlocal frozen
        if not frozen:
            frozen = True
            gc.collect()
            gc.freeze()

    gc.set_threshold(100_000, 50, 100)
    try:
        yield settle
    finally:
        gc.set_threshold(*thresholds)
        if frozen:
            gc.unfreeze()


def _writer(file: TextIO) -> Callable[[RecordEvent], None]:
    encode = msgspec.json.Encoder().encode

    def write(event: RecordEvent) -> None:
        file.write(encode(event).decode() + "\n")

    return write


# Several processes


def _work(plan: RunPlan, control: multiprocessing.connection.Connection) -> None:
    """The main function of a process of a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides

    def tell(progress: Progress) -> None:
        control.send(("progress", progress.snapshot, progress.statistics.state()))

    try:
        result = _new_loop_run(_run(plan, tell, control))
        control.send(("done", result.snapshot, result.statistics.state()))
    except (BrokenPipeError, ConnectionError):
        pass  # the parent is gone
    except NoServerError as error:
        control.send(("no server", str(error)))
    except (EvprotoError, OSError) as error:
        control.send(("error", str(error)))


def _run_processes(plan: RunPlan, on_progress: OnProgress | None) -> RunResult:
    import time

    context = multiprocessing.get_context("spawn")
    begin = time.monotonic()
    processes, controls = [], []
    share, more = divmod(plan.fleet.piles, plan.processes)
    first = plan.fleet.first
    for index in range(plan.processes):
        piles = share + (index < more)
        fleet = msgspec.structs.replace(
            plan.fleet,
            piles=piles,
            first=first,
            connect_rate=plan.fleet.connect_rate * piles / plan.fleet.piles,
        )
        first += piles
        mine, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(msgspec.structs.replace(plan, fleet=fleet, processes=1), theirs), daemon=True
        )
        process.start()
        theirs.close()
        processes.append(process)
        controls.append(mine)
    try:
        return _collect(controls, on_progress, begin)
    finally:
        for control in controls:
            control.close()
        for process in processes:
            process.join(_FAREWELL)
            if process.is_alive():
                process.terminate()
                process.join()


def _collect(controls: list[Any], on_progress: OnProgress | None, begin: float) -> RunResult:
    """What the processes say, until all are done."""
    import time

    states: list[tuple[dict[str, float], dict[str, Any]] | None] = [None] * len(controls)
    open_controls = dict(enumerate(controls))
    interrupted = False
    failure: EvprotoError | None = None

    def stop() -> None:
        for control in open_controls.values():
            with suppress(OSError):
                control.send("stop")

    while open_controls:
        try:
            for ready in multiprocessing.connection.wait(list(open_controls.values()), _TICK):
                index = controls.index(ready)
                rest: list[Any]
                try:
                    kind, *rest = controls[index].recv()
                except EOFError:
                    kind, rest = "error", ["a process of the run has died"]
                if kind in ("progress", "done"):
                    states[index] = rest[0], rest[1]
                if kind in ("no server", "error") and failure is None:
                    failure = NoServerError(rest[0]) if kind == "no server" else EvprotoError(rest[0])
                    stop()
                if kind != "progress":
                    del open_controls[index]
            if on_progress is not None and failure is None:
                on_progress(Progress(time.monotonic() - begin, *_total(states)))
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            stop()
    if failure is not None:
        raise failure
    return RunResult(time.monotonic() - begin, *_total(states), interrupted)


def _total(
    states: list[tuple[dict[str, float], dict[str, Any]] | None],
) -> tuple[dict[str, float], Statistics]:
    snapshot: dict[str, float] = {}
    statistics = Statistics()
    for state in states:
        if state is not None:
            for name, value in state[0].items():
                snapshot[name] = snapshot.get(name, 0) + value
            statistics.merge(Statistics.of(state[1]))
    return snapshot, statistics

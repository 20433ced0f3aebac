"""Running fleets from a program without an event loop: in this process, or spread over several.

SIGINT ends a run early, with everything counted so far; a second one ends it
without waiting for anything.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import multiprocessing.connection
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from evproto.errors import EvprotoError
from evproto.simulate.fleet import Fleet, NoServerError, Plan, Surroundings
from evproto.simulate.statistics import Statistics

__all__ = ["Part", "Progress", "RunPlan", "RunResult", "run_fleets"]

_TICK: Final = 0.5
_FAREWELL: Final = 10.0


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How fleets are to be run."""

    fleets: Sequence[Plan]
    processes: int = 1
    duration: float | None = None
    """Seconds; None: until SIGINT."""
    finish: float = 0.0
    """Seconds at the end for having everything confirmed, once charging has stopped."""
    record: str | None = None
    """A file of all that is said: pcap of YKC, a log of the others. For one process only."""
    records: str | None = None
    """A file of JSON lines: what becomes of each transaction."""
    tls_ca: str | None = None
    """Trust the certificates in this file; YKC speaks TLS then."""


class Part(msgspec.Struct, frozen=True):
    """How one fleet stands."""

    kind: str
    snapshot: dict[str, float]
    statistics: Statistics


class Progress(msgspec.Struct, frozen=True):
    """How things stand."""

    elapsed: float
    parts: list[Part]


class RunResult(msgspec.Struct, frozen=True):
    """What came of it; the snapshots are from before the connections were closed."""

    elapsed: float
    parts: list[Part]
    interrupted: bool
    failures: int
    """Chargers that have never got in."""


OnProgress = Callable[[Progress], None]


def run_fleets(plan: RunPlan, on_progress: OnProgress | None = None) -> RunResult:
    """Run fleets to their end; ``on_progress`` is called about twice a second.

    Raises:
        NoServerError: nobody listens there.
        EvprotoError: a process of the run has died.
        OSError: a file cannot be written, or there are not enough file descriptors.
        ValueError: the plan contradicts itself.
    """
    size = sum(fleet.size for fleet in plan.fleets)
    if plan.record is not None and plan.processes > 1:
        raise ValueError("one process at a time can write a capture")
    if plan.record is not None and len({fleet.kind == "ykc" for fleet in plan.fleets}) > 1:
        raise ValueError("captures of YKC and of other protocols are files of different kinds")
    if not 1 <= plan.processes <= size:
        raise ValueError("there are at least one process and at least one charger for each")
    _allow_connections(-(-size // plan.processes))
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
        stack.enter_context(_quiet_endpoints())
        around = Surroundings(
            tls=ssl.create_default_context(cafile=plan.tls_ca) if plan.tls_ca else None,
            recording=stack.enter_context(_recording(plan)) if plan.record else None,
        )
        if plan.records is not None:
            file = stack.enter_context(Path(plan.records).open("a", encoding="utf-8", buffering=1))
            around.tell = _writer(file)
        fleets = [fleet.make(around) for fleet in plan.fleets]
        running = asyncio.create_task(_run_all(fleets, plan))
        snapshots: list[dict[str, float]] = [{} for _ in fleets]

        def stop() -> None:
            nonlocal interrupted
            if interrupted:
                running.cancel()
            interrupted = True
            for fleet in fleets:
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
                    snapshots = [fleet.snapshot() for fleet in fleets]
                    if all(
                        chargers_of(snapshot) == fleet.size
                        for snapshot, fleet in zip(snapshots, plan.fleets, strict=True)
                    ):
                        settle()
                    if on_progress is not None:
                        on_progress(Progress(loop.time() - begin, _parts(plan, fleets, snapshots)))
            with suppress(asyncio.CancelledError):
                running.result()
        finally:
            if control is None:
                with suppress(NotImplementedError, RuntimeError):
                    loop.remove_signal_handler(signal.SIGINT)
            else:
                loop.remove_reader(control)
        last = [{**then, **fleet.final} for then, fleet in zip(snapshots, fleets, strict=True)]
        failures = sum(fleet.failures for fleet in fleets)
        return RunResult(loop.time() - begin, _parts(plan, fleets, last), interrupted, failures)


async def _run_all(fleets: list[Fleet], plan: RunPlan) -> None:
    """All fleets side by side; one that finds no server ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for fleet in fleets:
                group.create_task(fleet.run(plan.duration, finish=plan.finish))
    except* NoServerError as group_of:
        raise group_of.exceptions[0] from None


def _recording(plan: RunPlan) -> Any:
    assert plan.record is not None
    if plan.fleets[0].kind == "ykc":
        from evproto.simulate.recording import Recording

        return Recording(plan.record)
    from evproto.simulate.ocppj.log import FrameLog

    return FrameLog(plan.record)


def chargers_of(snapshot: dict[str, float]) -> float:
    """How many chargers there are by now."""
    return snapshot.get("chargers", snapshot.get("piles", 0))


def _parts(plan: RunPlan, fleets: list[Fleet], snapshots: list[dict[str, float]]) -> list[Part]:
    return [
        Part(one.kind, snapshot, fleet.statistics)
        for one, snapshot, fleet in zip(plan.fleets, snapshots, fleets, strict=True)
    ]


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


@contextmanager
def _quiet_endpoints() -> Iterator[None]:
    """Keep the log of endpoints to what is wrong here: what the other side does wrong is counted."""

    def is_own(record: logging.LogRecord) -> bool:
        return bool(record.exc_info)

    logger = logging.getLogger("evproto.aio.ocpp")
    logger.addFilter(is_own)
    try:
        yield
    finally:
        logger.removeFilter(is_own)


def _writer(file: TextIO) -> Callable[[Any], None]:
    encode = msgspec.json.Encoder().encode

    def write(event: Any) -> None:
        file.write(encode(event).decode() + "\n")

    return write


# Several processes


def _work(plan: RunPlan, control: multiprocessing.connection.Connection) -> None:
    """The main function of a process of a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides

    def tell(progress: Progress) -> None:
        control.send(("progress", _states(progress.parts), 0))

    try:
        result = _new_loop_run(_run(plan, tell, control))
        control.send(("done", _states(result.parts), result.failures))
    except (BrokenPipeError, ConnectionError):
        pass  # the parent is gone
    except NoServerError as error:
        control.send(("no server", str(error)))
    except (EvprotoError, OSError) as error:
        control.send(("error", str(error)))


def _states(parts: list[Part]) -> list[tuple[str, dict[str, float], dict[str, Any]]]:
    return [(part.kind, part.snapshot, part.statistics.state()) for part in parts]


def _shares(plan: RunPlan) -> Iterator[list[Plan]]:
    """What each process gets of each fleet."""
    skipped = [0] * len(plan.fleets)
    for index in range(plan.processes):
        parts: list[Plan] = []
        for place, fleet in enumerate(plan.fleets):
            share, more = divmod(fleet.size, plan.processes)
            # What is left over of one fleet goes to other processes than what is left over of the next.
            size = share + ((index + place) % plan.processes < more)
            if size:
                parts.append(fleet.part(size, skipped[place], size / fleet.size))
                skipped[place] += size
        yield parts


def _run_processes(plan: RunPlan, on_progress: OnProgress | None) -> RunResult:
    context = multiprocessing.get_context("spawn")
    begin = time.monotonic()
    processes, controls = [], []
    for parts in _shares(plan):
        if not parts:
            continue
        mine, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(msgspec.structs.replace(plan, fleets=parts, processes=1), theirs), daemon=True
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
    states: list[list[tuple[str, dict[str, float], dict[str, Any]]]] = [[] for _ in controls]
    failures = 0
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
                    states[index] = rest[0]
                    failures += rest[1]
                if kind in ("no server", "error") and failure is None:
                    failure = NoServerError(rest[0]) if kind == "no server" else EvprotoError(rest[0])
                    stop()
                if kind != "progress":
                    del open_controls[index]
            if on_progress is not None and failure is None:
                on_progress(Progress(time.monotonic() - begin, _total(states)))
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            stop()
    if failure is not None:
        raise failure
    return RunResult(time.monotonic() - begin, _total(states), interrupted, failures)


def _total(states: list[list[tuple[str, dict[str, float], dict[str, Any]]]]) -> list[Part]:
    totals: dict[str, Part] = {}
    for state in states:
        for kind, snapshot, statistics in state:
            total = totals.setdefault(kind, Part(kind, {}, Statistics()))
            for name, value in snapshot.items():
                total.snapshot[name] = total.snapshot.get(name, 0) + value
            total.statistics.merge(Statistics.of(statistics))
    return list(totals.values())

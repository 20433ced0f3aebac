"""How a run of ``evproto simulate`` goes, on a terminal."""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evproto.simulate.running import Progress, RunPlan

__all__ = ["Bar", "make_bar"]


class Bar:
    """A progress bar on standard error."""

    def __init__(self, duration: float | None, noun: str) -> None:
        from tqdm import tqdm

        self._noun = noun
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
        self._bar = tqdm(
            dynamic_ncols=known,
            ncols=None if known else 100,  # a terminal that does not say how big it is
            nrows=None if known else 24,
            total=None if duration is None else round(duration, 1),
            unit="s",
            bar_format="{desc} {bar} {elapsed}{postfix}" if duration else "{desc} {elapsed}{postfix}",
            leave=False,
        )

    def show(self, progress: Progress) -> None:
        """How things stand."""
        from evproto.simulate.latency import Latencies
        from evproto.simulate.running import chargers_of

        online = chargers = charging = power = waiting = confirmed = sent = 0.0
        beats = Latencies()
        for part in progress.parts:
            state, statistics = part.snapshot, part.statistics
            chargers += chargers_of(state)
            online += state.get("online", 0)
            charging += state.get("charging", 0)
            power += state.get("power_kw", 0)
            waiting += state.get("records_waiting", 0) + state.get("messages_waiting", 0)
            confirmed += statistics.counts["records confirmed"] + statistics.counts["transactions confirmed"]
            sent += sum(statistics.sent.values())
            for kind in (0x03, "Heartbeat"):
                if kind in statistics.latencies:
                    beats.merge(statistics.latencies[kind])
        late = f", heartbeat p99 {beats.quantile(0.99) * 1e3:.1f} ms" if beats.count else ""
        self._bar.set_description_str(f"{online:.0f}/{chargers:.0f} {self._noun}", refresh=False)
        self._bar.set_postfix_str(
            f"{charging:.0f} charging, {power:,.0f} kW, {confirmed:.0f} records confirmed, "
            f"{waiting:.0f} waiting, {sent / max(progress.elapsed, 0.1):,.0f} frames/s{late}",
            refresh=False,
        )
        self._bar.n = min(progress.elapsed, self._bar.total or math.inf)
        self._bar.refresh()

    def close(self) -> None:
        """Take it away."""
        self._bar.close()


def make_bar(plan: RunPlan) -> Bar | None:
    """A bar, if somebody could see it."""
    # Nothing goes to standard output before the end, so it may be a terminal too.
    if not sys.stderr.isatty():
        return None
    return Bar(plan.duration, plan.fleets[0].noun if len(plan.fleets) == 1 else "chargers")

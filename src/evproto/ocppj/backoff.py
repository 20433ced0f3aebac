"""How long to wait before connecting again (OCPP 2.0.1 and 2.1 part 4, section 5.4)."""

from __future__ import annotations

import math

__all__ = ["Backoff"]


class Backoff:
    """The waiting times between attempts to connect.

    The first is ``wait_minimum``; each failure doubles it, ``repeat_times``
    times, and after that it stays. A random part of at most ``random_range``
    comes on top of each, and is not doubled.

    Args:
        wait_minimum: RetryBackOffWaitMinimum, in seconds.
        random_range: RetryBackOffRandomRange, in seconds.
        repeat_times: RetryBackOffRepeatTimes.
    """

    __slots__ = ("failures", "random_range", "repeat_times", "wait_minimum")

    def __init__(self, wait_minimum: float = 10.0, random_range: float = 15.0, repeat_times: int = 5) -> None:
        for name, value in (("wait_minimum", wait_minimum), ("random_range", random_range)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is a number of seconds, not {value!r}")
        if repeat_times < 0:
            raise ValueError(f"repeat_times is a number of times, not {repeat_times!r}")
        self.wait_minimum = wait_minimum
        self.random_range = random_range
        self.repeat_times = repeat_times
        self.failures = 0
        """Attempts that failed since the last success."""

    def next(self, random: float) -> float:
        """Seconds to wait before the next attempt; call it once for each.

        Args:
            random: a random number, 0 <= random < 1.
        """
        doubled: int = 2 ** min(self.failures, self.repeat_times)
        self.failures += 1
        return self.wait_minimum * doubled + self.random_range * random

    def reset(self) -> None:
        """The connection stands: the next loss begins with the shortest wait again."""
        self.failures = 0

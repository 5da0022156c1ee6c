"""How often a collector may look: at its normal rate, or less when that costs more than its share
of a core.
"""

import time

SMOOTHING = 8
"""Weight of the past in the mean cost of a look: one slow look (a newcomer, a page fault) changes
little.
"""


class Pace:
    """Measures what looking costs (CPU time of this thread) and stretches the period to keep to
    `most_share` of a core.
    """

    def __init__(self, period_ns: int, most_share: float) -> None:
        self.normal_ns, self.most_share = period_ns, most_share
        self.period_ns = period_ns
        self.longest_ns = period_ns
        self.began_ns = time.monotonic_ns()
        self.busy_ns = 0
        self.mean_ns: float | None = None

    def start(self) -> int:
        """Before a look; hand what it returns to `end`."""
        return time.thread_time_ns()

    def end(self, started: int, *, usual: bool = True) -> int:
        """After a look: when to look again, ns from now. An unusual look (files opened) counts, but
        not for the rate.
        """
        took_ns = time.thread_time_ns() - started
        self.busy_ns += took_ns
        if usual:
            mean_ns = (
                took_ns
                if self.mean_ns is None
                else self.mean_ns + (took_ns - self.mean_ns) / SMOOTHING
            )
            self.mean_ns = mean_ns
            self.period_ns = max(self.normal_ns, int(mean_ns / self.most_share))
            self.longest_ns = max(self.longest_ns, self.period_ns)
        return self.period_ns

    @property
    def share(self) -> float:
        """CPU time spent looking, as a share of one core, since the beginning."""
        return self.busy_ns / max(time.monotonic_ns() - self.began_ns, 1)

    @property
    def slowed(self) -> str | None:
        """A line for the status when looks were much rarer than normal."""
        if self.longest_ns < 2 * self.normal_ns:
            return None
        return (
            f"looked every {self.longest_ns / 1e9:.2f} s instead of {self.normal_ns / 1e9:.2f} s,"
            " to stay cheap"
        )

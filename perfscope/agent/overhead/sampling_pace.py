"""The rate at which a collector samples, lowered where sampling would cost too much CPU time."""

import time

SMOOTHING = 8
"""Weight of the past in the mean cost of a sample, so that one slow sample changes little."""


class SamplingPace:
    """Measures the CPU time that sampling costs the calling thread.

    It lengthens the period so that sampling takes at most `most_share` of a core.
    """

    def __init__(self, period_ns: int, most_share: float) -> None:
        self.normal_ns, self.most_share = period_ns, most_share
        self.period_ns = period_ns
        self.longest_ns = period_ns
        self.began_ns = time.monotonic_ns()
        self.busy_ns = 0
        self.mean_ns: float | None = None

    def begin(self) -> int:
        """Measure the share of a core from now on; return the time."""
        self.began_ns = time.monotonic_ns()
        return self.began_ns

    def start(self) -> int:
        """Begin a sample; return a value to pass to `end`."""
        return time.thread_time_ns()

    def end(self, started_ns: int, *, usual: bool = True) -> int:
        """End a sample; return in how many nanoseconds the next one is due.

        The cost of an unusual sample, such as one that opened files, does not change the rate.
        """
        took_ns = time.thread_time_ns() - started_ns
        self.busy_ns += took_ns
        if usual:
            past_ns = took_ns if self.mean_ns is None else self.mean_ns
            self.mean_ns = past_ns + (took_ns - past_ns) / SMOOTHING
            self.period_ns = max(self.normal_ns, int(self.mean_ns / self.most_share))
            self.longest_ns = max(self.longest_ns, self.period_ns)
        return self.period_ns

    @property
    def share(self) -> float:
        """CPU time spent on sampling since the beginning, as a share of one core."""
        return self.busy_ns / max(time.monotonic_ns() - self.began_ns, 1)

    @property
    def slowdown(self) -> str | None:
        """A line for the status where the period was at least twice as long as normal."""
        if self.longest_ns < 2 * self.normal_ns:
            return None
        longest_s, normal_s = self.longest_ns / 1e9, self.normal_ns / 1e9
        return f"sampled every {longest_s:.2f} s instead of {normal_s:.2f} s, to limit its own cost"

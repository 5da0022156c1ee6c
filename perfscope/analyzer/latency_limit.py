"""A limit that the user sets for a latency. This module imports nothing heavy, because the command
line parses such limits.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LatencyLimit:
    """A percentile of a latency, such as `ttft_p99`, and the longest time accepted for it."""

    metric: str
    limit_ms: float

    @property
    def latency(self) -> str:
        """The latency without its percentile: ttft, itl or e2e."""
        return self.metric.partition("_")[0]

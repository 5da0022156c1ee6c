"""What a user wants of a latency. It imports nothing: the command line knows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LatencyLimit:
    """What the user wants of a latency: `ttft_p99` within `limit_ms`."""

    metric: str
    limit_ms: float

    @property
    def latency(self) -> str:
        """The latency: ttft, itl or e2e."""
        return self.metric.partition("_")[0]

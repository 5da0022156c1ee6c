"""What requests experienced, as the Diagnosis has it: latencies, stages, load of each server."""

from typing import Final

import msgspec

WAITS: Final = ("before-handler", "queue", "batching")
"""The stages of a request in which nothing works on it."""


class Latency(msgspec.Struct, frozen=True):
    """A percentile in milliseconds with its bounds; `source` is probe, metrics, code or replay.

    Of metrics the bounds are those of a histogram's bucket, otherwise of a 95 % interval. By a
    replay, it is a prediction.
    """

    value: float | None
    low: float | None
    high: float | None
    source: str


class Percentiles(msgspec.Struct, frozen=True):
    """The median, the 90th and the 99th percentile of a latency."""

    p50: Latency
    p90: Latency
    p99: Latency


class RequestStage(msgspec.Struct, frozen=True):
    """Mean milliseconds that a request spends in one stage of a server.

    Stages: before-handler, queue, batching, prefill, decode, after; `model` where the phases of its
    computation are not known.
    """

    stage: str
    ms: float


class ServiceLevel(msgspec.Struct, frozen=True):
    """The share of requests (of tokens, for `itl`) that stayed within a limit.

    `metric` is such as `ttft_p99`: the limit holds for 99 % of them. Of metrics the share is of
    those that are certainly within it. It is null where the latency was not recorded.
    """

    metric: str
    limit_ms: float
    met_share: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether as many are within the limit as its percentile asks for; None if unknown."""
        if self.met_share is None:
            return None
        return self.met_share >= float(self.metric.rpartition("_p")[2]) / 100.0


class ServerFigures(msgspec.Struct, frozen=True):
    """The load of one inference engine, by the readings of its metrics page.

    Null is what the engine does not export. Shares are 0 to 1; `kv_cache_*` are of its KV cache.
    `running_limit` is the most requests in a batch, from its command line, its metrics or the
    largest batch while requests waited. `other_metrics` are metrics of it that were not read.
    """

    engine: str
    url: str
    process: int | None
    readings: int
    span_s: float
    running_mean: float | None
    running_highest: float | None
    running_limit: float | None
    waiting_mean: float | None
    waiting_highest: float | None
    kv_cache_mean: float | None
    kv_cache_highest: float | None
    preemptions: int | None
    prefix_hit_share: float | None
    accepted_draft_share: float | None
    other_metrics: list[str] = []


class LoadPoint(msgspec.Struct, frozen=True):
    """The predicted latency of the same requests at another rate: `factor` times the recorded one,
    if their times of arrival do not depend on the answers.
    """

    factor: float
    requests_per_s: float
    e2e_ms: Percentiles


class Requests(msgspec.Struct, frozen=True):
    """What the requests to a server experienced; `per_server` divides it by server process.

    `count` and `rate_per_s` are of finished requests, null where the engine does not count them.
    `server` is the load of the engine, where there is one. `partial` requests were under way when
    the recording began or ended: they have no latency. `process` is the one that served them.
    `load` has the latencies that are predicted at other rates, the lowest first;
    `highest_rate_per_s` is the most requests per second that the model can answer in full batches.
    """

    count: int | None
    failed: int
    rate_per_s: float | None
    ttft_ms: Percentiles | None
    itl_ms: Percentiles | None
    e2e_ms: Percentiles | None
    stages: list[RequestStage]
    output_tokens_per_s: float | None
    prompt_tokens_per_s: float | None
    slo: list[ServiceLevel]
    per_server: list["Requests"]
    server: ServerFigures | None = None
    process: int | None = None
    partial: int = 0
    load: list[LoadPoint] = []
    highest_rate_per_s: float | None = None

    @property
    def servers(self) -> list[ServerFigures]:
        """The load of every engine; none where requests are not known by metrics."""
        rows = self.per_server or [self]
        return [row.server for row in rows if row.server is not None]

    @property
    def wait_share(self) -> float | None:
        """The share of the mean request in which it waits; None where its parts are not known."""
        whole_ms = sum(stage.ms for stage in self.stages)
        if whole_ms <= 0.0 or not any(stage.stage in WAITS for stage in self.stages):
            return None
        return sum(stage.ms for stage in self.stages if stage.stage in WAITS) / whole_ms

    @property
    def is_by_metrics(self) -> bool:
        """Whether the requests are known by the metrics of an engine, and not one by one."""
        return bool(self.servers)

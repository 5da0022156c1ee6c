"""Makes recordings of a vLLM server's metrics page, from what the server does per second."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfscope.agent.engine_metrics.page_reader import reading_row
from perfscope.traces.engine_metrics.page import MetricSeries, read_page
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest

NS = 1_000_000_000
TOKEN_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
STEP_BOUNDS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
LABELS = 'engine="0",model_name="m"'
Shares = Mapping[float, float]
"""Value -> its share of the observations."""


@dataclass(frozen=True)
class VllmTraffic:
    """Gauges of a server, what it does per second, and the distributions of its histograms."""

    gauges: Mapping[str, float | Callable[[float], float]]
    per_second: Mapping[str, float] = field(default_factory=dict)
    token_s: Shares = field(default_factory=lambda: {0.02: 1.0})
    step_tokens: Shares = field(default_factory=lambda: {8.0: 1.0})
    tokens_per_second: float = 100.0

    def page(self, seconds: float) -> str:
        """Return the page after some seconds."""
        up_s = 1000.0 + seconds
        lines = [
            f"vllm:{name}{{{LABELS}}} {value(seconds) if callable(value) else value}"
            for name, value in self.gauges.items()
        ]
        lines += [
            f"vllm:{name}_total{{{LABELS}}} {int(rate * up_s)}"
            for name, rate in self.per_second.items()
        ]
        count = self.tokens_per_second * up_s
        lines += histogram_lines("inter_token_latency_seconds", TOKEN_BOUNDS, self.token_s, count)
        lines += histogram_lines("iteration_tokens_total", STEP_BOUNDS, self.step_tokens, 40 * up_s)
        return "\n".join([*lines, ""])


def histogram_lines(
    name: str, bounds: tuple[float, ...], shares: Shares, count: float
) -> list[str]:
    """Return the lines of a histogram with `count` observations."""
    lines = []
    for bound in (*bounds, float("inf")):
        reached = sum(int(count * share) for value, share in shares.items() if value <= bound)
        text = "+Inf" if bound == float("inf") else f"{float(bound)}"
        lines.append(f'vllm:{name}_bucket{{{LABELS},le="{text}"}} {reached}')
    total = sum(value * int(count * share) for value, share in shares.items())
    return [
        *lines,
        f"vllm:{name}_count{{{LABELS}}} {sum(int(count * share) for share in shares.values())}",
        f"vllm:{name}_sum{{{LABELS}}} {total}",
    ]


def write_metrics_run(folder: Path, traffic: VllmTraffic, seconds: int = 40) -> None:
    """Write a run folder with a reading per second."""
    manifest = Manifest("job", "host", "boot", 0, time.time_ns(), "0", [], 0, "observe")
    run = RunWriter.create(folder, manifest)
    numbers: dict[MetricSeries, int] = {}
    values: dict[int, float] = {}
    server = {"server": 0, "process": -1, "engine": "vllm", "url": "http://host:8000/metrics"}
    run.jsonl("engine.servers", -1).append({**server, "other_names": ""})
    run.jsonl("clock", -1).append({"mono": 0, "real": manifest.zero_realtime_ns})
    for second in range(seconds):
        page = read_page(traffic.page(float(second)).encode())
        row: dict[str, Any] = reading_row(page, numbers, values)
        for number, name, part, labels, bound in row["series"]:
            run.jsonl("engine.series", -1).append(
                {
                    "server": 0,
                    "series": number,
                    "name": name,
                    "part": part,
                    "labels": labels,
                    "le": bound,
                }
            )
        changed = {str(number): value for number, value in row["values"]}
        run.jsonl("engine.metrics", -1).append({"ts": second * NS, "server": 0, **changed})
    manifest.finished = True
    run.close()

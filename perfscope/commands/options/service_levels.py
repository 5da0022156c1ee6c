"""The option `--slo ttft_p99=500ms,itl_p99=50ms`."""

import argparse
import math
import re
from itertools import product

from perfscope.analyzer.latency_limit import LatencyLimit

METRICS = tuple(map("_".join, product(("ttft", "itl", "e2e"), ("p50", "p90", "p99"))))
ITEM = re.compile(r"([a-z0-9_]+)\s*=\s*(\d+(?:\.\d+)?)\s*(ms|s)?")


def add_service_levels(parser: argparse.ArgumentParser) -> None:
    """Add `--slo`."""
    parser.add_argument(
        "--slo",
        type=parse_service_levels,
        default=[],
        metavar="METRIC=MS[,METRIC=MS]",
        help=(
            "report the share of requests that met these latencies, for example"
            " ttft_p99=500ms,itl_p99=50ms (ttft, itl or e2e; p50, p90 or p99)"
        ),
    )


def parse_service_levels(text: str) -> list[LatencyLimit]:
    """Return the limits from a text such as `ttft_p99=500ms,e2e_p50=2s`."""
    limits = {}
    for item in text.split(","):
        match = ITEM.fullmatch(item.strip())
        limit_ms = float(match[2]) * (1e3 if match[3] == "s" else 1.0) if match else 0.0
        if match is None or match[1] not in METRICS or not 0.0 < limit_ms < math.inf:
            raise argparse.ArgumentTypeError(
                f"{item.strip()!r} is not a latency and its limit, such as ttft_p99=500ms;"
                f" latencies are {', '.join(METRICS)}"
            )
        limits[match[1]] = LatencyLimit(match[1], limit_ms)
    return [*limits.values()]

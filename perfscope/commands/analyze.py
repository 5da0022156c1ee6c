"""Diagnose a run or trace: print what limits it, what that costs and how to fix it.

PATH is a run folder, a trace of the PyTorch profiler or of Nsight Systems, or a folder with one
file per rank. Several paths are parts of one job, one per rank or per host; their clocks are
aligned by the collectives that they share.

PATH may also be the address of an inference engine's metrics, http://HOST:PORT/metrics: it is read
once per second for --duration seconds, and what was read is kept in a run folder. Several addresses
are the replicas of one service.
"""

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.agent.engine_metrics.address import is_page_address, parse_page_address
from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.commands.options.durations import parse_seconds
from perfscope.commands.options.ignored_findings import add_ignore, ignored_findings
from perfscope.commands.options.json_output import add_json_output
from perfscope.commands.options.redaction import add_redact
from perfscope.commands.options.service_levels import add_service_levels
from perfscope.errors import UsageError
from perfscope.ui.answer import (
    AnswerOptions,
    answer_trace,
    print_cached_answer,
    read_with_progress,
    refuse_missing_folders,
)
from perfscope.ui.terminal.verbose_option import add_verbose_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.traces.trace import Trace

METRICS_S = 60.0
"""How long metrics are read by default: a scrape interval of Prometheus is 15 to 60 s."""


@dataclass(frozen=True)
class AnalyzeArguments:
    """The arguments of `perfscope analyze`."""

    path: list[str]
    duration: float | None
    out: Path | None
    json: Path | None
    no_cache: bool
    html: Path | None
    verbose: bool
    dask: str | None
    insecure: bool
    ignore: list[str]
    redact: bool
    slo: list[LatencyLimit]


ARGUMENTS = AnalyzeArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        nargs="+",
        metavar="PATH",
        help="a run folder, a trace, a folder of traces, or http://HOST:PORT/metrics of an engine",
    )
    parser.add_argument(
        "--duration",
        type=parse_seconds,
        metavar="S",
        help=f"with a metrics address: read it for S seconds (default: {METRICS_S:g})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="with a metrics address: run folder (default: perfscope-metrics-HHMMSS.perfscope)",
    )
    add_json_output(parser)
    add_ignore(parser)
    add_redact(parser)
    add_service_levels(parser)
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="do not read or write the trace cache",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report to FILE")
    add_verbose_option(parser)
    parser.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="read the traces on the workers of this Dask cluster, e.g. tcp://127.0.0.1:8786",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="with --dask: allow unencrypted TCP to machines and users that you trust",
    )


def run(args: AnalyzeArguments) -> int:
    ignored = ignored_findings(args.ignore)
    options = AnswerOptions(
        args.json, args.html, ignored, args.redact, args.verbose, service_levels=tuple(args.slo)
    )
    paths = recorded_paths(args, options)
    single_path = paths[0] if len(paths) == 1 else None
    cacheable = not args.no_cache and args.dask is None and not (ignored or args.redact or args.slo)
    cached_path = single_path if cacheable else None
    if cached_path is not None and not options.files and print_cached_answer(cached_path, options):
        return 0
    from perfscope.ui.answer_cache import FileToRead

    cached_file = FileToRead.of(cached_path) if cached_path is not None else None
    trace = read_with_progress(trace_reader(args, paths), kept=not args.no_cache)
    from perfscope.traces.kineto.trace_file import worth_keeping

    worth_caching = cached_path is not None and worth_keeping(cached_path)
    return answer_trace(trace, options, kept_for=cached_file if worth_caching else None)


def recorded_paths(args: AnalyzeArguments, options: AnswerOptions) -> list[Path]:
    """Return what to read: the given paths, or the run folder of the metrics at the addresses.

    Raises UsageError where both are given, or options that have no effect.
    """
    addresses = [text for text in args.path if is_page_address(text)]
    if not addresses:
        if args.duration is not None or args.out is not None:
            raise UsageError(
                "--duration and --out apply to the address of metrics (http://HOST:PORT/metrics)."
                " Remove them."
            )
        return [Path(text) for text in args.path]
    if len(addresses) < len(args.path):
        raise UsageError("name either paths or addresses of metrics, not both")
    refuse_missing_folders(options)
    return [read_metrics(addresses, args)]


def read_metrics(addresses: list[str], args: AnalyzeArguments) -> Path:
    """Read the metrics at the addresses and return the run folder that holds them."""
    from perfscope.agent.engine_metrics.page_recording import record_pages

    duration_s = METRICS_S if args.duration is None else args.duration
    out = args.out or Path(f"perfscope-metrics-{time.strftime('%H%M%S')}.perfscope")
    pages = [parse_page_address(text) for text in addresses]
    return record_pages(pages, out, duration_s)


def trace_reader(args: AnalyzeArguments, paths: list[Path]) -> "Callable[[], Trace]":
    """Return the function that reads the trace."""
    from perfscope.traces.load import load_all

    cluster = None
    if args.dask is not None:
        from perfscope.traces.jobs.dask_cluster import dask_cluster

        cluster = partial(dask_cluster, args.dask, insecure=args.insecure)
    return partial(load_all, paths, cluster)

"""Diagnose a recorded run or trace: print what bounds it, what that costs, what to change.

PATH is a run folder, a trace of the PyTorch profiler or of Nsight Systems, or a folder with one
file for each rank. Several of them are taken as the ranks, or the hosts' parts, of one job: read
side by side, their clocks brought together by the collectives they share.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.commands.options.ignored_findings import add_ignore, ignored_findings
from perfscope.commands.options.json_output import add_json_output
from perfscope.commands.options.redaction import add_redact
from perfscope.ui.answer import AnswerOptions, answer_trace, answered_again, while_shown
from perfscope.ui.terminal.verbose_option import add_verbose_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class AnalyzeArguments:
    """The arguments of `perfscope analyze`."""

    path: list[Path]
    json: Path | None
    no_cache: bool
    html: Path | None
    verbose: bool
    dask: str | None
    insecure: bool
    ignore: list[str]
    redact: bool


ARGUMENTS = AnalyzeArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a run folder, a trace, or a folder of traces",
    )
    add_json_output(parser)
    add_ignore(parser)
    add_redact(parser)
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="do not keep what is read of a large trace, nor use what was kept",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report")
    add_verbose_option(parser)
    parser.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="read on the workers of this Dask cluster, e.g. tcp://127.0.0.1:8786",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="let --dask use unencrypted tcp to another machine (a trusted network)",
    )


def run(args: AnalyzeArguments) -> int:
    ignored = ignored_findings(args.ignore)
    options = AnswerOptions(args.json, args.html, ignored, args.redact, args.verbose)
    single_path = args.path[0] if len(args.path) == 1 else None
    cacheable = not args.no_cache and args.dask is None and not ignored and not args.redact
    cached_path = single_path if cacheable else None
    if cached_path is not None and not options.files and answered_again(cached_path, options):
        return 0
    trace = while_shown(trace_reader(args), kept=not args.no_cache)
    from perfscope.traces.kineto.trace_file import worth_keeping

    worth_caching = cached_path is not None and worth_keeping(cached_path)
    return answer_trace(trace, options, kept_for=cached_path if worth_caching else None)


def trace_reader(args: AnalyzeArguments) -> "Callable[[], Trace]":
    """Return the function that reads the trace."""
    from perfscope.traces.load import load_all

    cluster = None
    if args.dask is not None:
        from perfscope.traces.jobs.dask_cluster import dask_cluster

        cluster = partial(dask_cluster, args.dask, insecure=args.insecure)
    return partial(load_all, args.path, cluster)

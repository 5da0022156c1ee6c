"""Diagnose a recorded run or trace: print what bounds it, what that costs, what to change.

PATH is a run folder, a trace of the PyTorch profiler or of Nsight Systems, or a folder with one
file for each rank. Several of them are taken as the ranks, or the hosts' parts, of one job: read
side by side, their clocks brought together by the collectives they share.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perfscope.ui.terminal.verbose_option import add_verbose_option


@dataclass(frozen=True)
class AnalyzeArguments:
    """The arguments of `perfscope analyze`."""

    path: list[Path]
    json: bool
    no_cache: bool
    html: Path | None
    verbose: bool
    dask: str | None
    insecure: bool


ARGUMENTS = AnalyzeArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a run folder, a trace, or a folder of traces",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the diagnosis as JSON, alone on stdout"
    )
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
    from perfscope.ui.answer import answer_trace, answered_again, while_shown

    alone = (
        args.path[0] if len(args.path) == 1 and not args.no_cache and args.dask is None else None
    )
    if (
        alone is not None
        and args.html is None
        and answered_again(alone, json=args.json, verbose=args.verbose)
    ):
        return 0
    from perfscope.traces.load import load_all
    from perfscope.traces.readers.kineto import worth_keeping

    cluster = None
    if args.dask is not None:
        from perfscope.traces.jobs.dask_cluster import dask_cluster

        cluster = partial(dask_cluster, args.dask, insecure=args.insecure)
    trace = while_shown(partial(load_all, args.path, cluster), kept=not args.no_cache)
    keeps = alone if alone is not None and worth_keeping(alone) else None
    return answer_trace(trace, json=args.json, html=args.html, verbose=args.verbose, kept_for=keeps)

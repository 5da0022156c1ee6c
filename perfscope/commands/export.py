"""Write a recorded run or trace in another tool's format: Perfetto, speedscope, Parquet, CSV."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from perfscope.commands.options.redaction import add_redact
from perfscope.ui.terminal.output import print_line

FORMATS = ("perfetto", "speedscope", "parquet", "csv")


@dataclass(frozen=True)
class ExportArguments:
    """The arguments of `perfscope export`."""

    path: Path
    to: str
    output: Path | None
    force: bool
    redact: bool


ARGUMENTS = ExportArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a run folder, or a trace as `analyze` takes it"
    )
    parser.add_argument("--to", required=True, choices=FORMATS, help="format to write")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="file to write, a folder for parquet and csv (default: in the working directory, named"
        " after PATH and the format)",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite what an earlier export wrote"
    )
    add_redact(parser)


def run(args: ExportArguments) -> int:
    from perfscope.traces.exporting import default_path, export, refuse_to_overwrite
    from perfscope.traces.load import load_trace
    from perfscope.traces.writers import WRITERS

    writer = next(writer for writer in WRITERS if args.to == writer.name)
    path = args.output if args.output is not None else default_path(args.path, writer)
    refuse_to_overwrite(path, writer, force=args.force)  # before the trace is read
    trace = load_trace(args.path)
    if args.redact:
        from perfscope.traces.privacy.redacted_trace import redacted_trace

        trace = redacted_trace(trace)
    export(trace, writer, path, force=args.force)
    print_line(f"wrote {path}")
    return 0

"""Write a recorded run or trace in another tool's format: Perfetto, speedscope, Parquet, CSV."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from perfscope.ui.terminal.output import print_line

FORMATS = ("perfetto", "speedscope", "parquet", "csv")


@dataclass(frozen=True)
class ExportArguments:
    """The arguments of `perfscope export`."""

    path: Path
    to: str
    output: Path | None
    force: bool


ARGUMENTS = ExportArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="a run folder, or a trace as `analyze` takes it")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="the file, or for parquet and csv the folder, to write",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite what an earlier export wrote"
    )


def run(args: ExportArguments) -> int:
    from perfscope.traces.exporting import default_path, export, refuse_to_overwrite
    from perfscope.traces.load import load
    from perfscope.traces.writers import WRITERS

    writer = next(one for one in WRITERS if args.to == one.name)
    path = args.output if args.output is not None else default_path(args.path, writer)
    refuse_to_overwrite(path, writer, force=args.force)  # before the work of reading, too
    export(load(args.path), writer, path, force=args.force)
    print_line(f"wrote {path}")
    return 0

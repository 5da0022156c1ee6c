"""Write the HTML report of a recorded run: one file that works offline."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportArguments:
    """The arguments of `perfscope report`."""

    run_folder: Path
    output: Path
    json: bool


ARGUMENTS = ReportArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the HTML file to write"
    )
    parser.add_argument(
        "--json", action="store_true", help="also print the diagnosis as JSON, alone on stdout"
    )


def run(args: ReportArguments) -> int:
    from perfscope.ui.answer import report

    return report(args.run_folder, args.output, json=args.json)

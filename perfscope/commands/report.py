"""Write the HTML report of a run: one file that works offline."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.commands.options.ignored_findings import add_ignore, ignored_findings
from perfscope.commands.options.json_output import add_json_output
from perfscope.commands.options.redaction import add_redact
from perfscope.commands.options.service_levels import add_service_levels
from perfscope.ui.answer import AnswerOptions, write_report_of_run


@dataclass(frozen=True)
class ReportArguments:
    """The arguments of `perfscope report`."""

    run_folder: Path
    output: Path
    json: Path | None
    ignore: list[str]
    redact: bool
    slo: list[LatencyLimit]


ARGUMENTS = ReportArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the HTML file to write"
    )
    add_json_output(parser)
    add_ignore(parser)
    add_redact(parser)
    add_service_levels(parser)


def run(args: ReportArguments) -> int:
    ignored = ignored_findings(args.ignore)
    options = AnswerOptions(
        args.json, args.output, ignored, args.redact, service_levels=tuple(args.slo)
    )
    return write_report_of_run(args.run_folder, options)

"""List the Python processes, and why some of them cannot be entered."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.agent.job.candidates import Candidate


@dataclass(frozen=True)
class PsArguments:
    """The arguments of `perfscope ps`."""

    json: bool


ARGUMENTS = PsArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


def run(args: PsArguments) -> int:
    from perfscope.agent.job.candidates import find_candidates

    found = find_candidates()
    if args.json:
        print(json_text(found))
    elif found:
        print_candidates(found)
    else:
        print_line("no Python process to attach to")
    return 0


def print_candidates(found: "Sequence[Candidate]") -> None:
    """Print the processes as a table."""
    header = f"{'pid':>8} {'rank':>4} {'torch':>5} {'workers':>7} {'cpu':>6} {'memory':>9}  script"
    print_line(header)
    for candidate in found:
        rank = "" if candidate.rank is None else str(candidate.rank)
        torch = "yes" if candidate.torch else "no"
        memory_mb = candidate.rss_bytes / 1e6
        usage = f"{candidate.workers:7} {candidate.busy:6.0%} {memory_mb:6.0f} MB"
        print_line(f"{candidate.pid:8} {rank:>4} {torch:>5} {usage}  {candidate.script}")
        if candidate.refusal is not None:
            print_line(f"{'':8} cannot be entered: {candidate.refusal}")

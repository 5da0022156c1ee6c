"""List the Python processes that can be attached to."""

import argparse
from dataclasses import dataclass

from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import print_line


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
        return 0
    if not found:
        print_line("no Python process to attach to")
        return 0
    print_line(
        f"{'pid':>8} {'rank':>4} {'torch':>5} {'workers':>7} {'cpu':>6} {'memory':>9}  script"
    )
    for one in found:
        rank = "" if one.rank is None else str(one.rank)
        torch = "yes" if one.torch else "no"
        figures = f"{one.workers:7} {one.busy:6.0%} {one.rss_bytes / 1e6:6.0f} MB"
        print_line(f"{one.pid:8} {rank:>4} {torch:>5} {figures}  {one.script}")
        if one.refusal is not None:
            print_line(f"{'':8} cannot be entered: {one.refusal}")
    return 0

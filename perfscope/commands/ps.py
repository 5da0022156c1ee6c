"""List the Python processes that can be attached to."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class PsArguments:
    """What the command line of `perfscope ps` says."""

    json: bool


ARGUMENTS = PsArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


def run(args: PsArguments) -> int:
    import msgspec
    from rich.text import Text

    from perfscope.agent.job.candidates import candidates
    from perfscope.ui.terminal.diagnosis_view import harmless

    found = candidates()
    if args.json:
        print(msgspec.json.encode(found).decode())
        return 0
    if not found:
        print("no Python process to attach to")
        return 0
    print(f"{'pid':>8} {'rank':>4} {'torch':>5} {'workers':>7} {'cpu':>6} {'memory':>9}  script")
    for one in found:
        rank = "" if one.rank is None else str(one.rank)
        torch = "yes" if one.torch else "no"
        name = harmless(Text(one.script)).plain
        line = f"{one.pid:8} {rank:>4} {torch:>5} {one.workers:7} {one.busy:6.0%} {one.rss_bytes / 1e6:6.0f} MB  {name}"
        print(line if one.refusal is None else f"{line}\n{'':8} cannot be entered: {one.refusal}")
    return 0

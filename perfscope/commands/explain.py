"""Explain a finding: what it means, how it is detected, what to do, when it is wrong."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class ExplainArguments:
    """The arguments of `perfscope explain`."""

    id: str | None


ARGUMENTS = ExplainArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id",
        nargs="?",
        metavar="ID",
        help="id of a finding, such as input-bound; without it, all ids are listed",
    )


def run(args: ExplainArguments) -> int:
    from perfscope.analyzer.explain import explain, ids

    if args.id is None:
        print("\n".join(ids()))
        return 0
    refuse_unknown_id(args.id)
    print(explain(args.id))
    return 0


def refuse_unknown_id(finding_id: str) -> None:
    """Raise UsageError with the most similar ids and causes, where no finding has this id."""
    from difflib import get_close_matches

    from perfscope.analyzer.explain import ids
    from perfscope.analyzer.input.causes import CAUSES
    from perfscope.errors import UsageError

    wanted = finding_id.strip().removeprefix("input-bound/")
    known = [*ids(), *(cause.CAUSE for cause in CAUSES)]
    if wanted in known:
        return
    similar = get_close_matches(wanted, known)
    question = f" Did you mean {' or '.join(similar)}?" if similar else ""
    raise UsageError(
        f"no finding has the id {finding_id!r}.{question} `perfscope explain` lists all ids."
    )

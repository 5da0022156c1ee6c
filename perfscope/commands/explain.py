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
        "id", nargs="?", help="the finding's id, such as input-bound; none lists them all"
    )


def run(args: ExplainArguments) -> int:
    from perfscope.analyzer.explain import explain, ids

    if args.id is None:
        print("\n".join(ids()))
        return 0
    refuse_a_typing_error(args.id)
    print(explain(args.id))
    return 0


def refuse_a_typing_error(asked: str) -> None:
    """Raises UsageError with the ids and causes that are spelled nearly so; an id unlike any is
    left to `explain`.
    """
    from difflib import get_close_matches

    from perfscope.analyzer.explain import ids
    from perfscope.analyzer.input.causes import CAUSES
    from perfscope.errors import UsageError

    wanted = asked.strip().removeprefix("input-bound/")
    known = [*ids(), *(cause.CAUSE for cause in CAUSES)]
    close = get_close_matches(wanted, known)
    if wanted not in known and close:
        raise UsageError(
            f"no finding {asked!r}; did you mean {' or '.join(close)}? `perfscope explain` lists"
            " them all"
        )

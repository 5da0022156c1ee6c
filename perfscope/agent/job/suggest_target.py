"""What to attach to instead of a shell, a tmux server, make, `uv run` or `conda run`: the programs
that run below it.
"""

import os
from collections.abc import Sequence
from itertools import combinations

from perfscope.agent.host import proc
from perfscope.agent.job.roles import Sight, is_launcher, is_spawned, same_world, script, sight_of
from perfscope.traces.secret_masking import mask_secrets

MOST_NAMED = 4
LONGEST_COMMAND = 60
ELSEWHERE = ("srun", "docker", "podman", "kubectl", "ssh")
"""Clients: what they start has another parent, often on another machine."""


def instead(pid: int, name: str) -> str:
    """One line: `pid` is not Python, and what below it is worth attaching to."""
    found = worth_below(pid, ourselves())
    best = [one for one in found if computes(one)] or found
    told = f"process {pid} ({name}) is not Python: "
    if not best:
        listed = "`perfscope ps` lists what can be attached to"
        return told + (
            f"what {name} starts has another parent; there {listed}."
            if name in ELSEWHERE
            else f"{listed}."
        )
    if len(best) == 1:
        return told + f"attach to {called(best[0])} below it."
    if of_one_job(best):
        return (
            told
            + f"attach to {called(best[0])} below it, with --all-ranks for the {len(best)} ranks of"
            " its job."
        )
    more = f" and {len(best) - MOST_NAMED} more (`perfscope ps`)" if len(best) > MOST_NAMED else ""
    return (
        told
        + f"attach to one of those below it: {', '.join(map(called, best[:MOST_NAMED]))}{more}."
    )


def ranks_below(pid: int) -> Sight | None:
    """The program below `pid` that is meant by 'all ranks': the only one that computes, or one of
    the ranks of one job.

    None where `pid` is Python itself or there is nothing to be told apart.
    """
    above = sight_of(pid)
    if above is None or above.is_python:
        return None
    best = [one for one in worth_below(pid, ourselves()) if computes(one)]
    return best[0] if len(best) == 1 or of_one_job(best) else None


def worth_below(pid: int, passed_over: frozenset[int]) -> list[Sight]:
    """The uppermost Python processes below `pid` with torch, or that start ranks; where there are
    none, without.
    """
    found: list[Sight] = []
    for child in proc.children(pid):
        sight = sight_of(child)
        if sight is None:
            continue
        if child in passed_over or not sight.is_python or is_ours(sight):
            found += worth_below(child, passed_over)
        elif computes(sight):
            found.append(sight)
        else:
            below = [one for one in worth_below(child, passed_over) if computes(one)]
            found += below if below and not starts_ranks(sight, below) else [sight]
    return found


def computes(sight: Sight) -> bool:
    """Is it a process that perfscope is for: torch is loaded, or it starts the ranks in which it
    is?
    """
    return sight.has_torch or is_launcher(sight)


def of_one_job(ones: Sequence[Sight]) -> bool:
    """Are they ranks of the same world?"""
    return len(ones) > 1 and all(same_world(one, other) for one, other in combinations(ones, 2))


def starts_ranks(sight: Sight, below: list[Sight]) -> bool:
    """Does a program without torch start these as the ranks of a job?"""
    return of_one_job(below) or any(is_spawned(one) and one.parent == sight.pid for one in below)


def ourselves() -> frozenset[int]:
    """We and what we were started from: `attach $$` is asked of a shell that we run below."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        above = proc.stat(pid)
        pid = above.parent if above is not None else 0
    return frozenset(found)


def is_ours(sight: Sight) -> bool:
    """Is it a command of perfscope, such as `perfscope ui`?"""
    return script(sight.command) == "perfscope"


def called(sight: Sight) -> str:
    """`4711 (python train.py --lr 3)`: its pid and a command line that fits into one line."""
    name = script(sight.command)
    words = mask_secrets([name if word.endswith(f"/{name}") else word for word in sight.command])
    words[:1] = [os.path.basename(word) for word in words[:1]]
    text = "".join(one if one.isprintable() else "?" for one in " ".join(words)) or sight.thread
    return (
        f"{sight.pid}"
        f" ({text if len(text) <= LONGEST_COMMAND else text[: LONGEST_COMMAND - 1] + '…'})"
    )

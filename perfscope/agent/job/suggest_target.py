"""Suggestions for what to attach to instead of a shell, tmux, make, `uv run` or `conda run`."""

import os
from collections.abc import Sequence
from itertools import combinations

from perfscope.agent.host import proc
from perfscope.agent.job.roles import (
    ProcessFacts,
    find_facts,
    is_launcher,
    is_spawned,
    same_world,
    short_name,
)
from perfscope.traces.privacy.secret_masking import mask_secrets

MOST_NAMED = 4
LONGEST_COMMAND = 60
CLIENTS = ("srun", "docker", "podman", "kubectl", "ssh")
"""Programs whose commands have another parent, often on another machine."""


def suggest_instead(pid: int, name: str) -> str:
    """Return a line that says `pid` is not Python, and which process below it to attach to."""
    found = find_attachable_below(pid, ancestors_of_this_process())
    best = [process for process in found if runs_torch(process)] or found
    problem = f"process {pid} ({name}) is not Python."
    if not best and name in CLIENTS:
        return f"{problem} What {name} starts has another parent: run `perfscope ps` where it runs."
    if not best:
        return f"{problem} Run `perfscope ps` to list processes you can attach to."
    if len(best) == 1:
        return f"{problem} Attach to its descendant {describe(best[0])} instead."
    if are_ranks_of_one_job(best):
        return (
            f"{problem} Attach to its descendant {describe(best[0])} instead, with --all-ranks for"
            f" the {len(best)} ranks of its job."
        )
    named = ", ".join(map(describe, best[:MOST_NAMED]))
    unnamed = len(best) - MOST_NAMED
    more = f" and {unnamed} more (`perfscope ps`)" if unnamed > 0 else ""
    return f"{problem} Attach to one of its descendants instead: {named}{more}."


def ranks_below(pid: int) -> ProcessFacts | None:
    """Return the process below `pid` to which --all-ranks applies.

    That is the only one that runs torch, or one of the ranks of a job. None where `pid` itself is
    Python, or where there are several jobs.
    """
    top = find_facts(pid)
    if top is None or top.is_python:
        return None
    below = find_attachable_below(pid, ancestors_of_this_process())
    best = [process for process in below if runs_torch(process)]
    return best[0] if len(best) == 1 or are_ranks_of_one_job(best) else None


def find_attachable_below(pid: int, excluded: frozenset[int]) -> list[ProcessFacts]:
    """Return the topmost Python processes below `pid` that have torch or start ranks.

    Where there are none, return those without torch. Processes in `excluded` are not returned, but
    their children may be.
    """
    found: list[ProcessFacts] = []
    for child in proc.children(pid):
        process = find_facts(child)
        if process is None:
            continue
        below = find_attachable_below(child, excluded)
        below_with_torch = [descendant for descendant in below if runs_torch(descendant)]
        if child in excluded or not process.is_python or is_perfscope(process):
            found += below
        elif runs_torch(process) or not below_with_torch or starts_ranks(process, below_with_torch):
            found.append(process)
        else:
            found += below_with_torch
    return found


def runs_torch(process: ProcessFacts) -> bool:
    """Return whether a process has loaded torch, or launches ranks that do."""
    return process.has_torch or is_launcher(process)


def are_ranks_of_one_job(processes: Sequence[ProcessFacts]) -> bool:
    """Return whether several processes are ranks of the same world."""
    pairs = combinations(processes, 2)
    return len(processes) > 1 and all(same_world(first, second) for first, second in pairs)


def starts_ranks(process: ProcessFacts, below: list[ProcessFacts]) -> bool:
    """Return whether a program without torch starts the processes `below` as ranks of a job."""
    spawned = [child for child in below if is_spawned(child) and child.parent == process.pid]
    return bool(spawned) or are_ranks_of_one_job(below)


def ancestors_of_this_process() -> frozenset[int]:
    """Return the pids of this process and its ancestors.

    With `attach $$`, the target is a shell that this process runs below.
    """
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        stat = proc.stat(pid)
        pid = stat.parent if stat is not None else 0
    return frozenset(found)


def is_perfscope(process: ProcessFacts) -> bool:
    """Return whether a process is a command of perfscope, such as `perfscope ui`."""
    return short_name(process.command) == "perfscope"


def describe(process: ProcessFacts) -> str:
    """Return `4711 (python train.py --lr 3)`: the pid and a shortened command line."""
    name = short_name(process.command)
    words = mask_secrets([name if word.endswith(f"/{name}") else word for word in process.command])
    words[:1] = [os.path.basename(word) for word in words[:1]]
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(words))
    text = text or process.thread
    if len(text) > LONGEST_COMMAND:
        text = text[: LONGEST_COMMAND - 1] + "…"
    return f"{process.pid} ({text})"

"""Which process `attach` records: the PID that was given, the only candidate, or the ranks below a
launcher.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfscope.commands.ps import print_candidates
from perfscope.errors import UsageError
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.agent.job.candidates import Candidate


def target_pid(pid: int | None, *, all_ranks: bool, print_list: bool) -> int:
    """Return the process to record. Raises UsageError where several could be meant."""
    if pid is None:
        from perfscope.agent.job.candidates import find_candidates

        return only_candidate(find_candidates(), print_list=print_list)
    return rank_below(pid) if all_ranks else pid


def only_candidate(found: "Sequence[Candidate]", *, print_list: bool) -> int:
    """Return the pid of the only process with torch.

    Raises UsageError where there are none or several, after printing the list of candidates.
    """
    with_torch = [candidate for candidate in found if candidate.torch]
    if len(with_torch) == 1:
        print_line(
            f"attaching to {with_torch[0].script} (pid {with_torch[0].pid}), the only candidate",
            sys.stderr,
        )
        return with_torch[0].pid
    if print_list and found:
        print_candidates(found)
    count = f"{len(with_torch)} processes use" if with_torch else "no process uses"
    raise UsageError(
        f"{count} PyTorch. Choose one: `perfscope attach PID`; `perfscope ps` lists the candidates."
    )


def rank_below(pid: int) -> int:
    """Return the rank to start from: `pid`, or where it is what started the job (a shell, a task of
    srun, a container's first process) a rank below it.
    """
    from perfscope.agent.job.suggest_target import describe, ranks_below

    rank = ranks_below(pid)
    if rank is None:
        return pid
    print_line(f"process {pid} is not Python: attaching to {describe(rank)} below it", sys.stderr)
    return rank.pid

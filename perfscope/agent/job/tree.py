"""The processes of a job on this host: the target, its ranks, their loader workers; kept up to date
while it runs.

A refresh reads one line of /proc per process and one per thread; what costs more is read when a
process is new, has started another program, or may have loaded torch since.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from perfscope.agent.collector import TargetProcess
from perfscope.agent.host import proc
from perfscope.agent.job import attachable
from perfscope.agent.job.roles import (
    UNDECIDED,
    Family,
    Sight,
    assign,
    has_torch,
    is_python,
    is_spawned,
    look,
    script,
)
from perfscope.agent.job.spawned_ranks import Spawning, age_s, is_young
from perfscope.traces.run.manifest import SourceStatus

__all__ = ["Tree", "find_tree", "has_torch", "is_python", "script"]


NOTHING_SAID: Mapping[int, str] = {}


def is_child(family: Family, pid: int) -> bool:
    """Is it one that multiprocessing has started, forked or spawned?"""
    sight, above = family.sights.get(pid), family.above.get(pid)
    return (
        sight is not None
        and above is not None
        and (is_spawned(sight) or sight.forked_from(family.sights[above]))
    )


@dataclass
class Known:
    """A process met before: its code, what was seen of it, when to look again whether it has loaded
    torch.
    """

    code: int
    sight: Sight
    look_again_s: float


def find_tree(pid: int, all_ranks: bool = False) -> list[TargetProcess]:
    """The job that `pid` belongs to, as it is now, by code: with `all_ranks` its sibling ranks and
    their workers too.

    Raises UsageError when there is no such process or it is not Python, PerfscopeError when it has
    ended.
    """
    return sorted(Tree(pid, all_ranks=all_ranks).refresh().values(), key=lambda one: one.process)


class Tree:
    """Finds and follows the job that `pid` belongs to. Codes of processes never change or come
    back.
    """

    def __init__(
        self, pid: int, *, all_ranks: bool = False, is_ours: bool = False, rank: int = -1
    ) -> None:
        """`is_ours`: perfscope started the target, or the target started perfscope; it may then be
        any program. `rank`: the rank of the target, where it reported one.

        Raises UsageError when there is no such process or it is not Python, PerfscopeError when it
        has ended.
        """
        self.pid = pid
        found = proc.stat(pid) if is_ours else None
        self.start_ticks = (found or attachable.attachable(pid)).start_ticks
        self.tops = attachable.all_ranks(pid) if all_ranks else [pid]
        self.first_rank = (
            rank if rank >= 0 else 0 if all_ranks else attachable.place_among_spawned(pid)
        )
        self.known: dict[tuple[int, int], Known] = {}
        self.spawning = Spawning(told=is_ours)
        self.nameless: set[tuple[int, int]] = set()
        self.rank_assumed = False

    def alive(self) -> bool:
        """Is the target still there, and the same process?"""
        found = proc.stat(self.pid)
        return (
            found is not None and found.start_ticks == self.start_ticks and found.state not in "ZX"
        )

    def refresh(self, said: Mapping[int, str] = NOTHING_SAID) -> dict[int, TargetProcess]:
        """The living processes of the job by pid; one whose role does not show yet (seconds old) is
        left out.

        `said`: what children by multiprocessing have told us they are.
        """
        family, first = Family(), not self.known
        for top in self.tops:
            self.visit(top, None, family)
        for pid in said.keys() & family.sights.keys():
            family.sights[pid].has_torch = True  # our last look may have been before it had it
        ranks = {
            family.above.get(pid)
            for pid, role in said.items()
            if role == "main" and is_child(family, pid)
        }
        launchers = self.spawning.launchers(family, assign(family, set()), ranks, wait=first)
        roles = assign(family, launchers)
        roles |= {
            pid: "loader-worker"
            for pid, role in said.items()
            if role != "main" and roles.get(pid) == UNDECIDED
        }
        for pid, role in roles.items():
            if role == UNDECIDED and not is_young(family.sights[pid]):
                roles[pid] = "other"
        return self.numbered(family, roles)

    def visit(self, pid: int, over: int | None, family: Family) -> None:
        """Take in `pid` and all below it; `over` is its nearest Python ancestor in the job."""
        found = proc.stat(pid)
        if found is None or found.state in "ZX" or pid == os.getpid():
            return
        sight = family.sights[pid] = self.see(pid, found)
        family.above[pid] = over
        for child in proc.children(pid):
            self.visit(child, pid if sight.is_python else over, family)

    def see(self, pid: int, found: proc.Stat) -> Sight:
        now_s = time.monotonic()
        before = self.known.get((pid, found.start_ticks))
        if before is not None and (
            is_ending(before.sight, found)
            or (before.sight.image == found.image and now_s < before.look_again_s)
        ):
            before.sight.thread, before.sight.parent = found.name, found.parent
            return before.sight
        sight = look(pid, found)
        if before is not None and not sight.command:
            return before.sight  # it is ending: its memory is gone already
        # Torch is imported early, if at all: look ever more seldom.
        again_s = (
            float("inf") if sight.has_torch or not sight.is_python else now_s + age_s(sight) / 4
        )
        self.known[pid, found.start_ticks] = Known(
            before.code if before else len(self.known), sight, again_s
        )
        return sight

    def numbered(self, family: Family, roles: dict[int, str]) -> dict[int, TargetProcess]:
        """Every process with its rank: as it was told at its start, else by age; workers have their
        main process's.
        """
        mains = [one for one in family.sights.values() if roles[one.pid] == "main"]
        mains.sort(key=lambda one: (one.start_ticks, one.pid))
        tasks = alone_in_task(mains)
        nameless = [one for one in mains if one.number("RANK") < 0 and one.pid not in tasks]
        self.rank_assumed = bool(nameless) and (len(mains) > 1 or self.first_rank > 0)
        ranks = {one.pid: (one.number("RANK"), one.number("LOCAL_RANK")) for one in mains} | tasks
        self.keep_places(family, roles, nameless)
        places = enumerate(sorted(self.nameless), self.first_rank)
        ranks |= {pid: (place, place) for place, (_, pid) in places if pid in family.sights}
        living = {}
        for pid, sight in family.sights.items():
            over: int | None = pid
            while over is not None and over not in ranks:
                over = family.above[over]
            if roles[pid] != UNDECIDED:
                rank = ranks[over] if over is not None else (-1, -1)
                living[pid] = self.target(sight, family.name(pid), roles[pid], rank)
        return living

    def keep_places(self, family: Family, roles: dict[int, str], nameless: list[Sight]) -> None:
        """A rank keeps its number when another has ended; what turned out to be none gives its own
        up.
        """
        self.nameless |= {(one.start_ticks, one.pid) for one in nameless}
        self.nameless -= {
            (one.start_ticks, one.pid) for one in family.sights.values() if roles[one.pid] != "main"
        }

    def target(self, sight: Sight, name: str, role: str, rank: tuple[int, int]) -> TargetProcess:
        return TargetProcess(
            process=self.known[sight.pid, sight.start_ticks].code,
            pid=sight.pid,
            ns_pid=sight.ns_pid,
            start_ticks=sight.start_ticks,
            parent=sight.parent,
            role=role,
            rank=rank[0],
            local_rank=rank[1],
            name=name,
            is_python=sight.is_python,
            has_torch=sight.has_torch,
        )

    def status(self) -> SourceStatus:
        """How well the ranks are known, for the manifest."""
        if not self.rank_assumed:
            return SourceStatus("ranks", "ok")
        why = (
            "ranks are assumed, numbered by age: no RANK in the environment the processes were"
            " started with"
        )
        return SourceStatus("ranks", "partial", why)


def alone_in_task(mains: list[Sight]) -> dict[int, tuple[int, int]]:
    """Pid -> (rank, local rank) of those that SLURM alone numbers: the only one of its task, which
    may also start several.
    """
    places = [
        (one.pid, (one.place("RANK"), one.place("LOCAL_RANK")))
        for one in mains
        if one.number("RANK") < 0
    ]
    told = [place for _, place in places]
    return {pid: place for pid, place in places if place[0] >= 0 and told.count(place) == 1}


def is_ending(seen: Sight, found: proc.Stat) -> bool:
    """Has it lost its program, as a process does that ends? What was seen of it before stands."""
    return max(found.image) <= 1 < max(seen.image)

"""The processes of a job on this host, tracked while it runs: the target, its ranks, their workers.

A refresh reads one line of /proc per process and one per thread. More is read only when a process
is new, has executed another program, or may have loaded torch since.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from perfscope.agent.collector import TargetProcess
from perfscope.agent.host import proc
from perfscope.agent.job import attachable
from perfscope.agent.job.roles import (
    UNDECIDED,
    ProcessFacts,
    ProcessFamily,
    assign_roles,
    is_spawned,
    read_facts,
)
from perfscope.agent.job.spawned_ranks import SpawnerFinder, age_s, is_young
from perfscope.traces.run_folder.manifest import SourceStatus

NOTHING_REPORTED: Mapping[int, str] = {}
NOT_TRAINED: Mapping[int, int] = {}


def is_multiprocessing_child(family: ProcessFamily, pid: int) -> bool:
    """Return whether multiprocessing has started a process, forked or spawned."""
    process, ancestor = family.processes.get(pid), family.above.get(pid)
    if process is None or ancestor is None:
        return False
    return is_spawned(process) or process.forked_from(family.processes[ancestor])


@dataclass
class TrackedProcess:
    """A process seen before.

    `number` is its number in the recording. Whether it has loaded torch is checked again at
    `check_torch_s`.
    """

    number: int
    facts: ProcessFacts
    check_torch_s: float


def find_job_processes(pid: int, all_ranks: bool = False) -> list[TargetProcess]:
    """Return the processes of the job of `pid` as it is now, by number.

    With `all_ranks`, its sibling ranks and their workers are included.

    Raises UsageError when there is no such process or it is not Python, PerfscopeError when it has
    ended.
    """
    processes = JobTree(pid, all_ranks=all_ranks).refresh().values()
    return sorted(processes, key=lambda target: target.process)


def trainers_with_children(family: ProcessFamily, trained_ns: Mapping[int, int]) -> set[int]:
    """Return the pids of processes that ended a step after a child with torch had started."""
    now_ns = time.monotonic_ns()
    return {
        pid
        for pid, last_ns in trained_ns.items()
        if pid in family.processes
        and any(
            child.has_torch and last_ns > now_ns - age_s(child) * 1e9 for child in family.below(pid)
        )
    }


class JobTree:
    """Finds and tracks the processes of the job of `pid`.

    A process keeps its number, and no number is used again.
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
        self.start_ticks = (found or attachable.check_attachable(pid)).start_ticks
        self.tops = attachable.find_tops(pid) if all_ranks else [pid]
        if rank >= 0 or all_ranks:
            self.first_rank = max(rank, 0)
        else:
            self.first_rank = attachable.index_among_spawned(pid)
        self.tracked: dict[tuple[int, int], TrackedProcess] = {}
        """By pid and start time."""
        self.spawners = SpawnerFinder(children_report=is_ours)
        self.unnumbered: set[tuple[int, int]] = set()
        """Start time and pid of the ranks without a RANK in their environment."""
        self.rank_assumed = False

    def alive(self) -> bool:
        """Return whether the target still runs."""
        found = proc.stat(self.pid)
        return (
            found is not None and found.start_ticks == self.start_ticks and found.state not in "ZX"
        )

    def refresh(
        self,
        reported: Mapping[int, str] = NOTHING_REPORTED,
        trained_ns: Mapping[int, int] = NOT_TRAINED,
    ) -> dict[int, TargetProcess]:
        """Return the living processes of the job, by pid.

        A process that is too young for its role to be known is left out. `reported` has the roles
        that the probes in multiprocessing children reported, `trained_ns` when each process last
        ended a step (CLOCK_MONOTONIC).
        """
        is_first = not self.tracked
        family = ProcessFamily()
        for top in self.tops:
            self.add_descendants(top, None, family)
        for pid in reported.keys() & family.processes.keys():
            # It may have loaded torch after its facts were read.
            family.processes[pid].has_torch = True
        trainers = trainers_with_children(family, trained_ns)
        roles = self.find_roles(family, reported, trainers, wait=is_first)
        return self.targets(family, roles)

    def find_roles(
        self,
        family: ProcessFamily,
        reported: Mapping[int, str],
        trainers: set[int],
        *,
        wait: bool,
    ) -> dict[int, str]:
        """Return the role of each process, UNDECIDED for one that is too young.

        `trainers` have trained while their children ran: these are helpers, not ranks.
        """
        parents_of_ranks = {
            family.above.get(pid)
            for pid, role in reported.items()
            if role == "main" and is_multiprocessing_child(family, pid)
        }
        first_roles = assign_roles(family, set())
        self.spawners.forget(trainers)
        parents_of_ranks -= trainers
        launchers = self.spawners.find(family, first_roles, parents_of_ranks, wait=wait)
        roles = assign_roles(family, launchers)
        for pid, role in roles.items():
            if role != UNDECIDED:
                continue
            if reported.get(pid, "main") != "main":
                roles[pid] = "loader-worker"
            elif not is_young(family.processes[pid]):
                roles[pid] = "other"
        return roles

    def add_descendants(self, pid: int, ancestor: int | None, family: ProcessFamily) -> None:
        """Add a process and all below it; `ancestor` is its nearest Python ancestor in the job."""
        found = proc.stat(pid)
        if found is None or found.state in "ZX" or pid == os.getpid():
            return
        process = self.update_facts(pid, found)
        family.processes[pid] = process
        family.above[pid] = ancestor
        for child in proc.children(pid):
            self.add_descendants(child, pid if process.is_python else ancestor, family)

    def update_facts(self, pid: int, found: proc.Stat) -> ProcessFacts:
        """Return the facts of a process, read again where they may have changed."""
        now_s = time.monotonic()
        before = self.tracked.get((pid, found.start_ticks))
        if before is not None and is_up_to_date(before, found, now_s):
            before.facts.thread, before.facts.parent = found.name, found.parent
            return before.facts
        facts = read_facts(pid, found)
        is_memory_gone = not facts.command
        if before is not None and is_memory_gone:
            return before.facts
        # torch is imported early, if at all, so it is checked ever more rarely.
        check_torch_s = now_s + age_s(facts) / 4
        if facts.has_torch or not facts.is_python:
            check_torch_s = float("inf")
        number = before.number if before else len(self.tracked)
        self.tracked[pid, found.start_ticks] = TrackedProcess(number, facts, check_torch_s)
        return facts

    def targets(self, family: ProcessFamily, roles: dict[int, str]) -> dict[int, TargetProcess]:
        """Return every process whose role is known, with its rank or that of its parent."""
        ranks = self.find_ranks(family, roles)
        living: dict[int, TargetProcess] = {}
        for pid, process in family.processes.items():
            ancestor: int | None = pid
            while ancestor is not None and ancestor not in ranks:
                ancestor = family.above[ancestor]
            if roles[pid] != UNDECIDED:
                rank = ranks[ancestor] if ancestor is not None else (-1, -1)
                living[pid] = self.target(process, family.name(pid), roles[pid], rank)
        return living

    def find_ranks(
        self, family: ProcessFamily, roles: dict[int, str]
    ) -> dict[int, tuple[int, int]]:
        """Return (rank, local rank) of each main process: from its environment, else by age."""
        mains = [process for process in family.processes.values() if roles[process.pid] == "main"]
        mains.sort(key=lambda main: (main.start_ticks, main.pid))
        tasks = ranks_of_tasks(mains)
        unnumbered = [main for main in mains if main.number("RANK") < 0 and main.pid not in tasks]
        self.rank_assumed = bool(unnumbered) and (len(mains) > 1 or self.first_rank > 0)
        ranks = {main.pid: (main.number("RANK"), main.number("LOCAL_RANK")) for main in mains}
        ranks |= tasks
        self.update_unnumbered(family, roles, unnumbered)
        for index, (_, pid) in enumerate(sorted(self.unnumbered), self.first_rank):
            if pid in family.processes:
                ranks[pid] = (index, index)
        return ranks

    def update_unnumbered(
        self, family: ProcessFamily, roles: dict[int, str], unnumbered: list[ProcessFacts]
    ) -> None:
        """Keep the order of ranks without a number when another ends.

        A process that turns out not to be a rank is removed.
        """
        self.unnumbered |= {(main.start_ticks, main.pid) for main in unnumbered}
        for process in family.processes.values():
            if roles[process.pid] != "main":
                self.unnumbered.discard((process.start_ticks, process.pid))

    def target(
        self, process: ProcessFacts, name: str, role: str, rank: tuple[int, int]
    ) -> TargetProcess:
        """Return a process of the job."""
        return TargetProcess(
            process=self.tracked[process.pid, process.start_ticks].number,
            pid=process.pid,
            ns_pid=process.ns_pid,
            start_ticks=process.start_ticks,
            parent=process.parent,
            role=role,
            rank=rank[0],
            local_rank=rank[1],
            name=name,
            is_python=process.is_python,
            has_torch=process.has_torch,
        )

    def status(self) -> SourceStatus:
        """Return how well the ranks are known."""
        if not self.rank_assumed:
            return SourceStatus("ranks", "ok")
        reason = "ranks are numbered by age: the processes were started without RANK"
        return SourceStatus("ranks", "partial", reason)


def ranks_of_tasks(mains: list[ProcessFacts]) -> dict[int, tuple[int, int]]:
    """Return (rank, local rank), by pid, of processes that only SLURM numbers.

    SLURM numbers tasks, so the number is used only where a task has a single main process.
    """
    places: dict[int, tuple[int, int]] = {}
    for main in mains:
        if main.number("RANK") < 0:
            places[main.pid] = (main.place("RANK"), main.place("LOCAL_RANK"))
    counts = Counter(places.values())
    return {pid: place for pid, place in places.items() if place[0] >= 0 and counts[place] == 1}


def is_up_to_date(tracked: TrackedProcess, found: proc.Stat, now_s: float) -> bool:
    """Return whether the facts of a process need not be read again."""
    if is_ending(tracked.facts, found):
        return True
    return tracked.facts.image == found.image and now_s < tracked.check_torch_s


def is_ending(facts: ProcessFacts, found: proc.Stat) -> bool:
    """Return whether a process has lost its program image, as it does when it ends."""
    return max(found.image) <= 1 < max(facts.image)

"""The processes of a job on this host: the target, its ranks, their loader workers; kept up to date while it runs."""

from dataclasses import replace

from perfscope.agent import proc
from perfscope.agent.collector import TargetProcess
from perfscope.errors import PerfscopeError, UsageError

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
LAUNCHERS = ("torchrun", "torch.distributed.run", "torch.distributed.launch", "accelerate.commands", "deepspeed")
BYSTANDERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "multiprocessing.semaphore_tracker")
TORCH_LIBRARIES = ("libtorch_cpu.so", "libtorch_python.so", "libtorch.so")


def is_python(pid: int, mapped: set[str]) -> bool:
    """Is it CPython: its interpreter's name, or its library in the map?"""
    return proc.executable(pid).startswith("python") or any(name.startswith("libpython") for name in mapped)


def has_torch(mapped: set[str]) -> bool:
    """Is torch loaded?"""
    return any(name.startswith(TORCH_LIBRARIES) for name in mapped)


def script(command: list[str]) -> str:
    """A short name for people: the script or module that runs, else the program."""
    for at, word in enumerate(command[1:], 1):
        if word == "-m" and at + 1 < len(command):
            return command[at + 1]
        if word == "-c":
            return "python -c"
        if not word.startswith("-"):
            return word.rsplit("/", 1)[-1]
    return command[0].rsplit("/", 1)[-1] if command else "?"


class Tree:
    """Finds and follows the job that `pid` belongs to. Codes of processes never change or come back."""

    def __init__(self, pid: int, *, all_ranks: bool = False) -> None:
        """Raises UsageError when there is no such process, PerfscopeError when it has ended."""
        found = proc.stat(pid)
        if found is None:
            raise UsageError(f"no process {pid}. `perfscope ps` lists what can be attached to.")
        if found.state in "ZX":
            raise PerfscopeError(f"process {pid} has ended and waits for its parent; there is nothing left to look at")
        if not proc.command_line(pid):
            raise UsageError(
                f"process {pid} ({found.name}) is a kernel thread. `perfscope ps` lists what can be attached to."
            )
        self.pid = pid
        self.start_ticks = found.start_ticks
        self.top = self.launcher_of(pid) if all_ranks else pid
        self.known: dict[tuple[int, int], TargetProcess] = {}

    def launcher_of(self, pid: int) -> int:
        """The process whose children are the ranks that `pid` is one of; `pid` itself when it is no rank."""
        if "RANK" in proc.environment(pid, RANK_VARIABLES):
            found = proc.stat(pid)
            return found.parent if found and found.parent > 1 else pid
        found = proc.stat(pid)
        if found and is_python(found.parent, proc.mapped(found.parent)) and spawned(proc.command_line(pid)):
            return found.parent
        return pid

    def alive(self) -> bool:
        """Is the target still there, and the same process?"""
        found = proc.stat(self.pid)
        return found is not None and found.start_ticks == self.start_ticks and found.state not in "ZX"

    def refresh(self) -> dict[int, TargetProcess]:
        """The living processes of the job by pid."""
        living: dict[int, TargetProcess] = {}
        self.visit(self.top, None, living)
        self.number_ranks(living)
        return living

    def visit(self, pid: int, parent: TargetProcess | None, living: dict[int, TargetProcess]) -> None:
        found = proc.stat(pid)
        if found is None or found.state in "ZX":
            return
        one = self.known.get((pid, found.start_ticks))
        if one is None or not one.has_torch:
            one = self.known[pid, found.start_ticks] = self.describe(pid, found, parent, one)
        living[pid] = one
        for child in proc.children(pid):
            self.visit(child, one, living)

    def describe(
        self, pid: int, found: proc.Stat, parent: TargetProcess | None, before: TargetProcess | None
    ) -> TargetProcess:
        mapped = proc.mapped(pid)
        command = proc.command_line(pid)
        said = proc.environment(pid, RANK_VARIABLES)
        rank, local = (
            int(said.get(name, "-1")) if said.get(name, "").isdecimal() else -1 for name in RANK_VARIABLES[:2]
        )
        return TargetProcess(
            process=before.process if before else len(self.known),
            pid=pid,
            ns_pid=proc.own_pid(pid),
            start_ticks=found.start_ticks,
            parent=parent.pid if parent else found.parent,
            role=self.role(command, is_python(pid, mapped), parent, rank),
            rank=rank,
            local_rank=local,
            name=script(command),
            is_python=is_python(pid, mapped),
            has_torch=has_torch(mapped),
        )

    def role(self, command: list[str], python: bool, parent: TargetProcess | None, rank: int) -> str:
        """main, loader-worker, launcher or other, from the command line and the parent's role."""
        text = " ".join(command)
        if not python or any(name in text for name in BYSTANDERS):
            return "other"
        if any(name in text for name in LAUNCHERS) and rank < 0:
            return "launcher"
        if parent is None or parent.role == "launcher":
            return "main"
        return "loader-worker" if parent.role in ("main", "loader-worker") else "other"

    def number_ranks(self, living: dict[int, TargetProcess]) -> None:
        """Ranks of those that do not say theirs: under mp.spawn by age, alone 0; workers have their parent's."""
        self.promote_spawned(living)
        mains = [one for one in living.values() if one.role == "main"]
        for number, one in enumerate(sorted(mains, key=lambda one: (one.start_ticks, one.pid))):
            if one.rank < 0:
                living[one.pid] = replace(one, rank=number, local_rank=number)
        for pid, one in living.items():
            above = living.get(one.parent)
            if one.role == "loader-worker" and above is not None:
                living[pid] = replace(one, rank=above.rank, local_rank=above.local_rank)

    def promote_spawned(self, living: dict[int, TargetProcess]) -> None:
        """mp.spawn: a parent that runs no loader of its own and whose spawned children have workers is a launcher."""
        for one in list(living.values()):
            kids = [kid for kid in living.values() if kid.parent == one.pid and kid.role == "loader-worker"]
            grown = [
                kid for kid in kids if any(grand.parent == kid.pid and grand.is_python for grand in living.values())
            ]
            if one.role == "main" and grown and len(kids) > 1:
                living[one.pid] = replace(one, role="launcher")
                for kid in kids:
                    living[kid.pid] = replace(kid, role="main")


def spawned(command: list[str]) -> bool:
    """Was it started by multiprocessing's spawn method?"""
    return any("multiprocessing.spawn" in word or "--multiprocessing-fork" in word for word in command)

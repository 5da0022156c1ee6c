"""The role of a process in its job: main (a rank), loader-worker, launcher or other.

It is inferred from outside: from its command line, from whether it was forked (it then has the
program image of its parent) or executed a program, and from the name that torch's loader workers
give their main thread (`pt_data_worker`, torch >= 2.6).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from perfscope.agent.host import proc
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.files import read_file
from perfscope.agent.target_user.rights import TargetUser, target_user
from perfscope.traces.privacy.secret_masking import mask_text

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
SLURM_VARIABLES = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
"""The variables that srun sets for each task of a step, in the order of RANK_VARIABLES (srun manual
page, "output environment variables").
"""
PLACE_VARIABLES = (*RANK_VARIABLES, *SLURM_VARIABLES)
FORKING_SERVERS = ("gunicorn",)
LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "horovodrun", "mpirun", "mpiexec")
LAUNCHER_MODULES = (
    "torch.distributed.run",
    "torch.distributed.launch",
    "accelerate.commands",
    "deepspeed.launcher",
)
LAUNCHER_THREAD = "pt_elastic"
"""The name that torchrun gives its main thread."""
WORKER_THREAD = "pt_data_worker"
LONGEST_SOURCE_BYTES = 1 << 20
FORKSERVER = "multiprocessing.forkserver"
HELPERS = (FORKSERVER, "multiprocessing.resource_tracker", "multiprocessing.semaphore_tracker")
SPAWNED = ("multiprocessing.spawn", "--multiprocessing-fork")
TORCH_LIBRARIES = ("libtorch_cpu.so", "libtorch_python.so")
OPTIONS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
UNDECIDED = "undecided"


@dataclass
class ProcessFacts:
    """What was read about one process; valid as long as its program image stays the same."""

    pid: int
    ns_pid: int
    parent: int
    start_ticks: int
    image: tuple[int, int]
    command: list[str]
    thread: str
    is_python: bool
    has_torch: bool
    names_workers: bool
    environment: dict[str, str] = field(default_factory=dict)
    """Its PLACE_VARIABLES."""

    def number(self, name: str) -> int:
        """Return RANK, LOCAL_RANK or WORLD_SIZE from its environment, -1 if not set."""
        return int_variable(self.environment, name)

    def place(self, name: str) -> int:
        """Return RANK, LOCAL_RANK or WORLD_SIZE from its environment, else from its SLURM task.

        A SLURM task may have several children by multiprocessing, so the task does not count there.
        """
        if is_spawned(self):
            return self.number(name)
        return place_from_environment(self.environment, name)

    def forked_from(self, other: "ProcessFacts") -> bool:
        """Return whether this is a forked child of `other` that has not executed another program.

        Both then have the same image; where that is hidden, the command lines are compared.
        """
        is_image_known = min(*self.image, *other.image) > 1
        if is_image_known:
            return self.image == other.image
        return self.command == other.command


@dataclass(frozen=True)
class ProcessFamily:
    """The living processes of a job, parents first, and the nearest Python ancestor of each."""

    processes: dict[int, ProcessFacts] = field(default_factory=dict)
    above: dict[int, int | None] = field(default_factory=dict)

    def below(self, pid: int) -> list[ProcessFacts]:
        """Return the processes whose nearest Python ancestor is `pid`."""
        return [self.processes[child] for child, ancestor in self.above.items() if ancestor == pid]

    def name(self, pid: int) -> str:
        """Return the name of the script; multiprocessing children run that of an ancestor."""
        ancestor = self.above[pid]
        while ancestor is not None and is_of_multiprocessing(self.processes[pid]):
            pid, ancestor = ancestor, self.above[ancestor]
        return short_name(self.processes[pid].command)


def read_facts(pid: int, found: proc.Stat) -> ProcessFacts:
    """Return the facts of a process; this reads more than one line of /proc."""
    command, paths = proc.command_line(pid), proc.mapped_paths(pid)
    names = {os.path.basename(path) for path in paths}
    torch_paths = [path for path in paths if os.path.basename(path).startswith(TORCH_LIBRARIES)]
    torch = torch_paths[0] if torch_paths else None
    return ProcessFacts(
        pid=pid,
        ns_pid=proc.namespace_pid(pid),
        parent=found.parent,
        start_ticks=found.start_ticks,
        image=found.image,
        command=command,
        thread=found.name,
        is_python=is_python(pid, names),
        has_torch=torch is not None,
        names_workers=torch is not None and names_workers(pid, torch),
        environment=proc.environment(pid, PLACE_VARIABLES),
    )


def int_variable(environment: Mapping[str, str], name: str) -> int:
    """Return the number in a variable of an environment, -1 if there is none."""
    value = proc.decimal_number(environment.get(name, ""))
    return value if value is not None else -1


def place_from_environment(environment: Mapping[str, str], name: str) -> int:
    """Return RANK, LOCAL_RANK or WORLD_SIZE as set by a launcher for torch, -1 if unknown.

    Where that is not set, return it as set by SLURM for a step with several tasks.
    """
    value = int_variable(environment, name)
    tasks = int_variable(environment, SLURM_VARIABLES[-1])
    if value < 0 and tasks > 1:
        return int_variable(environment, SLURM_VARIABLES[RANK_VARIABLES.index(name)])
    return value


def find_facts(pid: int) -> ProcessFacts | None:
    """Return the facts of a process, None when it has ended."""
    found = proc.stat(pid)
    if found is None or found.state in "ZX":
        return None
    return read_facts(pid, found)


def is_python(pid: int, mapped: set[str]) -> bool:
    """Return whether a process is CPython, by the name of its executable or a mapped library.

    Where both are hidden, its command line decides.
    """
    name = proc.executable(pid)
    if not name and not mapped:
        name = os.path.basename((proc.command_line(pid) or [""])[0])
    return name.startswith("python") or any(library.startswith("libpython") for library in mapped)


def has_torch(mapped: set[str]) -> bool:
    """Return whether torch is among the mapped libraries."""
    return any(name.startswith(TORCH_LIBRARIES) for name in mapped)


NAMES_WORKERS: dict[tuple[int, int, int, str], bool] = {}
"""What `names_workers` found, by user, root directory (device and inode) and folder of torch."""


def names_workers(pid: int, library: str) -> bool:
    """Return whether a process's torch gives its loader workers a name.

    `library` is one of its libraries, such as .../torch/lib/libtorch_cpu.so.
    """
    home = os.path.dirname(os.path.dirname(library))
    try:
        with target_user(pid) as user:
            root = os.fstat(user.root)
            key = (user.uid, root.st_dev, root.st_ino, home)
            if key not in NAMES_WORKERS:
                source = read_source(user, f"{home}/utils/data/_utils/worker.py")
                NAMES_WORKERS[key] = WORKER_THREAD in source
            return NAMES_WORKERS[key]
    except OSError:
        return False


def read_source(user: TargetUser, path: str) -> str:
    """Return the text of a source file with the rights of `user`; empty if it cannot be read."""
    try:
        return str(call_as(user, read_file, user.root, path, LONGEST_SOURCE_BYTES).value)
    except OSError:
        return ""


def short_name(command: list[str]) -> str:
    """Return the script, module or program that a command line runs, with secrets masked."""
    return mask_text(program_of(command))


def program_of(command: list[str]) -> str:
    """Return the script or module that a command line runs, else the base name of its program."""
    words = iter(command[1:])
    for word in words:
        if word == "-m":
            return next(words, "?")
        if word == "-c":
            return "python -c"
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word.rsplit("/", 1)[-1]
    return command[0].rsplit("/", 1)[-1] if command else "?"


def is_launcher(process: ProcessFacts) -> bool:
    """Return whether a process is torchrun, accelerate launch or the like.

    The program that runs decides, not the words of its arguments.
    """
    if process.is_python:
        name = short_name(process.command)
    else:
        name = (process.command or ["?"])[0].rsplit("/", 1)[-1]
    return (
        process.thread == LAUNCHER_THREAD or name in LAUNCHERS or name.startswith(LAUNCHER_MODULES)
    )


def is_spawned(process: ProcessFacts) -> bool:
    """Return whether a process was started by multiprocessing's spawn method."""
    return any(mark in word for mark in SPAWNED for word in process.command)


def same_world(first: ProcessFacts, second: ProcessFacts) -> bool:
    """Return whether two processes are different ranks of a world of the same size."""
    size, rank = first.place("WORLD_SIZE"), first.place("RANK")
    if size < 0 or rank < 0:
        return False
    return size == second.place("WORLD_SIZE") and rank != second.place("RANK")


def assign_roles(family: ProcessFamily, launchers: set[int]) -> dict[int, str]:
    """Return the role of each process; `launchers` are those that already proved to be one."""
    roles: dict[int, str] = {}
    for pid, process in family.processes.items():
        ancestor = family.above[pid]
        below = family.below(pid)
        launches = pid in launchers or is_launcher(process) or starts_programs(process, below)
        launches = launches or forks_servers(process, below)
        if process.is_python and launches:
            roles[pid] = "launcher"
        elif ancestor is None:
            roles[pid] = "main" if process.is_python else "other"
        else:
            roles[pid] = role_below(process, family.processes[ancestor], roles[ancestor])
    return roles


def forks_servers(process: ProcessFacts, below: list[ProcessFacts]) -> bool:
    """Return whether a process is a web server's first one, whose forked children serve."""
    return short_name(process.command) in FORKING_SERVERS and any(
        child.forked_from(process) for child in below
    )


def starts_programs(process: ProcessFacts, below: list[ProcessFacts]) -> bool:
    """Return whether a process starts training programs without multiprocessing.

    It then has no torch while they have, or they have different RANKs. (A single RANK proves
    nothing: every helper of a rank inherits its environment.)
    """
    programs = [
        child
        for child in below
        if child.has_torch and not child.forked_from(process) and not is_spawned(child)
    ]
    ranks = {program.number("RANK") for program in programs} - {-1}
    return len(ranks) > 1 or (bool(programs) and not process.has_torch)


def role_below(process: ProcessFacts, above: ProcessFacts, role_above: str) -> str:
    """Return the role of a process whose nearest Python ancestor in the job is `above`.

    UNDECIDED is a multiprocessing child without a name: it is either too young to have one, or not
    a loader worker. spawned_ranks.py decides.
    """
    if not process.is_python or (is_helper(process) and not process.forked_from(above)):
        return "other"
    if process.thread == WORKER_THREAD:
        return "loader-worker"
    if process.forked_from(above) or is_spawned(process):
        return role_of_child(process, above, role_above)
    is_rank = is_launcher(above) or process.has_torch or process.number("RANK") >= 0
    return "main" if role_above == "launcher" and is_rank else "other"


def role_of_child(process: ProcessFacts, above: ProcessFacts, role_above: str) -> str:
    """Return the role of a multiprocessing child, forked or spawned."""
    if role_above == "launcher":
        return "main" if process.has_torch else "other"
    is_below_forkserver = is_helper(above) and FORKSERVER in " ".join(above.command)
    if role_above != "main" and not is_below_forkserver:
        return "other"
    if not process.has_torch:
        return UNDECIDED
    return UNDECIDED if process.names_workers else "loader-worker"


def is_helper(process: ProcessFacts) -> bool:
    """Return whether Python started a process for itself: a fork server or resource tracker."""
    return is_helper_command(process.command)


def is_helper_command(command: list[str]) -> bool:
    """Return whether a command line is that of a fork server or resource tracker."""
    return any(mark in word for mark in HELPERS for word in command)


def is_of_multiprocessing(process: ProcessFacts) -> bool:
    """Return whether the command line is multiprocessing's own, not that of a script."""
    return is_spawned(process) or is_helper(process)

"""What a process of the job is for: main (a rank), loader-worker, launcher or other.

Told from outside, by its command line, by whether it was forked (same program image as its parent)
or started anew, and by the name that torch's loader workers give their main thread
(`pt_data_worker`, torch >= 2.6).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from perfscope.agent.host import proc
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.files import read_file
from perfscope.agent.target_user.rights import TargetUser, target_user
from perfscope.traces.secret_masking import mask_text

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
SLURM_VARIABLES = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
"""What srun gives each task of a step, in the order of the above (srun manual page, "output
environment variables").
"""
SAID = (*RANK_VARIABLES, *SLURM_VARIABLES)
LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "horovodrun", "mpirun", "mpiexec")
LAUNCHER_MODULES = (
    "torch.distributed.run",
    "torch.distributed.launch",
    "accelerate.commands",
    "deepspeed.launcher",
)
LAUNCHER_THREAD = "pt_elastic"  # what torchrun calls its main thread
WORKER_THREAD = "pt_data_worker"
LONGEST_SOURCE_BYTES = 1 << 20
FORKSERVER = "multiprocessing.forkserver"
BYSTANDERS = (FORKSERVER, "multiprocessing.resource_tracker", "multiprocessing.semaphore_tracker")
SPAWNED = ("multiprocessing.spawn", "--multiprocessing-fork")
TORCH_LIBRARIES = ("libtorch_cpu.so", "libtorch_python.so")
OPTIONS_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
UNDECIDED = "undecided"


@dataclass
class Sight:
    """What was seen of one process, as long as its program image stays the same."""

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
    said: dict[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """A rank from the environment the process was started with, -1 when it has none."""
        return number(self.said, name)

    def place(self, name: str) -> int:
        """The same, else that of the SLURM task it runs in; a child by multiprocessing may be one
        of several in a task.
        """
        return said_place(self.said, name) if not is_spawned(self) else self.number(name)

    def forked_from(self, other: "Sight") -> bool:
        """A forked child that has not started another program: `image` tells, the command line
        where that is hidden.
        """
        if min(*self.image, *other.image) > 1:
            return self.image == other.image
        return self.command == other.command


@dataclass(frozen=True)
class Family:
    """The living processes of a job, parents first; `above` is the nearest Python ancestor in the
    job.
    """

    sights: dict[int, Sight] = field(default_factory=dict)
    above: dict[int, int | None] = field(default_factory=dict)

    def below(self, pid: int) -> list[Sight]:
        """Those whose nearest Python ancestor is `pid`."""
        return [self.sights[one] for one, over in self.above.items() if over == pid]

    def name(self, pid: int) -> str:
        """A short name for people: the script; a child that multiprocessing started runs its
        parent's.
        """
        over = self.above[pid]
        while over is not None and (is_spawned(self.sights[pid]) or is_bystander(self.sights[pid])):
            pid, over = over, self.above[over]
        return script(self.sights[pid].command)


def look(pid: int, found: proc.Stat) -> Sight:
    """Everything about a process that costs more than one line of /proc."""
    command, paths = proc.command_line(pid), proc.mapped_paths(pid)
    names = {os.path.basename(path) for path in paths}
    torch = next(
        (path for path in paths if os.path.basename(path).startswith(TORCH_LIBRARIES)), None
    )
    return Sight(
        pid=pid,
        ns_pid=proc.own_pid(pid),
        parent=found.parent,
        start_ticks=found.start_ticks,
        image=found.image,
        command=command,
        thread=found.name,
        is_python=is_python(pid, names),
        has_torch=torch is not None,
        names_workers=torch is not None and names_workers(pid, torch),
        said=proc.environment(pid, SAID),
    )


def number(said: Mapping[str, str], name: str) -> int:
    """A number from an environment, -1 for none."""
    value = said.get(name, "")
    return int(value) if value.isdecimal() else -1


def said_place(said: Mapping[str, str], name: str) -> int:
    """RANK, LOCAL_RANK or WORLD_SIZE as a launcher for torch says it, else as SLURM does of a step
    with several tasks.
    """
    own, tasks = number(said, name), number(said, SLURM_VARIABLES[-1])
    return (
        number(said, SLURM_VARIABLES[RANK_VARIABLES.index(name)]) if own < 0 and tasks > 1 else own
    )


def sight_of(pid: int) -> Sight | None:
    """A look at `pid`, None when it is gone."""
    found = proc.stat(pid)
    return look(pid, found) if found is not None and found.state not in "ZX" else None


def is_python(pid: int, mapped: set[str]) -> bool:
    """Is it CPython: its interpreter's name, or its library in the map? By its command line where
    both are hidden.
    """
    name = proc.executable(pid)
    if not name and not mapped:
        name = os.path.basename((proc.command_line(pid) or [""])[0])
    return name.startswith("python") or any(one.startswith("libpython") for one in mapped)


def has_torch(mapped: set[str]) -> bool:
    """Is torch loaded?"""
    return any(name.startswith(TORCH_LIBRARIES) for name in mapped)


known_torch: dict[tuple[int, int, int, str], bool] = {}
"""By user, root directory (device and inode) and torch's folder."""


def names_workers(pid: int, library: str) -> bool:
    """Does the torch that `library` (.../torch/lib/libtorch_cpu.so) belongs to give its loader
    workers a name?
    """
    home = os.path.dirname(os.path.dirname(library))
    try:
        with target_user(pid) as user:
            root = os.fstat(user.root)
            key = (user.uid, root.st_dev, root.st_ino, home)
            if key not in known_torch:
                known_torch[key] = WORKER_THREAD in text_of(
                    user, f"{home}/utils/data/_utils/worker.py"
                )
            return known_torch[key]
    except OSError:  # it has ended
        return False


def text_of(user: TargetUser, path: str) -> str:
    """Return the text of a source file of the user's; empty when it cannot be read."""
    try:
        return str(call_as(user, read_file, user.root, path, LONGEST_SOURCE_BYTES).value)
    except OSError:
        return ""


def script(command: list[str]) -> str:
    """Return a short name for people, secrets masked: the script or module that runs, else the
    program.
    """
    return mask_text(program_of(command))


def program_of(command: list[str]) -> str:
    """Return the script or module that a command line runs, else its program."""
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


def is_launcher(sight: Sight) -> bool:
    """torchrun, accelerate launch and their like: by the program that runs, not by a word in its
    arguments.
    """
    name = (
        script(sight.command) if sight.is_python else (sight.command or ["?"])[0].rsplit("/", 1)[-1]
    )
    return sight.thread == LAUNCHER_THREAD or name in LAUNCHERS or name.startswith(LAUNCHER_MODULES)


def is_spawned(sight: Sight) -> bool:
    """Was it started by multiprocessing's spawn method?"""
    return any(mark in word for mark in SPAWNED for word in sight.command)


def same_world(one: Sight, other: Sight) -> bool:
    """Two ranks of one job: different ranks of a world of the same size."""
    worlds = one.place("WORLD_SIZE"), other.place("WORLD_SIZE")
    return (
        worlds[0] == worlds[1]
        and -1 not in worlds
        and -1 < one.place("RANK") != other.place("RANK")
    )


def assign(family: Family, launchers: set[int]) -> dict[int, str]:
    """The role of each process of a family; `launchers` are those known to be so by what they
    do.
    """
    roles: dict[int, str] = {}
    for pid, sight in family.sights.items():
        over = family.above[pid]
        if sight.is_python and (
            pid in launchers or is_launcher(sight) or starts_programs(sight, family.below(pid))
        ):
            roles[pid] = "launcher"
        elif over is None:
            roles[pid] = "main" if sight.is_python else "other"
        else:
            roles[pid] = role(sight, family.sights[over], roles[over])
    return roles


def starts_programs(sight: Sight, below: list[Sight]) -> bool:
    """A script that starts the training as programs of their own: it has no torch and they have, or
    each has its own RANK.

    (A RANK alone does not make a rank: every helper of a rank inherits its environment.)
    """
    own = [
        one for one in below if one.has_torch and not one.forked_from(sight) and not is_spawned(one)
    ]
    ranks = {one.number("RANK") for one in own} - {-1}
    return len(ranks) > 1 or bool(own and not sight.has_torch)


def role(sight: Sight, above: Sight, role_above: str) -> str:
    """The role of a process below another of the job (its nearest Python ancestor).

    UNDECIDED is a multiprocessing child that has no name yet, or none because it is no loader
    worker: spawned_ranks.py decides.
    """
    if not sight.is_python or (is_bystander(sight) and not sight.forked_from(above)):
        return "other"
    if sight.thread == WORKER_THREAD:
        return "loader-worker"
    if sight.forked_from(above) or is_spawned(sight):
        return role_of_child(sight, above, role_above)
    ours = is_launcher(above) or sight.has_torch or sight.number("RANK") >= 0
    return "main" if role_above == "launcher" and ours else "other"


def role_of_child(sight: Sight, above: Sight, role_above: str) -> str:
    """A child by multiprocessing, forked or spawned: of a launcher, a fork server or a training
    process.
    """
    if role_above == "launcher":
        return "main" if sight.has_torch else "other"
    if role_above != "main" and not (is_bystander(above) and FORKSERVER in " ".join(above.command)):
        return "other"
    if not sight.has_torch:
        return UNDECIDED
    return UNDECIDED if sight.names_workers else "loader-worker"


def is_bystander(sight: Sight) -> bool:
    """A process that Python starts for itself: the fork server, the resource tracker."""
    return any(mark in word for mark in BYSTANDERS for word in sight.command)

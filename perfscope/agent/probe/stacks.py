"""Samples the Python stacks of the target's threads, from the probe's thread and without a stop.

All that it keeps in the target is bounded: the number of stacks and labels, the length of a label,
and the share of the time that samples take.
"""

import itertools
import os
import sys
import time
from _thread import get_ident, get_native_id
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

DEEPEST = 100
MOST_STACKS = 4_000
MOST_CODE_OBJECTS = 4_000
LONGEST_LABEL = 200
FORGOTTEN_NS = 180_000_000_000
SWEEP_NS = 10_000_000_000
OWN_FILE = "<perfscope "

# Taking a sample holds the GIL. The pause between samples has no upper limit: with thousands of
# threads samples become rare. It has one only where a sample takes long because this thread lost
# its core; otherwise there would be no samples on a busy machine.
MOST_SHARE = 0.002
LONGEST_CROWDED_PAUSE_NS = 500_000_000
MOST_THREADS = 32
LONGEST_SAMPLE_NS = 2_000_000
SMOOTHING = 8
# If this thread waits so long for a core each time it wakes, all cores are busy, and a sample
# delays the target.
FULL_CORES_WAIT_NS = 300_000
FULL_CORES_PAUSE_NS = 300_000_000
CORES_EVERY_NS = 5_000_000_000


def install(probe: "InstalledProbe") -> None:
    """Take samples from now on."""
    if has_gil():  # without it the frames of a running thread can be freed while they are read
        probe.ticks.append(Sampler(probe).tick)


def has_gil() -> bool:
    """Return whether the interpreter has a GIL; free-threaded builds exist since 3.13."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class SampleSchedule:
    """When the next sample is due, by the cost of samples and whether all cores are busy."""

    def __init__(self) -> None:
        self.cpu_ns = self.wall_ns = 0.0
        self.due_ns = 0
        self.cores_are_full = False
        self.checked_ns = time.monotonic_ns()
        self.waits = run_queue_waits()

    def add_sample(self, cpu_ns: int, wall_ns: int, ended_ns: int) -> None:
        """Account for the cost of a sample and set `due_ns`."""
        self.cpu_ns += (cpu_ns - self.cpu_ns) / SMOOTHING if self.cpu_ns else cpu_ns
        self.wall_ns += (wall_ns - self.wall_ns) / SMOOTHING if self.wall_ns else wall_ns
        if ended_ns - self.checked_ns >= CORES_EVERY_NS:
            self.check_cores(ended_ns)
        crowded_ns = min(int(self.wall_ns / MOST_SHARE), LONGEST_CROWDED_PAUSE_NS)
        full_ns = FULL_CORES_PAUSE_NS if self.cores_are_full else 0
        self.due_ns = ended_ns + max(int(self.cpu_ns / MOST_SHARE), crowded_ns, full_ns)

    def check_cores(self, now_ns: int) -> None:
        """Find out from this thread's waits for a core whether all cores are busy.

        Reading the waits releases the GIL, so it is done rarely.
        """
        before, self.waits = self.waits, run_queue_waits()
        self.checked_ns = now_ns
        turns, waited_ns = self.waits[1] - before[1], self.waits[0] - before[0]
        self.cores_are_full = turns > 0 and waited_ns / turns > FULL_CORES_WAIT_NS


def run_queue_waits() -> "tuple[int, int]":
    """Return (ns that this thread has waited for a core, how often it got one).

    Both are 0 if the kernel does not count them.
    """
    try:
        with open(f"/proc/{os.getpid()}/task/{get_native_id()}/schedstat", "rb") as file:
            _, waited, turns = file.read().split()
    except (OSError, ValueError):
        return 0, 0
    return int(waited), int(turns)


class Sampler:
    """Samples the main thread and, in turn, a share of the other Python threads."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.own = get_ident()
        # Asked once: asking releases the GIL, which must not happen within a sample.
        self.folder = working_directory()
        self.main = main_ident()
        self.labels: dict[int, tuple[Any, dict[int, str]]] = {}
        # By the hash of a stack: its number, and when it was last seen; least recently seen first.
        self.known: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self.numbers = itertools.count()
        self.schedule = SampleSchedule()
        self.last_ns = self.swept_ns = time.monotonic_ns()
        self.sampled_ns: dict[int, int] = {}
        self.turn = 0

    def tick(self, now_ns: int) -> None:
        if now_ns < self.schedule.due_ns:
            return
        began_ns, began_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        frames = sys._current_frames()
        try:
            self.take(frames, now_ns, began_ns)
        finally:
            # This very frame is among them: without this they would keep the local variables of
            # all threads alive until the next garbage collection, loaders and batches too.
            frames.clear()
        ended_ns = time.monotonic_ns()
        cpu_ns = time.thread_time_ns() - began_cpu_ns
        self.schedule.add_sample(cpu_ns, ended_ns - began_ns, ended_ns)

    def take(self, frames: "dict[int, Any]", now_ns: int, began_ns: int) -> None:
        """Report the stacks of the chosen threads."""
        threads = getattr(sys.modules.get("threading"), "_active", {})
        for ident in self.choose_threads(frames):
            tid = getattr(threads.get(ident), "native_id", None) or -1
            stack = self.folded_stack(frames[ident])
            self.report(stack, tid, now_ns, self.weigh(ident, now_ns))
            if time.monotonic_ns() - began_ns > LONGEST_SAMPLE_NS:
                break
        self.last_ns = now_ns
        if now_ns - self.swept_ns >= SWEEP_NS:
            self.sweep(now_ns, frames)

    def choose_threads(self, frames: "dict[int, Any]") -> "list[int]":
        """Return the threads of this sample: the main thread, and up to MOST_THREADS others.

        If there are more, each sample continues where the last one ended.
        """
        others = [ident for ident in frames if ident not in (self.own, self.main)]
        first = [self.main] if self.main in frames else []
        if len(others) <= MOST_THREADS:
            return first + others
        others.sort()
        begin = self.turn % len(others)
        self.turn = begin + MOST_THREADS
        rotated = others[begin:] + others[:begin]
        return first + rotated[:MOST_THREADS]

    def weigh(self, ident: int, now_ns: int) -> int:
        """Return the ns that this sample represents.

        It began with the last sample of this thread, or of any thread if this is its first.
        """
        weight = now_ns - self.sampled_ns.get(ident, self.last_ns)
        self.sampled_ns[ident] = now_ns
        return weight

    def report(self, stack: str, tid: int, now_ns: int, weight_ns: int) -> None:
        """Send one sample; the text of a stack is sent once and not kept in the target."""
        if not stack:
            return
        notes, key = self.probe.notes, hash(stack)
        number, _ = self.known.pop(key, (-1, 0))
        if number < 0:
            number = next(self.numbers)
            notes.put({"note": "stack-text", "number": number, "text": stack})
            if len(self.known) >= MOST_STACKS:
                _, (oldest, _) = self.known.popitem(last=False)
                self.forget([oldest])
        self.known[key] = (number, now_ns)
        sample = {"ts": now_ns, "tid": tid, "weight_ns": weight_ns, "stack": number}
        notes.put({"note": "stack-sample", **sample})

    def sweep(self, now_ns: int, frames: "dict[int, Any]") -> None:
        """Forget stacks that were not seen for minutes, ended threads, and all code objects.

        Otherwise the code objects would live as long as the probe.
        """
        self.swept_ns = now_ns
        old = [key for key, (_, seen_ns) in self.known.items() if now_ns - seen_ns > FORGOTTEN_NS]
        self.forget([self.known.pop(key)[0] for key in old])
        self.sampled_ns = {ident: at for ident, at in self.sampled_ns.items() if ident in frames}
        self.labels.clear()

    def forget(self, numbers: "list[int]") -> None:
        """Tell the agent to forget these stacks; their numbers are not used again."""
        if numbers:
            self.probe.notes.put({"note": "forgotten-stacks", "numbers": numbers})

    def folded_stack(self, frame: Any) -> str:
        """Return the stack of a frame in folded form: labels from the outermost, joined by `;`."""
        labels: list[str] = []
        known = self.labels.get
        while frame is not None and len(labels) < DEEPEST:
            code, instruction = frame.f_code, frame.f_lasti
            entry = known(id(code))
            label = None if entry is None else entry[1].get(instruction)
            labels.append(self.make_label(code, instruction) if label is None else label)
            frame = frame.f_back
        return ";".join(label for label in reversed(labels) if label)

    def make_label(self, code: Any, instruction: int) -> str:
        """Return `function (file:line)` of an instruction, and keep it; finding a line is slow.

        The code object is kept too, so that its id is not used again. The probe's own code gets an
        empty label.
        """
        if len(self.labels) >= MOST_CODE_OBJECTS:
            self.labels.clear()
        _, labels = self.labels.setdefault(id(code), (code, {}))
        label = ""
        if not code.co_filename.startswith(OWN_FILE):
            label = label_of_line(code, line_of(code, instruction), self.folder)
        labels[instruction] = label
        return label


def main_ident() -> int:
    """Return the identifier of the main thread, 0 if `threading` was never imported."""
    main = getattr(sys.modules.get("threading"), "_main_thread", None)
    return getattr(main, "ident", 0) or 0


def line_of(code: Any, instruction: int) -> int:
    """Return the source line of an instruction, 0 if it has none."""
    spans = code.co_lines() if hasattr(code, "co_lines") else ()  # since 3.10
    for begin, end, line in spans:
        if begin <= instruction < end:
            return line or 0
    return code.co_firstlineno  # type: ignore[no-any-return]


def label_of_line(code: Any, line: int, folder: str) -> str:
    """Return `function (file:line)`; `folder` is the working directory, with a slash at its end."""
    path = short_path(code.co_filename, folder)
    name = code.co_name
    if not is_of_package(path):
        name = getattr(code, "co_qualname", name)  # since 3.11
    return f"{name[:LONGEST_LABEL]} ({path}:{line})".replace(";", ",")


def place_of_call(frame: Any, folder: str) -> str:
    """Return the label of the frame that makes a call.

    If it is of a package, that of the program's own frame that led to it comes before it.
    """
    while frame is not None and frame.f_code.co_filename.startswith(OWN_FILE):
        frame = frame.f_back
    if frame is None:
        return ""
    caller = label_of_line(frame.f_code, frame.f_lineno or 0, folder)
    for _ in range(DEEPEST):
        if frame is None:
            break
        if not is_of_package(short_path(frame.f_code.co_filename, folder)):
            label = label_of_line(frame.f_code, frame.f_lineno or 0, folder)
            return label if label == caller else f"{label};{caller}"
        frame = frame.f_back
    return caller


def short_path(path: str, folder: str = "") -> str:
    """Return a path of at most LONGEST_LABEL characters that shows whose code it is.

    Installed packages and the standard library are named from their package on, for example
    `torch/nn/modules/linear.py`; the path of any other file begins with `./` below `folder` (with a
    slash at its end), else with `/`.
    """
    package_path = from_package(path)
    if package_path:
        return package_path[-LONGEST_LABEL:]
    if folder and path.startswith(folder):
        path = path[len(folder) :]
    if not path.startswith(("/", "<")):
        path = f"./{path}"
    return path if len(path) <= LONGEST_LABEL else f"/...{path[4 - LONGEST_LABEL :]}"


def from_package(path: str) -> str:
    """Return the path of an installed package or the standard library, from its package on; "" for
    any other.
    """
    for root in ("/site-packages/", "/dist-packages/"):
        if root in path:
            return path.rsplit(root, 1)[1]
    _, library, below = path.partition("/lib/python3")
    if library and "/" in below:
        return below.split("/", 1)[1]
    return ""


def working_directory() -> str:
    """Return the working directory with a slash at its end, "" where it cannot be read."""
    try:
        return os.getcwd().rstrip("/") + "/"
    except OSError:
        return ""


def is_of_package(short: str) -> bool:
    """Return whether a short path is that of an installed package or the standard library."""
    return not short.startswith(("./", "/", "<"))

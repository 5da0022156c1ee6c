"""Samples the Python stacks of the target's threads from our own thread: no stop, the same clock as
everything else.

Everything it keeps in the target is bounded: how many stacks and labels it knows, how long a label
is, and how much of the time samples take.
"""

import itertools
import os
import sys
import time
from _thread import get_ident, get_native_id
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

DEEPEST = 100
MOST_STACKS = 4_000
MOST_CODE_OBJECTS = 4_000
LONGEST_LABEL = 200
FORGOTTEN_NS = 180_000_000_000
SWEEP_NS = 10_000_000_000
OWN_FILE = "<perfscope "

# Meanwhile this thread holds the interpreter. There is no longest pause: with thousands of threads
# samples become rare. Only where a sample lasts because this thread lost its core there is one:
# else nothing would be seen on a crowded machine.
MOST_SHARE = 0.002
LONGEST_CROWDED_PAUSE_NS = 500_000_000
MOST_THREADS = 32
LONGEST_SAMPLE_NS = 2_000_000
SMOOTHING = 8
# A thread that waits so long for a core each time it wakes shows that the cores are full: then a
# sample delays the target.
FULL_CORES_WAIT_NS = 300_000
FULL_CORES_PAUSE_NS = 300_000_000
CORES_EVERY_NS = 5_000_000_000


def install(probe: "Probe") -> None:
    if has_gil():  # without it the frames of a running thread can be freed while they are read
        probe.ticks.append(Sampler(probe).tick)


def has_gil() -> bool:
    """Return whether only one thread at a time runs Python code here; a free-threaded build says so
    from 3.13 on.
    """
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class Pace:
    """When the next sample is due: its cost, and whether the cores are full, decide."""

    def __init__(self) -> None:
        self.cpu_ns = self.wall_ns = 0.0
        self.due_ns = 0
        self.full_cores = False
        self.asked_ns = time.monotonic_ns()
        self.waits = run_queue_waits()

    def took(self, cpu_ns: int, wall_ns: int, ended_ns: int) -> None:
        """Take in how long a sample lasted; sets `due_ns`."""
        self.cpu_ns += (cpu_ns - self.cpu_ns) / SMOOTHING if self.cpu_ns else cpu_ns
        self.wall_ns += (wall_ns - self.wall_ns) / SMOOTHING if self.wall_ns else wall_ns
        if ended_ns - self.asked_ns >= CORES_EVERY_NS:
            self.ask_for_cores(ended_ns)
        crowded_ns = min(int(self.wall_ns / MOST_SHARE), LONGEST_CROWDED_PAUSE_NS)
        full_ns = FULL_CORES_PAUSE_NS if self.full_cores else 0
        self.due_ns = ended_ns + max(int(self.cpu_ns / MOST_SHARE), crowded_ns, full_ns)

    def ask_for_cores(self, now_ns: int) -> None:
        """Judge from this thread's own waits for a core. Reading them lets go of the interpreter,
        so it is done rarely.
        """
        self.asked_ns, before, self.waits = now_ns, self.waits, run_queue_waits()
        turns = self.waits[1] - before[1]
        self.full_cores = turns > 0 and (self.waits[0] - before[0]) / turns > FULL_CORES_WAIT_NS


def run_queue_waits() -> "tuple[int, int]":
    """Return (ns this thread has waited for a core, how often it got one); zeros where the kernel
    does not count.
    """
    try:
        with open(f"/proc/{os.getpid()}/task/{get_native_id()}/schedstat", "rb") as file:
            _, waited, turns = file.read().split()
    except (OSError, ValueError):
        return 0, 0
    return int(waited), int(turns)


class Sampler:
    """Samples the main thread and, in turn, a share of the other Python threads."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.own = get_ident()
        self.main = main_ident()
        self.labels: dict[int, tuple[Any, dict[int, str]]] = {}
        # by the hash of a stack: its number, and when it was seen last; the least recently seen
        # first
        self.known: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self.numbers = itertools.count()
        self.pace = Pace()
        self.last_ns = self.swept_ns = time.monotonic_ns()
        self.sampled_ns: dict[int, int] = {}
        self.turn = 0

    def tick(self, now_ns: int) -> None:
        if now_ns < self.pace.due_ns:
            return
        began_ns, began_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        frames = sys._current_frames()
        threads = getattr(sys.modules.get("threading"), "_active", {})
        for ident in self.chosen(frames):
            native = getattr(threads.get(ident), "native_id", None)
            self.keep(self.folded(frames[ident]), native or -1, now_ns, self.weight(ident, now_ns))
            if time.monotonic_ns() - began_ns > LONGEST_SAMPLE_NS:
                break
        self.last_ns = now_ns
        if now_ns - self.swept_ns >= SWEEP_NS:
            self.sweep(now_ns, frames)
        ended_ns = time.monotonic_ns()
        self.pace.took(time.thread_time_ns() - began_cpu_ns, ended_ns - began_ns, ended_ns)

    def chosen(self, frames: "dict[int, Any]") -> "list[int]":
        """Return the threads of this sample: the main one, and of the others as many as are
        allowed, the next ones each time.
        """
        others = [ident for ident in frames if ident not in (self.own, self.main)]
        first = [self.main] if self.main in frames else []
        if len(others) <= MOST_THREADS:
            return first + others
        others.sort()
        at = self.turn % len(others)
        self.turn = at + MOST_THREADS
        return first + (others[at:] + others[:at])[:MOST_THREADS]

    def weight(self, ident: int, now_ns: int) -> int:
        """Return the time that this sample stands for: since the thread's last one, or since the
        last sample of any.
        """
        weight = now_ns - self.sampled_ns.get(ident, self.last_ns)
        self.sampled_ns[ident] = now_ns
        return weight

    def keep(self, stack: str, native: int, now_ns: int, weight: int) -> None:
        """Report one stack; its text is sent once, and is not kept here."""
        if not stack:
            return
        notes, key = self.probe.notes, hash(stack)
        number, _ = self.known.pop(key, (-1, 0))
        if number < 0:
            number = next(self.numbers)
            notes.put({"code": number, "kind": "stack", "name": stack})
            if len(self.known) >= MOST_STACKS:
                self.forget([self.known.popitem(last=False)[1][0]])
        self.known[key] = (number, now_ns)
        notes.put({"ts": now_ns, "tid": native, "weight_ns": weight, "stack": number})

    def sweep(self, now_ns: int, frames: "dict[int, Any]") -> None:
        """Forget what was not seen for minutes, ended threads, and code objects, which would else
        live as long as the probe.
        """
        self.swept_ns = now_ns
        old = [key for key, (_, seen_ns) in self.known.items() if now_ns - seen_ns > FORGOTTEN_NS]
        self.forget([self.known.pop(key)[0] for key in old])
        self.sampled_ns = {ident: at for ident, at in self.sampled_ns.items() if ident in frames}
        self.labels.clear()

    def forget(self, numbers: "list[int]") -> None:
        """Let the agent forget these stacks too; no number is used again."""
        if numbers:
            self.probe.notes.put({"forgotten": numbers})

    def folded(self, frame: Any) -> str:
        labels: list[str] = []
        known = self.labels.get
        while frame is not None and len(labels) < DEEPEST:
            code, at = frame.f_code, frame.f_lasti
            here = known(id(code))
            label = None if here is None else here[1].get(at)
            labels.append(self.label(code, at) if label is None else label)
            frame = frame.f_back
        return ";".join(label for label in reversed(labels) if label)

    def label(self, code: Any, at: int) -> str:
        """Return `function (file:line)` of an instruction, and remember it: to find its line a
        table is decoded.

        The code object is kept along, so that its id stays its own.
        """
        if len(self.labels) >= MOST_CODE_OBJECTS:
            self.labels.clear()
        _, labels = self.labels.setdefault(id(code), (code, {}))
        ours = code.co_filename.startswith(OWN_FILE)
        place = f" ({short(code.co_filename)[-LONGEST_LABEL:]}:{line_of(code, at)})"
        label = labels[at] = (
            "" if ours else (code.co_name[:LONGEST_LABEL] + place).replace(";", ",")
        )
        return label


def main_ident() -> int:
    """Return the identifier of the main thread, 0 where `threading` was never imported."""
    return getattr(getattr(sys.modules.get("threading"), "_main_thread", None), "ident", 0) or 0


def line_of(code: Any, at: int) -> int:
    """The source line of an instruction, 0 when it has none."""
    spans = code.co_lines() if hasattr(code, "co_lines") else ()  # from 3.10 on
    return next((line or 0 for begin, end, line in spans if begin <= at < end), code.co_firstlineno)


def short(path: str) -> str:
    """The path from its package on: people know `torch/nn/modules/linear.py`."""
    for root in ("/site-packages/", "/dist-packages/"):
        if root in path:
            return path.rsplit(root, 1)[1]
    return "/".join(path.rsplit("/", 2)[-2:])

"""Samples the Python stacks of the target's threads from our own thread: no stop, the same clock as everything else."""

import sys
import time
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

DEEPEST = 100
MOST_STACKS = 50_000
OWN_FILE = "<perfscope "


def install(probe: "Probe") -> None:
    probe.ticks.append(Sampler(probe).tick)


class Sampler:
    """One sample of every Python thread but ours each time the probe wakes."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.own = get_ident()
        self.labels: dict[int, tuple[Any, dict[int, str]]] = {}
        self.last_ns = time.monotonic_ns()

    def tick(self, now_ns: int) -> None:
        weight, self.last_ns = now_ns - self.last_ns, now_ns
        threads = getattr(sys.modules.get("threading"), "_active", {})
        for ident, frame in sys._current_frames().items():
            if ident == self.own:
                continue
            native = getattr(threads.get(ident), "native_id", None)
            stack = self.folded(frame)
            if stack and len(self.probe.codes) < MOST_STACKS:
                code = self.probe.code(("stack", stack), "stack", stack)
                self.probe.notes.put({"ts": now_ns, "tid": native or -1, "weight_ns": weight, "stack": code})

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
        """`function (file:line)` of an instruction, remembered: to find its line a table is decoded. The code object is kept
        so that its id stays its own.
        """
        _, labels = self.labels.setdefault(id(code), (code, {}))
        ours = code.co_filename.startswith(OWN_FILE)
        name = f"{code.co_name} ({short(code.co_filename)}:{line_of(code, at)})".replace(";", ",")
        label = labels[at] = "" if ours else name
        return label


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

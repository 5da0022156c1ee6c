"""Times the calls of what torch.compile made, where anything was compiled: there no module may be
touched.

Whatever way it is called (a compiled function, an OptimizedModule, `Module.compile()`), Dynamo sets
its frame evaluation before and sets it back behind. Both go through functions of its own module
that no compiled code holds or guards on: those are watched.
"""

import sys
import time
import weakref
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

BEFORE, BEHIND = "_callback_from_stance", "_maybe_set_eval_frame"
CALLERS = ("compile_wrapper", "_fn")
FRAMES_TO_LOOK_UP = 8
FRAMES_BETWEEN = 4
"""This function, the one of ours that asks it, its guard, the wrapper; then the function that
called.
"""


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or SHELF["presence"].in_worker():
        return
    calls = CompiledCalls(probe, torch)
    calls.tick(0)
    probe.ticks.append(calls.tick)


class CompiledCalls:
    """The outermost calls of compiled functions, one record each. One compiled function is one
    callback of Dynamo's.
    """

    def __init__(self, probe: "Probe", torch: Any) -> None:
        self.probe, self.torch = probe, torch
        self.known: dict[int, tuple[int, Callable[[], Any]]] = {}
        self.begun: dict[int, list[tuple[int, int, int] | None]] = {}
        """By thread: the calls that are under way, outermost first; None for one within another."""
        self.entering: set[int] = set()
        self.placed = False

    def tick(self, now_ns: int) -> None:
        frames = SHELF["compilation"].dynamo("eval_frame")
        if self.placed or not self.probe.compilation.handed_over or frames is None:
            return
        self.placed = True
        if hasattr(frames, BEFORE) and hasattr(frames, BEHIND):
            for name, begin in ((BEFORE, self.before), (BEHIND, self.behind)):
                self.probe.patches.put(
                    frames,
                    name,
                    self.probe.around(vars(frames)[name], begin, SHELF["guard"].nothing),
                )

    def before(self, args: Any, kwargs: Any) -> None:
        """Dynamo is asked what to evaluate frames with from now on."""
        here, callback = get_ident(), args[0]
        self.entering.add(here)
        if not called_from_dynamo():
            return
        under_way = self.begun.setdefault(here, [])
        if callback is None or callback is False or any(under_way):
            under_way.append(None)
            return
        if id(callback) not in self.known:
            self.learn(callback, sys._getframe())
        for began in self.probe.forward_began:
            began()
        under_way.append((id(callback), time.monotonic_ns(), get_native_id()))

    def behind(self, args: Any, kwargs: Any) -> None:
        """It is set: on the way in, right after it was asked for, or on the way out, to what it was
        before.
        """
        here = get_ident()
        if here in self.entering:
            self.entering.discard(here)
        elif self.begun.get(here) and called_from_dynamo():
            call = self.begun[here].pop()
            if call is not None:
                self.finish(*call)

    def finish(self, key: int, first: int, tid: int) -> None:
        took = time.monotonic_ns() - first
        code, module = self.known[key]
        training = 1 if vars(module() or self).get("training") is True else 0
        grad = 1 if self.torch.is_grad_enabled() else 0
        kind = self.probe.kinds["FORWARD"]
        self.probe.records.append(
            (kind, tid, first, took, code, training, grad, -1, -1, -1, -1, -1)
        )

    def learn(self, callback: Any, frame: "FrameType | None") -> None:
        """Find out what a callback stands for: the frame that asks for it knows the function that
        was compiled.
        """
        function = compiled_function(frame)
        module = getattr(function, "__self__", None)
        is_module = isinstance(module, self.torch.nn.Module)
        name = (
            type(module).__name__ if is_module else str(getattr(function, "__name__", "compiled"))
        )
        code = self.probe.code(("module", id(callback)), "module", name)
        self.known[id(callback)] = (code, weakref.ref(module) if is_module else lambda: None)


def called_from_dynamo() -> bool:
    """Whether the call that we were called around stands in what Dynamo made of a function: one way
    in, one way out.
    """
    return sys._getframe(FRAMES_BETWEEN).f_code.co_name in CALLERS


def compiled_function(frame: "FrameType | None") -> Any:
    for _ in range(FRAMES_TO_LOOK_UP):
        if frame is None:
            return None
        if frame.f_code.co_name in CALLERS and frame.f_code.co_filename.endswith("eval_frame.py"):
            return frame.f_locals.get("fn")
        frame = frame.f_back
    return None

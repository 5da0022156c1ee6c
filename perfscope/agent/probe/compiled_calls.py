"""Times the calls of compiled functions, in programs that use torch.compile.

Modules must not be patched there. However it is called (a compiled function, an OptimizedModule,
`Module.compile()`), Dynamo sets its frame evaluation before the call and restores it after the
call. It does so through two functions of its own module that no compiled code holds or guards on,
and these are patched.
"""

import sys
import time
import weakref
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

CHOOSE_CALLBACK, SET_CALLBACK = "_callback_from_stance", "_maybe_set_eval_frame"
CALLERS = ("compile_wrapper", "_fn")
FRAMES_TO_LOOK_UP = 8
# From `called_from_dynamo` up to the caller of the patched function: itself, the method that calls
# it, its guard, the wrapper, then the caller.
FRAMES_BETWEEN = 4


def install(probe: "InstalledProbe") -> None:
    """Time the calls once anything is compiled."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return
    calls = CompiledCalls(probe, torch)
    calls.tick(0)
    probe.ticks.append(calls.tick)


class CompiledCalls:
    """Records the outermost calls of compiled functions; each of them has a callback of Dynamo."""

    def __init__(self, probe: "InstalledProbe", torch: Any) -> None:
        self.probe, self.torch = probe, torch
        self.known: dict[int, tuple[int, Callable[[], Any]]] = {}
        # By thread: the calls that are under way, outermost first; None for a nested one.
        self.begun: dict[int, list[tuple[int, int, int] | None]] = {}
        self.entering: set[int] = set()
        self.placed = False

    def tick(self, now_ns: int) -> None:
        frames = MODULES["compilation"].dynamo("eval_frame")
        if self.placed or not self.probe.compilation.in_use or frames is None:
            return
        self.placed = True
        if not hasattr(frames, CHOOSE_CALLBACK) or not hasattr(frames, SET_CALLBACK):
            return
        nothing = MODULES["guard"].do_nothing
        for name, begin in (
            (CHOOSE_CALLBACK, self.callback_is_chosen),
            (SET_CALLBACK, self.callback_is_set),
        ):
            wrapper = self.probe.wrap(vars(frames)[name], begin, nothing)
            self.probe.patches.put(frames, name, wrapper)

    def callback_is_chosen(self, args: Any, kwargs: Any) -> None:
        """Note the begin of a call, for which Dynamo chooses the callback that evaluates frames."""
        thread, callback = get_ident(), args[0]
        self.entering.add(thread)
        if not called_from_dynamo():
            return
        calls = self.begun.setdefault(thread, [])
        if callback is None or callback is False or any(calls):
            calls.append(None)
            return
        if id(callback) not in self.known:
            self.register(callback, sys._getframe())
        for began in self.probe.forward_began:
            began()
        calls.append((id(callback), time.monotonic_ns(), get_native_id()))

    def callback_is_set(self, args: Any, kwargs: Any) -> None:
        """Record a call that ends. Dynamo sets the callback after choosing it and at the end."""
        thread = get_ident()
        if thread in self.entering:
            self.entering.discard(thread)
        elif self.begun.get(thread) and called_from_dynamo():
            call = self.begun[thread].pop()
            if call is not None:
                self.record(*call)

    def record(self, key: int, first: int, tid: int) -> None:
        took = time.monotonic_ns() - first
        code, module = self.known[key]
        training = 1 if vars(module() or self).get("training") is True else 0
        grad = 1 if self.torch.is_grad_enabled() else 0
        kind = self.probe.kinds["FORWARD"]
        row = (kind, tid, first, took, code, training, grad, -1, -1, -1, -1, -1)
        self.probe.records.append(row)

    def register(self, callback: Any, frame: "FrameType | None") -> None:
        """Name a callback after its compiled function, which the frame that uses it refers to."""
        function = compiled_function(frame)
        module = getattr(function, "__self__", None)
        is_module = isinstance(module, self.torch.nn.Module)
        name = str(getattr(function, "__name__", "compiled"))
        if is_module:
            name = type(module).__name__
        code = self.probe.register_name(("module", id(callback)), "module", name)
        self.known[id(callback)] = (code, weakref.ref(module) if is_module else lambda: None)


def called_from_dynamo() -> bool:
    """Return whether a function that Dynamo made called the patched function.

    Such a function calls it once at its begin and once at its end.
    """
    return sys._getframe(FRAMES_BETWEEN).f_code.co_name in CALLERS


def compiled_function(frame: "FrameType | None") -> Any:
    """Return the function that Dynamo compiled, by the frame that it made; None if unknown."""
    for _ in range(FRAMES_TO_LOOK_UP):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_name in CALLERS and code.co_filename.endswith("eval_frame.py"):
            return frame.f_locals.get("fn")
        frame = frame.f_back
    return None

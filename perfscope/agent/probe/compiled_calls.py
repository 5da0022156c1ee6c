"""Times the calls of compiled functions, in programs that use torch.compile.

Modules must not be patched there. However it is called (a compiled function, an OptimizedModule,
`Module.compile()`), Dynamo sets its frame evaluation before the call and restores it after the
call. It does so through two functions of its own module that no compiled code holds or guards on,
and these are patched.

Often only the blocks of a model are compiled, or a function that all of its layers call. The model
around them is not patched, but its calls are on the stack: compiled calls under the same outermost
call of a module are one call, from the first to the last of them. To know the same call again, its
frames are marked by `f_trace_lines`, which only debuggers use and which ends with the frame.
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
# A call is complete when the next one begins, or when no part of it has ended for so long.
COMPLETE_AFTER_NS = 1_000_000_000
CALLS_OF_MODULES = ("_call_impl", "_wrapped_call_impl")
BACKWARD = "backward"
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


class OuterCall:
    """A call of a module that runs compiled code, or of a compiled function outside of modules."""

    __slots__ = ("code", "first_ns", "grad", "last_ns", "module", "tid")

    def __init__(self, code: int, module: "Callable[[], Any]") -> None:
        self.code, self.module, self.tid = code, module, get_native_id()
        self.first_ns = self.last_ns = time.monotonic_ns()
        self.grad = 1


class CompiledCalls:
    """Records the outermost calls of compiled functions; each of them has a callback of Dynamo."""

    def __init__(self, probe: "InstalledProbe", torch: Any) -> None:
        self.probe, self.torch = probe, torch
        self.known: dict[int, tuple[int, Callable[[], Any]]] = {}
        # By thread: whether each call that is under way counts, outermost first.
        self.begun: dict[int, list[bool]] = {}
        # By thread: the call that is under way, or ended last and may continue.
        self.outer: dict[int, OuterCall] = {}
        self.entering: set[int] = set()
        self.placed = False
        probe.endings.append(self.record_all)

    def tick(self, now_ns: int) -> None:
        self.record_complete(now_ns)
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
        counts = callback is not None and callback is not False and not any(calls)
        calls.append(counts)
        if counts:
            self.begin(thread, callback)

    def begin(self, thread: int, callback: Any) -> None:
        """Begin an outer call, unless this compiled call is a part of the one under way."""
        root, is_new = mark_outermost_call(sys._getframe())
        if not is_new:
            return
        self.record(self.outer.pop(thread, None))
        key = id(callback)
        module = None if root is None else root.f_locals.get("self")
        if isinstance(module, self.torch.nn.Module):
            module = vars(module)["_modules"].get("_orig_mod", module)
            key = id(module)
            self.register_module(module)
        elif key not in self.known:
            self.register_function(callback, sys._getframe())
        for began in self.probe.forward_began:
            began()
        self.outer[thread] = OuterCall(*self.known[key])

    def callback_is_set(self, args: Any, kwargs: Any) -> None:
        """Note the end of a call. Dynamo sets the callback after choosing it and at the end."""
        thread = get_ident()
        if thread in self.entering:
            self.entering.discard(thread)
        elif self.begun.get(thread) and called_from_dynamo():
            call = self.outer.get(thread)
            if self.begun[thread].pop() and call is not None:
                call.last_ns = time.monotonic_ns()
                call.grad = int(self.torch.is_grad_enabled())

    def record(self, call: "OuterCall | None") -> None:
        """Record an outer call that is complete."""
        if call is None or call.last_ns == call.first_ns:
            return
        training = 1 if vars(call.module() or self).get("training") is True else 0
        place = (self.probe.kinds["FORWARD"], call.tid, call.first_ns)
        took = call.last_ns - call.first_ns
        row = (*place, took, call.code, training, call.grad, -1, -1, -1, -1, -1)
        self.probe.records.append(row)

    def record_complete(self, now_ns: int) -> None:
        """Record the calls of which no part has ended for a while, and none is under way."""
        for thread, call in tuple(self.outer.items()):
            is_under_way = any(self.begun.get(thread, ()))
            if not is_under_way and now_ns - call.last_ns > COMPLETE_AFTER_NS:
                self.record(self.outer.pop(thread, None))

    def record_all(self) -> None:
        """Record the last calls, when the probe leaves."""
        for thread in tuple(self.outer):
            self.record(self.outer.pop(thread, None))

    def register_module(self, module: Any) -> None:
        """Name the outermost module of a call."""
        known = self.known.get(id(module))
        if known is None or known[1]() is not module:
            name = type(module).__name__
            code = self.probe.register_name(("module", id(module)), "module", name)
            self.known[id(module)] = (code, weakref.ref(module))

    def register_function(self, callback: Any, frame: "FrameType | None") -> None:
        """Name a callback after its compiled function, which the frame that uses it refers to."""
        function = compiled_function(frame)
        module = getattr(function, "__self__", None)
        is_module = isinstance(module, self.torch.nn.Module)
        name = str(getattr(function, "__name__", "compiled"))
        if is_module:
            name = type(module).__name__
        code = self.probe.register_name(("module", id(callback)), "module", name)
        self.known[id(callback)] = (code, weakref.ref(module) if is_module else lambda: None)


def mark_outermost_call(frame: "FrameType | None") -> "tuple[FrameType | None, bool]":
    """Return the frame of the outermost call of a module, None without one, and whether it is new.

    It is not new if it was marked before. What backward computes again is a part of something else.
    Under a debugger or coverage nothing is marked, and each call is new.
    """
    outermost, is_traced = None, sys.gettrace() is not None
    while frame is not None:
        name = frame.f_code.co_name
        if name in CALLS_OF_MODULES:
            if not frame.f_trace_lines:
                return frame, False
            frame.f_trace_lines = is_traced
            outermost = frame
        elif name == BACKWARD:
            return None, False
        frame = frame.f_back
    return outermost, True


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

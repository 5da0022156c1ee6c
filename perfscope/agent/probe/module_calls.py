"""Times top-level module calls, in programs that compile nothing (else see `compiled_calls`).

Nested module calls are not timed. For a moment after entry, and then every 15 seconds,
`Module.__call__` is patched to find out which classes are called from outside any other module.
Then only those classes are patched.
"""

import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from perfscope.agent.probe.core import InstalledProbe
    from perfscope.agent.probe.patches import Patch

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

FIRST_WATCH_NS = 3_000_000_000
LATER_WATCH_NS = 300_000_000
WATCH_EVERY_NS = 15_000_000_000
CALLS_TO_LEARN = 64
FRAMES_TO_LOOK_UP = 80
WITHIN_MODULES = ("_call_impl", "_wrapped_call_impl", "backward")


def install(probe: "InstalledProbe") -> None:
    """Find and time the top-level modules from now on."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return
    probe.ticks.append(TopLevelModules(probe, torch.nn.Module, torch.is_grad_enabled).tick)


def threads_inside(probe: "InstalledProbe") -> "set[int]":
    """Return the threads that are in the call of a top-level module."""
    return probe.shared.setdefault("threads_inside", set())  # type: ignore[no-any-return]


class TopLevelModules:
    """Finds the module classes that are called from outside any other module, and times them."""

    def __init__(
        self, probe: "InstalledProbe", module: Any, grad_enabled: "Callable[[], bool]"
    ) -> None:
        self.probe, self.module = probe, module
        self.inside = threads_inside(probe)
        self.found: set[Any] = set()
        self.timed: set[Any] = set()
        self.calls = self.until_ns = self.next_ns = 0
        self.watch_patch: Patch | None = None
        self.called = False
        self.codes: dict[int, int] = {}
        self.begin, self.end = self.call_hooks(grad_enabled)

    def tick(self, now_ns: int) -> None:
        """Watch for top-level calls for a moment, first after entry, then every WATCH_EVERY_NS."""
        if self.probe.compilation.in_use:
            return  # the patches are removed, and no new ones are allowed
        is_watching = self.watch_patch is not None
        if is_watching and not (self.found or self.called):
            # The program still loads. Watching costs nothing while no module is called.
            self.until_ns = now_ns + FIRST_WATCH_NS
        elif is_watching and (now_ns > self.until_ns or self.calls > CALLS_TO_LEARN):
            self.stop_watching()
        elif not is_watching and now_ns > self.next_ns:
            self.until_ns = now_ns + (LATER_WATCH_NS if self.found else FIRST_WATCH_NS)
            self.calls, self.called = 0, False
            self.watch_all()
            self.next_ns = now_ns + WATCH_EVERY_NS

    def watch_all(self) -> None:
        original = vars(self.module)["__call__"]
        watched = self.probe.wrap(original, self.begin_any, self.end)
        # torch's profiler with stacks keeps `Module.__call__.__code__` for good, and expects a
        # local variable `self` in every frame of that code.
        wrapper = MODULES["patches"].PicklableWrapper(watched, original)
        self.watch_patch = self.probe.compilation.put(self.module, "__call__", wrapper)

    def stop_watching(self) -> None:
        patch, self.watch_patch = self.watch_patch, None
        if patch is not None:
            self.probe.compilation.remove(patch)
        for owner in tuple(self.found - self.timed):
            self.time_class(owner)

    def begin_any(self, args: Any, kwargs: Any) -> Any:
        """Begin a record if this call of a module is a top-level call."""
        self.called = True
        if get_ident() in self.inside or under_a_module(sys._getframe()):
            return None
        self.calls += 1
        self.found.add(type(args[0]))
        return self.begin(args, kwargs)

    def time_class(self, owner: Any) -> None:
        """Time the calls of one class.

        If it inherits `__call__`, each call looks up the inherited one, which may be replaced.
        """
        self.timed.add(owner)
        defined = vars(owner).get("__call__")

        def inherited(module: Any, *args: Any, **kwargs: Any) -> Any:
            return super(owner, module).__call__(*args, **kwargs)  # type: ignore[misc]

        original = owner.__call__ if defined is None else defined
        timed = self.probe.wrap(inherited if defined is None else defined, self.begin, self.end)
        patches = MODULES["patches"]
        patches.copy_function_names(timed, original)
        wrapper = patches.PicklableWrapper(timed, original)
        self.probe.compilation.put(owner, "__call__", wrapper)

    def call_hooks(
        self, grad_enabled: "Callable[[], bool]"
    ) -> "tuple[Callable[..., Any], Callable[..., None]]":
        """Return what to call before and after a top-level call.

        They run in every step, so they find what they need in local variables.
        """
        kind, put, tids = self.probe.kinds["FORWARD"], self.probe.records.append, self.probe.tids
        inside, known_code = self.inside, self.codes.get
        now, native_id, ident = time.monotonic_ns, get_native_id, get_ident
        callbacks = self.probe.forward_began
        called = self.probe.called

        def begin(args: Any, kwargs: Any) -> "tuple[int, int] | None":
            thread = ident()
            if thread in inside:
                return None
            inside.add(thread)
            for callback in callbacks:
                callback()
            for look in called:
                look((args[1:], kwargs))
            return thread, now()

        def end(begun: "tuple[int, int]", args: Any, answer: Any, raised: Any) -> None:
            thread, first = begun
            took = now() - first
            inside.discard(thread)
            module = args[0]
            code = known_code(id(module))
            code = self.register(module) if code is None else code
            training = 1 if vars(module).get("training") is True else 0
            grad = 1 if grad_enabled() else 0
            tid = tids.get(thread) or native_id()
            put((kind, tid, first, took, code, training, grad, -1, -1, -1, -1, -1))

        return begin, end

    def register(self, module: Any) -> int:
        """Return the code of a module that is seen for the first time."""
        key = ("module", id(module))
        code = self.codes[id(module)] = self.probe.register_name(
            key, "module", type(module).__name__
        )
        return code


def under_a_module(frame: "FrameType | None") -> bool:
    """Return whether the call was made from backward, or from a module's call that began before
    the probe was installed.
    """
    for _ in range(FRAMES_TO_LOOK_UP):
        if frame is None:
            return False
        if frame.f_code.co_name in WITHIN_MODULES:
            return True
        frame = frame.f_back
    return True


class EmptyModule:
    """A module that does nothing, so that only the cost of a record is measured."""

    training = True

    def forward(self, *_: Any) -> None:
        return None


def prepare_cost_trials(
    probe: "InstalledProbe",
) -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """Return (timed, original, arguments) of what happens once per step: a top-level call."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return []
    module, modules = EmptyModule(), TopLevelModules(probe, None, torch.is_grad_enabled)
    modules.codes[id(module)] = 0
    timed = probe.wrap(EmptyModule.forward, modules.begin, modules.end)
    return [(timed, EmptyModule.forward, (module,))]

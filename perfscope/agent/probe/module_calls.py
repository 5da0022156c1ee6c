"""Times top-level module calls, where nothing is compiled (`compiled_calls` does where something
is).

Nested module calls are not timed: for a moment after entry `Module.__call__` is watched to learn
which classes are called from outside any other module, then only those classes are patched.
"""

import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from perfscope.agent.probe.core import Probe
    from perfscope.agent.probe.patches import Patch

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

FIRST_WATCH_NS = 3_000_000_000
LATER_WATCH_NS = 300_000_000
WATCH_EVERY_NS = 15_000_000_000
CALLS_TO_LEARN = 64
FRAMES_TO_LOOK_UP = 80
WITHIN_MODULES = ("_call_impl", "_wrapped_call_impl", "backward")


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or SHELF["presence"].in_worker():
        return
    probe.ticks.append(Roots(probe, torch.nn.Module, torch.is_grad_enabled).tick)


class Roots:
    """Finds the module classes that are called from outside any other module, and times those."""

    def __init__(self, probe: "Probe", module: Any, grad_enabled: "Callable[[], bool]") -> None:
        self.probe, self.module = probe, module
        self.inside: set[int] = set()
        self.found: set[Any] = set()
        self.timed: set[Any] = set()
        self.calls = self.until_ns = self.next_ns = 0
        self.watching: Patch | None = None
        self.called = False
        self.codes: dict[int, int] = {}
        self.begin, self.end = self.recorder(grad_enabled)

    def tick(self, now_ns: int) -> None:
        """Watch for roots for a moment, first after entry, then now and again: another model may
        have come.
        """
        if self.probe.compilation.handed_over:
            return  # ours are out, and none is put in any more
        if self.watching is not None and not (self.found or self.called):
            self.until_ns = (
                now_ns + FIRST_WATCH_NS
            )  # the program still loads: a watch over nothing costs nothing
        elif self.watching is not None and (now_ns > self.until_ns or self.calls > CALLS_TO_LEARN):
            self.stop_watching()
        elif self.watching is None and now_ns > self.next_ns:
            self.until_ns = now_ns + (LATER_WATCH_NS if self.found else FIRST_WATCH_NS)
            self.calls, self.called = 0, False
            self.watch()
            self.next_ns = now_ns + WATCH_EVERY_NS

    def watch(self) -> None:
        watched = self.probe.around(vars(self.module)["__call__"], self.begin_any, self.end)
        self.watching = self.probe.compilation.put(self.module, "__call__", watched)

    def stop_watching(self) -> None:
        patch, self.watching = self.watching, None
        if patch is not None:
            self.probe.compilation.take_back(patch)
        for owner in tuple(self.found - self.timed):
            self.time_class(owner)

    def begin_any(self, args: Any, kwargs: Any) -> Any:
        """Of a call of any module: is it a root?"""
        self.called = True
        if get_ident() in self.inside or under_a_module(sys._getframe()):
            return None
        self.calls += 1
        self.found.add(type(args[0]))
        return self.begin(args, kwargs)

    def time_class(self, owner: Any) -> None:
        """Time the calls of one class. Where it has no `__call__` of its own the next class's is
        asked for at each call.
        """
        self.timed.add(owner)
        own = vars(owner).get("__call__")

        def inherited(module: Any, *args: Any, **kwargs: Any) -> Any:
            return super(owner, module).__call__(*args, **kwargs)  # type: ignore[misc]

        original = owner.__call__ if own is None else own
        called = self.probe.around(inherited if own is None else own, self.begin, self.end)
        SHELF["patches"].named_as(called, original)
        self.probe.compilation.put(owner, "__call__", SHELF["patches"].Replaced(called, original))

    def recorder(
        self, grad_enabled: "Callable[[], bool]"
    ) -> "tuple[Callable[..., Any], Callable[..., None]]":
        """What is called before and after a root. Everything it needs is at hand: it runs each
        step.
        """
        kind, put, known, tids = (
            self.probe.kinds["FORWARD"],
            self.probe.records.append,
            self.codes.get,
            self.probe.tids,
        )
        inside, now, own, ident = self.inside, time.monotonic_ns, get_native_id, get_ident
        began_too = self.probe.forward_began

        def begin(args: Any, kwargs: Any) -> "tuple[int, int] | None":
            here = ident()
            if here in inside:
                return None
            inside.add(here)
            for began in began_too:
                began()
            return here, now()

        def end(begun: "tuple[int, int]", args: Any, answer: Any, raised: Any) -> None:
            here, first = begun
            took = now() - first
            inside.discard(here)
            module = args[0]
            code = known(id(module))
            code = self.learn(module) if code is None else code
            training = 1 if vars(module).get("training") is True else 0
            grad = 1 if grad_enabled() else 0
            put(
                (
                    kind,
                    tids.get(here) or own(),
                    first,
                    took,
                    code,
                    training,
                    grad,
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                )
            )

        return begin, end

    def learn(self, module: Any) -> int:
        """The code of a module seen for the first time."""
        code = self.codes[id(module)] = self.probe.code(
            ("module", id(module)), "module", type(module).__name__
        )
        return code


def under_a_module(frame: "FrameType | None") -> bool:
    """Was the call made from within a module's call that began before we came, or from within
    backward?
    """
    for _ in range(FRAMES_TO_LOOK_UP):
        if frame is None:
            return False
        if frame.f_code.co_name in WITHIN_MODULES:
            return True
        frame = frame.f_back
    return True


class Trial:
    """Stands for a module whose work is nothing: what remains is the price of the record."""

    training = True

    def work(self, *_: Any) -> None:
        return None


def trials(
    probe: "Probe",
) -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """(timed, original, arguments) of what happens once a step: a call of a root."""
    torch = sys.modules.get("torch")
    if torch is None or SHELF["presence"].in_worker():
        return []
    one, roots = Trial(), Roots(probe, None, torch.is_grad_enabled)
    roots.codes[id(one)] = 0
    return [(probe.around(Trial.work, roots.begin, roots.end), Trial.work, (one,))]

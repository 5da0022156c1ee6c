"""What torch.compile has to do with our patches: what it compiles must hold none of them, and
nothing may be compiled again.

Dynamo traces Python functions and guards on the objects that they read. So patches that it could
meet (*traceable*: at modules, tensors, backward, optimizers) are put in only while nothing in the
process was handed to it, and they go for good with the first thing that is: `OptimizeContext` is
made wherever something is compiled, decorated or exported. Optimizers are often left uncompiled
beside a compiled model; their hooks ask `free_of` and are out while anything is being compiled.
"""

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe
    from perfscope.agent.probe.patches import Patch

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

QUIET_NS = 1_000_000_000


def dynamo(part: str) -> Any:
    """A module of torch._dynamo, None where the program has not imported it to the end: that takes
    an optimizer a second.
    """
    return SHELF["imports"].imported(f"torch._dynamo.{part}")


def used() -> bool:
    """Whether anything was handed to torch.compile or compiled; True where this torch does not
    tell.
    """
    frames = dynamo("eval_frame")
    if frames is None:
        return False
    backends = getattr(frames, "cached_backends", None)
    if backends is None:
        return True
    counted = getattr(dynamo("utils"), "counters", {}).get("frames")
    return (
        bool(counted)
        or any(one not in (None, False) for one in tuple(backends.values()))
        or bool(compiled_codes())
    )


def compiled_codes() -> "list[Any]":
    """The code objects that were compiled, as far as they are still there."""
    seen = getattr(getattr(dynamo("convert_frame"), "input_codes", None), "seen", ())
    return [code for code in (ref() for ref in tuple(seen)) if code is not None]


def free_of(module: str) -> bool:
    """Whether nothing that was compiled reads the globals of `module`, as far as can be told.

    Dynamo puts an alias of a module into the globals of the function that it compiled when that
    function reaches it, and keeps the code of what it compiled.
    """
    alias = "__import_" + module.replace(".", "_dot_")
    if any(alias in vars(one) for one in tuple(sys.modules.values()) if type(one) is type(sys)):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return all(code.co_filename != file for code in compiled_codes())


class Compilation:
    """Sees to it that Dynamo meets no patch of ours. `handed_over` is True once anything was handed
    to it.
    """

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.handed_over = used()
        self.traceable: list[Any] = []
        self.before: list[Callable[[], None]] = []
        """Called in the program's thread before anything is compiled."""
        self.compiling = False
        self.last_ns = 0
        self.watched: set[str] = set()
        self.door: Any = None
        """The patch at `torch.compile`, which is the only way in while Dynamo has not been imported
        yet.
        """
        self.begin = probe.guard.one("compilation began", self.began)
        self.finish = probe.guard.one("compilation ended", self.ended)

    def put(self, owner: Any, name: str, wrapper: Any) -> "Patch | None":
        """Put a traceable patch in; None where none may be, or it cannot be set."""
        if self.handed_over:
            return None
        patch = self.probe.patches.put(owner, name, wrapper)
        if patch is not None:
            self.traceable.append(patch)
        if self.handed_over:  # meanwhile, in another thread
            self.give_way()
        return patch

    def take_back(self, patch: "Patch") -> None:
        """Take one out that is not wanted any more."""
        self.probe.patches.take_back(patch)
        if patch in self.traceable:
            self.traceable.remove(patch)

    def give_way(self) -> None:
        """Take the traceable patches out for good."""
        self.handed_over = True
        self.last_ns = time.monotonic_ns()
        while self.traceable:
            self.probe.patches.take_back(self.traceable.pop())
        for step in self.before:
            step()

    def began(self, *_: Any) -> None:
        self.compiling = True
        self.give_way()

    def ended(self, *_: Any) -> None:
        self.compiling = False
        self.last_ns = time.monotonic_ns()

    def quiet(self, now_ns: int) -> bool:
        """Whether nothing is being compiled and nothing was handed over a moment ago."""
        return not self.compiling and now_ns - self.last_ns > QUIET_NS

    def tells_of_begins(self) -> bool:
        """Whether this torch calls us before it compiles."""
        return hasattr(getattr(dynamo("callback"), "callback_handler", None), "start_callbacks")

    def tick(self, now_ns: int) -> None:
        """Look for Dynamo, which the program may import later, and for what it was handed past our
        patch.
        """
        if not self.handed_over and used():
            self.give_way()
        self.watch_contexts()
        self.listen()

    def watch_contexts(self) -> None:
        """Be called before anything is handed over."""
        torch, context = (
            sys.modules.get("torch"),
            getattr(dynamo("eval_frame"), "OptimizeContext", None),
        )
        if context is not None and "context" not in self.watched:
            self.watched.add("context")
            self.probe.patches.put(context, "__init__", self.giving_way(vars(context)["__init__"]))
            if self.door is not None:
                self.probe.patches.take_back(self.door)
        elif torch is not None and not self.watched and hasattr(torch, "compile"):
            self.watched.add("compile")
            self.door = self.probe.patches.put(torch, "compile", self.giving_way(torch.compile))

    def giving_way(self, original: "Callable[..., Any]") -> Any:
        def begin(args: Any, kwargs: Any) -> None:
            self.give_way()

        return self.probe.around(original, begin, SHELF["guard"].nothing)

    def listen(self) -> None:
        """Be called when a compilation begins and ends; `torch._dynamo.reset` forgets whom to
        call.
        """
        handler = getattr(dynamo("callback"), "callback_handler", None)
        for name, ours in (("start_callbacks", self.begin), ("end_callbacks", self.finish)):
            known = getattr(handler, name, None)
            if type(known) is list and ours not in known:
                known.append(ours)

    def stop_listening(self) -> None:
        handler = getattr(dynamo("callback"), "callback_handler", None)
        for name, ours in (("start_callbacks", self.begin), ("end_callbacks", self.finish)):
            known = getattr(handler, name, None)
            if type(known) is list and ours in known:
                known.remove(ours)

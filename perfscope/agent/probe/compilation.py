"""Keeps the probe's patches away from torch.compile: compiled code must not contain them, and they
must not cause a recompilation.

Dynamo traces Python functions and guards on the objects that they read. So *traceable* patches,
those that it could meet (on modules, tensors, backward, optimizers), are only put in while the
process has not used torch.compile. They are removed for good as soon as it does: every compilation,
decoration or export creates an `OptimizeContext`. Optimizers are often not compiled although the
model is. Their hooks ask `no_code_reads`, and are removed while something is being compiled.
"""

import sys
import time
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe
    from perfscope.agent.probe.patches import Patch

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

QUIET_NS = 1_000_000_000
# From a callback of Dynamo up to the function that compiles.
FRAMES_TO_LOOK_UP = 30
LONGEST_GUARD = 100
# What follows in the text of a guard are values of the program.
VALUES_FOLLOW = (". expected", " == ", " != ", " <= ", " >= ", " < ", " > ", " is ", " #", ", ")
UNKNOWN = (-1, -1, -1, -1)


def dynamo(part: str) -> Any:
    """Return a module of torch._dynamo, None if the program has not imported it completely.

    The probe does not import it: that takes about a second.
    """
    return MODULES["imported_modules"].imported(f"torch._dynamo.{part}")


def compile_was_used() -> bool:
    """Return whether anything was passed to torch.compile, or compiled; True if that is unknown."""
    frames = dynamo("eval_frame")
    if frames is None:
        return False
    backends = getattr(frames, "cached_backends", None)
    if backends is None:
        return True
    if getattr(dynamo("utils"), "counters", {}).get("frames"):
        return True
    if any(backend not in (None, False) for backend in tuple(backends.values())):
        return True
    return bool(compiled_codes())


def compiled_codes() -> "list[Any]":
    """Return the code objects that were compiled and still exist."""
    seen = getattr(getattr(dynamo("convert_frame"), "input_codes", None), "seen", ())
    codes = [reference() for reference in tuple(seen)]
    return [code for code in codes if code is not None]


def no_code_reads(module: str) -> bool:
    """Return whether no compiled code seems to read the globals of `module`.

    When a compiled function reaches a module, Dynamo adds an alias of the module to the globals of
    that function. It also keeps the code objects that it compiled.
    """
    alias = "__import_" + module.replace(".", "_dot_")
    for loaded in tuple(sys.modules.values()):
        if type(loaded) is type(sys) and alias in vars(loaded):
            return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return all(code.co_filename != file for code in compiled_codes())


class Compilation:
    """Removes traceable patches before Dynamo meets them; `in_use`: the process uses Dynamo."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.in_use = compile_was_used()
        self.traceable: list[Any] = []
        # Called in the program's thread before anything is compiled.
        self.before_compiling: list[Callable[[], None]] = []
        self.compiling = False
        self.began_ns = self.last_ns = 0
        self.described: tuple[int, int, int, int] = UNKNOWN
        self.folder = ""
        self.watched: set[str] = set()
        # While Dynamo is not imported, torch.compile is the only way to it, so it is patched.
        self.compile_patch: Any = None
        self.begin = probe.guard.guarded("compilation began", self.compilation_began)
        self.finish = probe.guard.guarded("compilation ended", self.compilation_ended)
        self.describe = probe.guard.guarded("compilation described", self.values_of_record)

    def put(self, owner: Any, name: str, wrapper: Any) -> "Patch | None":
        """Put in a traceable patch; return None if none is allowed or it cannot be set."""
        if self.in_use:
            return None
        patch = self.probe.patches.put(owner, name, wrapper)
        if patch is not None:
            self.traceable.append(patch)
        if self.in_use:  # since a moment ago, in another thread
            self.remove_traceable()
        return patch

    def remove(self, patch: "Patch") -> None:
        """Remove one traceable patch."""
        self.probe.patches.remove(patch)
        if patch in self.traceable:
            self.traceable.remove(patch)

    def remove_traceable(self) -> None:
        """Remove all traceable patches for good."""
        self.in_use = True
        self.last_ns = time.monotonic_ns()
        while self.traceable:
            self.probe.patches.remove(self.traceable.pop())
        for callback in self.before_compiling:
            callback()

    def compilation_began(self, *arguments: Any) -> None:
        is_first = not self.began_ns
        self.began_ns = self.began_ns or time.monotonic_ns()
        self.compiling = True
        self.remove_traceable()
        if is_first:
            self.described = self.describe(*arguments) or UNKNOWN

    def values_of_record(self, *arguments: Any) -> "tuple[int, int, int, int]":
        """Return the values of the record: function, frame, earlier compilations, failed guard."""
        code = code_under_compilation()
        if code is None:
            return UNKNOWN
        stacks = MODULES["stacks"]
        self.folder = self.folder or stacks.working_directory()
        label = stacks.label_of_line(code, code.co_firstlineno, self.folder)
        frame, earlier = numbers_of(
            getattr(arguments[0] if arguments else None, "compile_id", None)
        )
        guard = failed_guard(code) if earlier > 0 else ""
        register = self.probe.register_text
        return register("compiled", label), frame, earlier, register("guard", guard)

    def compilation_ended(self, *_: Any) -> None:
        self.compiling = False
        self.last_ns = time.monotonic_ns()
        if self.began_ns:
            row = (self.probe.kinds["COMPILATION"], get_native_id(), self.began_ns)
            took = self.last_ns - self.began_ns
            self.probe.records.append((*row, took, *self.described, -1, -1, -1, -1))
            self.described = UNKNOWN
            self.began_ns = 0

    def is_quiet(self, now_ns: int) -> bool:
        """Return whether nothing is being compiled, nor was anything in the last second."""
        return not self.compiling and now_ns - self.last_ns > QUIET_NS

    def has_callbacks(self) -> bool:
        """Return whether this torch calls the probe before it compiles."""
        return hasattr(callback_handler(), "start_callbacks")

    def tick(self, now_ns: int) -> None:
        """Check for uses of Dynamo that the patches missed, and for a new import of it."""
        if not self.in_use and compile_was_used():
            self.remove_traceable()
        self.watch_contexts()
        self.listen_to_compilations()

    def watch_contexts(self) -> None:
        """Patch what the program calls before anything is compiled."""
        torch = sys.modules.get("torch")
        context = getattr(dynamo("eval_frame"), "OptimizeContext", None)
        put = self.probe.patches.put
        if context is not None and "context" not in self.watched:
            self.watched.add("context")
            put(context, "__init__", self.removing_first(vars(context)["__init__"]))
            if self.compile_patch is not None:
                self.probe.patches.remove(self.compile_patch)
        elif torch is not None and not self.watched and hasattr(torch, "compile"):
            self.watched.add("compile")
            self.compile_patch = put(torch, "compile", self.removing_first(torch.compile))

    def removing_first(self, original: "Callable[..., Any]") -> Any:
        """Return `original`, which removes the traceable patches before it begins."""

        def begin(args: Any, kwargs: Any) -> None:
            self.remove_traceable()

        return self.probe.wrap(original, begin, MODULES["guard"].do_nothing)

    def listen_to_compilations(self) -> None:
        """Register callbacks with Dynamo, again after `torch._dynamo.reset` has removed them."""
        for callbacks, callback in self.callback_lists():
            if callback not in callbacks:
                callbacks.append(callback)

    def stop_listening(self) -> None:
        """Remove the callbacks from Dynamo."""
        for callbacks, callback in self.callback_lists():
            if callback in callbacks:
                callbacks.remove(callback)

    def callback_lists(self) -> "list[tuple[list[Any], Callable[..., Any]]]":
        """Return (Dynamo's list of callbacks, our callback) for begin and end."""
        handler = callback_handler()
        found = []
        for name, callback in (("start_callbacks", self.begin), ("end_callbacks", self.finish)):
            callbacks = getattr(handler, name, None)
            if type(callbacks) is list:
                found.append((callbacks, callback))
        return found


def callback_handler() -> Any:
    """Return Dynamo's registry of callbacks, None if it has none or is not imported."""
    return getattr(dynamo("callback"), "callback_handler", None)


def code_under_compilation() -> Any:
    """Return the code object that Dynamo is compiling in this thread, None if that is unknown."""
    frame: Any = sys._getframe()
    for _ in range(FRAMES_TO_LOOK_UP):
        if frame is None:
            return None
        called = frame.f_code
        if called.co_name == "_compile" and called.co_filename.endswith("convert_frame.py"):
            code = frame.f_locals.get("code")
            return code if type(code) is type(called) else None
        frame = frame.f_back
    return None


def numbers_of(compile_id: Any) -> "tuple[int, int]":
    """Return the number of a frame, and how often it was compiled before, from an id like `0/3`."""
    frame, _, earlier = str(compile_id).partition("/")
    return (int(frame), int(earlier)) if frame.isdigit() and earlier.isdigit() else (-1, -1)


def failed_guard(code: Any) -> str:
    """Return the check that the last call of this code failed, without values; "" if unknown.

    Dynamo keeps a text for each failed check: `0/0: tensor 'x' size mismatch at index 1. ...`.
    """
    texts = getattr(dynamo("utils"), "guard_failures", {}).get(code)
    if not texts or type(texts[-1]) is not str:
        return ""
    text = texts[-1].partition(": ")[2].partition("\n")[0]
    for mark in VALUES_FOLLOW:
        text = text.partition(mark)[0]
    return text.strip()[:LONGEST_GUARD]

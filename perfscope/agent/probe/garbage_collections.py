"""Times garbage collections through gc.callbacks, without losing an exception of the program.

A signal handler of the program may run, and raise, inside our callback. The interpreter does not
propagate exceptions from there but passes them to sys.unraisablehook. So that hook is patched: it
keeps such an exception, and the probe raises it again in the thread where it occurred. Meanwhile
the callback is removed: in a loop that does little but collect garbage, the exception could
otherwise arrive inside the callback every time.
"""

import gc
import os
import sys
import time
from _queue import SimpleQueue
from _thread import get_ident, get_native_id
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

SHORTEST_NS = 50_000
OLDEST = 2
LATE_EXCEPTIONS_S = 0.02


def install(probe: "InstalledProbe") -> None:
    """Add the callback and the patched unraisablehook."""
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return  # torch imports it; without it a caught exception could not be raised again
    caught: SimpleQueue[tuple[int, BaseException]] = SimpleQueue()
    callback = probe.guard.guarded("gc callback", collection_timer(probe))
    hook = catching_hook(probe, sys.unraisablehook, callback, caught)
    probe.patches.put(sys, "unraisablehook", hook)
    gc_callback = GcCallback(callback, caught, ctypes)
    gc_callback.add()
    probe.undo.append(gc_callback.finish)
    probe.ticks.append(gc_callback.tick)


def collection_timer(probe: "InstalledProbe") -> "Callable[[str, dict[str, int]], None]":
    """Return a callback for gc.callbacks that records each collection of SHORTEST_NS or more."""
    kind, put, now = probe.kinds["GC"], probe.records.append, time.monotonic_ns
    native_id, live, count = get_native_id, probe.live, gc.get_count
    place_of_call, folder = MODULES["stacks"].place_of_call, MODULES["stacks"].working_directory()
    began, counts = [0], [(0, 0, 0)]

    def on_collection(phase: str, info: dict[str, int]) -> None:
        if not live[0]:
            return  # in a child that a C library forked
        if phase == "start":
            counts[0] = count()
            began[0] = now()
            return
        took = now() - began[0]
        if began[0] and took >= SHORTEST_NS:
            caller = -1
            if info["generation"] == OLDEST and not is_automatic(counts[0]):
                caller = probe.register_text("caller", place_of_call(sys._getframe(), folder))
            values = (info["generation"], info["collected"], caller, -1, -1, -1, -1, -1)
            put((kind, native_id(), began[0], took, *values))
        began[0] = 0

    return on_collection


def is_automatic(counts: "tuple[int, int, int]") -> bool:
    """Return whether the interpreter began a full collection, and not a call of gc.collect.

    It begins one when the counts exceed their thresholds. An automatic collection may begin in any
    line; the line matters only for a collection that the program requests.
    """
    thresholds = gc.get_threshold()
    exceeded = counts[0] > thresholds[0] or counts[OLDEST] > thresholds[OLDEST]
    return exceeded and gc.isenabled()


def catching_hook(
    probe: "InstalledProbe",
    original: "Callable[[Any], Any]",
    callback: Any,
    caught: "SimpleQueue[tuple[int, BaseException]]",
) -> "Callable[[Any], Any]":
    """Return an unraisablehook that keeps what was raised in `callback`, and forwards the rest."""
    live, clean_up = probe.live, probe.clean_up

    def unraisablehook(unraisable: Any) -> Any:
        if not live[0]:
            clean_up()
        if unraisable.object is not callback:
            return original(unraisable)
        caught.put((get_ident(), unraisable.exc_value or unraisable.exc_type()))
        return None

    MODULES["patches"].copy_function_names(unraisablehook, original)
    return unraisablehook


def is_placeholder(place: int) -> bool:
    """Return whether gc.callbacks has our placeholder there: a built-in that does nothing."""
    known: Any = gc.callbacks[place]
    return type(known) is BuiltinMethodType and known.__name__ == "get" and known.__self__ == {}


class GcCallback:
    """Our callback in gc.callbacks, and the exceptions of the program that it caught.

    To raise an exception again takes three ticks: remove the callback, raise, add it again.
    """

    def __init__(
        self, callback: Any, caught: "SimpleQueue[tuple[int, BaseException]]", ctypes: Any
    ) -> None:
        self.callback, self.caught, self.ctypes = callback, caught, ctypes
        self.pid = os.getpid()

    def add(self) -> None:
        """Add the callback, in the place of an earlier placeholder or at the end."""
        for place in range(len(gc.callbacks)):
            if is_placeholder(place):
                gc.callbacks[place] = self.callback
                return
        gc.callbacks.append(self.callback)

    def remove(self) -> None:
        """Remove the callback.

        The interpreter iterates over the list by index, so a shorter list would make it skip a
        callback of the program. If some follow ours, a placeholder takes our place.
        """
        for place, known in enumerate(gc.callbacks):
            if known is self.callback:
                gc.callbacks[place] = {}.get  # type: ignore[assignment]
        while gc.callbacks and is_placeholder(len(gc.callbacks) - 1):
            gc.callbacks.pop()

    def tick(self, now_ns: int) -> None:
        if self.callback not in gc.callbacks:
            if self.caught.empty():
                self.add()
            else:
                self.raise_again()
        elif not self.caught.empty():
            self.remove()

    def finish(self) -> None:
        """Remove the callback for good, and raise what it caught, except in a forked child."""
        self.remove()
        if os.getpid() != self.pid:
            return
        time.sleep(LATE_EXCEPTIONS_S)
        while not self.caught.empty():
            self.raise_again()

    def raise_again(self) -> None:
        """Raise a caught exception in its thread.

        The interpreter accepts only a class there, so it gets one whose instance is that exception.
        """
        ident, exception = self.caught.get_nowait()
        members = {"__new__": lambda *_: exception}
        raising_class = type(type(exception).__name__, (type(exception),), members)
        self.ctypes.pythonapi.PyThreadState_SetAsyncExc(
            self.ctypes.c_ulong(ident), self.ctypes.py_object(raising_class)
        )

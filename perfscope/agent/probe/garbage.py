"""Times garbage collections through gc.callbacks, without losing an exception of the user's on the
way.

A signal handler of the user's may run, and raise, inside our callback, where the interpreter
swallows exceptions: they go to sys.unraisablehook. Those are kept and raised again in the thread
they belong to. While that is under way the callback is out: in a loop that does little but collect,
every bytecode at which the exception could arrive would be the callback's own.
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

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

SHORTEST_NS = 50_000


def install(probe: "Probe") -> None:
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return  # torch brings it along; without it a caught exception could not be given back
    caught: SimpleQueue[tuple[int, BaseException]] = SimpleQueue()
    callback = probe.guard.one("gc callback", timer(probe))
    probe.patches.put(sys, "unraisablehook", catcher(probe, sys.unraisablehook, callback, caught))
    returning = Returning(callback, caught, ctypes)
    returning.install()
    probe.undo.append(returning.finish)
    probe.ticks.append(returning.tick)


def timer(probe: "Probe") -> "Callable[[str, dict[str, int]], None]":
    kind, put, now, own = probe.kinds["GC"], probe.records.append, time.monotonic_ns, get_native_id
    began, live = [0], probe.live

    def collection(phase: str, info: dict[str, int]) -> None:
        if not live[0]:
            return  # in a child that was forked behind Python's back
        if phase == "start":
            began[0] = now()
            return
        took = now() - began[0]
        if began[0] and took >= SHORTEST_NS:
            put(
                (
                    kind,
                    own(),
                    began[0],
                    took,
                    info["generation"],
                    info["collected"],
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                )
            )
        began[0] = 0

    return collection


def catcher(
    probe: "Probe",
    original: "Callable[[Any], Any]",
    callback: Any,
    caught: "SimpleQueue[tuple[int, BaseException]]",
) -> "Callable[[Any], Any]":
    """An unraisablehook that keeps what was raised in `callback` and passes on all else."""
    live, outlived = probe.live, probe.outlived

    def unraisablehook(unraisable: Any) -> Any:
        if not live[0]:
            outlived()
        if unraisable.object is not callback:
            return original(unraisable)
        caught.put((get_ident(), unraisable.exc_value or unraisable.exc_type()))
        return None

    SHELF["patches"].named_as(unraisablehook, original)
    return unraisablehook


def placeholder(place: int) -> bool:
    """Whether a placeholder of ours stands there in gc.callbacks: a function of the interpreter
    that does nothing.
    """
    known: Any = gc.callbacks[place]
    return type(known) is BuiltinMethodType and known.__name__ == "get" and known.__self__ == {}


class Returning:
    """Gives caught exceptions back, on our own thread: a tick to take the callback out, a tick to
    raise, a tick to resume.
    """

    def __init__(
        self, callback: Any, caught: "SimpleQueue[tuple[int, BaseException]]", ctypes: Any
    ) -> None:
        self.callback, self.caught, self.ctypes = callback, caught, ctypes
        self.pid = os.getpid()

    def install(self) -> None:
        """Put the callback in: where an earlier one of ours has left its place, else at the end."""
        for place in range(len(gc.callbacks)):
            if placeholder(place):
                gc.callbacks[place] = self.callback
                return
        gc.callbacks.append(self.callback)

    def remove(self) -> None:
        """Take the callback out. The interpreter walks over the list by number, and a shorter list
        would make it skip one of the program's own: where those stand behind ours a placeholder is
        left, for the next callback of ours.
        """
        for place, known in enumerate(gc.callbacks):
            if known is self.callback:
                gc.callbacks[place] = {}.get  # type: ignore[assignment]
        while gc.callbacks and placeholder(len(gc.callbacks) - 1):
            gc.callbacks.pop()

    def tick(self, now_ns: int) -> None:
        if self.callback not in gc.callbacks:
            if self.caught.empty():
                self.install()
            else:
                self.give_back()
        elif not self.caught.empty():
            self.remove()

    def finish(self) -> None:
        """On leaving: nothing may stay behind, neither the callback nor what it caught, which is
        not a forked child's.
        """
        self.remove()
        if os.getpid() != self.pid:
            return
        time.sleep(0.02)
        while not self.caught.empty():
            self.give_back()

    def give_back(self) -> None:
        """The interpreter takes only a class, so it gets one whose instance is the very
        exception.
        """
        ident, exception = self.caught.get_nowait()
        again = type(
            type(exception).__name__, (type(exception),), {"__new__": lambda *_: exception}
        )
        self.ctypes.pythonapi.PyThreadState_SetAsyncExc(
            self.ctypes.c_ulong(ident), self.ctypes.py_object(again)
        )

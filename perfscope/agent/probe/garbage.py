"""Times garbage collections through gc.callbacks, without losing an exception of the user's on the way.

A signal handler of the user's may run, and raise, inside our callback, where the interpreter swallows exceptions: they go to
sys.unraisablehook. Those are kept and raised again in the thread they belong to. While that is under way the callback is
out: in a loop that does little but collect, every bytecode at which the exception could arrive would be the callback's own.
"""

import gc
import sys
import time
from _queue import SimpleQueue
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

SHORTEST_NS = 50_000


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    return None


def install(probe: "Probe") -> None:
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return  # torch brings it along; without it a caught exception could not be given back
    caught: SimpleQueue[tuple[int, BaseException]] = SimpleQueue()
    callback = timer(probe)
    probe.swap(sys, "unraisablehook", catcher(sys.unraisablehook, callback, caught))
    returning = Returning(callback, caught, ctypes)
    returning.install()
    probe.undo.append(returning.finish)
    probe.ticks.append(returning.tick)


def timer(probe: "Probe") -> "Callable[[str, dict[str, int]], None]":
    kind, put, now, own = probe.kinds["GC"], probe.records.append, time.monotonic_ns, get_native_id
    began = [0]

    def collection(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            began[0] = now()
            return
        took = now() - began[0]
        if began[0] and took >= SHORTEST_NS:
            put((kind, own(), began[0], took, info["generation"], info["collected"], -1, -1, -1, -1, -1, -1))
        began[0] = 0

    return collection


def catcher(
    original: "Callable[[Any], Any]", callback: Any, caught: "SimpleQueue[tuple[int, BaseException]]"
) -> "Callable[[Any], Any]":
    """An unraisablehook that keeps what was raised in `callback` and passes on all else."""

    def unraisablehook(unraisable: Any) -> Any:
        if unraisable.object is not callback:
            return original(unraisable)
        caught.put((get_ident(), unraisable.exc_value or unraisable.exc_type()))
        return None

    return unraisablehook


class Returning:
    """Gives caught exceptions back, on our own thread: a tick to take the callback out, a tick to raise, a tick to resume."""

    def __init__(self, callback: Any, caught: "SimpleQueue[tuple[int, BaseException]]", ctypes: Any) -> None:
        self.callback, self.caught, self.ctypes = callback, caught, ctypes

    def install(self) -> None:
        gc.callbacks.append(self.callback)

    def remove(self) -> None:
        if self.callback in gc.callbacks:
            gc.callbacks.remove(self.callback)

    def tick(self, now_ns: int) -> None:
        if self.callback not in gc.callbacks:
            if self.caught.empty():
                self.install()
            else:
                self.give_back()
        elif not self.caught.empty():
            self.remove()

    def finish(self) -> None:
        """On leaving: nothing may stay behind, neither the callback nor what it caught."""
        self.remove()
        time.sleep(0.02)
        while not self.caught.empty():
            self.give_back()

    def give_back(self) -> None:
        """The interpreter takes only a class, so it gets one whose instance is the very exception."""
        ident, exception = self.caught.get_nowait()
        again = type(type(exception).__name__, (type(exception),), {"__new__": lambda *_: exception})
        self.ctypes.pythonapi.PyThreadState_SetAsyncExc(self.ctypes.c_ulong(ident), self.ctypes.py_object(again))

"""Times what interrupts a step: checkpoint writes and garbage collections."""

import gc
import os
import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

SHORTEST_GC_NS = 50_000
SAVERS = (
    ("torch", "save"),
    ("torch.serialization", "save"),
    ("torch.distributed.checkpoint", "save"),
    ("torch.distributed.checkpoint.state_dict_saver", "save"),
    ("safetensors.torch", "save_file"),
    ("os", "fsync"),
)


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    return None


def install(probe: "Probe") -> None:
    for module, name in SAVERS:
        owner = sys.modules.get(module)
        original = getattr(owner, name, None)
        if original is not None and "torch" in sys.modules:
            probe.swap(owner, name, timed_save(probe, original, f"{module}.{name}"))
    ctypes = sys.modules.get("ctypes")
    if ctypes is not None:
        callback = collection_timer(probe)
        probe.swap(sys, "unraisablehook", redeliverer(sys.unraisablehook, callback, ctypes))
        gc.callbacks.append(callback)
        probe.undo.append(lambda: gc.callbacks.remove(callback))


def timed_save(probe: "Probe", original: "Callable[..., Any]", label: str) -> Any:
    kind, put, now = probe.kinds["CHECKPOINT"], probe.records.put, time.monotonic_ns
    code = probe.code(("saver", label), "saver", label)

    def save(*args: Any, **kwargs: Any) -> Any:
        if os.getpid() != probe.live[0]:
            probe.forked()
            return original(*args, **kwargs)
        first = now()
        try:
            return original(*args, **kwargs)
        finally:
            took = now() - first
            target = args[1] if len(args) > 1 else kwargs.get("f", kwargs.get("filename"))
            put((kind, get_native_id(), first, took, written(target), code, -1, -1, -1, -1, -1, -1))

    return save


def written(target: Any) -> int:
    """Bytes of the file just written, -1 when it is not a plain path."""
    if not isinstance(target, str | os.PathLike):
        return -1
    try:
        return os.stat(target).st_size
    except OSError:
        return -1


def collection_timer(probe: "Probe") -> "Callable[[str, dict[str, int]], None]":
    kind, put, now, own = probe.kinds["GC"], probe.records.put, time.monotonic_ns, get_native_id
    began = [0]

    def collection(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            began[0] = now()
            return
        took = now() - began[0]
        if began[0] and took >= SHORTEST_GC_NS:
            put((kind, own(), began[0], took, info["generation"], info["collected"], -1, -1, -1, -1, -1, -1))
        began[0] = 0

    return collection


def redeliverer(original: "Callable[[Any], Any]", callback: Any, ctypes: Any) -> "Callable[[Any], Any]":
    """A signal handler of the user's may run, and raise, inside our GC callback, where the interpreter swallows exceptions.

    It arrives at sys.unraisablehook; from there it is raised again in the same thread, at its next bytecode.
    """

    def unraisablehook(unraisable: Any) -> Any:
        if unraisable.object is not callback:
            return original(unraisable)
        caught = unraisable.exc_value or unraisable.exc_type()
        again = type(type(caught).__name__, (type(caught),), {"__new__": lambda *_: caught})
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(get_ident()), ctypes.py_object(again))
        return None

    return unraisablehook

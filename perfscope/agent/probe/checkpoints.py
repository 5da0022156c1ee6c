"""Times checkpoint writes: torch.save, distributed checkpoints, safetensors, fsync."""

import os
import sys
import time
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

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
    if "torch" not in sys.modules:
        return
    missing = list(SAVERS)

    def tick(now_ns: int) -> None:
        """Those that are there; a program that we came with imports the others later."""
        for module, name in tuple(missing):
            owner = sys.modules.get(module)
            original = getattr(owner, name, None)
            if original is not None:
                missing.remove((module, name))
                probe.swap(owner, name, timed_save(probe, original, f"{module}.{name}"))

    tick(0)
    probe.ticks.append(tick)


def timed_save(probe: "Probe", original: "Callable[..., Any]", label: str) -> Any:
    kind, put, now = probe.kinds["CHECKPOINT"], probe.records.append, time.monotonic_ns
    code = probe.code(("saver", label), "saver", label)

    def save(*args: Any, **kwargs: Any) -> Any:
        if not probe.live[0]:
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
    if not isinstance(target, (str, os.PathLike)):
        return -1
    try:
        return os.stat(target).st_size
    except OSError:
        return -1

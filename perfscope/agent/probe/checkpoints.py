"""Times checkpoint writes: torch.save, distributed checkpoints, safetensors, fsync.

The patches sit on what those functions call, not on the functions themselves: programs hold, pickle
and wrap the public ones, and many have imported them by name.
"""

import os
import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

TORCH = "torch.serialization"
WRITERS = ("_open_zipfile_writer_file", "_open_zipfile_writer_buffer")
DISTRIBUTED = "torch.distributed.checkpoint.state_dict_saver"
TENSORS = "safetensors.torch"


def install(probe: "Probe") -> None:
    if "torch" not in sys.modules:
        return
    saves = Saves(probe)
    saves.tick(0)
    probe.ticks.append(saves.tick)


class Saves:
    """The writers that are there; a program that we came with imports the others later."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.open: dict[int, tuple[int, str | None]] = {}
        self.seen: set[str] = set()
        self.watches = {
            TORCH: self.watch_torch,
            DISTRIBUTED: lambda: self.time_calls(
                DISTRIBUTED, "_save_state_dict", "torch.distributed.checkpoint.save"
            ),
            TENSORS: self.watch_safetensors,
            "os": self.watch_fsync,
        }

    def tick(self, now_ns: int) -> None:
        for module, watch in self.watches.items():
            if module not in self.seen and SHELF["imports"].imported(module) is not None:
                self.seen.add(module)
                watch()

    def watch_torch(self) -> None:
        """`torch.save` opens a writer and leaves it again; the old format is written by a
        function.
        """
        module = sys.modules[TORCH]
        code = self.probe.code(("saver", "torch.save"), "saver", "torch.save")
        if hasattr(module, "_open_zipfile_writer"):
            self.put(module, "_open_zipfile_writer", self.began, SHELF["guard"].nothing)
        for writer in (getattr(module, name, None) for name in WRITERS):
            if writer is not None and "__exit__" in vars(writer):
                self.put(writer, "__exit__", kept, lambda *_: self.ended(code))
        self.time_calls(TORCH, "_legacy_save", "torch.save")

    def watch_safetensors(self) -> None:
        """`save_file` first copies the tensors, then writes them."""
        for name in ("_flatten", "_flatten_as_ptr", "serialize_file"):
            self.time_calls(TENSORS, name, "safetensors.torch.save_file")

    def watch_fsync(self) -> None:
        """The function itself stands in `posix`, where whoever unpickles it finds it."""
        fsync = os.fsync
        wrapper = SHELF["patches"].Replaced(self.timed(fsync, "os.fsync"), fsync)
        self.probe.patches.put(os, "fsync", wrapper)

    def began(self, args: Any, kwargs: Any) -> None:
        self.open[get_ident()] = (time.monotonic_ns(), path_of(args[0]) if args else None)

    def ended(self, code: int) -> None:
        first, target = self.open.pop(get_ident(), (0, None))
        if first:
            self.record(first, target, code)

    def record(self, first: int, target: str | None, code: int) -> None:
        took, kind = time.monotonic_ns() - first, self.probe.kinds["CHECKPOINT"]
        row = (kind, get_native_id(), first, took, written(target), code, -1, -1, -1, -1, -1, -1)
        self.probe.records.append(row)

    def time_calls(self, module: str, name: str, label: str) -> None:
        owner = sys.modules[module]
        if hasattr(owner, name):
            self.probe.patches.put(owner, name, self.timed(getattr(owner, name), label))

    def timed(self, original: "Callable[..., Any]", label: str) -> Any:
        code = self.probe.code(("saver", label), "saver", label)

        def begin(args: Any, kwargs: Any) -> tuple[int, str | None]:
            target = args[1] if len(args) > 1 else kwargs.get("f", kwargs.get("filename"))
            return time.monotonic_ns(), path_of(target)

        def end(begun: tuple[int, str | None], args: Any, answer: Any, raised: Any) -> None:
            self.record(*begun, code)

        return self.probe.around(original, begin, end)

    def put(
        self, owner: Any, name: str, begin: "Callable[..., Any]", end: "Callable[..., None]"
    ) -> None:
        self.probe.patches.put(owner, name, self.probe.around(vars(owner)[name], begin, end))


def kept(args: Any, kwargs: Any) -> bool:
    """Have the end told of."""
    return True


def path_of(target: Any) -> str | None:
    """The path that a plain string or a path of pathlib is; None for anything else, which is
    neither asked nor kept.
    """
    if type(target) is str:
        return target
    return str(target) if type(target).__module__.startswith("pathlib") else None


def written(target: str | None) -> int:
    """Bytes of the file just written, -1 when it is not a plain path."""
    try:
        return -1 if target is None else os.stat(target).st_size
    except (OSError, ValueError):
        return -1

"""Times checkpoint writes: torch.save, distributed checkpoints, safetensors, fsync.

The patches are on what those functions call, not on the functions themselves: programs hold, pickle
and wrap the public functions, and many have imported them by name.
"""

import os
import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

TORCH = "torch.serialization"
WRITERS = ("_open_zipfile_writer_file", "_open_zipfile_writer_buffer")
DISTRIBUTED = "torch.distributed.checkpoint.state_dict_saver"
SAFETENSORS = "safetensors.torch"


def install(probe: "InstalledProbe") -> None:
    """Patch the functions that write checkpoints, now and when they are imported later."""
    if "torch" not in sys.modules:
        return
    writes = CheckpointWrites(probe)
    writes.tick(0)
    probe.ticks.append(writes.tick)


class CheckpointWrites:
    """Patches the libraries that write checkpoints as the program imports them."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.open: dict[int, tuple[int, str | None]] = {}
        self.seen: set[str] = set()
        self.watches = {
            TORCH: self.watch_torch,
            DISTRIBUTED: self.watch_distributed,
            SAFETENSORS: self.watch_safetensors,
            "os": self.watch_fsync,
        }

    def tick(self, now_ns: int) -> None:
        for module, watch in self.watches.items():
            if module not in self.seen and MODULES["imported_modules"].imported(module) is not None:
                self.seen.add(module)
                watch()

    def watch_torch(self) -> None:
        """Patch torch.save: it opens and closes a writer, except for the old file format."""
        module = sys.modules[TORCH]
        code = self.probe.register_name(("saver", "torch.save"), "saver", "torch.save")
        if hasattr(module, "_open_zipfile_writer"):
            self.put(module, "_open_zipfile_writer", self.began, MODULES["guard"].do_nothing)
        for writer in (getattr(module, name, None) for name in WRITERS):
            if writer is not None and "__exit__" in vars(writer):
                self.put(writer, "__exit__", always, lambda *_: self.ended(code))
        self.time_calls(TORCH, "_legacy_save", "torch.save")

    def watch_distributed(self) -> None:
        self.time_calls(DISTRIBUTED, "_save_state_dict", "torch.distributed.checkpoint.save")

    def watch_safetensors(self) -> None:
        """Patch the steps of `save_file`: it copies the tensors, then writes them."""
        for name in ("_flatten", "_flatten_as_ptr", "serialize_file"):
            self.time_calls(SAFETENSORS, name, "safetensors.torch.save_file")

    def watch_fsync(self) -> None:
        """Patch os.fsync; `posix.fsync` stays the original, and is what a pickle refers to."""
        fsync = os.fsync
        timed = self.timed_save(fsync, "os.fsync")
        self.probe.patches.put(os, "fsync", MODULES["patches"].PicklableWrapper(timed, fsync))

    def began(self, args: Any, kwargs: Any) -> None:
        self.open[get_ident()] = (time.monotonic_ns(), plain_path(args[0]) if args else None)

    def ended(self, code: int) -> None:
        first, target = self.open.pop(get_ident(), (0, None))
        if first:
            self.record(first, target, code)

    def record(self, first: int, target: "str | None", code: int) -> None:
        took, kind = time.monotonic_ns() - first, self.probe.kinds["CHECKPOINT"]
        size = file_size(target)
        row = (kind, get_native_id(), first, took, size, code, -1, -1, -1, -1, -1, -1)
        self.probe.records.append(row)

    def time_calls(self, module: str, name: str, label: str) -> None:
        """Time the calls of a function, if this version of the module has it."""
        owner = sys.modules[module]
        if hasattr(owner, name):
            timed = self.timed_save(getattr(owner, name), label)
            self.probe.patches.put(owner, name, timed)

    def timed_save(self, original: "Callable[..., Any]", label: str) -> Any:
        """Return `original` with a record of each call, under the name `label`."""
        code = self.probe.register_name(("saver", label), "saver", label)

        def begin(args: Any, kwargs: Any) -> "tuple[int, str | None]":
            target = args[1] if len(args) > 1 else kwargs.get("f", kwargs.get("filename"))
            return time.monotonic_ns(), plain_path(target)

        def end(begun: "tuple[int, str | None]", args: Any, answer: Any, raised: Any) -> None:
            self.record(*begun, code)

        return self.probe.wrap(original, begin, end)

    def put(
        self, owner: Any, name: str, begin: "Callable[..., Any]", end: "Callable[..., None]"
    ) -> None:
        wrapper = self.probe.wrap(vars(owner)[name], begin, end)
        self.probe.patches.put(owner, name, wrapper)


def always(args: Any, kwargs: Any) -> bool:
    """Return a value that is not None, so that `end` is called."""
    return True


def plain_path(target: Any) -> "str | None":
    """Return the path if `target` is a plain string or a pathlib path, else None.

    Other objects are not kept, and none of their code runs.
    """
    if type(target) is str:
        return target
    return str(target) if type(target).__module__.startswith("pathlib") else None


def file_size(path: "str | None") -> int:
    """Return the bytes of the file that was just written, -1 if unknown."""
    try:
        return -1 if path is None else os.stat(path).st_size
    except (OSError, ValueError):
        return -1

"""Starts the probe on a thread of its own once the program has imported torch.

`sitecustomize_hook` runs this text in every Python that a command of `perfscope run` starts, and
`perfscope.profile()` imports it. It imports only modules that Python itself has imported. Its own
failures never reach the program.
"""

import os
import sys
import time
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROBE = "probe.txt"
ROLE_WITHIN_S = 30.0
BEGINS_WITHIN_S = 5.0
POLL_S = 0.02


class TorchImportWatch:
    """A finder that calls `begin` after the import of torch; the other finders find the module."""

    def __init__(self, begin: "Callable[[], None]") -> None:
        self.begin = begin

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Return the spec of torch from the other finders, None for every other module."""
        if name != "torch" or self not in sys.meta_path:
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                self.call_after_import(spec.loader)
                return spec
        return None

    def call_after_import(self, loader: "Any") -> None:
        """Call `begin` when the loader has run the module; the loader is restored before."""
        run = getattr(loader, "exec_module", None)
        attributes = getattr(loader, "__dict__", None)
        if run is None or not isinstance(attributes, dict):
            return
        # Set by another watch, if one `perfscope run` starts another.
        before = attributes.get("exec_module")

        def exec_module(module: "Any") -> None:
            if before is None:
                attributes.pop("exec_module", None)
            else:
                attributes["exec_module"] = before
            run(module)
            try:  # noqa: SIM105  contextlib is not imported yet
                self.begin()
            except Exception:  # noqa: BLE001  the import of torch succeeds in any case
                pass

        attributes["exec_module"] = exec_module


def watch_for_torch(folder: str) -> None:
    """Start the probe of `folder` as soon as torch has been imported."""
    sys.meta_path.insert(0, TorchImportWatch(lambda: start_probe(folder)))


def start_probe(folder: str) -> None:
    """Start the probe and wait until it is installed, so that the first step is recorded."""
    installed = allocate_lock()
    installed.acquire()
    start_new_thread(run_probe, (folder, installed))
    installed.acquire(True, BEGINS_WITHIN_S)


def run_probe(folder: str, installed: "Any") -> None:
    """Run the probe until it leaves; drop what it raises.

    The lock `installed` is released once the probe is installed.
    """

    def release(probe: "Any" = None) -> None:
        if installed.locked():
            installed.release()

    try:
        if may_become_worker():
            release()
            wait_for_role()
        with open(os.path.join(folder, PROBE), encoding="utf-8") as file:
            code = compile(file.read(), "<perfscope>", "exec", dont_inherit=True)
        exec(code, {"__name__": "__perfscope__", "__builtins__": __builtins__, "BEGUN": release})
    except BaseException:  # noqa: BLE001  nothing else handles it on this thread
        pass
    release()


def may_become_worker() -> bool:
    """Return whether multiprocessing started this process.

    Whether it becomes a loader worker is known only some time after it has imported torch.
    """
    return any("multiprocessing" in word for word in getattr(sys, "orig_argv", ())[:4])


def wait_for_role() -> None:
    """Wait until multiprocessing has received the function to run, and a loader worker its id."""
    process, until = sys.modules.get("multiprocessing.process"), time.monotonic() + ROLE_WITHIN_S
    while time.monotonic() < until:
        target = getattr(getattr(process, "_current_process", None), "_target", None)
        is_worker = getattr(target, "__name__", "") == "_worker_loop"
        info = getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None)
        if target is not None and (info is not None or not is_worker):
            return
        time.sleep(POLL_S)

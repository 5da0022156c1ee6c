"""Starts the probe once the program has imported torch, on a thread of its own.

`sitecustomize_hook` runs this text in every Python that a command of `perfscope run` starts;
`perfscope.profile()` imports it. It loads no module that Python has not loaded by itself. None of
its own failures reaches the program.
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
    """A finder that finds nothing of its own: it sees when torch is imported, and calls `begin`
    afterwards.
    """

    def __init__(self, begin: "Callable[[], None]") -> None:
        self.begin = begin

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Return the spec that the other finders have for torch, None for every other module."""
        if name != "torch" or self not in sys.meta_path:
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                self.follow(spec.loader)
                return spec
        return None

    def follow(self, loader: "Any") -> None:
        """Call `begin` when the loader has run the module; the loader is as before by then."""
        run = getattr(loader, "exec_module", None)
        attributes = getattr(loader, "__dict__", None)
        if run is None or not isinstance(attributes, dict):
            return
        before = attributes.get(
            "exec_module"
        )  # of a second watch, where one `perfscope run` starts another

        def exec_module(module: "Any") -> None:
            if before is None:
                attributes.pop("exec_module", None)
            else:
                attributes["exec_module"] = before
            run(module)
            try:  # noqa: SIM105  contextlib is not loaded at a start
                self.begin()
            except Exception:  # noqa: BLE001  torch is imported whether or not the probe can start
                pass

        attributes["exec_module"] = exec_module


def watch_for_torch(home: str) -> None:
    """Start the probe that lies in the folder `home` as soon as torch has been imported."""
    sys.meta_path.insert(0, TorchImportWatch(lambda: start_probe(home)))


def start_probe(home: str) -> None:
    """Start the probe, and wait until its patches are in place: the program's first step is
    recorded.
    """
    placed = allocate_lock()
    placed.acquire()
    start_new_thread(run_probe, (home, placed))
    placed.acquire(True, BEGINS_WITHIN_S)


def run_probe(home: str, placed: "Any") -> None:
    """Run the probe until it leaves; drop what it raises.

    The lock `placed` is released once its patches are in place.
    """

    def release(probe: "Any" = None) -> None:
        if placed.locked():
            placed.release()

    try:
        if may_become_worker():
            release()
            wait_for_role()
        with open(os.path.join(home, PROBE), encoding="utf-8") as file:
            code = compile(file.read(), "<perfscope>", "exec", dont_inherit=True)
        exec(code, {"__name__": "__perfscope__", "__builtins__": __builtins__, "BEGUN": release})
    except BaseException:  # noqa: BLE001  a thread of ours: nobody else would handle it
        pass
    release()


def may_become_worker() -> bool:
    """Return whether multiprocessing started this process: its purpose is known only some time
    after it has imported torch.
    """
    return any("multiprocessing" in word for word in getattr(sys, "orig_argv", ())[:4])


def wait_for_role() -> None:
    """Wait until multiprocessing has received what the process is to run, and a loader worker its
    number.
    """
    process, until = sys.modules.get("multiprocessing.process"), time.monotonic() + ROLE_WITHIN_S
    while time.monotonic() < until:
        target = getattr(getattr(process, "_current_process", None), "_target", None)
        works = getattr(target, "__name__", "") == "_worker_loop"
        info = getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None)
        if target is not None and (info is not None or not works):
            return
        time.sleep(POLL_S)

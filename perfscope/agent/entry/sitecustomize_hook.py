"""Runs first in every Python that a command of `perfscope run` starts, there under the name `sitecustomize`.

It takes itself out of the way, lets the sitecustomize run that would have run without it, and waits until the program has
imported torch: then the probe begins, on a thread of its own. Nothing of it shows in `sys.path` or `sys.modules` afterwards;
PYTHONPATH stays, for the Python processes that this one will start.
"""

import contextlib
import os
import sys
import time
from _thread import allocate_lock, start_new_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST = (3, 10)
PROBE = "probe.txt"
SHOWS_WITHIN_S = 30.0
BEGINS_WITHIN_S = 5.0
LOOK_S = 0.02


class Watch:
    """A finder that finds nothing: it only sees when torch is looked for, and calls `begin` once it has been imported."""

    def __init__(self, begin: "Callable[[], None]") -> None:
        self.begin = begin

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self.follow(spec.loader)
                return spec
        return None

    def follow(self, loader: Any) -> None:
        """Begin when the module has run; the loader is as before by then."""
        run = getattr(loader, "exec_module", None)
        if run is None or not hasattr(loader, "__dict__"):
            return

        def exec_module(module: Any) -> None:
            del loader.exec_module
            run(module)
            self.begin()

        loader.exec_module = exec_module


def begin(home: str) -> None:
    """Start the probe, and wait until its patches are in place."""
    placed = allocate_lock()
    placed.acquire()
    start_new_thread(visit, (home, placed))
    placed.acquire(True, BEGINS_WITHIN_S)


def visit(home: str, placed: Any) -> None:
    """The probe's whole stay; on a thread of its own, what it raises is dropped.

    `placed` is let go once its patches are in place: whoever waits for it sees the first step.
    """

    def let_go(probe: Any = None) -> None:
        if placed.locked():
            placed.release()

    with contextlib.suppress(BaseException):
        if may_become_worker():
            let_go()
            wait_for_role()
        with open(os.path.join(home, PROBE), encoding="utf-8") as file:
            code = compile(file.read(), "<perfscope>", "exec", dont_inherit=True)
        exec(code, {"__name__": "__perfscope__", "__builtins__": __builtins__, "BEGUN": let_go})
    let_go()


def may_become_worker() -> bool:
    """Did multiprocessing start it? What it is for shows only some moments after it has imported torch."""
    return any("multiprocessing" in word for word in getattr(sys, "orig_argv", ())[:4])


def wait_for_role() -> None:
    """Until multiprocessing has told the process what to run, and a loader worker what number it has."""
    process, until = sys.modules.get("multiprocessing.process"), time.monotonic() + SHOWS_WITHIN_S
    while time.monotonic() < until:
        target = getattr(getattr(process, "_current_process", None), "_target", None)
        works = getattr(target, "__name__", "") == "_worker_loop"
        info = getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None)
        if target is not None and (info is not None or not works):
            return
        time.sleep(LOOK_S)


def make_way(home: str) -> None:
    """Leave, and run the sitecustomize that stands behind us in the path. Raises what that raises, ImportError for none."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != home]
    sys.path_importer_cache.pop(home, None)
    del sys.modules["sitecustomize"]
    if sys.version_info >= OLDEST:
        sys.meta_path.insert(0, Watch(lambda: begin(home)))
    __import__("sitecustomize")


if __name__ == "sitecustomize":
    make_way(os.path.dirname(os.path.abspath(__file__)))

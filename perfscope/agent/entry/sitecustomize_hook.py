"""Runs first in every Python that a command of `perfscope run` starts, imported there as
`sitecustomize`.

It removes its folder from `sys.path`, starts `torch_import_watch` (the file `WATCH` of the folder)
in a Python that the probe supports, and imports the sitecustomize that would have run without it.
PYTHONPATH stays, for the Python processes that this one will start.

A command may start any Python, so this file is valid Python 2.7 and 3.0: plain ASCII, no
annotations, no functions.
"""

import os
import sys

WATCH = "torch_import_watch.txt"

if __name__ == "sitecustomize":
    ours = sys.modules.pop(
        __name__
    )  # held: Python 2 clears the names of a module that nothing refers to
    home = os.path.dirname(__file__)  # exactly the entry of sys.path; no call that could fail
    sys.path[:] = [entry for entry in sys.path if entry != home]
    sys.path_importer_cache.pop(home, None)
    try:
        if sys.version_info >= (3, 10):  # noqa: UP036  older ones run this file too
            with open(os.path.join(home, WATCH), encoding="utf-8") as file:
                watch = {"__name__": "<perfscope start>"}
                exec(compile(file.read(), "<perfscope start>", "exec", 0, True), watch)
            watch["watch_for_torch"](home)  # type: ignore[operator]
    except Exception:  # noqa: BLE001  the program starts as it would without us
        pass
    __import__("sitecustomize")

"""The `sitecustomize` of every Python that a command of `perfscope run` starts.

It removes its folder from `sys.path`, starts `torch_import_watch` (the file WATCH of the folder) in
a Python that the probe supports, and imports the sitecustomize that it replaced. It keeps
PYTHONPATH for the Python processes that this one starts.

A command may start any Python, so this file is valid Python 2.7 and 3.0: plain ASCII, no
annotations, no functions.
"""

import os
import sys

WATCH = "torch_import_watch.txt"

if __name__ == "sitecustomize":
    # Kept in a variable, because Python 2 clears the globals of a module without references.
    this_module = sys.modules.pop(__name__)
    folder = os.path.dirname(__file__)  # exactly the entry of sys.path, by a call that cannot fail
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)
    try:
        if sys.version_info >= (3, 10):  # noqa: UP036  older versions run this file too
            with open(os.path.join(folder, WATCH), encoding="utf-8") as file:
                watch = {"__name__": "<perfscope start>"}
                exec(compile(file.read(), "<perfscope start>", "exec", 0, True), watch)
            watch["watch_for_torch"](folder)  # type: ignore[operator]
    except Exception:  # noqa: BLE001  the program starts as without perfscope
        pass
    __import__("sitecustomize")

"""The command of a Python process that perfscope starts for itself.

`python -m` and `python -c` put the working directory at the head of `sys.path`. A folder of runs
may belong to another user, and a `json.py` in it would be executed with the rights of the reader.
A process that is started with this command does not import from the working directory.
"""

import sys
from pathlib import Path
from typing import Final

PARENT_OF_PACKAGE: Final = str(Path(__file__).resolve().parents[2])
RUN_MODULE: Final = (
    "import sys; parent = sys.argv[1]; path = [*filter(None, sys.path)]; "
    "sys.path[:] = path if parent in path else [parent, *path]; del sys.argv[:2]; "
    "import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
"""Under `-c` the working directory is the empty entry of `sys.path`. `sys` is built in, so nothing
is searched for before that entry is removed.
"""


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of perfscope in this Python."""
    return [sys.executable, "-c", RUN_MODULE, PARENT_OF_PACKAGE, module, *arguments]

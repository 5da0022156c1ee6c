"""What a command is started with so that the probe comes along: a folder that Python finds through
PYTHONPATH.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from perfscope.agent.delivery.probe_bundle import bundle
from perfscope.agent.delivery.probe_socket import Door
from perfscope.agent.entry.sitecustomize_hook import WATCH
from perfscope.agent.entry.torch_import_watch import PROBE
from perfscope.agent.leftovers import remove_dead, temporary_folder
from perfscope.agent.nvtx import ADDRESS_VARIABLE, PATH_VARIABLE, library
from perfscope.agent.profiler_windows.window import Window
from perfscope.traces.cache.place import create_cache_folder, is_private, is_safe_parent

PREFIX = "perfscope-run-"
HOOK = "sitecustomize.py"


def nvtx_environment(door: Door) -> dict[str, str]:
    """Return the variables with which every NVTX in the command loads our library.

    None where another tool's library is set, or ours is not built. The token is in the environment:
    only processes of the same uid (and root) may read it there, and these may read the command's
    memory as well.
    """
    path = library()
    if path is None or PATH_VARIABLE in os.environ:
        return {}
    return {
        PATH_VARIABLE: str(path),
        ADDRESS_VARIABLE: f"{door.address} {door.token} {door.owner} {os.geteuid()}",
    }


@contextmanager
def start_folder(
    door: Door, window: Window | None, nvtx: dict[str, str]
) -> Iterator[dict[str, str]]:
    """Yield the environment to start the command with, `nvtx` included; the folder it names is
    removed afterwards.

    Folders of agents that were killed are removed first. The token is in a file of mode 0600.

    A process that the command leaves running keeps PYTHONPATH when the folder is gone. In /tmp any
    user could then make a folder of that name for its next Python. So the folder is in a place of
    our own user where there is one, and PYTHONPATH names a folder inside it, by a name that only
    our own user can learn.
    """
    place = own_place() or Path(tempfile.gettempdir()).resolve()
    remove_dead(place, PREFIX)
    with temporary_folder(place, PREFIX) as hidden:
        folder = hidden / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        entry = files("perfscope.agent.entry")
        write_private(folder / HOOK, entry.joinpath("sitecustomize_hook.py").read_text("utf-8"))
        write_private(folder / WATCH, entry.joinpath("torch_import_watch.py").read_text("utf-8"))
        text = bundle(door.address_for(os.getpid()), window, nvtx=door.nvtx)
        write_private(folder / PROBE, text)
        before = os.environ.get("PYTHONPATH")
        path = f"{folder}{os.pathsep}{before}" if before else str(folder)
        yield {**os.environ, **nvtx, "PYTHONPATH": path}


def own_place() -> Path | None:
    """Return a folder in which only this user can make anything; None when there is none."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere")
    if (
        runtime.is_absolute()
        and runtime.is_dir()
        and is_private(runtime)
        and is_safe_parent(runtime.parent)
    ):
        return runtime
    try:
        return create_cache_folder("start")
    except OSError:
        return None


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises OSError, also where there is one
    already.
    """
    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)

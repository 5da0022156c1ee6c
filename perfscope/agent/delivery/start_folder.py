"""The folder and environment that start the probe in a command: Python finds it by PYTHONPATH."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from perfscope.agent.delivery.probe_bundle import bundle
from perfscope.agent.delivery.probe_socket import ProbeSocket
from perfscope.agent.entry.sitecustomize_hook import WATCH
from perfscope.agent.entry.torch_import_watch import PROBE
from perfscope.agent.nvtx import ADDRESS_VARIABLE, PATH_VARIABLE, library
from perfscope.agent.profiler_windows.window import Window
from perfscope.agent.temporary_folders import remove_dead, temporary_folder
from perfscope.errors import PerfscopeError
from perfscope.traces.cache.cache_folder import (
    create_cache_folder,
    is_private,
    is_safe_parent,
    user_cache,
)

PREFIX = "perfscope-run-"
HOOK = "sitecustomize.py"


def nvtx_environment(probe_socket: ProbeSocket) -> dict[str, str]:
    """Return the variables with which every NVTX in the command loads our library.

    There are none if another tool's library is set, or ours is not built. The token is in the
    environment, which only processes of the same uid and root may read. These may read the
    command's memory as well.
    """
    path = library()
    if path is None or PATH_VARIABLE in os.environ:
        return {}
    address, token, owner = probe_socket.address, probe_socket.token, probe_socket.owner
    return {
        PATH_VARIABLE: str(path),
        ADDRESS_VARIABLE: f"{address} {token} {owner} {os.geteuid()}",
    }


@contextmanager
def start_folder(
    probe_socket: ProbeSocket, window: Window | None, nvtx: dict[str, str]
) -> Iterator[dict[str, str]]:
    """Yield the environment for the command, `nvtx` included; its folder is removed afterwards.

    Folders of agents that were killed are removed first. The token is in a file of mode 0600.

    A process that the command leaves running keeps PYTHONPATH after the folder is removed. In /tmp
    any user could then create a folder of that name, and the process's next Python would use it. So
    the folder is in a private folder of our user if there is one, and PYTHONPATH names a folder
    inside it whose name only our user can read.
    """
    place = find_private_folder() or temporary_place()
    remove_dead(place, PREFIX)
    with temporary_folder(place, PREFIX) as hidden:
        folder = hidden / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        entry = files("perfscope.agent.entry")
        write_private(folder / HOOK, entry.joinpath("sitecustomize_hook.py").read_text("utf-8"))
        write_private(folder / WATCH, entry.joinpath("torch_import_watch.py").read_text("utf-8"))
        text = bundle(probe_socket.address_for(os.getpid()), window, nvtx=probe_socket.nvtx)
        write_private(folder / PROBE, text)
        before = os.environ.get("PYTHONPATH")
        path = f"{folder}{os.pathsep}{before}" if before else str(folder)
        yield {**os.environ, **nvtx, "PYTHONPATH": path}


def find_private_folder() -> Path | None:
    """Return a folder to which only this user can write, None if there is none."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere")
    is_folder = runtime.is_absolute() and runtime.is_dir() and fits_in_path(runtime)
    if is_folder and is_private(runtime) and is_safe_parent(runtime.parent):
        return runtime
    cache = user_cache()
    if cache is None or not fits_in_path(cache):
        return None
    try:
        return create_cache_folder("start")
    except OSError:
        return None


def temporary_place() -> Path:
    """Return the folder for temporary files. Raises PerfscopeError where PYTHONPATH cannot name
    it.
    """
    place = Path(tempfile.gettempdir()).resolve()
    if not fits_in_path(place):
        raise PerfscopeError(
            f"PYTHONPATH cannot name {place}: set TMPDIR to a folder without `{os.pathsep}`"
        )
    return place


def fits_in_path(folder: Path) -> bool:
    """Return whether PYTHONPATH can name a folder: a colon in it would begin another entry, which
    is relative to the working directory of the command.
    """
    return os.pathsep not in str(folder)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises OSError, also if it exists."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(text)

"""What a command is started with so that the probe comes along: a folder that Python finds through PYTHONPATH."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from perfscope.agent.delivery.probe_bundle import bundle
from perfscope.agent.delivery.probe_socket import Door
from perfscope.agent.nvtx import ADDRESS_VARIABLE, PATH_VARIABLE, library
from perfscope.agent.profiler_windows.window import Window

HOOK = "sitecustomize.py"
PROBE = "probe.txt"


def nvtx_environment(door: Door) -> dict[str, str]:
    """With this every NVTX in the command loads our library; nothing where another tool's stands there, or ours is not built."""
    path = library()
    if path is None or PATH_VARIABLE in os.environ:
        return {}
    return {PATH_VARIABLE: str(path), ADDRESS_VARIABLE: f"{door.address} {door.token} {door.owner} {os.geteuid()}"}


@contextmanager
def start_folder(door: Door, window: Window | None, nvtx: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment to start the command with, that of `nvtx` in it; the folder behind it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="perfscope-run-") as name:
        folder = Path(name)
        folder.joinpath(HOOK).write_text(
            files("perfscope.agent.entry").joinpath("sitecustomize_hook.py").read_text("utf-8")
        )
        text = bundle(door.contact_for(os.getpid()), window, nvtx=door.nvtx)
        folder.joinpath(PROBE).write_text(text)
        before = os.environ.get("PYTHONPATH")
        yield {**os.environ, **nvtx, "PYTHONPATH": f"{name}{os.pathsep}{before}" if before else name}

"""What a command is started with so that the probe comes along: a folder that Python finds through PYTHONPATH."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from perfscope.agent.door import Door
from perfscope.agent.probe_bundle import bundle
from perfscope.agent.window import Window

HOOK = "sitecustomize.py"
PROBE = "probe.txt"


@contextmanager
def start_folder(door: Door, window: Window | None) -> Iterator[dict[str, str]]:
    """The environment to start the command with; the folder behind it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="perfscope-run-") as name:
        folder = Path(name)
        folder.joinpath(HOOK).write_text(files("perfscope.agent.entry").joinpath("at_start.py").read_text("utf-8"))
        text = bundle(door.address, door.token, os.getpid(), window, at_exit=True)
        folder.joinpath(PROBE).write_text(text)
        before = os.environ.get("PYTHONPATH")
        yield {**os.environ, "PYTHONPATH": f"{name}{os.pathsep}{before}" if before else name}

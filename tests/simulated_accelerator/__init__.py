"""A simulated accelerator for torch, and tests on it.

README.md in this folder describes the device.
"""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

from tests.simulated_accelerator.build import build_device, why_not_buildable

PROGRAMS = Path(__file__).parent / "programs"


def environment(**settings: object) -> dict[str, str]:
    """Return an environment in which torch has the device.

    A setting `gflops=1` is the variable SIM_GFLOPS. Raises SkipTest where the device cannot be
    built.
    """
    reason = why_not_buildable()
    if reason is not None:
        raise unittest.SkipTest(f"the simulated accelerator {reason}")
    place = build_device()
    chosen = {**json.loads((place / "peaks.json").read_text()), **settings}
    variables = {f"SIM_{name.upper()}": str(value) for name, value in chosen.items()}
    path = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}


def run_program(name: str, *arguments: str | Path, **settings: object) -> str:
    """Run `programs/NAME.py` with the device, and return what it prints."""
    command = [sys.executable, str(PROGRAMS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Calibrates the CPU: a large product and a triad in a child process, with the Python and the torch
of the target.
"""

import json
import os
import platform
import subprocess
import time
from importlib.resources import as_file, files

from perfscope.agent.host import proc
from perfscope.errors import PerfscopeError, UsageError
from perfscope.traces.calibrations import BUSY
from perfscope.traces.run.manifest import Calibration

WATCHED_S = 1.0
LONGEST_S = 180.0


def calibrate(python: str, threads: int, *, force: bool) -> Calibration:
    """`threads` 0: as many as torch takes by itself. Takes some seconds.

    Raises UsageError when the machine is busy and `force` is not given, PerfscopeError when that
    Python has no torch.
    """
    busy = busy_share()
    if busy > BUSY and not force:
        raise UsageError(
            f"{busy:.0%} of the cores are busy: the figures would be too low. Calibrate when the"
            " machine is idle, or with --force all the same"
        )
    with as_file(files("perfscope.agent").joinpath("calibration_child.py")) as script:
        command = [python, "-I", str(script), str(threads)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LONGEST_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PerfscopeError(f"cannot calibrate with {python}: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise PerfscopeError(
            f"cannot calibrate with {python}: {last}; name the target's own with --python"
        )
    said = json.loads(done.stdout)
    return Calibration(
        host=platform.node(),
        cpu=cpu_name(),
        torch=said["torch"],
        threads=said["threads"],
        flops_per_s=said["flops_per_s"],
        bytes_per_s=said["bytes_per_s"],
        busy_share=round(busy, 3),
        made_unix_s=time.time(),
    )


def busy_share() -> float:
    """The share of the machine's cores that is at work, over a second."""
    before = ticks()
    time.sleep(WATCHED_S)
    after = ticks()
    whole = sum(after) - sum(before)
    idle = after[3] + after[4] - before[3] - before[4]  # idle, and waiting for a disk
    return 1.0 - idle / whole if whole > 0 else 0.0


def ticks() -> list[int]:
    """The first line of /proc/stat: user, nice, system, idle, iowait ... of all cores together."""
    fields = (proc.read("/proc/stat") or "cpu 0 0 0 1 0").split("\n", 1)[0].split()[1:9]
    return [int(one) for one in fields] + [0] * (5 - len(fields))


def cpu_name() -> str:
    lines = (proc.read("/proc/cpuinfo") or "").splitlines()
    named = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )
    return named or platform.machine() or os.uname().machine

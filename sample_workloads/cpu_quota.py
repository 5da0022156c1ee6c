"""ill: cpu-throttled. A rank may use half a core: their control group stops them for half of every
tenth of a second.
"""

import atexit
import contextlib
import os
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import (
    LOCAL_RANKS,
    UNDER_TORCHRUN,
    arguments,
    layers,
    own_part,
    train,
)

PERIOD_US = 100_000
ROOT = Path("/sys/fs/cgroup")
NAME = "half-a-core-"


def cpu_root() -> Path:
    """Where groups with a CPU quota are made: the cpu controller of version 1, or the one hierarchy
    of version 2.
    """
    return ROOT if (ROOT / "cgroup.controllers").exists() else ROOT / "cpu"


def own_group() -> Path:
    """The group that this process is in now."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (controllers == "" and cpu_root() == ROOT) or "cpu" in controllers.split(","):
            group = cpu_root() / path.lstrip("/")
            return group if group.is_dir() else cpu_root()
    return cpu_root()


def limited_group() -> Path:
    """A group with half a core for each local rank, new for the first of them."""
    for left_behind in cpu_root().glob(f"{NAME}*"):
        with contextlib.suppress(OSError):  # only an empty one can be removed: that of a killed run
            left_behind.rmdir()
    group = cpu_root() / f"{NAME}{members()[-1]}"
    if cpu_root() == ROOT:
        (ROOT / "cgroup.subtree_control").write_text("+cpu")
    group.mkdir(exist_ok=True)
    atexit.register(removed, group)
    quota_us = LOCAL_RANKS * PERIOD_US // 2
    if cpu_root() == ROOT:
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    return group


def removed(group: Path) -> None:
    """Away with it, by the last that leaves it."""
    with contextlib.suppress(OSError):
        group.rmdir()


def members() -> list[int]:
    """The processes that are limited: this one, and under torchrun the launcher too, as in a
    container.
    """
    return [os.getpid(), os.getppid()] if UNDER_TORCHRUN else [os.getpid()]


def half_a_core() -> None:
    """Enter a control group with half a core; left and removed when the program ends."""
    try:
        home, group = own_group() / "cgroup.procs", limited_group()
        for pid in members():
            (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        print(
            f"cpu_quota: no control group can be made here ({error.strerror}); it takes root",
            file=sys.stderr,
        )
        sys.exit(3)
    for pid in members():
        atexit.register(
            home.write_text, str(pid)
        )  # before the group is removed: last in, first out


def main() -> None:
    args = arguments(__doc__)
    if not args.fix:
        half_a_core()
    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(layers(512, 12), DataLoader(data, batch_size=128, sampler=own_part(data)), args)


if __name__ == "__main__":
    main()

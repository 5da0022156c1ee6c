"""Verdict: cpu-throttled. Each rank may use half a core.

Their control group stops them for half of every 100 ms.
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
    make_layers,
    parse_arguments,
    rank_sampler,
    train,
)

PERIOD_US = 100_000
ROOT = Path("/sys/fs/cgroup")
NAME = "half-a-core-"


def cpu_root() -> Path:
    """Return the folder for groups with a CPU quota: the v1 cpu controller, or the root of v2."""
    return ROOT if (ROOT / "cgroup.controllers").exists() else ROOT / "cpu"


def current_group() -> Path:
    """Return the group that this process is in."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (controllers == "" and cpu_root() == ROOT) or "cpu" in controllers.split(","):
            group = cpu_root() / path.lstrip("/")
            return group if group.is_dir() else cpu_root()
    return cpu_root()


def create_limited_group() -> Path:
    """Return a group with half a core per local rank; the first rank creates it."""
    # Only an empty group can be removed: that of a run that was killed.
    for old_group in cpu_root().glob(f"{NAME}*"):
        remove_group(old_group)
    group = cpu_root() / f"{NAME}{limited_pids()[-1]}"
    if cpu_root() == ROOT:
        (ROOT / "cgroup.subtree_control").write_text("+cpu")
    group.mkdir(exist_ok=True)
    atexit.register(remove_group, group)
    quota_us = LOCAL_RANKS * PERIOD_US // 2
    if cpu_root() == ROOT:
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    return group


def remove_group(group: Path) -> None:
    """Remove a group if it is empty."""
    with contextlib.suppress(OSError):
        group.rmdir()


def limited_pids() -> list[int]:
    """Return the processes to limit: this one and, under torchrun, its launcher."""
    return [os.getpid(), os.getppid()] if UNDER_TORCHRUN else [os.getpid()]


def limit_to_half_a_core() -> None:
    """Enter a control group with half a core; leave and remove it when the program ends."""
    try:
        home, group = current_group() / "cgroup.procs", create_limited_group()
        for pid in limited_pids():
            (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        print(
            f"cpu_throttled: cannot create a control group ({error.strerror}); run it as root",
            file=sys.stderr,
        )
        sys.exit(3)
    for pid in limited_pids():
        # This runs before the group is removed: exit handlers run in reverse order.
        atexit.register(home.write_text, str(pid))


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    if not args.fix:
        limit_to_half_a_core()
    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(make_layers(512, 12), DataLoader(data, batch_size=128, sampler=rank_sampler(data)), args)


if __name__ == "__main__":
    main()

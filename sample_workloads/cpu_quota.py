"""ill: cpu-throttled. The process may use half a core: its control group stops it for half of every tenth of a second."""

import atexit
import os
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, train

PERIOD_US = 100_000


def half_a_core() -> None:
    """Make a control group with half a core and enter it; it goes when the program ends."""
    first, unified = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (first if first.is_dir() else unified) / f"half-a-core-{os.getpid()}"
    home = (first if first.is_dir() else unified) / "cgroup.procs"
    try:
        group.mkdir()
        if first.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(PERIOD_US // 2))
        else:
            (group / "cpu.max").write_text(f"{PERIOD_US // 2} {PERIOD_US}")
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        print(f"cpu_quota: no control group can be made here ({error.strerror})", file=sys.stderr)
        sys.exit(3)
    owner = os.getpid()

    def leave() -> None:
        if os.getpid() == owner:
            home.write_text(str(owner))
            group.rmdir()

    atexit.register(leave)


def main() -> None:
    args = arguments(__doc__)
    if not args.fix:
        half_a_core()
    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(layers(512, 6), DataLoader(data, batch_size=128), args)


if __name__ == "__main__":
    main()

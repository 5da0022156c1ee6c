"""Verdict: cpu-oversubscription. Eight compute threads compete for each core."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import (
    make_layers,
    parse_arguments,
    rank_sampler,
    train,
    usable_cores,
)


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    # Half of the cores are left to other programs.
    threads = max(1, usable_cores() // 2) if args.fix else 8 * usable_cores()
    torch.set_num_threads(threads)
    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(make_layers(512, 12), DataLoader(data, batch_size=256, sampler=rank_sampler(data)), args)


if __name__ == "__main__":
    main()

"""Verdict: thread-count. A large model computes on one thread while other cores are idle.

A launcher for one rank per core would set the number like this.
"""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, train, usable_cores


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    if args.fix:
        torch.set_num_threads(usable_cores())
    data = TensorDataset(torch.randn(4096, 1024), torch.randint(0, 10, (4096,)))
    train(make_layers(1024, 6), DataLoader(data, batch_size=512), args)


if __name__ == "__main__":
    main()

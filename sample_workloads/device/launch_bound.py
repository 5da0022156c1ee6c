"""Verdict: launch-bound. A hundred small experts run one after the other on the device.

Each kernel ends before the next one is launched.
"""

import torch
from torch import nn

from sample_workloads.device.training_on_device import train_on_device
from sample_workloads.launch_bound import BatchedExperts, SequentialExperts
from sample_workloads.training import Meter, device, parse_arguments

EXPERTS, WIDTH, BATCH = 100, 4, 4


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = [(torch.randn(EXPERTS, BATCH, WIDTH, device=device()),) for _ in range(16)]
    chosen = BatchedExperts if args.fix else SequentialExperts
    model: nn.Module = chosen(EXPERTS, WIDTH)
    train_on_device(
        model.to(device()),
        data,
        Meter(args),
        learn=lambda model, batch: model(batch[0]).square().mean(),
    )


if __name__ == "__main__":
    main()

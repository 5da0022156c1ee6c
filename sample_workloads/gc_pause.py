"""Verdict: gc-pause. Each step parses records into objects that refer to each other in cycles.

There are so many of them that full collections follow each other, over a large vocabulary.
"""

import gc

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.explicit_call import read_vocabulary
from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

RECORDS, FIXED_PERIOD = 6_000, 200


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    vocabulary = read_vocabulary()
    if args.fix:
        gc.collect()
        # Later collections skip all objects that exist now.
        gc.freeze()
        gc.disable()
    parsed = read_vocabulary(1)

    def parse(step: int) -> None:
        """Parse the records of the next step, in place of those of this one."""
        parsed[:] = read_vocabulary(RECORDS)
        if args.fix and vocabulary and step % FIXED_PERIOD == 0:
            gc.collect()

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(
        make_layers(512, 12),
        DataLoader(data, batch_size=128, sampler=rank_sampler(data)),
        args,
        every_step=parse,
    )


if __name__ == "__main__":
    main()

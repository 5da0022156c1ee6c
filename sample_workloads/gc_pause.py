"""ill: gc-pause. gc.collect() after every step, over a large vocabulary that never changes."""

import gc

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, train


def main() -> None:
    args = arguments(__doc__, workers=1)
    vocabulary = {f"token {number}": [number, [number]] for number in range(150_000)}

    def tidy_up(step: int) -> None:
        assert vocabulary
        if not args.fix:
            gc.collect()

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=128, num_workers=args.workers, persistent_workers=True)
    train(layers(512, 6), loader, args, every_step=tidy_up)


if __name__ == "__main__":
    main()

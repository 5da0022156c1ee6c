"""ill: cpu-oversubscription. Eight compute threads for every core: they stand in each other's way."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, train, usable_cores


def main() -> None:
    args = arguments(__doc__, workers=1)
    torch.set_num_threads(max(1, usable_cores() // 2) if args.fix else 8 * usable_cores())
    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=128, num_workers=args.workers, persistent_workers=True)
    train(layers(512, 6), loader, args)


if __name__ == "__main__":
    main()

"""ill: cpu-oversubscription. Eight compute threads for every core: they stand in each other's
way.
"""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, own_part, train, usable_cores


def main() -> None:
    args = arguments(__doc__)
    torch.set_num_threads(
        max(1, usable_cores() // 2) if args.fix else 8 * usable_cores()
    )  # half: others live here too
    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    train(layers(512, 12), DataLoader(data, batch_size=256, sampler=own_part(data)), args)


if __name__ == "__main__":
    main()

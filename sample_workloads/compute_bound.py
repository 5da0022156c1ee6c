"""ill: compute-bound. Pairs are counted by a product of whole numbers, for which there is no fast code."""

import torch
from torch import nn

from sample_workloads.training import arguments, classify, layers, train

ITEMS, WIDTH = 768, 768


def main() -> None:
    args = arguments(__doc__)
    kind = torch.float32 if args.fix else torch.int64  # counts below 2^24 are exact in float32
    baskets = [(torch.rand(ITEMS, WIDTH) < 0.02) for _ in range(8)]
    data = [(torch.rand(128, WIDTH), torch.randint(0, 10, (128,)), one.to(kind)) for one in baskets]
    seen = torch.zeros(WIDTH, WIDTH, dtype=kind)

    def learn(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The usual loss, beside it the pairs that occur together."""
        seen.add_(batch[2].T @ batch[2])
        return classify(model, batch)

    train(layers(WIDTH, 1), data, args, learn=learn)


if __name__ == "__main__":
    main()

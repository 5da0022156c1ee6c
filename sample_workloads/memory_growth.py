"""ill: healthy + memory-growth. Keeps every loss with its graph "for the plot": memory grows with every step."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, classify, layers, train


def main() -> None:
    args = arguments(__doc__, workers=1)
    history: list[torch.Tensor] = []

    def remembered(model: torch.nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        loss = classify(model, batch)
        history.append(loss.detach() if args.fix else loss * 1.0)
        if not args.fix:
            history.append(model(batch[0]).mean())
        return loss

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=64, num_workers=args.workers, persistent_workers=True)
    train(layers(512, 6), loader, args, learn=remembered)


if __name__ == "__main__":
    main()

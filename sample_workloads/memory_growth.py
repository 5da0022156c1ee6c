"""ill: healthy + memory-growth. Keeps every score with its graph "for the plot": memory grows with
every step.
"""

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, classify, layers, own_part, train

WATCHED = 2


def main() -> None:
    args = arguments(__doc__)
    history: list[torch.Tensor] = []

    def watched(model: torch.nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        score = model(batch[0][:WATCHED]).mean()
        history.append(score.detach() if args.fix else score)
        return classify(model, batch)

    data = TensorDataset(torch.randn(8192, 512), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=128, sampler=own_part(data))
    train(layers(512, 12), loader, args, learn=watched)


if __name__ == "__main__":
    main()

"""ill: input-bound/transfer-bound. Batches carry large nested lists, which the training process unpickles while it waits."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, layers, train

WIDTH = 512


class Annotated(Dataset[Any]):
    """Inputs with annotations that the training step hardly needs."""

    def __init__(self, *, boxes: int) -> None:
        self.values = torch.randn(WIDTH)
        self.boxes = [[float(at), at + 0.5, at + 1.5, at + 2.5, str(at)] for at in range(boxes)]

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> Any:
        return self.values, index % 10, [list(box) for box in self.boxes]


def as_lists(items: list[Any]) -> Any:
    """Tensors for the inputs, Python lists for the annotations."""
    inputs, labels, boxes = zip(*items, strict=True)
    return torch.stack(inputs), torch.tensor(labels), boxes


def main() -> None:
    args = arguments(__doc__, workers=2)
    data = Annotated(boxes=1 if args.fix else 300)
    loader = DataLoader(data, batch_size=32, num_workers=args.workers, collate_fn=as_lists)
    train(layers(WIDTH, 20), loader, args, learn=ignoring_annotations)


def ignoring_annotations(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """The annotations were carried along for nothing."""
    inputs, labels, _ = batch
    return torch.nn.functional.cross_entropy(model(inputs), labels)


if __name__ == "__main__":
    main()

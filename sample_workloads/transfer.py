"""ill: input-bound/transfer-bound. Batches carry large nested lists, which the training process
unpickles while it waits.
"""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import arguments, layers, own_part, train

WIDTH = 512
BOXES = 300


class Annotated(Dataset[Any]):
    """Inputs with their annotated boxes, as Python lists or as one tensor."""

    def __init__(self, *, as_tensor: bool) -> None:
        self.values = torch.randn(WIDTH)
        self.boxes = [
            [float(at), at + 0.5, at + 1.5, at + 2.5, float(at % 80)] for at in range(BOXES)
        ]
        self.tensor = torch.tensor(self.boxes) if as_tensor else None

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        boxes = [list(box) for box in self.boxes] if self.tensor is None else self.tensor
        return self.values, index % 10, boxes


def with_boxes(items: list[Any]) -> Any:
    """Tensors for the inputs; the boxes as they come."""
    inputs, labels, boxes = zip(*items, strict=True)
    together = torch.stack(boxes) if isinstance(boxes[0], torch.Tensor) else boxes
    return torch.stack(inputs), torch.tensor(labels), together


def main() -> None:
    args = arguments(__doc__, workers=2)
    data = Annotated(as_tensor=args.fix)
    loader = DataLoader(
        data, batch_size=32, sampler=own_part(data), num_workers=args.workers, collate_fn=with_boxes
    )
    train(layers(WIDTH, 24), loader, args)


if __name__ == "__main__":
    main()

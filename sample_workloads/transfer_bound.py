"""Verdict: input-bound/transfer-bound. Batches contain large nested lists.

The training process unpickles them while it waits for the batch.
"""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

WIDTH = 512
BOXES = 300


class AnnotatedInputs(Dataset[Any]):
    """Inputs with annotated boxes, as Python lists or as one tensor."""

    def __init__(self, *, as_tensor: bool) -> None:
        self.values = torch.randn(WIDTH)
        self.boxes = [
            [float(box), box + 0.5, box + 1.5, box + 2.5, float(box % 80)] for box in range(BOXES)
        ]
        self.tensor = torch.tensor(self.boxes) if as_tensor else None

    def __len__(self) -> int:
        return 200_000

    def __getitem__(self, index: int) -> Any:
        boxes = [list(box) for box in self.boxes] if self.tensor is None else self.tensor
        return self.values, index % 10, boxes


def collate_with_boxes(items: list[Any]) -> Any:
    """Stack the inputs; leave lists of boxes as they are."""
    inputs, labels, boxes = zip(*items, strict=True)
    collated = torch.stack(boxes) if isinstance(boxes[0], torch.Tensor) else boxes
    return torch.stack(inputs), torch.tensor(labels), collated


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=2)
    data = AnnotatedInputs(as_tensor=args.fix)
    loader = DataLoader(
        data,
        batch_size=32,
        sampler=rank_sampler(data),
        num_workers=args.workers,
        collate_fn=collate_with_boxes,
    )
    train(make_layers(WIDTH, 24), loader, args)


if __name__ == "__main__":
    main()

"""Calls the patched functions with arguments that are hard to handle; the results must be the same
before, during and after a recording.
"""

import _thread
import gc
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

import perfscope

CALLS = 30


class Raises:
    """An object whose every method raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError("len")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


class Six(Dataset[torch.Tensor]):
    def __getitem__(self, index: Any) -> torch.Tensor:
        return torch.zeros(2)

    def __len__(self) -> int:
        return 6


class Numbers(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(7))


class OddSampler:
    """Gives indices of every kind; its batch size cannot be read."""

    @property
    def batch_size(self) -> int:
        raise RuntimeError("batch_size")

    def __iter__(self) -> Iterator[Any]:
        return iter([Raises(), torch.tensor(3), torch.tensor([1, 2]), 4, "x", None])

    def __len__(self) -> int:
        return 6


class OddModule(torch.nn.Module):
    """A module whose `training` cannot be read."""

    @property
    def training(self) -> bool:
        raise RuntimeError("training")

    @training.setter
    def training(self, value: bool) -> None: ...

    def forward(self, *given: Any) -> int:
        return len(given)


class OddOptimizer(torch.optim.SGD):
    def __hash__(self) -> int:
        raise RuntimeError("hash")


def batches() -> int:
    """Count the batches of loaders with odd samplers; some of the passes are left early."""
    count = 0
    for workers in (0, 2):
        scalars = torch.randperm(6)  # a sampler whose indices are tensors without a length
        options: dict[str, Any] = {"batch_size": None, "sampler": scalars}
        count += len(list(DataLoader(Six(), num_workers=workers, **options)))
        count += len(list(DataLoader(Six(), batch_sampler=[[0], [1, 2]], num_workers=workers)))
    odd: dict[str, Any] = {"batch_size": None, "sampler": OddSampler()}
    count += len(list(DataLoader(Six(), **odd)))
    count += len(list(DataLoader(Numbers(), batch_size=2)))
    for _ in range(3):
        count += len(next(iter(DataLoader(Six(), batch_size=2, num_workers=1))))
    return count


def left_open() -> bool:
    """Leave many passes early; return whether their descriptors remain open."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(8):
        next(iter(DataLoader(Six(), batch_size=2, num_workers=1)))
    gc.collect()
    return len(os.listdir("/proc/self/fd")) > before + 4


def without_a_frame() -> int:
    """Call a module from threads that have no Python frame below the call."""
    seen: list[int] = []

    class Seen(torch.nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            seen.append(1)
            return given

    for _ in range(CALLS):
        _thread.start_new_thread(Seen(), (torch.zeros(1),))
    until = time.monotonic() + 20
    while len(seen) < CALLS and time.monotonic() < until:
        time.sleep(0.01)
    return len(seen)


def transformed() -> list[Any]:
    """Modules and losses under vmap and grad."""
    layer, rows = torch.nn.Linear(2, 2), torch.ones(3, 2)
    square = torch.func.grad(lambda value: (value * value).sum())
    return [torch.func.vmap(layer)(rows).shape[0], torch.func.vmap(square)(rows).tolist()]


def error_of_a_save() -> str:
    try:
        torch.save(1, "/no/such/folder/file.pt")
    except (OSError, RuntimeError) as error:
        return type(error).__name__
    return "none"


def answers() -> list[Any]:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    OddOptimizer([weight], 0.5).step()
    loss = (weight * weight).sum()
    inner = torch.autograd.grad(loss, weight, retain_graph=True)[0].tolist()
    loss.backward()
    saved = io.BytesIO()
    torch.save(weight, saved)
    for _ in range(5):
        gc.collect()
    odd = [OddModule()(Raises(), Raises()) for _ in range(3)]
    end = [weight.tolist(), inner, weight.grad.tolist(), len(saved.getvalue()) > 0]
    return [left_open(), batches(), without_a_frame(), transformed(), error_of_a_save(), odd, end]


if __name__ == "__main__":
    before = answers()
    with perfscope.profile(out=sys.argv[1], depth="probe", show=False):
        during = [answers()]
        time.sleep(4)  # longer than the probe watches for modules, whose classes it then patches
        during.append(answers())
    print(json.dumps({"before": before, "during": during, "after": answers()}))

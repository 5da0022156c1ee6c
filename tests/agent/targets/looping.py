"""A deterministic training loop for the attach tests: `looping.py OUT [--kind K] [--workers N]
[--steps N] [--stripped]`.

Writes one line per step to OUT: the loss as hex, seconds waited for the batch, seconds of the step,
and the monotonic time at which it ended. SIGUSR1: appends what is patched, open and running in this
process as a JSON line to OUT.state, between two steps.
"""

import argparse
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset


class Mapped(Dataset[Any]):
    """A dataset of items by index, each of which takes one millisecond."""

    def __len__(self) -> int:
        return 10**7

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.001)
        return torch.randn(32, generator=torch.Generator().manual_seed(index)), index % 10


class Streamed(IterableDataset[Any]):
    """The same items as a stream."""

    def __iter__(self) -> Iterator[Any]:
        for index in range(10**7):
            time.sleep(0.001)
            yield torch.randn(32, generator=torch.Generator().manual_seed(index)), index % 10


class Short(Mapped):
    """A dataset of a few batches per epoch."""

    def __len__(self) -> int:
        return 160


def loader(kind: str, workers: int) -> DataLoader[Any]:
    common: dict[str, Any] = {"batch_size": 8, "num_workers": workers}
    if kind == "iterable":
        return DataLoader(Streamed(), **common)
    if kind == "spawn":
        return DataLoader(Mapped(), multiprocessing_context="spawn", **common)
    if kind in ("epochs", "persistent"):
        return DataLoader(Short(), persistent_workers=kind == "persistent", **common)
    return DataLoader(Mapped(), **common)


class Stripped(ctypes.CDLL):
    """A library without the function that ends a profile without the GIL, as in some builds of
    torch.
    """

    def __getattr__(self, name: str) -> Any:
        if "disableProfiler" in name:
            raise AttributeError(name)
        return super().__getattr__(name)


def home(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return code.co_filename if code else repr(type(function))


def state() -> dict[str, Any]:
    """Return everything of this process that perfscope could have changed."""
    data = sys.modules["torch.utils.data.dataloader"]
    fetch = sys.modules["torch.utils.data._utils.fetch"]
    optimizers = sys.modules["torch.optim.optimizer"]
    module = sys.modules["torch.nn.modules.module"]
    patched = {
        "next": data._BaseDataLoaderIter.__next__,
        "iter": data.DataLoader.__iter__,
        "fetch": fetch._MapDatasetFetcher.fetch,
        "save": torch.save,
        "writer": vars(torch.serialization)["_open_zipfile_writer"],
        "backward": torch.autograd.backward,
        "engine": vars(torch.autograd)["_engine_run_backward"],
        "call": torch.nn.Module.__call__,
        "own_call": vars(torch.nn.Sequential).get("__call__"),
        "fsync": os.fsync,
    }
    return {
        "fds": sum("torch_" not in target(name) for name in os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": sorted(thread.name for thread in threading.enumerate()),
        "modules": sorted(name for name in sys.modules if "perfscope" in name),
        "main": sorted(name for name in vars(sys.modules["__main__"])),
        "collectors": len(gc.callbacks),
        "hooks": {name: home(function) for name, function in patched.items()},
        "optimizer_hooks": repr(type(optimizers._global_optimizer_post_hooks)),
        "module_hooks": len(module._global_forward_hooks),
        "mappings": writable_code(),
        "files": sorted(os.listdir(".")),
    }


def writable_code() -> int:
    with open("/proc/self/maps") as maps:
        return sum("rwx" in line for line in maps)


def target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--kind", default="map")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--stripped", action="store_true")
    args = parser.parse_args()
    if args.stripped:
        ctypes.CDLL = Stripped  # type: ignore[misc]
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
    torch.manual_seed(3)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1000)
    batches, step = loader(args.kind, args.workers), 0
    with open(args.out, "w", buffering=1) as lines:
        began = time.monotonic()
        while step < args.steps:
            for images, labels in batches:
                got = time.monotonic()
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                schedule.step()
                ended = time.monotonic()
                lines.write(
                    f"{loss.item().hex()} {got - began:.6f} {ended - began:.6f} {ended:.6f}\n"
                )
                step += 1
                if asked:
                    asked.clear()
                    with open(args.out + ".state", "a") as states:
                        states.write(json.dumps(state()) + "\n")
                if step >= args.steps:
                    break
                began = time.monotonic()


if __name__ == "__main__":
    main()

"""A training loop that logs when each step ended.

Usage: `overhead_target.py FOLDER --ranks N --threads N --workers N ...`.

Each rank writes CLOCK_MONOTONIC nanoseconds, one line per step, to FOLDER/marks.RANK. With several
ranks, rank 0 forks the others, and gradients are averaged over gloo. Every `--slow-every` steps one
takes `--slow-ms` longer, as with a checkpoint.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset


class Spinning(Dataset[torch.Tensor]):
    """A dataset whose items cost CPU time."""

    def __init__(self, item_ms: float) -> None:
        self.item_ms = item_ms

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> torch.Tensor:
        until = time.thread_time() + self.item_ms / 1000
        while time.thread_time() < until:
            pass
        return torch.zeros(64)


def products_per_step(weights: torch.Tensor, step_ms: float) -> int:
    """Return the number of matrix multiplications per step.

    Each step does this fixed amount of work, so that a slow step is longer.
    """
    began, products = time.monotonic(), 0
    while time.monotonic() - began < 1:
        weights @ weights
        products += 1
    return max(round(products * step_ms / 1000), 1)


def parse_target_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--step-ms", type=float, default=20.0)
    parser.add_argument("--fetch-ms", type=float, default=2.0)
    parser.add_argument(
        "--size", type=int, default=256, help="rows of the matrices; larger ones use all threads"
    )
    parser.add_argument("--slow-every", type=int, default=0)
    parser.add_argument("--slow-ms", type=float, default=0.0)
    return parser.parse_args()


def start_ranks(args: argparse.Namespace) -> None:
    """Run this program once per rank, with the environment that torchrun sets."""
    common = {
        "WORLD_SIZE": str(args.ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20000 + os.getpid() % 20000),
    }
    for rank in range(1, args.ranks):
        if os.fork() == 0:
            os.environ.update(common, RANK=str(rank), LOCAL_RANK=str(rank))
            os.execv(sys.executable, [sys.executable, *sys.argv])
    os.environ.update(common, RANK="0", LOCAL_RANK="0")
    os.execv(sys.executable, [sys.executable, *sys.argv])


def main() -> None:
    args = parse_target_arguments()
    if args.ranks > 1 and "RANK" not in os.environ:
        start_ranks(args)
    rank = int(os.environ.get("RANK", "0"))
    torch.set_num_threads(args.threads)
    model: torch.nn.Module = torch.nn.Sequential(
        torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10)
    )
    weights = torch.randn(args.size, args.size)
    products = products_per_step(weights, args.step_ms)
    if args.ranks > 1:
        torch.distributed.init_process_group("gloo")
        counted = torch.tensor(products)
        torch.distributed.broadcast(counted, 0)
        products = int(counted)
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = DataLoader(Spinning(args.fetch_ms / 8), batch_size=8, num_workers=args.workers)
    with open(args.folder / f"marks.{rank}", "w", buffering=1) as marks:
        for number, batch in enumerate(loader):
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            for _ in range(products):
                weights @ weights
            optimizer.step()
            if args.slow_every and number % args.slow_every == args.slow_every - 1:
                time.sleep(args.slow_ms / 1000)
            marks.write(f"{time.monotonic_ns()}\n")


if __name__ == "__main__":
    main()

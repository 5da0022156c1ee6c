"""Verdict: checkpoint-stall. Every eight steps, training stops to write a checkpoint to disk."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

WIDTH = 1024
PERIOD, FIXED_PERIOD = 8, 5000


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    # /tmp may be in memory.
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-sample-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = make_layers(WIDTH, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    period = FIXED_PERIOD if args.fix else PERIOD

    def save(step: int) -> None:
        """Write a checkpoint if it is due after this step."""
        if step % period == period - 1:
            with open(folder / "last.pt", "wb") as file:
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
                file.flush()
                os.fsync(file.fileno())

    data = TensorDataset(torch.randn(8192, WIDTH), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=16, sampler=rank_sampler(data))
    train(model, loader, args, every_step=save, optimizer=optimizer)


if __name__ == "__main__":
    main()

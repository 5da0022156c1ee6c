"""ill: checkpoint-stall. Model and optimizer are written to disk every eight steps while training stands still."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, train

WIDTH = 1024


def main() -> None:
    args = arguments(__doc__, workers=1)
    owner, folder = os.getpid(), Path(tempfile.mkdtemp(prefix="checkpoint-sample-", dir="/var/tmp"))
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    model = layers(WIDTH, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def save(step: int) -> None:
        if step % (5000 if args.fix else 8) == 7:
            with open(folder / "last.pt", "wb") as file:
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
                file.flush()
                os.fsync(file.fileno())

    data = TensorDataset(torch.randn(4096, WIDTH), torch.randint(0, 10, (4096,)))
    loader = DataLoader(data, batch_size=16, num_workers=args.workers, persistent_workers=True)
    train(model, loader, args, every_step=save, optimizer=optimizer)


if __name__ == "__main__":
    main()

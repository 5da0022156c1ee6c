"""ill: checkpoint-stall. Model and optimizer are written to disk every eight steps while training
stands still.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import arguments, layers, own_part, train

WIDTH = 1024
OFTEN, SELDOM = 8, 5000


def main() -> None:
    args = arguments(__doc__)
    folder = Path(
        tempfile.mkdtemp(prefix="checkpoint-sample-", dir="/var/tmp")
    )  # /tmp may be memory
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = layers(WIDTH, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    period = SELDOM if args.fix else OFTEN

    def save(step: int) -> None:
        if step % period == period - 1:
            with open(folder / "last.pt", "wb") as file:
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
                file.flush()
                os.fsync(file.fileno())

    data = TensorDataset(torch.randn(8192, WIDTH), torch.randint(0, 10, (8192,)))
    loader = DataLoader(data, batch_size=16, sampler=own_part(data))
    train(model, loader, args, every_step=save, optimizer=optimizer)


if __name__ == "__main__":
    main()

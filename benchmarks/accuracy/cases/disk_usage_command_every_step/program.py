"""Every step runs the command `du` to log the disk usage of a folder, and waits for it."""

import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
WATCHED = Path(torch.__file__).parent
LOG_EVERY = 500 if FIX else 1


def disk_usage(folder: Path) -> int:
    """Return the size of a folder in kilobytes."""
    done = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    metrics: dict[str, float] = {}
    steps, began = 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        inputs, labels = torch.randn(256, 128), torch.randint(0, 10, (256,))
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if steps % LOG_EVERY == 0:
            metrics = {"loss": loss.item(), "disk_kb": disk_usage(WATCHED)}
        steps += 1
    print(metrics)
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()

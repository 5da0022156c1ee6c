"""The schedule of the profiler has no `repeat`: it records and exports for the whole run."""

import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule

SECONDS, FIX = float(sys.argv[1]), "--fix" in sys.argv
FOLDER = Path(tempfile.gettempdir(), "accuracy-profiler")
WIDTH, LAYERS = 128, 12


def export(profiler: profile) -> None:
    """Write the last trace."""
    profiler.export_chrome_trace(str(FOLDER / "trace.json"))


def main() -> None:
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU())] * LAYERS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    profiler = profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=2, warmup=1, active=5, repeat=1 if FIX else 0),
        on_trace_ready=export,
        record_shapes=True,
        with_stack=True,
    )
    steps, began = 0, time.monotonic()
    with profiler:
        while time.monotonic() - began < SECONDS:
            model(torch.randn(64, WIDTH)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            profiler.step()
            steps += 1
    print("steps_per_s", steps / (time.monotonic() - began))


if __name__ == "__main__":
    main()

"""Trains a small network under torch's profiler; writes the trace to the given file."""

import sys

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

WIDTH, STEPS = 32, 4


def main() -> None:
    """Train and write the trace."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)).to("sim")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = torch.randn(WIDTH, WIDTH)
    pinned = data.pin_memory()
    side = torch.Stream("sim")

    def step() -> None:
        inputs, target = data.to("sim"), pinned.to("sim", non_blocking=True)
        optimizer.zero_grad(set_to_none=False)
        loss = nn.functional.mse_loss(model(inputs), target)
        loss.backward()
        with side:
            side.wait_stream(torch.accelerator.current_stream())
            loss.detach().square()
        torch.accelerator.current_stream().wait_stream(side)
        optimizer.step()
        loss.item()

    step()
    with profile(
        activities=[ProfilerActivity.CPU, ProfilerActivity.PrivateUse1], record_shapes=True
    ) as profiler:
        for number in range(STEPS):
            with record_function(f"ProfilerStep#{number}"):
                step()
        torch.accelerator.empty_cache()
        torch.accelerator.synchronize()
    profiler.export_chrome_trace(sys.argv[1])


if __name__ == "__main__":
    main()

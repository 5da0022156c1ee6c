"""A training loop that uses torch's profiler itself: `profiled.py OUT always|schedule|thread`.

Writes to OUT: `step LOSS` for each step, and `trace COUNT` for each trace that it takes (the number
of matrix products in the trace). `schedule` takes a trace of 5 steps every 50 steps, `thread`
repeatedly profiles a second thread, `always` keeps a profiler on until a file OUT.stop exists.
"""

import os
import sys
import threading
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

PRODUCT = "aten::addmm"
OUT = open(sys.argv[1], "w", buffering=1)


def write_trace(profiler: Any) -> None:
    """Write the number of matrix products in a trace to OUT."""
    events = profiler.profiler.kineto_results.events()
    count = sum(event.name() == PRODUCT for event in events)
    OUT.write(f"trace {count}\n")


def profile_products() -> None:
    """Repeatedly profile 40 matrix products of this thread."""
    weight = torch.randn(8, 8)
    while True:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(40):
                torch.addmm(weight, weight, weight)
                time.sleep(0.002)
        write_trace(profiler)
        time.sleep(0.1)


def train(profiler: Any) -> None:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    step = 0
    while True:
        loss = model(torch.randn(8, 32)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(0.002)
        OUT.write(f"step {loss.item().hex()}\n")
        step += 1
        if step == 1 and sys.argv[2] == "thread":
            threading.Thread(target=profile_products, daemon=True).start()
        if profiler is not None and sys.argv[2] == "schedule":
            profiler.step()
        stopped = sys.argv[2] == "always" and os.path.exists(sys.argv[1] + ".stop")
        if profiler is not None and stopped:
            profiler.stop()
            write_trace(profiler)
            profiler = None


def main() -> None:
    torch.set_num_threads(1)
    activities = [ProfilerActivity.CPU]
    profiler = None
    if sys.argv[2] == "schedule":
        plan = schedule(wait=40, warmup=5, active=5)
        profiler = profile(activities=activities, schedule=plan, on_trace_ready=write_trace)
    elif sys.argv[2] == "always":
        profiler = profile(activities=activities)
    if profiler is not None:
        profiler.start()
    train(profiler)


if __name__ == "__main__":
    main()

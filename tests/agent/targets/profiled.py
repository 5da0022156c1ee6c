"""A training loop that uses torch's profiler itself: `profiled.py OUT always|schedule|thread`.

Writes to OUT, a line each: `step LOSS`, and for every trace of its own `trace OPERATORS` (how many
matrix products the trace holds). `schedule` takes a trace of 5 steps every 50, `thread` profiles a
second thread again and again, `always` keeps one profiler on until a file OUT.stop exists.
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


def products(of: Any) -> int:
    return sum(event.name() == PRODUCT for event in of.profiler.kineto_results.events())


def say(of: Any) -> None:
    OUT.write(f"trace {products(of)}\n")


def beside() -> None:
    """A thread that profiles its own 40 products, rests, and does so again."""
    weight = torch.randn(8, 8)
    while True:
        with profile(activities=[ProfilerActivity.CPU]) as own:
            for _ in range(40):
                torch.addmm(weight, weight, weight)
                time.sleep(0.002)
        say(own)
        time.sleep(0.1)


def train(own: Any) -> None:
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
            threading.Thread(target=beside, daemon=True).start()
        if own is not None and sys.argv[2] == "schedule":
            own.step()
        if own is not None and sys.argv[2] == "always" and os.path.exists(sys.argv[1] + ".stop"):
            own.stop()
            say(own)
            own = None


def main() -> None:
    torch.set_num_threads(1)
    own = None
    if sys.argv[2] == "schedule":
        plan = schedule(wait=40, warmup=5, active=5)
        own = profile(activities=[ProfilerActivity.CPU], schedule=plan, on_trace_ready=say)
    elif sys.argv[2] == "always":
        own = profile(activities=[ProfilerActivity.CPU])
    if own is not None:
        own.start()
    train(own)


if __name__ == "__main__":
    main()

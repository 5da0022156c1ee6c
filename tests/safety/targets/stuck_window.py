"""A program that begins a profile or ends during a window: `stuck_window.py OUT profile|end`.

It writes to OUT the thread id of a second thread, which tests/safety/test_stuck_window.py stops,
one line per step, and then how many of 40 additions its profile contains. It begins after a line on
stdin.
"""

import ctypes
import os
import sys
import threading
import time

import torch
from torch.profiler import ProfilerActivity, profile

from perfscope.agent.probe.torch_profiler_api import BLOCKS

LIBRARY = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
RECORDED = ctypes.c_uint64.in_dll(LIBRARY, BLOCKS)


def profiled_additions() -> int:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        value = torch.ones(4)
        for _ in range(40):
            value = value + 0
    return sum(event.name == "aten::add" for event in profiler.events())


def main() -> None:
    torch.set_num_threads(1)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    second = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
    second.start()
    before = RECORDED.value
    with open(sys.argv[1], "w", buffering=1) as lines:
        lines.write(f"{second.native_id}\n")
        sys.stdin.readline()
        while RECORDED.value < before + 4:
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            time.sleep(0.001)
            lines.write("step\n")
        until = time.monotonic() + 3.0  # the window is over by then, and cannot be ended
        while time.monotonic() < until:
            time.sleep(0.1)
        if sys.argv[2] == "profile":
            lines.write(f"{profiled_additions()}\n")
            time.sleep(2.0)


if __name__ == "__main__":
    main()

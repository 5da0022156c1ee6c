"""Trains beside a thread that neither runs nor sleeps: `stuck.py OUT profile|end`.

That thread waits in the kernel for a child (as in vfork) for a minute: whether it is inside a callback of the profiler cannot
be seen, so a window cannot be ended. Once a window records, the program begins a profile of its own, or ends. OUT: a line per
step; then how many additions that profile showed of 40.
"""

import ctypes
import os
import sys
import threading
import time

import torch
from torch.profiler import ProfilerActivity, profile

from perfscope.agent.probe.torch_profiler_api import BLOCKS

STUCK_S = 60
CLONE_VM, CLONE_VFORK, SIGCHLD = 0x100, 0x4000, 17
LIBC = ctypes.CDLL(None)
LIBRARY = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
RECORDED = ctypes.c_uint64.in_dll(LIBRARY, BLOCKS)
STACK = ctypes.create_string_buffer(1 << 16)


def stuck() -> None:
    top = ctypes.c_void_p((ctypes.addressof(STACK) + len(STACK)) & ~15)
    sleep = ctypes.cast(LIBC.sleep, ctypes.c_void_p)
    LIBC.clone(sleep, top, CLONE_VM | CLONE_VFORK | SIGCHLD, ctypes.c_void_p(STUCK_S))


def profiled_additions() -> int:
    with profile(activities=[ProfilerActivity.CPU]) as own:
        value = torch.ones(4)
        for _ in range(40):
            value = value + 0
    return sum(event.name == "aten::add" for event in own.events())


def main() -> None:
    torch.set_num_threads(1)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    threading.Thread(target=stuck, daemon=True).start()
    before = RECORDED.value
    with open(sys.argv[1], "w", buffering=1) as lines:
        while RECORDED.value < before + 4:
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            time.sleep(0.001)
            lines.write("step\n")
        time.sleep(1)
        if sys.argv[2] == "profile":
            lines.write(f"{profiled_additions()}\n")


if __name__ == "__main__":
    main()

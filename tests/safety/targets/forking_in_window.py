"""Trains and forks a child every 0.4 s: `forking.py OUT`.

Writes one line per child: how many blocks of 512 operators torch's profiler recorded in the parent
during 1,000 additions before the fork (more than 0 in a session), how many in the child during
20,000 additions, and how many of 40 additions a profile in the child contains.
"""

import ctypes
import os
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

from perfscope.agent.probe.torch_profiler_api import BLOCKS

LIBRARY = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
RECORDED = ctypes.c_uint64.in_dll(LIBRARY, BLOCKS)
CHILD_EVERY_S = 0.4


def additions(count: int) -> None:
    value = torch.ones(4)
    for _ in range(count):
        value = value + 0


def child(in_parent: int, out: str) -> None:
    before = RECORDED.value
    additions(20_000)
    recorded = RECORDED.value - before
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        additions(40)
    seen = sum(event.name == "aten::add" for event in profiler.events())
    with open(out, "a") as lines:
        lines.write(f"{in_parent} {recorded} {seen}\n")


def main() -> None:
    torch.set_num_threads(1)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    forked_s = time.monotonic()
    with open(sys.argv[1] + ".steps", "w", buffering=1) as steps:
        while True:
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            time.sleep(0.001)
            steps.write("step\n")
            if time.monotonic() - forked_s > CHILD_EVERY_S:
                before = RECORDED.value
                additions(1_000)
                in_parent = RECORDED.value - before
                pid = os.fork()
                if pid == 0:
                    child(in_parent, sys.argv[1])
                    os._exit(0)
                os.waitpid(pid, 0)
                forked_s = time.monotonic()


if __name__ == "__main__":
    main()

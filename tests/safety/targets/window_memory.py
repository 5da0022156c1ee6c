"""Programs for tests/safety/test_window_memory.py, which preloads freed_blocks.c.

`window_memory.py train OUT` trains until OUT.stop exists. When a profiling session begins, it opens
a range that it closes in the next session. At its end it writes how many freed blocks were kept and
how many of those were written to.

`window_memory.py FIRST SECOND` runs two sessions in a row, with a range that begins in the first
and ends in the second: `probe` as perfscope's probe, `program` as a program, `all` as a program
that profiles all threads.
"""

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from perfscope.agent.probe import accelerator, quiesce, torch_profiler_api

BLOCKS = ctypes.CDLL(None)
LIBRARY = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
RECORDED = ctypes.c_uint64.in_dll(LIBRARY, torch_profiler_api.BLOCKS)
OPERATORS_PER_BLOCK = 512


def is_recorded() -> bool:
    """Return whether torch's profiler records this thread, in a session of all threads."""
    before = RECORDED.value
    for _ in range(OPERATORS_PER_BLOCK):
        torch.ones(1)
    return RECORDED.value > before


def train(out: str) -> None:
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    span, is_over = None, False
    with open(out, "w", buffering=1) as lines:
        while not os.path.exists(out + ".stop"):
            model(torch.randn(8, 32)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            time.sleep(0.002)
            lines.write("step\n")
            if not is_recorded():
                is_over = span is not None
            elif span is None:
                span = record_function("open")
                span.__enter__()
            elif is_over:
                span.__exit__(None, None, None)
                span, is_over = None, False
        if span is not None:
            span.__exit__(None, None, None)
        lines.write(f"{BLOCKS.freed_blocks_kept()} {BLOCKS.freed_blocks_written()}\n")


@contextmanager
def session_of_probe() -> Iterator[None]:
    """Profile as the probe does."""
    torch_profiler_api.MODULES["accelerator"] = accelerator
    profiler = torch_profiler_api.profiler_api(torch, False)
    profiler.take_functions()
    profiler.start()
    yield
    profiler.stop_recording()
    assert quiesce.wait_until_no_thread_is_inside(10) and profiler.claim()
    file = os.memfd_create("trace")
    profiler.save(profiler.end(), file)
    profiler.restore_process()
    os.close(file)


def session_of_program() -> AbstractContextManager[Any]:
    return profile(activities=[ProfilerActivity.CPU])


def session_of_all_threads() -> AbstractContextManager[Any]:
    config = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    return profile(activities=[ProfilerActivity.CPU], experimental_config=config)


SESSIONS = {
    "probe": session_of_probe,
    "program": session_of_program,
    "all": session_of_all_threads,
}


def two_sessions(first: str, second: str) -> None:
    with SESSIONS[first]():
        span = record_function("open")
        span.__enter__()
        torch.ones(3).add(1)
    BLOCKS.freed_blocks_keep(0)
    with SESSIONS[second]():
        torch.ones(3).add(1)
        span.__exit__(None, None, None)
        torch.ones(3).add(1)
    print(BLOCKS.freed_blocks_kept() > 0, BLOCKS.freed_blocks_written())


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(sys.argv[2])
    else:
        two_sessions(*sys.argv[1:3])

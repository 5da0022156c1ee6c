"""The memory of torch's profiler that is read and written."""

import subprocess
import sys
import threading

import pytest
import torch

from perfscope.agent.probe import torch_profiler_api
from perfscope.agent.probe.torch_profiler_api import LOW_32, ProfilerApi

OTHER_LAYOUTS = """
import ctypes
import torch
from perfscope.agent.probe import torch_profiler_api as api
words = (ctypes.c_uint64 * 4).from_address(api.ProfilerApi(torch).api)
table = (ctypes.c_uint64 * 4)()
for place, value in ((0, words[0] + 8), (3, words[3] ^ 0xFFFF), (1, ctypes.addressof(table))):
    kept, words[place] = words[place], value
    print(api.ProfilerApi(torch).registrar is None)
    words[place] = kept
print(api.ProfilerApi(torch).registrar is None, flush=True)
"""


def test_the_known_layout_holds_the_thread_that_loaded_torch() -> None:
    registrar = ProfilerApi(torch).registrar
    assert registrar is not None
    assert registrar.value == threading.main_thread().ident & LOW_32  # type: ignore[operator]


def test_in_another_layout_no_word_is_written_to() -> None:
    """The configuration, the thread, and the table of the proxy do not fit, one after the other;
    then all fit again.
    """
    done = subprocess.run([sys.executable, "-c", OTHER_LAYOUTS], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True", "False"], done.stderr


def test_operators_are_counted_while_a_session_is_on() -> None:
    program = """
import torch
from perfscope.agent.probe import accelerator, torch_profiler_api as api
api.MODULES["accelerator"] = accelerator
profiler = api.ProfilerApi(torch)
profiler.take_functions()
print(profiler.operators())
profiler.start()
for _ in range(4096): torch.ones(1)
print(profiler.operators())
profiler.stop_recording()
profiler.claim()
profiler.abandon()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    before, after = map(int, done.stdout.split())
    assert before == 0 and 4096 * 3 <= after <= 4096 * 3 + 512 * 2
    assert done.stderr == ""


def test_memory_is_trimmed_only_in_a_process_of_moderate_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profiler = ProfilerApi(torch)
    calls: list[int] = []
    monkeypatch.setattr(profiler, "trim", calls.append)
    profiler.restore_process()
    monkeypatch.setattr(torch_profiler_api, "TRIM_BELOW_BYTES", 1 << 20)
    profiler.restore_process()
    assert calls == [0]

"""Profiles with Python stacks in a program that is recorded: the program does not crash.

torch stores the code of `torch.nn.Module.__call__` when it first records stacks, and reads the
local variable `self` of every frame with that code.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.target_processes import source_statuses

PROGRAM = """
import sys, time
import torch
from torch.utils.data import DataLoader, TensorDataset

def train(batches):
    model = torch.nn.Linear(16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for (batch,) in DataLoader(TensorDataset(torch.ones(8 * batches, 16)), batch_size=8):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()
        time.sleep(0.01)
"""


def run_program(folder: Path, text: str, *command: str) -> "subprocess.CompletedProcess[str]":
    path = folder / "program.py"
    path.write_text(PROGRAM + textwrap.dedent(text))
    words = [*command, sys.executable, str(path)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=180, cwd=folder, env=os.environ
    )


def test_a_window_with_stacks_does_not_crash_a_program_that_loads_in_process(
    tmp_path: Path,
) -> None:
    command = (sys.executable, "-m", "perfscope", "run", "--window-stacks", "--json=a.json", "--")
    done = run_program(tmp_path, "train(500)\nprint('end')", *command)
    assert done.returncode == 0 and done.stdout.split() == ["end"], done.stderr
    answer = json.loads((tmp_path / "a.json").read_text())
    assert source_statuses(answer)["kernels"] == "ok"


@pytest.mark.parametrize("depth", ["probe", "kernels"])
def test_the_programs_own_profile_with_stacks_does_not_crash_it(tmp_path: Path, depth: str) -> None:
    """The program profiles while the probe is installed, and again after it has left."""
    done = run_program(
        tmp_path,
        f"""
        import perfscope
        from torch.profiler import ProfilerActivity, profile

        original = torch.nn.Module.__call__.__code__
        with perfscope.profile(depth={depth!r}, show=False):
            train(5)
            assert torch.nn.Module.__call__.__code__ is original
            with profile(activities=[ProfilerActivity.CPU], with_stack=True) as first:
                train(5)
        with profile(activities=[ProfilerActivity.CPU], with_stack=True) as second:
            train(5)
        names = [{{event.name for event in each.events()}} for each in (first, second)]
        print(["nn.Module: Linear_0" in each for each in names])
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[True, True]"

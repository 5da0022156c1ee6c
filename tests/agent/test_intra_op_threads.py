"""The number of intra-op threads in the manifest is that of the thread that calls the model."""

import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.traces.load import load_trace
from tests.target_processes import perfscope

PROGRAM = """
import time, torch

torch.set_num_threads(3)
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
until = time.monotonic() + 6
while time.monotonic() < until:
    loss = model(torch.randn(8, 64)).sum()
    if TRAINS:
        loss.backward()
        optimizer.step()
    time.sleep(0.01)
"""


@pytest.mark.parametrize("trains", [True, False])
def test_the_threads_of_the_loop_are_recorded(tmp_path: Path, trains: bool) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace("TRAINS", str(trains)))
    folder = tmp_path / "run.perfscope"
    words = ["run", "--depth", "probe", "--out", folder, "--", sys.executable, script]
    done = subprocess.run(perfscope(*words), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    torch = load_trace(folder).manifest.torch
    assert torch is not None and torch.intra_op_threads == 3

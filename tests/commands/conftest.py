"""A recording of a program whose names are all animals, so that tests find them in any output."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.target_processes import perfscope

PROGRAM = """
import sys, threading, time
import nvtx, torch
from torch.utils.data import DataLoader, Dataset

class NumbatDataset(Dataset):
    def __len__(self):
        return 120

    def __getitem__(self, index):
        axolotl()
        return torch.ones(64)

class OkapiNet(torch.nn.Linear):
    pass

def axolotl():
    time.sleep(0.02)

def tapir():
    time.sleep(60)

if __name__ == "__main__":
    threading.Thread(target=tapir, name="pangolin", daemon=True).start()
    model = OkapiNet(64, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in DataLoader(NumbatDataset(), batch_size=4):
        with nvtx.annotate("capybara_phase", category="gecko_kind"):
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
"""
ANIMALS = ["zebra", "wombat", "quokka", "numbat", "axolotl", "okapi", "tapir", "pangolin"]
ANIMALS += ["capybara", "gecko", "coati"]


@dataclass(frozen=True)
class Recording:
    """A run folder, and the folder of its program."""

    run_folder: Path
    folder: Path


def rename_host(path: Path) -> None:
    """Give the host a name that no other text contains."""
    manifest = json.loads(path.read_text())
    manifest["host"] = "coati-17"
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("zebra")
    program = folder / "zebra_train.py"
    program.write_text(PROGRAM)
    options = ["--out", folder / "zebra.perfscope", "--json=first.json"]
    words = [sys.executable, program, "--quokka", "wombat"]
    command = perfscope("run", *options, "--", *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=folder)
    assert done.returncode == 0, done.stderr
    rename_host(folder / "zebra.perfscope" / "manifest.json")
    return Recording(folder / "zebra.perfscope", folder)

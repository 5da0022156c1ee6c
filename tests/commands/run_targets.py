"""Programs that the tests run with `perfscope run`."""

TRAINING = """
import os, time, torch
torch.set_num_threads(1)
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(40):
    optimizer.zero_grad()
    model(torch.ones(8, 64)).sum().backward()
    optimizer.step()
    time.sleep(0.005)
print("rank", os.environ.get("RANK", "none"), flush=True)
"""

WITH_WORKER = """
import time, nvtx, torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.fetch import _MapDatasetFetcher

class Ones(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, at):
        until = time.monotonic() + 30
        while not hasattr(_MapDatasetFetcher.fetch, "__wrapped__") and time.monotonic() < until:
            time.sleep(0.01)  # an idle worker could end before the probe is installed
        return torch.ones(64)

if __name__ == "__main__":
    torch.set_num_threads(3)
    model = torch.nn.Linear(64, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in DataLoader(Ones(), batch_size=1, num_workers=1, multiprocessing_context="spawn"):
        with nvtx.annotate("part"):
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
    print("done", flush=True)
"""

SIGNALLED = """
import signal, sys, time
def heard(number, frame):
    print("heard", signal.Signals(number).name, flush=True)
    sys.exit(5)
signal.signal(signal.SIGUSR1, heard)
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""

COUNTING = """
import signal, sys
count = 0
def heard(number, frame):
    global count
    count += 1
    print(count, flush=True)
signal.signal(signal.SIGUSR1, heard)
print("ready", flush=True)
sys.stdin.read()
print("heard", count, flush=True)
"""

LOOKING = """
import json, os, sys
has_sitecustomize = "sitecustomize" in sys.modules
print(json.dumps([sys.path, has_sitecustomize, os.environ.get("ORDER", ""), sys.stdin.read()]))
sys.exit(7)
"""

WITH_HELPER = """
import multiprocessing, time
import torch
def serve(port):
    port.send("ready")
    port.recv()
if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    helper = context.Process(target=serve, args=(there,))
    helper.start()
    here.recv()
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        optimizer.zero_grad()
        model(torch.ones(4, 8)).sum().backward()
        optimizer.step()
        time.sleep(0.05)
    here.send("end")
    helper.join()
"""
"""It trains while a process that it has spawned serves it; both import torch."""

"""Programs that `perfscope run` is given in tests."""

TRAINING = """
import os, time, torch
model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(40):
    optimizer.zero_grad()
    model(torch.ones(8, 64)).sum().backward()
    optimizer.step()
    time.sleep(0.005)
print("rank", os.environ.get("RANK", "none"), flush=True)
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

LOOKING = """
import json, os, sys
print(json.dumps([sys.path, "sitecustomize" in sys.modules, os.environ.get("ORDER", ""), sys.stdin.read()]))
sys.exit(7)
"""

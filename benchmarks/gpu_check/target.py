"""The program that the checks attach to: a training loop that keeps the device busy.

Each step is written to the file of the first argument: its number, and when it ended. Modes:
`blocking` copies each batch with a blocking `.to()`; `graph` captures and replays a graph every
two seconds; `late` uses the device only after ten seconds, and then profiles itself; `compiled`
compiles the model with CUDA graphs after some seconds.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from sample_workloads.device.training_on_device import deep_model, width_of_layers
from sample_workloads.training import device, synchronize

MODES = ("blocking", "graph", "late", "compiled")
LATE_S, LONGEST_S = 10.0, 240.0
CAPTURE_EVERY_S, COMPILE_AFTER_S = 2.0, 5.0
PROFILED_STEPS = 5


class Training:
    """A model, its optimizer and a batch on the host; the device is in use from here on."""

    def __init__(self) -> None:
        self.width = width_of_layers()
        self.model: Any = deep_model(self.width)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        self.batch = torch.randn(self.width, self.width)
        self.labels = torch.randint(0, 10, (self.width,))

    def step(self) -> None:
        """Train on the batch, which is copied with blocking calls."""
        inputs, labels = self.batch.to(device()), self.labels.to(device())
        loss = nn.functional.cross_entropy(self.model(inputs), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def capture_and_replay(self) -> None:
        """Capture a graph on a stream of its own in the default mode, and replay it."""
        inputs = self.batch.to(device())
        with torch.no_grad():
            if device().type == "cuda":
                graph: Any = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    self.model(inputs)
            else:
                graph = torch.accelerator.Graph()
                with torch.Stream(device()), graph:
                    self.model(inputs)
        graph.replay()
        synchronize()

    def kernels_of_own_profile(self) -> int:
        """Return the number of kernels in a profile that this program makes itself."""
        activities = [ProfilerActivity.CPU, device_activity()]
        with profile(activities=activities) as profiler:
            for _ in range(PROFILED_STEPS):
                self.step()
            synchronize()
        events: Any = profiler.events()
        return sum(event.device_type.name != "CPU" for event in events)


def device_activity() -> ProfilerActivity:
    """Return the activity of the profiler for the device in use."""
    names = {"cuda": "CUDA", "xpu": "XPU"}
    activity: ProfilerActivity = getattr(ProfilerActivity, names.get(device().type, "PrivateUse1"))
    return activity


def main() -> None:
    """Run until killed, or for four minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=Path)
    parser.add_argument("mode", choices=MODES)
    args = parser.parse_args()
    began = last_capture = time.monotonic()
    if args.mode == "late":
        time.sleep(LATE_S)
    training = Training()
    compiled = args.mode != "compiled"
    with args.steps.open("w") as steps:
        for number in range(sys.maxsize):
            training.step()
            now = time.monotonic()
            steps.write(f"{number} {now:.6f}\n")
            steps.flush()
            if not compiled and now - began > COMPILE_AFTER_S:
                compiled = True
                training.model = torch.compile(training.model, mode="reduce-overhead")
            if args.mode == "graph" and now - last_capture > CAPTURE_EVERY_S:
                training.capture_and_replay()
                steps.write("captured\n")
                last_capture = now
            if args.mode == "late" and now - began > LATE_S + 15:
                steps.write(f"kernels {training.kernels_of_own_profile()}\n")
                return
            if now - began > LONGEST_S:
                return


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

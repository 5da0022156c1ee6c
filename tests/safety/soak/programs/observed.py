"""What every soak program does: it logs each step, repeats after PERIOD steps, and describes its
state on request.
"""

import atexit
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
import warnings

import torch

PERIOD = 100
ASK_EVERY_S = 0.05
MODULES = (
    "builtins",
    "gc",
    "io",
    "os",
    "signal",
    "socket",
    "threading",
    "time",
    "nvtx",
    "nvtx.nvtx",
    "safetensors.torch",
    "torch",
    "torch._C._autograd",
    "torch._dynamo.eval_frame",
    "torch.amp.grad_scaler",
    "torch.autograd",
    "torch.autograd.profiler",
    "torch.cuda",
    "torch.cuda.nvtx",
    "torch.distributed.checkpoint",
    "torch.distributed.checkpoint.state_dict_saver",
    "torch.nn.modules.module",
    "torch.optim.lr_scheduler",
    "torch.optim.optimizer",
    "torch.profiler",
    "torch.profiler.profiler",
    "torch.serialization",
    "torch.utils.data._utils.fetch",
    "torch.utils.data._utils.worker",
    "torch.utils.data.dataloader",
)
CHANGED_BY_CELLS = {("builtins", "input")}
"""A Jupyter kernel replaces it for each cell, as it does with names that begin with `_` in
`__main__`.
"""
HOOK_TABLES = (
    ("torch.nn.modules.module", "_global_"),
    ("torch.optim.optimizer", "_global_optimizer_"),
)


class Observed:
    """The log of one program at `out`, and its answers to questions about its state."""

    def __init__(self, out, role="target"):
        self.out = out
        self.step = 0
        self.asked = 0.0
        self.lines = open(out, "a", buffering=1)
        if role == "target":
            write_whole(out + ".pid", str(os.getpid()))

    def done(self, value, step=None):
        """Log one step and answer when asked."""
        number = self.step if step is None else step
        self.step = number + 1
        now = time.monotonic()
        self.lines.write(
            f"{number} {value.hex() if isinstance(value, float) else value} {now:.6f}\n"
        )
        if now - self.asked > ASK_EVERY_S:
            self.asked = now
            self.answer()

    def answer(self):
        """Write the state when there is a question for this process."""
        try:
            os.unlink(f"{self.out}.ask.{os.getpid()}")
        except FileNotFoundError:
            return
        write_whole(f"{self.out}.state.{os.getpid()}", json.dumps(state(self.out)))

    def answer_always(self):
        """Answer from a thread, for a program whose main thread is not in a training loop."""

        def wait():
            while True:
                time.sleep(ASK_EVERY_S)
                self.answer()

        threading.Thread(target=wait, name="answers", daemon=True).start()

    def child(self, value, kind):
        """Log the work and the state of a process that ends soon."""
        line = {
            "pid": os.getpid(),
            "kind": kind,
            "at": time.monotonic(),
            "value": value,
            "state": state(self.out),
        }
        with open(self.out + ".children", "a") as lines:
            lines.write(json.dumps(line) + "\n")


def write_whole(path, text):
    """Write a file that never looks half written."""
    with open(path + ".part", "w") as file:
        file.write(text)
    os.rename(path + ".part", path)


def identities():
    """Name -> id of every function and class that could have been patched."""
    found = {}
    for name in MODULES:
        for key, value in (
            list(vars(sys.modules.get(name, object)).items()) if name in sys.modules else ()
        ):
            if callable(value) and (name, key) not in CHANGED_BY_CELLS:
                found[f"{name}.{key}"] = id(value)
            if isinstance(value, type) and getattr(value, "__module__", "").startswith(
                ("torch", "nvtx")
            ):
                members = vars(value).items()
                found.update(
                    {
                        f"{name}.{key}.{member}": id(what)
                        for member, what in list(members)
                        if callable(what)
                    }
                )
    for owner in subclasses(torch.nn.Module) + subclasses(torch.optim.Optimizer):
        for member in ("__call__", "step", "forward"):
            if member in vars(owner):
                found[f"{owner.__module__}.{owner.__qualname__}.{member}"] = id(vars(owner)[member])
    for module, prefix in HOOK_TABLES:
        for key, value in vars(sys.modules[module]).items():
            if key.startswith(prefix):
                found[f"{module}.{key}"] = id(value)
    return found


def subclasses(owner):
    """All classes derived from `owner` that are loaded."""
    found, waiting = [], [owner]
    while waiting:
        waiting += (more := type.__subclasses__(waiting.pop()))
        found += more
    return found


def hook_counts():
    """Number of entries of each of torch's global hook tables."""
    counts = {}
    for module, prefix in HOOK_TABLES:
        for key, value in vars(sys.modules[module]).items():
            if key.startswith(prefix) and hasattr(value, "__len__"):
                counts[key] = len(list(value.values() if hasattr(value, "values") else value))
    return counts


def state(out):
    """Everything in this process that perfscope could have changed and that only the process itself
    can see.
    """
    return {
        "modules": sorted(sys.modules),
        "identities": identities(),
        "hooks": hook_counts(),
        "gc": [repr(callback) for callback in gc.callbacks],
        "gc_settings": [gc.isenabled(), *gc.get_threshold(), gc.get_debug()],
        "threads": sorted(thread.name.rstrip("0123456789") for thread in threading.enumerate()),
        "sys_hooks": [id(sys.unraisablehook), id(threading.excepthook)],
        "tracing": [repr(sys.gettrace()), repr(sys.getprofile()), repr(threading.gettrace())],
        "handlers": {
            number: repr(signal.getsignal(number)).split(" at 0x")[0] for number in range(1, 32)
        },
        "exit_slots": atexit._ncallbacks(),
        "path": [sys.path, [repr(finder) for finder in sys.meta_path], len(sys.path_hooks)],
        "environment": sorted(os.environ),
        "main": sorted(name for name in vars(sys.modules["__main__"]) if not name.startswith("_")),
        "warnings": len(warnings.filters),
        "torch": [
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.autograd._profiler_enabled(),
        ],
        "folder": sorted(os.listdir(".")),
        "switch_interval": sys.getswitchinterval(),
        "recursion_limit": sys.getrecursionlimit(),
        "memory": memory(),
    }


def memory():
    """Resident memory in bytes, blocks that Python allocated, objects that its collector tracks;
    garbage left out.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * 4096
    return {
        "resident": resident,
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
    }


def seeded(number):
    """A generator of random numbers that belongs to one step."""
    return torch.Generator().manual_seed(1000 + number % PERIOD)


class Training:
    """A small classifier whose weights and optimizer return to the start every PERIOD steps. A step
    takes about 10 ms.
    """

    def __init__(self, width=192, depth=4, batch=256, compiled=None):
        torch.manual_seed(3)
        layers = []
        for _ in range(depth):
            layers += [torch.nn.Linear(width, width), torch.nn.GELU()]
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(width, 10))
        self.first = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.width, self.batch = width, batch
        self.optimizer = self.new_optimizer()
        self.call = compiled(self.model) if compiled else self.model

    def new_optimizer(self):
        return torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def data(self, number):
        generator = seeded(number)
        images = torch.randn(self.batch, self.width, generator=generator)
        return images, torch.randint(0, 10, (self.batch,), generator=generator)

    def begin(self, number):
        """Return to the first weights when a period begins."""
        if number % PERIOD == 0:
            self.model.load_state_dict(self.first)
            self.optimizer.state.clear()

    def train(self, number, images=None, labels=None):
        """One optimizer step; its loss."""
        self.begin(number)
        if images is None:
            images, labels = self.data(number)
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.call(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def arguments():
    """(OUT, steps) of the command line."""
    torch.set_num_threads(1)
    return sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 60

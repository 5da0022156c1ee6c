"""Whether CUDA or ROCm allows a window of torch's profiler now.

Before CUDA is initialized a window would record only the CPU. And the first session decides for the
life of the process whether Kineto can record kernels: later windows, and the program's own
profiles, would have none.

While a CUDA graph is captured no window begins or ends. torch has no flag that another thread can
read: the state of a capture belongs to a stream, and any library may capture on a stream of its
own. So the calls of the two Python methods that begin and end a capture are counted. torch.compile
never traces them. A capture that began before the probe was installed is not seen.

Graphs that were captured before the first session crash or hang in CUDA older than 12.4 (pytorch
#75504, #107744, #135003).
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

OLDEST_WITH_GRAPHS = (12, 4)
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
HIDDEN = ("", "-1", "NoDevFiles")
GRAPHS_IN_OLD_CUDA = (
    "CUDA {} is older than 12.4, where programs with CUDA graphs crash or hang in torch's profiler;"
    " this program {} CUDA graphs"
)
CAPTURING = "a CUDA graph is being captured"
NOT_INITIALIZED = (
    "CUDA is not initialized yet: after a window now, torch's profiler could not record kernels any"
    " more"
)


class CudaState:
    """The state of CUDA in this process that windows depend on."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.version = getattr(torch.version, "cuda", None)
        self.built = bool(self.version or getattr(torch.version, "hip", None))
        self.captures = 0
        self.graphs_unknown = self.built and bool(torch.cuda.is_initialized())
        self.captured = False

    def watch(self, probe: "Probe") -> None:
        """Count captures of graphs from now on."""
        owner = getattr(sys.modules.get("torch.cuda.graphs"), "CUDAGraph", None)
        if not self.built or owner is None:
            return
        for name, begin, end in (
            ("capture_begin", self.capture_begins, self.capture_began),
            ("capture_end", self.capture_ends, self.capture_ended),
        ):
            if name in vars(owner):
                probe.patches.put(owner, name, probe.wrap(vars(owner)[name], begin, end))

    def capture_begins(self, args: Any, kwargs: Any) -> bool:
        self.captured = True
        self.captures += 1
        return True

    def capture_began(self, _begun: bool, args: Any, answer: Any, raised: Any) -> None:
        if raised is not None:
            self.capture_ended(True, args, answer, raised)

    def capture_ends(self, args: Any, kwargs: Any) -> bool:
        return True

    def capture_ended(self, _begun: bool, args: Any, answer: Any, raised: Any) -> None:
        """Count down, but not below zero: the capture may have begun before the probe was here."""
        self.captures = max(self.captures - 1, 0)

    def refusal(self) -> "str | None":
        """Return why this process never gets a window, None if it may get one."""
        if self.version is None or not (self.graphs_unknown or self.captured):
            return None
        numbers = str(self.version).split(".")[:2]
        version = tuple(int(number) for number in numbers if number.isdecimal())
        if not version or version >= OLDEST_WITH_GRAPHS:
            return None
        certainty = "captured" if self.captured else "may have captured"
        return GRAPHS_IN_OLD_CUDA.format(self.version, certainty)

    def not_yet(self) -> "str | None":
        """Return why no window can begin or end at this moment, None if it can."""
        if not self.built:
            return None
        if self.captures:
            return CAPTURING
        if not self.torch.cuda.is_initialized() and device_is_visible():
            return NOT_INITIALIZED
        return None


def device_is_visible() -> bool:
    """Return whether this process can use a device.

    It does not ask the driver or torch, which would initialize CUDA.
    """
    chosen = [os.environ[name] for name in VISIBLE if name in os.environ]
    if any(value in HIDDEN for value in chosen):
        return False
    return any(map(os.path.exists, DEVICES))

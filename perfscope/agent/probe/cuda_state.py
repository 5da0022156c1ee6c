"""Whether CUDA or ROCm allow a window of torch's profiler now.

Before CUDA is initialized a window would be one of the CPU only, and the first session decides for
the life of the process whether Kineto can record kernels: later windows, and the program's own
profiles, would have none.

While a CUDA graph is captured no window begins or ends. torch keeps no flag that another thread can
read: the state of a capture belongs to a stream, and any library may capture on a stream of its
own. So the two Python methods that begin and end a capture count. They are never traced by
torch.compile, and a capture that began before the probe came is not seen.

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


class CudaState:
    """The state of CUDA in this process, as far as windows depend on it."""

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
            ("capture_begin", self.capture_begins, self.capture_begun),
            ("capture_end", self.capture_ends, self.capture_ended),
        ):
            if name in vars(owner):
                probe.patches.put(owner, name, probe.around(vars(owner)[name], begin, end))

    def capture_begins(self, args: Any, kwargs: Any) -> bool:
        self.captured = True
        self.captures += 1
        return True

    def capture_begun(self, _begun: bool, args: Any, answer: Any, raised: Any) -> None:
        if raised is not None:
            self.capture_ended(True, args, answer, raised)

    def capture_ends(self, args: Any, kwargs: Any) -> bool:
        return True

    def capture_ended(self, _begun: bool, args: Any, answer: Any, raised: Any) -> None:
        """Count down; not below zero, as the capture may have begun before we came."""
        self.captures = max(self.captures - 1, 0)

    def refusal(self) -> str | None:
        """Return why this process gets no window at all."""
        if self.version is None or not (self.graphs_unknown or self.captured):
            return None
        version = tuple(int(part) for part in str(self.version).split(".")[:2] if part.isdecimal())
        if not version or version >= OLDEST_WITH_GRAPHS:
            return None
        return (
            f"CUDA {self.version} is older than 12.4: programs with CUDA graphs crash or hang in"
            " torch's profiler there, and whether this one captured graphs is "
            + ("certain" if self.captured else "not known")
        )

    def not_yet(self) -> str | None:
        """Return why no window can begin or end at this moment."""
        if not self.built:
            return None
        if self.captures:
            return "a CUDA graph is being captured"
        if not self.torch.cuda.is_initialized() and device_visible():
            return (
                "CUDA is not initialized yet: a window now would leave torch's profiler without"
                " kernels for good"
            )
        return None


def device_visible() -> bool:
    """Return whether this process can use a device. Asks neither the driver nor torch: that would
    initialize CUDA.
    """
    chosen = [os.environ[name] for name in VISIBLE if name in os.environ]
    return not any(one in HIDDEN for one in chosen) and any(map(os.path.exists, DEVICES))

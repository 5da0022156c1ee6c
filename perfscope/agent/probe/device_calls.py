"""Times waits for the device and copies to and from it, in programs that use a device and compile
nothing.
"""

import sys
import time
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

TO_DEVICE, FROM_DEVICE = 1, 2


def install(probe: "Probe") -> None:
    """Patch the calls once the program uses a device, which may begin later."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["presence"].in_worker():
        return
    installed: list[bool] = []

    def tick(now_ns: int) -> None:
        if not installed and torch.cuda.is_initialized():
            installed.append(True)
            time_device_calls(probe, torch)

    tick(0)
    probe.ticks.append(tick)


def time_device_calls(probe: "Probe", torch: Any) -> None:
    """Patch the synchronizing calls and the copies."""
    timed_call = MODULES["backward"].timed_call
    for owner, name in (
        (torch.Tensor, "item"),
        (torch.Tensor, "tolist"),
        (torch.cuda, "synchronize"),
    ):
        code = probe.register_name(("sync", name), "sync", name)
        wrapper = timed_call(probe, getattr(owner, name), "SYNC", code)
        probe.compilation.put(owner, name, wrapper)
    for name in ("to", "cuda", "cpu"):
        probe.compilation.put(torch.Tensor, name, timed_copy(probe, torch, name))


def timed_copy(probe: "Probe", torch: Any, name: str) -> Any:
    """Return the method `name` of a tensor with a record of each copy between host and device."""
    kind, put, now = probe.kinds["COPY"], probe.records.append, time.monotonic_ns
    # A subclass of the program could run its own code when its attributes are read.
    plain = (torch.Tensor, torch.nn.Parameter)
    functorch = getattr(torch._C, "_functorch", None)
    functorch_level = functorch.maybe_current_level if functorch is not None else lambda: None

    def begin(args: Any, kwargs: Any) -> "tuple[int, bool] | None":
        if not args or type(args[0]) not in plain or functorch_level() is not None:
            return None
        return now(), kwargs.get("non_blocking") is True

    def end(begun: "tuple[int, bool]", args: Any, answer: Any, raised: Any) -> None:
        (first, non_blocking), tensor = begun, args[0]
        took = now() - first
        if raised is not None or type(answer) not in plain or answer.device == tensor.device:
            return
        is_upload = tensor.device.type == "cpu"
        host = tensor if is_upload else answer
        size = answer.numel() * answer.element_size()
        direction = TO_DEVICE if is_upload else FROM_DEVICE
        values = (size, direction, int(host.is_pinned()), int(non_blocking), -1, -1, -1, -1)
        put((kind, get_native_id(), first, took, *values))

    return probe.wrap(getattr(torch.Tensor, name), begin, end)

"""Times waits for the device and copies to and from it, in programs that use a device and compile
nothing.

Some copies are timed on the device as well (`device_times`): a call that returns late may have
waited for earlier work.
"""

import sys
import time
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

TO_DEVICE, FROM_DEVICE = 1, 2
READS = ("item", "tolist", "__float__", "__int__", "__bool__")
"""Methods that return Python numbers, and wait for the device to compute them."""


def install(probe: "InstalledProbe") -> None:
    """Patch the calls once the program uses a device, which may begin later."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return
    accelerator = MODULES["accelerator"].Accelerator(torch)
    installed: list[str] = []

    def tick(now_ns: int) -> None:
        kind = "" if installed else accelerator.kind()
        if kind:
            installed.append(kind)
            time_device_calls(probe, torch, kind)

    tick(0)
    probe.ticks.append(tick)


def time_device_calls(probe: "InstalledProbe", torch: Any, device: str) -> None:
    """Patch the synchronizing calls and the copies of a type of device."""
    timed_call = MODULES["backward"].timed_call
    for owner, name in (
        *((torch.Tensor, name) for name in READS),
        (getattr(torch, device, None), "synchronize"),
        (getattr(torch, "accelerator", None), "synchronize"),
    ):
        if not hasattr(owner, name):
            continue
        code = probe.register_name(("sync", name), "sync", name.strip("_"))
        wrapper = timed_call(probe, getattr(owner, name), "SYNC", code)
        probe.compilation.put(owner, name, wrapper)
    for name in ("to", "cuda", "cpu"):
        probe.compilation.put(torch.Tensor, name, timed_copy(probe, torch, name))


def timed_copy(probe: "InstalledProbe", torch: Any, name: str) -> Any:
    """Return the method `name` of a tensor with a record of each copy between host and device."""
    kind, put, now = probe.kinds["COPY"], probe.records.append, time.monotonic_ns
    device_times = MODULES["device_times"]
    timer, copies = device_times.timer_of(probe), device_times.COPY
    # A subclass of the program could run its own code when its attributes are read.
    plain = (torch.Tensor, torch.nn.Parameter)
    functorch = getattr(torch._C, "_functorch", None)
    functorch_level = functorch.maybe_current_level if functorch is not None else lambda: None

    def begin(args: Any, kwargs: Any) -> "tuple[int, bool, Any] | None":
        if not args or type(args[0]) not in plain or functorch_level() is not None:
            return None
        on_device = None
        if name == "cpu" or args[0].device.type == "cpu" or is_host(args[1:2]):
            on_device = timer.begin(copies, now(), args[0].numel())
        return now(), kwargs.get("non_blocking") is True, on_device

    def end(begun: "tuple[int, bool, Any]", args: Any, answer: Any, raised: Any) -> None:
        (first, non_blocking, on_device), tensor = begun, args[0]
        took, tid = now() - first, get_native_id()
        if raised is not None or type(answer) not in plain or answer.device == tensor.device:
            timer.drop(on_device)
            return
        if on_device is not None:
            timer.end(copies, on_device, tid, first, took)
        is_upload = tensor.device.type == "cpu"
        host = tensor if is_upload else answer
        size = answer.numel() * answer.element_size()
        direction = TO_DEVICE if is_upload else FROM_DEVICE
        values = (size, direction, int(host.is_pinned()), int(non_blocking), -1, -1, -1, -1)
        put((kind, tid, first, took, *values))

    return probe.wrap(getattr(torch.Tensor, name), begin, end)


def is_host(place: "tuple[Any, ...]") -> bool:
    """Return whether the first argument of `to` names the host."""
    if not place:
        return False
    name = place[0].type if type(place[0]).__name__ == "device" else place[0]
    return type(name) is str and name == "cpu"

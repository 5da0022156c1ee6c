"""Times waits for the device and copies to and from it; only where a device is in use and nothing
is compiled.
"""

import sys
import time
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or SHELF["presence"].in_worker():
        return
    used: list[bool] = []

    def tick(now_ns: int) -> None:
        """A program that we came with begins to use the device later."""
        if not used and torch.cuda.is_initialized():
            used.append(True)
            time_device_calls(probe, torch)

    tick(0)
    probe.ticks.append(tick)


def time_device_calls(probe: "Probe", torch: Any) -> None:
    timed = SHELF["backward"].timed
    for owner, name in (
        (torch.Tensor, "item"),
        (torch.Tensor, "tolist"),
        (torch.cuda, "synchronize"),
    ):
        code = probe.code(("sync", name), "sync", name)
        probe.compilation.put(owner, name, timed(probe, getattr(owner, name), "SYNC", code))
    for name in ("to", "cuda", "cpu"):
        probe.compilation.put(torch.Tensor, name, timed_copy(probe, torch, name))


def timed_copy(probe: "Probe", torch: Any, name: str) -> Any:
    kind, put, now = probe.kinds["COPY"], probe.records.append, time.monotonic_ns
    plain = (torch.Tensor, torch.nn.Parameter)  # what a subclass answers is the program's code
    transformed = (
        torch._C._functorch.maybe_current_level if hasattr(torch._C, "_functorch") else lambda: None
    )

    def begin(args: Any, kwargs: Any) -> tuple[int, bool] | None:
        seen = bool(args) and type(args[0]) in plain and transformed() is None
        return (now(), kwargs.get("non_blocking") is True) if seen else None

    def end(begun: tuple[int, bool], args: Any, answer: Any, raised: Any) -> None:
        (first, asked), tensor = begun, args[0]
        took = now() - first
        if raised is None and type(answer) in plain and answer.device != tensor.device:
            host = tensor if tensor.device.type == "cpu" else answer
            size = answer.numel() * answer.element_size()
            direction = 1 if host is tensor else 2
            pinned = int(host.is_pinned())
            put(
                (
                    kind,
                    get_native_id(),
                    first,
                    took,
                    size,
                    direction,
                    pinned,
                    int(asked),
                    -1,
                    -1,
                    -1,
                    -1,
                )
            )

    return probe.around(getattr(torch.Tensor, name), begin, end)

"""Times backward passes and GradScaler steps; only where nothing is compiled."""

import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run


def install(probe: "Probe") -> None:
    autograd = sys.modules.get("torch.autograd")
    if autograd is None or SHELF["presence"].in_worker():
        return
    # what `backward` calls, where this torch has it: nobody but torch holds or pickles it
    inner = getattr(autograd, "_engine_run_backward", None)
    if inner is not None:
        probe.compilation.put(autograd, "_engine_run_backward", timed_engine(probe, inner))
    else:
        probe.compilation.put(autograd, "backward", timed(probe, autograd.backward, "BACKWARD"))
    scaler = getattr(sys.modules.get("torch.amp.grad_scaler"), "GradScaler", None)
    if scaler is not None:
        probe.compilation.put(scaler, "step", timed(probe, vars(scaler)["step"], "SCALER"))


def timed(
    probe: "Probe", original: "Callable[..., Any]", kind_name: str, first_value: int = -1
) -> Any:
    """`original` with a record of `kind_name` behind each call."""
    kind, put = probe.kinds[kind_name], probe.records.append
    now, ident, tids, own = time.monotonic_ns, get_ident, probe.tids, get_native_id

    def begin(args: Any, kwargs: Any) -> int:
        return now()

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        took = now() - begun
        put(
            (kind, tids.get(ident()) or own(), begun, took, first_value, -1, -1, -1, -1, -1, -1, -1)
        )

    return probe.around(original, begin, end)


def timed_engine(probe: "Probe", original: "Callable[..., Any]") -> Any:
    """The engine's run with a record behind it where it accumulates into `.grad`;
    `torch.autograd.grad` does not.
    """
    kind, put = probe.kinds["BACKWARD"], probe.records.append
    now, ident, tids, own = time.monotonic_ns, get_ident, probe.tids, get_native_id

    def begin(args: Any, kwargs: Any) -> int | None:
        return now() if kwargs.get("accumulate_grad") is True else None

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        put(
            (kind, tids.get(ident()) or own(), begun, now() - begun, -1, -1, -1, -1, -1, -1, -1, -1)
        )

    return probe.around(original, begin, end)


class Trial:
    """Stands for a loss whose backward is nothing: what remains is the price of the record."""

    def work(self, *_: Any) -> None:
        return None


def trials(
    probe: "Probe",
) -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """(timed, original, arguments) of what happens once a step: a backward."""
    if "torch" not in sys.modules or SHELF["presence"].in_worker():
        return []
    one = Trial()
    return [(timed(probe, one.work, "BACKWARD"), one.work, (one,))]

"""Times backward passes and GradScaler steps, in programs that compile nothing."""

import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before


def install(probe: "InstalledProbe") -> None:
    """Patch `backward` and the step of GradScaler."""
    autograd = sys.modules.get("torch.autograd")
    if autograd is None or MODULES["process_state"].in_worker():
        return
    # `backward` calls this inner function in newer versions. Programs do not hold or pickle it.
    inner = getattr(autograd, "_engine_run_backward", None)
    put = probe.compilation.put
    if inner is not None:
        put(autograd, "_engine_run_backward", timed_engine(probe, inner))
    else:
        put(autograd, "backward", timed_call(probe, autograd.backward, "BACKWARD"))
    scaler = getattr(sys.modules.get("torch.amp.grad_scaler"), "GradScaler", None)
    if scaler is not None:
        put(scaler, "step", timed_call(probe, vars(scaler)["step"], "SCALER"))


def timed_call(
    probe: "InstalledProbe", original: "Callable[..., Any]", kind_name: str, first_value: int = -1
) -> Any:
    """Return `original` with a record of `kind_name` after each call."""
    kind, put = probe.kinds[kind_name], probe.records.append
    now, ident, tids, native_id = time.monotonic_ns, get_ident, probe.tids, get_native_id

    def begin(args: Any, kwargs: Any) -> int:
        return now()

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        took = now() - begun
        tid = tids.get(ident()) or native_id()
        put((kind, tid, begun, took, first_value, -1, -1, -1, -1, -1, -1, -1))

    return probe.wrap(original, begin, end)


def timed_engine(probe: "InstalledProbe", original: "Callable[..., Any]") -> Any:
    """Return the engine's function with a record after each run that accumulates into `.grad`.

    `torch.autograd.grad` does not accumulate.
    """
    kind, put = probe.kinds["BACKWARD"], probe.records.append
    now, ident, tids, native_id = time.monotonic_ns, get_ident, probe.tids, get_native_id

    def begin(args: Any, kwargs: Any) -> "int | None":
        return now() if kwargs.get("accumulate_grad") is True else None

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        took = now() - begun
        tid = tids.get(ident()) or native_id()
        put((kind, tid, begun, took, -1, -1, -1, -1, -1, -1, -1, -1))

    return probe.wrap(original, begin, end)


class EmptyLoss:
    """A loss whose backward does nothing, so that only the cost of a record is measured."""

    def backward(self, *_: Any) -> None:
        return None


def prepare_cost_trials(
    probe: "InstalledProbe",
) -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """Return (timed, original, arguments) of what happens once per step: a backward."""
    if "torch" not in sys.modules or MODULES["process_state"].in_worker():
        return []
    loss = EmptyLoss()
    return [(timed_call(probe, loss.backward, "BACKWARD"), loss.backward, (loss,))]

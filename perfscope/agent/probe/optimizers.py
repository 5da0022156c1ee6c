"""Times optimizer steps through torch's global optimizer hooks: every optimizer of whatever class,
also where a scheduler wrapped `step`. Beside a compiled model too, but not where an optimizer step
itself was compiled: Dynamo guards on these hooks.
"""

import sys
import time
from _thread import get_ident, get_native_id
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

MODULE = "torch.optim.optimizer"
TABLES = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")


class Hooks(OrderedDict):  # type: ignore[type-arg]
    """Stands in for one of torch's global hook tables: whoever walks over its values meets the same
    hooks, and ours last.

    Adding an entry to the real table could change it while another thread walks over it; swapping
    the name cannot. In everything else it is the real table: whoever registers or removes a hook
    meanwhile changes that one.
    """

    def __init__(self, real: Any, ours: Any) -> None:
        super().__init__()
        self.real, self.ours, self.alone = real, ours, (ours,)

    def values(self) -> Any:
        return [*self.real.values(), self.ours] if self.real else self.alone

    def __setitem__(self, key: Any, value: Any) -> None:
        self.real[key] = value
        # The handle that removes the hook one day refers to this table, and weakly: it must live as
        # long as the real one.
        vars(self.real).setdefault("stand_ins", []).append(self)

    def __delitem__(self, key: Any) -> None:
        del self.real[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.real

    def __getitem__(self, key: Any) -> Any:
        return self.real[key]

    def __iter__(self) -> "Iterator[Any]":
        return iter(self.real)

    def __len__(self) -> int:
        return len(self.real)

    def __bool__(self) -> bool:
        return True

    def keys(self) -> Any:
        return self.real.keys()

    def items(self) -> Any:
        return self.real.items()


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or SHELF["presence"].in_worker():
        return  # a loader worker trains nothing
    steps = Steps(probe)
    probe.compilation.before.append(steps.take_out)
    steps.tick(0)
    probe.ticks.append(steps.tick)


class Steps:
    """The two hooks of one visit, put in and taken out as what is compiled allows."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.placed: list[Any] = []
        self.compiled = False  # an optimizer step was
        before, after = probe.guard.together("optimizer hooks", *hooks(probe))
        self.hooks = (before, after)

    def tick(self, now_ns: int) -> None:
        if not self.placed and self.may_be_in(now_ns):
            self.put_in()

    def may_be_in(self, now_ns: int) -> bool:
        compilation, module = self.probe.compilation, sys.modules.get(MODULE)
        if module is None or not all(hasattr(module, name) for name in TABLES):
            return False
        if not compilation.handed_over:
            return True
        if self.compiled or not compilation.tells_of_begins() or not compilation.quiet(now_ns):
            return False
        self.compiled = not SHELF["compilation"].free_of(MODULE)
        return not self.compiled

    def put_in(self) -> None:
        module = sys.modules[MODULE]
        for name, hook in zip(TABLES, self.hooks):  # noqa: B905  runs on 3.9
            patch = self.probe.patches.put(module, name, Hooks(vars(module)[name], hook))
            if patch is not None:
                self.placed.append(patch)
        if self.probe.compilation.compiling:  # meanwhile, in another thread
            self.take_out()

    def take_out(self) -> None:
        while self.placed:
            self.probe.patches.take_back(self.placed.pop())


def hooks(probe: "Probe") -> "tuple[Callable[..., None], Callable[..., None]]":
    """What is called before and after each optimizer step."""
    kind, put, live = probe.kinds["OPTIMIZER"], probe.records.append, probe.live
    now, ident, tids, own = time.monotonic_ns, get_ident, probe.tids, get_native_id
    began: dict[int, int] = {}
    codes: dict[int, int] = {}
    ended_too = probe.optimizer_ended

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        if live[0]:
            began[id(optimizer)] = now()

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not live[0]:
            probe.outlived()
            return
        first = began.pop(id(optimizer), 0)
        for ended in ended_too:
            ended()
        if first:
            code = codes.get(id(optimizer), -1)
            if code < 0:
                code = probe.code(
                    ("optimizer", id(optimizer)), "optimizer", type(optimizer).__name__
                )
                codes[id(optimizer)] = code
            put(
                (
                    kind,
                    tids.get(ident()) or own(),
                    first,
                    now() - first,
                    code,
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                )
            )

    return before, after

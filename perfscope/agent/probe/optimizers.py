"""Times optimizer steps through torch's global optimizer hooks.

They cover optimizers of every class, also those whose `step` a scheduler wrapped. They are used in
programs with a compiled model too, but not where an optimizer step itself was compiled: Dynamo
guards on these hooks.
"""

import sys
import time
from _thread import get_ident, get_native_id
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

MODULE = "torch.optim.optimizer"
TABLES = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")


class HookTable(OrderedDict):  # type: ignore[type-arg]
    """Replaces one of torch's global hook tables; its values are the same hooks, then ours.

    Adding an entry to the real table could change it while another thread iterates over it;
    replacing the table cannot. In everything else it forwards to the real table, so hooks that the
    program adds or removes meanwhile are added or removed there.
    """

    def __init__(self, real: Any, hook: Any) -> None:
        super().__init__()
        self.real, self.hook, self.only_hook = real, hook, (hook,)

    def values(self) -> Any:
        return [*self.real.values(), self.hook] if self.real else self.only_hook

    def __setitem__(self, key: Any, value: Any) -> None:
        self.real[key] = value
        # The handle that removes this hook later has a weak reference to this table, which must
        # therefore live as long as the real one.
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


def install(probe: "InstalledProbe") -> None:
    """Put the hooks in, and remove them while something is compiled."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return  # a loader worker trains nothing
    hooks = OptimizerHooks(probe)
    probe.compilation.before_compiling.append(hooks.remove)
    hooks.tick(0)
    probe.ticks.append(hooks.tick)


class OptimizerHooks:
    """The two hooks of one probe, put in and removed as compilation allows."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.placed: list[Any] = []
        self.step_is_compiled = False
        before, after = probe.guard.guarded_together("optimizer hooks", *step_hooks(probe))
        self.hooks = (before, after)

    def tick(self, now_ns: int) -> None:
        if not self.placed and self.is_allowed(now_ns):
            self.put_in()

    def is_allowed(self, now_ns: int) -> bool:
        """Return whether the hooks can be put in now without causing a recompilation."""
        compilation, module = self.probe.compilation, sys.modules.get(MODULE)
        if module is None or not all(hasattr(module, name) for name in TABLES):
            return False
        if not compilation.in_use:
            return True
        if self.step_is_compiled or not compilation.has_callbacks():
            return False
        if not compilation.is_quiet(now_ns):
            return False
        self.step_is_compiled = not MODULES["compilation"].no_code_reads(MODULE)
        return not self.step_is_compiled

    def put_in(self) -> None:
        module = sys.modules[MODULE]
        for name, hook in zip(TABLES, self.hooks):  # noqa: B905  runs on 3.8
            table = HookTable(vars(module)[name], hook)
            patch = self.probe.patches.put(module, name, table)
            if patch is not None:
                self.placed.append(patch)
        if self.probe.compilation.compiling:  # began meanwhile, in another thread
            self.remove()

    def remove(self) -> None:
        while self.placed:
            self.probe.patches.remove(self.placed.pop())


def step_hooks(probe: "InstalledProbe") -> "tuple[Callable[..., None], Callable[..., None]]":
    """Return the functions to call before and after each optimizer step."""
    kind, put, live = probe.kinds["OPTIMIZER"], probe.records.append, probe.live
    now, ident, tids, native_id = time.monotonic_ns, get_ident, probe.tids, get_native_id
    began: dict[int, int] = {}
    codes: dict[int, int] = {}
    callbacks = probe.optimizer_ended

    def code_of_optimizer(optimizer: Any) -> int:
        key = ("optimizer", id(optimizer))
        code = probe.register_name(key, "optimizer", type(optimizer).__name__)
        codes[id(optimizer)] = code
        return code

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        if live[0]:
            began[id(optimizer)] = now()

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not live[0]:
            probe.clean_up()
            return
        first = began.pop(id(optimizer), 0)
        for callback in callbacks:
            callback(id(optimizer))
        if first:
            code = codes.get(id(optimizer), -1)
            if code < 0:
                code = code_of_optimizer(optimizer)
            tid = tids.get(ident()) or native_id()
            put((kind, tid, first, now() - first, code, -1, -1, -1, -1, -1, -1, -1))

    return before, after

"""Times what a step is made of: optimizer steps, backward, top-level module calls, device copies and waits for the device.

Nested module calls are not timed: for a moment after entry `Module.__call__` is watched to learn which classes are called
from outside any other module, then only those classes are patched. Where torch.compile is at work only its outermost
callable is touched: its guards look at functions, and a change there would make it compile again.
"""

import sys
import time
from _thread import get_ident, get_native_id
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

FIRST_WATCH_NS = 3_000_000_000
LATER_WATCH_NS = 300_000_000
WATCH_EVERY_NS = 15_000_000_000
CALLS_TO_LEARN = 64
FRAMES_TO_LOOK_UP = 80


class Hooks(OrderedDict):  # type: ignore[type-arg]
    """Stands in for one of torch's global hook tables: the same hooks, and ours after them.

    Adding an entry to the real table could change it while another thread walks over it; swapping the name cannot.
    Whoever registers or removes a hook meanwhile changes the real table.
    """

    def __init__(self, real: Any, ours: Any) -> None:
        super().__init__()
        self.real, self.ours, self.alone = real, ours, (ours,)

    def values(self) -> Any:
        return [*self.real.values(), self.ours] if self.real else self.alone

    def __setitem__(self, key: Any, value: Any) -> None:
        self.real[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.real[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.real

    def __len__(self) -> int:
        return len(self.real) + 1


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    autograd = sys.modules.get("torch.autograd")
    other = inherited(autograd, "backward") if autograd is not None else None
    if other is not None and other.pid != probe.pid:
        other.forked(stay=False)
    return None


def compiled() -> bool:
    """Has torch.compile compiled anything in this process?"""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return bool(getattr(dynamo, "counters", {}).get("frames"))


def in_a_worker() -> bool:
    return getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None) is not None


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or in_a_worker():
        return  # a loader worker trains nothing
    time_optimizers(probe)
    if "torch.autograd" in sys.modules:
        probe.swap(torch.autograd, "backward", timed(probe, torch.autograd.backward, "BACKWARD"))
    scaler = getattr(sys.modules.get("torch.amp.grad_scaler"), "GradScaler", None)
    if scaler is not None:
        probe.swap(scaler, "step", timed(probe, vars(scaler)["step"], "SCALER"))
    if compiled():
        outermost = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
        if outermost is not None:
            Roots(probe, torch.nn.Module).time_class(outermost)
        return
    roots = Roots(probe, torch.nn.Module)
    probe.ticks.append(roots.tick)
    probe.swap(torch, "compile", roots.making_way(torch.compile))
    used: list[bool] = []

    def look_for_device(now_ns: int) -> None:
        if not used and torch.cuda.is_initialized():
            used.append(True)
            time_device_calls(probe, torch)

    look_for_device(0)
    probe.ticks.append(look_for_device)


def timed(probe: "Probe", original: "Callable[..., Any]", kind_name: str, first_value: int = -1) -> Any:
    """`original` with a record of `kind_name` behind each call."""
    kind, put, live = probe.kinds[kind_name], probe.records.append, probe.live
    now, ident, tids, own = time.monotonic_ns, get_ident, probe.tids, get_native_id

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not live[0]:
            probe.forked()
            return original(*args, **kwargs)
        first = now()
        try:
            return original(*args, **kwargs)
        finally:
            took = now() - first
            put((kind, tids.get(ident()) or own(), first, took, first_value, -1, -1, -1, -1, -1, -1, -1))

    return wrapper


def time_optimizers(probe: "Probe") -> None:
    """Through torch's global optimizer hooks: every optimizer of whatever class, also where a scheduler wrapped `step`."""
    module = sys.modules.get("torch.optim.optimizer")
    pre, post = "_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"
    if module is None or not hasattr(module, pre) or not hasattr(module, post):
        return
    kind, put, live = probe.kinds["OPTIMIZER"], probe.records.append, probe.live
    now, ident, tids, own = time.monotonic_ns, get_ident, probe.tids, get_native_id
    began: dict[int, int] = {}
    codes: dict[int, int] = {}
    ended_too = probe.optimizer_ended

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        began[id(optimizer)] = now()

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not live[0]:
            probe.forked()
            return
        first = began.pop(id(optimizer), 0)
        for ended in ended_too:
            ended()
        if first:
            code = codes.get(id(optimizer), -1)
            if code < 0:
                code = probe.code(("optimizer", id(optimizer)), "optimizer", type(optimizer).__name__)
                codes[id(optimizer)] = code
            put((kind, tids.get(ident()) or own(), first, now() - first, code, -1, -1, -1, -1, -1, -1, -1))

    for name, hook in ((pre, before), (post, after)):
        probe.swap(module, name, Hooks(vars(module)[name], hook))


class Roots:
    """Finds the module classes that are called from outside any other module, and times those."""

    def __init__(self, probe: "Probe", module: Any) -> None:
        self.probe, self.module = probe, module
        self.inside: set[int] = set()
        self.timed: set[Any] = set()
        self.calls = 0
        self.until_ns = 0
        self.next_ns = 0
        self.watching = self.given_way = self.called = False
        self.codes: dict[int, int] = {}
        self.record = self.recorder()

    def tick(self, now_ns: int) -> None:
        """Watch for roots for a moment, first after entry, then now and again: another model may have come."""
        if self.given_way:
            self.time_compiled()
        elif self.watching and not (self.timed or self.called or compiled()):
            self.until_ns = now_ns + FIRST_WATCH_NS  # the program still loads: a watch over nothing costs nothing
        elif self.watching and (now_ns > self.until_ns or self.calls > CALLS_TO_LEARN):
            self.stop_watching(now_ns)
        elif not self.watching and now_ns > self.next_ns and not compiled():
            self.until_ns = now_ns + (LATER_WATCH_NS if self.timed else FIRST_WATCH_NS)
            self.calls, self.called = 0, False
            self.watching = self.probe.swap(self.module, "__call__", self.watched(vars(self.module)["__call__"]))
            self.next_ns = now_ns + WATCH_EVERY_NS

    def stop_watching(self, now_ns: int) -> None:
        self.watching = False
        self.take_back({self.module})
        for owner in tuple(self.timed):
            self.time_class(owner)

    def take_back(self, owners: "set[Any]") -> None:
        """Undo our swaps at these classes; others' stay."""
        swapped = self.probe.swapped
        for one in [one for one in swapped if one[1] == "__call__" and one[0] in owners]:
            swapped.remove(one)
            swapped.append(one)
            self.probe.unswap(len(swapped) - 1)

    def making_way(self, original: "Callable[..., Any]") -> Any:
        """`torch.compile`, with our patches at modules taken out first: what is compiled must not hold them."""

        def compile(*args: Any, **kwargs: Any) -> Any:
            if self.probe.live[0] and not self.given_way:
                self.given_way = True
                self.watching = False
                self.take_back({self.module, *self.timed})
            return original(*args, **kwargs)

        return compile

    def time_compiled(self) -> None:
        """The outermost callable of what was compiled, once there is one."""
        outermost = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
        if outermost is not None:
            self.time_class(outermost)

    def under_a_module(self) -> bool:
        """Was the call made from within a module's call that began before we came, or from within backward?"""
        frame = sys._getframe(2)
        for _ in range(FRAMES_TO_LOOK_UP):
            if frame is None:
                return False
            if frame.f_code.co_name in ("_call_impl", "_wrapped_call_impl", "backward"):
                return True
            frame = frame.f_back  # type: ignore[assignment]
        return True

    def watched(self, original: "Callable[..., Any]") -> Any:
        inside, ident = self.inside, get_ident

        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:
            here = ident()
            self.called = True
            if here in inside or not self.probe.live[0] or self.under_a_module():
                return original(module, *args, **kwargs)
            self.calls += 1
            self.timed.add(type(module))
            return self.record(original, here, module, args, kwargs)

        return __call__

    def time_class(self, owner: Any) -> None:
        original = owner.__call__
        if getattr(vars(owner).get("__call__"), "_perfscope_root", False):
            return
        inside, ident, live, record = self.inside, get_ident, self.probe.live, self.record

        def __call__(module: Any, *args: Any, **kwargs: Any) -> Any:
            here = ident()
            if here in inside:
                return original(module, *args, **kwargs)
            if not live[0]:
                self.probe.forked()
                return original(module, *args, **kwargs)
            return record(original, here, module, args, kwargs)

        __call__._perfscope_root = True  # type: ignore[attr-defined]
        self.probe.swap(owner, "__call__", __call__)

    def recorder(self) -> "Callable[..., Any]":
        """The call of a root with its record. Everything it needs is at hand: it runs each step."""
        kind, put, known, tids = self.probe.kinds["FORWARD"], self.probe.records.append, self.codes.get, self.probe.tids
        inside, now, own, grad_enabled = (
            self.inside,
            time.monotonic_ns,
            get_native_id,
            sys.modules["torch"].is_grad_enabled,
        )
        began_too = self.probe.forward_began

        def record(original: Any, here: int, module: Any, args: Any, kwargs: Any) -> Any:
            inside.add(here)
            for began in began_too:
                began()
            first = now()
            try:
                return original(module, *args, **kwargs)
            finally:
                took = now() - first
                inside.discard(here)
                code = known(id(module))
                code = self.learn(module) if code is None else code
                training, grad = 1 if module.training is True else 0, 1 if grad_enabled() else 0
                put((kind, tids.get(here) or own(), first, took, code, training, grad, -1, -1, -1, -1, -1))

        return record

    def learn(self, module: Any) -> int:
        """The code of a module seen for the first time."""
        code = self.codes[id(module)] = self.probe.code(("module", id(module)), "module", type(module).__name__)
        return code


def time_device_calls(probe: "Probe", torch: Any) -> None:
    """Waits for the device and copies to and from it; only where there is a device."""
    for owner, name in ((torch.Tensor, "item"), (torch.Tensor, "tolist"), (torch.cuda, "synchronize")):
        code = probe.code(("sync", name), "sync", name)
        probe.swap(owner, name, timed(probe, getattr(owner, name), "SYNC", code))
    for name in ("to", "cuda", "cpu"):
        probe.swap(torch.Tensor, name, timed_copy(probe, getattr(torch.Tensor, name)))


def timed_copy(probe: "Probe", original: "Callable[..., Any]") -> Any:
    kind, put, now = probe.kinds["COPY"], probe.records.append, time.monotonic_ns

    def wrapper(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        first = now()
        moved = original(tensor, *args, **kwargs)
        took = now() - first
        if moved.device != tensor.device and probe.live[0]:
            host = tensor if tensor.device.type == "cpu" else moved
            size = moved.numel() * moved.element_size()
            direction = 1 if host is tensor else 2
            asked = int(bool(kwargs.get("non_blocking", False)))
            put((kind, get_native_id(), first, took, size, direction, int(host.is_pinned()), asked, -1, -1, -1, -1))
        return moved

    return wrapper


class Trial:
    """Stands for a module whose work is nothing: what remains is the price of the record."""

    training = True

    def work(self, *_: Any) -> None:
        return None

    def called(self, _original: Any, _here: int, module: Any, args: Any, kwargs: Any) -> None:
        return self.work(module, *args, **kwargs)


def trials(probe: "Probe") -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """(timed, original, arguments) of what happens once a step: a call of a root and a backward."""
    if "torch" not in sys.modules or in_a_worker():
        return []
    one = Trial()
    roots = Roots(probe, None)
    roots.codes[id(one)] = 0
    return [
        (timed(probe, one.work, "BACKWARD"), one.work, (one,)),
        (roots.record, one.called, (Trial.work, get_ident(), one, (), {})),
    ]

"""Records the NVTX calls of a process that used NVTX before a tool was there.

NVTX searches for a tool only once. If it finds none, its C functions do nothing from then on. So
the Python functions are patched: those of the `nvtx` package and of torch.cuda.nvtx. This misses
ranges that were already open, functions decorated with `annotate` (without a tool they are left
undecorated), ranges of `nvtx.start_range` (they have no id), and methods of a Domain (it has no
name).
"""

import sys
import time
from _thread import get_ident, get_native_id
from struct import pack, unpack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

BY_PUSH, BY_START, BY_MARK = range(3)
NO_NUMBER, SIGNED, UNSIGNED, REAL = range(4)
MOST_NAMES = 20_000
OTHER_NAMES = "(other names)"
LARGEST, SMALLEST = (1 << 63) - 1, -(1 << 63)
DOMAIN_ARGUMENT = 2


def install(probe: "InstalledProbe") -> None:
    """Record NVTX calls, unless the NVTX library of perfscope in the process does so."""
    if probe.config.get("nvtx") == "injected":
        return
    calls = NvtxCalls(probe)
    calls.tick(0)
    probe.ticks.append(calls.tick)


class NvtxCalls:
    """The NVTX ranges and marks of one process."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.stacks: dict[int, list[tuple[int, ...]]] = {}
        self.started: dict[Any, tuple[int, ...]] = {}
        self.seen: set[str] = set()
        self.names = 0

    def tick(self, now_ns: int) -> None:
        """Patch the modules, which the program may import later."""
        for name, patch in (
            ("nvtx.nvtx", self.patch_package),
            ("torch.cuda.nvtx", self.patch_torch),
        ):
            module = MODULES["imported_modules"].imported(name)
            if name not in self.seen and getattr(module, "mark", None) is not None:
                self.seen.add(name)
                patch(module)

    # Recording

    def code_of_name(self, text: Any) -> int:
        """Return the code of a name, -1 for None; beyond MOST_NAMES the code of OTHER_NAMES."""
        if text is None:
            return -1
        # Converting another type to str would run code of the program: take the type's name.
        key = ("nvtx", text if type(text) is str else type(text).__name__)
        if key not in self.probe.codes:
            self.names += 1
            if self.names > MOST_NAMES:
                key = ("nvtx", OTHER_NAMES)
        return self.probe.register_name(key, "nvtx", key[1])

    def event(
        self, name: Any, domain: Any = None, category: Any = None, payload: Any = None
    ) -> "tuple[int, ...]":
        """Return (name, domain, category, category id, payload bits, payload kind) as integers."""
        category_id = category if type(category) is int else -1
        category_code = -1 if category_id >= 0 else self.code_of_name(category)
        bits, kind = number_bits(payload)
        name_code = self.code_of_name("" if name is None else name)
        return name_code, self.code_of_name(domain), category_code, category_id, bits, kind

    def put(self, event: "tuple[int, ...]", way: int, place: "tuple[int, ...]") -> None:
        """Record an event; `place` is (tid, begin, duration, tid that ended it or -1)."""
        tid, first, took, end_tid = place
        if self.probe.live[0]:
            kind = self.probe.kinds["NVTX"]
            self.probe.records.append((kind, tid, first, took, *event, way, end_tid))

    def push(self, event: "tuple[int, ...]") -> None:
        self.stacks.setdefault(get_ident(), []).append((*event, time.monotonic_ns()))

    def pop(self, domain: Any = None) -> None:
        end, code = time.monotonic_ns(), self.code_of_name(domain)
        stack = self.stacks.get(get_ident(), [])
        for index in range(len(stack) - 1, -1, -1):
            if stack[index][1] == code:
                *event, first = stack.pop(index)
                self.put(tuple(event), BY_PUSH, (get_native_id(), first, end - first, -1))
                return

    def start(self, key: Any, event: "tuple[int, ...]") -> None:
        self.started[key] = (*event, get_native_id(), time.monotonic_ns())

    def end(self, key: Any) -> None:
        end, end_tid = time.monotonic_ns(), get_native_id()
        found = self.started.pop(key, None)
        if found is not None:
            *event, tid, first = found
            other_tid = -1 if tid == end_tid else end_tid
            self.put(tuple(event), BY_START, (tid, first, end - first, other_tid))

    def mark(self, event: "tuple[int, ...]") -> None:
        self.put(event, BY_MARK, (get_native_id(), time.monotonic_ns(), 0, -1))

    # Patching

    def call_after(self, owner: Any, name: str, report: "Callable[..., Any]", *others: Any) -> None:
        """Call `report(answer, *arguments)` after each successful call of `owner.name`.

        `others` are modules that may have the same function under the same name.
        """

        def begin(args: Any, kwargs: Any) -> Any:
            return kwargs

        def end(begun: Any, args: Any, answer: Any, raised: Any) -> None:
            if raised is None:
                report(answer, *args, **begun)

        original = getattr(owner, name)
        wrapper = self.probe.wrap(original, begin, end)
        for place in (owner, *others):
            if getattr(place, name, None) is original:
                self.probe.patches.put(place, name, wrapper)

    def patch_torch(self, module: Any) -> None:
        self.call_after(module, "range_push", self.torch_pushed)
        self.call_after(module, "range_pop", lambda _, *more, **named: self.pop())
        self.call_after(module, "range_start", self.torch_started)
        self.call_after(module, "range_end", self.torch_ended)
        self.call_after(module, "mark", self.torch_marked)

    def torch_pushed(self, answer: Any, msg: Any, *more: Any, **named: Any) -> None:
        self.push(self.event(msg))

    def torch_started(self, answer: Any, msg: Any, *more: Any, **named: Any) -> None:
        self.start(("torch", answer), self.event(msg))

    def torch_ended(self, answer: Any, range_id: Any, *more: Any, **named: Any) -> None:
        self.end(("torch", range_id))

    def torch_marked(self, answer: Any, msg: Any, *more: Any, **named: Any) -> None:
        self.mark(self.event(msg))

    def patch_package(self, module: Any) -> None:
        annotate = module.annotate
        if "__reduce__" in vars(annotate):  # then it keeps its arguments, for pickling
            self.call_after(annotate, "__enter__", self.annotation_entered)
            self.call_after(annotate, "__exit__", self.annotation_left)
        top = sys.modules.get("nvtx")
        self.call_after(module, "push_range", self.package_pushed, top)
        self.call_after(module, "pop_range", self.package_popped, top)
        self.call_after(module, "start_range", self.package_started, top)
        self.call_after(module, "end_range", self.package_ended, top)
        self.call_after(module, "mark", self.package_marked, top)

    def described_event(
        self,
        message: Any = None,
        color: Any = None,
        domain: Any = None,
        category: Any = None,
        payload: Any = None,
        **newer: Any,
    ) -> "tuple[int, ...]":
        """Return the event of a call of the package, which takes these arguments."""
        return self.event(message, domain, category, payload)

    def annotation_entered(self, answer: Any, annotation: Any) -> None:
        # (message, color, domain, category, payload), and more in newer versions
        arguments = annotation.init_args
        self.push(self.event(arguments[0], *arguments[2:5]))

    def annotation_left(self, answer: Any, annotation: Any, *raised: Any) -> None:
        self.pop(annotation.init_args[DOMAIN_ARGUMENT])

    def package_pushed(self, answer: Any, *args: Any, **kwargs: Any) -> None:
        self.push(self.described_event(*args, **kwargs))

    def package_popped(self, answer: Any, domain: Any = None, **named: Any) -> None:
        self.pop(domain)

    def package_started(self, answer: Any, *args: Any, **kwargs: Any) -> None:
        """Note a started range, unless it has no id: without a tool every range gets None."""
        if answer is not None:
            self.start(answer[0], self.described_event(*args, **kwargs))

    def package_ended(self, answer: Any, range_id: Any, *more: Any, **named: Any) -> None:
        self.end(range_id if range_id is None else range_id[0])

    def package_marked(self, answer: Any, *args: Any, **kwargs: Any) -> None:
        self.mark(self.described_event(*args, **kwargs))


def number_bits(payload: Any) -> "tuple[int, int]":
    """Return (the number as an int64, its kind); (-1, NO_NUMBER) for anything else."""
    if type(payload) is int and SMALLEST <= payload <= LARGEST:
        return payload, SIGNED
    if type(payload) is int and LARGEST < payload < 1 << 64:
        return payload - (1 << 64), UNSIGNED
    if type(payload) is float:
        return unpack("=q", pack("=d", payload))[0], REAL
    return -1, NO_NUMBER

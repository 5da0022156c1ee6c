"""NVTX in a process that first used it without a tool: the Python-level calls of the `nvtx` package
and of torch.cuda.nvtx.

NVTX looks for a tool once; afterwards its calls do nothing, and only what Python says to them can
still be heard. Not told are ranges that were open when we came, and what cannot be known without a
tool: functions that `annotate` decorated (they are plain functions then), ranges of
`nvtx.start_range` (they have no number), methods of a Domain (it has no name).
"""

import sys
import time
from _thread import get_ident, get_native_id
from struct import pack, unpack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

BY_PUSH, BY_START, BY_MARK = range(3)
NOTHING, SIGNED, UNSIGNED, REAL = range(4)
MOST_NAMES = 20_000
OTHER_NAMES = "(other names)"
LARGEST, SMALLEST = (1 << 63) - 1, -(1 << 63)


def install(probe: "Probe") -> None:
    if probe.config.get("nvtx") == "injected":
        return  # the library in the process tells it all
    heard = Heard(probe)
    heard.tick(0)
    probe.ticks.append(heard.tick)


class Heard:
    """The ranges of one process. The program may import `nvtx` later, so it is looked for now and
    again.
    """

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.stacks: dict[int, list[tuple[int, ...]]] = {}
        self.started: dict[Any, tuple[int, ...]] = {}
        self.seen: set[str] = set()
        self.names = 0

    def tick(self, now_ns: int) -> None:
        for name, listen in (("nvtx.nvtx", self.to_package), ("torch.cuda.nvtx", self.to_torch)):
            module = SHELF["imports"].imported(name)
            if name not in self.seen and getattr(module, "mark", None) is not None:
                self.seen.add(name)
                listen(module)

    # -- what is recorded

    def code(self, text: Any) -> int:
        """The code of a name, -1 for none; past MOST_NAMES that of OTHER_NAMES."""
        if text is None:
            return -1
        key = (
            "nvtx",
            text if type(text) is str else type(text).__name__,
        )  # nothing of the program's is called
        if key not in self.probe.codes:
            self.names += 1
            if self.names > MOST_NAMES:
                key = ("nvtx", OTHER_NAMES)
        return self.probe.code(key, "nvtx", key[1])

    def event(
        self, name: Any, domain: Any = None, category: Any = None, payload: Any = None
    ) -> tuple[int, ...]:
        number = category if type(category) is int else -1
        said = -1 if number >= 0 else self.code(category)
        bits, kind = number_bits(payload)
        return self.code("" if name is None else name), self.code(domain), said, number, bits, kind

    def put(
        self, event: tuple[int, ...], tid: int, first: int, took: int, way: int, end_tid: int = -1
    ) -> None:
        if self.probe.live[0]:
            self.probe.records.append(
                (self.probe.kinds["NVTX"], tid, first, took, *event, way, end_tid)
            )

    def push(self, event: tuple[int, ...]) -> None:
        self.stacks.setdefault(get_ident(), []).append((*event, time.monotonic_ns()))

    def pop(self, domain: Any = None) -> None:
        end, code = time.monotonic_ns(), self.code(domain)
        stack = self.stacks.get(get_ident(), [])
        for place in range(len(stack) - 1, -1, -1):
            if stack[place][1] == code:
                *event, first = stack.pop(place)
                self.put(tuple(event), get_native_id(), first, end - first, BY_PUSH)
                return

    def start(self, key: Any, event: tuple[int, ...]) -> None:
        self.started[key] = (*event, get_native_id(), time.monotonic_ns())

    def end(self, key: Any) -> None:
        end, here = time.monotonic_ns(), get_native_id()
        found = self.started.pop(key, None)
        if found is not None:
            *event, tid, first = found
            self.put(tuple(event), tid, first, end - first, BY_START, -1 if tid == here else here)

    def mark(self, event: tuple[int, ...]) -> None:
        self.put(event, get_native_id(), time.monotonic_ns(), 0, BY_MARK)

    # -- whom it is heard from

    def after(self, owner: Any, name: str, tell: "Callable[..., Any]", *others: Any) -> None:
        """`tell(answer, *arguments)` behind each call that succeeded; `others` have the same
        function under the same name.
        """

        def begin(args: Any, kwargs: Any) -> Any:
            return kwargs

        def end(begun: Any, args: Any, answer: Any, raised: Any) -> None:
            if raised is None:
                tell(answer, *args, **begun)

        original = getattr(owner, name)
        wrapper = self.probe.around(original, begin, end)
        for place in (owner, *others):
            if getattr(place, name, None) is original:
                self.probe.patches.put(place, name, wrapper)

    def to_torch(self, module: Any) -> None:
        self.after(module, "range_push", lambda _, msg, *more, **named: self.push(self.event(msg)))
        self.after(module, "range_pop", lambda _, *more, **named: self.pop())
        self.after(module, "range_start", self.torch_started)
        self.after(
            module, "range_end", lambda _, range_id, *more, **named: self.end(("torch", range_id))
        )
        self.after(module, "mark", lambda _, msg, *more, **named: self.mark(self.event(msg)))

    def torch_started(self, answer: Any, msg: Any, *more: Any, **named: Any) -> None:
        self.start(("torch", answer), self.event(msg))

    def to_package(self, module: Any) -> None:
        annotate = module.annotate
        if "__reduce__" in vars(annotate):  # what it was given is kept for that
            self.after(
                annotate,
                "__enter__",
                lambda _, one: self.push(self.event(*without_colour(one.init_args))),
            )
            self.after(annotate, "__exit__", lambda _, one, *raised: self.pop(one.init_args[2]))
        top = sys.modules.get("nvtx")
        self.after(module, "push_range", lambda _, *a, **k: self.push(self.described(*a, **k)), top)
        self.after(module, "pop_range", lambda _, domain=None, **named: self.pop(domain), top)
        self.after(module, "start_range", self.package_started, top)
        self.after(module, "end_range", self.package_ended, top)
        self.after(module, "mark", lambda _, *a, **k: self.mark(self.described(*a, **k)), top)

    def described(
        self,
        message: Any = None,
        color: Any = None,
        domain: Any = None,
        category: Any = None,
        payload: Any = None,
        **added_since: Any,
    ) -> tuple[int, ...]:
        return self.event(message, domain, category, payload)

    def package_started(self, answer: Any, *args: Any, **kwargs: Any) -> None:
        """Without a tool it answers None for every range: which of them ends later cannot be told
        then.
        """
        if answer is not None:
            self.start(answer[0], self.described(*args, **kwargs))

    def package_ended(self, answer: Any, range_id: Any, *more: Any, **named: Any) -> None:
        self.end(range_id if range_id is None else range_id[0])


def without_colour(said: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `annotate` was made with (message, color, domain, category, payload, ...) less the
    color.
    """
    return said[0], *said[2:5]


def number_bits(payload: Any) -> tuple[int, int]:
    """(the number as an int64, which kind); nothing for what is no number."""
    if type(payload) is int and SMALLEST <= payload <= LARGEST:
        return payload, SIGNED
    if type(payload) is int and LARGEST < payload < 1 << 64:
        return payload - (1 << 64), UNSIGNED
    if type(payload) is float:
        return unpack("=q", pack("=d", payload))[0], REAL
    return -1, NOTHING

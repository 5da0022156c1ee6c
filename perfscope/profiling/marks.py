"""`perfscope.step()`: the steps of a program, as it reports them.

`request_marks.py` does the same for requests. Both cost a few hundred nanoseconds while nothing
records. A recording finds them in whatever way it came into the process: `perfscope.profile()`,
`perfscope run` or `perfscope attach`. Standard library only, so that importing this costs nothing.
"""

import _thread
import time
from types import TracebackType
from typing import Any

PROBE_KEY = "_perfscope_probes"
"""The name in `_thread` under which a process keeps the probe of its recording
(`agent/probe/process_state.py`).
"""
THREAD_NAMES = vars(_thread)
find_probes = THREAD_NAMES.get
"""A lookup in the dictionary is several times faster than `getattr` for a name that is missing."""
UNKNOWN = -1
UNUSED = (UNKNOWN,) * 6


class Step:
    """One step of a program, from `__enter__` to `__exit__`. The end of the block ends the step."""

    __slots__ = ("samples", "tokens")

    def __init__(self, samples: int | None, tokens: int | None) -> None:
        self.samples, self.tokens = samples, tokens

    def __enter__(self) -> "Step":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        mark_step(self.samples, self.tokens)


class UnrecordedStep:
    """A step that nothing records."""

    __slots__ = ()

    def __enter__(self) -> "UnrecordedStep":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


UNRECORDED_STEP = UnrecordedStep()


def step(*, samples: int | None = None, tokens: int | None = None) -> Step | UnrecordedStep:
    """Mark a step: `with perfscope.step(samples=64): ...`.

    Needed only where perfscope cannot see the steps: without PyTorch's data loader, optimizer and
    modules. `samples` and `tokens` say how much the step processes.
    """
    if not find_probes(PROBE_KEY):
        return UNRECORDED_STEP
    return Step(samples, tokens)


def mark_step(samples: int | None = None, tokens: int | None = None) -> None:
    """Record that a step of this thread ends now."""
    now_ns = time.monotonic_ns()
    for probe in recording_probes():
        counts = (count_or_unknown(samples), count_or_unknown(tokens))
        record = (probe.kinds["STEP"], _thread.get_native_id(), now_ns, 0, *counts, *UNUSED)
        probe.records.append(record)


def recording_probes() -> list[Any]:
    """Return the probe that records this process, if there is one.

    Its byte `live` is 0 while it leaves, and in a process that was forked from the recorded one.
    """
    return [probe for probe in find_probes(PROBE_KEY, ()) if probe.live[0]]


def count_or_unknown(count: object) -> int:
    """Return a count as the record holds it, `UNKNOWN` for anything but a whole number."""
    return count if type(count) is int and 0 <= count < 1 << 62 else UNKNOWN

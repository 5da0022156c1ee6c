"""How long a window of torch's profiler in the target lasts, what may be spent on it, and when it
is taken.
"""

import re
from dataclasses import dataclass

from perfscope.errors import UsageError

STALL_NS_PER_EVENT = 2_500
"""What ending a window can hold up a step, by events it holds: at worst 554 ms were seen for
200,000.
"""
MEMORY_PER_EVENT_BYTES = 8_000
"""Twice what recording, ending and saving took together, with shapes: 400 MB for 94,000 events."""
MEMORY_SHARE = 0.5
"""Of the memory that is left a window may need so much."""
FEWEST_EVENTS = 5_000
"""With room for fewer none is taken: that is a fraction of a second of a busy program."""
DEFAULT_STALL_S = 0.25
DEFAULT_STEPS = 5
MOST_STEPS = 1000
LONGEST_S = 3.0
LONGEST_ASKED_S = 30.0
MANY_STEPS = 1_000_000
STEPS_BEFORE = 10
"""Undisturbed steps first: times are told from those."""
SOONEST_S = 2.0
IDLE_S = 5.0
"""Where no step was seen until then there is nothing that a window could disturb."""
LATEST_S = 30.0


@dataclass(frozen=True)
class Window:
    """It ends after `steps` whole steps, after `seconds`, or where more events would stall a step
    beyond `stall_s`.

    `every_s` takes one again and again; `stacks` records Python stacks too.
    """

    steps: int = DEFAULT_STEPS
    seconds: float = LONGEST_S
    stall_s: float = DEFAULT_STALL_S
    every_s: float | None = None
    stacks: bool = False

    @property
    def events(self) -> int:
        """The most events it may hold where it is ended without the GIL."""
        return max(int(self.stall_s * 1e9 / STALL_NS_PER_EVENT), 1)

    def affordable(self, left_bytes: int | None) -> int:
        """The most events with so much memory left; 0: too little for any window."""
        if left_bytes is None:
            return self.events
        room = int(MEMORY_SHARE * left_bytes) // MEMORY_PER_EVENT_BYTES
        return 0 if room < min(FEWEST_EVENTS, self.events) else min(self.events, room)


DEFAULT_WINDOW = Window()


def window_of(text: str) -> Window:
    """`steps=5` or `seconds=3`, the defaults for the rest. Raises UsageError."""
    unit, _, value = text.partition("=")
    if unit == "steps" and value.isdecimal() and 0 < int(value) <= MOST_STEPS:
        return Window(int(value), LONGEST_ASKED_S)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s?", value) if unit == "seconds" else None
    if match and 0.0 < float(match[1]) <= LONGEST_ASKED_S:
        return Window(MANY_STEPS, float(match[1]))
    raise UsageError(
        f"{text!r} is neither steps=N (1 to {MOST_STEPS}) nor seconds=S (at most"
        f" {LONGEST_ASKED_S:.0f})"
    )


def text_of(window: Window) -> str:
    """Return the text from which `window_of` makes this window."""
    if window.steps < MANY_STEPS:
        return f"steps={window.steps}"
    return f"seconds={window.seconds:.9f}"


def due(here_s: float, steps: int, total_s: float | None) -> bool:
    """Is it time for the first window? `total_s`: how long the recording lasts at most, None: until
    it is stopped.

    After enough undisturbed steps; where steps are long, in the middle of the recording; in a short
    one sooner.
    """
    soonest_s = SOONEST_S if total_s is None else min(SOONEST_S, 0.4 * total_s)
    latest_s = LATEST_S if total_s is None else min(LATEST_S, 0.5 * total_s)
    if here_s < soonest_s:
        return False
    return steps >= STEPS_BEFORE or here_s >= latest_s or (not steps and here_s >= IDLE_S)

"""How long a window of torch's profiler lasts, what it may cost, and when it begins."""

import re
from dataclasses import dataclass

from perfscope.errors import UsageError

# By how much ending a window delays a step, per event; in the worst case that was measured, 554 ms
# for 200,000 events.
STALL_NS_PER_EVENT = 2_800
# Twice what recording, ending and saving took together, with shapes: 400 MB for 94,000 events.
MEMORY_PER_EVENT_BYTES = 8_000
# The share of the available memory that a window may need.
MEMORY_SHARE = 0.5
# If the memory allows fewer events, there is no window: a busy program makes as many in a fraction
# of a second.
FEWEST_EVENTS = 5_000
DEFAULT_STALL_S = 0.25
DEFAULT_STEPS = 5
MOST_STEPS = 1000
LONGEST_S = 3.0
LONGEST_ASKED_S = 30.0
MANY_STEPS = 1_000_000
# Undisturbed steps before the window; the step times are measured in those.
STEPS_BEFORE = 10
SOONEST_S = 2.0
# Without any step until then, there is nothing that a window could disturb.
IDLE_S = 5.0
LATEST_S = 30.0


@dataclass(frozen=True)
class Window:
    """The settings of a window.

    It ends after `steps` whole steps, after `seconds`, or when more events would delay a step by
    more than `stall_s`. With `every_s`, a new window opens at that interval; `stacks` records
    Python stacks too.
    """

    steps: int = DEFAULT_STEPS
    seconds: float = LONGEST_S
    stall_s: float = DEFAULT_STALL_S
    every_s: float | None = None
    stacks: bool = False

    @property
    def events(self) -> int:
        """The most events it may record: ending it delays a step by their number."""
        return max(int(self.stall_s * 1e9 / STALL_NS_PER_EVENT), 1)

    def affordable(self, left_bytes: int | None) -> int:
        """Return the most events that this much available memory allows, 0 for no window."""
        if left_bytes is None:
            return self.events
        room = int(MEMORY_SHARE * left_bytes) // MEMORY_PER_EVENT_BYTES
        return 0 if room < min(FEWEST_EVENTS, self.events) else min(self.events, room)


DEFAULT_WINDOW = Window()


def window_of(text: str) -> Window:
    """Return the window of `steps=5` or `seconds=3`, with defaults otherwise. Raises UsageError."""
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


def window_text(window: Window) -> str:
    """Return the text that `window_of` turns into this window."""
    if window.steps < MANY_STEPS:
        return f"steps={window.steps}"
    return f"seconds={window.seconds:.9f}"


def first_window_is_due(here_s: float, steps: int, total_s: float | None) -> bool:
    """Return whether it is time for the first window, after `here_s` with `steps` so far.

    It is due after enough undisturbed steps, in the middle of the recording if steps are long, and
    sooner in a short recording. total_s: the length of the recording, None if it is not limited.
    """
    soonest_s = SOONEST_S if total_s is None else min(SOONEST_S, 0.4 * total_s)
    latest_s = LATEST_S if total_s is None else min(LATEST_S, 0.5 * total_s)
    if here_s < soonest_s:
        return False
    return steps >= STEPS_BEFORE or here_s >= latest_s or (not steps and here_s >= IDLE_S)

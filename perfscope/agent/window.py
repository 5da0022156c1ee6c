"""How long a window of torch's profiler in the target lasts, and what may be spent on it."""

from dataclasses import dataclass

STALL_NS_PER_EVENT = 2_500
"""What ending a window can hold up a step, by events it holds: at worst 554 ms were seen for 200,000."""
MEMORY_PER_EVENT_BYTES = 8_000
"""Twice what recording, ending and saving took together, with shapes: 400 MB for 94,000 events."""
DEFAULT_STALL_S = 0.25
DEFAULT_STEPS = 5
LONGEST_S = 3.0
MANY_STEPS = 1_000_000


@dataclass(frozen=True)
class Window:
    """It ends after `steps` whole steps, after `seconds`, or where more events would stall a step beyond `stall_s`."""

    steps: int = DEFAULT_STEPS
    seconds: float = LONGEST_S
    stall_s: float = DEFAULT_STALL_S

    @property
    def events(self) -> int:
        """The most events it may hold."""
        return max(int(self.stall_s * 1e9 / STALL_NS_PER_EVENT), 1)


DEFAULT_WINDOW = Window()

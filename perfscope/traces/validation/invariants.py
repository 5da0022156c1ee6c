"""The physical invariants that a recording can violate, and what each violation affects."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Effect = Literal["left-out", "cut", "moved", "counted-once", "repaired", "unknown"]


class Violation(msgspec.Struct, frozen=True):
    """How many events of a recording violate an invariant."""

    invariant: str
    events: int


@dataclass(frozen=True)
class Invariant:
    """What is done with events that violate an invariant, and how that is reported."""

    effect: Effect
    text: str
    """A sentence with `{events}` for their number."""
    trust: float
    """Factor of the confidence in the verdict."""


INVARIANTS: Final[dict[str, Invariant]] = {
    "truncated-file": Invariant(
        "left-out",
        "The file is cut off: what was recorded after that is missing, and a step that it breaks"
        " off in is left out.",
        0.9,
    ),
    "invalid-text": Invariant(
        "repaired", "{events} events contain text that is not valid JSON; they are repaired.", 0.99
    ),
    "value-not-finite": Invariant(
        "repaired", "{events} values are not finite numbers and count as missing.", 0.99
    ),
    "event-without-time": Invariant(
        "left-out", "{events} events have no time and are left out.", 0.9
    ),
    "negative-duration": Invariant(
        "left-out", "{events} events end before they start and are left out.", 0.95
    ),
    "duplicate-events": Invariant(
        "counted-once", "{events} events are recorded twice and count once.", 0.95
    ),
    "clock-jump": Invariant(
        "moved", "The clock was set back; the {events} events after that are moved.", 0.9
    ),
    "kernel-before-launch": Invariant(
        "moved",
        "{events} kernels start before the calls that launch them; the device's times are moved.",
        0.9,
    ),
    "kernel-overlap-on-stream": Invariant(
        "cut",
        "{events} kernels outlast the next one of their stream; they end where it starts.",
        0.95,
    ),
    "overlapping-steps": Invariant(
        "cut", "{events} marks of steps outlast the next mark; they end where it starts.", 0.95
    ),
    "overlap-on-thread": Invariant(
        "cut", "{events} waits outlast the step that they begin in; they end with it.", 0.95
    ),
    "launch-without-kernel": Invariant(
        "unknown",
        "{events} launches have no kernel in the recording: the time that these took on the device"
        " is unknown and is left out.",
        0.9,
    ),
}
"""By id, in the order in which violations are reported."""


def violations_of(counts: dict[str, int]) -> list[Violation]:
    """Return the violations in the order of `INVARIANTS`, from the number of events of each."""
    return [Violation(name, counts[name]) for name in INVARIANTS if counts.get(name)]


def summed_violations(several: Iterable[Violation]) -> list[Violation]:
    """Return the violations of several recordings, one for each invariant."""
    counts: dict[str, int] = {}
    for violation in several:
        counts[violation.invariant] = counts.get(violation.invariant, 0) + violation.events
    return violations_of(counts)


def describe_violation(violation: Violation) -> str:
    """Return the sentence on a violation, with its number of events."""
    return INVARIANTS[violation.invariant].text.format(events=f"{violation.events:,}")

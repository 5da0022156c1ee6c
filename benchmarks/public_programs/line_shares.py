"""The shares of a main thread's time by the program's own lines, from two independent samplers.

One is `py-spy record --format raw`, whose stacks are folded here: frames of torch, the standard
library and installed packages belong to the program's call of them. The other is `by_code` of a
diagnosis. Nothing here uses code of perfscope.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*):(?P<line>\d+)\)")
LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib/python3[^/]*/|^<")
OTHER_THREAD = re.compile(
    r"(?:Thread\.)?_bootstrap \([^;]*threading\.py:\d+\)"
    r"|(?:<module> \(<string>:\d+\);)?[^;]*\(<perfscope"
)
"""How the stacks of all threads but the main one begin: those of Python, and perfscope's own."""
MODULE_RUNNER = "<frozen runpy>"
"""The file of the frames above a module that `python -m` runs."""
SMALLEST = 0.005
"""Of the thread's time: smaller calls belong to their caller, as in `by_code`."""
CHANCE = 1.96
"""Half-width of a 95 % interval, in standard deviations."""


class Line(NamedTuple):
    """A line of the program; the path of its file is relative to the folder it was started in."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


Shares = dict[Line, float]
"""The share of the thread's time in each line itself; they sum to 1."""


@dataclass
class Call:
    """A line below its callers, and the number of samples in it and below it."""

    samples: float = 0.0
    below: dict[Line, "Call"] = field(default_factory=lambda: defaultdict(Call))

    def add(self, path: Iterable[Line], samples: float) -> None:
        """Account for samples in the calls `path`, outermost first."""
        call = self
        call.samples += samples
        for line in path:
            call = call.below[line]
            call.samples += samples

    def own_samples(self, line: Line, smallest: float) -> Iterator[tuple[Line, float]]:
        """Yield (line, samples in the line itself), here and below, without small calls."""
        kept = {where: call for where, call in self.below.items() if call.samples >= smallest}
        yield line, self.samples - sum(call.samples for call in kept.values())
        for where, call in kept.items():
            yield from call.own_samples(where, smallest)


@dataclass(frozen=True)
class SampledLines:
    """The shares that a sampler saw, and how many samples of the main thread it has."""

    shares: Shares
    samples: int

    @property
    def first(self) -> Line:
        """The line with the largest share."""
        return max(self.shares, key=lambda line: self.shares[line])


def lines_of_py_spy(raw: str, folder: str) -> SampledLines:
    """Return the lines of the main thread in the output of `py-spy record --format raw`.

    `folder` is the working directory of the program.
    """
    root = Call()
    for text in raw.splitlines():
        stack, _, samples = text.rpartition(" ")
        if OTHER_THREAD.match(stack) is None:
            root.add(program_lines(stack.split(";"), folder), float(samples))
    own: Shares = defaultdict(float)
    for outermost, call in root.below.items():
        for line, own_samples in call.own_samples(outermost, SMALLEST * root.samples):
            own[line] += own_samples / root.samples
    return SampledLines(dict(own), int(root.samples))


def program_lines(frames: list[str], folder: str) -> list[Line]:
    """Return the frames of the program's own code; the outermost frame where there are none.

    The file in which the stack begins is the program's own, also for `python -c` and `python -m`.
    """
    found = [match for match in map(FRAME.fullmatch, frames) if match is not None]
    first = next((match for match in found if match["file"] != MODULE_RUNNER), None)
    begun = first["file"] if first is not None and first["function"] == "<module>" else None
    own = [
        match for match in found if LIBRARY.search(match["file"]) is None or match["file"] == begun
    ]
    prefix = folder.rstrip("/") + "/"
    return [
        Line(short_name(match["file"], prefix), int(match["line"])) for match in own or found[:1]
    ]


def short_name(file: str, prefix: str) -> str:
    """Return a file relative to the program's folder, or to that of installed packages."""
    return re.sub(r".*/(?:site|dist)-packages/", "", file.removeprefix(prefix))


def lines_of_answer(answer: dict[str, Any]) -> SampledLines:
    """Return the lines of the main thread in `by_code` of a diagnosis.

    The number of samples follows from the interval of a share.
    """
    own: Shares = defaultdict(float)
    for call in walk(answer["by_code"]):
        own[Line(call["file"], call["line"])] += call["self_s"]
    whole = sum(own.values())
    return SampledLines({line: s / whole for line, s in own.items()}, samples_of(answer))


def walk(calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield calls and all calls below them."""
    for call in calls:
        yield call
        yield from walk(call["children"])


def samples_of(answer: dict[str, Any]) -> int:
    """Return about how many samples `by_code` has, from the width of its widest interval."""
    shares = [call["share"] for call in walk(answer["by_code"])]
    widest = max(shares, key=lambda share: share["high"] - share["low"])
    width, share = widest["high"] - widest["low"], widest["likely"]
    if width <= 0.0:
        return 0
    return round(share * (1.0 - share) * (2.0 * CHANCE / width) ** 2)


@dataclass(frozen=True)
class Agreement:
    """How far two samplers differ. Points are hundredths of the thread's time."""

    at: Line
    """The line whose shares differ most."""
    largest_points: float
    """The difference there."""
    by_chance_points: float
    """The difference that two samplers of the same run have there in 19 of 20 cases."""
    sum_points: float
    """Half of the sum of all differences: the time that is in other lines."""
    first: tuple[Line, Line]
    """The line with the largest share, of each."""
    first_by_chance: bool
    """Whether two lines are first only because they are about equal in both."""

    @property
    def first_in_words(self) -> str:
        """Whether both have the same first line, as a word for a table."""
        if self.first[0] == self.first[1]:
            return "yes"
        return "within chance" if self.first_by_chance else "no"


def compare(one: SampledLines, other: SampledLines) -> Agreement:
    """Return how far two samplers of one run differ."""
    lines = one.shares.keys() | other.shares.keys()
    differences = {
        line: 100.0 * abs(one.shares.get(line, 0.0) - other.shares.get(line, 0.0)) for line in lines
    }
    at = max(differences, key=lambda line: differences[line])
    first = (one.first, other.first)
    return Agreement(
        at=at,
        largest_points=differences[at],
        by_chance_points=by_chance(one, other, at),
        sum_points=sum(differences.values()) / 2.0,
        first=first,
        first_by_chance=all(
            100.0 * (sampled.shares[sampled.first] - sampled.shares.get(line, 0.0))
            <= by_chance(one, other, line)
            for sampled, line in ((one, other.first), (other, one.first))
        ),
    )


def by_chance(one: SampledLines, other: SampledLines, line: Line) -> float:
    """Return the points by which the shares of a line differ in 19 of 20 cases at most."""
    share = (one.shares.get(line, 0.0) + other.shares.get(line, 0.0)) / 2.0
    variance = share * (1.0 - share) * (1.0 / max(one.samples, 1) + 1.0 / max(other.samples, 1))
    return 100.0 * CHANCE * math.sqrt(variance)

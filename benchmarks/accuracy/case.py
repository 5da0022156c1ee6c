"""The cases: a folder each, with an input and its right answer in `expect.json`."""

import re
from pathlib import Path

import msgspec

PROGRAM, RECORDING = "program", "recording"
PLACE = re.compile(r"[\w.-]+\.py:\d+")


class General(msgspec.Struct):
    """A general answer that is acceptable: who is responsible, but not why."""

    id: str
    where: str | None = None


class Case(msgspec.Struct, kw_only=True):
    """The right answer for one input. A field that is null or empty is not compared."""

    input: str | list[str]
    """The program or the recordings, relative to the folder of the case."""
    kind: str
    name: str = ""
    folder: Path = Path()
    also: list[str] = []
    """More programs with the same answer."""
    id: str | None = None
    cause: str | None = None
    scope: str | None = None
    where: str | None = None
    """Text with every acceptable place as `FILE.py:LINE`."""
    general: General | None = None
    not_id: list[str] = []
    not_advice: list[str] = []
    """Words of advice that would do harm, or that has no reason here."""
    budget: dict[str, tuple[float, float]] = {}
    """Share of a category of the time budget: lowest and highest."""
    ranks: int | None = None
    longest_span_s: float | None = None
    data_quality: list[str] = []
    """Invariants that the diagnosis must list as violated."""
    refused: bool = False
    """Whether the input cannot be analyzed: the right answer is one clear error."""
    verdict: str | None = None
    check: str | None = None
    """What a person must check."""
    severity: str | None = None
    gain: str | float | None = None
    """What the right change gains, as measured."""
    source: list[str] = []
    """Addresses of the public reports."""
    attach_after_s: float = 9.0
    duration_s: float = 12.0
    new_kind: bool = False
    """Whether no finding was planned for this kind when the case was written."""

    @property
    def inputs(self) -> list[str]:
        """All inputs of the case."""
        first = [self.input] if isinstance(self.input, str) else self.input
        return [*first, *self.also]


def read_cases(folder: Path) -> list[Case]:
    """Return the cases below a folder, sorted by name.

    Raises msgspec.ValidationError for an `expect.json` of another form.
    """
    cases = []
    for path in sorted(folder.glob("*/expect.json")):
        case = msgspec.json.decode(path.read_bytes(), type=Case)
        case.name, case.folder = path.parent.name, path.parent
        cases.append(case)
    return cases


def places_in(text: str | None) -> set[str]:
    """Return every `FILE.py:LINE` in a text."""
    return set(PLACE.findall(text or ""))

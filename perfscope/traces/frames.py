"""Frames of Python stacks, `function (file:line)`, and whose code they are."""

from dataclasses import dataclass

MOST_DIGITS = 9
OUTSIDE_PACKAGES = ("./", "/", "<stdin>", "<ipython-input")
"""How the files of a program begin; those of packages are named from their package on."""


@dataclass(frozen=True)
class Frame:
    """One frame of a stack; `line` is 0 where it is not known."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        file = self.file.removeprefix("./")
        place = f"{file}:{self.line}" if self.line else file
        return f"{self.function} ({place})" if place else self.function

    @property
    def is_of_program(self) -> bool:
        """Whether it is the program's own code, not that of an installed or standard package."""
        return self.file.startswith(OUTSIDE_PACKAGES)

    @property
    def is_of_torch(self) -> bool:
        """Whether it is in one of torch's files."""
        return self.file.startswith("torch/")


def parse_frame(label: str) -> Frame:
    """Return the frame with this label; a label of another form is a function without a file."""
    function, opening, place = label.partition(" (")
    if not opening or not place.endswith(")"):
        return Frame(label, "", 0)
    file, _, number = place[:-1].rpartition(":")
    is_line = number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS
    if not file or not is_line:
        return Frame(function, place[:-1], 0)
    return Frame(function, file, int(number))

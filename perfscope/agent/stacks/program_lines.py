"""The lines of the program's own code that the recorded stacks name."""

from collections import defaultdict

from perfscope.traces.frames import parse_frame

MOST_STACKS = 50_000
MOST_LINES = 5_000
"""Of one process."""
SHORTENED = "/..."


class ProgramLines:
    """Which lines of which files of the program occur in stacks, by process code."""

    def __init__(self) -> None:
        self.by_process: dict[int, dict[str, set[int]]] = defaultdict(dict)
        self.counts: dict[int, int] = defaultdict(int)
        self.seen: set[int] = set()

    def add(self, process: int, stack: str) -> None:
        """Add the lines of the program in a stack; each stack counts once."""
        key = hash((process, stack))
        if key in self.seen or len(self.seen) >= MOST_STACKS:
            return
        self.seen.add(key)
        for label in stack.split(";"):
            frame = parse_frame(label)
            if frame.line > 0 and frame.is_of_program and is_path(frame.file):
                self.add_line(process, frame.file, frame.line)

    def add_line(self, process: int, file: str, line: int) -> None:
        """Add one line of a file."""
        lines = self.by_process[process].setdefault(file, set())
        if line not in lines and self.counts[process] < MOST_LINES:
            lines.add(line)
            self.counts[process] += 1


def is_path(file: str) -> bool:
    """Return whether the file of a frame is a whole path, and not code that was typed."""
    return not file.startswith(("<", SHORTENED))

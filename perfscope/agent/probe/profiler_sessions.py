"""Whether another session of torch's profiler is safe in this process.

An operator or range that was open when a session of all threads ended, and that closes while
another such session is on, writes its end into the freed memory of the first one (torch up to 2.13;
tests/safety/test_window_memory.py shows it). A session of one thread, which is what programs use,
looks for its state elsewhere: neither kind touches the memory of the other.

So the first session of a process is safe, and so is another one once it is known that nothing was
open at the end of each session of all threads before. torch counts the blocks of operators that any
session made, since the process began: as long as every block is accounted for, no session is
unknown.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfscope.agent.probe.torch_profiler_api import GilDoors

OPERATORS_PER_BLOCK = 512
SECOND = (
    "one window of torch's profiler was recorded in this process already, and at its end operators"
    " or ranges were still open, or that is not known: a second one could corrupt the program's"
    " memory"
)
BEFORE = (
    "torch's profiler was used in this process before, by perfscope or by the program: a window now"
    " could corrupt the program's memory"
)
UNKNOWN = (
    "this build of torch does not show whether its profiler was used in the process before: no"
    " window is taken"
)


class Sessions:
    """The sessions of this process: how many blocks of operators are accounted for, and whether
    ours was one of them.
    """

    def __init__(self, doors: "GilDoors") -> None:
        self.doors = doors
        self.accounted = 0
        self.taken = False
        self.traced = True
        self.known = True

    def blocks(self) -> int | None:
        """Return how many blocks of operators all sessions made; None where this torch does not
        count them.
        """
        return None if self.doors.blocks is None else int(self.doors.blocks.value)

    def operators(self) -> int:
        """Return how many operators the sessions that are over recorded, at most 512 per thread too
        many.
        """
        return self.accounted * OPERATORS_PER_BLOCK

    def refusal(self, closed: bool) -> str | None:
        """Return why no session may begin now. `closed`: nothing was open at the end of our last
        one.
        """
        if self.taken and not (closed and self.traced):
            return SECOND
        blocks = self.blocks()
        if blocks is not None:
            return None if blocks == self.accounted and self.known else BEFORE
        initialized = self.doors.initialized()
        if initialized is None:
            return UNKNOWN
        return BEFORE if initialized else None

    def ours_began(self) -> None:
        self.taken, self.traced = True, False

    def ours_ended(self) -> None:
        """Account for what ours recorded: no other session was on meanwhile."""
        self.accounted = self.blocks() or 0

    def ours_is_saved(self) -> None:
        """Note that the trace of our last session is there: it will show what was open at its
        end.
        """
        self.traced = True

    def theirs_began(self, count: int) -> None:
        """Note that a session of the program's begins beside `count` others of its own."""
        if not count:
            self.known = self.known and self.blocks() == self.accounted

    def theirs_is_on(self) -> None:
        """Note whether the session that just began is one of all threads: what it leaves open is
        not known.
        """
        if self.doors.state.value:
            self.known = False

    def theirs_ended(self, *, seen: bool, count: int) -> None:
        """Account for what sessions of single threads recorded, once none is on. `seen`: they began
        while we watched.
        """
        self.known = self.known and seen
        if not count:
            self.accounted = self.blocks() or 0

"""Whether another session of torch's profiler is safe in this process.

If an operator or range is open when a session of all threads ends, and closes while another such
session is on, it writes its end into freed memory of the first session (torch up to 2.13;
tests/safety/test_window_memory.py shows it). Programs use sessions of a single thread, which keep
their state elsewhere: neither kind writes to the memory of the other.

So the first session of a process is safe. Another one is safe if nothing was open at the end of
each earlier session of all threads. torch counts the blocks of operators that all sessions have
made since the process began: if every block is accounted for, there was no unknown session.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfscope.agent.probe.torch_profiler_api import GilProfilerApi

OPERATORS_PER_BLOCK = 512
SECOND = (
    "torch's profiler already recorded one window in this process, and operators or ranges may"
    " still have been open at its end: a second window could corrupt the program's memory"
)
BEFORE = (
    "torch's profiler was used in this process before, by perfscope or by the program: a window now"
    " could corrupt the program's memory"
)
UNKNOWN = (
    "this build of torch does not show whether its profiler was used in the process before, so"
    " perfscope records no window"
)


class ProfilerSessions:
    """The profiler sessions of this process: the blocks accounted for, and the state of ours."""

    def __init__(self, api: "GilProfilerApi") -> None:
        self.api = api
        self.accounted = 0
        self.taken = False
        self.traced = True
        self.all_known = True

    def blocks(self) -> "int | None":
        """Return how many blocks of operators all sessions made, None if torch does not count."""
        return None if self.api.blocks is None else int(self.api.blocks.value)

    def operators(self) -> int:
        """Return how many operators the ended sessions recorded.

        The number is at most 512 per thread too high.
        """
        return self.accounted * OPERATORS_PER_BLOCK

    def refusal(self, closed: bool) -> "str | None":
        """Return why no session may begin now, None if one may.

        closed: nothing was open at the end of our last session.
        """
        if self.taken and not (closed and self.traced):
            return SECOND
        blocks = self.blocks()
        if blocks is not None:
            return None if blocks == self.accounted and self.all_known else BEFORE
        initialized = self.api.initialized()
        if initialized is None:
            return UNKNOWN
        return BEFORE if initialized else None

    def window_began(self) -> None:
        self.taken, self.traced = True, False

    def window_ended(self) -> None:
        """Account for what our session recorded; no other session was on meanwhile."""
        self.accounted = self.blocks() or 0

    def window_was_saved(self) -> None:
        """Note that the trace of our last session exists, which shows what was open at its end."""
        self.traced = True

    def user_session_begins(self, count: int) -> None:
        """Note that the program begins a session while `count` others of its own are on."""
        if not count:
            self.all_known = self.all_known and self.blocks() == self.accounted

    def user_session_began(self) -> None:
        """Note whether the session that just began is one of all threads.

        What such a session leaves open is unknown.
        """
        if self.api.state.value:
            self.all_known = False

    def user_session_ended(self, *, seen: bool, count: int) -> None:
        """Account for the program's sessions of single threads once none is on.

        seen: the session began after the probe was installed. count: how many are still on.
        """
        self.all_known = self.all_known and seen
        if not count:
            self.accounted = self.blocks() or 0

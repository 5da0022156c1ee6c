"""One short window of torch's own profiler: operators and kernels of every thread, requested by the
agent.

A window runs on a raw thread of its own (`torch_profiler_api` switches it on and off). The trace is
written into a memory file that is handed to the agent; no file of any directory is touched.

A process gets one window, and another one only where that is known to be safe
(`profiler_sessions`). No window begins while CUDA is not ready for it (`cuda_state`). A profiler of
the program's own always goes first (`user_profiler`): none is started beside one that is on or
prepared, and a window that is on ends before theirs begins. What is not known means: no window.
"""

import itertools
import os
import sys
import time
from _thread import allocate_lock, start_new_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

NEVER = -1
FIXED_S = 0.1
GIL_FIXED_S = 0.02
"""How long a window lasts where the operators recorded cannot be counted while it is on."""
GIL_MARGIN = 0.6
GIL_S_PER_OPERATOR = 20e-6
"""Of the allowed stall so much is planned for; ending a window with the GIL took 17 to 30 us per
operator.
"""
RECORDS_PER_OPERATOR = 3
"""With CUDA: an operator, about one runtime call and one kernel."""
SOONEST_LOOK_S = 0.005
LATEST_LOOK_S = 0.1
SETTLE_S = 1.0
SETTLE_MARKS = 2
SETTLE_IDLE_S = 0.1
"""After the callbacks are out: two steps, so that operators and ranges that are open close; less
where there are no steps.
"""
HURRIED_OPERATORS = 25_000
"""More take over half a second to be ended: a window of that size is dropped when the program's
profiler waits for it.
"""
ASK_AGAIN_S = 5.0
MAKE_WAY_S = 1.0
ENDING_S = 60.0
LEFT_S = 60.0
STEP_WAIT_S = 30.0
TELL_NS = 500_000_000
EVEN = 3
"""Calls of a server that come further apart than so many times the middle one are no steps: their
gaps tell of no stall.
"""
OVERTAKEN = "another profiler took the window's place"
GAVE_WAY = "a profiler of the program's own began, or the program ended: the window was dropped"
NOT_QUIET = (
    "the window was dropped: a thread of the program got no core for a minute, and could be inside"
    " the profiler"
)


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or SHELF["presence"].in_worker():
        return
    windows = Windows(probe, torch)
    if windows.refusal is None:
        windows.theirs.watch()
        windows.cuda.watch(probe)
        probe.optimizer_ended.append(windows.stepped)
        probe.forward_began.append(windows.called)
        probe.endings.append(windows.leave)
    probe.ticks.append(windows.tick)


def forget_in_child(windows: "Windows") -> None:
    """In a forked child: take out the copy of a window's callbacks, before the child runs anything.
    May be called again.
    """
    if windows.on and windows.probe.pid != os.getpid():
        windows.on = False
        windows.doors.forget_in_child()


def among_ranks() -> bool:
    """Return whether this process has said that it is one of several ranks."""
    ranks = sys.modules.get("torch.distributed")
    return bool(ranks is not None and ranks.is_available() and ranks.is_initialized())


class Windows:
    """The windows of one process. `refusal` is the reason why there are none."""

    def __init__(self, probe: "Probe", torch: Any) -> None:
        self.probe = probe
        self.wanted: dict[str, Any] = probe.config["window"]
        self.refusal: str | None = None
        self.bell = allocate_lock()
        self.bell.acquire()
        self.marks: list[int] = []
        self.updates = self.awaited = self.left = 0
        self.latest = (0, 0)
        self.asked_ns = self.told_ns = 0
        self.on = self.running = self.hurried = False
        self.done: list[tuple[dict[str, Any], int]] = []
        self.several = among_ranks()
        self.cuda = SHELF["cuda_state"].CudaState(torch)
        try:
            self.doors = SHELF["torch_profiler_api"].doors(torch, self.wanted["stacks"])
            self.sessions = SHELF["profiler_sessions"].Sessions(self.doors)
            self.theirs = SHELF["user_profiler"].Theirs(self)
        except LookupError as reason:
            self.refusal = str(reason)

    # -- what the program's threads call: they count, ring a bell, or wait for ours to be gone before theirs begins  # noqa: E501

    def stepped(self) -> None:
        """An optimizer step ended."""
        self.updates += 1
        if self.several:
            self.latest = (self.updates, time.monotonic_ns())
        if self.running:
            self.mark()

    def called(self) -> None:
        """A top-level module call begins: the step of a program without an optimizer."""
        if self.running and not self.updates:
            self.mark()

    def mark(self) -> None:
        self.marks.append(time.monotonic_ns())
        if len(self.marks) == self.left or self.updates == self.awaited:
            self.ring()

    def ring(self) -> None:
        if self.bell.locked():
            try:
                self.bell.release()
            except RuntimeError:
                return  # another thread rang in between

    def hurry(self) -> None:
        self.hurried = True
        self.ring()

    def make_way(self) -> None:
        """End the window within a second, unsaved if need be; called by threads of the program that
        wait for it.

        It takes longer only where C++ is about to switch the session on or off: interrupting that
        is not possible.
        """
        until = time.monotonic() + MAKE_WAY_S
        while self.on and time.monotonic() < until:
            self.hurry()
            time.sleep(0.001)
        if self.on and self.doors.claim():
            self.doors.abandon()
            self.on = False
        until = time.monotonic() + ENDING_S
        while self.on and time.monotonic() < until:
            time.sleep(0.001)

    # -- what our own thread does

    def tick(self, now_ns: int) -> None:
        """Begin a window that was asked for, once nothing is in the way; hand over one that is
        over.
        """
        line = self.probe.line
        if line is None:
            return
        self.several = (
            self.several or among_ranks()
        )  # a program that we came with has not said so yet
        if self.several and self.latest[0] and now_ns >= self.told_ns + TELL_NS:
            self.told_ns = now_ns
            self.probe.notes.put(dict(zip(("updates", "at"), self.latest, strict=True)))
        while self.done and line.hand_over(*self.done[0]):
            del self.done[0]
        if not line.asked or self.running:
            return
        self.asked_ns = self.asked_ns or now_ns
        for_good = self.for_good(bool(line.asked[0][2]))
        for_now = None if for_good else self.for_now()
        if for_good is None and for_now is None:
            self.running, self.hurried, self.asked_ns = True, False, 0
            start_new_thread(self.probe.guard.one("window", self.take), (line.asked.pop(0),))
        elif for_good is not None or now_ns - self.asked_ns >= ASK_AGAIN_S * 1e9:
            self.asked_ns = 0
            del line.asked[0]
            more = (
                {"for_good": True}
                if for_good is not None
                else {"later": for_now == self.cuda.not_yet()}
            )
            reason = self.refusal or self.theirs.in_the_way() or for_good or for_now
            self.done.append(({"refused": reason, **more}, -1))

    def for_good(self, closed: bool) -> str | None:
        """Return why this process gets no window any more; `closed`: nothing was open at the end of
        the last one.
        """
        return self.refusal or self.cuda.refusal() or self.sessions.refusal(closed)

    def for_now(self) -> str | None:
        """Return why no window can begin at this moment."""
        reason: str | None = self.theirs.in_the_way() or self.cuda.not_yet()
        return reason

    def take(self, order: tuple[int, int, int]) -> None:
        """Take one window, on a thread of its own."""
        note: dict[str, Any] = {"refused": "the window broke off"}
        file = -1
        try:
            if order[0]:
                self.await_step(order[0])
            note, file = self.record(*order)
        except (RuntimeError, LookupError, OSError, TypeError, ValueError, AttributeError) as error:
            note = {"refused": f"torch's profiler failed: {error}".split("\n")[0]}
            if self.doors.claim():
                self.doors.abandon()
            self.doors.tidy()
        finally:
            self.on = False
            self.done.append((note, file))
            self.running = False

    def await_step(self, at: int) -> None:
        """Wait until optimizer step number `at` has ended; given up after a while."""
        self.awaited, until = at, time.monotonic() + STEP_WAIT_S
        while self.updates < at and not self.hurried and time.monotonic() < until:
            self.bell.acquire(True, 1.0)

    def record(self, at: int, events: int, closed: int) -> tuple[dict[str, Any], int]:
        """Switch on, wait for the steps or a limit, switch off, save; return the note and the
        memory file or -1.

        With `at` it ends with a step of a number that is the same in all ranks, however long
        switching on takes in each.
        """
        doors = self.doors
        clock = {"mono": time.monotonic_ns(), "real": time.time_ns()}
        self.left = self.awaited = NEVER
        self.on = True  # before the look: whoever begins after it waits for us
        try:
            reason = self.for_good(bool(closed)) or self.for_now()
            if reason is not None:
                return {"refused": reason}, -1
            state = doors.start()
            self.sessions.ours_began()
            begin, self.marks = time.monotonic_ns(), []
            self.await_end(at, events)
            marks, end = list(self.marks), time.monotonic_ns()
            reason = self.make_quiet(state)
            if reason is not None:
                doors.tidy()
                return {"refused": reason}, -1
            calm = time.monotonic_ns()
            result = doors.end()
            self.sessions.ours_ended()
        finally:
            self.on = False
        times = {
            **clock,
            "first": clock["mono"],
            "begin": begin,
            "end": end,
            "off": time.monotonic_ns(),
        }
        file = self.saved(result)
        del result
        last = time.monotonic_ns()
        if file < 0:
            return {"refused": "torch's profiler gave no trace"}, -1
        self.sessions.ours_is_saved()
        return times | {"last": last} | self.facts(marks, (end, calm, last), file), file

    def saved(self, result: Any) -> int:
        """Write the trace into a memory file and return that; -1 when it is empty."""
        file = os.memfd_create("perfscope", os.MFD_CLOEXEC)
        self.doors.save(result, file)
        self.doors.tidy()
        if not os.fstat(file).st_size:
            os.close(file)
            return -1
        return file

    def facts(self, marks: list[int], times: tuple[int, int, int], file: int) -> dict[str, Any]:
        """Return what the agent is told about a window: steps, bytes, and what it held up."""
        steps = max(len(marks) - 1, 0)
        return {
            "steps": steps,
            "whole": steps >= self.wanted["steps"],
            "bytes": os.fstat(file).st_size,
            "hurried": self.hurried,
            "stall": self.stall_ns(*times),
            "gil": not self.doors.free,
            "updates": self.updates,
            "device": self.doors.with_device,
            "prepare": self.doors.prepare_ns,
            "enable": self.doors.enable_ns,
        }

    def most_operators(self, events: int) -> int:
        """Return how many operators a window may record so that ending it stays within the stall
        and the memory.
        """
        allowed = (
            float(events)
            if self.doors.free
            else GIL_MARGIN * self.wanted["stall"] / GIL_S_PER_OPERATOR
        )
        return int(min(events, allowed)) // (RECORDS_PER_OPERATOR if self.doors.with_device else 1)

    def await_end(self, at: int, events: int) -> None:
        """Wait for the steps asked for, the time limit, or the number of operators that can be
        afforded.
        """
        first, began = self.doors.operators(), time.monotonic()
        most, lasts_s = self.most_operators(events), float(self.wanted["seconds"])
        if first is None:
            lasts_s = min(lasts_s, FIXED_S if self.doors.free else GIL_FIXED_S)
        self.bell.acquire(False)
        if at:
            self.awaited = at + 2 + self.wanted["steps"]
        else:
            self.left = self.wanted["steps"] + 1
        if 0 < self.awaited <= self.updates:
            return
        pause_s = SOONEST_LOOK_S
        while not self.hurried:
            passed_s = time.monotonic() - began
            if passed_s >= lasts_s or self.bell.acquire(True, min(pause_s, lasts_s - passed_s)):
                return
            if first is not None:
                seen = self.doors.operators() - first
                if seen >= most:
                    return
                pause_s = next_look_s(seen, most, time.monotonic() - began)

    def make_quiet(self, state: int) -> str | None:
        """Take the callbacks out and wait until the session can be ended; return why it was not."""
        doors = self.doors
        if not doors.ours(state):
            return OVERTAKEN
        doors.stop_recording()
        self.settle()
        quiet = SHELF["quiesce"].no_thread_inside(LEFT_S, self.given_up)
        while quiet and self.cuda.captures and not self.given_up():
            time.sleep(0.01)
        if not doors.claim():
            return GAVE_WAY
        if not doors.ours(state):
            return OVERTAKEN
        if quiet and not self.too_slow():
            return None
        doors.abandon()
        if not quiet:
            self.refusal = NOT_QUIET
        return self.refusal or GAVE_WAY

    def given_up(self) -> bool:
        """Return whether a thread of the program has dropped the window."""
        return not self.doors.owners

    def too_slow(self) -> bool:
        """Return whether ending the window would take longer than the program's profiler should
        wait.
        """
        operators = self.doors.operators()
        return (
            self.hurried
            and operators is not None
            and operators - self.sessions.operators() > HURRIED_OPERATORS
        )

    def settle(self) -> None:
        """Wait until the steps that were under way are over, and with them what they opened."""
        limit_s = SETTLE_S if self.marks else SETTLE_IDLE_S
        enough, until = len(self.marks) + SETTLE_MARKS, time.monotonic() + limit_s
        while len(self.marks) < enough and not self.hurried and time.monotonic() < until:
            time.sleep(SOONEST_LOOK_S)

    def stall_ns(self, end: int, calm: int, last: int) -> int | None:
        """The longest step in which the window was being ended, less the middle one within it; None
        without steps.

        Where the GIL was held meanwhile, at most so long, and so long where there are no steps.
        """
        held = None if self.doors.free else last - calm
        marks = [*self.marks, last]
        gaps = [(after, after - before) for before, after in itertools.pairwise(marks)]
        ending = [gap for after, gap in gaps if after > end]
        within = sorted(gap for after, gap in gaps if after <= end)
        if (
            not ending
            or not within
            or (not self.updates and within[-1] > EVEN * within[len(within) // 2])
        ):
            return held
        longest = max(max(ending) - within[len(within) // 2], 0)
        return longest if held is None else min(longest, held)

    def leave(self) -> None:
        """Before the probe goes: end the window, or drop it. A forked child has only a copy of its
        callbacks.
        """
        if self.probe.pid != os.getpid():
            forget_in_child(self)
            return
        self.make_way()
        until = time.monotonic() + ENDING_S
        while self.running and time.monotonic() < until:
            self.hurry()
            time.sleep(0.01)
        while self.done:
            _, file = self.done.pop()
            if file >= 0:
                os.close(file)


def next_look_s(seen: int, most: int, passed_s: float) -> float:
    """Return when to look at the count again: after half of the time that the operators left would
    take.
    """
    if not seen:
        return SOONEST_LOOK_S
    return min(max(0.5 * (most - seen) * passed_s / seen, SOONEST_LOOK_S), LATEST_LOOK_S)

"""A short window of torch's own profiler: operators and kernels of every thread, asked for by the agent.

One window at a time, on a raw thread of its own (`torch_profiler_api` says how it is switched on and off). The trace goes into a
memory file that the agent is handed; no file of any directory is touched.

A profiler of the program's own goes first, always (`user_profiler`): none is started beside one that is on or getting ready,
and a window that is on ends before theirs begins. What cannot be known for sure means: no window.
"""

import itertools
import os
import sys
import time
from _thread import allocate_lock, start_new_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get("SHELF", {})  # the probe's modules by name; put here before this is run

NEVER = -1
TRIAL_S = 0.1
GIL_TRIAL_S = 0.02
"""Of a window that is ended with the GIL: at a million operators a second, far above what is seen, a third of a second."""
GIL_MARGIN = 0.6
"""What of the allowed stall is planned for, where the trial has shown how long ending one takes."""
BYTES_PER_EVENT = 400
ASK_AGAIN_S = 5.0
OURS_WAIT_S = 60.0
LEFT_S = 60.0
STEP_WAIT_S = 30.0
TELL_NS = 500_000_000
EVEN = 3
"""Calls of a server that come further apart than so many times the middle one are no steps: their gaps tell of no stall."""


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None) is not None:
        return
    windows = Windows(probe, torch)
    if windows.refusal is None:
        windows.theirs.watch()
        probe.optimizer_ended.append(windows.stepped)
        probe.forward_began.append(windows.called)
        probe.endings.append(windows.leave)
    probe.ticks.append(windows.tick)


def among_ranks() -> bool:
    """Is it one of several ranks, as far as it has said?"""
    ranks = sys.modules.get("torch.distributed")
    return bool(ranks is not None and ranks.is_available() and ranks.is_initialized())


class Windows:
    """The windows of one process. `refusal` says why there are none."""

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
        self.share = 0.0  # of a window's time: what ending one took under the GIL, or how many events a second it held
        self.on = self.running = self.hurried = False
        self.done: list[tuple[dict[str, Any], int]] = []
        self.several = among_ranks()
        try:
            self.doors = SHELF["torch_profiler_api"].doors(torch, self.wanted["stacks"])
            self.theirs = SHELF["user_profiler"].Theirs(probe, self.doors, lambda: self.on, self.hurry)
        except LookupError as reason:
            self.refusal = str(reason)

    # -- what the program's threads call: they count, ring a bell, or wait for ours to be gone before theirs begins

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

    # -- what our own thread does

    def tick(self, now_ns: int) -> None:
        """Begin a window that was asked for, once no other profiler is in the way; hand over one that is over."""
        line = self.probe.line
        if line is None:
            return
        self.several = self.several or among_ranks()  # a program that we came with has not said so yet
        if self.several and self.latest[0] and now_ns >= self.told_ns + TELL_NS:
            self.told_ns = now_ns
            self.probe.notes.put(dict(zip(("updates", "at"), self.latest, strict=True)))
        while self.done and line.hand_over(*self.done[0]):
            del self.done[0]
        if not line.asked or self.running:
            return
        self.asked_ns = self.asked_ns or now_ns
        reason = self.refusal or self.theirs.in_the_way()
        if reason is None:
            self.running, self.hurried, self.asked_ns = True, False, 0
            start_new_thread(self.take, (line.asked.pop(0),))
        elif self.refusal is not None or now_ns - self.asked_ns >= ASK_AGAIN_S * 1e9:
            self.asked_ns = 0
            del line.asked[0]
            self.done.append(({"refused": reason}, -1))

    def take(self, order: tuple[int, int]) -> None:
        """One window, on a thread of its own. Before the first a short trial tells what is to come."""
        note: dict[str, Any] = {"refused": "the window broke off"}
        file, trial = -1, None
        at, events = order
        try:
            if not self.share:
                trial, file = self.record(min(TRIAL_S if self.doors.free else GIL_TRIAL_S, self.wanted["seconds"]))
                note = trial
            enough = trial is not None and (file < 0 or (trial["whole"] and not at))
            limit_s = self.affordable_s(events)
            lasted_s = 0.0 if trial is None or file < 0 else (trial["end"] - trial["begin"]) / 1e9
            if not enough and not self.hurried and limit_s > lasted_s:
                if file >= 0:
                    os.close(file)
                    file = -1
                    self.done.append((note | {"trial": True}, -1))
                time.sleep(lasted_s)
                self.await_step(at)
                note, file = self.record(limit_s, at)
        except (RuntimeError, LookupError, OSError, TypeError, ValueError, AttributeError) as error:
            note = {"refused": f"torch's profiler failed: {error}".split("\n")[0]}
            if file >= 0:
                os.close(file)
                file = -1
            self.doors.tidy()
        finally:
            self.done.append((note, file))
            self.running = False

    def affordable_s(self, events: int) -> float:
        """How long a window may last: as asked, as long as its end stays within the stall and its events within memory."""
        asked_s = float(self.wanted["seconds"])
        if not self.share:
            return asked_s
        allowed = events if self.doors.free else GIL_MARGIN * self.wanted["stall"]
        return min(asked_s, float(allowed) / self.share)

    def await_step(self, at: int) -> None:
        """Until optimizer step number `at` has ended; given up after a while."""
        self.awaited, until = at, time.monotonic() + STEP_WAIT_S
        while self.updates < at and not self.hurried and time.monotonic() < until:
            self.bell.acquire(True, 1.0)

    def record(self, limit_s: float, at: int = 0) -> tuple[dict[str, Any], int]:
        """Switch on, wait for the steps or the limit, switch off, save. (what to say of it, the memory file or -1).

        With `at` it ends with a step of a number that is the same in all ranks, however long switching on takes in each.
        """
        doors = self.doors
        clock = {"mono": time.monotonic_ns(), "real": time.time_ns()}
        self.left = self.awaited = NEVER
        self.on = True  # before the look: whoever begins after it waits for us
        try:
            reason = self.theirs.in_the_way()
            if reason is not None:
                return {"refused": reason}, -1
            state = doors.start()
            begin, self.marks = time.monotonic_ns(), []
            self.bell.acquire(False)
            if at:
                self.awaited = at + 2 + self.wanted["steps"]
            else:
                self.left = self.wanted["steps"] + 1
            if not self.hurried and not 0 < self.awaited <= self.updates:
                self.bell.acquire(True, limit_s)
            marks, end = list(self.marks), time.monotonic_ns()
            if not doors.ours(state):
                doors.tidy()
                return {"refused": "another profiler took the window's place"}, -1
            doors.stop_recording(state)
            if not SHELF["quiesce"].no_thread_inside(LEFT_S):
                self.refusal = "a window could not be ended safely: its threads got no core for a minute"
                raise LookupError(self.refusal)
            if not doors.ours(state):
                doors.tidy()
                return {"refused": "another profiler took the window's place"}, -1
            calm = time.monotonic_ns()
            result = doors.end()
        finally:
            self.on = False
        off = time.monotonic_ns()
        file = os.memfd_create("perfscope", os.MFD_CLOEXEC)
        doors.save(result, file)
        del result
        doors.tidy()
        last, size = time.monotonic_ns(), os.fstat(file).st_size
        if not size:
            os.close(file)
            return {"refused": "torch's profiler gave no trace"}, -1
        self.share = (size / BYTES_PER_EVENT if doors.free else (last - calm) / 1e9) / max((end - begin) / 1e9, 1e-3)
        note = {**clock, "first": clock["mono"], "begin": begin, "end": end, "off": off}
        steps = max(len(marks) - 1, 0)
        note |= {"last": last, "steps": steps, "whole": steps >= self.wanted["steps"], "bytes": size}
        stall = self.stall_ns(end, calm, last)
        return note | {"hurried": self.hurried, "stall": stall, "gil": not doors.free, "updates": self.updates}, file

    def stall_ns(self, end: int, calm: int, last: int) -> int | None:
        """The longest step in which the window was being ended, less the middle one within it; None without steps.

        Where the GIL was held meanwhile, at most so long, and so long where there are no steps.
        """
        held = None if self.doors.free else last - calm
        marks = [*self.marks, last]
        gaps = [(after, after - before) for before, after in itertools.pairwise(marks)]
        ending = [gap for after, gap in gaps if after > end]
        within = sorted(gap for after, gap in gaps if after <= end)
        if not ending or not within or (not self.updates and within[-1] > EVEN * within[len(within) // 2]):
            return held
        longest = max(max(ending) - within[len(within) // 2], 0)
        return longest if held is None else min(longest, held)

    def leave(self) -> None:
        """Before the probe goes: end the window. In a forked child there is only a copy of its callbacks: forget those."""
        if self.probe.pid != os.getpid():
            if self.on:
                self.doors.forget()
            return
        until = time.monotonic() + OURS_WAIT_S
        while self.running and time.monotonic() < until:
            self.hurry()
            time.sleep(0.01)
        while self.done:
            _, file = self.done.pop()
            if file >= 0:
                os.close(file)

"""Short windows of torch's own profiler, with operators and kernels of every thread, at the request
of the agent.

A window runs on a raw thread of its own; `torch_profiler_api` starts and ends the profiler. The
trace is written into a memory file that is sent to the agent; no file is created in any directory.

A process gets one window, and another one only if that is known to be safe (`profiler_sessions`).
No window begins while CUDA is not ready for it (`cuda_state`). The program's own profiler takes
precedence (`user_profiler`): no window begins while it is on or prepared, and a window that is on
ends before it begins. Whenever something about the state is unknown, there is no window.
"""

import os
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

NEVER = -1
# How long a window lasts if the recorded operators cannot be counted while it is on.
FIXED_S = 0.1
GIL_FIXED_S = 0.02
# The share of the allowed stall that is planned for. Ending a window with the GIL took 17 to 30 us
# per operator.
GIL_MARGIN = 0.6
GIL_S_PER_OPERATOR = 20e-6
# With CUDA, each operator comes with about one runtime call and one kernel.
RECORDS_PER_OPERATOR = 3
SOONEST_CHECK_S = 0.005
LATEST_CHECK_S = 0.1
# After the callbacks are removed, this many steps let open operators and ranges close. Without
# steps a shorter time must do.
SETTLE_S = 1.0
SETTLE_STEPS = 2
SETTLE_IDLE_S = 0.1
# Ending a window with more operators takes over half a second. Such a window is dropped when the
# program's profiler waits for it.
HURRIED_OPERATORS = 25_000
ASK_AGAIN_S = 5.0
END_S = 1.0
ENDING_S = 60.0
QUIET_S = 60.0
STEP_WAIT_S = 30.0
REPORT_NS = 500_000_000
# A program that was seen to call modules, and does so no more, may have changed how it trains.
FORGET_CALLS_NS = 5_000_000_000
# Of one iteration: one for each parameter, where they step in backward.
MOST_OPTIMIZERS = 10_000
# Calls of a server are not regular steps if the longest gap between them is more than so many times
# the median. Such gaps do not show a stall.
EVEN = 3
OVERTAKEN = "another profiler replaced the window"
DROPPED = "the window was dropped: the program's own profiler began, or the program ended"
NOT_QUIET = (
    "the window was dropped: a thread of the program got no core for a minute, and may be inside"
    " the profiler"
)
NOT_IMPORTED = "torch is loaded, but the program has not imported it"
FAILED = "the window failed unexpectedly"
NO_TRACE = "torch's profiler returned no trace"


def install(probe: "InstalledProbe") -> None:
    """Prepare for windows, and watch what they depend on."""
    torch = sys.modules.get("torch")
    if MODULES["process_state"].in_worker():
        return
    if torch is None:
        probe.ticks.append(lambda now_ns: refuse_without_torch(probe))
        return
    recorder = WindowRecorder(probe, torch)
    if recorder.reason_for_none is None:
        recorder.user_profiler.watch()
        recorder.cuda.captures.watch(probe)
        probe.optimizer_ended.append(recorder.optimizer_stepped)
        probe.forward_began.append(recorder.forward_called)
        probe.endings.append(recorder.leave)
    probe.ticks.append(recorder.tick)


def refuse_without_torch(probe: "InstalledProbe") -> None:
    if probe.line is not None:
        probe.line.refuse_windows(NOT_IMPORTED)


def remove_window_in_child(recorder: "WindowRecorder") -> None:
    """Remove the copy of a window's callbacks from a forked child; may be called again."""
    if recorder.on and recorder.probe.pid != os.getpid():
        recorder.on = False
        recorder.api.drop_in_child()


def is_rank() -> bool:
    """Return whether this process has initialized torch.distributed."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available():
        return False
    return bool(distributed.is_initialized())


class WindowRecorder:
    """Records the windows of one process.

    `reason_for_none` says why the process gets no window at all, None if it may get one. Threads of
    the program count steps and wake the thread of the window; `on` is true from before the profiler
    starts until it is off.
    """

    def __init__(self, probe: "InstalledProbe", torch: Any) -> None:
        self.probe = probe
        self.settings: dict[str, Any] = probe.config["window"]
        self.reason_for_none: str | None = None
        self.wake_lock = allocate_lock()
        self.wake_lock.acquire()
        self.step_times: list[int] = []
        # Optimizer steps so far; the step that ends the current wait; how many times in
        # `step_times` end it.
        self.updates = self.awaited_update = self.awaited_times = 0
        self.last_update = (0, 0)
        # Module calls so far, how many when an update was counted, and the time of the last one.
        self.calls = self.called_ns = 0
        self.counted_calls = -1
        # The optimizers that stepped since the last update was counted.
        self.stepped: set[int] = set()
        self.asked_ns = self.reported_ns = 0
        self.on = self.running = self.hurried = False
        # Whether the device must still work off what was recorded, and the event after it.
        self.awaits_device = False
        self.last_work: Any = None
        # Notes that wait to be sent, with the trace or -1.
        self.finished: list[tuple[dict[str, Any], int]] = []
        self.is_rank = is_rank()
        self.timer = MODULES["device_times"].timer_of(probe)
        self.cuda = MODULES["cuda_state"].CudaState(probe, torch)
        try:
            api = MODULES["torch_profiler_api"].profiler_api(torch, self.settings["stacks"])
            self.api = api
            self.sessions = MODULES["profiler_sessions"].ProfilerSessions(api)
            self.user_profiler = MODULES["user_profiler"].UserProfiler(self)
        except LookupError as reason:
            self.reason_for_none = str(reason)

    # Called by threads of the program

    def optimizer_stepped(self, optimizer: int) -> None:
        """Count an update: an optimizer steps that has stepped since the last one.

        One iteration may have several optimizers: for each group of parameters, for each parameter
        in backward, or for each of its models. The first step after a module call counts, where
        such calls are seen.
        """
        calls, now_ns = self.calls, time.monotonic_ns()
        if self.counted_calls == calls and now_ns - self.called_ns < FORGET_CALLS_NS:
            return
        if optimizer not in self.stepped and len(self.stepped) < MOST_OPTIMIZERS:
            self.stepped.add(optimizer)
            return
        self.stepped = {optimizer}
        self.counted_calls = calls
        self.updates += 1
        if self.is_rank:
            self.last_update = (self.updates, now_ns)
        if self.running:
            self.add_step()

    def forward_called(self) -> None:
        """Count a top-level module call: the step of a program without an optimizer."""
        self.calls += 1
        self.called_ns = time.monotonic_ns()
        if self.running and not self.updates:
            self.add_step()

    def add_step(self) -> None:
        self.step_times.append(time.monotonic_ns())
        if self.awaits_device:
            self.follow_device()
        is_awaited = self.updates == self.awaited_update
        if is_awaited or len(self.step_times) == self.awaited_times:
            self.wake()

    def follow_device(self) -> None:
        """Record an event after the work that was recorded, and note when the device reaches it."""
        pool = self.timer.pool
        if pool is None or self.cuda.is_capturing:
            return
        if self.last_work is None:
            event = pool.take()
            self.last_work = None if event is None else (get_ident(), event)
            self.awaits_device = event is not None
        elif self.last_work[0] == get_ident() and pool.is_reached(self.last_work[1]):
            self.awaits_device = False
            pool.give_back(self.last_work[1])
            self.last_work = None

    def wake(self) -> None:
        """Wake the window's thread."""
        if self.wake_lock.locked():
            try:
                self.wake_lock.release()
            except RuntimeError:
                return  # another thread released it in between

    def hurry(self) -> None:
        self.hurried = True
        self.wake()

    def end_for_program(self) -> None:
        """End the window within a second, unsaved if necessary.

        Threads of the program call this and wait. It takes longer only while C++ code is starting
        or ending the session, which cannot be interrupted.
        """
        until = time.monotonic() + END_S
        while self.on and time.monotonic() < until:
            self.hurry()
            time.sleep(0.001)
        if self.on and self.api.claim():
            self.api.abandon()
            self.on = False
        until = time.monotonic() + ENDING_S
        while self.on and time.monotonic() < until:
            time.sleep(0.001)

    # Called by the probe's thread

    def tick(self, now_ns: int) -> None:
        """Send finished windows, and begin or refuse one that the agent has asked for."""
        line = self.probe.line
        if line is None:
            return
        self.report_updates(now_ns)
        while self.finished and line.send_with_file(*self.finished[0]):
            del self.finished[0]
        if not line.window_orders or self.running:
            return
        self.asked_ns = self.asked_ns or now_ns
        was_closed = bool(line.window_orders[0][2])
        never = self.reason_for_never(was_closed)
        not_now = None if never else self.reason_not_now()
        if never is None and not_now is None:
            self.running, self.hurried, self.asked_ns = True, False, 0
            record = self.probe.guard.guarded("window", self.record_one)
            start_new_thread(record, (line.window_orders.pop(0),))
        elif never is not None or now_ns - self.asked_ns >= ASK_AGAIN_S * 1e9:
            self.asked_ns = 0
            del line.window_orders[0]
            reason = self.reason_for_none
            reason = reason or self.user_profiler.refusal() or never or not_now
            note = refused_note(reason)
            note["for_good"] = never is not None
            note["later"] = never is None and not_now == self.cuda.not_yet()
            self.finished.append((note, -1))

    def report_updates(self, now_ns: int) -> None:
        """Send the number of optimizer steps, if this process is one of several ranks."""
        self.is_rank = self.is_rank or is_rank()  # a program that just started becomes one later
        count, ended_ns = self.last_update
        if self.is_rank and count and now_ns >= self.reported_ns + REPORT_NS:
            self.reported_ns = now_ns
            note = {"note": "updates", "count": count, "ended_ns": ended_ns}
            self.probe.notes.put(note)

    def reason_for_never(self, was_closed: bool) -> "str | None":
        """Return why this process gets no window any more, None if it may get one.

        was_closed: nothing was open at the end of the last window.
        """
        reason: str | None = self.reason_for_none or self.cuda.refusal()
        return reason or self.sessions.refusal(was_closed)

    def reason_not_now(self) -> "str | None":
        """Return why no window can begin at this moment, None if it can."""
        reason: str | None = self.user_profiler.refusal() or self.cuda.not_yet()
        return reason

    # Called by the window's thread

    def record_one(self, order: "tuple[int, int, int]") -> None:
        """Record one window as ordered."""
        note, file = refused_note(FAILED), -1
        try:
            if order[0]:
                self.wait_for_update(order[0])
            note, file = self.record(*order)
        except (RuntimeError, LookupError, OSError, TypeError, ValueError, AttributeError) as error:
            note = refused_note(f"torch's profiler failed: {error}".split("\n")[0])
            if self.api.claim():
                self.api.abandon()
            self.api.restore_process()
        finally:
            self.on = False
            self.finished.append((note, file))
            self.running = False

    def wait_for_update(self, number: int) -> None:
        """Wait until optimizer step `number` has ended, for STEP_WAIT_S at most."""
        self.awaited_update, until = number, time.monotonic() + STEP_WAIT_S
        while self.updates < number and not self.hurried and time.monotonic() < until:
            self.wake_lock.acquire(True, 1.0)

    def record(self, update: int, events: int, closed: int) -> "tuple[dict[str, Any], int]":
        """Start the profiler, wait for the steps or a limit, end it, and save the trace.

        Returns the note, and the memory file or -1. With `update`, the window ends after a step
        whose number is the same in all ranks, however long the start takes in each.
        """
        api = self.api
        clock = {"mono": time.monotonic_ns(), "real": time.time_ns()}
        self.awaited_times = self.awaited_update = NEVER
        # Set before the check: a profiler of the program that begins after it waits for us.
        self.on = True
        try:
            reason = self.reason_for_never(bool(closed)) or self.reason_not_now()
            if reason is not None:
                return refused_note(reason), -1
            state = api.start()
            self.sessions.window_began()
            begin, self.step_times = time.monotonic_ns(), []
            self.wait_for_end(update, events)
            step_times, end = list(self.step_times), time.monotonic_ns()
            reason = self.make_quiet(state)
            if reason is not None:
                api.restore_process()
                return refused_note(reason), -1
            quiet = time.monotonic_ns()
            result = api.end()
            self.sessions.window_ended()
        finally:
            self.on = False
        off = time.monotonic_ns()
        file = self.saved(result)
        del result
        last = time.monotonic_ns()
        if file < 0:
            return refused_note(NO_TRACE), -1
        self.sessions.window_was_saved()
        times = {**clock, "first": clock["mono"], "begin": begin, "end": end, "off": off}
        facts = self.facts(step_times, file)
        stall = self.stall_ns(end, quiet, last)
        return {"note": "window", **times, "last": last, **facts, "stall": stall}, file

    def saved(self, result: Any) -> int:
        """Return a memory file with the trace, -1 if it is empty."""
        file = os.memfd_create("perfscope", os.MFD_CLOEXEC)
        self.api.save(result, file)
        self.api.restore_process()
        if not os.fstat(file).st_size:
            os.close(file)
            return -1
        return file

    def facts(self, step_times: "list[int]", file: int) -> "dict[str, Any]":
        """Return what a window contains, and how it was recorded."""
        steps = max(len(step_times) - 1, 0)
        return {
            "steps": steps,
            "whole": steps >= self.settings["steps"],
            "bytes": os.fstat(file).st_size,
            "hurried": self.hurried,
            "gil": not self.api.free,
            "updates": self.updates,
            "device": self.api.with_device,
            "prepare": self.api.prepare_ns,
            "enable": self.api.enable_ns,
        }

    def most_operators(self, events: int) -> int:
        """Return how many operators a window may record.

        The limits are memory (`events`), and the time that ending it may stall the program.
        """
        allowed = float(events)
        if not self.api.free:
            allowed = min(allowed, GIL_MARGIN * self.settings["stall"] / GIL_S_PER_OPERATOR)
        return int(allowed) // (RECORDS_PER_OPERATOR if self.api.with_device else 1)

    def wait_for_end(self, update: int, events: int) -> None:
        """Wait for the requested steps, the time limit, or the largest number of operators."""
        first, began = self.api.operators(), time.monotonic()
        most, lasts_s = self.most_operators(events), float(self.settings["seconds"])
        if first is None:
            lasts_s = min(lasts_s, FIXED_S if self.api.free else GIL_FIXED_S)
        self.wake_lock.acquire(False)
        if update:
            self.awaited_update = update + 2 + self.settings["steps"]
        else:
            self.awaited_times = self.settings["steps"] + 1
        if 0 < self.awaited_update <= self.updates:
            return
        pause_s = SOONEST_CHECK_S
        while not self.hurried:
            left_s = lasts_s - (time.monotonic() - began)
            if left_s <= 0 or self.wake_lock.acquire(True, min(pause_s, left_s)):
                return
            if first is not None:
                recorded = self.api.operators() - first
                if recorded >= most:
                    return
                pause_s = next_check_s(recorded, most, time.monotonic() - began)

    def make_quiet(self, state: int) -> "str | None":
        """Remove the callbacks and wait until the session can be ended; return why it cannot."""
        api = self.api
        if not api.is_on(state):
            return OVERTAKEN
        api.stop_recording()
        self.settle()
        is_quiet = MODULES["quiesce"].wait_until_no_thread_is_inside(QUIET_S, self.was_dropped)
        while is_quiet and self.cuda.is_capturing and not self.was_dropped():
            time.sleep(0.01)
        if not api.claim():
            return DROPPED
        if not api.is_on(state):
            return OVERTAKEN
        if is_quiet and not self.is_too_slow():
            return None
        api.abandon()
        if not is_quiet:
            self.reason_for_none = NOT_QUIET
        return self.reason_for_none or DROPPED

    def was_dropped(self) -> bool:
        """Return whether a thread of the program has dropped the window."""
        return not self.api.owners

    def is_too_slow(self) -> bool:
        """Return whether the program's profiler would wait too long for the window to end."""
        operators = self.api.operators()
        if not self.hurried or operators is None:
            return False
        return bool(operators - self.sessions.operators() > HURRIED_OPERATORS)

    def settle(self) -> None:
        """Wait until the steps that were under way are over, and what they opened is closed.

        A device is behind the host: its kernels that still run when the session ends are lost.
        """
        limit_s = SETTLE_S if self.step_times else SETTLE_IDLE_S
        enough, until = len(self.step_times) + SETTLE_STEPS, time.monotonic() + limit_s
        self.last_work, self.awaits_device = None, self.timer.pool is not None
        while time.monotonic() < until and not self.hurried:
            if len(self.step_times) >= enough and not self.awaits_device:
                break
            time.sleep(SOONEST_CHECK_S)
        self.awaits_device = False

    def stall_ns(self, end: int, quiet: int, last: int) -> "int | None":
        """Return by how much ending the window delayed a step, None if unknown.

        This is the longest step after `end`, less the median step before. If the GIL was held, it
        is at most that time, and exactly that time if there are no regular steps.
        """
        held = None if self.api.free else last - quiet
        times = [*self.step_times, last]
        pairs = zip(times, times[1:])  # noqa: B905, RUF007  runs on 3.8
        gaps = [(after, after - before) for before, after in pairs]
        ending = [gap for after, gap in gaps if after > end]
        within = sorted(gap for after, gap in gaps if after <= end)
        if not ending or not within:
            return held
        median = within[len(within) // 2]
        if not self.updates and within[-1] > EVEN * median:
            return held
        longest = max(max(ending) - median, 0)
        return longest if held is None else min(longest, held)

    # Called when the probe leaves

    def leave(self) -> None:
        """End the window, or drop it; in a forked child remove the copy of its callbacks."""
        if self.probe.pid != os.getpid():
            remove_window_in_child(self)
            return
        self.end_for_program()
        until = time.monotonic() + ENDING_S
        while self.running and time.monotonic() < until:
            self.hurry()
            time.sleep(0.01)
        while self.finished:
            _, file = self.finished.pop()
            if file >= 0:
                os.close(file)


def refused_note(reason: "str | None") -> "dict[str, Any]":
    """Return the note that says why there is no window."""
    return {"note": "window-refused", "reason": str(reason)}


def next_check_s(recorded: int, most: int, passed_s: float) -> float:
    """Return when to count operators again: after half the time that the remaining ones need."""
    if not recorded:
        return SOONEST_CHECK_S
    needed_s = 0.5 * (most - recorded) * passed_s / recorded
    return min(max(needed_s, SOONEST_CHECK_S), LATEST_CHECK_S)

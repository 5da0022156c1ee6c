"""The recording of `attach`: how it goes is shown on stderr, and signals end it in good order."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import UnreadableRun

if TYPE_CHECKING:
    from perfscope.agent.recording.recorder import Progress, Recorder
    from perfscope.analyzer.diagnosis import Diagnosis
    from perfscope.traces.trace import Trace

DIAGNOSIS_EVERY_S = 5.0
Diagnose = Callable[[], "tuple[Trace, Diagnosis]"]


@contextmanager
def stopped_by_signals(recorder: "Recorder") -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and the end of the terminal end the recording in good order; a second
    signal interrupts at once.
    """

    def stop(number: int, frame: object) -> None:
        if recorder.asked_to_stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), signal.SIGINT)
        recorder.ask_to_stop()

    ending = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # it is ignored under nohup
        ending.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in ending}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def record_with_progress(
    recorder: "Recorder", total_s: float | None, diagnose: Diagnose | None
) -> Path:
    """Record and show the progress on stderr; return where the run folder is.

    `total_s`: how long it takes at most. With `diagnose` the diagnosis so far is shown too.
    """
    from perfscope.ui.terminal.recording_view import LiveView

    with LiveView(sys.stderr, total_s=total_s) as view, ThreadPoolExecutor(1) as worker:
        diagnoses = PeriodicDiagnosis(diagnose, worker) if diagnose is not None else None

        def tick(progress: "Progress") -> None:
            view.progress(progress)
            newest = diagnoses.poll(progress.elapsed_s) if diagnoses is not None else None
            if newest is not None:
                trace, diagnosis = newest
                view.diagnosis(diagnosis, trace)

        return recorder.record(tick)


class PeriodicDiagnosis:
    """The diagnosis of a growing run folder, made every few seconds on another thread: a probe
    leaves an agent that is silent for seconds.
    """

    def __init__(self, diagnose: Diagnose, worker: ThreadPoolExecutor) -> None:
        self.diagnose, self.worker = diagnose, worker
        self.begun_s = 0.0
        self.pending: Future[tuple[Trace, Diagnosis]] | None = None

    def poll(self, elapsed_s: float) -> "tuple[Trace, Diagnosis] | None":
        """Return a new diagnosis once, None while there is none."""
        if self.pending is None:
            if elapsed_s - self.begun_s >= DIAGNOSIS_EVERY_S:
                self.begun_s = elapsed_s
                self.pending = self.worker.submit(self.diagnose)
            return None
        if not self.pending.done():
            return None
        done, self.pending = self.pending, None
        try:
            return done.result()
        except UnreadableRun:  # it was moved or deleted; the recorder reports that at its end
            return None

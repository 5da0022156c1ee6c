"""Which line of the program takes more time in some steps than in others, by stack samples."""

import math
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from perfscope.analyzer.budget.observed_budget import main_thread_stacks
from perfscope.analyzer.diagnosis import CodeLocation, Interval
from perfscope.analyzer.run.stacks.program_frames import file_of_main_module
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.intervals import Spans, inside
from perfscope.traces.trace import Trace

MODULE_FILE: Final = "torch/nn/modules/module.py"
ENGINE_FILE: Final = "torch/autograd/graph.py"
LEAST_ERRORS: Final = 1.64
"""Standard errors above zero from which the difference of a line is not chance (one-sided 95 %)."""


@dataclass(frozen=True)
class StepGroup:
    """Steps that are compared with others: their time, and the mean of one, in ns."""

    spans: Spans
    step_ns: float


@dataclass(frozen=True)
class LineContrast:
    """A line of the program, with its callees, in two groups of steps.

    `less_ns` and `more_ns` are its time per step in each, `error_ns` is the standard error of their
    difference. `depth` is the number of the program's frames above it,
    `more_samples` counts those in the slower group.
    """

    frame: Frame
    less_ns: float
    more_ns: float
    error_ns: float
    depth: float
    samples: int
    more_samples: int
    is_hook: bool

    @property
    def difference_ns(self) -> float:
        """How much longer it takes in the slower group, per step."""
        return self.more_ns - self.less_ns

    @property
    def is_certain(self) -> bool:
        """Whether the difference is more than chance."""
        return self.difference_ns > LEAST_ERRORS * self.error_ns


@dataclass
class FrameCount:
    """The samples with one frame of the program in them."""

    samples: int = 0
    depths: int = 0
    hooks: int = 0

    def add(self, depth: int, count: int, *, is_hook: bool) -> None:
        """Account for `count` samples with the frame below so many of the program's frames."""
        self.samples += count
        self.depths += depth * count
        self.hooks += count if is_hook else 0


def main_thread_samples(trace: Trace, process: int, tid: int) -> pd.DataFrame:
    """Return the samples of a thread from outside, which have no bias; else the probe's."""
    outside = main_thread_stacks(trace, process, tid, "outside_stacks")
    return outside if len(outside) else main_thread_stacks(trace, process, tid)


def rows_with_exact_times(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the samples from outside that differ from the one before, in order of time.

    Of equal ones in a row only the first has the instant at which it was taken.
    """
    ordered = samples.sort_values("ts", kind="stable")
    stacks = ordered["stack"].astype(str)
    return ordered[stacks.ne(stacks.shift())]


def responsible_line(
    samples: pd.DataFrame, less: StepGroup, more: StepGroup, least_share: float
) -> LineContrast | None:
    """Return the innermost line that explains `least_share` of what the slower steps take more.

    None where no line does, where the difference may be chance, or with too few samples.
    """
    least_ns = least_share * (more.step_ns - less.step_ns)
    found = [
        line
        for line in line_contrasts(samples, less, more)
        if line.difference_ns >= least_ns and line.is_certain and line.samples >= FEWEST_SAMPLES
    ]
    return max(found, key=lambda line: (line.depth, line.difference_ns), default=None)


def line_contrasts(samples: pd.DataFrame, less: StepGroup, more: StepGroup) -> list[LineContrast]:
    """Return every line of the program that was sampled in the slower steps."""
    if not len(samples):
        return []
    ts = column(samples, "ts")
    in_less, in_more = (samples[inside(group.spans, ts)]["stack"] for group in (less, more))
    before, after = counts_by_frame(in_less), counts_by_frame(in_more)
    contrasts = []
    for frame, count in after.items():
        earlier = before.get(frame, FrameCount())
        less_ns, less_error = time_per_step(earlier.samples, len(in_less), less.step_ns)
        more_ns, more_error = time_per_step(count.samples, len(in_more), more.step_ns)
        all_samples = count.samples + earlier.samples
        contrasts.append(
            LineContrast(
                frame=frame,
                less_ns=less_ns,
                more_ns=more_ns,
                error_ns=math.hypot(less_error, more_error),
                depth=(count.depths + earlier.depths) / all_samples,
                samples=all_samples,
                more_samples=count.samples,
                is_hook=2 * (count.hooks + earlier.hooks) > all_samples,
            )
        )
    return contrasts


def time_per_step(samples: int, of_samples: int, step_ns: float) -> tuple[float, float]:
    """Return the time of a line per step and its standard error, in ns.

    The share of samples is taken a half sample away from 0 and 1, where its error would be zero.
    """
    if not of_samples:
        return 0.0, step_ns
    share = samples / of_samples
    safe = (samples + 0.5) / (of_samples + 1.0)
    return share * step_ns, math.sqrt(safe * (1.0 - safe) / of_samples) * step_ns


def counts_by_frame(stacks: "pd.Series[str]") -> dict[Frame, FrameCount]:
    """Return the samples with each of the program's frames; a frame counts once per sample."""
    counts: dict[Frame, FrameCount] = {}
    for text, count in stacks.astype(str).value_counts().items():
        for depth, (frame, is_hook) in enumerate(frames_with_hooks(str(text)).items()):
            counts.setdefault(frame, FrameCount()).add(depth, int(count), is_hook=is_hook)
    return counts


def frames_with_hooks(stack: str) -> dict[Frame, bool]:
    """Return the program's frames in a stack, outermost first, and which of them are hooks.

    A hook is what torch calls around a module's `forward`, or for a gradient.
    """
    frames = [parse_frame(label) for label in stack.split(";")]
    begun = file_of_main_module(frames)
    found: dict[Frame, bool] = {}
    for caller, frame in zip([Frame("", "", 0), *frames], frames, strict=False):
        if frame.is_of_program or frame.file == begun:
            found[frame] = is_called_as_hook(caller, frame)
    return found


def is_called_as_hook(caller: Frame, frame: Frame) -> bool:
    """Return whether torch calls the program's function as a hook."""
    if caller.file == MODULE_FILE:
        return frame.function.rpartition(".")[2] != "forward"
    return caller.file == ENGINE_FILE


def locate_line(
    line: LineContrast, samples: pd.DataFrame, process: int, within: Spans
) -> CodeLocation:
    """Return the place of a line, with its share of the samples within the steps."""
    stacks = samples[inside(within, column(samples, "ts"))]["stack"]
    count = counts_by_frame(stacks).get(line.frame, FrameCount()).samples
    share = count / max(len(stacks), 1)
    low, high = share_interval(share, max(len(stacks), 1))
    frame = replace(line.frame, file=line.frame.file.removeprefix("./"))
    interval = Interval(low, share, high)
    return CodeLocation(frame.function, frame.file, frame.line, None, process, interval)

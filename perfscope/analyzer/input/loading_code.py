"""The code that loads batches: stack samples inside fetches, by stage and by the program's line.

The fetches are those of the rank's workers, or of its own loop where it has none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.observed_budget import (
    LOADER_FILE,
    main_thread_id,
    main_thread_stacks,
)
from perfscope.analyzer.diagnosis import CodeLocation, Interval
from perfscope.analyzer.input.input_pipeline import child_processes
from perfscope.analyzer.input.loading_stages import (
    DECODE,
    JPEG,
    LOCK,
    PER_CALL_FILES,
    frames_below_fetch,
    frames_of_start,
    is_decoder,
    stage_of,
)
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.frames import Frame
from perfscope.traces.intervals import Spans, inside
from perfscope.traces.trace import Trace

LEAST_SHARE_OF_LINE = 0.1
"""A line is named where it has at least this share of the samples, with 95 % confidence."""
SAMPLER_FILES = ("torch/utils/data/sampler.py", "torch/utils/data/distributed.py")
ASKS_SAMPLER = ("_next_index (", "_reset (", "__init__ (")
"""Functions of torch's loader that call the sampler."""


@dataclass(frozen=True)
class FetchStack:
    """The frames of a stack below torch's fetcher, outermost first, and the stage they show."""

    frames: tuple[Frame, ...]
    stage: str

    @property
    def line(self) -> Frame | None:
        """The innermost frame of the program's own code."""
        own_frames = [frame for frame in self.frames if frame.is_of_program]
        return own_frames[-1] if own_frames else None

    @property
    def is_call_overhead(self) -> bool:
        """Whether the innermost frame is the dataset's own code, or indexes or stacks data."""
        if not self.frames:
            return True
        innermost = self.frames[-1]
        return innermost.is_of_program or innermost.file.startswith(PER_CALL_FILES)

    @property
    def program_functions(self) -> int:
        """The number of the program's functions, without comprehensions and lambdas."""
        names = [frame.function for frame in self.frames if frame.is_of_program]
        return sum(not name.endswith(">") for name in names)

    @property
    def takes_whole_batches(self) -> bool:
        """Whether the dataset is asked for whole batches, not for sample after sample."""
        names = {frame.function.rsplit(".", 1)[-1] for frame in self.frames}
        return bool(names & {"__getitems__", "default_convert"})

    @property
    def is_of_iterable(self) -> bool:
        """Whether the fetcher iterates over the dataset."""
        return bool(self.frames) and self.frames[0].function.endswith(("__iter__", "__next__"))

    @property
    def names_jpeg(self) -> bool:
        """Whether a frame is that of a JPEG decoder."""
        return any(JPEG.search(f"{frame.function} {frame.file}") for frame in self.frames)


@dataclass(frozen=True)
class LoadingCode:
    """Stack samples inside the fetches of a rank, and native samples of the threads that load.

    `rows` has one row per stack sample: process, ts, weight_ns, and `which`, its number in
    `stacks`. `libraries` has the CPU time in each library as shares.
    """

    process: int
    rows: pd.DataFrame
    stacks: list[FetchStack]
    libraries: dict[str, float] = field(default_factory=dict)
    locked_share: float = 0.0
    """The share of thread states inside fetches that are in a system call of a lock."""

    @property
    def samples(self) -> int:
        """The number of stack samples."""
        return len(self.rows)

    @property
    def is_known(self) -> bool:
        """Whether there are enough samples for shares."""
        return self.samples >= FEWEST_SAMPLES

    def where(self, flags: list[bool]) -> NDArray[np.bool_]:
        """Return for each sample whether its stack is flagged."""
        return np.array(flags, bool)[column(self.rows, "which")]

    def share_of(self, flags: list[bool]) -> float:
        """Return the share of the time in the flagged stacks, 0 with too few samples."""
        if not self.is_known:
            return 0.0
        weights = self.rows["weight_ns"].to_numpy(np.float64)
        return float(weights[self.where(flags)].sum() / max(weights.sum(), 1.0))

    def stage_share(self, *stages: str) -> float:
        """Return the share of the time in these stages."""
        return self.share_of([stack.stage in stages for stack in self.stacks])

    @property
    def stage_shares(self) -> dict[str, float]:
        """The shares of all stages that were sampled, the largest first."""
        stages = {stack.stage for stack in self.stacks}
        shares = {stage: self.stage_share(stage) for stage in stages}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def decode_share(self) -> float:
        """The share of decoding: of the stack samples, or of the CPU time by native code."""
        native = sum(share for name, share in self.libraries.items() if is_decoder(name))
        return max(self.stage_share(DECODE), native)

    @property
    def lock_share(self) -> float:
        """The share of waits for a lock that processes share.

        A stack that ends at the program's own line may wait for a lock there, as the state of the
        thread shows; one that ends in a library waits for what the library does.
        """
        ends_in_program = self.share_of(
            [bool(stack.frames) and stack.frames[-1].is_of_program for stack in self.stacks]
        )
        return max(self.stage_share(LOCK), min(self.locked_share, ends_in_program))

    @property
    def decodes_jpeg(self) -> bool:
        """Whether a JPEG decoder was sampled."""
        native = any(JPEG.search(name) for name in self.libraries if is_decoder(name))
        return native or any(stack.names_jpeg for stack in self.stacks)

    @property
    def iterates(self) -> bool:
        """Whether the dataset is iterable: it yields samples in an order of its own."""
        return self.share_of([stack.is_of_iterable for stack in self.stacks]) > 0.5

    def within(self, spans: dict[int, Spans]) -> "LoadingCode":
        """Return the samples in these intervals of each process."""
        rows = samples_within(self.rows, spans)
        return self if rows is None else replace(self, rows=rows)

    def hottest_line(self, *stages: str) -> CodeLocation | None:
        """Return the program's line with the most time, in these stages (in all without any).

        Its share is that of all samples. None with too few samples, or without a clear line.
        """
        if not self.is_known:
            return None
        weights = self.rows["weight_ns"].to_numpy(np.float64)
        times: dict[Frame, float] = {}
        for number, weight in zip(column(self.rows, "which"), weights, strict=True):
            stack = self.stacks[number]
            line = stack.line
            if line is not None and (not stages or stack.stage in stages):
                times[line] = times.get(line, 0.0) + float(weight)
        line = max(times, key=lambda frame: times[frame], default=None)
        if line is None:
            return None
        share = times[line] / max(float(weights.sum()), 1.0)
        low, high = share_interval(share, self.samples)
        if low < LEAST_SHARE_OF_LINE:
            return None
        file = line.file.removeprefix("./")
        process = int(self.rows["process"].iloc[0])
        interval = Interval(low, share, max(high, share))
        return CodeLocation(line.function, file, line.line, None, process, interval)


def loading_code(
    trace: Trace, process: int, fetches: dict[int, Spans], *, in_workers: bool
) -> LoadingCode:
    """Return the samples of the threads that load batches for a rank.

    `fetches` has the time of the fetches by process.
    """
    processes = [process]
    if in_workers:
        processes = [code for code in fetches if code != process] or child_processes(trace, process)
    native = samples_of_processes(trace, "native_samples", processes)
    if in_workers:
        stacks = samples_of_processes(trace, "stacks", processes)
    else:
        stacks = unbiased_main_stacks(trace, process)
        native = samples_within(native, fetches)
    rows, fetch_stacks = rows_with_frames(stacks, frames_below_fetch)
    states = samples_within(samples_of_processes(trace, "thread_states", processes), fetches)
    locked = 0.0
    if states is not None and len(states) >= FEWEST_SAMPLES:
        locked = float((states["state"] == "lock").mean())
    return LoadingCode(process, rows, fetch_stacks, library_shares(native), locked)


def unbiased_code(trace: Trace, timed: LoadingCode) -> LoadingCode:
    """Return the samples of fetches that were taken from outside, else those of the probe.

    The probe samples all workers at exact times, but sees code more often that releases the GIL.
    """
    workers = child_processes(trace, timed.process)
    outside = samples_of_processes(trace, "outside_stacks", workers)
    rows, stacks = rows_with_frames(outside, frames_below_fetch)
    return replace(timed, rows=rows, stacks=stacks) if len(rows) >= FEWEST_SAMPLES else timed


def samples_within(rows: pd.DataFrame | None, spans: dict[int, Spans]) -> pd.DataFrame | None:
    """Return the rows in these intervals of their processes, None without a table."""
    if rows is None:
        return None
    kept = np.zeros(len(rows), bool)
    processes, ts = column(rows, "process"), column(rows, "ts")
    for process, intervals in spans.items():
        kept |= (processes == process) & inside(intervals, ts)
    return rows[kept]


def samples_of_processes(trace: Trace, name: str, processes: list[int]) -> pd.DataFrame | None:
    """Return the rows of these processes, None where the table is absent."""
    frame = table(trace, name)
    return None if frame is None else frame[frame["process"].isin(processes)]


def unbiased_main_stacks(trace: Trace, process: int) -> pd.DataFrame:
    """Return the main thread's stacks sampled from outside, else those of the probe."""
    tid = main_thread_id(trace, process)
    outside = main_thread_stacks(trace, process, tid, "outside_stacks")
    return outside if len(outside) else main_thread_stacks(trace, process, tid)


def rows_with_frames(
    stacks: pd.DataFrame | None, frames_in: Callable[[str], tuple[Frame, ...] | None]
) -> tuple[pd.DataFrame, list[FetchStack]]:
    """Return the samples in whose stack `frames_in` finds frames, and the stacks of the frames.

    The column `which` of the samples refers to the stacks.
    """
    if stacks is None or not len(stacks):
        empty = {name: np.empty(0, np.int64) for name in ("process", "ts", "weight_ns", "which")}
        return pd.DataFrame(empty), []
    texts, which = np.unique(stacks["stack"].astype(str).to_numpy(), return_inverse=True)
    frames_of_text = [frames_in(str(text)) for text in texts]
    in_fetch = np.array([frames is not None for frames in frames_of_text])[which]
    rows = stacks.loc[in_fetch, ["process", "ts", "weight_ns"]].assign(which=which[in_fetch])
    frames = [() if found is None else found for found in frames_of_text]
    return rows, [FetchStack(found, stage_of(found)) for found in frames]


def library_shares(native: pd.DataFrame | None) -> dict[str, float]:
    """Return the CPU time in each library as shares, empty with too few samples."""
    if native is None or len(native) < FEWEST_SAMPLES:
        return {}
    weights = native.groupby(native["library"].astype(str))["weight_ns"].sum()
    return {str(name): float(share) for name, share in (weights / weights.sum()).items()}


@dataclass(frozen=True)
class StartCode:
    """The program's code that new workers run before their first fetch."""

    share: float
    """Its share of the samples of new workers before their first fetch, 0 with too few of them."""
    line: CodeLocation | None


def start_code(trace: Trace, process: int, first_fetches: dict[int, int]) -> StartCode:
    """Return the program's code in the new workers of a rank before their first fetch.

    `first_fetches` has the time of the first fetch of each new worker process.
    """
    stacks = samples_of_processes(trace, "stacks", list(first_fetches))
    if stacks is None or len(stacks) < FEWEST_SAMPLES:
        return StartCode(0.0, None)
    before = column(stacks, "ts") < stacks["process"].map(first_fetches).to_numpy(np.int64)
    rows, found = rows_with_frames(stacks[before], frames_of_start)
    code = LoadingCode(process, rows, found)
    by_program = code.where([stack.line is not None for stack in found])
    if not len(rows):
        return StartCode(0.0, None)
    starting = replace(code, rows=rows[by_program])
    # A call that keeps the GIL is sampled once, when it ends: samples count, not their weight.
    share = float(by_program.mean()) if code.is_known else 0.0
    return StartCode(share, starting.hottest_line())


@dataclass(frozen=True)
class SamplerCode:
    """The loop's samples in its loader: how many, the share in the sampler, and its line there."""

    samples: int
    share: float
    line: CodeLocation | None


def sampler_code(trace: Trace, process: int) -> SamplerCode | None:
    """Return how much of the loop's time in its loader the sampler takes.

    None with too few samples in the loader.
    """
    stacks = unbiased_main_stacks(trace, process)
    if not len(stacks):
        return None
    in_loader = stacks[stacks["stack"].astype(str).str.contains(LOADER_FILE, regex=False)]
    if len(in_loader) < FEWEST_SAMPLES:
        return None
    texts = in_loader["stack"].astype(str)
    sampling = np.array([is_in_sampler(text) for text in texts])
    weights = in_loader["weight_ns"].to_numpy(np.float64)
    share = float(weights[sampling].sum() / max(weights.sum(), 1.0))
    return SamplerCode(len(in_loader), share, line_of_loop(process, texts[sampling], len(stacks)))


def is_in_sampler(stack: str) -> bool:
    """Return whether torch's loader asks the sampler for indices."""
    labels = stack.split(";")
    places = [number for number, label in enumerate(labels) if LOADER_FILE in label]
    if not places or places[-1] + 1 == len(labels) or frames_below_fetch(stack) is not None:
        return False
    asking, asked = labels[places[-1]], labels[places[-1] + 1]
    if not asking.startswith(ASKS_SAMPLER):
        return False
    is_iterator = asked.split(" (")[0].endswith(("__iter__", "__next__"))
    return is_iterator or any(file in asked for file in SAMPLER_FILES)


def line_of_loop(process: int, stacks: "pd.Series[str]", samples: int) -> CodeLocation | None:
    """Return the program's innermost line that most of these stacks have.

    Its share is that of all `samples` of the thread. None without a line, or with too few stacks.
    """
    lines = [line for text in stacks if (line := innermost_line(text)) is not None]
    if len(lines) < FEWEST_SAMPLES:
        return None
    line = max(set(lines), key=lines.count)
    share = lines.count(line) / samples
    low, high = share_interval(share, samples)
    interval = Interval(low, share, max(high, share))
    file = line.file.removeprefix("./")
    return CodeLocation(line.function, file, line.line, None, process, interval)


def innermost_line(stack: str) -> Frame | None:
    """Return the innermost frame of the program's own code in a stack."""
    frames = program_frames(stack)
    return frames[-1] if frames else None

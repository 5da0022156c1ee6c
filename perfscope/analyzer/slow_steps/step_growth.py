"""Whether the steps of the critical process take longer and longer, and what of them grows."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.budget.critical_rank import critical_rank
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.accelerators.counter_series import device_series, time_mean
from perfscope.analyzer.run.ranks.local_ranks import ranks_at_once
from perfscope.analyzer.run.resources.cumulative_counters import WHOLE, grown_in
from perfscope.analyzer.run.table_access import column, table, uses_device
from perfscope.analyzer.slow_steps.line_contrast import (
    LineContrast,
    StepGroup,
    main_thread_samples,
    responsible_line,
)
from perfscope.analyzer.slow_steps.step_series import PARTS, StepSeries, step_series
from perfscope.analyzer.slow_steps.step_trend import Trend, trend_of
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

CLOCK = "sm_clock_mhz"
THIRDS = 3
"""The first and the last third of the steps are compared: enough samples, far enough apart."""


@dataclass(frozen=True)
class StepSection:
    """The first or the last part of the steady steps; means per step, ns.

    `work_ns`, `parts` and `steps` are without the time in which the thread waits for a core.
    `cpu_ns` is the CPU time of the thread, `others_delay_ns` the time in which the other threads of
    its process wait for a core; None where they were not read.
    """

    steps: StepGroup
    begin_ns: int
    end_ns: int
    count: int
    work_ns: float
    parts: dict[str, float]
    cpu_ns: float | None
    others_delay_ns: float | None


@dataclass(frozen=True)
class StepGrowth:
    """Steps that take longer and longer by the program's own work."""

    series: StepSeries
    trend: Trend
    early: StepSection
    late: StepSection
    line: LineContrast
    operators: tuple[float, float] | None
    """Operators per step in the first and in the last profiling window."""

    @property
    def growth_ns(self) -> float:
        """How much longer a step of the last section takes than one of the first."""
        return self.late.work_ns - self.early.work_ns

    @property
    def excess_share(self) -> float:
        """What all steady steps take above the first of them, as a share of their time.

        Waits for a core are in neither: they make both longer.
        """
        ahead = self.series.number - self.series.number[0]
        excess_ns = float(np.sum(ahead * self.trend.slope))
        whole_ns = float(self.series.without_delay(self.series.dur_ns).sum())
        return excess_ns / max(whole_ns, 1.0)

    @property
    def lost_s(self) -> float:
        """What all steady steps take above the first of them, in seconds."""
        return self.excess_share * float(self.series.dur_ns.sum()) / 1e9

    def part_of_growth(self, name: str) -> float:
        """Return the share of the growth that is in a part of the step."""
        return (self.late.parts[name] - self.early.parts[name]) / max(self.growth_ns, 1.0)


def growth_of_steps(trace: Trace, limits: Limits) -> StepGrowth | None:
    """Return how the steps of the critical process grow, None where that is not certain."""
    process = critical_rank(trace, limits)
    series = None if process is None else step_series(trace, process)
    trend = None if series is None else trend_of(series.number, series.own_ns)
    if series is None or trend is None or not is_steady_growth(trend, limits):
        return None
    early, late = sections_of(trace, series)
    if not is_own_work(trace, early, late, limits) or is_everything_slower(series, trend, limits):
        return None
    samples = main_thread_samples(trace, series.process, series.tid)
    line = responsible_line(samples, early.steps, late.steps, limits.main_cause_share)
    if line is None:
        return None
    operators = operators_per_step(trace, series.process)
    return StepGrowth(series, trend, early, late, line, operators)


def is_steady_growth(trend: Trend, limits: Limits) -> bool:
    """Return whether steps grow by enough, throughout the recording."""
    if trend.low <= 0.0 or trend.growth < limits.step_growth * trend.first:
        return False
    ends = trend.rises[:2], trend.rises[-2:]
    rises_at_ends = all(sum(end) >= limits.section_growth_share * len(end) for end in ends)
    return rises_at_ends and trend.fits_better_than_jump


def sections_of(trace: Trace, series: StepSeries) -> tuple[StepSection, StepSection]:
    """Return the first and the last section of the steps."""
    first, *_, last = np.array_split(np.arange(len(series)), THIRDS)
    return section_of(trace, series, first), section_of(trace, series, last)


def section_of(trace: Trace, series: StepSeries, rows: Ints) -> StepSection:
    """Return the means of these steps."""
    chosen = np.zeros(len(series), bool)
    chosen[rows] = True
    spans = series.spans_where(chosen)

    def mean_growth(name: str, tid: int) -> float | None:
        grown = grown_in(trace, name, series.process, tid, spans)
        return None if grown is None else grown / len(rows)

    lasted_ns = series.end_ns - series.begin_ns - series.delay_ns
    delay_ns = mean_growth("run_delay_ns", series.tid)
    all_delay_ns = mean_growth("run_delay_ns", WHOLE)
    others_delay_ns = None
    if delay_ns is not None and all_delay_ns is not None:
        others_delay_ns = max(all_delay_ns - delay_ns, 0.0)
    return StepSection(
        steps=StepGroup(spans, float(np.maximum(lasted_ns[rows], 0).mean())),
        begin_ns=int(series.begin_ns[rows[0]]),
        end_ns=int(series.end_ns[rows[-1]]),
        count=len(rows),
        work_ns=float(series.own_ns[rows].mean()),
        parts={name: float(series.own_part_ns(name)[rows].mean()) for name in PARTS},
        cpu_ns=mean_growth("cpu_ns", series.tid),
        others_delay_ns=others_delay_ns,
    )


def is_own_work(trace: Trace, early: StepSection, late: StepSection, limits: Limits) -> bool:
    """Return whether the program does more, and its threads do not only wait longer for cores.

    A wait that grows is the program's own where no other rank and no device can cause it.
    """
    if early.cpu_ns is None or late.cpu_ns is None:
        return False
    growth_ns = late.work_ns - early.work_ns
    more_delay_ns = (late.others_delay_ns or 0.0) - (early.others_delay_ns or 0.0)
    if more_delay_ns > limits.delay_of_growth * growth_ns:
        return False
    if uses_device(trace) and not has_steady_clock(trace, early, late, limits):
        return False
    on_cpu = late.cpu_ns - early.cpu_ns >= limits.main_cause_share * growth_ns
    return on_cpu or (ranks_at_once(trace) < 2 and not uses_device(trace))


def has_steady_clock(trace: Trace, early: StepSection, late: StepSection, limits: Limits) -> bool:
    """Return whether the clocks of the devices are as high at the end; False where not read."""
    series = trace.fact(device_series)
    clocks = series[series["name"] == CLOCK]
    means = []
    for section in (early, late):
        ts = column(clocks, "ts")
        within = clocks[(ts >= section.begin_ns) & (ts <= section.end_ns)]
        means.append(time_mean(within))
    before, after = means
    if before is None or after is None:
        return False
    return after >= (1.0 - limits.clock_of_growth) * before


def is_everything_slower(series: StepSeries, trend: Trend, limits: Limits) -> bool:
    """Return whether all parts of the steps grow alike, as on a machine that becomes slower."""
    growths = []
    for name in PARTS:
        part = trend_of(series.number, series.parts[name], np.median)
        if part is not None and part.first >= limits.measurable_part_ns:
            growths.append(part.growth / part.first)
    if len(growths) < 2:
        return False
    return min(growths) >= limits.alike_growth * trend.growth / max(trend.first, 1.0)


def operators_per_step(trace: Trace, process: int) -> tuple[float, float] | None:
    """Return the operators per step in the first and the last profiling window.

    None with fewer than two windows of whole steps.
    """
    windows, ops = table(trace, "windows"), table(trace, "ops")
    if windows is None or ops is None:
        return None
    rows = windows[(windows["process"] == process) & windows["kept"] & (windows["steps"] > 0)]
    if len(rows) < 2:
        return None
    rows = rows.sort_values("begin")
    ts = np.sort(column(ops[ops["process"] == process], "ts"))
    counts = np.searchsorted(ts, column(rows, "end")) - np.searchsorted(ts, column(rows, "begin"))
    per_step = counts / column(rows, "steps")
    return float(per_step[0]), float(per_step[-1])

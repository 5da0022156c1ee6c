"""The metrics of the inference engines among the sampled processes, for `perfscope top`.

Each page is read by a child with the rights of the engine's user, once per second.
"""

from dataclasses import dataclass, field
from math import nan
from typing import Final

from perfscope.agent.engine_metrics.address import PageAddress
from perfscope.agent.engine_metrics.engine_process import find_engine, page_of
from perfscope.agent.engine_metrics.page_reader import PageReader, SeriesRow
from perfscope.agent.target_user.rights import TargetUser, user_of
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.engine_metrics.names import ENGINE, MetricName
from perfscope.traces.live_sample import RequestSample

MS_PER_S: Final = 1e3
Totals = dict[tuple[Meaning, str], float]
"""The sum over the series of a meaning, by the part of the metric."""


@dataclass
class WatchedEngine:
    """The page of one engine: the newest values, and the totals of the sample before."""

    reader: PageReader
    user: TargetUser
    engine: str = ""
    series: dict[int, SeriesRow] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    read_ns: int = 0
    before: Totals = field(default_factory=dict)
    before_ns: int = 0

    def read(self) -> None:
        """Take the readings that have arrived."""
        for row in self.reader.poll():
            if row.error:
                continue
            self.engine, self.read_ns = row.engine or self.engine, row.ts
            self.series |= {series.number: series for series in row.series}
            self.values |= dict(row.values)

    def totals(self) -> Totals:
        """Return the totals of the newest reading."""
        found: Totals = {}
        chosen = self.chosen_metrics()
        for number, value in self.values.items():
            series = self.series.get(number)
            metric = None if series is None else chosen.get(series.name)
            if series is None or metric is None or series.part == "bucket":
                continue
            scale = 1.0 if series.part == "count" else metric.scale
            key = (metric.meaning, series.part)
            found[key] = found.get(key, 0.0) + scale * value
        return found

    def chosen_metrics(self) -> dict[str, MetricName]:
        """Return the first metric of each meaning that the page has, by name."""
        names = {series.name for series in self.series.values()}
        engine = ENGINE.get(self.engine)
        chosen: dict[Meaning, MetricName] = {}
        for metric in () if engine is None else engine.metrics:
            if metric.name in names and not metric.label:
                chosen.setdefault(metric.meaning, metric)
        return {metric.name: metric for metric in chosen.values()}

    def sample(self) -> RequestSample | None:
        """Return the requests since the sample before, None before two readings."""
        self.read()
        totals, before = self.totals(), self.before
        span_s = (self.read_ns - self.before_ns) / 1e9
        if totals and span_s > 0:
            self.before, self.before_ns = totals, self.read_ns
        if not before or not totals or span_s <= 0:
            return None

        def grown(meaning: Meaning, part: str = "value") -> float:
            now = totals.get((meaning, part))
            return nan if now is None else now - before.get((meaning, part), 0.0)

        def mean_ms(*meanings: Meaning) -> float:
            for meaning in meanings:
                if grown(meaning, "count") > 0:
                    return MS_PER_S * grown(meaning, "sum") / grown(meaning, "count")
            return nan

        return RequestSample(
            engine=self.engine,
            per_s=grown(Meaning.FINISHED) / span_s,
            running=totals.get((Meaning.RUNNING, "value"), nan),
            waiting=totals.get((Meaning.WAITING, "value"), nan),
            ttft_ms=mean_ms(Meaning.TTFT),
            itl_ms=mean_ms(Meaning.ITL, Meaning.TOKEN_TIME),
        )


class LiveEngines:
    """The engines among the sampled processes, by the pid of their front end."""

    def __init__(self) -> None:
        self.checked: set[int] = set()
        self.watched: dict[int, WatchedEngine] = {}

    def update(self, pids: set[int]) -> None:
        """Begin to read the pages of new engines; end with those that are gone."""
        for pid in self.watched.keys() - pids:
            self.end(pid)
        self.checked &= pids
        for pid in pids - self.checked:
            self.checked.add(pid)
            self.begin(pid)

    def begin(self, pid: int) -> None:
        """Read the page of a process, if it is the front end of an engine that has one."""
        engine = find_engine(pid)
        page = page_of(engine) if engine is not None and engine.pid == pid else None
        if not isinstance(page, PageAddress):
            return
        try:
            user = user_of(pid)
        except OSError:  # it has ended
            return
        watched = WatchedEngine(PageReader(page, user), user)
        try:
            watched.reader.start()
        except OSError:
            user.close()
            return
        self.watched[pid] = watched

    def end(self, pid: int) -> None:
        """End the child that reads a page."""
        watched = self.watched.pop(pid)
        watched.reader.stop()
        watched.user.close()

    def sample(self, pid: int) -> RequestSample | None:
        """Return the requests of an engine, None for other processes."""
        watched = self.watched.get(pid)
        return None if watched is None else watched.sample()

    def close(self) -> None:
        """End all children."""
        for pid in tuple(self.watched):
            self.end(pid)

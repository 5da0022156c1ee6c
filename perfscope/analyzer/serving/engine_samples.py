"""The readings of one engine's metrics: gauges over time, growth of counters and histograms."""

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.serving.histograms import Histogram
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.engine_metrics.names import ENGINE, Engine, MetricName
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

RANK_LABELS: Final = ("tp_rank", "pp_rank", "moe_ep_rank")
"""Labels of ranks that work on the same requests: each of them reports all."""
HIGHEST_OF_SERIES: Final = (Meaning.KV_USAGE, Meaning.MAX_RUNNING, Meaning.IS_GRAPH)
"""Gauges of which the highest counts where an engine has several series; others are summed."""
MEAN_OF_SERIES: Final = (Meaning.PREFIX_HIT_SHARE, Meaning.ACCEPTED_SHARE, Meaning.DEVICE_BUSY)


@dataclass(frozen=True)
class EngineSamples:
    """The readings of one metrics page, in order of time.

    `rows` are those of `engine_metrics`; `settings` are options of the engine's command line by
    name, with the option and its value. `process` is that of the engine, -1 unknown.
    """

    engine: Engine
    server: int
    url: str
    process: int
    rows: pd.DataFrame
    settings: dict[str, tuple[str, str]] = field(default_factory=dict)
    other_names: tuple[str, ...] = ()

    @cached_property
    def times_ns(self) -> Ints:
        """When the page was read."""
        return np.unique(self.rows["ts"].to_numpy(np.int64))

    @property
    def readings(self) -> int:
        """How often the page was read."""
        return len(self.times_ns)

    @property
    def span_s(self) -> float:
        """The time from the first to the last reading, in seconds."""
        return float(self.times_ns[-1] - self.times_ns[0]) / 1e9 if self.readings else 0.0

    @cached_property
    def by_name(self) -> dict[str, pd.DataFrame]:
        """The rows of each metric."""
        groups = self.rows.groupby("name", observed=True, sort=False)
        return {str(name): rows for name, rows in groups}

    def metric(self, meaning: Meaning) -> MetricName | None:
        """Return the first metric of the engine with this meaning that the page has."""
        for metric in self.engine.metrics:
            if metric.meaning is meaning and metric.name in self.by_name:
                return metric
        return None

    def rows_of_meaning(self, meaning: Meaning) -> tuple[MetricName, pd.DataFrame] | None:
        """Return the metric with this meaning and its rows, None where the page has none."""
        metric = self.metric(meaning)
        if metric is None:
            return None
        rows = self.by_name[metric.name]
        if metric.label:
            labels = rows["labels"].map(lambda text: label(text, metric.label)).astype(object)
            rows = rows[labels.isin(metric.values).to_numpy(bool)]
        return metric, rows

    def gauge(self, meaning: Meaning) -> Floats | None:
        """Return the value of a gauge at each of `times_ns`, NaN where it was missing."""
        found = self.rows_of_meaning(meaning)
        if found is None:
            return None
        metric, rows = found
        by_time = rows.groupby("ts")["value"]
        if meaning in HIGHEST_OF_SERIES:
            values = by_time.max()
        elif meaning in MEAN_OF_SERIES:
            values = by_time.mean()
        else:
            values = by_time.sum()
        return values.reindex(self.times_ns).to_numpy(np.float64) * metric.scale

    def growth(self, meaning: Meaning) -> float | None:
        """Return by how much a counter grew in the recording, None where the page has none.

        Of a histogram it is the sum of the values.
        """
        found = self.rows_of_meaning(meaning)
        if found is None:
            return None
        metric, rows = found
        parts = set(rows["part"].unique())
        rows = rows[(rows["part"] == ("sum" if "sum" in parts else "value")).to_numpy(bool)]
        return metric.scale * sum(self.grown(series) for series in series_of_rows(rows))

    def growth_by_label(self, meaning: Meaning, name: str) -> dict[str, float]:
        """Return by how much a counter grew, for each value of a label."""
        found = self.rows_of_meaning(meaning)
        grown: dict[str, float] = {}
        if found is None:
            return grown
        metric, rows = found
        for series in series_of_rows(rows):
            value = label(str(series["labels"].iloc[0]), name) or ""
            grown[value] = grown.get(value, 0.0) + metric.scale * self.grown(series)
        return grown

    def count_growth(self, meaning: Meaning) -> float | None:
        """Return how many observations a histogram got, None where the page has none."""
        histogram = self.histogram(meaning)
        return None if histogram is None else histogram.count

    def mean_time(self, meaning: Meaning) -> float | None:
        """Return the mean of a histogram; of a counter of seconds that per finished request."""
        histogram = self.histogram(meaning)
        if histogram is not None:
            return histogram.mean
        grown, finished = self.growth(meaning), self.finished
        return grown / finished if grown is not None and finished else None

    def histogram(self, meaning: Meaning) -> Histogram | None:
        """Return the observations of a histogram in the recording, None where the page has none."""
        found = self.rows_of_meaning(meaning)
        if found is None:
            return None
        metric, rows = found
        buckets = rows[(rows["part"] == "bucket").to_numpy(bool)]
        if not len(buckets):
            return None
        grown: dict[float, float] = {}
        for bound in np.unique(buckets["le"].to_numpy(np.float64)).tolist():
            of_bound = buckets[(buckets["le"] == bound).to_numpy(bool)]
            grown[bound] = sum(self.grown(series) for series in series_of_rows(of_bound))
        bounds = np.array(sorted(grown), np.float64)
        reached = np.maximum.accumulate(np.array([grown[bound] for bound in bounds]))
        total = sum(
            self.grown(series)
            for series in series_of_rows(rows[(rows["part"] == "sum").to_numpy(bool)])
        )
        if not math.isinf(float(bounds[-1])):
            bounds, reached = np.append(bounds, math.inf), np.append(reached, reached[-1])
        return Histogram(bounds * metric.scale, np.diff(reached, prepend=0.0), total * metric.scale)

    def grown(self, series: pd.DataFrame) -> float:
        """Return by how much one series grew; a fall is a restart, after which it began at zero.

        A series that appears later begins at zero, too: engines create many with their first event.
        """
        values = series["value"].to_numpy(np.float64)
        began = int(series["ts"].iloc[0]) > int(self.times_ns[0])
        steps = np.diff(values, prepend=0.0 if began else values[0])
        return float(np.where(steps >= 0, steps, values).sum())

    @cached_property
    def finished(self) -> float | None:
        """How many requests finished in the recording, None unknown."""
        metric = self.metric(Meaning.FINISHED)
        if metric is not None:
            counted = self.growth(Meaning.FINISHED)
            if counted is not None:
                return counted
        for meaning in (Meaning.E2E, Meaning.QUEUE, Meaning.TTFT):
            counted = self.count_growth(meaning)
            if counted is not None:
                return counted
        return None

    def configuration(self) -> dict[str, str]:
        """Return the settings that the engine exports as labels."""
        found = self.rows_of_meaning(Meaning.CONFIGURATION)
        if found is None or not len(found[1]):
            return {}
        return labels_of(str(found[1]["labels"].iloc[-1]))

    def number_setting(self, name: str) -> float | None:
        """Return a number that the engine's command line sets, None where it does not."""
        _, value = self.settings.get(name, ("", ""))
        try:
            number = float(value)
        except ValueError:
            return None
        return number if math.isfinite(number) and number > 0 else None


def series_of_rows(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each series, in order of time."""
    if not len(rows):
        return []
    return [series for _, series in rows.groupby("labels", observed=True, sort=False)]


def labels_of(text: str) -> dict[str, str]:
    """Return the labels in a JSON object; none where it is damaged."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if type(found) is dict else {}


def label(text: str, name: str) -> str | None:
    """Return the value of a label, None where there is none."""
    return labels_of(text).get(name)


def engine_samples(trace: Trace) -> list[EngineSamples]:
    """Return the readings of every metrics page of a recording, those with two readings or more."""
    servers, metrics = table(trace, "engine_servers"), table(trace, "engine_metrics")
    if servers is None or metrics is None:
        return []
    settings = table(trace, "engine_settings")
    metrics = metrics[~of_other_rank(metrics["labels"])]
    groups = dict(list(metrics.groupby(["host", "server"], observed=True)))
    found = []
    for row in servers.sort_values(["host", "server"]).to_dict("records"):
        engine = ENGINE.get(str(row["engine"]))
        rows = groups.get((row["host"], row["server"]))
        if engine is None or rows is None:
            continue
        names = str(row["other_names"]).split() if row["other_names"] == row["other_names"] else []
        samples = EngineSamples(
            engine=engine,
            server=int(row["server"]),
            url=str(row["url"]),
            process=int(row["process"]),
            rows=rows,
            settings=settings_of(settings, row["host"], row["server"]),
            other_names=tuple(names),
        )
        if samples.readings > 1:
            found.append(samples)
    return found


def of_other_rank(labels: "pd.Series[str]") -> "np.typing.NDArray[np.bool_]":
    """Return which rows repeat what the first rank reports."""
    texts = labels.cat.categories
    others = [
        any(labels_of(str(text)).get(name, "0") not in ("0", "") for name in RANK_LABELS)
        for text in texts
    ]
    return np.array([*others, False], bool)[labels.cat.codes.to_numpy()]


def settings_of(
    settings: pd.DataFrame | None, host: object, server: object
) -> dict[str, tuple[str, str]]:
    """Return the options on a server's command line: the option and its value, by name."""
    if settings is None:
        return {}
    rows = settings[((settings["host"] == host) & (settings["server"] == server)).to_numpy(bool)]
    columns = (rows[name] for name in ("name", "flag", "value"))
    return {str(name): (str(flag), str(value)) for name, flag, value in zip(*columns, strict=True)}

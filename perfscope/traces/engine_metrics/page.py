"""Reads one metrics page (text format of Prometheus) of an inference engine.

Only the metrics of `names.ENGINES` are parsed. What a page contains is not trusted: its size, its
series and its labels are bounded, and what exceeds a bound is refused in one line.
"""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Final

from perfscope.errors import PerfscopeError
from perfscope.traces.engine_metrics.names import (
    ENGINE,
    ENGINES,
    Engine,
    engine_of_names,
    name_without_suffix,
)

MOST_PAGE_BYTES: Final = 8 << 20
"""A page of vLLM or SGLang has 30 to 300 KB, with hundreds of adapters or ranks a few MB."""
MOST_SERIES: Final = 20_000
MOST_LABELS: Final = 24
LONGEST_LINE: Final = 4096
LONGEST_LABEL: Final = 256
MOST_OTHER_NAMES: Final = 300
PARTS: Final = {"_bucket": "bucket", "_sum": "sum", "_count": "count"}
SAMPLE_NAME: Final = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,127}(?=[ \t{])")


class BadPage(PerfscopeError):
    """A page that cannot be read; the message says why."""


@dataclass(frozen=True)
class MetricSeries:
    """A series of a page. `part` is `value`, or of a histogram `bucket`, `sum` or `count`.

    `labels` is a JSON object without `le`, the upper bound of a bucket.
    """

    name: str
    part: str
    labels: str
    le: float = math.nan


@dataclass
class MetricsPage:
    """What a page of an engine contains: a value per series.

    `other_names` are metrics of the engine that are not in its table; they are not read.
    """

    engine: str
    samples: dict[MetricSeries, float] = field(default_factory=dict)
    other_names: list[str] = field(default_factory=list)
    damaged_lines: int = 0


def read_page(body: bytes, engine_id: str | None = None) -> MetricsPage:
    """Return the metrics of a page. Raises BadPage.

    With `engine_id` it must be from that engine, as at the first reading of an endpoint.
    """
    lines = lines_by_name(body)
    names = set(lines)
    engine = ENGINE[engine_id] if engine_id is not None else engine_of_names(names)
    if engine is None:
        known = ", ".join(each.label for each in ENGINES)
        raise BadPage(f"it has no metrics of an inference engine (known: {known})")
    page = MetricsPage(engine.id)
    wanted = {metric.name for metric in engine.metrics}
    samples = 0
    for name, rows in lines.items():
        family, part = family_and_part(name, wanted)
        if family is not None:
            samples += len(rows)
            if samples > MOST_SERIES:
                raise BadPage(f"it has more than {MOST_SERIES} series")
            read_samples(page, family, part, rows)
        elif name.startswith(engine.prefixes) and name_without_parts(name) not in wanted:
            page.other_names.append(name_without_parts(name))
    page.other_names = sorted(set(page.other_names))[:MOST_OTHER_NAMES]
    if not page.samples:
        raise BadPage(missing_text(engine, page))
    return page


def missing_text(engine: Engine, page: MetricsPage) -> str:
    """Return why a page of a known engine has nothing that can be used."""
    if page.damaged_lines:
        return f"its metrics of {engine.label} are damaged ({page.damaged_lines} lines)"
    return f"it has none of the {engine.label} metrics that perfscope knows"


def lines_by_name(body: bytes) -> dict[str, list[str]]:
    """Return the lines of samples by the name of the metric. Raises BadPage."""
    if len(body) > MOST_PAGE_BYTES:
        raise BadPage(f"the page is larger than {MOST_PAGE_BYTES >> 20} MB")
    text = body.decode("utf-8", "replace")
    if text and not text.endswith("\n"):
        raise BadPage("the page ends in the middle of a line")
    lines: dict[str, list[str]] = {}
    for line in text.split("\n"):
        found = SAMPLE_NAME.match(line)
        if found is not None:
            lines.setdefault(found[0], []).append(line)
    return lines


def family_and_part(name: str, wanted: set[str]) -> tuple[str | None, str]:
    """Return the metric of a table that a sample belongs to, None for another, and its part."""
    if name_without_suffix(name) in wanted:
        return name_without_suffix(name), "value"
    for suffix, part in PARTS.items():
        if name.endswith(suffix):
            # The name of a histogram may end in `_total`, as that of vLLM's step tokens does.
            family = name_without_suffix(name.removesuffix(suffix))
            if family in wanted:
                return family, part
    return None, ""


def name_without_parts(name: str) -> str:
    """Return the name of a metric, without what the parts of a histogram add."""
    for suffix in (*PARTS, "_created", "_total"):
        name = name.removesuffix(suffix)
    return name


def read_samples(page: MetricsPage, family: str, part: str, rows: list[str]) -> None:
    """Add the samples of one metric to a page."""
    from prometheus_client.parser import text_string_to_metric_families

    for row in rows:
        if len(row) > LONGEST_LINE or row.count("=") > MOST_LABELS * 2:
            page.damaged_lines += 1
            continue
        try:
            families = list(text_string_to_metric_families(row + "\n"))
            sample = families[0].samples[0]
            series = series_of(family, part, sample.labels)
            value = float(sample.value)
        except (ValueError, IndexError, KeyError, OverflowError):
            page.damaged_lines += 1
            continue
        if value < 0:  # nothing that is read counts or measures below zero
            page.damaged_lines += 1
            continue
        if not math.isfinite(value):
            continue
        page.samples[series] = value


def series_of(family: str, part: str, labels: dict[str, str]) -> MetricSeries:
    """Return the series with these labels.

    Raises KeyError for a bucket without a bound, ValueError for labels that are too long.
    """
    if len(labels) > MOST_LABELS or any(len(text) > LONGEST_LABEL for text in labels.values()):
        raise ValueError("labels out of bounds")
    others = {name: text for name, text in labels.items() if name != "le"}
    bound = float(labels["le"]) if part == "bucket" else math.nan
    if part == "bucket" and not bound > -math.inf:
        raise ValueError("a bucket has no bound")
    return MetricSeries(family, part, json.dumps(others, sort_keys=True, ensure_ascii=False), bound)

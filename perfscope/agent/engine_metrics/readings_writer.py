"""Writes the readings of metrics pages to a run folder.

The streams are "engine.servers", "engine.series", "engine.settings" and "engine.metrics".
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from perfscope.agent.engine_metrics.page_reader import PageReader, ReadingRow
from perfscope.traces.engine_metrics.page import MOST_SERIES
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import SourceStatus

NAME: Final = "engine-metrics"
LONGEST_OTHER_NAMES: Final = 8000


@dataclass
class WatchedPage:
    """A page that is read: its number, its reader, and the process of its engine (-1 unknown).

    `settings` are options of the engine's command line: (name, flag) and value.
    """

    server: int
    reader: PageReader
    process: int = -1
    settings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    is_described: bool = False
    readings: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    damaged_lines: int = 0
    """The most lines of a reading that could not be read."""

    @property
    def url(self) -> str:
        """The address of the page."""
        return self.reader.address.url


class ReadingsWriter:
    """Takes what the readers of pages have sent, and writes it."""

    def __init__(self, run: RunWriter, pages: list[WatchedPage]) -> None:
        self.run, self.pages = run, pages
        self.servers = run.jsonl("engine.servers", -1)
        self.series = run.jsonl("engine.series", -1)
        self.settings = run.jsonl("engine.settings", -1)
        self.metrics = run.jsonl("engine.metrics", -1)

    @property
    def readings(self) -> int:
        """How often the page that was read least has been read."""
        return min((page.readings for page in self.pages), default=0)

    def take(self) -> None:
        """Write the readings that have arrived."""
        for page in self.pages:
            for row in page.reader.poll():
                self.write(page, row)

    def write(self, page: WatchedPage, row: ReadingRow) -> None:
        """Write one reading, or count its error."""
        if row.error:
            page.errors[row.error] += 1
            page.last_error = row.error
            return
        page.readings += 1
        page.damaged_lines = max(page.damaged_lines, row.damaged_lines)
        if not page.is_described:
            self.describe(page, row)
        for new in row.series:
            self.series.append(
                {
                    "server": page.server,
                    "series": new.number,
                    "name": new.name,
                    "part": new.part,
                    "labels": new.labels,
                    "le": new.le,
                }
            )
        values = {str(number): value for number, value in row.values if 0 <= number < MOST_SERIES}
        ts = min(max(row.ts, self.run.manifest.zero_monotonic_ns), time.monotonic_ns())
        self.metrics.append({"ts": ts, "server": page.server, **values})

    def describe(self, page: WatchedPage, row: ReadingRow) -> None:
        """Write which engine and process a page belongs to, and the engine's settings."""
        page.is_described = True
        self.servers.append(
            {
                "server": page.server,
                "process": page.process,
                "engine": row.engine,
                "url": page.url,
                "other_names": " ".join(row.other_names)[:LONGEST_OTHER_NAMES],
            }
        )
        for (name, flag), value in page.settings.items():
            self.settings.append(
                {"server": page.server, "name": name, "flag": flag, "value": value}
            )

    def stop(self) -> SourceStatus:
        """End the readers, write what they have sent, and return the status of this source."""
        self.take()
        for page in self.pages:
            page.reader.stop()
        return self.status()

    def status(self) -> SourceStatus:
        """Return how well the pages could be read."""
        reasons = [text for page in self.pages for text in problem_texts(page)]
        if not any(page.readings for page in self.pages):
            return SourceStatus(NAME, "unavailable", "; ".join(reasons) or "no page was read")
        return SourceStatus(NAME, "partial" if reasons else "ok", "; ".join(reasons) or None)


def problem_texts(page: WatchedPage) -> Iterator[str]:
    """Yield what could not be read of a page."""
    if page.errors or not page.readings:
        yield error_text(page)
    if page.damaged_lines:
        yield f"{page.url}: lines of its metrics that cannot be read: {page.damaged_lines}"


def error_text(page: WatchedPage) -> str:
    """Return how many readings of a page failed, and why most of them did."""
    failed = page.errors.total()
    if not failed:
        return f"{page.url}: no answer before the recording ended"
    reason = page.errors.most_common(1)[0][0]
    if not page.readings:
        return f"{page.url}: {reason}"
    return f"{page.url}: {failed} of {failed + page.readings} readings failed: {reason}"

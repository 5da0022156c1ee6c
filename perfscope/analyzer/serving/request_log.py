"""The requests that the probe recorded, in the order of their arrival, with their latencies."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.bootstrap import Floats
from perfscope.analyzer.run.serving_processes import (
    CODE,
    GENERATE,
    HANDLER,
    answering_processes,
)
from perfscope.analyzer.run.table_access import column, rows_of, rows_with_name, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

NS_PER_MS: Final = 1e6
MOST_DISTORTED: Final = 0.1
"""A request is distorted by a profiling window that covers more than this share of its time: within
one, calls of a model take up to twice as long.
"""
BOUNDING_TABLES: Final = ("counting_blocks", "ranges")
"""Tables of the probe that show for how long it recorded a process in which requests are rare."""


@dataclass(frozen=True)
class RequestLog:
    """The requests of one process, from one source.

    `complete` are those that arrived and were answered within the recording, sorted by arrival;
    `is_distorted` says which of them a profiling window delayed: these have no latency. `gaps` are
    the times between output tokens. `partial` requests were under way when the recording began or
    ended, and are only counted. `begin_ns` and `end_ns` are the ends of the recording.
    """

    process: int
    source: str
    complete: pd.DataFrame
    is_distorted: NDArray[np.bool_]
    gaps: pd.DataFrame
    failed: int
    partial: int
    begin_ns: int
    end_ns: int

    @cached_property
    def undistorted(self) -> pd.DataFrame:
        """The complete requests outside of profiling windows."""
        return self.complete[~self.is_distorted]

    @property
    def span_s(self) -> float:
        """For how long requests were recorded, in seconds."""
        return (self.end_ns - self.begin_ns) / 1e9

    @property
    def arrivals_ns(self) -> Ints:
        """When each complete request arrived."""
        return column(self.complete, "ts")

    @property
    def durations_ns(self) -> Ints:
        """How long each complete request took."""
        return column(self.complete, "dur")

    @property
    def e2e_ms(self) -> Floats:
        """How long each undistorted request took, in milliseconds."""
        return column(self.undistorted, "dur") / NS_PER_MS

    @property
    def ttft_ms(self) -> Floats:
        """The time to first token of the undistorted requests that report one, in ms."""
        first_ns = column(self.undistorted, "first_token_ns")
        return first_ns[first_ns >= 0] / NS_PER_MS

    @property
    def itl_ms(self) -> Floats:
        """The time per token of each report of tokens, in milliseconds."""
        return column(self.gaps, "dur") / np.maximum(column(self.gaps, "tokens"), 1) / NS_PER_MS

    @property
    def output_tokens(self) -> int | None:
        """The output tokens of the complete requests, None where none reported any."""
        counts = column(self.complete, "tokens")
        return int(counts[counts > 0].sum()) if (counts > 0).any() else None


def request_logs(trace: Trace) -> list[RequestLog]:
    """Return the requests of each process that answers some with its model, and the calls of
    `generate` of the others.

    Where the program reports its requests, those of the web server's handlers are left out: they
    are the same. Requests of handlers that call `generate` have its tokens.
    """
    logs = []
    answering = trace.fact(answering_processes)
    for process in sorted(set(column(table(trace, "requests"), "process").tolist())):
        of_process = rows_of(trace, "requests", process)
        assert of_process is not None
        by_source = {
            source: rows_with_name(of_process, "source", source)
            for source in (CODE, HANDLER, GENERATE)
        }
        source = source_of_log(by_source, is_answering=process in answering)
        if source is None:
            continue
        rows = by_source[source]
        if source == HANDLER and len(by_source[GENERATE]):
            rows = with_tokens(rows, by_source[GENERATE])
        logs.append(log_of(trace, process, source, rows))
    return logs


def source_of_log(rows: dict[str, pd.DataFrame], *, is_answering: bool) -> str | None:
    """Return the source of a process's requests, None where it has none."""
    wanted = (CODE, HANDLER) if is_answering else (GENERATE,)
    return next((source for source in wanted if len(rows[source])), None)


def with_tokens(handled: pd.DataFrame, generated: pd.DataFrame) -> pd.DataFrame:
    """Return the requests of handlers with the tokens of the last call of `generate` in each."""
    begin_ns, end_ns = column(handled, "ts"), column(handled, "ts") + column(handled, "dur")
    called_ns = column(generated, "ts")
    done_ns = called_ns + np.where(column(generated, "dur") >= 0, column(generated, "dur"), 0)
    order = np.argsort(done_ns, kind="stable")
    place = np.searchsorted(done_ns[order], end_ns, side="right") - 1
    last = order[np.maximum(place, 0)]
    is_own = (place >= 0) & (called_ns[last] >= begin_ns)
    first_ns = column(generated, "first_token_ns")[last]
    waited_ns = called_ns[last] - begin_ns
    return handled.assign(
        first_token_ns=np.where(is_own & (first_ns >= 0), waited_ns + first_ns, -1),
        tokens=np.where(is_own, column(generated, "tokens")[last], -1),
    )


def log_of(trace: Trace, process: int, source: str, rows: pd.DataFrame) -> RequestLog:
    """Return the requests of one process, from its rows of one source."""
    complete = rows_with_name(rows, "state", "complete")
    cut = rows_with_name(rows, "state", "began-before", "unfinished")
    gaps = gaps_of(trace, process, source)
    begin_ns, end_ns = bounds_ns(trace, process, rows)
    return RequestLog(
        process=process,
        source=source,
        complete=complete,
        is_distorted=in_windows(trace, process, complete, MOST_DISTORTED),
        gaps=gaps[~in_windows(trace, process, gaps, 0.0)],
        failed=len(rows_with_name(rows, "state", "failed")),
        partial=len(cut),
        begin_ns=begin_ns,
        end_ns=end_ns,
    )


def gaps_of(trace: Trace, process: int, source: str) -> pd.DataFrame:
    """Return the times between tokens in a process: as the program reports them, or in calls of
    `generate`.
    """
    rows = rows_of(trace, "token_gaps", process)
    if rows is not None:
        is_generated = (rows["source"] == GENERATE).to_numpy(bool)
        rows = rows[is_generated != (source == CODE)]
    return (
        pd.DataFrame({"ts": [], "dur": [], "tokens": []}, dtype=np.int64) if rows is None else rows
    )


def in_windows(trace: Trace, process: int, rows: pd.DataFrame, most: float) -> NDArray[np.bool_]:
    """Return which rows are in a profiling window of their process, which delays them, for more
    than the share `most` of their time.
    """
    windows = rows_of(trace, "windows", process)
    begin_ns = column(rows, "ts")
    end_ns = begin_ns + column(rows, "dur")
    inside_ns = np.zeros(len(rows), np.int64)
    for window_ns, dur_ns in zip(column(windows, "ts"), column(windows, "dur"), strict=True):
        shared_ns = np.minimum(end_ns, window_ns + dur_ns) - np.maximum(begin_ns, window_ns)
        inside_ns += np.maximum(shared_ns, 0)
    return inside_ns > most * (end_ns - begin_ns)


def bounds_ns(trace: Trace, process: int, requests: pd.DataFrame) -> tuple[int, int]:
    """Return the first and the last instant at which the probe recorded a process."""
    starts, ends = [], []
    for rows in (requests, *(rows_of(trace, name, process) for name in BOUNDING_TABLES)):
        if rows is not None and len(rows):
            begin_ns = column(rows, "ts")
            starts.append(int(begin_ns.min()))
            ends.append(int((begin_ns + np.maximum(column(rows, "dur"), 0)).max()))
    return min(starts), max(ends)

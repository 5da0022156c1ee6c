"""Reads a metrics page at intervals, in a child process of its own.

The child sends the requests and parses the pages with the rights of the target's user, so that a
hostile page costs neither root's rights nor the time of the recording. It sends one JSON line per
reading; the parent checks what it gets and never waits for it.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Final

import msgspec

from perfscope.agent.engine_metrics.address import PageAddress
from perfscope.agent.engine_metrics.page_request import get_page
from perfscope.agent.target_user.child import close_inherited_files, kill_and_reap
from perfscope.agent.target_user.rights import PR_SET_PDEATHSIG, TargetUser, control, take_rights
from perfscope.traces.engine_metrics.meanings import GAUGES
from perfscope.traces.engine_metrics.names import ENGINE
from perfscope.traces.engine_metrics.page import (
    MOST_SERIES,
    BadPage,
    MetricSeries,
    MetricsPage,
    read_page,
)

INTERVAL_S: Final = 1.0
SERVER_SHARE: Final = 0.01
"""The largest share of the server's time that answering may take: a page that takes long is read
rarely. Its cost is the time of the quickest answer; slower ones waited for the server's own work.
"""
LONGEST_INTERVAL_S: Final = 5.0
SHORTEST_INTERVAL_S: Final = 0.2
READINGS: Final = 10
"""Readings that even a short recording should have."""
SHORTEST_PAUSE_S: Final = 0.1
PAUSES_PER_PARSING: Final = 4
"""A page that takes long to parse uses at most a fifth of a core."""
MOST_PENDING_BYTES: Final = 64 << 20
LONGEST_REASON: Final = 300


@dataclass(frozen=True)
class ReadingPace:
    """The usual and the longest time between two readings, in seconds."""

    usual_s: float = INTERVAL_S
    longest_s: float = LONGEST_INTERVAL_S


def pace_of_recording(duration_s: float | None) -> ReadingPace:
    """Return the pace for a recording of this length, None for one without a known end."""
    if duration_s is None:
        return ReadingPace()
    share_s = max(duration_s / READINGS, SHORTEST_INTERVAL_S)
    return ReadingPace(min(INTERVAL_S, share_s), min(LONGEST_INTERVAL_S, share_s))


class SeriesRow(msgspec.Struct, frozen=True, array_like=True):
    """A new series: its number, and the fields of `MetricSeries`; a bound without limit is null."""

    number: int
    name: str
    part: str
    labels: str
    le: float | None


class ReadingRow(msgspec.Struct, frozen=True):
    """One reading that the child sends. `error` is empty where it succeeded."""

    ts: int
    error: str = ""
    engine: str = ""
    series: list[SeriesRow] = []
    values: list[tuple[int, float]] = []
    other_names: list[str] = []
    damaged_lines: int = 0


@dataclass
class PageReader:
    """A child that reads the page at `address`; `user` is whose rights it takes, None its own."""

    address: PageAddress
    user: TargetUser | None = None
    pace: ReadingPace = field(default_factory=ReadingPace)
    child: int = 0
    pending: bytearray = field(default_factory=bytearray)
    connection: socket.socket | None = None

    def start(self) -> None:
        """Start the child. Raises OSError."""
        # The child may not be able to read our packages any more.
        importlib.import_module("prometheus_client.parser")
        importlib.import_module("encodings.idna")
        parent_end, child_end = socket.socketpair()
        self.child = os.fork()
        if self.child == 0:
            serve_readings(child_end, self.address, self.user, self.pace)
        child_end.close()
        parent_end.setblocking(False)
        self.connection = parent_end

    @property
    def is_running(self) -> bool:
        """Whether the child may still send readings."""
        return self.connection is not None

    def poll(self) -> list[ReadingRow]:
        """Return the readings that have arrived, without waiting."""
        if self.connection is None:
            return []
        while len(self.pending) < MOST_PENDING_BYTES:
            try:
                part = self.connection.recv(1 << 20)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                part = b""
            if not part:
                self.stop()
                break
            self.pending += part
        return self.complete_rows()

    def complete_rows(self) -> list[ReadingRow]:
        """Return the readings in the lines that are complete; damaged ones are left out."""
        *lines, rest = self.pending.split(b"\n")
        self.pending = rest if len(rest) < MOST_PENDING_BYTES else bytearray()
        rows = []
        for line in lines:
            with contextlib.suppress(msgspec.MsgspecError):
                rows.append(msgspec.json.decode(bytes(line), type=ReadingRow))
        return rows

    def stop(self) -> None:
        """End the child."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
            kill_and_reap(self.child)


def serve_readings(
    connection: socket.socket, address: PageAddress, user: TargetUser | None, pace: ReadingPace
) -> None:
    """Run in the child, which ends here."""
    parent = os.getppid()
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        kept = {connection.fileno(), *([] if user is None else [user.root])}
        close_inherited_files(kept)
        if user is not None and user.foreign:
            take_rights(user)
        control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            send_readings(connection, address, pace)
    finally:
        os._exit(0)


def send_readings(connection: socket.socket, address: PageAddress, pace: ReadingPace) -> None:
    """Read the page and send what it has, at intervals. Raises OSError when nobody listens."""
    numbers: dict[MetricSeries, int] = {}
    values: dict[int, float] = {}
    engine: str | None = None
    quickest_s = pace.usual_s
    while True:
        began_ns = time.monotonic_ns()
        row: dict[str, object] = {}
        used_s = time.process_time()
        try:
            body = get_page(address)
            took_s = (time.monotonic_ns() - began_ns) / 1e9
            quickest_s = min(quickest_s, took_s)
            row = {"ts": began_ns + int(took_s * 5e8)}
            page = read_page(body, engine)
            engine = page.engine
            row |= reading_row(page, numbers, values)
        except (BadPage, MemoryError) as error:
            row = {"ts": began_ns, "error": (str(error) or "it is too large")[:LONGEST_REASON]}
        connection.sendall(json.dumps(row).encode() + b"\n")
        pause_s = max(pace.usual_s, min(quickest_s / SERVER_SHARE, pace.longest_s))
        elapsed_s = (time.monotonic_ns() - began_ns) / 1e9
        rest_s = PAUSES_PER_PARSING * (time.process_time() - used_s)
        time.sleep(max(pause_s - elapsed_s, SHORTEST_PAUSE_S, rest_s))


def reading_row(
    page: MetricsPage, numbers: dict[MetricSeries, int], before: dict[int, float]
) -> dict[str, object]:
    """Return what is sent of a page: series that are new, all gauges, and counters that changed."""
    gauges = {metric.name for metric in ENGINE[page.engine].metrics if metric.meaning in GAUGES}
    new: list[tuple[object, ...]] = []
    changed: list[tuple[int, float]] = []
    for series, value in page.samples.items():
        number = numbers.get(series)
        if number is None:
            if len(numbers) >= MOST_SERIES:
                continue
            number = numbers[series] = len(numbers)
            bound = series.le if abs(series.le) < float("inf") else None
            new.append((number, series.name, series.part, series.labels, bound))
        if series.name in gauges or before.get(number) != value:
            before[number] = value
            changed.append((number, value))
    return {
        "engine": page.engine,
        "series": new,
        "values": changed,
        "other_names": page.other_names,
        "damaged_lines": page.damaged_lines,
    }

"""`perfscope.request()`: the requests of a server, as the program reports them.

A request is two records of the probe: one when it begins, and one with all its times when it ends.
A request that begins or ends while nothing records is counted, and has no latency. Standard library
only.
"""

import _thread
import itertools
import time
from types import TracebackType
from typing import Any

from perfscope.profiling.marks import (
    PROBE_KEY,
    UNKNOWN,
    count_or_unknown,
    find_probes,
    recording_probes,
)

NUMBERS = itertools.count()
"""The numbers of the requests of this process."""
WHOLE, BEGAN_BEFORE = 1, 0
BY_CODE = 0


class Request:
    """One request. What it reports is recorded by the probe that was there when it began."""

    __slots__ = ("began_ns", "count", "first_ns", "last_ns", "number", "probe", "tid")

    def __init__(self) -> None:
        self.probe: Any = None
        self.began_ns = self.first_ns = self.last_ns = self.number = self.tid = UNKNOWN
        self.count = 0

    def __enter__(self) -> "Request":
        for probe in recording_probes():
            self.probe, self.number = probe, next(NUMBERS)
            self.first_ns = self.last_ns = UNKNOWN
            self.count = 0
            self.tid, self.began_ns = _thread.get_native_id(), time.monotonic_ns()
            values = (self.number, BY_CODE)
            put_record(probe, "REQUEST_BEGIN", (self.tid, self.began_ns, 0), values)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        probe, self.probe = self.probe, None
        if probe is None or not probe.live[0]:
            report_partial_request(failed=kind is not None)
            return
        now_ns, end_tid = time.monotonic_ns(), _thread.get_native_id()
        first_ns = self.first_ns - self.began_ns if self.first_ns >= 0 else UNKNOWN
        values = (
            self.number,
            first_ns,
            self.count or UNKNOWN,
            int(kind is not None),
            WHOLE,
            end_tid,
            BY_CODE,
        )
        place = (self.tid, self.began_ns, now_ns - self.began_ns)
        put_record(probe, "REQUEST", place, values)

    async def __aenter__(self) -> "Request":
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def first_token(self) -> None:
        """Report that the first output token is ready. Only the first call counts."""
        if self.probe is not None and self.first_ns < 0:
            self.first_ns = self.last_ns = time.monotonic_ns()

    def tokens(self, count: int) -> None:
        """Report `count` more output tokens. Anything but a positive whole number is ignored.

        A first report of one token is the first token. Of a first report of several it is not known
        when the first one was ready, unless `first_token` was called.
        """
        probe, number = self.probe, count_or_unknown(count)
        if probe is None or number < 1:
            return
        now_ns = time.monotonic_ns()
        gaps = number if self.count else number - 1
        if self.first_ns < 0 and not self.count and number == 1:
            self.first_ns = now_ns
        elif gaps and self.last_ns >= 0 and probe.live[0]:
            place = (_thread.get_native_id(), self.last_ns, now_ns - self.last_ns)
            put_record(probe, "REQUEST_TOKENS", place, (self.number, gaps))
        self.count += number
        self.last_ns = now_ns


class UnrecordedRequest:
    """A request that begins while nothing records. There is one, for all of them."""

    __slots__ = ()

    def __enter__(self) -> "UnrecordedRequest":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if find_probes(PROBE_KEY):
            report_partial_request(failed=kind is not None)

    async def __aenter__(self) -> "UnrecordedRequest":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def first_token(self) -> None:
        """Do nothing."""

    def tokens(self, count: int) -> None:
        """Do nothing."""


UNRECORDED_REQUEST = UnrecordedRequest()


def request() -> Request | UnrecordedRequest:
    """Mark a request of a server: `with perfscope.request() as request: ...`, or `async with`.

    It begins and ends with the block, also where tasks or threads work on several at once. An
    exception that leaves the block makes it a failed request. `request.first_token()` and
    `request.tokens(n)` report its output.
    """
    if not find_probes(PROBE_KEY):
        return UNRECORDED_REQUEST
    return Request()


def report_partial_request(*, failed: bool) -> None:
    """Record that a request ends now which began before the recording."""
    for probe in recording_probes():
        tid, now_ns = _thread.get_native_id(), time.monotonic_ns()
        values = (next(NUMBERS), UNKNOWN, UNKNOWN, int(failed), BEGAN_BEFORE, tid, BY_CODE)
        put_record(probe, "REQUEST", (tid, now_ns, 0), values)


def put_record(probe: Any, kind: str, place: tuple[int, int, int], values: tuple[int, ...]) -> None:
    """Append a record to those of the probe; `place` is thread, start and duration."""
    code = probe.kinds.get(kind)
    if code is not None:  # the probe of an older perfscope does not have it
        unused = (UNKNOWN,) * (8 - len(values))
        probe.records.append((code, *place, *values, *unused))

"""Records metrics pages without a process: `perfscope analyze http://HOST:PORT/metrics`."""

import contextlib
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from perfscope import __version__
from perfscope.agent.engine_metrics.address import PageAddress
from perfscope.agent.engine_metrics.page_reader import PageReader, pace_of_recording
from perfscope.agent.engine_metrics.page_request import REQUEST_S
from perfscope.agent.engine_metrics.readings_writer import ReadingsWriter, WatchedPage
from perfscope.agent.temporary_folders import open_folder, remove_owned_folder
from perfscope.errors import UsageError
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest

POLL_S: Final = 0.05
FLUSH_S: Final = 1.0
FEWEST_READINGS: Final = 2
"""A counter is known as a rate from its second reading on."""


def record_pages(
    addresses: Sequence[PageAddress],
    out: Path,
    duration_s: float,
    tick: Callable[[float], None] = lambda elapsed_s: None,
) -> Path:
    """Read the pages for some time and return the run folder; Ctrl-C ends it earlier.

    Raises UsageError where no page could be read twice: it says why, and the folder is removed.
    `tick` is called about once per second with the seconds so far.
    """
    run = RunWriter.create(out, manifest_of_pages())
    pace = pace_of_recording(duration_s)
    pages = [
        WatchedPage(server, PageReader(address, pace=pace))
        for server, address in enumerate(addresses)
    ]
    writer = ReadingsWriter(run, pages)
    with asked_to_stop() as stop_asked:
        for page in pages:
            page.reader.start()
        reason = watch_pages(writer, duration_s, tick, stop_asked)
    status = writer.stop()
    run.manifest.sources = [status]
    run.manifest.finished, run.manifest.end_reason = True, reason
    run.close()
    if max(page.readings for page in pages) < FEWEST_READINGS:
        remove_recording(out)
        raise UsageError(unread_text(pages, duration_s))
    return out


def watch_pages(
    writer: ReadingsWriter,
    duration_s: float,
    tick: Callable[[float], None],
    stop_asked: Callable[[], bool],
) -> str:
    """Write readings until the time is over or none can be expected; return why it ended."""
    began_s = flushed_s = time.monotonic()
    clock = writer.run.jsonl("clock", -1)
    clock.append({"mono": time.monotonic_ns(), "real": time.time_ns()})
    while True:
        writer.take()
        elapsed_s = time.monotonic() - began_s
        if stop_asked():
            return "stopped by the user"
        if elapsed_s >= duration_s and (writer.readings or elapsed_s >= REQUEST_S):
            return f"read for the requested {duration_s:g} s"
        if not any(is_worth_waiting(page) for page in writer.pages):
            return "no page could be read"
        if time.monotonic() - flushed_s >= FLUSH_S:
            flushed_s = time.monotonic()
            writer.run.flush()
            tick(elapsed_s)
        time.sleep(POLL_S)


def is_worth_waiting(page: WatchedPage) -> bool:
    """Return whether a page may still give readings: one that never answered gets two tries."""
    return page.reader.is_running and (page.readings > 0 or page.errors.total() < 2)


def unread_text(pages: list[WatchedPage], duration_s: float) -> str:
    """Return why there is nothing to diagnose: one line with the first page's reason."""
    page = pages[0]
    if page.readings:
        return (
            f"{page.url} was read only once in {duration_s:g} s, and rates need two readings."
            " Record longer with --duration."
        )
    return f"cannot read {page.url}: {page.last_error or 'it did not answer in time'}"


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C or SIGTERM has been received; a second one interrupts at once."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def manifest_of_pages() -> Manifest:
    """Return the manifest of a recording without a process."""
    return Manifest(
        job_id=uuid.uuid4().hex,
        host=socket.gethostname(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        zero_monotonic_ns=time.monotonic_ns(),
        zero_realtime_ns=time.time_ns(),
        tool_version=__version__,
        command=[],
        target_pid=0,
        depth="observe",
    )


def remove_recording(out: Path) -> None:
    """Remove a run folder that this process has just written."""
    with contextlib.suppress(OSError), open_folder(out.resolve().parent) as parent:
        remove_owned_folder(parent, out.name)

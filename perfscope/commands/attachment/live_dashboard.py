"""`attach --ui`: the recording runs in a process of its own, and the dashboard shows it."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from perfscope.commands.options.dashboard_address import (
    DashboardArguments,
    dashboard_of,
    print_address,
)
from perfscope.ui.terminal.output import print_line


def show_recording(
    pid: int,
    out: Path,
    options: list[str],
    arguments: DashboardArguments,
    *,
    ignored: tuple[str, ...] = (),
    after: Callable[[], int] = lambda: 0,
) -> int:
    """Record a process into `out` and show it in the dashboard. Returns what `after` returns.

    Ctrl-C ends the recording, then `after` is called; the page stays until the next Ctrl-C.
    """
    from perfscope.ui.dashboard.auth import refuse_without_token
    from perfscope.ui.dashboard.dashboard_data import Live
    from perfscope.ui.dashboard.live_run import RunWatch
    from perfscope.ui.dashboard.recording import SteeredRecording
    from perfscope.ui.dashboard.reverse_proxy import normalized_base_path

    normalized_base_path(arguments.base_path)
    if arguments.no_token:
        refuse_without_token(arguments.host)
    recording = SteeredRecording(pid, out, options)
    try:
        recording.wait_for_run_folder()
        watch = RunWatch(out, alive=lambda: recording.running, ignored=ignored)
        live = Live(watch, recording)
        dashboard = dashboard_of(out, arguments, live=live, ignored=ignored)
        watch.start()
        hint = "press Ctrl-C to stop recording, and again to close the dashboard"
        try:
            wait_for_interrupt(
                lambda: print_address(dashboard, hint), lambda: not recording.running
            )
            recording.close()
            code = after()
            stays = f"the page stays at {dashboard.url}; Ctrl-C closes it"
            wait_for_interrupt(lambda: print_line(stays))
        finally:
            watch.close()
            dashboard.close()
    finally:
        recording.close()
    return code


def wait_for_interrupt(
    announce: Callable[[], None], is_over: Callable[[], bool] = lambda: False
) -> None:
    """Announce, and wait for Ctrl-C or SIGTERM, or until `is_over` returns true.

    A Ctrl-C counts from the moment at which the first line of the announcement can be read.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        announce()
        while not is_over():
            time.sleep(0.2)
    except KeyboardInterrupt:
        print()

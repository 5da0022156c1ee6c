"""Processes that cannot be entered but were started with KINETO_USE_DAEMON=1; Kineto profiles
them.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfscope.agent.entry import ptrace
from perfscope.agent.profiler_windows import dynolog
from perfscope.errors import CollectorUnavailable
from perfscope.traces.load import load_trace
from tests.target_processes import TARGETS, Run, attach, end, source_reasons, source_statuses, until

WITHOUT_PTRACE = ["setpriv", "--bounding-set", "-sys_ptrace"]
IN_NAMESPACES = ["unshare", "-n", "-m", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"']
ALLOWED = (
    os.geteuid() == 0
    and shutil.which("setpriv")
    and not subprocess.run([*IN_NAMESPACES, "/mnt", "true"]).returncode
)


@contextmanager
def polling_loop(folder: Path, *, in_namespaces: bool) -> Iterator[Run]:
    """Run a training loop whose Kineto polls for requests, on demand in separate network and mount
    namespaces.
    """
    folder.mkdir()
    hidden = folder / "hidden"  # files in it are visible in the loop's mount namespace only
    hidden.mkdir()
    out = str((hidden if in_namespaces else folder) / "steps")
    command = [sys.executable, str(TARGETS / "looping.py"), out, "--workers", "0"]
    process = subprocess.Popen(
        [*([*IN_NAMESPACES, str(hidden)] if in_namespaces else []), *command],
        cwd=folder,
        env=os.environ | {"KINETO_USE_DAEMON": "1"},
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    run = Run(process, Path(f"/proc/{process.pid}/root{out}"))
    try:
        until(lambda: len(run.lines()) >= 20, 60)
        yield run
    finally:
        end(run)


@contextmanager
def traced(pid: int) -> Iterator[None]:
    """Trace the process as a debugger does: a process has at most one tracer."""
    ready, over = threading.Event(), threading.Event()

    def hold() -> None:
        ptrace.seize(pid)
        ready.set()
        over.wait(120)  # a tracer detaches when its thread ends

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


def check_window_of_kineto(folder: Path, *, in_namespaces: bool) -> None:
    """Record a loop that cannot be entered, and check that Kineto has recorded its operators."""
    with polling_loop(folder, in_namespaces=in_namespaces) as run:
        if in_namespaces:
            with traced(run.pid):
                answer = attach(run.pid, folder / "run", seconds=13)
        else:
            answer = attach(run.pid, folder / "run", seconds=13, before=WITHOUT_PTRACE)
        steps = len(run.lines())
        until(lambda: len(run.lines()) > steps + 20)
    statuses = source_statuses(answer)
    assert statuses["probe"] == "unavailable"
    assert statuses["kernels"] == "ok", source_reasons(answer)["kernels"]
    ops = load_trace(folder / "run").table("ops")
    assert ops is not None
    assert {"aten::addmm", "aten::threshold_backward"} <= set(ops["name"])
    assert "[64, 32]" in " ".join(ops["shapes"].dropna().astype(str).unique())


@pytest.mark.skipif(not ALLOWED, reason="needs root, setpriv, and permission to make namespaces")
def test_kineto_takes_the_window_where_ptrace_is_forbidden_and_in_other_namespaces(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(2) as pool:
        checks = [
            pool.submit(check_window_of_kineto, tmp_path / "ptrace", in_namespaces=False),
            pool.submit(check_window_of_kineto, tmp_path / "namespaces", in_namespaces=True),
        ]
        for check in checks:
            check.result()


def test_another_daemon_with_the_same_name_is_reported() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(dynolog.NAME)
        with pytest.raises(CollectorUnavailable, match="dynolog"):
            dynolog.listen_as_daemon(os.getpid())
    dynolog.listen_as_daemon(os.getpid()).close()

"""A process that cannot be entered, but was started with KINETO_USE_DAEMON=1, is profiled by
Kineto.
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
from tests.running import TARGETS, Run, attach, end, until

WITHOUT_PTRACE = ["setpriv", "--bounding-set", "-sys_ptrace"]
ELSEWHERE = ["unshare", "-n", "-m", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"']
ALLOWED = (
    os.geteuid() == 0
    and shutil.which("setpriv")
    and not subprocess.run([*ELSEWHERE, "/mnt", "true"]).returncode
)


@contextmanager
def listening(folder: Path, *, elsewhere: bool) -> Iterator[Run]:
    """A training loop that asks for orders; `elsewhere`: in network and mount namespaces of its
    own.
    """
    folder.mkdir()
    hidden = folder / "hidden"  # what is written there is seen in its own mount namespace only
    hidden.mkdir()
    out = str((hidden if elsewhere else folder) / "steps")
    command = [sys.executable, str(TARGETS / "looping.py"), out, "--workers", "0"]
    process = subprocess.Popen(
        [*([*ELSEWHERE, str(hidden)] if elsewhere else []), *command],
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
    """Somebody else's debugger is at it: a process has one tracer."""
    ready, over = threading.Event(), threading.Event()

    def hold() -> None:
        ptrace.seize(pid)
        ready.set()
        over.wait(120)  # a tracer that ends lets go

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


def looked_into(folder: Path, *, elsewhere: bool) -> None:
    with listening(folder, elsewhere=elsewhere) as run:
        if elsewhere:
            with traced(run.pid):
                answer = attach(run.pid, folder / "run", seconds=13)
        else:
            answer = attach(run.pid, folder / "run", seconds=13, before=WITHOUT_PTRACE)
        steps = len(run.lines())
        until(lambda: len(run.lines()) > steps + 20)
    told = {source["name"]: source for source in answer["sources"]}
    assert told["probe"]["status"] == "unavailable"
    assert told["kernels"]["status"] == "ok", told["kernels"]
    ops = load_trace(folder / "run").table("ops")
    assert ops is not None
    assert {"aten::addmm", "aten::threshold_backward"} <= set(ops["name"])
    assert "[64, 32]" in " ".join(ops["shapes"].dropna().astype(str).unique())


@pytest.mark.skipif(not ALLOWED, reason="needs root, setpriv, and leave to make namespaces")
def test_kineto_takes_the_window_where_ptrace_is_forbidden_and_in_other_namespaces(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(looked_into, tmp_path / str(one), elsewhere=one) for one in (False, True)
        ]
        for done in both:
            done.result()


def test_another_daemon_with_the_same_name_is_reported() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(dynolog.NAME)
        with pytest.raises(CollectorUnavailable, match="dynolog"):
            dynolog.listen_as_daemon(os.getpid())
    dynolog.listen_as_daemon(os.getpid()).close()

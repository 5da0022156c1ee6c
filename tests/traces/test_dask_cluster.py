"""A job that is read on a real Dask cluster: its tables, and the errors before anything is sent."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perfscope import __version__
from perfscope.agent.host import proc
from perfscope.errors import UsageError
from perfscope.traces.jobs.dask_cluster import check_address, dask_cluster, listening_users
from perfscope.traces.jobs.job import load_job
from perfscope.traces.load import load_trace
from tests.conventions.sources import ROOT
from tests.safety.other_user import NOBODY, needs_root, run_as_nobody
from tests.target_processes import until
from tests.traces.comparison import assert_same_tables
from tests.traces.generated_ranks import generated_ranks

ON_LOOPBACK = ("--host", "127.0.0.1")
WORKER = [sys.executable, "-m", "distributed.cli.dask_worker"]
IN_MOUNT_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""Runs a worker with another file system, as on another machine."""
NOTHING: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    dask = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        *ON_LOOPBACK,
        "--port",
        port,
        "--dashboard-address",
        ":0",
    ]
    with running(dask):
        until(lambda: bool(listening_users(int(port))), 60)
        yield f"tcp://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def cluster(scheduler: str) -> Iterator[str]:
    with worker(scheduler):
        yield scheduler


@contextmanager
def running(command: list[str], home: Path | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, cwd=home, **NOTHING)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def worker(address: str, *, before: Sequence[str] = (), home: Path | None = None) -> Iterator[int]:
    """Run a worker of the scheduler, which imports from `home` first, until the context ends;
    yield the pid of its nanny.
    """
    import distributed

    command = [*before, *WORKER, address, "--nthreads", "1", *ON_LOOPBACK, "--no-dashboard"]
    with distributed.Client(address, timeout=30, set_as_default=False) as client:
        before_start = len(client.scheduler_info()["workers"])
        with running(command, home) as process:
            client.wait_for_workers(before_start + 1, timeout=60)
            yield process.pid
        until(lambda: len(client.scheduler_info()["workers"]) == before_start, 30)


def test_a_cluster_without_workers_is_refused_with_the_command_that_starts_one(
    tmp_path: Path, scheduler: str
) -> None:
    generated_ranks(tmp_path / "job", ranks=1)
    with pytest.raises(UsageError, match="dask worker"):
        load_job([tmp_path / "job"], partial(dask_cluster, scheduler))


def test_a_worker_of_another_version_is_named(tmp_path: Path, scheduler: str) -> None:
    generated_ranks(tmp_path / "job", ranks=1)
    other = tmp_path / "other"
    shutil.copytree(
        ROOT / "perfscope", other / "perfscope", ignore=shutil.ignore_patterns("__pycache__")
    )
    (other / "perfscope" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    with (
        worker(scheduler, home=other),
        pytest.raises(UsageError, match=f"perfscope-ml 0.0.1 .* {__version__}"),
    ):
        load_job([tmp_path / "job"], partial(dask_cluster, scheduler))


def test_a_worker_that_does_not_answer_is_named(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfscope.traces.jobs.dask_cluster.ANSWER_S", 1)
    generated_ranks(tmp_path / "job", ranks=1)
    with worker(scheduler) as nanny:
        stopped = proc.children(nanny)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(UsageError, match="did not answer within 1 s"):
                load_job([tmp_path / "job"], partial(dask_cluster, scheduler))
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*IN_MOUNT_NAMESPACE, "true"], check=False, **NOTHING).returncode != 0,
    reason="this user cannot create a mount namespace",
)
def test_a_worker_that_does_not_see_the_files_is_named(tmp_path: Path, scheduler: str) -> None:
    generated_ranks(tmp_path / "job", ranks=1)
    hidden = [
        *IN_MOUNT_NAMESPACE,
        "sh",
        "-c",
        f'mount -t tmpfs none {tmp_path / "job"} && exec "$@"',
        "sh",
    ]
    with (
        worker(scheduler, before=hidden),
        pytest.raises(
            UsageError,
            match=r"cannot see .*rank0\.json\.gz",
        ),
    ):
        load_job([tmp_path / "job"], partial(dask_cluster, scheduler))


def test_the_cluster_reads_the_same_tables_as_local_processes(tmp_path: Path, cluster: str) -> None:
    generated_ranks(tmp_path / "job", ranks=3)
    local = load_trace(tmp_path / "job")
    on_cluster = load_job([tmp_path / "job"], partial(dask_cluster, cluster))
    assert_same_tables(local, on_cluster)
    assert local.manifests == on_cluster.manifests and local.span_ns == on_cluster.span_ns


@pytest.mark.parametrize("address", ["", "tcp://", "http://:80", "127.0.0.1", "tcp://127.0.0.1:x"])
def test_an_invalid_address_is_refused_with_its_form(address: str) -> None:
    with pytest.raises(UsageError, match="tcp://HOST:PORT"):
        check_address(address, False)


def test_plain_tcp_to_another_machine_needs_insecure() -> None:
    with pytest.raises(UsageError, match="--insecure"):
        check_address("tcp://192.0.2.7:8786", False)
    check_address("tcp://192.0.2.7:8786", True)
    check_address("tls://192.0.2.7:8786", False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        check_address(f"tcp://127.0.0.1:{listening.getsockname()[1]}", False)


@needs_root
def test_a_scheduler_of_another_user_on_this_machine_needs_insecure() -> None:
    program = (
        "import socket, time; taken = socket.create_server(('127.0.0.1', 0));"
        " print(taken.getsockname()[1], flush=True); time.sleep(60)"
    )
    with run_as_nobody(program) as stranger:
        assert stranger.stdout is not None
        address = f"tcp://127.0.0.1:{int(stranger.stdout.readline())}"
        with pytest.raises(UsageError, match=f"uid {NOBODY}"):
            check_address(address, False)
        check_address(address, True)
        stranger.kill()


def test_without_dask_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(UsageError, match=r"pip install 'perfscope-ml\[dask\]'"),
        dask_cluster(f"tcp://127.0.0.1:{listening.getsockname()[1]}", []),
    ):
        pass


def test_an_address_without_a_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfscope.traces.jobs.dask_cluster.CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for scheme, insecure in (("tcp", True), ("tls", False)):
        with (
            pytest.raises(UsageError, match=address),
            dask_cluster(f"{scheme}://{address}", [], insecure=insecure),
        ):
            pass


def test_nothing_is_asked_where_another_user_could_begin_to_listen() -> None:
    """Once the client tries to connect, the one who listens first would be believed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UsageError, match="no Dask scheduler listens"):
        check_address(address, False)

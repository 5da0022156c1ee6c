"""The same job read on a real Dask cluster: the same Trace; and what is refused before anything is sent."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from perfscope.errors import UsageError
from perfscope.traces.jobs.dask_cluster import checked, dask_cluster
from perfscope.traces.jobs.job import load_job
from perfscope.traces.load import load
from perfscope.traces.schema import TABLES
from tests.traces.made_ranks import made_ranks

HERE = ("--host", "127.0.0.1")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", *HERE, "--port", port, "--dashboard-address", ":0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1"]
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (dask, [*worker, *HERE, "--no-dashboard"])
    ]
    yield f"tcp://127.0.0.1:{port}"
    for process in reversed(running):
        process.terminate()
        process.wait(20)


def test_the_cluster_gives_what_local_processes_give(tmp_path: Path, scheduler: str) -> None:
    made_ranks(tmp_path / "job", ranks=3)
    wait_for_a_worker(scheduler)
    here, there = load(tmp_path / "job"), load_job([tmp_path / "job"], partial(dask_cluster, scheduler))
    for name in TABLES:
        one, other = here.table(name), there.table(name)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            pd.testing.assert_frame_equal(one, other)
    assert here.manifests == there.manifests and here.span_ns == there.span_ns


def wait_for_a_worker(address: str) -> None:
    import distributed

    with distributed.Client(address, timeout=30, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)


@pytest.mark.parametrize("address", ["", "tcp://", "http://:80", "127.0.0.1", "tcp://127.0.0.1:x"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(UsageError, match="scheduler's address"):
        checked(address, False)


def test_plain_tcp_to_another_machine_needs_insecure() -> None:
    with pytest.raises(UsageError, match="--insecure"):
        checked("tcp://192.0.2.7:8786", False)
    checked("tcp://192.0.2.7:8786", True)
    checked("tls://192.0.2.7:8786", False)
    checked("tcp://127.0.0.1:8786", False)


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'perfscope-ml\[dask\]'"), dask_cluster("tcp://127.0.0.1:1", []):
        pass


def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfscope.traces.jobs.dask_cluster.CONNECT_S", 1)
    with pytest.raises(UsageError, match="no Dask scheduler answers"), dask_cluster("tcp://127.0.0.1:1", []):
        pass

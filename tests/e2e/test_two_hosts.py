"""A job of two ranks on two hosts (network and host-name namespaces of this machine): recorded
there, told of together.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.contents import contents
from perfscope.traces.load import load_all
from perfscope.ui.phrases import describe_subject
from tests.running import TARGETS, perfscope
from tests.two_hosts import interface, missing, on, two_hosts

LAYERS = {"node-a": 1, "node-b": 12}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run folders of both hosts; on node-b each step computes more."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("runs")
    with two_hosts() as addresses:
        ranks = [start(folder, rank, name, addresses["node-a"]) for rank, name in enumerate(LAYERS)]
        said = [one.communicate(timeout=400) for one in ranks]
    assert [one.returncode for one in ranks] == [0, 0], said
    return folder


def start(folder: Path, rank: int, name: str, first: str) -> "subprocess.Popen[str]":
    said = {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": first,
        "MASTER_PORT": "29517",
    }
    said |= {"GLOO_SOCKET_IFNAME": interface(name), "OMP_NUM_THREADS": "1"}
    options = (
        "--depth",
        "probe",
        "--out",
        folder / f"{name}.perfscope",
        f"--json={folder / f'{name}.json'}",
        "--",
    )
    command = perfscope(
        "run", *options, sys.executable, TARGETS / "of_a_job.py", "120", str(LAYERS[name])
    )
    return subprocess.Popen(
        on(name, *command), env=os.environ | said, text=True, stderr=subprocess.PIPE
    )


def test_both_parts_are_of_one_job_and_the_slow_host_is_named(recorded: Path) -> None:
    parts = [recorded / f"{name}.perfscope" for name in LAYERS]
    manifests = [json.loads((part / "manifest.json").read_text()) for part in parts]
    assert manifests[0]["job_id"] == manifests[1]["job_id"]
    assert [one["host"] for one in manifests] == list(LAYERS)
    trace = load_all(parts)
    assert describe_subject(trace)[0] == "of_a_job.py (2 ranks on 2 hosts)"
    told = diagnose_trace(trace)
    finding = next(one for one in told.findings if one.id == "straggler")
    assert told.budget_process in finding.processes and "rank 1 on node-b" in finding.headline
    assert 0.05 < finding.share < 0.95
    waits = {
        one.rank: {each.category: each.share for each in one.time_budget}.get("peer-wait", 0.0)
        for one in told.per_process
    }
    assert waits[0] > 0.05 and waits[1] == 0.0
    assert told.budget_rank == 1


def test_a_folder_with_both_has_the_job_as_an_entry_of_its_own(recorded: Path) -> None:
    names = {one.name: len(one.paths) for one in contents(recorded) if one.run}
    assert names == {
        "node-a.perfscope + node-b.perfscope": 2,
        "node-a.perfscope": 1,
        "node-b.perfscope": 1,
    }

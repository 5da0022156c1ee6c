"""A job of two ranks on two hosts (network and host-name namespaces of this machine), recorded on
both and diagnosed together.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.folder_contents import contents
from perfscope.traces.load import load_all
from perfscope.ui.phrases import describe_subject
from tests.target_processes import TARGETS, perfscope
from tests.two_hosts import interface, on, two_hosts, why_impossible

LAYERS = {"node-a": 1, "node-b": 12}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the run folders of both hosts; on node-b each step computes more."""
    why = why_impossible()
    if why is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("runs")
    with two_hosts() as addresses:
        ranks = [start(folder, rank, name, addresses["node-a"]) for rank, name in enumerate(LAYERS)]
        output = [rank.communicate(timeout=400) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], output
    return folder


def start(folder: Path, rank: int, name: str, first: str) -> "subprocess.Popen[str]":
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": first,
        "MASTER_PORT": "29517",
    }
    environment |= {"GLOO_SOCKET_IFNAME": interface(name), "OMP_NUM_THREADS": "1"}
    options = (
        "--depth",
        "probe",
        "--out",
        folder / f"{name}.perfscope",
        f"--json={folder / f'{name}.json'}",
        "--",
    )
    command = perfscope(
        "run", *options, sys.executable, TARGETS / "job_rank.py", "300", str(LAYERS[name])
    )
    return subprocess.Popen(
        on(name, *command), env=os.environ | environment, text=True, stderr=subprocess.PIPE
    )


def test_recordings_of_two_hosts_are_one_job_whose_straggler_is_the_slow_host(
    recorded: Path,
) -> None:
    parts = [recorded / f"{name}.perfscope" for name in LAYERS]
    manifests = [json.loads((part / "manifest.json").read_text()) for part in parts]
    assert manifests[0]["job_id"] == manifests[1]["job_id"]
    assert [manifest["host"] for manifest in manifests] == list(LAYERS)
    trace = load_all(parts)
    assert describe_subject(trace)[0] == "job_rank.py (2 ranks on 2 hosts)"
    diagnosis = diagnose_trace(trace)
    finding = next(finding for finding in diagnosis.findings if finding.id == "straggler")
    assert diagnosis.budget_process in finding.processes
    assert "rank 1 on node-b" in finding.headline
    assert 0.05 < finding.share < 0.95
    waits = {
        (budget.rank, entry.category): entry.share
        for budget in diagnosis.per_process
        for entry in budget.time_budget
    }
    assert waits[0, "peer-wait"] > 0.05 and waits.get((1, "peer-wait"), 0.0) == 0.0
    assert diagnosis.budget_rank == 1


def test_a_folder_with_both_recordings_has_the_job_as_an_entry(recorded: Path) -> None:
    names = {entry.name: len(entry.paths) for entry in contents(recorded) if entry.run}
    assert names == {
        "node-a.perfscope + node-b.perfscope": 2,
        "node-a.perfscope": 1,
        "node-b.perfscope": 1,
    }

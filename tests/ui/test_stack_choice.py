"""The flame graph of a phase and of a process."""

from pathlib import Path

import pytest

from perfscope.analyzer.run.stacks.stack_filter import (
    sampled_phases_of,
    sampled_processes,
    with_stacks_of,
)
from perfscope.analyzer.run.stacks.stack_tree import stack_tree
from perfscope.traces.load import load_trace
from tests.ui.dashboard_client import DashboardClient, every
from tests.ui.recorded import recorded_run
from tests.ui.sample_traces import input_bound


def test_the_stacks_of_a_process_are_only_its_own() -> None:
    run = input_bound()
    assert sampled_processes(run) == {0: "train.py", 1: "worker 0"}
    of_worker = with_stacks_of(run, None, 1).fact(stack_tree)
    assert set(of_worker) == {"loader-worker"}
    both = run.fact(stack_tree)
    assert of_worker["loader-worker"] == both["loader-worker"] and "main" in both


def test_the_stacks_of_the_phases_are_all_stacks() -> None:
    run = input_bound()
    phases = sampled_phases_of(run)
    stacks = run.table("stacks")
    assert phases and stacks is not None
    parts = [with_stacks_of(run, phase, None).table("stacks") for phase in phases]
    assert sum(len(part) for part in parts if part is not None) == len(stacks)
    assert with_stacks_of(run, None, None) is run


@pytest.mark.parametrize("query", ["", "&phase=steps", "&process=0", "&phase=no&process=99x"])
def test_the_page_of_a_choice_keeps_the_tab(tmp_path: Path, query: str) -> None:
    run = recorded_run(tmp_path / "train.perfscope")
    assert load_trace(run).has("stacks")
    client = DashboardClient(tmp_path)
    page = client.page("/run/train.perfscope/by-code", f"?tab=flame-graph{query}")
    client.verdicts.close()
    assert page["failure"] is None
    chosen = [link for link in every(page["page"], "Link") if "pill" in str(link.get("className"))]
    assert all("tab=flame-graph" in link["href"] for link in chosen)

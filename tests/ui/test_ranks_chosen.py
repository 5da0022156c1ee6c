"""The rank that the pages show, and the picture of ranks over steps."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from perfscope.analyzer.budget.rank_heat import MOST_COLUMNS, rank_heat
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.summary.rank_view import seen_from_rank, shown_ranks
from perfscope.analyzer.verdict.rank_trace import trace_of_rank
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from perfscope.ui.html.rank_heat import heat_data, rank_heat_card, straggler_ranks
from tests.traces.generated_ranks import generated_ranks
from tests.ui.dashboard_client import DashboardClient, every
from tests.ui.sample_traces import input_bound

RANKS = 6


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "job"
    generated_ranks(folder, ranks=RANKS)
    return folder


@pytest.fixture(scope="module")
def trace(job: Path) -> Trace:
    return load_trace(job)


@pytest.fixture(scope="module")
def diagnosis(trace: Trace) -> Diagnosis:
    return diagnose_trace(trace)


@pytest.fixture(scope="module")
def asked(job: Path) -> DashboardClient:
    return DashboardClient(job.parent)


def test_a_rank_has_its_own_budget_and_the_jobs_verdict(trace: Trace, diagnosis: Diagnosis) -> None:
    assert shown_ranks(diagnosis) == list(range(RANKS))
    judged = diagnosis.budget_rank
    other = next(rank for rank in range(RANKS) if rank != judged)
    seen = seen_from_rank(trace, diagnosis, other)
    (budget,) = [each for each in diagnosis.per_process if each.rank == other]
    assert (seen.budget_rank, seen.time_budget) == (other, budget.time_budget)
    assert seen.verdict == diagnosis.verdict and seen.steps.count == diagnosis.steps.count
    assert seen_from_rank(trace, diagnosis, 99) is diagnosis
    assert judged is not None and seen_from_rank(trace, diagnosis, judged) is diagnosis


def test_the_trace_of_a_rank_has_only_its_processes(trace: Trace) -> None:
    of_rank = trace_of_rank(trace, 2)
    processes = of_rank.table("processes")
    kernels, launches = of_rank.table("kernels"), of_rank.table("launches")
    assert processes is not None and set(processes["rank"]) == {2}
    assert kernels is not None and set(kernels["process"]) == set(processes["process"])
    assert launches is not None and kernels["launch"].max() < len(launches)
    assert of_rank is trace_of_rank(trace, 2) and of_rank.span_ns == trace.span_ns
    assert trace_of_rank(trace, 99) is trace


def test_the_rows_of_the_picture_are_ordered_by_own_time(
    trace: Trace, diagnosis: Diagnosis
) -> None:
    heat = trace.fact(rank_heat)
    assert heat is not None and sorted(heat.ranks) == list(range(RANKS))
    means = np.nanmean(heat.own_ms, axis=1)
    assert (np.diff(means) <= 0).all() and heat.own_ms.shape[1] <= MOST_COLUMNS
    data = heat_data(heat, straggler_ranks(diagnosis))
    cells = np.frombuffer(base64.b64decode(data["cells"]), np.uint8)
    assert cells.size == heat.own_ms.size and cells.min() == 1 and cells.max() == 255
    assert cells.argmax() == np.nanargmax(heat.own_ms)
    assert json.dumps(data) and rank_heat_card(trace, diagnosis).count("data-heat") == 1


def test_a_run_of_one_rank_has_no_picture_and_no_selector(tmp_path: Path) -> None:
    run = input_bound()
    assert run.fact(rank_heat) is None
    assert rank_heat_card(run, diagnose_trace(run)) == ""


def test_every_link_of_a_page_keeps_the_rank(asked: DashboardClient) -> None:
    (run,) = [entry.id for entry in asked.library.runs() if entry.parts]
    page = asked.page(f"/run/{run}/overview", "?rank=3")
    (selector,) = every(page["page"], "Select")
    assert selector["data-rank"] == "3"
    assert [option["value"] for option in every(page["page"], "Option")] == [
        str(rank) for rank in range(RANKS)
    ]
    links: list[dict[str, Any]] = [*every(page["links"], "Link"), *every(page["page"], "Link")]
    inside = [link["href"] for link in links if f"/run/{run}/" in link["href"]]
    assert len(inside) > 5
    assert all(parse_qs(urlsplit(href).query).get("rank") == ["3"] for href in inside)


@pytest.mark.parametrize("search", ["?rank=99", "?rank=-1", "?rank=x", "?rank=" + "9" * 400])
def test_a_rank_that_does_not_exist_is_that_of_the_verdict(
    asked: DashboardClient, search: str
) -> None:
    (run,) = [entry.id for entry in asked.library.runs() if entry.parts]
    page = asked.page(f"/run/{run}/overview", search)
    assert page["failure"] is None
    (selector,) = every(page["page"], "Select")
    assert selector["data-rank"] == selector["data-verdict"]

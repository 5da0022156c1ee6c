"""Operators & kernels: what its first tab sends, its nodes, and the names of its rows."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from perfscope.analyzer.compute.kernel_table import kernel_table
from perfscope.traces.load import load_trace
from perfscope.ui.dashboard.serve import Dashboard
from perfscope.ui.html.trace_sections import kernels_with_origins
from tests.target_processes import until
from tests.traces.kineto.recorded import FOLDER, WHERE, each_recorded
from tests.ui.browsing import forget_last_page
from tests.ui.dashboard_client import DashboardClient, address, every
from tests.ui.kineto_files import small_trace

MOST_BYTES, MOST_NODES, NAMED_ROWS = 200_000, 1_500, 20
LARGE = FOLDER / "kineto" / "a100_16ranks_rank0.json.gz"
IS_SHOWN = """
  const loads = document.querySelector("[data-dash-is-loading=true],._dash-loading");
  return !loads && document.querySelectorAll("#page .card").length > 0;
"""
NODES = "return document.getElementsByTagName('*').length"
SCRIPTS = "return performance.getEntriesByType('resource').map((each) => each.name)"


def test_the_first_tab_needs_no_script_of_charts_or_grids(tmp_path: Path) -> None:
    small_trace(tmp_path / "gpu.json")
    client = DashboardClient(tmp_path)
    page = client.page("/run/gpu.json/operators", "?tab=summary")["page"]
    assert every(page, "Graph") == [] == every(page, "AgGrid")
    (bars,) = [each for each in every(page, "Div") if each.get("aria-label", "").startswith("Dev")]
    (filled,) = [each for each in every([bars["children"]], "Div") if "filled" in css_of(each)]
    assert filled["style"]["width"] == "100.00%"
    (link,) = [each for each in every(page, "Link") if each["href"].endswith("?tab=kernels")][1:]
    assert link["className"] == "all-rows"
    assert every(client.page("/run/gpu.json/operators", "?tab=kernels")["page"], "AgGrid")


def css_of(component: dict[str, Any]) -> str:
    return str(component.get("className", ""))


@WHERE
@pytest.mark.shared_traces
def test_the_first_tab_of_a_large_trace_sends_little() -> None:
    page = DashboardClient(LARGE).page(f"/run/{LARGE.name}/operators")
    sent = len(msgspec.json.encode(page))
    assert page["failure"] is None and sent < MOST_BYTES
    assert every(page["page"], "Graph") == [] == every(page["page"], "AgGrid")


@WHERE
@pytest.mark.shared_traces
def test_no_tab_of_a_large_trace_has_many_nodes(browser: Any) -> None:
    dashboard = Dashboard(LARGE, port=0)
    try:
        forget_last_page(browser)
        browser.get(dashboard.url)
        for tab in ("summary", "kernels", "operators", "modules"):
            browser.get(address(dashboard, f"/run/{LARGE.name}/operators?tab={tab}"))
            until(lambda: browser.execute_script(IS_SHOWN))
            assert browser.execute_script(NODES) < MOST_NODES, tab
            assert not any("plotly" in name for name in browser.execute_script(SCRIPTS))
    finally:
        dashboard.close()


@each_recorded()
@pytest.mark.shared_traces
def test_the_first_kernels_have_different_names(path: Path) -> None:
    if not path.exists():
        pytest.skip("needs the recorded traces")
    trace = load_trace(path)
    for rank in set(trace.fact(kernel_table)["rank"]) or {0}:
        for table in kernels_with_origins(trace, rank):
            names = table.rows["short_name"].head(NAMED_ROWS)
            assert names.is_unique, names[names.duplicated(keep=False)].tolist()

"""Every page shows the rank that is chosen in the header, and keeps it in its links."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import plotly.utils
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.folder_contents import Found
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from perfscope.ui.dashboard.open_runs import Opened
from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.devices import devices
from perfscope.ui.html.tables import Table
from tests import build
from tests.analyzer.loop import MS, SECOND_RANK, Loop, trace_of_two_ranks
from tests.serving.requests_trace import numbered, request_row
from tests.traces.generated_ranks import generated_ranks

STEPS = 60
TABS = ("", "lines", "functions", "flame-graph", "callers", "kernels", "operators")
WITHOUT_A_DIFFERENCE = {"timeline"}
"""The layout of the timeline is empty: its script unfolds the rank that the address names."""
diagnosed = cache(diagnose_trace)


def loop_of(process: int, wait_ms: float) -> Loop:
    """Return a training loop with a worker, samples, counters and requests of its own."""
    loop = Loop(process, 100 + process)
    for _ in range(STEPS):
        loop.next(wait_ms, workers=1).work()
    stack = f"<module> (./train.py:1);step_{process} (./train.py:{process + 5})"
    loop.sampled("stacks", 5, weight_ns=5 * MS, stack=stack)
    loop.tables["counters"] = [
        {"process": process, "ts": at, "name": name, "value": float(value * (process + 1))}
        for at in range(0, loop.at, 50 * MS)
        for name, value in (("cpu_ns", at // 2), ("rss_bytes", 10**8), ("run_delay_ns", at // 9))
    ]
    loop.tables["fetches"] = [
        {
            "process": process + 2,
            "tid": 100 + process + 2,
            "worker": 0,
            "ts": at,
            "dur": round((wait_ms + 5) * MS),
            "dataset_ns": round(wait_ms * MS),
            "collate_ns": MS,
            "cpu_ns": MS,
        }
        for at in range(0, loop.at, round((wait_ms + 6) * MS))
    ]
    loop.tables["memory"] = [
        {
            "process": process,
            "device": process,
            "ts": at,
            "bytes": 10**6,
            "allocated_bytes": (process + 1) * 10**9,
            "reserved_bytes": 4 * 10**9,
        }
        for at in range(0, loop.at, 50 * MS)
    ]
    arrivals_ms = range(0, loop.at // MS, 5)
    requests = [request_row(at_ms, 2 + process, process=process) for at_ms in arrivals_ms]
    loop.tables["requests"] = numbered(requests)
    return loop


@pytest.fixture(scope="module")
def recording() -> Trace:
    """A recording of two ranks on one host, each with a worker and a device."""
    first, second = loop_of(0, 7), loop_of(1, 4)
    end_ns = max(first.at, second.at)
    workers = [
        {**rank, "process": 2 + number, "pid": 110 + number, "ns_pid": 110 + number}
        | {"role": "loader-worker", "worker": 0, "parent": number}
        for number, rank in enumerate((build.MAIN, SECOND_RANK))
    ]
    reading = {"host": "host", "name": "kernel_time_share"}
    held = {"host": "host", "memory_bytes": 10**9}
    instants = range(0, end_ns, 50 * MS)
    made = trace_of_two_ranks(
        first,
        second,
        processes=[build.MAIN, SECOND_RANK, *workers],
        device_counters=[
            {**reading, "device": device, "ts": ts, "value": 0.4 + device / 3}
            for device in (0, 1)
            for ts in instants
        ],
        device_processes=[
            {**held, "device": device, "process": device, "pid": 100 + device, "ts": ts}
            for device in (0, 1)
            for ts in instants
        ],
    )
    made.manifest.devices = [DeviceFacts(0, "NVIDIA A100"), DeviceFacts(1, "NVIDIA H100")]
    return made


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A job of the profiler's traces of three ranks."""
    folder = tmp_path_factory.mktemp("job")
    generated_ranks(folder, ranks=3)
    return load_trace(folder)


def page_text(trace: Trace, page: str, **query: str) -> str:
    """Return a page of a run as JSON, with the parameters of its address."""
    found = Found("job", "job", Path("job"), False, 0, 0.0, "")
    view = View("/run/job", Opened(found, trace, diagnosed(trace)), query)
    (layout,) = [each.layout for each in PAGES if each.path == page]
    return json.dumps(layout(view), cls=plotly.utils.PlotlyJSONEncoder)


def pages_of(trace: Trace) -> set[str]:
    """Return the pages that a run has data for."""
    return {page.path for page in PAGES if page.not_applicable(trace) is None}


def different_pages(trace: Trace) -> set[str]:
    """Return the pages whose contents depend on the rank, apart from its number in addresses."""
    return {
        page
        for page in pages_of(trace)
        if without_addresses(page_text(trace, page, rank="0"))
        != without_addresses(page_text(trace, page, rank="1"))
    }


def without_addresses(text: str) -> str:
    return text.replace("rank=0", "rank=").replace("rank=1", "rank=")


def test_every_page_depends_on_the_chosen_rank(recording: Trace, traces: Trace) -> None:
    assert pages_of(recording) | pages_of(traces) == {page.path for page in PAGES}
    for trace in (recording, traces):
        assert different_pages(trace) == pages_of(trace) - WITHOUT_A_DIFFERENCE


@pytest.mark.parametrize("tab", ["lines", "functions", "flame-graph", "callers"])
def test_the_code_is_that_of_the_rank(recording: Trace, tab: str) -> None:
    for rank in (0, 1):
        text = page_text(recording, "by-code", tab=tab, rank=str(rank))
        assert f"step_{rank}" in text and f"step_{1 - rank}" not in text


def device_names(trace: Trace, rank: int | None) -> list[str]:
    table = devices(trace, rank)[0]
    assert isinstance(table, Table)
    return list(table.rows["name"])


def test_the_devices_are_those_of_the_rank(recording: Trace) -> None:
    for rank, name in ((0, "NVIDIA A100"), (1, "NVIDIA H100")):
        assert device_names(recording, rank) == [name]
    assert device_names(recording, None) == ["NVIDIA A100", "NVIDIA H100"]
    assert "all-ranks" in page_text(recording, "devices")
    assert "all-ranks" not in page_text(recording, "devices", rank="1")


@pytest.mark.parametrize("tab", ["summary", "kernels"])
def test_the_kernels_are_those_of_the_rank(traces: Trace, tab: str) -> None:
    texts = {page_text(traces, "operators", tab=tab, rank=str(rank)) for rank in range(3)}
    assert len({without_addresses(text) for text in texts}) == 3


def test_every_tab_keeps_the_rank(recording: Trace, traces: Trace) -> None:
    for trace, page in ((recording, "by-code"), (traces, "operators")):
        for tab in TABS:
            links = hrefs(json.loads(page_text(trace, page, tab=tab, rank="1")))
            assert links and all("rank=1" in href for href in links)


def hrefs(part: Any) -> list[str]:
    """Return the addresses of the links inside a run."""
    if isinstance(part, list):
        return [href for child in part for href in hrefs(child)]
    if not isinstance(part, dict):
        return []
    properties = part.get("props", {})
    address = properties.get("href", "")
    found = [address] if address.startswith("/run/") else []
    return found + hrefs(properties.get("children"))

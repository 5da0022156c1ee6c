"""The roofline: its figure, its tables in the report, and the link from a point to the timeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer.compute.roofline import roofline_table
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.traces.trace import Trace
from perfscope.ui.figures.roofline import roofline
from perfscope.ui.html.report import write_report
from perfscope.ui.html.roofline_sections import roof_sections
from perfscope.ui.html.tables import Table
from tests.analyzer.traced.gpu import Gpu
from tests.target_processes import until
from tests.ui.conftest import open_sections

N = 2048
PEAKS = Peaks("a device", {"bfloat16": 100e12}, {"float32": 10e12}, 1e12, "a device")


def products_and_sums(name: str = "NVIDIA H100 80GB HBM3") -> Trace:
    """Return a trace of three times a product of 200 us, an addition of 40 us, and an operator
    without a model.
    """
    gpu, at = Gpu(), 100.0
    for _ in range(3):
        for op, dtype, dur in (
            ("mm", "c10::BFloat16", 200.0),
            ("add", "float", 40.0),
            ("mystery", "float", 60.0),
        ):
            texts = {"shapes": json.dumps([[N, N], [N, N]]), "dtypes": json.dumps([dtype] * 2)}
            gpu.op(at - 90, 8, f"aten::{op}", parent=-1, **texts).started(at - 89, at, dur, op)
            gpu.rows["launches"][-1]["op"] = len(gpu.rows["ops"]) - 1
            at += dur
    device = {
        "process": 0,
        "device": 0,
        "name": name,
        "kind": "cuda",
        "memory_bytes": 85 * 10**9,
        "multiprocessors": 132,
    }
    gpu.rows["devices"] = [device]
    return gpu.trace(manifest={"depth": "trace"})


def test_points_of_the_roofline_are_operators_below_its_roofs() -> None:
    rows = products_and_sums().fact(roofline_table)
    drawn = roofline(rows, PEAKS)
    points = {series.name: series for series in drawn.data if series.mode == "markers"}
    assert points["limited by arithmetic"].x[0] == pytest.approx(N / 3)
    assert points["limited by arithmetic"].y[0] == pytest.approx(2 * N**3 / 200e-6 / 1e12)
    assert points["limited by memory"].x[0] == pytest.approx(1 / 12)
    longest_begins_s = points["limited by arithmetic"].customdata[0][0]
    assert longest_begins_s == pytest.approx(100e-6)
    roofs = [series for series in drawn.data if series.mode == "lines"]
    assert {float(roof.y[-1]) for roof in roofs} == {100.0, 10.0}


def test_the_sections_have_the_covered_share_and_list_operators_without_a_model() -> None:
    figure, *tables = roof_sections(products_and_sums(), 0)
    assert not isinstance(figure, Table)
    assert "80 %" in figure.note and "H100 SXM5" in figure.note
    named = {table.id: table for table in tables if isinstance(table, Table)}
    assert named["no-roof"].rows["name"].tolist() == ["aten::mystery"]
    assert "remark" not in [column.head for column in named["roofs"].columns]


def test_there_is_no_figure_without_peaks_and_the_table_says_why() -> None:
    parts = roof_sections(products_and_sums("NVIDIA Whatever"), 0)
    assert all(isinstance(part, Table) for part in parts)
    assert isinstance(parts[0], Table) and parts[0].id == "roofs"
    assert "NVIDIA Whatever" in parts[0].note


def test_a_point_of_the_report_opens_the_timeline(browser: Any, tmp_path: Path) -> None:
    run = products_and_sums()
    write_report(run, diagnose_trace(run), tmp_path / "report.html")
    browser.get(f"file://{tmp_path / 'report.html'}")
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    open_sections(browser)
    place = (
        "const point = document.getElementById('roofline').data.find((series) => series.mode ==="
        " 'markers').customdata[0];"
    )
    click = (
        "document.getElementById('roofline').emit('plotly_click', { points: [{ customdata: point }]"
        " }); return point"
    )
    begin, end, *_ = browser.execute_script(place + click)
    shown = browser.execute_script(
        "const { shown } = document.getElementById('timeline').timeline; return [shown.from,"
        " shown.to]"
    )
    assert shown == pytest.approx([begin * 1e9, end * 1e9])
    heads = (
        "return [...document.querySelectorAll('#table-roofs th')].map((head) => head.textContent)"
    )
    assert {"FLOP/byte", "of roofline", "limited by"} <= set(browser.execute_script(heads))

"""The roofline of a rank: figure, operators against their roofs, and what has no model. For pages and the report."""

import math

import pandas as pd

from perfscope.analyzer.facts.device.roof_coverage import WITH_COST, covered, roof_coverage
from perfscope.analyzer.facts.device.roofline import MEMORY, roofline_table
from perfscope.analyzer.facts.device.roofs import roofs
from perfscope.analyzer.peaks.peaks import Peaks
from perfscope.analyzer.wording import digits, percent
from perfscope.traces.trace import Trace
from perfscope.ui.blocks.sections import Section
from perfscope.ui.blocks.tables import Column, Table, count, share, time
from perfscope.ui.figures.roofline import roofline, shapes

ENOUGH_TO_NAME = 0.02


def known(value: float, unit: str, size: float) -> str:
    return "not known" if math.isnan(value) else f"{digits(value / size)} {unit}"


def rate(value: float) -> str:
    return known(value, "TFLOP/s", 1e12) if value >= 1e11 or value != value else known(value, "GFLOP/s", 1e9)


def bandwidth(value: float) -> str:
    return known(value, "GB/s", 1e9)


def per_byte(value: float) -> str:
    return known(value, "", 1.0).strip()


def of_roof(value: float) -> str:
    return "not known" if math.isnan(value) else percent(value)


COLUMNS = (
    Column("name", "operator", "as the profiler names it"),
    Column("sizes", "inputs", "sizes of its inputs"),
    Column("dtype", "type", "the type whose arithmetic limits it"),
    Column("count", "calls", "how often it was called with these", count),
    Column("work_ns", "time", "sum of its work on the device (on a CPU: its own)", time),
    Column("intensity", "FLOP/byte", "arithmetic intensity: operations for each byte that must move", per_byte),
    Column("flops_per_s", "arithmetic", "operations a second", rate),
    Column("bytes_per_s", "traffic", "bytes a second that at least moved", bandwidth),
    Column("roof_share", "of its roof", "the time it would take at its roof, by the time it took", of_roof),
    Column("side", "limited by", "the roof that is nearer"),
    Column("mark", "remark", "why it is above its roof"),
)
MISSING = (
    Column("name", "what", "operator or kernel"),
    Column("why", "why", "why its FLOPs and bytes are not known"),
    Column("count", "runs", "kernels and copies", count),
    Column("work_ns", "time", "in all", time),
    Column("share", "share", "of all work of the device", share),
)


def roof_sections(trace: Trace, rank: int) -> list[Section | Table]:
    """Nothing where no operator has a cost."""
    rows = trace.fact(roofline_table)
    rows = rows[rows["rank"] == rank] if len(rows) and (rows["rank"] == rank).any() else rows
    if not len(rows):
        return []
    process, device = int(rows["process"].iloc[0]), int(rows["device"].iloc[0])
    rows = rows[(rows["process"] == process) & (rows["device"] == device)]
    peaks = trace.fact(roofs).get((process, device), "")
    table = rows.assign(
        sizes=[shapes(text) for text in rows["shapes"]], side=rows["side"].replace({MEMORY: "memory", "": "not known"})
    )
    note = (
        "FLOPs and bytes from shapes and types; bytes are the least that must move. What is far below its roof is held up by "
        "something else: too little work for the device, or how it goes about it."
    )
    drawn = roofline(rows, peaks if isinstance(peaks, Peaks) else None)
    found: list[Section | Table] = [
        Section("roofline", "Roofline", said(trace, peaks, process, device), drawn),
        Table("roofs", "Operators against their roofs", note, COLUMNS, table, ("longest_ts", "longest_ns")),
    ]
    return [*found, *without_model(trace, process, device)]


def said(trace: Trace, peaks: Peaks | str, process: int, device: int) -> str:
    """What is drawn, under which roofs, and of how much of the time."""
    rows = of_device(trace.fact(roof_coverage), process, device)
    whole, reach = covered(rows, reachable=False), covered(rows, reachable=True)
    text = "Each point is an operator with its shapes, its area its time. Click one to see its longest call on the timeline. "
    text += f"FLOPs and bytes are known for {percent(whole)} of the device's time"
    if reach - whole > 0.005:
        text += f" ({percent(reach)} of what an operator of the recording launched)"
    text += ". "
    if isinstance(peaks, Peaks):
        measured = "measured on this machine" if peaks.measured else "by its maker's data, without sparsity"
        return text + f"The roofs are those of {peaks.source}, {measured}."
    return text + f"No roofs are drawn: {peaks}."


def without_model(trace: Trace, process: int, device: int) -> list[Table]:
    """The list of what has no model, by time."""
    rows = of_device(trace.fact(roof_coverage), process, device)
    rows = rows[~rows["why"].isin(WITH_COST)]
    if not len(rows) or float(rows["share"].sum()) < ENOUGH_TO_NAME:
        return []
    note = "Work whose FLOPs and bytes the recording does not tell. It is not in the roofline."
    return [Table("no-roof", "Not in the roofline", note, MISSING, rows)]


def of_device(rows: pd.DataFrame, process: int, device: int) -> pd.DataFrame:
    return rows[(rows["process"] == process) & (rows["device"] == device)] if len(rows) else rows

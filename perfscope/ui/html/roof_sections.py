"""The roofline of a rank: figure, operators against their roofs, and what has no model. For pages
and the report.
"""

import math

import pandas as pd

from perfscope.analyzer import number_text as wording
from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.kernel_roofline import kernel_roofline
from perfscope.analyzer.compute.range_roofline import range_roofline
from perfscope.analyzer.compute.roofline import MEMORY, roofline_table
from perfscope.analyzer.compute.roofline_coverage import WITH_COST, covered, roof_coverage
from perfscope.analyzer.compute.step_flops import step_flops
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.traces.trace import Trace
from perfscope.ui.figures.roofline import roofline, shapes
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Column, Table, count, known_bytes, share, time

ENOUGH_TO_NAME = 0.02


def known(value: float, unit: str, size: float) -> str:
    return "not known" if math.isnan(value) else f"{digits(value / size)} {unit}"


def rate(value: float) -> str:
    return "not known" if math.isnan(value) else f"{wording.operations(value)}/s"


def bandwidth(value: float) -> str:
    return known(value, "GB/s", 1e9)


def per_byte(value: float) -> str:
    return known(value, "", 1.0).strip()


def of_roof(value: float) -> str:
    return "not known" if math.isnan(value) else percent(value)


def operations(value: float) -> str:
    return "not known" if math.isnan(value) else wording.operations(value)


COLUMNS = (
    Column("name", "operator", "as the profiler names it"),
    Column("sizes", "inputs", "sizes of its inputs"),
    Column("dtype", "type", "the type whose arithmetic limits it"),
    Column("count", "calls", "how often it was called with these", count),
    Column("work_ns", "time", "sum of its work on the device (on a CPU: its own)", time),
    Column(
        "intensity",
        "FLOP/byte",
        "arithmetic intensity: operations for each byte that must move",
        per_byte,
    ),
    Column("flops_per_s", "arithmetic", "operations a second", rate),
    Column("bytes_per_s", "traffic", "bytes a second that at least moved", bandwidth),
    Column(
        "roof_share",
        "of its roof",
        "the time it would take at its roof, by the time it took",
        of_roof,
    ),
    Column("side", "limited by", "the roof that is nearer"),
    Column("mark", "remark", "why it is above its roof"),
)
RATES = COLUMNS[5:9]
RANGE_COLUMNS = (
    Column("name", "range", "as the program names it"),
    Column("kind", "kind", "module, annotation or NVTX"),
    Column("count", "calls", "how often", count),
    Column(
        "work_ns",
        "time",
        "work of operators with a cost that ran in it, their backward included",
        time,
    ),
    Column("flops", "FLOP", "operations in all", operations),
    Column("bytes", "bytes", "that at least moved", known_bytes),
    *RATES,
)
KERNEL_COLUMNS = (
    Column("name", "kernel", "as the profiler names it"),
    Column("operator", "operator", "that launched it"),
    Column("count", "runs", "how often", count),
    Column("work_ns", "time", "sum of its durations", time),
    *RATES,
    Column(
        "alone",
        "alone",
        "share of its time in which it was its operator's only kernel; else it shares in the cost",
        share,
    ),
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
        sizes=[shapes(text) for text in rows["shapes"]],
        side=rows["side"].replace({MEMORY: "memory", "": "not known"}),
    )
    note = (
        "FLOPs and bytes from shapes and types; bytes are the least that must move. What is far"
        " below its roof is held up by something else: too little work for the device, or how it"
        " goes about it."
    )
    drawn = roofline(rows, peaks if isinstance(peaks, Peaks) else None)
    found: list[Section | Table] = [
        Section("roofline", "Roofline", said(trace, peaks, process, device), drawn),
        Table(
            "roofs", "Operators against their roofs", note, remarked(COLUMNS, table), table, PLACE
        ),
    ]
    for fact, name, title, words, columns in (
        (
            kernel_roofline,
            "kernel-roofs",
            "Kernels against their roofs",
            KERNELS_NOTE,
            KERNEL_COLUMNS,
        ),
        (
            range_roofline,
            "range-roofs",
            "Modules and ranges against their roofs",
            RANGES_NOTE,
            RANGE_COLUMNS,
        ),
    ):
        more = trace.fact(fact)
        more = more[more["process"] == process] if len(more) else more
        if len(more):
            found.append(Table(name, title, words, remarked(columns, more), more, PLACE))
    return [*found, *without_model(trace, process, device)]


def remarked(columns: tuple[Column, ...], rows: pd.DataFrame) -> tuple[Column, ...]:
    """Without the remarks where there are none."""
    return (
        columns
        if "mark" in rows and (rows["mark"] != "").any()
        else tuple(one for one in columns if one.name != "mark")
    )


PLACE = ("longest_ts", "longest_ns")
KERNELS_NOTE = "An operator's FLOPs and bytes are shared among its kernels by their time."
RANGES_NOTE = "Of the operators that ran while a module or range was open, and of their backward."


def said(trace: Trace, peaks: Peaks | str, process: int, device: int) -> str:
    """What is drawn, under which roofs, and of how much of the time."""
    rows = of_device(trace.fact(roof_coverage), process, device)
    whole, reach = covered(rows, reachable=False), covered(rows, reachable=True)
    text = (
        "Each point is an operator with its shapes, its area its time. Click one to see its longest"
        " call on the timeline. "
    )
    text += f"FLOPs and bytes are known for {percent(whole)} of the device's time"
    if reach - whole > 0.005:
        text += f" ({percent(reach)} of what an operator of the recording launched)"
    text += ". "
    text += of_a_step(trace, process, device)
    if isinstance(peaks, Peaks):
        measured = (
            "measured on this machine"
            if peaks.measured
            else "by its maker's data, without sparsity"
        )
        return text + f"The roofs are those of {peaks.source}, {measured}."
    return text + f"No roofs are drawn: {peaks}."


def of_a_step(trace: Trace, process: int, device: int) -> str:
    """What a step computes, and the share of the peak that is."""
    one = next(
        (one for one in trace.fact(step_flops) if (one.process, one.device) == (process, device)),
        None,
    )
    if one is None or one.flops <= 0:
        return ""
    text = (
        f"A step of {ms(one.step_ns)} does {operations(one.flops)} in products, convolutions and"
        " attention"
    )
    return text + (
        ". " if one.utilisation is None else f": {percent(one.utilisation)} of the peak (MFU). "
    )


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

"""The roofline of a rank: figure, distance of operators to the peak, and work without a model."""

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
    Column("name", "operator", "name in the profiler"),
    Column("sizes", "inputs", "shapes of the inputs"),
    Column("dtype", "type", "data type of the limiting arithmetic"),
    Column("count", "calls", "number of calls with these inputs", count),
    Column("work_ns", "time", "total time on the device (on a CPU: self time)", time),
    Column(
        "intensity",
        "FLOP/byte",
        "arithmetic intensity: operations per byte that must be moved",
        per_byte,
    ),
    Column("flops_per_s", "arithmetic", "operations per second", rate),
    Column("bytes_per_s", "traffic", "bytes per second, a lower bound", bandwidth),
    Column(
        "roof_share",
        "of roofline",
        "the time it would take at the roofline, divided by the time it took",
        of_roof,
    ),
    Column("side", "limited by", "memory bandwidth or arithmetic, whichever limits it first"),
    Column("mark", "remark", "why it is above the roofline"),
)
RATES = COLUMNS[5:9]
RANGE_COLUMNS = (
    Column("name", "range", "name in the program"),
    Column("kind", "kind", "module, annotation or NVTX"),
    Column("count", "calls", "number of calls", count),
    Column(
        "work_ns",
        "time",
        "time of operators with known FLOPs that ran in it, backward included",
        time,
    ),
    Column("flops", "FLOP", "total operations", operations),
    Column("bytes", "bytes", "bytes moved, a lower bound", known_bytes),
    *RATES,
)
KERNEL_COLUMNS = (
    Column("name", "kernel", "name in the profiler"),
    Column("operator", "operator", "operator that launched it"),
    Column("count", "runs", "number of runs", count),
    Column("work_ns", "time", "total duration", time),
    *RATES,
    Column(
        "alone",
        "alone",
        "share of its time as the only kernel of its operator; otherwise the FLOPs are divided",
        share,
    ),
    Column("mark", "remark", "why it is above the roofline"),
)
MISSING = (
    Column("name", "name", "operator or kernel"),
    Column("why", "reason", "why its FLOPs and bytes are not known"),
    Column("count", "runs", "number of kernels and copies", count),
    Column("work_ns", "time", "total time", time),
    Column("share", "share", "share of all work on the device", share),
)


def roof_sections(trace: Trace, rank: int) -> list[Section | Table]:
    """Return figure and tables; nothing where no operator has known FLOPs and bytes."""
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
        "FLOPs and bytes are computed from shapes and types; bytes are a lower bound. An operator"
        " far below the roofline has too little work for the device, or an inefficient kernel."
    )
    drawn = roofline(rows, peaks if isinstance(peaks, Peaks) else None)
    found: list[Section | Table] = [
        Section("roofline", "Roofline", said(trace, peaks, process, device), drawn),
        Table("roofs", "Operators on the roofline", note, remarked(COLUMNS, table), table, PLACE),
    ]
    for fact, name, title, words, columns in (
        (
            kernel_roofline,
            "kernel-roofs",
            "Kernels on the roofline",
            KERNELS_NOTE,
            KERNEL_COLUMNS,
        ),
        (
            range_roofline,
            "range-roofs",
            "Modules and ranges on the roofline",
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
    """Return the columns, without the remarks where there are none."""
    return (
        columns
        if "mark" in rows and (rows["mark"] != "").any()
        else tuple(one for one in columns if one.name != "mark")
    )


PLACE = ("longest_ts", "longest_ns")
KERNELS_NOTE = "The FLOPs and bytes of an operator are divided among its kernels by their time."
RANGES_NOTE = "Operators that ran inside a module or range, and their backward."


def said(trace: Trace, peaks: Peaks | str, process: int, device: int) -> str:
    """Return what the figure shows, its peaks, and how much of the time it covers."""
    rows = of_device(trace.fact(roof_coverage), process, device)
    whole, reach = covered(rows, reachable=False), covered(rows, reachable=True)
    text = (
        "One point per operator and shapes; the area is its time. Click a point to see its longest"
        " call on the timeline. "
    )
    text += f"FLOPs and bytes are known for {percent(whole)} of the device's time"
    if reach - whole > 0.005:
        text += f" ({percent(reach)} of the work that recorded operators launched)"
    text += ". "
    text += of_a_step(trace, process, device)
    if isinstance(peaks, Peaks):
        measured = (
            "measured on this machine"
            if peaks.measured
            else "from the vendor's data, without sparsity"
        )
        return text + f"Peaks: {peaks.source}, {measured}."
    return text + f"No peaks are drawn: {peaks}."


def of_a_step(trace: Trace, process: int, device: int) -> str:
    """Return the operations of a step, and their share of the peak."""
    one = next(
        (one for one in trace.fact(step_flops) if (one.process, one.device) == (process, device)),
        None,
    )
    if one is None or one.flops <= 0:
        return ""
    text = (
        f"A step of {ms(one.step_ns)} does {operations(one.flops)} in matrix multiplications,"
        " convolutions and attention"
    )
    return text + (
        ". " if one.utilisation is None else f": {percent(one.utilisation)} of the peak (MFU). "
    )


def without_model(trace: Trace, process: int, device: int) -> list[Table]:
    """Return the table of work without a model, by time."""
    rows = of_device(trace.fact(roof_coverage), process, device)
    rows = rows[~rows["why"].isin(WITH_COST)]
    if not len(rows) or float(rows["share"].sum()) < ENOUGH_TO_NAME:
        return []
    note = "Work whose FLOPs and bytes are not known."
    return [Table("no-roof", "Not in the roofline", note, MISSING, rows)]


def of_device(rows: pd.DataFrame, process: int, device: int) -> pd.DataFrame:
    return rows[(rows["process"] == process) & (rows["device"] == device)] if len(rows) else rows

"""The roofline of a rank: figure, distance of operators to the peak, and work without a model."""

import math

import pandas as pd

from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.kernel_roofline import kernel_roofline
from perfscope.analyzer.compute.range_roofline import range_roofline
from perfscope.analyzer.compute.roofline import MEMORY, roofline_table
from perfscope.analyzer.compute.roofline_coverage import WITH_COST, costed_share, roof_coverage
from perfscope.analyzer.compute.step_flops import step_flops
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.number_text import digits, ms, operations, percent
from perfscope.traces.trace import Trace
from perfscope.ui.figures.roofline import roofline, shapes
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Table, TableColumn, count_text, known_bytes, share, time

NOT_KNOWN = "not known"
ENOUGH_TO_LIST = 0.02
"""Work without a model is listed from this share of the device's time on."""
NOTICEABLE = 0.005
VENDOR_DATA = "from the vendor's data, without sparsity"
PLACE = ("longest_ts", "longest_ns")
OPERATORS_NOTE = (
    "FLOPs and bytes are computed from shapes and types; bytes are a lower bound. An operator far"
    " below the roofline has too little work for the device, or an inefficient kernel."
)
KERNELS_NOTE = "The FLOPs and bytes of an operator are divided among its kernels by their time."
RANGES_NOTE = "Operators that ran inside a module or range, and their backward."
FIGURE_NOTE = (
    "One point per operator and shapes; the area is its time. Click a point to see its longest"
    " call on the timeline. "
)


def flops_text(value: float) -> str:
    """Return a number of operations, or that it is not known."""
    return NOT_KNOWN if math.isnan(value) else operations(value)


def flop_rate(value: float) -> str:
    """Return operations per second, or that they are not known."""
    return NOT_KNOWN if math.isnan(value) else f"{operations(value)}/s"


def byte_rate(value: float) -> str:
    """Return bytes per second in GB/s, or that they are not known."""
    return NOT_KNOWN if math.isnan(value) else f"{digits(value / 1e9)} GB/s"


def intensity(value: float) -> str:
    """Return operations per byte, or that they are not known."""
    return NOT_KNOWN if math.isnan(value) else digits(value)


def roof_share(value: float) -> str:
    """Return the share of the roofline, or that it is not known."""
    return NOT_KNOWN if math.isnan(value) else percent(value)


COLUMNS = (
    TableColumn("name", "operator", "name in the profiler"),
    TableColumn("sizes", "inputs", "shapes of the inputs"),
    TableColumn("dtype", "type", "data type of the limiting arithmetic"),
    TableColumn("count", "calls", "number of calls with these inputs", count_text),
    TableColumn("work_ns", "time", "total time on the device (on a CPU: self time)", time),
    TableColumn(
        "intensity",
        "FLOP/byte",
        "arithmetic intensity: operations per byte that must be moved",
        intensity,
    ),
    TableColumn("flops_per_s", "arithmetic", "operations per second", flop_rate),
    TableColumn("bytes_per_s", "traffic", "bytes per second, a lower bound", byte_rate),
    TableColumn(
        "roof_share",
        "of roofline",
        "the time it would take at the roofline, divided by the time it took",
        roof_share,
    ),
    TableColumn("side", "limited by", "memory bandwidth or arithmetic, whichever limits it first"),
    TableColumn("mark", "remark", "why it is above the roofline"),
)
RATES = COLUMNS[5:9]
RANGE_COLUMNS = (
    TableColumn("name", "range", "name in the program"),
    TableColumn("kind", "kind", "module, annotation or NVTX"),
    TableColumn("count", "calls", "number of calls", count_text),
    TableColumn(
        "work_ns",
        "time",
        "time of operators with known FLOPs that ran in it, backward included",
        time,
    ),
    TableColumn("flops", "FLOP", "total operations", flops_text),
    TableColumn("bytes", "bytes", "bytes moved, a lower bound", known_bytes),
    *RATES,
)
KERNEL_COLUMNS = (
    TableColumn(
        "short_name",
        "kernel",
        "name in the profiler, shortened; the tooltip has all of it",
        full="name",
    ),
    TableColumn("operator", "operator", "operator that launched it"),
    TableColumn("count", "runs", "number of runs", count_text),
    TableColumn("work_ns", "time", "total duration", time),
    *RATES,
    TableColumn(
        "alone",
        "alone",
        "share of its time as the only kernel of its operator; otherwise the FLOPs are divided",
        share,
    ),
    TableColumn("mark", "remark", "why it is above the roofline"),
)
WITHOUT_MODEL_COLUMNS = (
    TableColumn("name", "name", "operator or kernel"),
    TableColumn("why", "reason", "why its FLOPs and bytes are not known"),
    TableColumn("count", "runs", "number of kernels and copies", count_text),
    TableColumn("work_ns", "time", "total time", time),
    TableColumn("share", "share", "share of all work on the device", share),
)


def roof_sections(trace: Trace, rank: int) -> list[Section | Table]:
    """Return figure and tables; nothing where no operator has known FLOPs and bytes, no figure
    where the peaks are not known.
    """
    rows = rows_of_rank_or_all(trace.fact(roofline_table), rank)
    if not len(rows):
        return []
    process, device = int(rows["process"].iloc[0]), int(rows["device"].iloc[0])
    rows = rows_of_device(rows, process, device)
    peaks = trace.fact(roofs).get((process, device), "")
    note = coverage_note(trace, peaks, process, device)
    if isinstance(peaks, Peaks):
        figure = Section("roofline", "Roofline", FIGURE_NOTE + note, roofline(rows, peaks))
        first: list[Section | Table] = [figure, operators_table(rows, OPERATORS_NOTE)]
    else:
        first = [operators_table(rows, f"{OPERATORS_NOTE} {note}")]
    return [
        *first,
        *kernel_and_range_tables(trace, process),
        *without_model(trace, process, device),
    ]


def rows_of_rank_or_all(rows: pd.DataFrame, rank: int) -> pd.DataFrame:
    """Return the rows of a rank; all rows where it has none."""
    of_rank = rows[rows["rank"] == rank] if len(rows) else rows
    return of_rank if len(of_rank) else rows


def rows_of_device(rows: pd.DataFrame, process: int, device: int) -> pd.DataFrame:
    """Return the rows of a device of a process."""
    if not len(rows):
        return rows
    return rows[(rows["process"] == process) & (rows["device"] == device)]


def operators_table(rows: pd.DataFrame, note: str) -> Table:
    """Return the table of operators with known FLOPs and bytes."""
    sizes = [shapes(text) for text in rows["shapes"]]
    sides = rows["side"].replace({MEMORY: "memory", "": NOT_KNOWN})
    shown = rows.assign(sizes=sizes, side=sides)
    columns = without_empty_remarks(COLUMNS, shown)
    return Table("roofs", "Operators on the roofline", note, columns, shown, PLACE)


def kernel_and_range_tables(trace: Trace, process: int) -> list[Table]:
    """Return the tables of kernels and of ranges that have known FLOPs and bytes."""
    kernels = ("kernel-roofs", "Kernels on the roofline", KERNELS_NOTE, KERNEL_COLUMNS)
    ranges = ("range-roofs", "Modules and ranges on the roofline", RANGES_NOTE, RANGE_COLUMNS)
    found = []
    for fact, (table_id, title, note, columns) in (
        (kernel_roofline, kernels),
        (range_roofline, ranges),
    ):
        rows = trace.fact(fact)
        rows = rows[rows["process"] == process] if len(rows) else rows
        if len(rows):
            shown_columns = without_empty_remarks(columns, rows)
            found.append(Table(table_id, title, note, shown_columns, rows, PLACE))
    return found


def without_empty_remarks(
    columns: tuple[TableColumn, ...], rows: pd.DataFrame
) -> tuple[TableColumn, ...]:
    """Return the columns, without the remarks where there are none."""
    if "mark" in rows and (rows["mark"] != "").any():
        return columns
    return tuple(column for column in columns if column.name != "mark")


def coverage_note(trace: Trace, peaks: Peaks | str, process: int, device: int) -> str:
    """Return how much of the time has known FLOPs and bytes, and the peaks."""
    rows = rows_of_device(trace.fact(roof_coverage), process, device)
    covered_share = costed_share(rows, reachable=False)
    covered_of_launched = costed_share(rows, reachable=True)
    coverage = f"FLOPs and bytes are known for {percent(covered_share)} of the device's time"
    if covered_of_launched - covered_share > NOTICEABLE:
        launched = percent(covered_of_launched)
        coverage += f" ({launched} of the work that recorded operators launched)"
    step = step_note(trace, process, device)
    return f"{coverage}. {step}{peaks_note(peaks)}"


def peaks_note(peaks: Peaks | str) -> str:
    """Return where the peaks are from, or why none are drawn."""
    if isinstance(peaks, str):
        return f"No roofline without the peaks of the device: {peaks}."
    source = "measured on this machine" if peaks.measured else VENDOR_DATA
    return f"Peaks: {peaks.source}, {source}."


def step_note(trace: Trace, process: int, device: int) -> str:
    """Return the operations of a step, and their share of the peak."""
    steps = (
        each
        for each in trace.fact(step_flops)
        if (each.process, each.device) == (process, device) and each.flops > 0
    )
    step = next(steps, None)
    if step is None:
        return ""
    utilization = ""
    if step.utilization is not None:
        utilization = f": {percent(step.utilization)} of the peak (MFU)"
    return (
        f"A step of {ms(step.step_ns)} does {operations(step.flops)} in matrix multiplications,"
        f" convolutions and attention{utilization}. "
    )


def without_model(trace: Trace, process: int, device: int) -> list[Table]:
    """Return the table of work whose FLOPs and bytes are not known, by time."""
    rows = rows_of_device(trace.fact(roof_coverage), process, device)
    rows = rows[~rows["why"].isin(WITH_COST)]
    if not len(rows) or float(rows["share"].sum()) < ENOUGH_TO_LIST:
        return []
    note = "Work whose FLOPs and bytes are not known."
    return [Table("no-roof", "Not on the roofline", note, WITHOUT_MODEL_COLUMNS, rows)]

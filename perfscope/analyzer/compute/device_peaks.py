"""The peaks of every device of a trace, or why they are not known."""

from dataclasses import replace

from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.hardware.calibrated_peaks import calibrated_device_peaks, calibrated_peaks
from perfscope.analyzer.hardware.device_products import device_peaks
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.run.budget_units import NO_DEVICE
from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.traces.trace import Trace

NOT_CALIBRATED = (
    "this CPU was not calibrated: run `perfscope doctor --calibrate` on the idle machine"
)
MEASURE_DEVICE = "`perfscope doctor --calibrate --device` measures them"


def roofs(trace: Trace) -> dict[tuple[int, int], Peaks | str]:
    """Return the peaks by process and device (-1: the CPU), or why they are unknown."""
    return {
        (unit.process, unit.device): roof_of_device(trace, unit.process, unit.device)
        for unit in work_units(trace)
    }


def roof_of_device(trace: Trace, process: int, device: int) -> Peaks | str:
    """Return the peaks of one device, or why they are unknown."""
    if device == NO_DEVICE:
        return calibrated_peaks(trace.manifest) or NOT_CALIBRATED
    devices = table(trace, "devices")
    rows = table_rows(trace, "devices", process)
    rows = None if rows is None else rows[rows["device"] == device]
    if rows is None or not len(rows):
        rows = None if devices is None else devices[devices["device"] == device]
    if rows is None or not len(rows):
        return "the trace does not say what device it is of"
    row = rows.iloc[0]
    name = row["name"] if isinstance(row["name"], str) else ""
    kind = row["kind"] if isinstance(row["kind"], str) else ""
    found = device_peaks(name, kind, int(row["multiprocessors"]), int(row["memory_bytes"]))
    if isinstance(found, str) and name:
        measured = calibrated_device_peaks(name.strip(), int(row["multiprocessors"]))
        found = f"{found}: {MEASURE_DEVICE}" if measured is None else measured
    torch = manifest(trace).torch
    if isinstance(found, str) or torch is None or not torch.float32_products:
        return found
    return replace(found, in_tf32=torch.float32_products == "tf32")

"""Peaks that were measured. Of a CPU: by the calibration that was stored in the run when it was
recorded, else by a later one of this machine. Of an accelerator that the table of products does not
know: by a calibration of the same name in the reader's cache.
"""

from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.number_text import percent
from perfscope.traces.calibrations import BUSY, load_calibration, load_device_calibration
from perfscope.traces.run_folder.manifest import Manifest

VECTOR = ("float32", "float64")


def calibrated_peaks(manifest: Manifest) -> Peaks | None:
    """Return the peaks of the CPU, None without a calibration for this torch and these threads.

    Matrix multiplications and other arithmetic share the CPU's units: one rate for both.
    """
    if manifest.torch is None or not manifest.host:
        return None
    found = manifest.calibration or load_calibration(
        manifest.host, manifest.torch.version, manifest.torch.intra_op_threads
    )
    if found is None:
        return None
    vector = {name: rate for name, rate in found.flops_per_s.items() if name in VECTOR}
    threads = f"{found.threads} thread{'s' if found.threads != 1 else ''}"
    named = f"{found.cpu} with {threads}"
    if found.busy_share > BUSY:
        named += f" (measured while {percent(found.busy_share)} of the cores were busy)"
    return Peaks(named, dict(found.flops_per_s), vector, found.bytes_per_s, named, measured=True)


def calibrated_device_peaks(name: str, multiprocessors: int) -> Peaks | None:
    """Return the peaks of an accelerator, None without a calibration of this name and size.

    Products of float32 may run in matrix units, and the vector units have their rate, or a lower
    one; for other types the rate outside of products is unknown.
    """
    found = load_device_calibration(name, multiprocessors)
    if found is None:
        return None
    rates = found.flops_per_s
    vector = {name: rate for name, rate in rates.items() if name == "float32"}
    source = f"{name}, measured with torch {found.torch}"
    return Peaks(name, dict(rates), vector, found.bytes_per_s, source, measured=True)

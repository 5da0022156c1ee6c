"""The peaks of a CPU: the calibration that was stored in the run when it was recorded, else a later
one of this machine.
"""

from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.number_text import percent
from perfscope.traces.calibrations import BUSY, load_calibration
from perfscope.traces.run.manifest import Manifest

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

"""Findings of the roofline: found, clear or not checked; and what bounds the run."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perfscope.analyzer.compute.memory_bound import fused_update
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.analyzer.hardware.calibrated_peaks import calibrated_peaks
from perfscope.traces import calibrations
from perfscope.traces.run_folder.manifest import Calibration
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import Gpu
from tests.build import trace

H100 = {
    "device": 0,
    "name": "NVIDIA H100 80GB HBM3",
    "kind": "cuda",
    "memory_bytes": 85 * 10**9,
    "multiprocessors": 132,
}
HALF, FULL, DOUBLE, WHOLE = "c10::BFloat16", "float", "double", "long int"
MS = 1_000_000
LARGE = [4096, 4096]
LOW = "low-occupancy"

Work = tuple[str, list[int], str, float, dict[str, Any]]


def trace_of_gpu(*work: Work, repeat: int = 12) -> Trace:
    """Return a trace of operators on two tensors of one shape, whose kernels run one after another.

    An item of `work` is name, shape, type, and microseconds and columns of the kernel.
    """
    gpu, at = Gpu(), 1000.0
    for number in range(repeat * len(work)):
        name, shape, dtype, dur, kernel = work[number % len(work)]
        call = 10.0 * number
        gpu.op(
            call,
            8,
            name,
            shapes=json.dumps([shape, shape]),
            dtypes=json.dumps([dtype, dtype]),
            parent=-1,
        )
        gpu.started(call + 1, at, dur, **{"name": "k", **kernel})
        gpu.rows["launches"][-1]["op"] = number
        at += dur
    gpu.rows["devices"] = [{"process": 0, **H100}]
    return gpu.trace(manifest={"depth": "trace"})


def find(diagnosis: Diagnosis, id: str) -> Finding | None:
    return next((finding for finding in diagnosis.findings if finding.id == id), None)


# 3 x 2 x 4096^2 bytes at 3350 GB/s are 30 us
ADD: Work = ("aten::add", LARGE, HALF, 36.0, {})
MUL: Work = ("aten::mul", LARGE, HALF, 36.0, {})


def test_a_sequence_of_elementwise_operators_is_memory_bound() -> None:
    diagnosis = diagnose_trace(trace_of_gpu(ADD, MUL, ("aten::silu", LARGE, HALF, 24.0, {})))
    finding = find(diagnosis, "memory-bound")
    assert finding is not None and finding.share > 0.5
    assert finding.speedup is not None and finding.speedup.likely is None
    assert "`add`" in finding.explanation and "`mul`" in finding.explanation
    assert finding.evidence[0].start_ns is not None and finding.evidence[0].unit == "ms"
    assert diagnosis.bound_by.id == "memory-bandwidth"


def test_an_elementwise_operator_alone_between_products_is_not_memory_bound() -> None:
    """A product at 70 % of its roof (2 x 4096^3 operations at 989 TFLOP/s are 139 us), and then an
    addition.
    """
    diagnosis = diagnose_trace(trace_of_gpu(("aten::mm", LARGE, HALF, 199.0, {}), ADD))
    assert find(diagnosis, "memory-bound") is None and find(diagnosis, "compute-bound") is None
    assert diagnosis.verdict.id != "compute-bound"
    assert diagnosis.bound_by.id == "compute"


def test_products_far_below_their_roof_are_compute_bound() -> None:
    """A tenth of the roof: good code reaches half of it, which would save four fifths."""
    diagnosis = diagnose_trace(trace_of_gpu(("aten::mm", LARGE, HALF, 1390.0, {})))
    finding = find(diagnosis, "compute-bound")
    assert finding is not None and finding.share == pytest.approx(0.8, abs=0.06)
    assert "`mm`" in finding.explanation
    assert any("4096" in evidence.text for evidence in finding.evidence)


@pytest.mark.parametrize(
    ("kernel", "is_found"), [("ampere_sgemm_128x64_nn", True), ("sm80_xmma_gemm_tf32f32", False)]
)
def test_float32_products_without_matrix_units_leave_reduced_precision_unused(
    kernel: str, is_found: bool
) -> None:
    """The products run at 50 TFLOP/s."""
    diagnosis = diagnose_trace(trace_of_gpu(("aten::mm", LARGE, FULL, 2750.0, {"name": kernel})))
    finding = find(diagnosis, "reduced-precision-unused")
    assert (finding is not None) == is_found
    if finding is not None:
        snippets = [action.snippet or "" for action in finding.actions]
        assert any('set_float32_matmul_precision("high")' in snippet for snippet in snippets)


def test_a_narrower_type_does_not_help_products_too_small_for_the_matrix_units() -> None:
    """2 x 64^3 operations in 8 us are 0.07 TFLOP/s."""
    small = ("aten::mm", [64, 64], FULL, 8.0, {"name": "ampere_sgemm_32x32_sliced1x4_nn"})
    diagnosis = diagnose_trace(trace_of_gpu(small, repeat=400))
    assert find(diagnosis, "reduced-precision-unused") is None


def test_grids_smaller_than_the_device_are_low_occupancy() -> None:
    few = {"name": "small", "blocks": 33, "threads": 256, "occupancy_percent": 12}
    finding = find(diagnose_trace(trace_of_gpu(("aten::mm", [64, 64], HALF, 400.0, few))), LOW)
    assert finding is not None and finding.share == pytest.approx(0.75, abs=0.06)
    assert "33 blocks" in finding.explanation
    assert "132 multiprocessors" in finding.explanation
    many = {"name": "large", "blocks": 1320, "threads": 256, "occupancy_percent": 62}
    assert (
        find(diagnose_trace(trace_of_gpu(("aten::mm", [64, 64], HALF, 400.0, many))), LOW) is None
    )


def test_the_roofline_is_not_checked_without_shapes_and_grids() -> None:
    trace = Gpu().op(0, 8).started(1, 20, 5000).trace(manifest={"depth": "trace"})
    reasons = {item.id: item.reason for item in diagnose_trace(trace).not_checked}
    assert "record_shapes=True" in reasons["memory-bound"]
    assert "record_shapes=True" in reasons["compute-bound"]
    assert "grids" in reasons["low-occupancy"]


# -- on a CPU: a recording of 12 steps of 100 ms, the fifth of them inside a window


def recording_of_cpu(
    *work: tuple[str, list[int], str, float],
    host: str = "nowhere",
    by_number: bool = False,
    begin_ms: int = 500,
) -> Trace:
    """Return a recording whose window has these operators (name, shape, type, ms) in sequence.

    `by_number`: each operator first makes a tensor from a Python number.
    """
    ranges = [
        {
            "tid": 100,
            "ts": step * 100 * MS + at * MS,
            "dur": dur * MS,
            "category": what,
            "name": "Net",
            "object": 1,
            "value": 1,
        }
        for step in range(12)
        for at, dur, what in ((0, 80, "forward"), (80, 20, "optimizer"))
    ]
    ops, at = [], begin_ms * MS
    for name, shape, dtype, dur in work:
        texts = {"shapes": json.dumps([shape, shape]), "dtypes": json.dumps([dtype, dtype])}
        ops.append(
            {"tid": 100, "ts": at, "dur": round(dur * MS), "name": name, "parent": -1, **texts}
        )
        if by_number:
            texts = {"shapes": json.dumps([[], []]), "dtypes": json.dumps([DOUBLE, DOUBLE])}
            inner = {"tid": 100, "ts": at + MS // 100, "dur": MS // 20, **texts}
            ops.append({"name": "aten::to", "parent": len(ops) - 1, **inner})
            ops.append({"name": "aten::copy_", "parent": len(ops) - 1, **inner, "dur": MS // 50})
        at += round(dur * MS)
    began, ended = {"ts": 485 * MS, "begin": 490 * MS}, {"dur": 130 * MS, "end": 610 * MS}
    window = {"process": 0, **began, **ended, "steps": 1, "stall_ns": 0, "kept": True}
    return trace(
        ranges=ranges, ops=ops, windows=[window], manifest={"depth": "kernels", "host": host}
    )


def test_a_cpu_run_that_mostly_dispatches_is_launch_bound() -> None:
    diagnosis = diagnose_trace(recording_of_cpu(*[("aten::add", [8], FULL, 0.004)] * 2000))
    finding = find(diagnosis, "launch-bound")
    assert finding is not None and finding.share > 0.5
    assert "2,000" in finding.explanation
    assert diagnosis.bound_by.id == "host"


def test_a_cpu_run_of_large_products_is_not_launch_bound() -> None:
    products = [("aten::mm", [2048, 2048], FULL, ms) for ms in (78.0, 19.0)]
    diagnosis = diagnose_trace(recording_of_cpu(*products))
    assert find(diagnosis, "launch-bound") is None
    assert (diagnosis.verdict.id, diagnosis.bound_by.id) == ("healthy", "compute")


def test_copies_of_python_numbers_do_not_separate_elementwise_operators() -> None:
    """Each copy is a few bytes, so the operators before and after it are still a sequence."""
    scaled = [("aten::mul", [4096, 4096], FULL, 25.0)] * 3
    finding = find(diagnose_trace(recording_of_cpu(*scaled, by_number=True)), "memory-bound")
    assert finding is not None and finding.share == pytest.approx(0.5, abs=0.02)
    # The remaining quarter is up to 15 % shorter, because it has the caches alone.
    assert finding.speedup is not None
    assert finding.speedup.high == pytest.approx(4.0 / 0.85, rel=0.1)


@pytest.mark.parametrize(
    ("begin_ms", "advice"),
    [(500, {"compile-model", "use-fused-operators"}), (582, {"fuse-update"})],
)
def test_advice_on_memory_follows_the_part_of_the_step(begin_ms: int, advice: set[str]) -> None:
    scaled = [("aten::mul", [2048, 2048], FULL, 6.0)] * 3
    run = recording_of_cpu(*scaled, begin_ms=begin_ms)
    finding = find(diagnose_trace(run), "memory-bound")
    assert finding is not None
    assert {action.id for action in finding.actions} == advice


@pytest.mark.parametrize(
    ("names", "snippet"),
    [
        (["AdamW"], "torch.optim.AdamW(..., fused=True)"),
        (["Adadelta"], "optimizer.step = torch.compile(optimizer.step)"),
        (["Adam", "LBFGS"], "optimizer.step = torch.compile(optimizer.step)"),
    ],
)
def test_only_some_optimizers_have_a_fused_step(names: list[str], snippet: str) -> None:
    assert fused_update(names) == snippet


def test_float64_leaves_reduced_precision_unused_where_peaks_are_unknown() -> None:
    diagnosis = diagnose_trace(recording_of_cpu(("aten::mm", [2048, 2048], DOUBLE, 78.0)))
    finding = find(diagnosis, "reduced-precision-unused")
    assert finding is not None and 0.3 < finding.share < 0.5
    assert "float32" in finding.actions[0].text


def test_a_calibrated_cpu_has_a_roof(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Products of integers reach 0.22 of the CPU's 10 TFLOP/s, and the advice is another type."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = recording_of_cpu(("aten::mm", [2048, 2048], WHOLE, 78.0), host="box")
    reasons = {item.id: item.reason for item in diagnose_trace(run).not_checked}
    assert "doctor --calibrate" in reasons["compute-bound"]
    calibrations.store_calibration(
        Calibration("box", "a CPU", "2.13.0", 1, {"float32": 10e12}, 200e9, 0.0, 1.0)
    )
    run = recording_of_cpu(("aten::mm", [2048, 2048], WHOLE, 78.0), host="box")
    diagnosis = diagnose_trace(run)
    finding = find(diagnosis, "compute-bound")
    assert finding is not None and "2 %" in finding.headline
    assert "float32" in finding.actions[0].text
    assert diagnosis.verdict.id == "compute-bound"


def test_a_calibration_on_busy_cores_is_named_as_such_and_recorded_with_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = recording_of_cpu(("aten::mm", [2048, 2048], WHOLE, 78.0), host="box")
    calibrations.store_calibration(
        Calibration("box", "a CPU", "2.13.0", 1, {"float32": 10e12}, 200e9, 0.4, 1.0)
    )
    loaded = calibrated_peaks(run.manifest)
    assert loaded is not None and "40 %" in loaded.name
    recorded = msgspec.structs.replace(
        run.manifest, calibration=calibrations.load_calibration("box", "2.13.0", 1), host="other"
    )
    # On another host, the calibration in the recording applies.
    peaks = calibrated_peaks(recorded)
    assert peaks is not None and peaks.bytes_per_s == 200e9

"""Findings of the roofline: fire, stay silent, do not apply; and what bounds the run."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.analyzer.hardware.calibrated_peaks import calibrated_peaks
from perfscope.traces import calibrations
from perfscope.traces.run.manifest import Calibration
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


Work = tuple[str, list[int], str, float, dict[str, Any]]


def on_gpu(*work: Work, repeat: int = 12) -> Trace:
    """Operators of two tensors of a shape, each with a kernel behind the one before; microseconds
    and columns of the kernel.
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


def found(answer: Diagnosis, id: str) -> Finding | None:
    return next((one for one in answer.findings if one.id == id), None)


# 3 x 2 x 4096^2 bytes at 3350 GB/s are 30 us
ADD: Work = ("aten::add", LARGE, HALF, 36.0, {})
MUL: Work = ("aten::mul", LARGE, HALF, 36.0, {})


def test_elementwise_operators_behind_each_other_are_memory_bound() -> None:
    answer = diagnose_trace(on_gpu(ADD, MUL, ("aten::silu", LARGE, HALF, 24.0, {})))
    one = found(answer, "memory-bound")
    assert one is not None and one.speedup is not None and one.speedup.likely is None
    assert one.share > 0.5
    assert "`add`" in one.explanation and "`mul`" in one.explanation
    assert one.evidence[0].start_ns is not None and one.evidence[0].unit == "ms"
    assert answer.bound_by.id == "memory-bandwidth"


def test_one_alone_between_products_is_not() -> None:
    """A product at 70 % of its roof (2 x 4096^3 operations at 989 TFLOP/s are 139 us), and an
    addition behind it.
    """
    answer = diagnose_trace(on_gpu(("aten::mm", LARGE, HALF, 199.0, {}), ADD))
    assert found(answer, "memory-bound") is None and found(answer, "compute-bound") is None
    assert answer.verdict.id != "compute-bound"
    assert answer.bound_by.id == "compute"


def test_products_far_below_their_roof_are_compute_bound() -> None:
    """A tenth of the roof: half of it is what good code reaches, so four fifths could be had
    back.
    """
    one = found(diagnose_trace(on_gpu(("aten::mm", LARGE, HALF, 1390.0, {}))), "compute-bound")
    assert one is not None and one.share == pytest.approx(0.8, abs=0.06)
    assert "`mm`" in one.explanation and any("4096" in fact.text for fact in one.evidence)


@pytest.mark.parametrize(
    ("kernel", "fires"), [("ampere_sgemm_128x64_nn", True), ("sm80_xmma_gemm_tf32f32", False)]
)
def test_products_of_float32_outside_of_matrix_units_leave_precision_unused(
    kernel: str, fires: bool
) -> None:
    """At 50 TFLOP/s."""
    one = found(
        diagnose_trace(on_gpu(("aten::mm", LARGE, FULL, 2750.0, {"name": kernel}))),
        "reduced-precision-unused",
    )
    assert (one is not None) == fires
    assert one is None or 'set_float32_matmul_precision("high")' in str(
        [action.snippet for action in one.actions]
    )


def test_products_too_small_for_their_units_gain_nothing_from_a_narrower_type() -> None:
    """2 x 64^3 operations in 8 us are 0.07 TFLOP/s."""
    small = ("aten::mm", [64, 64], FULL, 8.0, {"name": "ampere_sgemm_32x32_sliced1x4_nn"})
    assert found(diagnose_trace(on_gpu(small, repeat=400)), "reduced-precision-unused") is None


def test_grids_smaller_than_the_device_are_low_occupancy() -> None:
    kernel = {"name": "small", "blocks": 33, "threads": 256, "occupancy_percent": 12}
    one = found(
        diagnose_trace(on_gpu(("aten::mm", [64, 64], HALF, 400.0, kernel))), "low-occupancy"
    )
    assert one is not None and one.share == pytest.approx(0.63, abs=0.06)
    assert "33 blocks" in one.explanation and "132 multiprocessors" in one.explanation
    full = {"name": "large", "blocks": 1320, "threads": 256, "occupancy_percent": 62}
    assert (
        found(diagnose_trace(on_gpu(("aten::mm", [64, 64], HALF, 400.0, full))), "low-occupancy")
        is None
    )


def test_without_shapes_it_is_said_what_is_missing() -> None:
    answer = diagnose_trace(Gpu().op(0, 8).started(1, 20, 5000).trace(manifest={"depth": "trace"}))
    why = {one.id: one.reason for one in answer.not_checked}
    assert (
        "record_shapes=True" in why["memory-bound"] and "record_shapes=True" in why["compute-bound"]
    )
    assert "grids" in why["low-occupancy"]


# -- on a CPU: a run of our own of 12 steps of 100 ms, the fifth of them inside a window


def on_cpu(
    *work: tuple[str, list[int], str, float], host: str = "nowhere", by_number: bool = False
) -> Trace:
    """In the step of the window operators behind each other, each of these milliseconds;
    `by_number`: each makes a tensor of a Python number first.
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
    ops, at = [], 500 * MS
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


def test_on_a_cpu_dispatching_makes_a_run_launch_bound() -> None:
    answer = diagnose_trace(on_cpu(*[("aten::add", [8], FULL, 0.004)] * 2000))
    one = found(answer, "launch-bound")
    assert one is not None and one.share > 0.5
    assert "2000 operators per step" in one.explanation
    assert answer.bound_by.id == "host"


def test_on_a_cpu_large_products_do_not() -> None:
    answer = diagnose_trace(
        on_cpu(("aten::mm", [2048, 2048], FULL, 78.0), ("aten::mm", [2048, 2048], FULL, 19.0))
    )
    assert found(answer, "launch-bound") is None
    assert (answer.verdict.id, answer.bound_by.id) == ("healthy", "compute")


def test_products_with_a_python_number_count_and_run_together() -> None:
    """Between two of them lies the copy of a number: some bytes, which end no run."""
    one = found(
        diagnose_trace(on_cpu(*[("aten::mul", [4096, 4096], FULL, 25.0)] * 3, by_number=True)),
        "memory-bound",
    )
    assert one is not None and one.share == pytest.approx(0.5, abs=0.02)
    # and the quarter that is left is up to 15 % shorter with the caches for itself
    assert one.speedup is not None and one.speedup.high == pytest.approx(4.0 / 0.85, rel=0.1)


def test_float64_is_told_without_any_peaks() -> None:
    one = found(
        diagnose_trace(on_cpu(("aten::mm", [2048, 2048], DOUBLE, 78.0))), "reduced-precision-unused"
    )
    assert one is not None and 0.3 < one.share < 0.5
    assert "float32" in one.actions[0].text


def test_a_cpu_has_a_roof_where_it_was_calibrated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whole numbers at 0.22 TFLOP/s for products of a CPU that does 10: far below, and the advice
    is another type.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = on_cpu(("aten::mm", [2048, 2048], WHOLE, 78.0), host="box")
    why = {one.id: one.reason for one in diagnose_trace(run).not_checked}
    assert "doctor --calibrate" in why["compute-bound"]
    calibrations.store_calibration(
        Calibration("box", "a CPU", "2.13.0", 1, {"float32": 10e12}, 200e9, 0.0, 1.0)
    )
    answer = diagnose_trace(on_cpu(("aten::mm", [2048, 2048], WHOLE, 78.0), host="box"))
    one = found(answer, "compute-bound")
    assert one is not None and "2 % of peak" in one.headline
    assert "float32" in one.actions[0].text
    assert answer.verdict.id == "compute-bound"
    calibrations.store_calibration(
        Calibration("box", "a CPU", "2.13.0", 1, {"float32": 10e12}, 200e9, 0.4, 1.0)
    )
    loaded = calibrated_peaks(run.manifest)
    assert loaded is not None and loaded.name.endswith(
        "(measured while 40 % of the cores were busy)"
    )
    recorded = msgspec.structs.replace(
        run.manifest, calibration=calibrations.load_calibration("box", "2.13.0", 1), host="other"
    )
    told = calibrated_peaks(recorded)
    assert (
        told is not None and told.bytes_per_s == 200e9
    )  # what was recorded with the run goes with it elsewhere

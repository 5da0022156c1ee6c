"""`thread-count`: too few intra-op threads for the idle cores, where operators can use them."""

from typing import Any

import pytest

from perfscope.analyzer.host import thread_count
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop
from tests.analyzer.outcomes import found, is_clear
from tests.build import MAIN, Rows

STEPS, STEP_MS = 60, 20


def recorded(
    *,
    threads: int = 1,
    cores: float = 8.0,
    others: float = 0.0,
    operator: str = "aten::addmm",
    operator_ms: float = 18.0,
    variables: dict[str, int] | None = None,
    dtypes: str = '["float", "float"]',
    physical: int | None = None,
) -> Trace:
    """Return steps of 20 ms, 18 of them in an operator, on one core of several."""
    loop = Loop()
    for _ in range(STEPS):
        loop.forward(18).optimizer(2)
    begin = 20 * STEP_MS * MS
    calls = round(18 / operator_ms)
    ops: Rows = [
        {
            "process": 0,
            "tid": 100,
            "ts": begin + round(call * operator_ms * MS),
            "dur": round(operator_ms * MS) - 10,
            "name": operator,
            "dtypes": dtypes,
        }
        for call in range(calls)
    ]
    window = {"process": 0, "ts": begin - MS, "dur": 30 * MS, "steps": 1, "kept": True}
    window |= {"begin": begin, "end": begin + 20 * MS, "stall_ns": 0}
    counters: Rows = []
    for at in range(0, loop.at, 100 * MS):
        host = {"process": -1, "tid": -1, "ts": at}
        counters += [
            {"process": 0, "tid": -1, "ts": at, "name": "cpu_ns", "value": float(at)},
            {**host, "name": "host_cpu_busy_ns", "value": at * (1.0 + others)},
            {**host, "name": "host_cpu_count", "value": cores},
        ]
    torch: dict[str, Any] = {
        "version": "2.13.0",
        "intra_op_threads": threads,
        "inter_op_threads": 1,
        "cuda": False,
        "thread_variables": variables or {},
    }
    manifest = {
        "torch": torch,
        "depth": "kernels",
        "usable_cores": {"cores": cores, "affinity": int(cores), "physical": physical},
    }
    return loop.trace(
        manifest=manifest, ops=ops, windows=[window], counters=counters, processes=[MAIN]
    )


def test_one_thread_on_idle_cores_has_a_ceiling_by_amdahls_law() -> None:
    finding = found(thread_count, recorded())
    assert finding.speedup is not None and finding.speedup.likely is None
    assert finding.speedup.high == pytest.approx(1 / (0.1 + 0.9 / 8), rel=0.02)
    assert [action.snippet for action in finding.actions] == ["torch.set_num_threads(8)"]


def test_a_variable_in_the_environment_is_changed_there() -> None:
    finding = found(thread_count, recorded(variables={"OMP_NUM_THREADS": 1}))
    assert [action.id for action in finding.actions] == [
        "raise-omp-threads",
        "use-more-intra-op-threads",
    ]
    assert finding.actions[0].snippet == "OMP_NUM_THREADS=8"
    other = found(thread_count, recorded(variables={"MKL_NUM_THREADS": 4}))
    assert [action.id for action in other.actions] == ["use-more-intra-op-threads"]


def test_busy_cores_and_enough_threads_are_clear() -> None:
    assert is_clear(thread_count, recorded(others=7.0))
    assert is_clear(thread_count, recorded(cores=2.0, others=0.6))
    assert is_clear(thread_count, recorded(threads=4))
    assert found(thread_count, recorded(cores=2.0)).speedup is not None
    assert found(thread_count, recorded(threads=2))


def test_hyperthreads_are_not_cores() -> None:
    assert is_clear(thread_count, recorded(cores=2.0, physical=1))
    finding = found(thread_count, recorded(cores=8.0, physical=4))
    assert finding.actions[0].snippet == "torch.set_num_threads(4)"


def test_operators_that_run_on_one_thread_are_clear() -> None:
    assert is_clear(thread_count, recorded(operator="aten::sort"))
    assert is_clear(thread_count, recorded(operator="aten::mm", dtypes='["long int", "long int"]'))
    assert is_clear(thread_count, recorded(operator="aten::normal_"))
    assert is_clear(thread_count, recorded(operator="aten::add", operator_ms=0.03))


@pytest.mark.parametrize(
    "operator",
    [
        "aten::mm",
        "aten::baddbmm",
        "aten::mkldnn_convolution",
        "aten::convolution_backward",
        "aten::add_",
        "aten::threshold_backward",
        "aten::native_layer_norm_backward",
        "aten::_log_softmax_backward_data",
        "aten::_fused_adamw_",
        "aten::max_pool2d_with_indices_backward",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
    ],
)
def test_operators_that_torch_splits_are_known(operator: str) -> None:
    assert thread_count.SPLIT_OPERATORS.fullmatch(operator)


@pytest.mark.parametrize(
    "operator", ["aten::normal_", "aten::randperm", "aten::sort", "aten::index_put_", "aten::item"]
)
def test_operators_that_run_on_one_thread_are_not_split(operator: str) -> None:
    assert thread_count.SPLIT_OPERATORS.fullmatch(operator) is None

"""What launched the longest run of a kernel."""

from perfscope.analyzer.compute.kernel_origins import kernel_origins
from tests.build import trace

THREAD = {"process": 1, "tid": 7}
DEVICE = {"process": 1, "device": 0, "stream": 7, "kind": "compute"}
PYTHON = {**THREAD, "category": "python"}


def test_operator_shapes_module_and_calls_are_those_of_the_longest_run() -> None:
    calls = [(100, "aten::mm", "[[2,3]]"), (300, "aten::addmm", "[[8,8]]")]
    made = trace(
        processes=[{"process": 1, "pid": 10, "role": "main", "rank": 0}],
        ranges=[
            {**PYTHON, "ts": 0, "dur": 600, "name": "train.py(3): step"},
            {**PYTHON, "ts": 290, "dur": 60, "name": "nn.Module: Linear_0"},
        ],
        ops=[
            {**THREAD, "ts": ts, "dur": 20, "name": name, "parent": -1, "shapes": shapes}
            for ts, name, shapes in calls
        ],
        launches=[
            {**THREAD, "ts": ts + 5, "dur": 5, "name": "cudaLaunchKernel", "kind": "kernel"}
            | {"op": number, "correlation": number + 1}
            for number, (ts, _, _) in enumerate(calls)
        ],
        kernels=[
            {**DEVICE, "ts": 120, "dur": 10, "name": "gemm", "launch": 0, "correlation": 1},
            {**DEVICE, "ts": 320, "dur": 90, "name": "gemm", "launch": 1, "correlation": 2},
            {**DEVICE, "ts": 500, "dur": 5, "name": "lonely", "launch": -1, "correlation": 3},
        ],
    )
    rows = made.fact(kernel_origins).set_index("name")
    found = rows.loc["gemm", ["operator", "shapes", "module", "python_calls"]].tolist()
    assert found == [
        "aten::addmm",
        "[[8,8]]",
        "Linear_0",
        "train.py(3): step › nn.Module: Linear_0",
    ]
    assert rows.loc["lonely", ["operator", "shapes", "module", "python_calls"]].tolist() == [""] * 4


def test_a_run_without_kernels_has_no_rows() -> None:
    assert not len(trace().fact(kernel_origins))

"""The time in which operators compute on a CPU, in traces recorded by torch's profiler."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from perfscope.analyzer.budget.cpu_work import computing_spans
from tests.analyzer.costs.recorded import record_work

PLANE = torch.ones(8, 16, 48, 48, requires_grad=True)
KERNELS = torch.ones(16, 16, 3, 3, requires_grad=True)
SERIES = torch.ones(64, 32, 64)


def both_ways() -> None:
    torch.nn.functional.conv2d(PLANE, KERNELS, padding=1).backward(PLANE.detach())


@pytest.mark.parametrize(
    "name, work",
    [
        ("aten::mkldnn_convolution", both_ways),
        ("aten::convolution_backward", both_ways),
        ("aten::pow", lambda: PLANE.detach() ** 3),
        ("aten::mkldnn_rnn_layer", lambda: torch.nn.LSTM(64, 64)(SERIES)),
        ("aten::mm", lambda: SERIES.reshape(-1, 64) @ SERIES.reshape(-1, 64).T),
    ],
)
def test_an_operator_that_computes_does_so_most_of_its_time(
    name: str, work: Callable[[], Any]
) -> None:
    work()
    ops = record_work(work).table("ops")
    assert ops is not None
    begin, end, row = computing_spans(ops)
    its = (ops["name"] == name).to_numpy()
    whole = int(ops["dur"].to_numpy()[its].sum())
    assert whole > 0
    assert int((end - begin)[its[row]].sum()) > 0.5 * whole


def test_an_operator_that_only_calls_another_does_not_compute() -> None:
    ops = record_work(lambda: torch.nn.functional.linear(SERIES, torch.ones(64, 64))).table("ops")
    assert ops is not None
    _, _, row = computing_spans(ops)
    names = set(ops["name"].to_numpy()[row])
    assert names & {"aten::mm", "aten::addmm", "aten::bmm"}
    assert not names & {"aten::linear", "aten::matmul"}

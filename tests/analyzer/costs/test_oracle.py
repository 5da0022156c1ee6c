"""FLOPs of operators that torch's profiler recorded, compared with those of torch's counter."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from perfscope.analyzer.compute.call_costs import op_costs
from perfscope.analyzer.run.table_access import table
from tests.analyzer.costs.recorded import record_work


def linear() -> None:
    layer = nn.Linear(96, 40)
    layer(torch.randn(7, 33, 96, requires_grad=True)).sum().backward()


def plain_products() -> None:
    a, b = torch.randn(3, 17, 19), torch.randn(3, 19, 23)
    torch.bmm(a, b)
    torch.baddbmm(torch.randn(3, 17, 23), a, b)
    torch.mm(a[0], b[0])
    torch.einsum("bij,bjk,kl->bil", a, b, torch.randn(23, 5))
    a[0].double() @ b[1].double()


def convolutions() -> None:
    for layer, shape in (
        (nn.Conv2d(6, 8, 3, padding=1, stride=2), (2, 6, 15, 17)),
        (nn.Conv2d(6, 12, (3, 5), dilation=2), (2, 6, 20, 21)),
        (nn.Conv1d(4, 8, 7), (3, 4, 50)),
        (nn.Conv3d(2, 4, 3), (1, 2, 8, 9, 10)),
        (nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1), (2, 6, 9, 8)),
    ):
        x = torch.randn(*shape, requires_grad=True)
        layer(x).sum().backward()


@pytest.mark.parametrize("work", [linear, plain_products, convolutions])
def test_products_and_convolutions_have_the_flops_that_torch_counts(
    work: Callable[[], Any],
) -> None:
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter:
        work()
    assert matrix_flops(work) == counter.get_total_flops()


def matrix_flops(work: Callable[[], Any]) -> float:
    costs = record_work(work).fact(op_costs)
    return float(costs.flops[~np.isnan(costs.bytes) & costs.matrix].sum())


def test_attention_has_the_flops_that_torch_counts() -> None:
    q, k, v = (torch.randn(2, 4, n, 16, requires_grad=True) for n in (32, 48, 48))
    flops = matrix_flops(lambda: functional.scaled_dot_product_attention(q, k, v).sum().backward())
    shapes = (q.shape, k.shape, v.shape)
    assert flops == sdpa_flop_count(*shapes) + sdpa_backward_flop_count(
        v.new_empty(2, 4, 32, 16).shape, *shapes
    )


def test_causal_attention_costs_the_pairs_on_and_below_the_diagonal() -> None:
    q = torch.randn(1, 1, 8, 16)
    assert matrix_flops(
        lambda: functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    ) == 2 * 36 * (16 + 16)


def test_a_grouped_convolution_costs_only_the_channels_of_each_group() -> None:
    """torch's counter ignores the groups in the gradient of the weights, which costs as much as the
    forward pass.
    """
    layer, x = nn.Conv2d(6, 12, (3, 5), groups=3), torch.randn(2, 6, 10, 11, requires_grad=True)
    forward = 2 * (2 * 12 * 8 * 7) * 2 * 15
    assert matrix_flops(lambda: layer(x).sum().backward()) == 3 * forward


def test_an_operator_on_a_sparse_tensor_has_no_cost() -> None:
    few, dense = torch.eye(64).to_sparse_coo(), torch.randn(64, 32)

    def work() -> None:
        torch.mm(few, dense)
        torch.add(few, few)
        torch.cat([few, few])

    trace = record_work(work)
    on_sparse = (
        table(trace, "ops")["name"]
        .isin(["aten::mm", "aten::addmm", "aten::add", "aten::cat"])
        .to_numpy()
    )
    assert on_sparse.sum() >= 4
    assert np.isnan(trace.fact(op_costs).bytes[on_sparse]).all()
    assert matrix_flops(lambda: torch.mm(dense.T, dense)) == 2 * 32 * 64 * 32


def test_a_recurrent_layer_costs_two_products_per_element() -> None:
    """T x B elements, 4 gates: 2 T B 4 H (I + H) in a layer, twice that in its backward."""
    length, batch, inputs, hidden = 7, 3, 16, 24
    layer, x = (
        nn.LSTM(inputs, hidden, num_layers=2),
        torch.randn(length, batch, inputs, requires_grad=True),
    )
    once = sum(2 * length * batch * 4 * hidden * (width + hidden) for width in (inputs, hidden))
    trace = record_work(lambda: layer(x)[0].sum().backward())
    names, flops = table(trace, "ops")["name"].astype(str).to_numpy(), trace.fact(op_costs).flops
    assert flops[names == "aten::mkldnn_rnn_layer"].sum() == once
    assert flops[names == "aten::mkldnn_rnn_layer_backward"].sum() == 2 * once

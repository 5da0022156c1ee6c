"""FLOPs, bytes and intensity of single operators, compared with numbers derived by hand."""

import json
from dataclasses import replace
from typing import Any

import pytest

from perfscope.analyzer.compute.costs import FAMILIES, MODELS, cost_of
from perfscope.analyzer.compute.costs.call import parse_call
from perfscope.analyzer.compute.costs.cost import Cost
from tests.analyzer.costs.recorded import inputs

F, H, L = "float", "c10::BFloat16", "long int"
THREE = '["float", "float", "float"]'


def cost(name: str, *tensors: tuple[list[int], str] | None, **values: Any) -> Cost | None:
    """Return the cost of an operator on these inputs; `v3=True`: input 3 has the value True."""
    by_position = {int(name[1:]): value for name, value in values.items()}
    call = parse_call(name, *inputs(*tensors, values=by_position))
    assert call is not None
    return cost_of(call)


@pytest.mark.parametrize(
    ("name", "tensors", "values", "flops", "moved"),
    [
        # 2 m k n; (m k + k n + m n) elements of 2 bytes
        (
            "aten::mm",
            [([512, 256], H), ([256, 128], H)],
            {},
            2 * 512 * 256 * 128,
            2 * (131072 + 32768 + 65536),
        ),
        (
            "aten::bmm",
            [([4, 8, 16], F), ([4, 16, 32], F)],
            {},
            4 * 2 * 8 * 16 * 32,
            4 * 4 * (128 + 512 + 256),
        ),
        (
            "aten::addmm",
            [([32], F), ([8, 16], F), ([16, 32], F)],
            {},
            8192,
            4 * (32 + 128 + 512 + 256),
        ),
        ("aten::mv", [([64, 32], F), ([32], F)], {}, 4096, 4 * (2048 + 32 + 64)),
        ("aten::add", [([64, 32], F), ([32], F)], {}, 2048, 4 * (2048 + 32 + 2048)),
        ("aten::mul_", [([64], H), ([], "double")], {}, 64, 2 * 64 + 8 + 2 * 64),
        ("aten::eq", [([64], F), ([64], F)], {}, 64, 512 + 64),
        ("aten::copy_", [([64], H), ([64], F)], {}, 0, 128 + 256),
        ("aten::fill_", [([64], F), None], {}, 0, 256),
        ("aten::sum", [([8, 16], F), None, None, None], {"v1": [1], "v2": False}, 128, 512 + 32),
        ("aten::_softmax", [([8, 16], F), None, None], {"v1": -1, "v2": False}, 640, 1024),
        (
            "aten::native_layer_norm",
            [([8, 16], F), None, ([16], F), ([16], F), None],
            {},
            7 * 128,
            1024 + 128,
        ),
        ("aten::embedding", [([100, 16], F), ([5, 7], L)], {}, 0, 35 * 8 + 2 * 35 * 64),
        (
            "aten::max_pool2d_with_indices",
            [([1, 1, 8, 8], F), None, None, None, None, None],
            {"v1": [2, 2], "v2": [2, 2], "v3": [0, 0], "v4": [1, 1], "v5": False},
            64,
            256 + 16 * 4 + 16 * 8,
        ),
        (
            "aten::cudnn_convolution",
            [([2, 4, 8, 8], F), ([8, 4, 3, 3], F), None, None, None, None],
            {"v2": [1, 1], "v3": [1, 1], "v4": [1, 1], "v5": 1},
            2 * 1024 * 36,
            4 * (512 + 288 + 1024),
        ),
        ("_C::silu_and_mul", [([8, 16], H), ([8, 32], H)], {}, 640, 2 * (128 + 256)),
    ],
)
def test_known_operators_have_their_flops_and_bytes(
    name: str, tensors: list[Any], values: dict[str, Any], flops: int, moved: int
) -> None:
    found = cost(name, *tensors, **values)
    assert found is not None
    assert (found.flops, found.bytes) == (flops, moved)


def test_the_intensity_of_a_large_product_is_a_third_of_its_side_in_16_bits() -> None:
    """n x n: 2 n^3 operations over 3 n^2 elements of 2 bytes."""
    found = cost("aten::mm", ([3072, 3072], H), ([3072, 3072], H))
    assert found is not None and found.intensity is not None
    assert found.intensity == pytest.approx(3072 / 3, rel=1e-12)


def test_the_cost_of_lists_of_parameters_is_unknown_without_a_type() -> None:
    shapes = "[[[8, 4], [8]], [[8, 4], [8]], [[8, 4], [8]], [[8, 4], [8]], []]"
    types = json.dumps(["TensorList"] * 5)
    call = parse_call("aten::_fused_adamw_", shapes, types, None, None, list_dtype="float32")
    found = None if call is None else cost_of(call)
    assert found is not None
    assert (found.read_bytes, found.written_bytes) == (4 * 4 * 40, 3 * 4 * 40)
    untyped = parse_call("aten::_fused_adamw_", shapes, types, None, None)
    assert untyped is not None
    assert cost_of(untyped) is None


def test_an_expanded_input_is_read_once() -> None:
    call = parse_call(
        "aten::mul", "[[64, 32], [64, 32]]", '["float", "float"]', "[[32, 1], [0, 1]]", None
    )
    assert call is not None
    found = cost_of(call)
    assert found is not None
    assert found.read_bytes == 4 * (2048 + 32)


@pytest.mark.parametrize(
    ("name", "values", "pairs"),
    [
        # 64 queries and keys; of the last 16 keys and its own, the first queries have fewer
        ("flash_attn::_flash_attn_forward", {"v5": True, "v6": 16, "v7": 0}, 64 * 17 - 16 * 17 / 2),
        ("flash_attn::_flash_attn_forward", {"v5": True, "v6": -1, "v7": -1}, 64 * 65 / 2),
        ("flash_attn::_flash_attn_forward", {"v5": False, "v6": 1, "v7": 1}, 64 * 3 - 2),
        (
            "aten::_flash_attention_forward",
            {"v8": True, "v11": 16, "v12": 0},
            64 * 17 - 16 * 17 / 2,
        ),
        ("aten::_efficient_attention_forward", {"v9": 1, "v13": 17}, 64 * 17 - 16 * 17 / 2),
    ],
)
def test_a_sliding_window_skips_the_pairs_outside_of_it(
    name: str, values: dict[str, Any], pairs: float
) -> None:
    tensor = ([2, 64, 4, 32], H)
    arguments = [tensor, tensor, tensor, *[None] * 12]
    found = cost(name, *arguments, **values)
    assert found is not None and found.flops == 2 * 2 * 4 * pairs * (32 + 32)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        (
            "aten::mm",
            ("[[4, 5], [6, 7]]", '["float", "float"]', None, None),
        ),  # the shapes do not fit
        ("aten::mm", ("[[4, 5]]", '["float"]', None, None)),  # one input is missing
        (
            "aten::mm",
            ("[[4, -5], [-5, 7]]", '["float", "float"]', None, None),
        ),  # the sizes are negative
        # a type that this version of torch does not have
        ("aten::add", ("[[4], [4]]", '["float", "mystery"]', None, None)),
        ("aten::add", ("[[4], [3]]", '["float", "float"]', None, None)),
        # the dimensions are unknown
        (
            "aten::sum",
            ("[[4, 4], [], [], []]", '["float", "ScalarList", "Scalar", ""]', None, None),
        ),
        # the type is unknown
        ("aten::cat", ("[[[4], [4]], []]", '["TensorList", "Scalar"]', None, '["", "0"]')),
        # the stride is unknown
        ("aten::convolution", ("[[2, 4, 8, 8], [8, 4, 3, 3]]", '["float", "float"]', None, None)),
        (
            "aten::_flash_attention_forward",
            ("[[2, 8, 4, 16], [2, 8, 4, 16], [2, 8, 4, 16]]", THREE, None, None),
        ),
        ("vllm::moe_forward", ("[[8, 16], [8, 4]]", '["float", "float"]', None, None)),
    ],
)
def test_operators_with_unknown_inputs_have_no_cost(name: str, texts: tuple[Any, ...]) -> None:
    call = parse_call(name, *texts)
    assert call is not None
    assert cost_of(call) is None


@pytest.mark.parametrize(
    "texts",
    [
        (None, None),
        ("[[4]]", None),
        ("[[4]", '["float"]'),
        ("7", '["float"]'),
        ("[[4]]", '["float", "x"]'),
    ],
)
def test_malformed_inputs_are_not_a_call(texts: tuple[Any, Any]) -> None:
    assert parse_call("aten::relu", *texts, None, None) is None


def test_no_model_raises_on_unusual_inputs() -> None:
    odd = [
        "[]",
        "[[]]",
        "[[0]]",
        "[[], [], [], [], [], [], [], [], [], [], [], []]",
        "[[4], [4], [4], [4], [4], [4], [4], [4], [4], [4], [4], [4]]",
        "[[4], [], [], [4], [4], [4], [4], [4], [4], [4], [4], [4], [4]]",
        "[[2, 0, 3, 3], [2, 0, 3, 3], [2, 0, 3, 3], [], [], [], [], [], [], [], [], []]",
        "[[[2]], [[2]], [[2]], [[]], [], [1], [], [], [], [], [], []]",
    ]
    for name in MODELS:
        for shapes in odd:
            for kind in ("float", "TensorList", "Scalar", "", "bool"):
                count = len(json.loads(shapes))
                types = "[" + ", ".join([f'"{kind}"'] * count) + "]"
                for concrete in (
                    None,
                    "[" + ", ".join(['"[1, 1]"'] * count) + "]",
                    "[" + ", ".join(['"True"'] * count) + "]",
                ):
                    call = parse_call(name, shapes, types, None, concrete, list_dtype="float32")
                    found = None if call is None else cost_of(call)
                    assert found is None or found.bytes >= 0


def test_no_operator_has_two_models() -> None:
    names = [name for family in FAMILIES for name in family.MODELS]
    assert len(names) == len(set(names))


EXPERTS = [([1000, 512], H), ([1000, 16], H), None]
# 1000 x 2 rows, and 16 x 15 to fill up tiles of 16
BUFFERS = {(1000, 2), (1000, 512), (2240, 256), (2240, 512)}


def cost_of_experts(buffers: set[tuple[int, ...]]) -> Cost | None:
    call = parse_call("vllm::moe_forward", *inputs(*EXPERTS, values={}))
    assert call is not None
    return cost_of(replace(call, allocated=frozenset(buffers)))


def test_a_mixture_of_experts_has_the_cost_of_its_buffers() -> None:
    """Gate, up and down are three products of 2000 rows with 512 x 256 weights. They move the
    tokens in and out, and the 4-bit weights of 16 experts.
    """
    found = cost_of_experts(BUFFERS)
    assert found is not None and found.matrix
    assert (found.flops, found.bytes) == (
        3 * 2 * 2000 * 512 * 256,
        2 * 1000 * 512 * 2 + 16 * 3 * 512 * 256 / 2,
    )


@pytest.mark.parametrize(
    "buffers",
    [
        set(),
        BUFFERS - {(1000, 2)},
        BUFFERS | {(1000, 4)},
        BUFFERS - {(2240, 512)},
        # filled up for 8 of the 16 experts: the others are on another device
        {(1000, 2), (2120, 256), (2120, 512)},
    ],
)
def test_a_mixture_of_experts_with_unknown_buffers_has_no_cost(
    buffers: set[tuple[int, ...]],
) -> None:
    assert cost_of_experts(buffers) is None

"""The least that a call of an operator costs: arithmetic, and traffic with memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perfscope.analyzer.compute.costs.call import Call, Tensor


@dataclass(frozen=True)
class Cost:
    """Floating-point operations and memory traffic of one call.

    `flops` counts a multiplication with its addition as two; None where only the traffic is known.
    The traffic is the least possible: each input is read once and each output is written once.
    `dtype` is the type whose peak limits the arithmetic. `matrix`: the arithmetic is matrix
    products, which matrix units (tensor cores) can compute.
    """

    flops: float | None
    read_bytes: float
    written_bytes: float
    dtype: str
    matrix: bool = False

    @property
    def bytes(self) -> float:
        """Return the bytes read and written."""
        return self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float | None:
        """Return the arithmetic intensity in FLOPs per byte, None if unknown."""
        if self.flops is None or self.bytes <= 0:
            return None
        return self.flops / self.bytes


CostModel = Callable[[Call], Cost | None]


def cost_of_tensors(
    flops: float | None,
    reads: Iterable[Tensor | None],
    writes: Iterable[Tensor | None],
    *,
    dtype: str,
    matrix: bool = False,
) -> Cost | None:
    """Return the cost of reading and writing these tensors, None if the type of one is unknown.

    None among the tensors is an optional argument that was not passed.
    """
    read = [tensor for tensor in reads if tensor is not None]
    written = [tensor for tensor in writes if tensor is not None]
    untyped = any(tensor.numel and not tensor.itemsize for tensor in (*read, *written))
    if not dtype or untyped:
        return None
    read_bytes = float(sum(tensor.nbytes for tensor in read))
    written_bytes = float(sum(tensor.nbytes for tensor in written))
    return Cost(flops, read_bytes, written_bytes, dtype, matrix)


def broadcast_shape(tensors: Iterable[Tensor]) -> tuple[int, ...] | None:
    """Return the shape that all tensors are expanded to, None if they cannot be."""
    shape: list[int] = []
    for tensor in tensors:
        dims = max(len(shape), len(tensor.shape))
        left = [1] * (dims - len(shape)) + shape
        right = [1] * (dims - len(tensor.shape)) + list(tensor.shape)
        pairs = list(zip(left, right, strict=True))
        if any(a != b and 1 not in (a, b) for a, b in pairs):
            return None
        shape = [b if a == 1 else a for a, b in pairs]
    return tuple(shape)


INTEGER_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64")
PROMOTION_ORDER = (*INTEGER_DTYPES, "float8", "float16", "bfloat16", "float32", "float64")


def promoted_dtype(tensors: Iterable[Tensor]) -> str:
    """Return the type of the result of arithmetic on these tensors, "" if it is not known.

    As in torch, a tensor without dimensions counts only where it is floating-point and the others
    are integers.
    """
    operands = list(tensors)
    dtypes = [tensor.dtype for tensor in operands]
    if not operands or any(dtype not in PROMOTION_ORDER for dtype in dtypes):
        return next((dtype for dtype in dtypes if dtype.startswith("complex")), "")
    counting = [tensor.dtype for tensor in operands if tensor.shape] or dtypes
    floats = [dtype for dtype in counting if dtype not in INTEGER_DTYPES]
    if not floats and any(dtype not in INTEGER_DTYPES for dtype in dtypes):
        return "float32"
    if {"float16", "bfloat16"} <= set(floats):
        return "float32"
    return max(floats or counting, key=PROMOTION_ORDER.index)

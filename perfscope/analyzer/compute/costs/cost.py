"""What one call of an operator costs at least: arithmetic, and traffic with memory."""

from collections.abc import Iterable
from dataclasses import dataclass

from perfscope.analyzer.compute.costs.call import Tensor

ANY = "any"


@dataclass(frozen=True)
class Cost:
    """`flops`: floating-point operations, a multiplication with its addition counted as two; None
    where only the traffic is known. Traffic is the least that must happen: each input read once,
    each output written once. `dtype` is the type whose peak limits the arithmetic; `matrix` says
    that it is products, which matrix units (tensor cores) can do.
    """

    flops: float | None
    read_bytes: float
    written_bytes: float
    dtype: str
    matrix: bool = False

    @property
    def bytes(self) -> float:
        """Both directions."""
        return self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float | None:
        """FLOP per byte, None where one of them is not known."""
        return None if self.flops is None or self.bytes <= 0 else self.flops / self.bytes


def costs(
    flops: float | None,
    reads: Iterable[Tensor | None],
    writes: Iterable[Tensor | None],
    *,
    dtype: str,
    matrix: bool = False,
) -> Cost | None:
    """The cost of reading and writing these tensors (None among them: an optional one that is not
    there); None where the type of one is not known.
    """
    read = [one for one in reads if one is not None]
    written = [one for one in writes if one is not None]
    if not dtype or any(one.numel and not one.itemsize for one in (*read, *written)):
        return None
    return Cost(
        flops,
        float(sum(t.nbytes for t in read)),
        float(sum(t.nbytes for t in written)),
        dtype,
        matrix,
    )


def broadcast(tensors: Iterable[Tensor]) -> tuple[int, ...] | None:
    """The shape that all of these are expanded to, None when they do not fit."""
    shape: list[int] = []
    for one in tensors:
        sizes = list(one.shape)
        longer = max(len(shape), len(sizes))
        before, mine = [1] * (longer - len(shape)) + shape, [1] * (longer - len(sizes)) + sizes
        if any(a != b and 1 not in (a, b) for a, b in zip(before, mine, strict=True)):
            return None
        shape = [b if a == 1 else a for a, b in zip(before, mine, strict=True)]
    return tuple(shape)


ORDER = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float8",
    "float16",
    "bfloat16",
    "float32",
    "float64",
)
WHOLE = ORDER[:6]


def promoted(tensors: Iterable[Tensor]) -> str:
    """The type of the result of arithmetic on these, as torch promotes: a tensor without dimensions
    counts only where it is of a higher kind (floating over whole numbers); "" where one is not
    known.
    """
    some = list(tensors)
    if not some or any(one.dtype not in ORDER for one in some):
        return next((one.dtype for one in some if one.dtype.startswith("complex")), "")
    sized = [one.dtype for one in some if one.shape] or [one.dtype for one in some]
    floats = [one for one in sized if one not in WHOLE]
    if not floats and any(one.dtype not in WHOLE for one in some):
        return "float32"
    if {"float16", "bfloat16"} <= set(floats):
        return "float32"
    return max(floats or sized, key=ORDER.index)

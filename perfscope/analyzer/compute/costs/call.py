"""One call of an operator as the profiler recorded it: its tensors with shape, type and strides,
and its other arguments.

Nothing is completed: a type that is not known has size 0, an argument whose value was not recorded
is None, and a model that needs either gives no cost.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Final

BYTES: Final[dict[str, int]] = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8": 1,
    "complex64": 8,
    "complex128": 16,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
"""Bytes of an element, by type."""
NAMES: Final[dict[str, str]] = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long int": "int64",
    "long": "int64",
    "int": "int32",
    "short int": "int16",
    "short": "int16",
    "signed char": "int8",
    "char": "int8",
    "unsigned char": "uint8",
    "byte": "uint8",
    "bool": "bool",
    "complex<float>": "complex64",
    "complex<double>": "complex128",
}
"""What torch's profiler calls them (names of C++)."""
NO_TENSOR: Final = ("Scalar", "ScalarList", "GenericList", "")
MOST_ELEMENTS: Final = 1 << 62


@dataclass(frozen=True)
class Tensor:
    """A tensor: sizes, element type ("" unknown) and strides (None unknown)."""

    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None

    @property
    def numel(self) -> int:
        """Elements as the operator sees them, repeated ones too."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element, 0 unknown."""
        return BYTES.get(self.dtype, 0)

    @property
    def nbytes(self) -> int:
        """Bytes that lie in memory: an expanded dimension (stride 0) is there once."""
        strides = self.strides or (1,) * len(self.shape)
        return self.itemsize * math.prod(
            n for n, stride in zip(self.shape, strides, strict=True) if stride
        )

    def like(self, shape: tuple[int, ...] | None = None, dtype: str | None = None) -> "Tensor":
        """Another, contiguous, of this shape and type (None: the same)."""
        return Tensor(
            self.shape if shape is None else shape, self.dtype if dtype is None else dtype
        )


Argument = Tensor | list[Tensor] | None


@dataclass(frozen=True)
class Call:
    """`tensors` has a place for each argument: a tensor, a list of them, None for what is none;
    `values` what was passed there, None where that is a tensor or was not recorded. `allocated`:
    the sizes of what `aten::empty` was asked for inside it, only for operators whose arguments do
    not tell what they work on.
    """

    name: str
    tensors: tuple[Argument, ...]
    values: tuple[Any, ...]
    list_dtype: str = ""
    allocated: frozenset[tuple[int, ...]] = frozenset()

    def tensor(self, at: int) -> Tensor | None:
        """The tensor at a place, None when there is none."""
        found = self.tensors[at] if at < len(self.tensors) else None
        return found if isinstance(found, Tensor) else None

    def tensor_list(self, at: int) -> list[Tensor]:
        """The list of tensors at a place, empty when there is none."""
        found = self.tensors[at] if at < len(self.tensors) else None
        return found if isinstance(found, list) else []

    def value(self, at: int) -> Any:
        """What was passed at a place, None unknown."""
        return self.values[at] if at < len(self.values) else None

    def numbers(self, at: int, count: int) -> tuple[int, ...] | None:
        """A list of `count` whole numbers at a place (one number stands for all), None when it is
        not known.
        """
        found = self.value(at)
        listed = [found] if type(found) is int else found
        if not isinstance(listed, list) or not all(type(one) is int for one in listed):
            return None
        listed = listed * count if len(listed) == 1 else listed
        return tuple(listed) if len(listed) == count else None


def call_of(
    name: str,
    shapes: object,
    dtypes: object,
    strides: object,
    concrete: object,
    list_dtype: str = "",
) -> Call | None:
    """From the texts of the table `ops`; None where shapes or types were not recorded or are no
    such lists, and of sparse tensors: a trace does not tell how many of their elements are there.
    """
    sizes, types = listed(shapes), listed(dtypes)
    if sizes is None or types is None or len(sizes) != len(types):
        return None
    steps, said = listed(strides) or [], listed(concrete) or []
    steps = steps if len(steps) == len(sizes) else [None] * len(sizes)
    if any(map(sparse, sizes, steps)) and "mkldnn" not in name:
        return None
    said = said if len(said) == len(sizes) else [None] * len(sizes)
    tensors = tuple(argument(*one, list_dtype) for one in zip(sizes, types, steps, strict=True))
    return Call(name, tensors, tuple(map(value_of, said)), list_dtype)


def sparse(sizes: object, strides: object) -> bool:
    """Has a tensor of these sizes, or one in the list, no strides? (oneDNN's blocked ones have none
    either, but are dense.)
    """
    if isinstance(sizes, list) and sizes and isinstance(sizes[0], list):
        return isinstance(strides, list) and any(map(sparse, sizes, strides))
    return bool(sizes) and strides == []


def listed(text: object) -> list[Any] | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def argument(sizes: object, said: object, strides: object, list_dtype: str) -> Argument:
    """What stands at one place."""
    if said == "TensorList":
        if not isinstance(sizes, list):
            return None
        steps = (
            strides
            if isinstance(strides, list) and len(strides) == len(sizes)
            else [None] * len(sizes)
        )
        found = [tensor_of(one, list_dtype, step) for one, step in zip(sizes, steps, strict=True)]
        return (
            [one for one in found if one is not None]
            if all(one is not None for one in found)
            else None
        )
    if not isinstance(said, str) or said in NO_TENSOR:
        return None
    return tensor_of(sizes, dtype_of(said), strides)


def tensor_of(sizes: object, dtype: str, strides: object) -> Tensor | None:
    shape = whole_numbers(sizes)
    if shape is None or min(shape, default=0) < 0 or math.prod(shape) > MOST_ELEMENTS:
        return None
    steps = whole_numbers(strides)
    return Tensor(shape, dtype, steps if steps is not None and len(steps) == len(shape) else None)


def whole_numbers(value: object) -> tuple[int, ...] | None:
    return (
        tuple(value) if isinstance(value, list) and all(type(one) is int for one in value) else None
    )


def dtype_of(said: str) -> str:
    """torch's name of a type to ours, "" for one that is not known."""
    bare = said.removeprefix("c10::").lower()
    if bare.startswith("float8"):
        return "float8"
    return NAMES.get(bare, bare if bare in BYTES else "")


def value_of(said: object) -> Any:
    """What the profiler wrote for an argument that is no tensor: a number, a truth value, a list of
    them; None for none.
    """
    if not isinstance(said, str) or not said:
        return None
    text = said.replace("True", "true").replace("False", "false")
    text = text + "0" if text.endswith(".") else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return said

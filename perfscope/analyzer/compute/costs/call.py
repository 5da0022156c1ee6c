"""Calls of operators as the profiler recorded them: tensors with shape, type and strides, and the
values of the other arguments.

Nothing is guessed. A type that is not known has size 0, and an argument that was not recorded is
None. A cost model that needs either returns no cost.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Final

ITEM_BYTES: Final[dict[str, int]] = {
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
"""Bytes per element, by type."""
DTYPE_BY_CPP_NAME: Final[dict[str, str]] = {
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
"""Types by the C++ names that the profiler of torch writes."""
NOT_TENSORS: Final = ("Scalar", "ScalarList", "GenericList", "")
MOST_ELEMENTS: Final = 1 << 62


@dataclass(frozen=True)
class Tensor:
    """A tensor: sizes, element type ("" if unknown) and strides (None if unknown)."""

    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None

    @property
    def numel(self) -> int:
        """Return the number of elements that the operator sees, repeated ones included."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Return the bytes per element, 0 if unknown."""
        return ITEM_BYTES.get(self.dtype, 0)

    @property
    def nbytes(self) -> int:
        """Return the bytes in memory. An expanded dimension (stride 0) is stored once."""
        strides = self.strides or (1,) * len(self.shape)
        stored = [size for size, stride in zip(self.shape, strides, strict=True) if stride]
        return self.itemsize * math.prod(stored)

    def like(self, shape: tuple[int, ...] | None = None, dtype: str | None = None) -> "Tensor":
        """Return a contiguous tensor of this shape and type (None: those of this tensor)."""
        new_shape = self.shape if shape is None else shape
        new_dtype = self.dtype if dtype is None else dtype
        return Tensor(new_shape, new_dtype)


Argument = Tensor | list[Tensor] | None


@dataclass(frozen=True)
class Call:
    """A call of an operator with its arguments, by position.

    `tensors` holds the tensor or the list of tensors at each position, None for other arguments.
    `values` holds the other arguments, None for a tensor and for what was not recorded.
    `allocated` are the sizes that the operator requested from `aten::empty`; they are only set for
    operators whose arguments do not contain the sizes of their work.
    """

    name: str
    tensors: tuple[Argument, ...]
    values: tuple[Any, ...]
    allocated: frozenset[tuple[int, ...]] = frozenset()

    def tensor(self, position: int) -> Tensor | None:
        """Return the tensor at a position, None if there is none."""
        found = self.tensors[position] if position < len(self.tensors) else None
        return found if isinstance(found, Tensor) else None

    def tensor_list(self, position: int) -> list[Tensor]:
        """Return the list of tensors at a position, empty if there is none."""
        found = self.tensors[position] if position < len(self.tensors) else None
        return found if isinstance(found, list) else []

    def value(self, position: int) -> Any:
        """Return the value at a position, None if unknown."""
        return self.values[position] if position < len(self.values) else None

    def numbers(self, position: int, count: int) -> tuple[int, ...] | None:
        """Return the list of `count` integers at a position, None if unknown.

        A single integer is repeated `count` times.
        """
        value = self.value(position)
        numbers = int_tuple([value] if type(value) is int else value)
        if numbers is None:
            return None
        if len(numbers) == 1:
            numbers *= count
        return numbers if len(numbers) == count else None


def parse_call(
    name: str,
    shapes: object,
    dtypes: object,
    strides: object,
    concrete: object,
    *,
    list_dtype: str = "",
) -> Call | None:
    """Return the call in the text columns of the table `ops`, None if it cannot have a cost.

    It has none if shapes or types were not recorded or are not lists of the same length, or if an
    argument is a sparse tensor: a trace does not contain the number of its stored elements.
    `list_dtype` is the type of tensors in lists, which a trace does not contain either.
    """
    sizes, types = parse_list(shapes), parse_list(dtypes)
    if sizes is None or types is None or len(sizes) != len(types):
        return None
    steps = list_of_length(parse_list(strides), len(sizes))
    values = list_of_length(parse_list(concrete), len(sizes))
    if any(map(is_sparse, sizes, steps)) and "mkldnn" not in name:
        return None
    tensors = tuple(
        parse_argument(size, kind, step, list_dtype)
        for size, kind, step in zip(sizes, types, steps, strict=True)
    )
    return Call(name, tensors, tuple(map(parse_value, values)))


def is_sparse(sizes: object, strides: object) -> bool:
    """Return whether a tensor of these sizes, or one of a list of tensors, has no strides.

    The blocked tensors of oneDNN have no strides either, but are dense.
    """
    if isinstance(sizes, list) and sizes and isinstance(sizes[0], list):
        return isinstance(strides, list) and any(map(is_sparse, sizes, strides))
    return bool(sizes) and strides == []


def parse_list(text: object) -> list[Any] | None:
    """Return the list that a JSON text contains, None if it is not one."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def list_of_length(values: object, length: int) -> list[Any]:
    """Return `values` if it is a list of this length, else a list of None."""
    if isinstance(values, list) and len(values) == length:
        return values
    return [None] * length


def parse_argument(sizes: object, kind: object, strides: object, list_dtype: str) -> Argument:
    """Return the argument at one position from its sizes, kind (a type of C++) and strides."""
    if kind == "TensorList":
        return parse_tensor_list(sizes, strides, list_dtype)
    if not isinstance(kind, str) or kind in NOT_TENSORS:
        return None
    return parse_tensor(sizes, dtype_from_cpp_name(kind), strides)


def parse_tensor_list(sizes: object, strides: object, dtype: str) -> list[Tensor] | None:
    """Return the tensors of a list, None if one of them cannot be parsed."""
    if not isinstance(sizes, list):
        return None
    found = []
    for size, step in zip(sizes, list_of_length(strides, len(sizes)), strict=True):
        tensor = parse_tensor(size, dtype, step)
        if tensor is None:
            return None
        found.append(tensor)
    return found


def parse_tensor(sizes: object, dtype: str, strides: object) -> Tensor | None:
    """Return a tensor with these sizes, None if they are not the sizes of a tensor."""
    shape = int_tuple(sizes)
    if shape is None or min(shape, default=0) < 0 or math.prod(shape) > MOST_ELEMENTS:
        return None
    steps = int_tuple(strides)
    if steps is not None and len(steps) != len(shape):
        steps = None
    return Tensor(shape, dtype, steps)


def int_tuple(value: object) -> tuple[int, ...] | None:
    """Return a list of integers as a tuple, None for anything else."""
    if not isinstance(value, list) or any(type(number) is not int for number in value):
        return None
    return tuple(value)


def dtype_from_cpp_name(name: str) -> str:
    """Return the type that the profiler of torch calls `name`, "" if it is not known."""
    bare = name.removeprefix("c10::").lower()
    if bare.startswith("float8"):
        return "float8"
    return DTYPE_BY_CPP_NAME.get(bare, bare if bare in ITEM_BYTES else "")


def parse_value(text: object) -> Any:
    """Return the value of an argument that is not a tensor, None if it was not recorded.

    It is a number, a truth value, a list of them, or else the text.
    """
    if not isinstance(text, str) or not text:
        return None
    json_text = text.replace("True", "true").replace("False", "false")
    if json_text.endswith("."):
        json_text += "0"
    try:
        return json.loads(json_text)
    except (ValueError, RecursionError):
        return text

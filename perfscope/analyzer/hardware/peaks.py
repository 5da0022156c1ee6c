"""The roofs of a device: the rate of its memory, and that of its arithmetic for each type of
element.
"""

from dataclasses import dataclass

# What a type is computed in where it has no rate of its own.
COMPUTED_AS = {
    "bfloat16": "float32",
    "float16": "float32",
    "tf32": "float32",
    "float8": "bfloat16",
    "complex64": "float32",
    "complex128": "float64",
    "bool": "float32",
    "int32": "float32",
    "int16": "float32",
    "uint8": "float32",
    "int64": "float32",
    "int8": "float32",
}


@dataclass(frozen=True)
class Peaks:
    """`matrix` and `vector`: FLOP/s by element type, dense, in matrix units and outside of them.
    `measured`: a calibration of this machine and not a data sheet.
    """

    name: str
    matrix: dict[str, float]
    vector: dict[str, float]
    bytes_per_s: float
    source: str
    measured: bool = False

    def flops_per_s(self, dtype: str, *, matrix: bool) -> float | None:
        """The arithmetic's roof for a type, None where it is not known.

        Products of float32 may run in TF32: where a device has it that is their roof, unless the
        caller asks for `float32` with `matrix` False.
        """
        if not matrix:
            return self.vector.get(dtype) or self.vector.get(COMPUTED_AS.get(dtype, ""))
        if dtype == "float32":
            return max(
                (rate for rate in map(self.matrix.get, ("tf32", "float32")) if rate), default=None
            )
        return self.matrix.get(dtype) or self.matrix.get(COMPUTED_AS.get(dtype, ""))

    def ridge(self, dtype: str, *, matrix: bool) -> float | None:
        """FLOP per byte at which both roofs meet."""
        rate = self.flops_per_s(dtype, matrix=matrix)
        return None if rate is None else rate / self.bytes_per_s

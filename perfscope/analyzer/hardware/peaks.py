"""The peaks of a device: the rate of its memory, and of its arithmetic for each element type."""

from dataclasses import dataclass

# The type whose rate applies where a type has no rate of its own.
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
    """Dense peaks of a device.

    `matrix` and `vector`: FLOP/s by element type, in matrix units and outside of them. `measured`:
    by a calibration of this machine, not from a data sheet.
    """

    name: str
    matrix: dict[str, float]
    vector: dict[str, float]
    bytes_per_s: float
    source: str
    measured: bool = False
    in_tf32: bool | None = None
    """Whether products of float32 are computed in TF32; None where it is not known."""

    def flops_per_s(self, dtype: str, *, matrix: bool) -> float | None:
        """Return the peak arithmetic rate for a type, None where it is unknown.

        Multiplications of float32 may run in TF32: where a device has it, its rate is the peak,
        unless `matrix` is False or the program is known not to use it.
        """
        if not matrix:
            return self.vector.get(dtype) or self.vector.get(COMPUTED_AS.get(dtype, ""))
        if dtype == "float32":
            types = ("float32",) if self.in_tf32 is False else ("tf32", "float32")
            return max((rate for rate in map(self.matrix.get, types) if rate), default=None)
        return self.matrix.get(dtype) or self.matrix.get(COMPUTED_AS.get(dtype, ""))

    def ridge(self, dtype: str, *, matrix: bool) -> float | None:
        """Return the FLOP per byte at which memory and arithmetic limit equally."""
        rate = self.flops_per_s(dtype, matrix=matrix)
        return None if rate is None else rate / self.bytes_per_s

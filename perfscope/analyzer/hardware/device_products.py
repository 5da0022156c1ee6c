"""Accelerators and their peaks, dense, from device_peaks.json (with the sources of each).

A device is identified by its whole name; without a name, or by a name that only begins with that of
a product, by its compute units and memory: it has the rates in which all products that these fit
agree. A part of a device (MIG, a partition with fewer compute units than the product) and an
unknown device have no peaks here.
"""

import json
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import msgspec

from perfscope.analyzer.hardware.peaks import Peaks

MAKER: Final = re.compile(r"^NVIDIA ", re.I)
GB: Final = 1e9
# Makers mean GB or GiB (7.4 % apart), and a driver reserves some: within this much it is the same
# size.
MEMORY_TOLERANCE: Final = 0.08
IN_VECTOR_UNITS: Final = ("float32", "float64")


class DeviceProduct(msgspec.Struct):
    """One product of the data."""

    name: str
    vendor: str
    called: list[str]
    multiprocessors: int
    memory_gb: list[float]
    tera_per_s: dict[str, float]
    memory_gb_per_s: float
    sources: list[str]
    matrix_tera_per_s: dict[str, float] = {}
    """Rates of the matrix units for types that the vector units compute at another rate."""

    @property
    def family(self) -> str:
        """The first word of its name, such as `A100`."""
        return self.name.split(maxsplit=1)[0]


@cache
def device_products() -> tuple[DeviceProduct, ...]:
    """Return all known products."""
    text = files("perfscope.analyzer.hardware").joinpath("device_peaks.json").read_text()
    return tuple(msgspec.convert(json.loads(text), list[DeviceProduct]))


@lru_cache(maxsize=256)
def device_peaks(name: str, kind: str, multiprocessors: int, memory_bytes: int) -> Peaks | str:
    """Return the peaks of a device as a trace describes it ("" and -1 unknown), else why not."""
    bare = MAKER.sub("", name.strip())
    if bare:
        found = [
            product
            for product in device_products()
            if any(re.fullmatch(pattern, bare) for pattern in product.called)
        ]
        if not found:
            return peaks_by_size(name.strip(), kind, multiprocessors, memory_bytes)
        if multiprocessors > 0 and multiprocessors != found[0].multiprocessors:
            return (
                f"{name.strip()} has {multiprocessors} compute units here and"
                f" {found[0].multiprocessors} as a product: the peaks of a part are not known"
            )
        return peaks_of_product(found[0], found[0].name)
    return peaks_by_size("", kind, multiprocessors, memory_bytes)


def peaks_by_size(name: str, kind: str, multiprocessors: int, memory_bytes: int) -> Peaks | str:
    """Return the peaks of a device without a known name, by its compute units and memory.

    A name must contain that of the product's family.
    """
    unknown = f"the peaks of {name} are not known" if name else "the trace does not name its device"
    fits = [
        product
        for product in device_products()
        if product.vendor == kind and fits_product(product, multiprocessors, memory_bytes)
    ]
    fits = [product for product in fits if not name or product.family in re.split(r"[ -]", name)]
    if not fits or len({product.memory_gb_per_s for product in fits}) > 1:
        return unknown
    why = f"as the name {name} is not known" if name else "as it has no name"
    source = (
        f"{fits[0].name} (identified by its {multiprocessors} compute units and"
        f" {memory_bytes / GB:.0f} GB, {why})"
    )
    return peaks_of_product(with_common_rates(fits), source)


def with_common_rates(products: list[DeviceProduct]) -> DeviceProduct:
    """Return the first product with the rates of the types in which all of them agree."""
    first = products[0]
    rates = [(product.tera_per_s, product.matrix_tera_per_s) for product in products]
    common = {
        dtype: rate
        for dtype, rate in first.tera_per_s.items()
        if all(
            vector.get(dtype) == rate and matrix.get(dtype) == first.matrix_tera_per_s.get(dtype)
            for vector, matrix in rates
        )
    }
    in_matrix_units = {
        dtype: rate for dtype, rate in first.matrix_tera_per_s.items() if dtype in common
    }
    return msgspec.structs.replace(first, tera_per_s=common, matrix_tera_per_s=in_matrix_units)


def fits_product(product: DeviceProduct, multiprocessors: int, memory_bytes: int) -> bool:
    """Return whether a device has the compute units and the memory of a product."""
    memory_gb = memory_bytes / GB
    has_memory = any(abs(memory_gb - size) <= MEMORY_TOLERANCE * size for size in product.memory_gb)
    return product.multiprocessors == multiprocessors and has_memory


def peaks_of_product(product: DeviceProduct, source: str) -> Peaks:
    """Return the peaks of a product."""
    rates = {dtype: tera * 1e12 for dtype, tera in product.tera_per_s.items()}
    vector = {dtype: rate for dtype, rate in rates.items() if dtype in IN_VECTOR_UNITS}
    in_matrix_units = {dtype: tera * 1e12 for dtype, tera in product.matrix_tera_per_s.items()}
    bytes_per_s = product.memory_gb_per_s * GB
    return Peaks(product.name, rates | in_matrix_units, vector, bytes_per_s, source)

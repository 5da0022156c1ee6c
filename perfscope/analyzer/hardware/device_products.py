"""Accelerators and their peaks, dense, from device_peaks.json (with the sources of each).

A device is identified by its whole name; without a name by its compute units and memory, where
these fit only one product. A part of a device (MIG, a partition with fewer compute units than the
product) and an unknown device have no peaks here.
"""

import json
import re
from functools import cache
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


@cache
def device_products() -> tuple[DeviceProduct, ...]:
    """Return all known products."""
    text = files("perfscope.analyzer.hardware").joinpath("device_peaks.json").read_text()
    return tuple(msgspec.convert(json.loads(text), list[DeviceProduct]))


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
            return f"the peaks of {name.strip()} are not known"
        if multiprocessors > 0 and multiprocessors != found[0].multiprocessors:
            return (
                f"{name.strip()} has {multiprocessors} compute units here and"
                f" {found[0].multiprocessors} as a product: the peaks of a part are not known"
            )
        return peaks_of_product(found[0], found[0].name)
    fits = [
        product
        for product in device_products()
        if product.vendor == kind and fits_product(product, multiprocessors, memory_bytes)
    ]
    if len(fits) != 1:
        return "the trace does not name its device"
    source = (
        f"{fits[0].name} (identified by its {multiprocessors} compute units and"
        f" {memory_bytes / GB:.0f} GB, as it has no name)"
    )
    return peaks_of_product(fits[0], source)


def fits_product(product: DeviceProduct, multiprocessors: int, memory_bytes: int) -> bool:
    """Return whether a device has the compute units and the memory of a product."""
    memory_gb = memory_bytes / GB
    has_memory = any(abs(memory_gb - size) <= MEMORY_TOLERANCE * size for size in product.memory_gb)
    return product.multiprocessors == multiprocessors and has_memory


def peaks_of_product(product: DeviceProduct, source: str) -> Peaks:
    """Return the peaks of a product."""
    rates = {dtype: tera * 1e12 for dtype, tera in product.tera_per_s.items()}
    vector = {dtype: rate for dtype, rate in rates.items() if dtype in IN_VECTOR_UNITS}
    return Peaks(product.name, rates, vector, product.memory_gb_per_s * GB, source)

"""Accelerators and their peaks, dense, from device_peaks.json beside this file (each with its
sources).

A device is told by its whole name; one without a name by its compute units and memory, where these
fit only one. A part of a device (MIG, a partition: fewer compute units than the product has) has no
peaks here, and neither has an unknown one.
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
# Makers mean GB or GiB (7.4 % apart), and a driver keeps some for itself: within this much it is
# the same size.
MEMORY_TOLERANCE: Final = 0.08
IN_VECTOR_UNITS: Final = ("float32", "float64")


class Device(msgspec.Struct):
    """One line of the data."""

    name: str
    vendor: str
    called: list[str]
    multiprocessors: int
    memory_gb: list[float]
    tera_per_s: dict[str, float]
    memory_gb_per_s: float
    sources: list[str]


@cache
def devices() -> tuple[Device, ...]:
    """All that are known."""
    text = files("perfscope.analyzer.hardware").joinpath("device_peaks.json").read_text()
    return tuple(msgspec.convert(json.loads(text), list[Device]))


def device_peaks(name: str, kind: str, multiprocessors: int, memory_bytes: int) -> Peaks | str:
    """The peaks of a device as a trace describes it ("" and -1 unknown), else why there are
    none.
    """
    bare = MAKER.sub("", name.strip())
    if bare:
        found = [
            one for one in devices() if any(re.fullmatch(pattern, bare) for pattern in one.called)
        ]
        if not found:
            return f"the peaks of {name.strip()} are not known"
        if multiprocessors > 0 and multiprocessors != found[0].multiprocessors:
            return (
                f"{name.strip()} has {multiprocessors} compute units here and"
                f" {found[0].multiprocessors} as a product: the peaks of a part are not known"
            )
        return peaks_of(found[0], found[0].name)
    fits = [
        one
        for one in devices()
        if one.vendor == kind and fitting(one, multiprocessors, memory_bytes)
    ]
    if len(fits) != 1:
        return "the trace does not name its device"
    told = (
        f"{fits[0].name} (told by its {multiprocessors} compute units and {memory_bytes / GB:.0f}"
        " GB, as it has no name)"
    )
    return peaks_of(fits[0], told)


def fitting(one: Device, multiprocessors: int, memory_bytes: int) -> bool:
    memory = memory_bytes / GB
    return one.multiprocessors == multiprocessors and any(
        abs(memory - size) <= MEMORY_TOLERANCE * size for size in one.memory_gb
    )


def peaks_of(one: Device, source: str) -> Peaks:
    rates = {dtype: tera * 1e12 for dtype, tera in one.tera_per_s.items()}
    vector = {dtype: rate for dtype, rate in rates.items() if dtype in IN_VECTOR_UNITS}
    return Peaks(one.name, rates, vector, one.memory_gb_per_s * GB, source)

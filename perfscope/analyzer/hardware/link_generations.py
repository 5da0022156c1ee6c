"""The peak of a link by its generation, in bytes per second and direction, with the source: for
links that a driver reports.
"""

from typing import Final

GB: Final = 1e9
PCIE_LANE: Final[dict[int, float]] = {
    1: 2.5e9 / 8 * 8 / 10,
    2: 5.0e9 / 8 * 8 / 10,
    3: 8.0e9 / 8 * 128 / 130,
    4: 16.0e9 / 8 * 128 / 130,
    5: 32.0e9 / 8 * 128 / 130,
    6: 64.0e9 / 8 * 242 / 256,
}
"""Transfers per second times the line code: 8b/10b, from generation 3 on 128b/130b, in generation 6
FLITs of 242 in 256 bytes.
"""
PCIE_SOURCE: Final = "PCI-SIG: transfer rate of the generation less its line code"
NVLINK_LINK: Final[dict[int, float]] = {1: 20 * GB, 2: 25 * GB, 3: 25 * GB, 4: 25 * GB, 5: 50 * GB}
NVLINK_SOURCE: Final = (
    "NVIDIA's data sheets: 25 GB/s per link and direction for NVLink 2 to 4, 50 for NVLink 5"
)


def pcie_bytes_per_s(generation: int, width: int) -> float | None:
    """Return a PCIe link's rate in each direction, including packet headers; None unknown."""
    lane = PCIE_LANE.get(generation)
    return None if lane is None or width <= 0 else lane * width


def nvlink_bytes_per_s(generation: int, reported: float) -> tuple[float, str] | None:
    """Return the data rate of one NVLink in each direction, and the source; None unknown.

    `reported` is the driver's figure (-1 none), which includes the line code (26.6 GB/s for 25).
    Where it is lower than the nominal rate, the link came up slower, and it is used.
    """
    nominal = NVLINK_LINK.get(generation)
    if nominal is None:
        return (reported, "the driver, including the line code") if reported > 0 else None
    if 0 < reported < nominal:
        return reported, "the driver: the link came up slower"
    return nominal, NVLINK_SOURCE


def pcie_name(generation: int, width: int) -> str:
    """Return `PCIe 4.0 x16 (31.5 GB/s)`."""
    rate = pcie_bytes_per_s(generation, width)
    return f"PCIe {generation}.0 x{width}" + (
        f" ({rate / GB:.3g} GB/s)" if rate is not None else ""
    )

"""What a link of a generation carries at most in each direction, bytes a second, and who says so:
for links a driver tells of.
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
"""Transfers a second over the line code: 8b/10b, from generation 3 on 128b/130b, in generation 6
FLITs of 242 in 256 bytes.
"""
PCIE_SOURCE: Final = "PCI-SIG: transfer rate of the generation less its line code"
NVLINK_LINK: Final[dict[int, float]] = {1: 20 * GB, 2: 25 * GB, 3: 25 * GB, 4: 25 * GB, 5: 50 * GB}
NVLINK_SOURCE: Final = (
    "NVIDIA's data sheets: 25 GB/s a link and direction for NVLink 2 to 4, 50 for NVLink 5"
)


def pcie_bytes_per_s(generation: int, width: int) -> float | None:
    """A PCIe link's rate in each direction, packet headers included; None for what is not known."""
    lane = PCIE_LANE.get(generation)
    return None if lane is None or width <= 0 else lane * width


def nvlink_bytes_per_s(generation: int, said: float) -> tuple[float, str] | None:
    """One NVLink's rate of data in each direction, and the source; None for a generation that is
    not known.

    `said` is the driver's figure (-1 none), which is raw, with what the line code takes (26.6 GB/s
    for 25): where it is lower than the nominal one, the link came up slower and it stands.
    """
    nominal = NVLINK_LINK.get(generation)
    if nominal is None:
        return (said, "the driver, raw: what the line code takes is in it") if said > 0 else None
    return (
        (said, "the driver: the link came up slower")
        if 0 < said < nominal
        else (nominal, NVLINK_SOURCE)
    )


def pcie_name(generation: int, width: int) -> str:
    """`PCIe 4.0 x16 (31.5 GB/s)`."""
    rate = pcie_bytes_per_s(generation, width)
    return f"PCIe {generation}.0 x{width}" + (
        f" ({rate / GB:.3g} GB/s)" if rate is not None else ""
    )

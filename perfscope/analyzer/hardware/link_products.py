"""What the links between accelerators can carry, by the name of the device, where only that is
known (a recorded trace): facts of vendors, each with its source.

Rates are GB/s (1e9 bytes) of one link in one direction. A device that is not here has no known
peak.
"""

import re
from dataclasses import dataclass
from typing import Final

NVLINK, FABRIC, PCIE = "NVLink", "Infinity Fabric", "PCIe"


@dataclass(frozen=True)
class LinkPeak:
    """The links of one product. `shape`: `switch` (every link leads to switches: all carry, whoever
    the peer is), `mesh` (a link to each other device), `partly` (which link leads where differs
    between machines), `bridge` (two devices, where one is fitted) or `none`. `reduces`: its
    switches can reduce and multicast (NVLink SHARP).
    """

    product: str
    name: re.Pattern[str]
    technology: str
    links: int
    gb_per_s: float
    shape: str
    source: str
    reduces: bool = False

    @property
    def bytes_per_s(self) -> float:
        """All links of one device together, in each direction."""
        return self.links * self.gb_per_s * 1e9


def _peak(
    product: str,
    name: str,
    links: int,
    gb_per_s: float,
    shape: str,
    source: str,
    technology: str = NVLINK,
    reduces: bool = False,
) -> LinkPeak:
    return LinkPeak(
        product, re.compile(name, re.I), technology, links, gb_per_s, shape, source, reduces
    )


# The first that fits decides. What a driver calls a product is what matters: an A100-PG509-200 has
# the PCI id of an A100-SXM4-40GB (20B0; NVIDIA's driver README, list of supported chips), `H100
# 80GB HBM3` is the SXM5.
LINK_PEAKS: Final = (
    _peak(
        "V100 SXM2",
        r"V100-SXM",
        6,
        25.0,
        "partly",
        "NVIDIA V100 datasheet: NVLink 2, 300 GB/s in both directions",
    ),
    _peak(
        "A100 SXM4",
        r"A100-(SXM|PG509)",
        12,
        25.0,
        "switch",
        "NVIDIA A100 datasheet: NVLink 3, 600 GB/s in both directions",
    ),
    _peak(
        "A100 PCIe",
        r"A100.*PCIe",
        12,
        25.0,
        "bridge",
        "NVIDIA A100 datasheet: NVLink 3 bridge for two GPUs, 600 GB/s",
    ),
    _peak(
        "A800 SXM4",
        r"A800-SXM",
        8,
        25.0,
        "switch",
        "NVIDIA A800 datasheet: NVLink 3, 400 GB/s in both directions",
    ),
    _peak(
        "GH200",
        r"GH200",
        18,
        25.0,
        "switch",
        "NVIDIA GH200 datasheet: NVLink 4, 900 GB/s in both directions",
        reduces=True,
    ),
    _peak(
        "H100 NVL",
        r"H100 NVL",
        12,
        25.0,
        "bridge",
        "NVIDIA H100 datasheet: NVLink 4 bridge, 600 GB/s",
    ),
    _peak(
        "H100 PCIe",
        r"H100 PCIe",
        12,
        25.0,
        "bridge",
        "NVIDIA H100 datasheet: NVLink 4 bridge for two GPUs, 600 GB/s",
    ),
    _peak(
        "H100 SXM5",
        r"H100.*(HBM3|SXM)",
        18,
        25.0,
        "switch",
        "NVIDIA H100 datasheet: NVLink 4, 900 GB/s in both directions",
        reduces=True,
    ),
    _peak(
        "H800 SXM5",
        r"H800(?!.*PCIe)",
        8,
        25.0,
        "switch",
        "NVIDIA H800 datasheet: NVLink 4, 400 GB/s in both directions",
        reduces=True,
    ),
    _peak(
        "H200 SXM5",
        r"H200(?! NVL)",
        18,
        25.0,
        "switch",
        "NVIDIA H200 datasheet: NVLink 4, 900 GB/s in both directions",
        reduces=True,
    ),
    _peak(
        "B200",
        r"\bG?B[23]00\b",
        18,
        50.0,
        "switch",
        "NVIDIA Blackwell datasheet: NVLink 5, 1.8 TB/s in both directions",
        reduces=True,
    ),
    _peak(
        "RTX 3090",
        r"RTX 3090",
        4,
        14.0625,
        "bridge",
        "NVIDIA GA102 whitepaper: NVLink 3 bridge, 112.5 GB/s",
    ),
    _peak(
        "MI300X",
        r"MI3(00X|25X)",
        7,
        64.0,
        "mesh",
        "AMD MI300X datasheet: Infinity Fabric, seven links of 128 GB/s in both directions",
        technology=FABRIC,
    ),
    _peak(
        "T4, A10, L4, L40, RTX 40 and 50",
        r"\b(T4|A10G?|A16|L4|L40S?|RTX (40[6-9]0|50[6-9]0))\b",
        0,
        0.0,
        "none",
        "NVIDIA datasheets: no NVLink",
        technology=PCIE,
    ),
    _peak(
        "V100 PCIe",
        r"V100-PCIE",
        0,
        0.0,
        "none",
        "NVIDIA V100 datasheet: the PCIe card has no NVLink",
        technology=PCIE,
    ),
)


def link_peak(name: str) -> LinkPeak | None:
    """The links of the device that its driver calls `name`, None where they are not known."""
    return next((one for one in LINK_PEAKS if one.name.search(name)), None)

"""The peaks of the links between accelerators by the name of the device, for profiler traces, which
contain no more: vendors' figures, each with its source.

Rates are GB/s (1e9 bytes) of one link in one direction. The peak of a device that is not listed is
unknown.
"""

import re
from dataclasses import dataclass
from typing import Final

NVLINK, FABRIC, PCIE = "NVLink", "Infinity Fabric", "PCIe"


@dataclass(frozen=True)
class LinkPeak:
    """The links of one product.

    `shape`: `switch` (all links lead to switches, and reach every peer), `mesh` (a link to each
    other device), `partly` (which link leads where differs between machines), `bridge` (two
    devices, where a bridge is installed) or `none`. `reduces`: its switches can reduce and
    multicast (NVLink SHARP).
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
        """The rate of all links of one device together, in each direction."""
        return self.links * self.gb_per_s * 1e9


def product_links(
    product: str,
    name: str,
    links: int,
    gb_per_s: float,
    shape: str,
    *,
    source: str,
    technology: str = NVLINK,
    reduces: bool = False,
) -> LinkPeak:
    """Return the links of a product whose name matches the pattern `name`."""
    return LinkPeak(
        product, re.compile(name, re.I), technology, links, gb_per_s, shape, source, reduces
    )


# The first pattern that matches decides. It is matched with the name that the driver reports: an
# A100-PG509-200 has the PCI id of an A100-SXM4-40GB (20B0; NVIDIA's driver README, list of
# supported chips), `H100 80GB HBM3` is the SXM5.
LINK_PEAKS: Final = (
    product_links(
        "V100 SXM2",
        r"V100-SXM",
        6,
        25.0,
        "partly",
        source="NVIDIA V100 datasheet: NVLink 2, 300 GB/s in both directions",
    ),
    product_links(
        "A100 SXM4",
        r"A100-(SXM|PG509)",
        12,
        25.0,
        "switch",
        source="NVIDIA A100 datasheet: NVLink 3, 600 GB/s in both directions",
    ),
    product_links(
        "A100 PCIe",
        r"A100.*PCIe",
        12,
        25.0,
        "bridge",
        source="NVIDIA A100 datasheet: NVLink 3 bridge for two GPUs, 600 GB/s",
    ),
    product_links(
        "A800 SXM4",
        r"A800-SXM",
        8,
        25.0,
        "switch",
        source="NVIDIA A800 datasheet: NVLink 3, 400 GB/s in both directions",
    ),
    product_links(
        "GH200",
        r"GH200",
        18,
        25.0,
        "switch",
        source="NVIDIA GH200 datasheet: NVLink 4, 900 GB/s in both directions",
        reduces=True,
    ),
    product_links(
        "H100 NVL",
        r"H100 NVL",
        12,
        25.0,
        "bridge",
        source="NVIDIA H100 datasheet: NVLink 4 bridge, 600 GB/s",
    ),
    product_links(
        "H100 PCIe",
        r"H100 PCIe",
        12,
        25.0,
        "bridge",
        source="NVIDIA H100 datasheet: NVLink 4 bridge for two GPUs, 600 GB/s",
    ),
    product_links(
        "H100 SXM5",
        r"H100.*(HBM3|SXM)",
        18,
        25.0,
        "switch",
        source="NVIDIA H100 datasheet: NVLink 4, 900 GB/s in both directions",
        reduces=True,
    ),
    product_links(
        "H800 SXM5",
        r"H800(?!.*PCIe)",
        8,
        25.0,
        "switch",
        source="NVIDIA H800 datasheet: NVLink 4, 400 GB/s in both directions",
        reduces=True,
    ),
    product_links(
        "H200 SXM5",
        r"H200(?! NVL)",
        18,
        25.0,
        "switch",
        source="NVIDIA H200 datasheet: NVLink 4, 900 GB/s in both directions",
        reduces=True,
    ),
    product_links(
        "B200",
        r"\bG?B[23]00\b",
        18,
        50.0,
        "switch",
        source="NVIDIA Blackwell datasheet: NVLink 5, 1.8 TB/s in both directions",
        reduces=True,
    ),
    product_links(
        "RTX 3090",
        r"RTX 3090",
        4,
        14.0625,
        "bridge",
        source="NVIDIA GA102 whitepaper: NVLink 3 bridge, 112.5 GB/s",
    ),
    product_links(
        "MI300X",
        r"MI3(00X|25X)",
        7,
        64.0,
        "mesh",
        source="AMD MI300X datasheet: Infinity Fabric, seven links of 128 GB/s in both directions",
        technology=FABRIC,
    ),
    product_links(
        "MI350X, MI355X",
        r"MI35[05]X",
        7,
        76.8,
        "mesh",
        source="AMD MI355X datasheet: Infinity Fabric, seven links of 153.6 GB/s both ways",
        technology=FABRIC,
    ),
    product_links(
        "T4, A10, L4, L40, RTX 40 and 50",
        r"\b(T4|A10G?|A16|L4|L40S?|RTX (40[6-9]0|50[6-9]0))\b",
        0,
        0.0,
        "none",
        source="NVIDIA datasheets: no NVLink",
        technology=PCIE,
    ),
    product_links(
        "V100 PCIe",
        r"V100-PCIE",
        0,
        0.0,
        "none",
        source="NVIDIA V100 datasheet: the PCIe card has no NVLink",
        technology=PCIE,
    ),
)


def link_peak(name: str) -> LinkPeak | None:
    """Return the links of the device that its driver calls `name`, None where they are unknown."""
    return next((product for product in LINK_PEAKS if product.name.search(name)), None)

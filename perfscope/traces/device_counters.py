"""Names of the table `device_counters`: unit, kind and meaning of each.

Kinds: `total` grows from the driver's load on, `state` is as it stands at `ts`, `mean` is over the
interval that ends at `ts`. Sources in NVML: numbers are field values of `nvmlDeviceGetFieldValues`,
GPM needs Hopper or newer.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Counter:
    """One name: its unit, `total`, `state` or `mean`, and what it says."""

    name: str
    unit: str
    kind: str
    comment: str


COUNTERS: Final[tuple[Counter, ...]] = (
    Counter(
        "kernel_time_share",
        "",
        "mean",
        "share of the time in which any kernel ran, however small: not how busy the SMs are",
    ),
    Counter(
        "memory_time_share",
        "",
        "mean",
        "share of the time in which device memory was read or written",
    ),
    Counter(
        "memory_used_bytes",
        "bytes",
        "state",
        "device memory in use by all processes and the driver",
    ),
    Counter(
        "power_w",
        "W",
        "state",
        "power of the board (186); a one-second mean where the driver has no instant one",
    ),
    Counter(
        "power_limit_w",
        "W",
        "state",
        "limit of the board's power now; somebody may change it in the middle",
    ),
    Counter("energy_j", "J", "total", "energy (191, 83)"),
    Counter("sm_clock_mhz", "MHz", "state", "clock of the SMs"),
    Counter("memory_clock_mhz", "MHz", "state", "clock of the memory"),
    Counter("temperature_c", "C", "state", "temperature of the chip"),
    Counter(
        "clock_events",
        "",
        "state",
        "bit mask of what holds the clocks now (nvmlClocksEventReasons)",
    ),
    Counter("held_power_ns", "ns", "total", "clocks were held to keep to the power limit (74)"),
    Counter(
        "held_thermal_ns",
        "ns",
        "total",
        "clocks were held by temperature, by the driver or the hardware (75)",
    ),
    Counter(
        "held_sync_boost_ns",
        "ns",
        "total",
        "clocks were held to those of other devices of a group (76)",
    ),
    Counter("held_board_ns", "ns", "total", "clocks were held by the board's limit (77)"),
    Counter("held_reliability_ns", "ns", "total", "clocks were held by the voltage's limit (79)"),
    Counter(
        "held_brake_ns", "ns", "total", "clocks were halved by the power brake from outside (271)"
    ),
    Counter(
        "pcie_generation",
        "",
        "state",
        "generation of the PCIe link now; it falls when the device is idle",
    ),
    Counter("pcie_width", "lanes", "state", "lanes of the PCIe link now"),
    Counter("pcie_tx_bytes", "bytes", "total", "from the device, headers included (197)"),
    Counter("pcie_rx_bytes", "bytes", "total", "to the device, headers included (198)"),
    Counter(
        "pcie_tx_bytes_per_s",
        "bytes/s",
        "mean",
        "the same where there is no counter: 20 ms every few seconds, or GPM",
    ),
    Counter(
        "pcie_rx_bytes_per_s",
        "bytes/s",
        "mean",
        "the same where there is no counter: 20 ms every few seconds, or GPM",
    ),
    Counter("pcie_replay_count", "", "total", "packets that had to be sent again (94)"),
    Counter(
        "nvlink_tx_bytes",
        "bytes",
        "total",
        "over all links, without headers (138; 202 on newer links)",
    ),
    Counter(
        "nvlink_rx_bytes",
        "bytes",
        "total",
        "over all links, without headers (139; 204 on newer links)",
    ),
    Counter("nvlink_tx_bytes_per_s", "bytes/s", "mean", "the same where there is no counter: GPM"),
    Counter("nvlink_rx_bytes_per_s", "bytes/s", "mean", "the same where there is no counter: GPM"),
    Counter("nvlink_error_count", "", "total", "replays, recoveries and CRC errors of all links"),
    Counter("nvlink_active_count", "links", "state", "links that are up"),
    Counter("ecc_corrected_count", "", "total", "memory errors that were corrected"),
    Counter("ecc_uncorrected_count", "", "total", "memory errors that were not"),
    Counter("graphics_active", "", "mean", "GPM: share of the time in which anything was active"),
    Counter(
        "sm_active", "", "mean", "GPM: mean share of SMs with a warp on them; waiting warps count"
    ),
    Counter("sm_occupancy", "", "mean", "GPM: warps on the SMs over the most they can hold"),
    Counter("tensor_active", "", "mean", "GPM: share of cycles in which the tensor cores were fed"),
    Counter(
        "dram_active",
        "",
        "mean",
        "GPM: memory bandwidth over its theoretical peak; about 0.8 is the practical ceiling",
    ),
    Counter("fp64_active", "", "mean", "GPM: share of cycles in which the FP64 pipe was fed"),
    Counter("fp32_active", "", "mean", "GPM: share of cycles in which the FP32 pipe was fed"),
    Counter("fp16_active", "", "mean", "GPM: share of cycles in which the FP16 pipe was fed"),
    Counter("xid", "", "state", "number of a critical error that the driver reported (Xid)"),
)
BY_NAME: Final = {one.name: one for one in COUNTERS}

"""The counters in table `device_counters`: unit, kind and meaning of each.

A `total` counts from the load of the driver on, a `state` is the value at `ts`, and a `mean` is
taken over the interval that ends at `ts`. Numbers in parentheses are field ids of NVML's
`nvmlDeviceGetFieldValues`. GPM (GPU performance monitoring) needs Hopper or newer.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DeviceCounter:
    """One counter. `kind` is total, state or mean."""

    name: str
    unit: str
    kind: str
    comment: str


COUNTERS: Final[tuple[DeviceCounter, ...]] = (
    DeviceCounter(
        "kernel_time_share",
        "",
        "mean",
        "share of the time in which any kernel ran, however small; says nothing about SM use",
    ),
    DeviceCounter(
        "memory_time_share",
        "",
        "mean",
        "share of the time in which device memory was read or written",
    ),
    DeviceCounter(
        "memory_used_bytes",
        "bytes",
        "state",
        "device memory in use by all processes and the driver",
    ),
    DeviceCounter(
        "power_w",
        "W",
        "state",
        "board power (186); a one-second mean where the driver has no instantaneous value",
    ),
    DeviceCounter(
        "power_limit_w",
        "W",
        "state",
        "current power limit of the board; it may change during the run",
    ),
    DeviceCounter("energy_j", "J", "total", "energy used by the board (191, 83)"),
    DeviceCounter("sm_clock_mhz", "MHz", "state", "clock of the SMs"),
    DeviceCounter("memory_clock_mhz", "MHz", "state", "clock of the memory"),
    DeviceCounter("temperature_c", "C", "state", "temperature of the chip"),
    DeviceCounter(
        "clock_events",
        "",
        "state",
        "bit mask of what currently limits the clocks (nvmlClocksEventReasons)",
    ),
    DeviceCounter(
        "held_power_ns", "ns", "total", "time in which the power limit throttled the clocks (74)"
    ),
    DeviceCounter(
        "held_thermal_ns",
        "ns",
        "total",
        "time in which temperature throttled the clocks, by driver or hardware (75)",
    ),
    DeviceCounter(
        "held_sync_boost_ns",
        "ns",
        "total",
        "time in which the clocks followed other devices of a sync-boost group (76)",
    ),
    DeviceCounter(
        "held_board_ns", "ns", "total", "time in which the board's limit throttled the clocks (77)"
    ),
    DeviceCounter(
        "held_reliability_ns",
        "ns",
        "total",
        "time in which the voltage limit throttled the clocks (79)",
    ),
    DeviceCounter(
        "held_brake_ns",
        "ns",
        "total",
        "time in which an external power brake halved the clocks (271)",
    ),
    DeviceCounter(
        "pcie_generation",
        "",
        "state",
        "current generation of the PCIe link; lower while the device is idle",
    ),
    DeviceCounter("pcie_width", "lanes", "state", "current lanes of the PCIe link"),
    DeviceCounter(
        "pcie_tx_bytes", "bytes", "total", "bytes sent by the device, headers included (197)"
    ),
    DeviceCounter(
        "pcie_rx_bytes", "bytes", "total", "bytes received by the device, headers included (198)"
    ),
    DeviceCounter(
        "pcie_tx_bytes_per_s",
        "bytes/s",
        "mean",
        "rate of bytes sent, where there is no counter: 20 ms every few seconds, or GPM",
    ),
    DeviceCounter(
        "pcie_rx_bytes_per_s",
        "bytes/s",
        "mean",
        "rate of bytes received, where there is no counter: 20 ms every few seconds, or GPM",
    ),
    DeviceCounter("pcie_replay_count", "", "total", "packets that were sent again (94)"),
    DeviceCounter(
        "nvlink_tx_bytes",
        "bytes",
        "total",
        "bytes sent over all links, without headers (138; 202 on newer links)",
    ),
    DeviceCounter(
        "nvlink_rx_bytes",
        "bytes",
        "total",
        "bytes received over all links, without headers (139; 204 on newer links)",
    ),
    DeviceCounter(
        "nvlink_tx_bytes_per_s",
        "bytes/s",
        "mean",
        "rate of bytes sent, where there is no counter (GPM)",
    ),
    DeviceCounter(
        "nvlink_rx_bytes_per_s",
        "bytes/s",
        "mean",
        "rate of bytes received, where there is no counter (GPM)",
    ),
    DeviceCounter(
        "nvlink_error_count", "", "total", "replays, recoveries and CRC errors of all links"
    ),
    DeviceCounter("nvlink_active_count", "links", "state", "links that are active"),
    DeviceCounter("ecc_corrected_count", "", "total", "memory errors that were corrected"),
    DeviceCounter(
        "ecc_uncorrected_count", "", "total", "memory errors that could not be corrected"
    ),
    DeviceCounter(
        "graphics_active", "", "mean", "GPM: share of the time in which any engine was active"
    ),
    DeviceCounter(
        "sm_active", "", "mean", "GPM: mean share of SMs with a resident warp, also one that waits"
    ),
    DeviceCounter(
        "sm_occupancy", "", "mean", "GPM: resident warps over the most that the SMs can hold"
    ),
    DeviceCounter(
        "tensor_active", "", "mean", "GPM: share of cycles in which the tensor cores had work"
    ),
    DeviceCounter(
        "dram_active",
        "",
        "mean",
        "GPM: memory bandwidth over its theoretical peak; about 0.8 can be reached in practice",
    ),
    DeviceCounter(
        "fp64_active", "", "mean", "GPM: share of cycles in which the FP64 pipe had work"
    ),
    DeviceCounter(
        "fp32_active", "", "mean", "GPM: share of cycles in which the FP32 pipe had work"
    ),
    DeviceCounter(
        "fp16_active", "", "mean", "GPM: share of cycles in which the FP16 pipe had work"
    ),
    DeviceCounter("xid", "", "state", "number of a critical error that the driver reported (Xid)"),
)
BY_NAME: Final = {counter.name: counter for counter in COUNTERS}

"""AMD devices through `amdsmi`, the binding of ROCm's own library: as far as it goes, and never yet
tried on such a device.

The door is NVML's: `query(fn, *args)` gives the value, or None. Read are load, memory, power,
energy, clocks, temperature, the PCIe link and its replays, and the processes. Not read: throttle
reasons, xGMI traffic, activity of parts of the device.
"""

import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from perfscope.agent.collector import TargetProcess
from perfscope.agent.collector_guard import GuardedThread
from perfscope.errors import IMPORT_FAILURES, CollectorUnavailable
from perfscope.traces.device_facts import DeviceFacts

MIB: Final = 1 << 20
NOT_READ: Final = "not read from AMD devices yet"
GENERATIONS: Final = {2500: 1, 5000: 2, 8000: 3, 16000: 4, 32000: 5, 64000: 6}
"""Mega-transfers a second of a lane."""


class Smi:
    """The binding, opened."""

    def __init__(self) -> None:
        """Raises CollectorUnavailable where there is no binding or its library does not answer."""
        if find_spec("amdsmi") is None:
            raise CollectorUnavailable(
                "no AMD devices to be read here (the Python package amdsmi is not installed)"
            )
        try:
            self.api: Any = import_module("amdsmi")
            self.error: type[Exception] = self.api.AmdSmiException
        except IMPORT_FAILURES as error:
            raise CollectorUnavailable(
                f"amdsmi is installed, but its library does not load: {error}"
            ) from None
        try:
            self.api.amdsmi_init()
            self.handles: list[Any] = self.api.amdsmi_get_processor_handles()
        except (self.error, *IMPORT_FAILURES) as error:
            raise CollectorUnavailable(f"amdsmi does not answer: {error}") from None
        if not self.handles:
            raise CollectorUnavailable("amdsmi shows no device")

    def query(self, name: str, *args: Any) -> Any | None:
        """The value, None where this version or device has none."""
        fn: Callable[..., Any] | None = getattr(self.api, name, None)
        if fn is None:
            return None
        try:
            return fn(*args)
        except self.error:
            return None


def facts(smi: Smi, handle: Any, number: int) -> DeviceFacts:
    """What stays as it is."""
    product = smi.query("amdsmi_get_gpu_asic_info", handle) or {}
    memory = smi.query("amdsmi_get_gpu_vram_usage", handle) or {}
    link = (smi.query("amdsmi_get_pcie_info", handle) or {}).get("pcie_static", {})
    power = smi.query("amdsmi_get_power_info", handle) or {}
    node = smi.query("amdsmi_get_gpu_topo_numa_affinity", handle)
    whole = numeric(memory.get("vram_total"))
    return DeviceFacts(
        device=number,
        name=str(product.get("market_name") or "AMD device"),
        kind="hip",
        uuid=smi.query("amdsmi_get_gpu_device_uuid", handle),
        bus_id=smi.query("amdsmi_get_gpu_device_bdf", handle),
        numa_node=-1 if node is None else int(node),
        memory_bytes=-1 if whole is None else int(whole * MIB),
        multiprocessors=int(numeric(product.get("num_compute_units")) or -1),
        pcie_generation=GENERATIONS.get(int(numeric(link.get("max_pcie_speed")) or 0), -1),
        pcie_width=int(numeric(link.get("max_pcie_width")) or -1),
        power_limit_w=float(numeric(power.get("power_limit")) or -1.0),
        missing={
            "clock_events": NOT_READ,
            "nvlink_tx_bytes": NOT_READ,
            "pcie_tx_bytes": NOT_READ,
            "sm_active, tensor_active, dram_active": (
                "AMD devices have no such counters outside a profiler"
            ),
        },
    )


def row(smi: Smi, handle: Any) -> dict[str, float]:
    """One look; what does not answer is left out."""
    api = smi.api
    load = smi.query("amdsmi_get_gpu_activity", handle) or {}
    memory = smi.query("amdsmi_get_gpu_vram_usage", handle) or {}
    power = smi.query("amdsmi_get_power_info", handle) or {}
    energy = smi.query("amdsmi_get_energy_count", handle) or {}
    link = (smi.query("amdsmi_get_pcie_info", handle) or {}).get("pcie_metric", {})
    clock = smi.query("amdsmi_get_clock_info", handle, api.AmdSmiClkType.GFX) or {}
    kind, moment = api.AmdSmiTemperatureType.HOTSPOT, api.AmdSmiTemperatureMetric.CURRENT
    watts = numeric(power.get("current_socket_power")) or numeric(power.get("average_socket_power"))
    micro = product(
        numeric(energy.get("energy_accumulator")), numeric(energy.get("counter_resolution"))
    )
    found = {
        "kernel_time_share": product(numeric(load.get("gfx_activity")), 0.01),
        "memory_time_share": product(numeric(load.get("umc_activity")), 0.01),
        "memory_used_bytes": product(numeric(memory.get("vram_used")), float(MIB)),
        "power_w": watts,
        "energy_j": product(micro, 1e-6),
        "sm_clock_mhz": numeric(clock.get("clk")),
        "temperature_c": numeric(smi.query("amdsmi_get_temp_metric", handle, kind, moment)),
        "pcie_generation": (
            float(GENERATIONS.get(int(numeric(link.get("pcie_speed")) or 0), 0)) or None
        ),
        "pcie_width": numeric(link.get("pcie_width")),
        "pcie_replay_count": numeric(link.get("pcie_replay_count")),
    }
    return {name: value for name, value in found.items() if value is not None}


def processes(
    smi: Smi, handle: Any, number: int, job: Mapping[int, TargetProcess], now_ns: int
) -> list[dict[str, object]]:
    """Rows of `device.processes`."""
    rows: list[dict[str, object]] = []
    for one in smi.query("amdsmi_get_gpu_process_list", handle) or []:
        target = job.get(int(one["pid"]))
        rows.append(
            {
                "ts": now_ns,
                "device": number,
                "process": -1 if target is None else target.process,
                "pid": int(one["pid"]),
                "name": str(one["name"]) if target is None else target.name,
                "user": None,
                "memory_bytes": int(one.get("memory_usage", {}).get("vram_mem", -1)),
                "sm_share": None,
                "cpu_node": -1,
            }
        )
    return rows


def numeric(value: object) -> float | None:
    """A number, None for "N/A" and the like."""
    return float(value) if isinstance(value, int | float) else None


def product(value: float | None, factor: float | None) -> float | None:
    return None if value is None or factor is None else value * factor


class AmdWatch:
    """Looks once a second on a thread of its own; the recorder takes the rows."""

    PERIOD_S: Final = 1.0

    def __init__(self, smi: Smi, job: Callable[[], Mapping[int, TargetProcess]]) -> None:
        self.smi, self.job = smi, job
        self.counters: list[dict[str, object]] = []
        self.processes: list[dict[str, object]] = []
        self.facts = [facts(smi, handle, number) for number, handle in enumerate(smi.handles)]
        self.busy_ns = 0
        self.ended = threading.Event()
        self.thread = GuardedThread(target=self.run, name="amdsmi", daemon=True)

    def run(self) -> None:
        while not self.ended.wait(self.PERIOD_S):
            started, now_ns = time.thread_time_ns(), time.monotonic_ns()
            for number, handle in enumerate(self.smi.handles):
                self.counters.append(
                    {"ts": time.monotonic_ns(), "device": number, **row(self.smi, handle)}
                )
                self.processes += processes(self.smi, handle, number, self.job(), now_ns)
            self.busy_ns += time.thread_time_ns() - started

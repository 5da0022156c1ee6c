"""AMD devices, read through `amdsmi`, the Python binding of ROCm's library.

This has never been tested on such a device. It reads load, memory, power, energy, clocks,
temperature, the PCIe link with its replays, and the processes on each device. It does not read
throttle reasons, xGMI traffic, or the activity of parts of the device.
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
NO_GPM: Final = "AMD devices have no such counters outside a profiler"
GENERATIONS: Final = {2500: 1, 5000: 2, 8000: 3, 16000: 4, 32000: 5, 64000: 6}
"""The PCIe generation of each speed, in mega-transfers per second and lane."""

Row = dict[str, object]


class AmdSmi:
    """The initialized binding, and the handles of the devices."""

    def __init__(self) -> None:
        """Raises CollectorUnavailable where there is no binding or its library does not answer."""
        if find_spec("amdsmi") is None:
            raise CollectorUnavailable("the Python package amdsmi is not installed")
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
        """Return the value of a call; None where this version or device does not have it."""
        function: Callable[..., Any] | None = getattr(self.api, name, None)
        if function is None:
            return None
        try:
            return function(*args)
        except self.error:
            return None

    def query_fields(self, name: str, *args: Any) -> dict[str, Any]:
        """Return the fields that a call returns; none where it is not available."""
        return self.query(name, *args) or {}


def read_device_facts(smi: AmdSmi, handle: Any, number: int) -> DeviceFacts:
    """Return the facts of a device that do not change."""
    product = smi.query_fields("amdsmi_get_gpu_asic_info", handle)
    memory = smi.query_fields("amdsmi_get_gpu_vram_usage", handle)
    link = smi.query_fields("amdsmi_get_pcie_info", handle).get("pcie_static", {})
    power = smi.query_fields("amdsmi_get_power_info", handle)
    node = smi.query("amdsmi_get_gpu_topo_numa_affinity", handle)
    memory_mib = to_number(memory.get("vram_total"))
    return DeviceFacts(
        device=number,
        name=str(product.get("market_name") or "AMD device"),
        kind="hip",
        uuid=smi.query("amdsmi_get_gpu_device_uuid", handle),
        bus_id=smi.query("amdsmi_get_gpu_device_bdf", handle),
        numa_node=-1 if node is None else int(node),
        memory_bytes=-1 if memory_mib is None else int(memory_mib * MIB),
        multiprocessors=int(to_number(product.get("num_compute_units")) or -1),
        pcie_generation=GENERATIONS.get(int(to_number(link.get("max_pcie_speed")) or 0), -1),
        pcie_width=int(to_number(link.get("max_pcie_width")) or -1),
        power_limit_w=float(to_number(power.get("power_limit")) or -1.0),
        missing={
            "clock_events": NOT_READ,
            "nvlink_tx_bytes": NOT_READ,
            "pcie_tx_bytes": NOT_READ,
            "sm_active, tensor_active, dram_active": NO_GPM,
        },
    )


def read_counters(smi: AmdSmi, handle: Any) -> dict[str, float]:
    """Return the counters of a device; those that do not answer are left out."""
    api = smi.api
    load = smi.query_fields("amdsmi_get_gpu_activity", handle)
    memory = smi.query_fields("amdsmi_get_gpu_vram_usage", handle)
    power = smi.query_fields("amdsmi_get_power_info", handle)
    energy = smi.query_fields("amdsmi_get_energy_count", handle)
    link = smi.query_fields("amdsmi_get_pcie_info", handle).get("pcie_metric", {})
    clock = smi.query_fields("amdsmi_get_clock_info", handle, api.AmdSmiClkType.GFX)
    hotspot = api.AmdSmiTemperatureType.HOTSPOT
    current = api.AmdSmiTemperatureMetric.CURRENT
    temperature = smi.query("amdsmi_get_temp_metric", handle, hotspot, current)
    current_w = to_number(power.get("current_socket_power"))
    average_w = to_number(power.get("average_socket_power"))
    generation = GENERATIONS.get(int(to_number(link.get("pcie_speed")) or 0))
    energy_uj = multiply(
        to_number(energy.get("energy_accumulator")), to_number(energy.get("counter_resolution"))
    )
    counters = {
        "kernel_time_share": multiply(to_number(load.get("gfx_activity")), 0.01),
        "memory_time_share": multiply(to_number(load.get("umc_activity")), 0.01),
        "memory_used_bytes": multiply(to_number(memory.get("vram_used")), float(MIB)),
        "power_w": current_w or average_w,
        "energy_j": multiply(energy_uj, 1e-6),
        "sm_clock_mhz": to_number(clock.get("clk")),
        "temperature_c": to_number(temperature),
        "pcie_generation": None if generation is None else float(generation),
        "pcie_width": to_number(link.get("pcie_width")),
        "pcie_replay_count": to_number(link.get("pcie_replay_count")),
    }
    return {name: value for name, value in counters.items() if value is not None}


def read_processes(
    smi: AmdSmi, number: int, job: Mapping[int, TargetProcess], now_ns: int
) -> list[Row]:
    """Return the rows of "device.processes" for device `number`."""
    rows: list[Row] = []
    for process in smi.query("amdsmi_get_gpu_process_list", smi.handles[number]) or []:
        target = job.get(int(process["pid"]))
        row = {
            "ts": now_ns,
            "device": number,
            "process": -1 if target is None else target.process,
            "pid": int(process["pid"]),
            "name": str(process["name"]) if target is None else target.name,
            "user": None,
            "memory_bytes": int(process.get("memory_usage", {}).get("vram_mem", -1)),
            "sm_share": None,
            "cpu_node": -1,
        }
        rows.append(row)
    return rows


def to_number(value: object) -> float | None:
    """Return a number, None for "N/A" and the like."""
    return float(value) if isinstance(value, int | float) else None


def multiply(value: float | None, factor: float | None) -> float | None:
    """Return the product, None where a factor is None."""
    return None if value is None or factor is None else value * factor


class AmdWatch:
    """Reads all devices once per second on a thread of its own; the recorder takes the rows."""

    PERIOD_S: Final = 1.0

    def __init__(self, smi: AmdSmi, job: Callable[[], Mapping[int, TargetProcess]]) -> None:
        """Read the facts of the devices. `job` returns the processes of the job."""
        self.smi, self.job = smi, job
        self.counters: list[Row] = []
        self.processes: list[Row] = []
        self.facts = [
            read_device_facts(smi, handle, number) for number, handle in enumerate(smi.handles)
        ]
        self.busy_ns = 0
        self.ended = threading.Event()
        self.thread = GuardedThread(target=self.run, name="amdsmi", daemon=True)

    def run(self) -> None:
        """Read until `ended` is set."""
        while not self.ended.wait(self.PERIOD_S):
            started_ns, now_ns = time.thread_time_ns(), time.monotonic_ns()
            for number, handle in enumerate(self.smi.handles):
                counters = read_counters(self.smi, handle)
                row: Row = {"ts": time.monotonic_ns(), "device": number, **counters}
                self.counters.append(row)
                self.processes += read_processes(self.smi, number, self.job(), now_ns)
            self.busy_ns += time.thread_time_ns() - started_ns

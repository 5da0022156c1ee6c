"""One device (or MIG instance) while it is recorded: which ways work, and a row of readings when
asked.
"""

import time
from typing import Any

import pynvml

from perfscope.agent.nvml.door import Door
from perfscope.agent.nvml.gpm import SamplePair, why_not
from perfscope.agent.nvml.inventory import device_facts, instance_facts, instances
from perfscope.agent.nvml.readings import Call, Ways, found
from perfscope.traces.device_facts import DeviceFacts

BY_GPM = "sm_active, tensor_active, dram_active and the other GPM counters"
RATES = frozenset(
    f"{link}_{way}_bytes_per_s" for link in ("pcie", "nvlink") for way in ("tx", "rx")
)


class Card:
    """What is asked of one device, and what it does not have."""

    def __init__(
        self, door: Door, handle: Any, facts: DeviceFacts, whole: "Card | None" = None
    ) -> None:
        self.handle, self.facts, self.whole = handle, facts, whole
        self.ways: Ways = found(door, handle)
        self.samples: SamplePair | None = None
        self.read_ns = 0
        facts.power_is = self.ways.power_is
        facts.missing = dict(self.ways.missing)
        self.begin_gpm(door)

    def begin_gpm(self, door: Door) -> None:
        """GPM where the device has it; a MIG instance is asked through the whole device."""
        asked = self.whole.handle if self.whole is not None else self.handle
        reason = why_not(door, asked)
        if reason is None and self.whole is None and instances(door, self.handle):
            reason = "MIG is on: GPM is read from each instance"
        if reason is not None:
            self.facts.missing[BY_GPM] = reason
            return
        instance = self.facts.gpu_instance if self.whole is not None else None
        counted = {name for name, _ in self.ways.slow_fields.factors}
        self.samples = SamplePair(
            door,
            asked,
            instance,
            frozenset(one for one in RATES if one[: -len("_per_s")] in counted),
        )
        for link in ("pcie", "nvlink"):
            self.facts.missing.pop(f"{link}_tx_bytes", None)
            self.facts.missing.pop(f"{link}_rx_bytes", None)

    @property
    def number(self) -> int:
        return self.facts.device

    @property
    def wants_throughput(self) -> bool:
        """Can PCIe traffic be told by nothing but the call that blocks?"""
        return self.whole is None and self.samples is None and "pcie_tx_bytes" in self.facts.missing

    def quick(self, door: Door) -> dict[str, float]:
        """What is cheap; `read_ns` is when."""
        row: dict[str, float] = {}
        called(door, self.handle, self.ways.quick, row)
        self.ways.quick_fields.read(door, self.handle, row)
        self.read_ns = time.monotonic_ns()
        return row

    def slow(self, door: Door) -> dict[str, float]:
        """What is dear or does not change fast; `read_ns` is when.

        Totals first: their rates are as good as the instant at which they were read.
        """
        row: dict[str, float] = {}
        self.ways.slow_fields.read(door, self.handle, row)
        self.read_ns = time.monotonic_ns()
        called(door, self.handle, self.ways.slow, row)
        if self.samples is not None:
            self.samples.read(door, row)
        return row

    def close(self, door: Door) -> None:
        if self.samples is not None:
            self.samples.close(door)


def called(door: Door, handle: Any, calls: list[Call], row: dict[str, float]) -> None:
    """Add what these calls say to the row; ends early when the device or the driver is gone."""
    for call in calls:
        value = door.query(call.fn, handle, *call.args)
        if value is not None:
            row.update(zip(call.names, call.values(value), strict=True))
        elif door.away or door.lost:
            return


def cards(door: Door, silent: dict[int, str] | None = None) -> list[Card]:
    """Every device that answers; the instances of MIG behind the whole devices. `silent` takes why
    the others do not.
    """
    driver = door.query(pynvml.nvmlSystemGetDriverVersion)
    whole: list[Card] = []
    count = door.query(pynvml.nvmlDeviceGetCount) or 0
    for at in range(count):
        handle = door.query(pynvml.nvmlDeviceGetHandleByIndex, at)
        if handle is not None:
            whole.append(Card(door, handle, device_facts(door, handle, at, driver)))
        elif silent is not None:
            silent[at] = door.reason
    parts: list[Card] = []
    for card in whole:
        for handle in instances(door, card.handle):
            facts = instance_facts(door, handle, count + len(parts), card.facts)
            parts.append(Card(door, handle, facts, card))
    return [*whole, *parts]

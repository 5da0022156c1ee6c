"""Tracks of counters: load, power, clocks, memory and links of devices, and what the allocator
holds, each as levels over time.

A reading is an event that lasts to the next one, named after its value; how high it is drawn is its
level, in 255ths of the counter's limit where that is known, else of its largest reading.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.categories import (
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    EXPOSED_COPY,
    HOST_BOUND,
    INPUT_WAIT,
    PEER_WAIT,
)
from perfscope.analyzer.counters.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.lost_devices import device_losses
from perfscope.analyzer.counters.series import device_series
from perfscope.analyzer.number_text import digits, megabytes, percent
from perfscope.analyzer.timeline.lane import Events
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.track import COUNTER, NOT_IN_A_TABLE, SOURCES, Draft
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

FULL = 255
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counter:
    """What a device's track shows: one counter, or the larger of two directions."""

    title: str
    names: tuple[str, ...]
    unit: str
    colour: str


COUNTERS = (
    Counter("a kernel runs", ("kernel_time_share",), "%", DEVICE_COMPUTE),
    Counter("SMs with work", ("sm_active",), "%", DEVICE_COMPUTE),
    Counter("memory bandwidth", ("dram_active",), "%", DEVICE_COMPUTE),
    Counter("power", ("power_w",), "W", INPUT_WAIT),
    Counter("clock", ("sm_clock_mhz",), "MHz", HOST_BOUND),
    Counter("memory in use", ("memory_used_bytes",), "bytes", "checkpoint"),
    Counter(
        "NVLink",
        ("nvlink_tx_bytes_per_s", "nvlink_rx_bytes_per_s"),
        "bytes/s",
        EXPOSED_COMMUNICATION,
    ),
    Counter("PCIe", ("pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s"), "bytes/s", EXPOSED_COPY),
)


def counter_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """Below everything else of the process that a device works for; where that is not told, of the
    first.
    """
    yield from device_tracks(trace, names)
    yield from allocator_tracks(trace, names)


def device_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """A track for each counter of the devices that the job uses; of all where it is not known which
    these are.
    """
    series, uses = trace.fact(device_series), trace.fact(device_use) or trace.fact(all_devices)
    first = first_process(trace)
    for use in uses:
        own = series[(series["host"] == use.host) & (series["device"] == use.device)]
        process = use.processes[0] if use.processes else first
        yield from lost_track(trace, names, use, process)
        for at, one in enumerate(COUNTERS):
            rows = own[own["name"].isin(one.names)]
            if not len(rows):
                continue
            largest = rows.groupby("ts").agg(value=("value", "max"), span=("span", "max"))
            end = largest.index.to_numpy(np.int64)
            limit = limit_of(trace, use, one)
            # A reading stands for the time before it.
            begin = np.maximum(
                end - largest["span"].to_numpy(np.int64), np.concatenate(([end[0] - 1], end[:-1]))
            )
            events = levels(
                names, one, begin, end - begin, largest["value"].to_numpy(np.float64), limit
            )
            title = f"GPU {use.device} {one.title}{of_limit(limit, one.unit)}"
            yield Draft(process, (4, use.device, at), COUNTER, title, [events], device=use.device)


def lost_track(trace: Trace, names: Names, use: DeviceUse, process: int) -> Iterator[Draft]:
    """When it did not answer, above what it said: full height, whatever the counters below missed
    meanwhile.
    """
    own = [one for one in trace.fact(device_losses) if one.use is use]
    if not own:
        return
    code = names.of(pd.Series([f"does not answer: {one.reason}" for one in own]), PEER_WAIT)
    names.levels.update(int(one) for one in np.unique(code))
    begin = np.array([one.begin_ns for one in own], np.int64)
    dur = np.array([one.end_ns - one.begin_ns for one in own], np.int64)
    source = np.full(len(own), SOURCES.index("device_counters"), np.uint8)
    nowhere, full = np.full(len(own), NOT_IN_A_TABLE, np.int32), np.full(len(own), FULL, np.uint8)
    events = Events(begin, dur, code, source, nowhere, full)
    yield Draft(
        process,
        (4, use.device, -1),
        COUNTER,
        f"GPU {use.device} does not answer",
        [events],
        device=use.device,
    )


def allocator_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """What tensors use of each allocator, of what it has reserved at most."""
    memory = trace.table("memory")
    if memory is None or not len(memory):
        return
    what = Counter("", (), "bytes", "checkpoint")
    for (process, device), rows in memory.groupby(["process", "device"], sort=True):
        own = rows[rows["allocated_bytes"] >= 0].sort_values("ts", kind="stable")
        if not len(own):
            continue
        ts = own["ts"].to_numpy(np.int64)
        held = own["allocated_bytes"].to_numpy(np.float64)
        last = np.concatenate((ts[1:] != ts[:-1], [True]))
        ts, held = ts[last], held[last]
        dur = np.diff(np.append(ts, max(trace.span_ns[1], int(ts[-1]) + 1)))
        limit = float(max(own["reserved_bytes"].max(), held.max()))
        where = "host" if int(str(device)) < 0 else f"GPU {device}"
        title = f"{where} memory of tensors{of_limit(limit, 'bytes')}"
        yield Draft(
            int(str(process)),
            (5, int(str(device))),
            COUNTER,
            title,
            [levels(names, what, ts, dur, held, limit)],
        )


def levels(names: Names, of: Counter, ts: Ints, dur: Ints, value: Floats, limit: float) -> Events:
    """Readings as events, equal ones that follow each other as one."""
    top = limit if limit > 0 else max(float(np.nanmax(value)), 1e-12)
    level = np.clip(np.ceil(FULL * np.nan_to_num(value) / top), 0, FULL).astype(np.uint8)
    texts = pd.Series([f"{of.title} {told(each, of.unit)}".strip() for each in value])
    begins = np.concatenate(([True], (level[1:] != level[:-1]) | (ts[1:] != ts[:-1] + dur[:-1])))
    at = np.flatnonzero(begins)
    until = np.append(at[1:], len(ts)) - 1
    code = names.of(texts.iloc[at], of.colour)
    names.levels.update(int(one) for one in np.unique(code))
    nowhere = np.full(len(at), NOT_IN_A_TABLE, np.int32)
    source = np.full(len(at), SOURCES.index("device_counters"), np.uint8)
    return Events(ts[at], ts[until] + dur[until] - ts[at], code, source, nowhere, level[at])


def told(value: float, unit: str) -> str:
    """A value with its unit."""
    if unit == "%":
        return percent(value)
    if unit.startswith("bytes"):
        return megabytes(value) + unit.removeprefix("bytes")
    return f"{digits(value)} {unit}"


def of_limit(limit: float, unit: str) -> str:
    return f", up to {told(limit, unit)}" if limit > 0 and unit != "%" else ""


def limit_of(trace: Trace, use: DeviceUse, of: Counter) -> float:
    """What a full track means; -1 where only the largest reading can say."""
    if of.unit == "%":
        return 1.0
    facts = use.facts
    known = {
        "power_w": facts.power_limit_w,
        "sm_clock_mhz": float(facts.boost_clock_mhz),
        "memory_used_bytes": float(facts.memory_bytes),
    }
    if of.names[0] in known:
        return known[of.names[0]]
    kind = of.names[0].partition("_")[0]
    return next(
        (
            one.peak_bytes_per_s
            for one in trace.fact(link_use)
            if one.kind == kind and one.use is use
        ),
        -1.0,
    )


def first_process(trace: Trace) -> int:
    processes = trace.table("processes")
    return 0 if processes is None or not len(processes) else int(processes["process"].iloc[0])

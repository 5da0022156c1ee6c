"""Tracks of counters: load, power, clocks, memory and links of devices, and the memory of the
allocator, each as levels over time.

A reading is an event that lasts to the next one, named by its value. The height at which it is
drawn is its level, in 255ths of the counter's limit where that is known, else of its largest
reading.
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
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.lost_devices import device_losses
from perfscope.analyzer.number_text import digits, megabytes, percent
from perfscope.analyzer.run.accelerators.counter_series import device_series
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.timeline.lane import Events
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.track import COUNTER, NOT_IN_A_TABLE, SOURCES, Draft
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

FULL = 255
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrackedCounter:
    """The counter of a device's track, or the larger of the counters of two directions."""

    title: str
    names: tuple[str, ...]
    unit: str
    color: str


COUNTERS = (
    TrackedCounter("a kernel runs", ("kernel_time_share",), "%", DEVICE_COMPUTE),
    TrackedCounter("SMs with work", ("sm_active",), "%", DEVICE_COMPUTE),
    TrackedCounter("memory bandwidth", ("dram_active",), "%", DEVICE_COMPUTE),
    TrackedCounter("power", ("power_w",), "W", INPUT_WAIT),
    TrackedCounter("clock", ("sm_clock_mhz",), "MHz", HOST_BOUND),
    TrackedCounter("memory in use", ("memory_used_bytes",), "bytes", "checkpoint"),
    TrackedCounter(
        "NVLink",
        ("nvlink_tx_bytes_per_s", "nvlink_rx_bytes_per_s"),
        "bytes/s",
        EXPOSED_COMMUNICATION,
    ),
    TrackedCounter("PCIe", ("pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s"), "bytes/s", EXPOSED_COPY),
)


def counter_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """Yield the tracks below all others of the process that a device works for, else the first."""
    yield from device_tracks(trace, names)
    yield from allocator_tracks(trace, names)


def device_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """Yield a track for each counter of the devices that the job uses; of all where unknown."""
    series, uses = trace.fact(device_series), trace.fact(device_use) or trace.fact(all_devices)
    first = first_process(trace)
    for use in uses:
        readings = series[(series["host"] == use.host) & (series["device"] == use.device)]
        process = use.processes[0] if use.processes else first
        yield from lost_track(trace, names, use, process)
        for order, counter in enumerate(COUNTERS):
            rows = readings[readings["name"].isin(counter.names)]
            if not len(rows):
                continue
            largest = rows.groupby("ts").agg(value=("value", "max"), span=("span", "max"))
            end = largest.index.to_numpy(np.int64)
            limit = track_limit(trace, use, counter)
            # A reading describes the time before it.
            begin = np.maximum(
                end - largest["span"].to_numpy(np.int64), np.concatenate(([end[0] - 1], end[:-1]))
            )
            events = levels(
                names,
                counter,
                begin,
                end - begin,
                largest["value"].to_numpy(np.float64),
                limit=limit,
            )
            title = f"GPU {use.device} {counter.title}{limit_suffix(limit, counter.unit)}"
            yield Draft(
                process, (4, use.device, order), COUNTER, title, [events], device=use.device
            )


def lost_track(trace: Trace, names: Names, use: DeviceUse, process: int) -> Iterator[Draft]:
    """Yield a track of when a device did not answer, at full height, above its counters."""
    losses = [loss for loss in trace.fact(device_losses) if loss.use is use]
    if not losses:
        return
    code = names.of(pd.Series([f"does not answer: {loss.reason}" for loss in losses]), PEER_WAIT)
    names.levels.update(int(number) for number in np.unique(code))
    begin = np.array([loss.begin_ns for loss in losses], np.int64)
    dur = np.array([loss.end_ns - loss.begin_ns for loss in losses], np.int64)
    source = np.full(len(losses), SOURCES.index("device_counters"), np.uint8)
    nowhere = np.full(len(losses), NOT_IN_A_TABLE, np.int32)
    full = np.full(len(losses), FULL, np.uint8)
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
    """Yield a track of the memory that tensors use, up to the most that was reserved."""
    memory = trace.table("memory")
    if memory is None or not len(memory):
        return
    shown = TrackedCounter("", (), "bytes", "checkpoint")
    for (process, device), rows in memory.groupby(["process", "device"], sort=True):
        known = rows[rows["allocated_bytes"] >= 0].sort_values("ts", kind="stable")
        if not len(known):
            continue
        ts = known["ts"].to_numpy(np.int64)
        held = known["allocated_bytes"].to_numpy(np.float64)
        last = np.concatenate((ts[1:] != ts[:-1], [True]))
        ts, held = ts[last], held[last]
        dur = np.diff(np.append(ts, max(trace.span_ns[1], int(ts[-1]) + 1)))
        limit = float(max(known["reserved_bytes"].max(), held.max()))
        where = "host" if int(str(device)) < 0 else f"GPU {device}"
        title = f"{where} memory of tensors{limit_suffix(limit, 'bytes')}"
        yield Draft(
            int(str(process)),
            (5, int(str(device))),
            COUNTER,
            title,
            [levels(names, shown, ts, dur, held, limit=limit)],
        )


def levels(
    names: Names,
    counter: TrackedCounter,
    ts: Ints,
    dur: Ints,
    value: Floats,
    *,
    limit: float,
) -> Events:
    """Return readings as events; consecutive equal readings are one event."""
    top = limit if limit > 0 else max(float(np.nanmax(value)), 1e-12)
    level = np.clip(np.ceil(FULL * np.nan_to_num(value) / top), 0, FULL).astype(np.uint8)
    texts = pd.Series(
        [f"{counter.title} {value_text(each, counter.unit)}".strip() for each in value]
    )
    begins = np.concatenate(([True], (level[1:] != level[:-1]) | (ts[1:] != ts[:-1] + dur[:-1])))
    at = np.flatnonzero(begins)
    until = np.append(at[1:], len(ts)) - 1
    code = names.of(texts.iloc[at], counter.color)
    names.levels.update(int(number) for number in np.unique(code))
    nowhere = np.full(len(at), NOT_IN_A_TABLE, np.int32)
    source = np.full(len(at), SOURCES.index("device_counters"), np.uint8)
    return Events(ts[at], ts[until] + dur[until] - ts[at], code, source, nowhere, level[at])


def value_text(value: float, unit: str) -> str:
    """Return a value with its unit."""
    if unit == "%":
        return percent(value)
    if unit.startswith("bytes"):
        return megabytes(value) + unit.removeprefix("bytes")
    return f"{digits(value)} {unit}"


def limit_suffix(limit: float, unit: str) -> str:
    """Return the limit as the end of a title, "" without one."""
    return f", up to {value_text(limit, unit)}" if limit > 0 and unit != "%" else ""


def track_limit(trace: Trace, use: DeviceUse, counter: TrackedCounter) -> float:
    """Return the value of a full track; -1 where it is that of the largest reading."""
    if counter.unit == "%":
        return 1.0
    facts = use.facts
    known = {
        "power_w": facts.power_limit_w,
        "sm_clock_mhz": float(facts.boost_clock_mhz),
        "memory_used_bytes": float(facts.memory_bytes),
    }
    if counter.names[0] in known:
        return known[counter.names[0]]
    kind = counter.names[0].partition("_")[0]
    return next(
        (
            link.peak_bytes_per_s
            for link in trace.fact(link_use)
            if link.kind == kind and link.use is use
        ),
        -1.0,
    )


def first_process(trace: Trace) -> int:
    """Return the code of the first process, 0 without any."""
    processes = trace.table("processes")
    return 0 if processes is None or not len(processes) else int(processes["process"].iloc[0])

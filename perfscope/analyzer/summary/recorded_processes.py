"""The processes and the accelerators of a recording, as the diagnosis lists them."""

import pandas as pd

from perfscope.analyzer.diagnosis import Device, Process
from perfscope.analyzer.run.budget_units import NO_DEVICE, units
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

WORKING_ROLES = ("main", "other")


def recorded_processes(trace: Trace) -> list[Process]:
    """Return every process of the recording, in the order of its number."""
    processes = table(trace, "processes")
    if processes is None:
        return []
    rows = processes.sort_values("process").to_dict("records")
    return [
        Process(
            process=int(row["process"]),
            pid=int(row["pid"]),
            host=text_of_cell(row["host"]) or "",
            role=text_of_cell(row["role"]) or "other",
            rank=int(row["rank"]) if row["role"] in WORKING_ROLES and row["rank"] >= 0 else None,
            command=text_of_cell(row["name"]) or "",
        )
        for row in rows
    ]


def number_of_loader_workers(trace: Trace) -> int:
    """Return the number of loader workers of all processes.

    Workers that an epoch starts in place of ended ones with the same numbers count once. Workers
    without a number count only where no worker has one.
    """
    processes = table(trace, "processes")
    if processes is None:
        return 0
    workers = processes[(processes["role"] == "loader-worker").to_numpy(bool)]
    numbered = workers[column(workers, "worker") >= 0]
    return len(numbered[["parent", "worker"]].drop_duplicates()) or len(workers)


def recorded_devices(trace: Trace) -> list[Device]:
    """Return every accelerator that the recording names, with the processes that used it."""
    return devices_in_trace(trace) if trace.is_profiler_trace else watched_devices(trace)


def watched_devices(trace: Trace) -> list[Device]:
    """Return the devices that the agent watched, as their driver describes them."""
    users = table(trace, "device_processes")
    found = []
    for manifest in trace.manifests:
        for facts in manifest.devices:
            processes: list[int] = []
            if users is not None:
                of_device = (users["host"] == manifest.host) & (users["device"] == facts.device)
                known = users[of_device & (users["process"] >= 0)]
                processes = sorted({int(process) for process in known["process"]})
            found.append(Device(facts.device, manifest.host, facts.uuid, facts.name, processes))
    return found


def devices_in_trace(trace: Trace) -> list[Device]:
    """Return the devices of a profiler's trace: those it describes, and those that did work."""
    processes, described = table(trace, "processes"), table(trace, "devices")
    host_by_process: dict[int, str] = {}
    if processes is not None:
        pairs = zip(processes["process"], processes["host"], strict=True)
        host_by_process = {int(process): text_of_cell(host) or "" for process, host in pairs}
    names: dict[tuple[str, int], str | None] = {}
    users: dict[tuple[str, int], set[int]] = {}
    if described is not None:
        columns = (described[name] for name in ("process", "device", "name"))
        for process, device, name in zip(*columns, strict=True):
            key = (host_by_process.get(int(process), ""), int(device))
            names[key] = text_of_cell(name)
    for unit in units(trace):
        if unit.device != NO_DEVICE:
            key = (host_by_process.get(unit.process, ""), unit.device)
            users.setdefault(key, set()).add(unit.process)
    return [
        Device(device, host, None, names.get((host, device)), sorted(users.get((host, device), ())))
        for host, device in sorted({*names, *users})
    ]


def text_of_cell(value: object) -> str | None:
    """Return the text of a cell, None where it is missing."""
    return None if pd.isna(value) else str(value)  # type: ignore[call-overload]

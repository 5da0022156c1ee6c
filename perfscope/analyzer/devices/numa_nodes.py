"""Where the job's processes run and where their devices are."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

FEWEST = 2
"""Looks at a process below which where it runs is not known."""


@dataclass(frozen=True)
class FarProcess:
    """A process of the job that ran on `node` while its device is at another: at this share of the
    looks.
    """

    use: DeviceUse
    process: int
    node: int
    share: float
    looks: int


def far_processes(trace: Trace) -> list[FarProcess]:
    """Processes that were seen at another node than their device's, one for each device."""
    listed = table(trace, "device_processes")
    if listed is None:
        return []
    found = []
    for use in trace.fact(device_use):
        own = listed[
            (listed["host"] == use.host)
            & (listed["device"] == use.device)
            & (listed["cpu_node"] >= 0)
        ]
        for process in use.processes:
            nodes = column(own[own["process"] == process], "cpu_node")
            far = nodes[nodes != use.facts.numa_node]
            if use.facts.numa_node >= 0 and len(nodes) >= FEWEST and len(far):
                values, counts = np.unique(far, return_counts=True)
                found.append(
                    FarProcess(
                        use,
                        process,
                        int(values[np.argmax(counts)]),
                        len(far) / len(nodes),
                        len(nodes),
                    )
                )
    return found


def nodes_known(trace: Trace) -> bool:
    """Is the node of a device of the job known, and that of a process on it?"""
    listed = table(trace, "device_processes")
    seen = listed is not None and bool((listed["cpu_node"] >= 0).any())
    return seen and any(use.facts.numa_node >= 0 for use in trace.fact(device_use))

"""The NUMA nodes of the job's processes and of their devices."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

FEWEST_SAMPLES: Final = 2
"""Samples of a process below which its node is not used."""


@dataclass(frozen=True)
class FarProcess:
    """A process of the job that ran on `node`, not that of its device, in this share of samples."""

    use: DeviceUse
    process: int
    node: int
    share: float
    samples: int


def far_processes(trace: Trace) -> list[FarProcess]:
    """Return the processes that ran on another node than that of their device."""
    listed = table(trace, "device_processes")
    if listed is None:
        return []
    found = []
    for use in trace.fact(device_use):
        if use.facts.numa_node < 0:
            continue
        of_device = (listed["host"] == use.host) & (listed["device"] == use.device)
        rows = listed[of_device & (listed["cpu_node"] >= 0)]
        for process in use.processes:
            nodes = column(rows[rows["process"] == process], "cpu_node")
            far = nodes[nodes != use.facts.numa_node]
            if len(nodes) < FEWEST_SAMPLES or not len(far):
                continue
            values, counts = np.unique(far, return_counts=True)
            node = int(values[np.argmax(counts)])
            found.append(FarProcess(use, process, node, len(far) / len(nodes), len(nodes)))
    return found


def are_nodes_known(trace: Trace) -> bool:
    """Return whether the node of a device of the job and that of a process on it are known."""
    listed = table(trace, "device_processes")
    if listed is None or not (listed["cpu_node"] >= 0).any():
        return False
    return any(use.facts.numa_node >= 0 for use in trace.fact(device_use))

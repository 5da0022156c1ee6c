"""The sources of evidence, one a file. OUTSIDE run in every recording; Probe enters the target,
Kernels asks it for windows of torch's profiler; Stacks stands in for it, and OnDemand for Kernels
where Kineto asks for orders; Nvtx listens to what we have started.
"""

from perfscope.agent.collectors.amd import Amd
from perfscope.agent.collectors.host import Host
from perfscope.agent.collectors.kernels import Kernels
from perfscope.agent.collectors.network import Network
from perfscope.agent.collectors.nvml import Nvml
from perfscope.agent.collectors.nvtx import Nvtx
from perfscope.agent.collectors.on_demand import OnDemand
from perfscope.agent.collectors.probe import Probe
from perfscope.agent.collectors.stacks import Stacks
from perfscope.agent.collectors.thread_states import ThreadStates

OUTSIDE = (Host, ThreadStates, Network, Nvml, Amd)
COLLECTORS = (*OUTSIDE, Probe, Kernels, OnDemand, Stacks, Nvtx)

__all__ = [
    "COLLECTORS",
    "OUTSIDE",
    "Amd",
    "Host",
    "Kernels",
    "Network",
    "Nvml",
    "Nvtx",
    "OnDemand",
    "Probe",
    "Stacks",
    "ThreadStates",
]

"""The collectors, one class per file.

`COLLECTORS` is the list that the recorder runs: it starts each of them, in this order, as soon as
its `NEEDS` hold.
"""

from perfscope.agent.collector import Collector
from perfscope.agent.collectors.amd import Amd
from perfscope.agent.collectors.engine_metrics import EngineMetrics
from perfscope.agent.collectors.flight_recorder import FlightRecorder
from perfscope.agent.collectors.hang_waits import Waits
from perfscope.agent.collectors.host import Host
from perfscope.agent.collectors.kernels import Kernels
from perfscope.agent.collectors.kineto_on_demand import OnDemand
from perfscope.agent.collectors.native_code import NativeCode
from perfscope.agent.collectors.network import Network
from perfscope.agent.collectors.nvml import Nvml
from perfscope.agent.collectors.nvtx import Nvtx
from perfscope.agent.collectors.probe import Probes
from perfscope.agent.collectors.source_lines import SourceLines
from perfscope.agent.collectors.stacks import Stacks
from perfscope.agent.collectors.thread_states import ThreadStates

COLLECTORS: tuple[type[Collector], ...] = (
    SourceLines,
    Host,
    ThreadStates,
    NativeCode,
    Network,
    Nvml,
    Amd,
    Nvtx,
    EngineMetrics,
    Probes,
    Kernels,
    OnDemand,
    Waits,
    FlightRecorder,
    Stacks,
)

__all__ = [
    "COLLECTORS",
    "Amd",
    "EngineMetrics",
    "FlightRecorder",
    "Host",
    "Kernels",
    "NativeCode",
    "Network",
    "Nvml",
    "Nvtx",
    "OnDemand",
    "Probes",
    "SourceLines",
    "Stacks",
    "ThreadStates",
    "Waits",
]

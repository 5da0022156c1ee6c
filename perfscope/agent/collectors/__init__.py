"""The sources of evidence, one a file. OUTSIDE run in every recording; Probe enters the target; Stacks stands in for it."""

from perfscope.agent.collectors.host import Host
from perfscope.agent.collectors.probe import Probe
from perfscope.agent.collectors.stacks import Stacks
from perfscope.agent.collectors.thread_states import ThreadStates

OUTSIDE = (Host, ThreadStates)
COLLECTORS = (*OUTSIDE, Probe, Stacks)

__all__ = ["COLLECTORS", "OUTSIDE", "Host", "Probe", "Stacks", "ThreadStates"]

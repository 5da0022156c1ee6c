"""Records what devices, ports and threads of a process's host tell, without the analysis; many
recordings side by side.

Standard input says which, a JSON list of [pid, run folder, seconds, scenario]: each is made by a
fork, so that all share what was imported. What costs most (py-spy, every process's counters) is
left to other tests: a small machine records them all at once.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import pynvml  # noqa: F401  before the forks; the driver's library is loaded behind them

from perfscope.agent.collectors import Network, Nvml, ThreadStates
from perfscope.agent.recorder import Plan, Recorder

LISTED = (ThreadStates, Network, Nvml)


def child(pid: int, out: str, seconds: float, scenario: str) -> None:
    """Make one recording and end: with 0 when it went well."""
    os.environ["STAND_IN_SCENARIO"] = scenario
    code = 1
    try:
        plan = Plan(pid, Path(out), depth="observe", duration_s=seconds)
        Recorder(plan, LISTED).record(lambda progress: None)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    children = []
    for pid, out, seconds, scenario in json.load(sys.stdin):
        forked = os.fork()
        if not forked:
            child(pid, out, seconds, scenario)
        children.append(forked)
    return max((os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children), default=0)


if __name__ == "__main__":
    sys.exit(main())

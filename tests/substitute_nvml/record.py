"""Makes many recordings of devices, network ports and threads at the same time, without analysis.

Standard input is a JSON list of [pid, run folder, seconds, scenario]. Each recording is made by a
fork, so that all share the imported modules. Expensive sources (py-spy, the counters of every
process) are left out, so that a small machine can make all recordings at once.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import pynvml  # noqa: F401  imported before the forks; they load the library

from perfscope.agent.collectors import Network, Nvml, ThreadStates
from perfscope.agent.recording.recorder import Plan, Recorder

LISTED = (ThreadStates, Network, Nvml)


def child(pid: int, out: str, seconds: float, scenario: str) -> None:
    """Make one recording and exit, with 0 if it succeeded."""
    os.environ["SUBSTITUTE_SCENARIO"] = scenario
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
    return max((os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children), default=0)


if __name__ == "__main__":
    sys.exit(main())

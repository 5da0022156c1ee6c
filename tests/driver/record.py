"""Records a process from outside, as `attach --depth observe` does, without the analysis: arguments PID OUT SECONDS."""

import sys
from pathlib import Path

from perfscope.agent.recorder import Plan, record

if __name__ == "__main__":
    pid, out, seconds = sys.argv[1:]
    record(Plan(int(pid), Path(out), depth="observe", duration_s=float(seconds)), lambda progress: None)

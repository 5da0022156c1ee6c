"""The same server when it does not wait for batches: nothing delays its requests."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))
sys.argv[1:2] = ["--fix", "--seconds", sys.argv[1]]
runpy.run_module("sample_workloads.serving.batching_delay", run_name="__main__")

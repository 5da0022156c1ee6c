"""A FastAPI server whose batcher waits 40 ms for more requests; clients send a few at random."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))
sys.argv[1:2] = ["--seconds", sys.argv[1]]
runpy.run_module("sample_workloads.serving.batching_delay", run_name="__main__")

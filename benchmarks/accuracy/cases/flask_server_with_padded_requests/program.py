"""A Flask server that pads each request to sixteen times its length, and gets too many."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))
sys.argv[1:2] = ["--seconds", sys.argv[1]]
runpy.run_module("sample_workloads.serving.saturated", run_name="__main__")

"""A FastAPI server whose batcher takes two requests at once, although more wait."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))
sys.argv[1:2] = ["--seconds", sys.argv[1]]
runpy.run_module("sample_workloads.serving.admission_limit", run_name="__main__")

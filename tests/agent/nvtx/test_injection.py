"""NVTX ranges of a C program and of the nvtx package, recorded by `perfscope run` without CUDA."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.load import load_trace
from perfscope.ui.coverage import not_measured
from tests.agent.nvtx.building import compile_program, need_library
from tests.target_processes import perfscope

PYTHON = """
import os, time
import nvtx
for number in range(3):
    with nvtx.annotate("outer", domain="domain", category="loading", payload=number):
        with nvtx.annotate("inner"):
            time.sleep(0.002)
nvtx.mark("mark", payload=2.5)
for number in range(200_000):
    nvtx.push_range("many")
    nvtx.pop_range()
    if number % 10_000 == 0:
        time.sleep(0.05)
"""


DEEP = """
import time
import nvtx
for _ in range(200):
    nvtx.push_range("deeper")
for _ in range(200):
    nvtx.pop_range()
time.sleep(0.5)  # a process that ends at once may be gone before the recorder finds it
"""


def record_ranges(folder: Path, *command: str) -> tuple[pd.DataFrame, str]:
    """Return the NVTX ranges of a command, and what the command printed."""
    done = subprocess.run(
        [*perfscope("run", "--out", folder / "run", "--"), *command],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = load_trace(folder / "run").table("ranges")
    assert found is not None
    return found[found["category"] == "nvtx"], done.stdout


def count_dropped(run: Path) -> int:
    """Return how many ranges were dropped because this machine was busy."""
    return sum(int(line.split()[0]) for line in load_trace(run).manifest.dropped)


def test_every_nvtx_call_of_a_c_program_is_recorded(tmp_path: Path) -> None:
    need_library()
    found, output = record_ranges(tmp_path, str(compile_program(tmp_path)))
    assert output == "0 0 1 0 1\n1\n"
    assert sorted(found["name"]) == sorted(
        [*["engine:registered"] * 4, "grün", "deeper", "in a thread", "only in the child"]
    )
    first = found[(found["name"] == "engine:registered") & (found["label"] == "decoding")].iloc[0]
    assert first["payload"] == float(1 << 63) and first["dur"] > 1_900_000
    inside = found[found["name"] == "deeper"].iloc[0]
    assert (
        first["ts"] <= inside["ts"]
        and inside["ts"] + inside["dur"] <= first["ts"] + first["dur"] + 1_000_000
    )
    mark = found[found["label"] == "#9"].iloc[0]
    assert (mark["dur"], mark["payload"], mark["name"]) == (0, 0.25, "engine:registered")
    main = first["tid"]
    crossing = found[
        (found["name"] == "engine:registered") & found["label"].isna() & (found["tid"] == main)
    ]
    assert len(crossing) == 1 and math.isnan(crossing.iloc[0]["payload"])
    assert found[found["name"] == "in a thread"].iloc[0]["tid"] != main
    child = found[found["process"] != first["process"]]
    assert (
        sorted(child["name"]) == ["engine:registered", "only in the child"]
        and child["payload"].min() == -5
    )


def test_the_nvtx_package_is_recorded_without_cuda_and_without_torch(tmp_path: Path) -> None:
    need_library()
    pytest.importorskip("nvtx")
    path = tmp_path / "program.py"
    path.write_text(PYTHON)
    found, _ = record_ranges(tmp_path, sys.executable, str(path))
    counts = found["name"].value_counts().to_dict()
    assert counts == {
        "domain:outer": 3,
        "inner": 3,
        "mark": 1,
        "many": 200_000 - count_dropped(tmp_path / "run"),
    }
    outer = found[found["name"] == "domain:outer"]
    assert outer["label"].tolist() == ["loading"] * 3 and outer["payload"].tolist() == [0, 1, 2]


def test_dropped_ranges_are_in_manifest_and_diagnosis(tmp_path: Path) -> None:
    need_library()
    pytest.importorskip("nvtx")
    found, _ = record_ranges(tmp_path, sys.executable, "-c", DEEP)
    assert len(found) == 128
    assert count_dropped(tmp_path / "run") == 72
    diagnosis = diagnose_trace(load_trace(tmp_path / "run"))
    (dropped,) = diagnosis.dropped
    assert [why for _, why in not_measured(diagnosis) if dropped in why] == [f"partial: {dropped}"]


def test_the_library_of_another_tool_is_kept(tmp_path: Path) -> None:
    program = "import os; print(os.environ['NVTX_INJECTION64_PATH'])"
    command = [*perfscope("run", "--out", tmp_path / "run", "--"), sys.executable, "-c", program]
    environment = {**os.environ, "NVTX_INJECTION64_PATH": "/other/tool.so"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "/other/tool.so\n")

"""Calls of `generate` of transformers in a program that is attached to unprepared: the recorded
times are those of the clock of the program, and the program is as before.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.load import load_trace
from tests.build import Rows, trace
from tests.serving.requests_trace import MS, request_row, requests_trace
from tests.target_processes import killed_at_end, until
from tests.target_processes import perfscope as command

NEW = 16
PROGRAM = [sys.executable, "-m", "tests.serving.generate_program"]
KV_BYTES_PER_TOKEN = 2 * 2 * 2 * 16 * 4
"""Keys and values of 2 layers with 2 heads of 16 float32 numbers."""


def is_close(recorded_ns: "np.typing.NDArray[np.int64]", measured_ns: list[int]) -> bool:
    """Return whether nine tenths of the times agree within 2 ms or 2 %.

    Between two clocks that are read one after the other, the thread can lose its core.
    """
    measured = np.array(measured_ns)
    allowed_ns = np.maximum(0.02 * measured, 2e6)
    return bool((abs(recorded_ns - measured) <= allowed_ns).mean() >= 0.9)


def test_tokens_of_generate_agree_with_the_clock_of_the_program(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    log, run = tmp_path / "log", tmp_path / "run"
    with killed_at_end([*PROGRAM, str(log), "14"]) as program:
        until(lambda: log.exists() and log.read_text().count("\n") > 2)
        options = ("--depth", "probe", "--duration", "4", "--out", run)
        attached = subprocess.run(
            command("attach", str(program.pid), *options), capture_output=True, text=True
        )
        assert attached.returncode == 0, attached.stderr
        out, _ = program.communicate(timeout=60)
    names, wrapped = out.splitlines()
    assert "GenerationMixin.generate" in names
    assert wrapped in ("[True, False, False]", "[False, False, False]")  # no_grad wraps the first
    recorded = load_trace(run)
    requests, gaps = recorded.table("requests"), recorded.table("token_gaps")
    assert requests is not None and gaps is not None
    zero_ns = recorded.manifests[0].zero_monotonic_ns
    measured = {begin: rest for begin, *rest in map(json.loads, log.read_text().splitlines())}
    assert (requests["state"] == "failed").sum() >= 1
    complete = requests[requests["state"] == "complete"]
    assert len(complete) >= 10
    begins = np.array(list(measured))
    nearest = begins[abs(begins[:, None] - complete["ts"].to_numpy() - zero_ns).argmin(0)]
    calls = [measured[int(begin)] for begin in nearest]
    e2e = [end - begin for begin, (end, *_) in zip(nearest, calls, strict=True)]
    first = [tokens[0] - begin for begin, (_, tokens, *_) in zip(nearest, calls, strict=True)]
    assert is_close(complete["ts"].to_numpy() + zero_ns, nearest.tolist())
    assert is_close(complete["dur"].to_numpy(), e2e)
    assert is_close(complete["first_token_ns"].to_numpy(), first)
    assert set(complete["tokens"]) == {NEW} and set(complete["rows"]) == {1}
    assert complete["prompt_tokens"].tolist() == [width for *_, width in calls]
    kv_bytes = KV_BYTES_PER_TOKEN * complete["prompt_tokens"]
    assert complete["kv_bytes"].tolist() == kv_bytes.tolist()
    for number, (_, tokens, *_) in zip(complete["number"], calls, strict=True):
        assert (gaps["number"] == number).sum() == NEW - 1 == len(tokens) - 1
    of_first = gaps[gaps["number"] == complete["number"].iloc[0]]["dur"].to_numpy()
    assert is_close(of_first, np.diff(calls[0][1]).tolist())
    found = diagnose_trace(recorded)
    assert found.workload == "inference" and found.requests is not None
    assert [stage.stage for stage in found.requests.stages] == ["prefill", "decode", "after"]
    assert found.requests.ttft_ms is not None and found.requests.itl_ms is not None


def generated(count: int) -> tuple[Rows, Rows]:
    """Return calls of `generate` of 40 ms with 5 tokens, and the gaps between these."""
    facts = {"source": "generate", "first_token_ns": 12 * MS, "tokens": 5, "rows": 1}
    calls = [request_row(100.0 * place + 10.0, 40.0, **facts) for place in range(count)]
    gaps: Rows = [
        {"tid": 1, "ts": (100 * place + 22 + 6 * gap) * MS, "dur": 6 * MS, "number": place}
        for place in range(count)
        for gap in range(4)
    ]
    return calls, [{**gap, "tokens": 1, "source": "generate"} for gap in gaps]


def test_calls_of_generate_alone_are_not_a_server() -> None:
    calls, gaps = generated(60)
    found = diagnose_trace(requests_trace(calls, token_gaps=gaps))
    assert found.workload != "server" and found.requests is not None
    assert found.requests.ttft_ms is not None and found.requests.itl_ms is not None
    assert found.requests.ttft_ms.p50.value == pytest.approx(12.0)
    assert found.requests.itl_ms.p50.value == pytest.approx(6.0)
    stages = {stage.stage: stage.ms for stage in found.requests.stages}
    assert stages == pytest.approx({"prefill": 12.0, "decode": 24.0, "after": 4.0})


def test_a_handler_that_calls_generate_has_its_tokens() -> None:
    calls, gaps = generated(60)
    handled = [request_row(100.0 * place, 60.0, source="handler") for place in range(60)]
    numbered = [{"number": n % 60, **row} for n, row in enumerate([*handled, *calls])]
    found = diagnose_trace(trace(requests=numbered, token_gaps=gaps))
    assert found.workload == "server" and found.requests is not None
    assert found.requests.count == 60
    assert found.requests.ttft_ms is not None and found.requests.itl_ms is not None
    assert found.requests.ttft_ms.p50.value == pytest.approx(22.0)
    assert found.requests.itl_ms.p50.value == pytest.approx(6.0)
    assert found.requests.output_tokens_per_s == pytest.approx(300 / 5.96, rel=0.01)

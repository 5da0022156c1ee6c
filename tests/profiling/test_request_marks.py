"""`perfscope.request()` in real programs: what is recorded of interleaved tasks, of threads, of
failures, and of requests that are cut by the beginning or the end of a recording.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import perfscope
from perfscope.profiling.request_marks import Request
from perfscope.traces.load import load_trace
from tests.target_processes import perfscope as command

MS = 1_000_000
SERVER = """
import asyncio, json, threading, time
import perfscope, torch

def serve(wait_s, fails=False):
    began = time.monotonic_ns()
    try:
        with perfscope.request():
            time.sleep(wait_s)
            if fails:
                raise LookupError("of the program")
    except LookupError as error:
        assert str(error) == "of the program"
    return time.monotonic_ns() - began

async def stream(wait_s, tokens):
    async with perfscope.request() as request:
        await asyncio.sleep(wait_s)
        request.first_token()
        request.tokens(1)
        for _ in range(tokens - 1):
            await asyncio.sleep(0.005)
            request.tokens(1)

async def stream_all():
    await asyncio.gather(*(stream(0.02 * (1 + place), 3 + place) for place in range(5)))

def main():
    inside_at_begin, inside_at_end = perfscope.request(), perfscope.request()
    inside_at_begin.__enter__()
    with perfscope.profile(depth="probe", show=False, out="kept.perfscope"):
        inside_at_begin.__exit__(None, None, None)
        open_at_end = perfscope.request()
        open_at_end.__enter__()
        threads = [threading.Thread(target=serve, args=(0.05, place == 2)) for place in range(3)]
        for thread in threads:
            thread.start()
        asyncio.run(stream_all())
        for thread in threads:
            thread.join()
        took = serve(0.03)
        with perfscope.request() as request:
            time.sleep(0.01)
            request.tokens(40)
            request.tokens("many")
            request.tokens(-3)
    open_at_end.tokens(2)
    open_at_end.__exit__(None, None, None)
    print(json.dumps({"took": took}))

main()
"""


def requests_of(run_folder: Path) -> pd.DataFrame:
    rows = load_trace(run_folder).table("requests")
    assert rows is not None
    return rows


def run_program(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text(text)
    words = [sys.executable, path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Recorded:
    folder: Path
    took_ns: int


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("requests")
    printed = json.loads(run_program(folder, SERVER))
    return Recorded(folder / "kept.perfscope", printed["took"])


def test_tasks_threads_failures_and_cut_requests(recorded: Recorded) -> None:
    rows = requests_of(recorded.folder)
    counts = rows["state"].value_counts()
    assert dict(counts[counts > 0]) == {
        "complete": 9,
        "failed": 1,
        "began-before": 1,
        "unfinished": 1,
    }
    cut = rows[rows["state"].isin(["began-before", "unfinished"])]
    assert set(cut["dur"]) == {-1} and set(cut["first_token_ns"]) == {-1}
    whole = rows[rows["state"] == "complete"]
    assert whole["number"].is_unique and set(whole["source"]) == {"code"}

    streamed = whole[whole["first_token_ns"] >= 0].sort_values("first_token_ns")
    assert list(streamed["tokens"]) == [3, 4, 5, 6, 7]
    for place, (first_ns, dur) in enumerate(
        zip(streamed["first_token_ns"], streamed["dur"], strict=True)
    ):
        assert first_ns >= 20 * MS * (1 + place)
        assert dur - first_ns >= 5 * MS * (2 + place)
    assert streamed["tid"].nunique() == 1

    in_threads = rows[(rows["tid"] != streamed["tid"].iloc[0])]
    assert len(in_threads) == 3 and in_threads["tid"].nunique() == 3
    assert (in_threads["dur"] >= 50 * MS).all()
    # the program's own clock around the block
    alone = whole[(whole["tokens"] == -1) & (whole["tid"] == streamed["tid"].iloc[0])]
    assert len(alone) == 1
    assert alone["dur"].iloc[0] == pytest.approx(recorded.took_ns, abs=2 * MS)

    at_once = whole[whole["tokens"] == 40]
    assert list(at_once["first_token_ns"]) == [-1]


def test_gaps_between_tokens_sum_to_the_time_after_the_first(recorded: Recorded) -> None:
    gaps, rows = load_trace(recorded.folder).table("token_gaps"), requests_of(recorded.folder)
    assert gaps is not None
    for row in rows[rows["first_token_ns"] >= 0].itertuples():
        of_request = gaps[gaps["number"] == row.number]
        assert of_request["tokens"].sum() == row.tokens - 1
        after_first = row.dur - row.first_token_ns
        assert 0 <= after_first - of_request["dur"].sum() < 5 * MS


ENDLESS = """
import threading, time
import perfscope, torch

def serve():
    while True:
        with perfscope.request() as request:
            time.sleep(0.02)
            request.first_token()
            time.sleep(0.02)

for _ in range(3):
    threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
time.sleep(600)
"""


def test_attaching_in_the_middle_of_requests_counts_the_cut_ones_apart(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(ENDLESS)
    start = [sys.executable, tmp_path / "program.py"]
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as target:
        assert target.stdout is not None and target.stdout.readline() == "ready\n"
        try:
            for attempt in ("first", "second"):
                options = ["--depth", "probe", "--duration", "2", "--out", tmp_path / attempt]
                words = command("attach", str(target.pid), *options, "--json")
                done = subprocess.run(words, capture_output=True, text=True, timeout=120)
                assert done.returncode == 0, done.stderr
        finally:
            target.kill()
    for attempt in ("first", "second"):
        rows = requests_of(tmp_path / attempt)
        whole = rows[rows["state"] == "complete"]
        assert len(whole) > 10 and (whole["dur"] >= 40 * MS).all()
        assert (whole["first_token_ns"] >= 20 * MS).all()
        assert 1 <= (rows["state"] == "began-before").sum() <= 3
        assert (rows["state"] == "unfinished").sum() <= 3


def test_without_a_recording_a_request_is_one_object_and_passes_exceptions() -> None:
    assert perfscope.request() is perfscope.request()
    with pytest.raises(ValueError, match="of the program"), perfscope.request() as request:
        request.tokens(3)
        raise ValueError("of the program")


def test_a_request_whose_recording_is_gone_still_ends() -> None:
    with Request() as request:
        request.first_token()
        request.tokens(2)
    assert request.probe is None

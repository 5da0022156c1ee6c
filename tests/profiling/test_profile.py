"""`perfscope.profile()` in real programs: one region, nested and in threads, over functions, under
torchrun.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import perfscope
from perfscope.agent.profiler_windows.window import MANY_STEPS
from perfscope.errors import UsageError
from perfscope.profiling.scope import Scope
from perfscope.traces.load import load_trace

TRAINING = """
import json, os, sys, threading, time
import perfscope
import torch
from torch.utils.data import DataLoader, TensorDataset

def train(batches=30):
    model = torch.nn.Linear(16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for (batch,) in DataLoader(TensorDataset(torch.ones(8 * batches, 16)), batch_size=8):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()
        time.sleep(0.01)

def found():
    patched = torch.utils.data.dataloader._BaseDataLoaderIter.__next__
    return [hasattr(patched, "__wrapped__"), threading.active_count(), len(os.listdir("/proc/self/task"))]
"""  # noqa: E501


def program(folder: Path, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
    path = folder / "program.py"
    path.write_text(TRAINING + textwrap.dedent(text))
    command = [sys.executable, *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=folder)


def answers(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_line_around_a_region_tells_what_bounds_it_and_leaves_nothing(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        before = found()
        with perfscope.profile(depth="probe", show=False) as scope:
            train()
            inside = found()
        after = found()
        scope.tell()
        scope.save("kept.perfscope")
        scope.report("kept.html")
        print(json.dumps([before, inside, after, scope.diagnosis.steps.count, scope._repr_html_()[:7], scope.diagnosis.run]))
        """,  # noqa: E501
    )
    before, inside, after, steps, html, run = answers(done)
    assert inside[0] is True and before == after
    assert html == "<iframe" and run is None
    assert "Input-bound" in done.stderr or "bound by" in done.stderr
    assert f"{steps} steps in" in done.stderr and steps > 10
    assert (tmp_path / "kept.html").stat().st_size > 100_000
    ranges = load_trace(tmp_path / "kept.perfscope").table("ranges")
    assert ranges is not None and (ranges["category"] == "optimizer").sum() == 30


def test_over_a_generator_it_lasts_from_the_first_value_to_the_end(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        @perfscope.profile(depth="probe", show=False)
        def epochs():
            for _ in range(2):
                train(10)
                yield "an epoch"
            return "done"

        def whole():
            return (yield from epochs())

        seen = list(whole())
        trace, _ = epochs.scope.result()
        print(json.dumps([seen, int((trace.table("ranges")["category"] == "optimizer").sum())]))
        """,
    )
    assert answers(done) == [["an epoch", "an epoch"], 20]


def test_scopes_share_a_recording_and_each_is_told_of_its_own_time(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        options = {"depth": "probe", "show": False}

        @perfscope.profile(**options)
        def decorated():
            train(20)
            return "its answer"

        def beside():
            with perfscope.profile(**options) as scope:
                train(15)
            scopes.append(scope)

        scopes = []
        with perfscope.profile(**options) as outer:
            with outer, perfscope.profile(**options) as inner:
                train(25)
            thread = threading.Thread(target=beside)
            thread.start()
            thread.join()
            assert decorated() == "its answer"
        counts = []
        for scope in (outer, inner, scopes[0], decorated.scope):
            trace, _ = scope.result()
            counts.append(int((trace.table("ranges")["category"] == "optimizer").sum()))
        try:
            with perfscope.profile(**options) as failing:
                raise ValueError("the program's own")
        except ValueError as error:
            counts.append(str(error))
        print(json.dumps(counts))
        """,
    )
    assert answers(done) == [60, 25, 15, 20, "the program's own"]
    assert done.stderr == ""


def test_steps_loaders_and_parts_that_only_the_program_knows(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        class Own:
            def __iter__(self):
                for number in range(40):
                    time.sleep(0.02)
                    yield number
            def __len__(self):
                return 40

        loader = DataLoader(TensorDataset(torch.ones(8, 16)))
        with perfscope.profile(depth="probe", out="kept.perfscope") as scope:
            assert scope.track(loader) is loader
            batches = scope.track(Own())
            assert len(batches) == 40
            for number in batches:
                sum(range(500_000))
                scope.step()
        print(json.dumps([scope.diagnosis.steps.count, scope.diagnosis.verdict.cause, scope.diagnosis.run]))
        """,  # noqa: E501
    )
    assert answers(done) == [39, "unknown-loader", "kept.perfscope"]
    waits = load_trace(tmp_path / "kept.perfscope").table("loader")
    assert (
        waits is not None
        and (waits["end"] == 0).sum() == 40
        and (waits["dur"] > 15_000_000).sum() >= 40
    )


def test_each_rank_of_a_job_has_a_recording_of_its_own(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        torch.distributed.init_process_group("gloo")
        rank = torch.distributed.get_rank()
        with perfscope.profile(depth="probe", out=f"rank{rank}.perfscope"):
            train(20)
        torch.distributed.destroy_process_group()
        """,
        *("-m", "torch.distributed.run", "--nproc-per-node=2"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("bound by") == 1
    for rank in (0, 1):
        processes = load_trace(tmp_path / f"rank{rank}.perfscope").table("processes")
        assert processes is not None and processes[processes["role"] == "main"][
            "rank"
        ].tolist() == [rank]


def test_without_an_agent_the_program_runs_all_the_same(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        sys.executable = "/no/such/python"
        with perfscope.profile() as scope:
            print(json.dumps("ran"))
        """,
    )
    assert answers(done) == "ran"
    assert (
        done.stderr.startswith("perfscope: nothing was recorded") and done.stderr.count("\\n") <= 1
    )


def test_what_is_said_before_torch_is_there(tmp_path: Path) -> None:
    text = """
    import json, sys
    import perfscope
    with perfscope.profile(depth="probe", show=False) as scope:
        assert "torch" not in sys.modules
        import torch
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        for _ in range(5):
            optimizer.step()
    ranges = scope.result()[0].table("ranges")
    print(json.dumps(int((ranges["category"] == "optimizer").sum())))
    """
    path = tmp_path / "late.py"
    path.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert answers(done) == 5


def test_what_is_imported_slowly_meanwhile_takes_nothing_out(tmp_path: Path) -> None:
    """The first optimizer imports torch._dynamo, and the probe looks for it while only half of it
    is there.
    """
    done = program(
        tmp_path,
        """
        class Slowly:
            def find_spec(self, name, path=None, target=None):
                half = sys.modules.get("torch._dynamo.eval_frame")
                if half is not None and half.__spec__._initializing:
                    time.sleep(0.1)

        sys.meta_path.insert(0, Slowly())
        assert "torch._dynamo" not in sys.modules
        with perfscope.profile(depth="probe", show=False) as scope:
            train(10)
            assert "torch._dynamo" in sys.modules
            print(json.dumps(hasattr(torch.autograd._engine_run_backward, "__wrapped__")))
        """,
    )
    assert answers(done) is True


def test_named_parts_are_ranges_also_those_of_nvtx_itself(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        import nvtx
        with perfscope.profile(depth="probe", show=False) as scope:
            for number in range(3):
                with scope.range("part"), nvtx.annotate("inner", domain="mine", category="loading", payload=number):
                    time.sleep(0.01)
            nvtx.push_range("pushed", payload=0.5)
            nvtx.mark("here", domain="mine")
            nvtx.pop_range()
        found = scope.result()[0].table("ranges")
        found = found[found["category"] == "nvtx"].astype(object).where(lambda table: table.notna(), None)
        print(json.dumps(found[["name", "label", "payload"]].values.tolist()))
        """,  # noqa: E501
    )
    inner = [["part", None, None], ["mine:inner", "loading", 0.0]]
    rows = answers(done)
    assert [row[:2] for row in rows[:2]] == [row[:2] for row in inner] and len(rows) == 8
    assert [row[2] for row in rows if row[0] == "mine:inner"] == [0, 1, 2]
    assert ["pushed", None, 0.5] in rows and ["mine:here", None, None] in rows


def test_an_async_generator_is_open_to_its_end_and_a_kept_run_is_not_overwritten(
    tmp_path: Path,
) -> None:
    done = program(
        tmp_path,
        """
        import asyncio

        @perfscope.profile(depth="probe", show=False)
        async def stream():
            for number in range(3):
                train(5)
                await asyncio.sleep(0)
                yield number

        async def read():
            return [number async for number in stream()]

        read_back = asyncio.run(read())
        stream.scope.save("kept.perfscope")
        try:
            stream.scope.save("kept.perfscope")
        except perfscope.errors.PerfscopeError as error:
            print(json.dumps([read_back, stream.scope.diagnosis.steps.count >= 10, str(error)]))
        """,
    )
    assert answers(done) == [
        [0, 1, 2],
        True,
        "kept.perfscope exists: name another folder, or remove it",
    ]


def test_a_window_is_asked_for_in_the_words_of_the_command_line() -> None:
    scope: Scope = perfscope.profile(window="steps=7")
    assert scope.options[2].steps == 7
    scope = perfscope.profile(window="seconds=1.5")
    assert (scope.options[2].steps, scope.options[2].seconds) == (MANY_STEPS, 1.5)
    for wrong in ("steps=0", "steps=-3", "seconds=", "5"):
        with pytest.raises(UsageError, match="neither steps=N"):
            perfscope.profile(window=wrong)


def test_modules_are_seen_however_long_a_program_loads_before_its_first_step(
    tmp_path: Path,
) -> None:
    done = program(
        tmp_path,
        """
        with perfscope.profile(depth="probe", show=False) as scope:
            time.sleep(3.5)  # longer than a watch for modules lasts
            train(200)
        found = scope.result()[0].table("ranges")
        print(json.dumps(int((found["category"] == "forward").sum())))
        """,
    )
    assert answers(done) > 100


def test_what_is_compiled_after_we_came_is_timed_and_compiled_once(tmp_path: Path) -> None:
    done = program(
        tmp_path,
        """
        with perfscope.profile(depth="probe", show=False) as scope:
            model = torch.compile(torch.nn.Linear(16, 16), backend="eager")
            for _ in range(200):
                model(torch.ones(8, 16))
                time.sleep(0.01)
        found = scope.result()[0].table("ranges")
        from torch._dynamo.utils import counters
        print(json.dumps([int((found["category"] == "forward").sum()) > 50, counters["frames"]["ok"]]))
        """,  # noqa: E501
    )
    assert answers(done) == [True, 1]

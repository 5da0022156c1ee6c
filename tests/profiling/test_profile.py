"""`perfscope.profile()` in real programs: around a region, nested, in threads, as a decorator, and
in the ranks of a job.
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
    threads = len(os.listdir("/proc/self/task"))
    return [hasattr(patched, "__wrapped__"), threading.active_count(), threads]
"""


def run_program(folder: Path, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run TRAINING followed by `text`; the words are the options of Python."""
    path = folder / "program.py"
    path.write_text(TRAINING + textwrap.dedent(text))
    command = [sys.executable, *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=folder)


def printed_json(done: "subprocess.CompletedProcess[str]") -> Any:
    """Return the JSON that a program printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_profiled_region_is_diagnosed_and_all_patches_are_removed(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        before = found()
        with perfscope.profile(depth="probe", show=False) as scope:
            train()
            inside = found()
        after = found()
        scope.print_diagnosis()
        scope.save("kept.perfscope")
        scope.report("kept.html")
        steps, html, run = scope.diagnosis.steps.count, scope._repr_html_(), scope.diagnosis.run
        print(json.dumps([before, inside, after, steps, html[:7], run]))
        """,
    )
    before, inside, after, steps, html, run = printed_json(done)
    assert inside[0] is True and before == after
    assert html == "<iframe" and run is None
    assert f"{steps} steady steps" in done.stderr and steps > 10
    assert (tmp_path / "kept.html").stat().st_size > 100_000
    ranges = load_trace(tmp_path / "kept.perfscope").table("ranges")
    assert ranges is not None and (ranges["category"] == "optimizer").sum() == 30


def test_a_decorated_generator_is_profiled_from_its_first_value_to_its_end(tmp_path: Path) -> None:
    done = run_program(
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
    assert printed_json(done) == [["an epoch", "an epoch"], 20]


def test_scopes_share_a_recording_and_each_contains_the_steps_of_its_time(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        options = {"depth": "probe", "show": False}

        @perfscope.profile(**options)
        def decorated():
            train(20)
            return "result"

        def train_in_thread():
            with perfscope.profile(**options) as scope:
                train(15)
            scopes.append(scope)

        scopes = []
        with perfscope.profile(**options) as outer:
            with outer, perfscope.profile(**options) as inner:
                train(25)
            thread = threading.Thread(target=train_in_thread)
            thread.start()
            thread.join()
            assert decorated() == "result"
        counts = []
        for scope in (outer, inner, scopes[0], decorated.scope):
            trace, _ = scope.result()
            counts.append(int((trace.table("ranges")["category"] == "optimizer").sum()))
        try:
            with perfscope.profile(**options) as failing:
                raise ValueError("an error of the program")
        except ValueError as error:
            counts.append(str(error))
        print(json.dumps(counts))
        """,
    )
    assert printed_json(done) == [60, 25, 15, 20, "an error of the program"]
    assert done.stderr == ""


def test_steps_and_loaders_that_the_program_declares_are_recorded(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        class Batches:
            def __iter__(self):
                for number in range(40):
                    time.sleep(0.02)
                    yield number
            def __len__(self):
                return 40

        loader = DataLoader(TensorDataset(torch.ones(8, 16)))
        with perfscope.profile(depth="probe", out="kept.perfscope") as scope:
            assert scope.track(loader) is loader
            batches = scope.track(Batches())
            assert len(batches) == 40
            for number in batches:
                sum(range(500_000))
                scope.step()
        found = scope.diagnosis
        print(json.dumps([found.steps.count, found.verdict.cause, found.run]))
        """,
    )
    count, *others = printed_json(done)
    assert others == ["unknown-loader", "kept.perfscope"]
    # On a busy machine the first steps may be warm-up.
    assert 36 <= count <= 39
    waits = load_trace(tmp_path / "kept.perfscope").table("loader")
    assert waits is not None
    assert (waits["end"] == 0).sum() == 40
    assert (waits["dur"] > 15_000_000).sum() >= 40


def test_each_rank_of_a_job_has_a_separate_recording(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        torch.distributed.init_process_group("gloo")
        rank = torch.distributed.get_rank()
        with perfscope.profile(depth="probe", out=f"rank{rank}.perfscope"):
            train(20)
        torch.distributed.destroy_process_group()
        """,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run folder") == 1, "one rank prints its diagnosis"
    for rank in (0, 1):
        processes = load_trace(tmp_path / f"rank{rank}.perfscope").table("processes")
        assert processes is not None
        assert processes[processes["role"] == "main"]["rank"].tolist() == [rank]


def test_a_program_runs_also_if_the_agent_cannot_be_started(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        sys.executable = "/no/such/python"
        with perfscope.profile() as scope:
            print(json.dumps("ran"))
        """,
    )
    assert printed_json(done) == "ran"
    assert done.stderr.startswith("perfscope: ") and done.stderr.count("\n") == 1


def test_a_scope_that_begins_before_torch_is_imported_records_its_steps(tmp_path: Path) -> None:
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
    assert printed_json(done) == 5


def test_patches_are_kept_while_a_module_is_imported_slowly(tmp_path: Path) -> None:
    """The first optimizer imports torch._dynamo, and the probe finds it half imported."""
    done = run_program(
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
    assert printed_json(done) is True


def test_named_ranges_of_perfscope_and_of_nvtx_are_recorded(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        import nvtx
        with perfscope.profile(depth="probe", show=False) as scope:
            for number in range(3):
                inner = nvtx.annotate("inner", domain="domain", category="loading", payload=number)
                with scope.range("part"), inner:
                    time.sleep(0.01)
            nvtx.push_range("pushed", payload=0.5)
            nvtx.mark("mark", domain="domain")
            nvtx.pop_range()
        found = scope.result()[0].table("ranges")
        found = found[found["category"] == "nvtx"].astype(object)
        found = found.where(lambda table: table.notna(), None)
        print(json.dumps(found[["name", "label", "payload"]].values.tolist()))
        """,
    )
    rows = printed_json(done)
    assert [row[:2] for row in rows[:2]] == [["part", None], ["domain:inner", "loading"]]
    assert len(rows) == 8
    assert [row[2] for row in rows if row[0] == "domain:inner"] == [0, 1, 2]
    assert ["pushed", None, 0.5] in rows and ["domain:mark", None, None] in rows


def test_an_async_generator_is_profiled_to_its_end_and_a_saved_run_is_not_overwritten(
    tmp_path: Path,
) -> None:
    done = run_program(
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
    values, has_steps, error = printed_json(done)
    assert values == [0, 1, 2] and has_steps
    assert "kept.perfscope" in error


def test_a_window_counts_iterations_that_step_two_optimizers_as_one(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        generator, critic = torch.nn.Linear(16, 16), torch.nn.Linear(16, 1)
        first = torch.optim.SGD(critic.parameters(), lr=0.1)
        second = torch.optim.SGD(generator.parameters(), lr=0.1)
        with perfscope.profile(out="run", window="steps=4"):
            for _ in range(300):
                for optimizer in (first, second):
                    optimizer.zero_grad()
                    critic(generator(torch.ones(8, 16))).sum().backward()
                    optimizer.step()
                time.sleep(0.01)
        """,
    )
    assert done.returncode == 0, done.stderr
    run = load_trace(tmp_path / "run")
    windows, ranges = run.table("windows"), run.table("ranges")
    assert windows["steps"].tolist() == [4]
    ends = (ranges["ts"] + ranges["dur"])[ranges["category"] == "optimizer"]
    inside = ends.between(int(windows["begin"].iloc[0]), int(windows["end"].iloc[0]))
    assert 8 <= int(inside.sum()) <= 10


def test_the_argument_window_has_the_syntax_of_the_command_line() -> None:
    scope: Scope = perfscope.profile(window="steps=7")
    assert scope.options[2].steps == 7
    scope = perfscope.profile(window="seconds=1.5")
    assert (scope.options[2].steps, scope.options[2].seconds) == (MANY_STEPS, 1.5)
    for wrong in ("steps=0", "steps=-3", "seconds=", "5"):
        with pytest.raises(UsageError, match="steps=N"):
            perfscope.profile(window=wrong)


def test_calls_of_modules_are_recorded_also_after_a_long_start(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        with perfscope.profile(depth="probe", show=False) as scope:
            time.sleep(3.5)  # longer than the probe watches for modules
            train(200)
        found = scope.result()[0].table("ranges")
        print(json.dumps(int((found["category"] == "forward").sum())))
        """,
    )
    assert printed_json(done) > 100


def test_code_that_is_compiled_in_a_scope_is_timed_and_compiled_once(tmp_path: Path) -> None:
    done = run_program(
        tmp_path,
        """
        with perfscope.profile(depth="probe", show=False) as scope:
            model = torch.compile(torch.nn.Linear(16, 16), backend="eager")
            for _ in range(200):
                model(torch.ones(8, 16))
                time.sleep(0.01)
        found = scope.result()[0].table("ranges")
        from torch._dynamo.utils import counters
        calls = int((found["category"] == "forward").sum())
        print(json.dumps([calls, counters["frames"]["ok"]]))
        """,
    )
    calls, compilations = printed_json(done)
    assert calls > 50 and compilations == 1

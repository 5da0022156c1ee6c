"""Programs that are hard to record: what they do, compile, pickle, patch and fork is the same as
without a recording.
"""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.target_processes import source_reasons

SECONDS = 240


def run_program(program: str, *arguments: str | Path) -> Any:
    """Run a program of `targets`, and return what it prints; perfscope may print no error in it."""
    command = [sys.executable, "-m", f"tests.safety.targets.{program}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert done.returncode == 0 and "<perfscope" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def failures(run: Path) -> str | None:
    """Return what the recording reports about errors of the probe inside the program."""
    manifest = json.loads((run / "manifest.json").read_text())
    reason = source_reasons(manifest)["probe"] or ""
    return reason if "error of ours" in reason else None


def test_hostile_arguments_change_no_result(tmp_path: Path) -> None:
    answers = run_program("hostile_arguments", tmp_path / "run")
    assert answers["during"] == [answers["before"]] * 2 and answers["after"] == answers["before"]
    assert failures(tmp_path / "run") is None


@pytest.mark.parametrize("order", ["compiled-first", "eager-first"])
def test_compilation_is_the_same_with_a_recording(order: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        kinds = ("recorded", "plain")
        recorded, plain = pool.map(
            lambda kind: run_program("compiling", kind, order, tmp_path), kinds
        )
    assert len(plain) > 25
    assert recorded == plain


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the results of all cases of patch_orders.py."""
    return run_program("patch_orders", tmp_path_factory.mktemp("patch_orders"))


def test_patches_of_other_libraries_are_kept_in_every_order(answer: Any) -> None:
    works = answer["works"]
    wrapped = answer["wrapped_while_recording_unwrapped_later"]
    assert wrapped["patched"] >= 6
    assert (wrapped["kept"], wrapped["works"], wrapped["left"]) == (True, works, [])
    assert answer["wrapped_before_unwrapped_while_recording"]["left"] == []
    assert answer["mocked_and_traced"] == {
        "left": [],
        "nodes": ["placeholder", "call_function", "call_module", "output"],
    }
    assert answer["proxied"] == {"kept": True, "left": []}


def test_hooks_pickles_and_callbacks_are_as_without_a_recording(answer: Any) -> None:
    hooks = answer["global_optimizer_hook"]
    assert hooks["called"] > 0 and hooks["later"] == hooks["called"] and hooks["seen"] == [1, 1, 1]
    pickled = answer["pickled"]
    assert pickled["names"] == ["save", "backward", "fsync", "DataLoader", "SGD"]
    assert pickled["same"]
    assert pickled["timed"] == pickled["restored"] == [True, True]
    assert pickled["loaded"] == [2.0, 4.0]
    # The callback of the probe is first; between recordings a placeholder has its place.
    assert answer["callbacks"] == {"paired": True, "lengths": [2, 2, 2, 2, 0]}


def test_children_of_every_kind_have_no_patches(tmp_path: Path) -> None:
    seen = run_program("forking", tmp_path / "run")
    patched = seen["in"]["patched"]
    assert patched[1] == "HookTable" and patched[2] == seen["before"]["fork"][0][2] + 1
    faults = sum(
        1 << number - 1 for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGSYS, signal.SIGABRT)
    )
    assert max(seen["in"]["masks"]) > 0 and not any(mask & faults for mask in seen["in"]["masks"])
    assert seen["during"] == seen["before"] and seen["after"] == seen["before"]
    assert failures(tmp_path / "run") is None

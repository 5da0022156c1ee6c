"""Programs that are hard to be inside of: what they do, compile, pickle, patch and fork is what
they would do alone.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SECONDS = 240


def said(program: str, *arguments: str | Path) -> Any:
    """Run a program of `visited` to its end; what it says. Nothing may come on its stderr from
    us.
    """
    command = [sys.executable, "-m", f"tests.safety.visited.{program}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert done.returncode == 0 and "<perfscope" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def failures(run: Path) -> str | None:
    """What the recording says of code of ours that failed inside the program."""
    (probe,) = [
        source
        for source in json.loads((run / "manifest.json").read_text())["sources"]
        if source["name"] == "probe"
    ]
    reason = probe["reason"] or ""
    return reason if "error of ours" in reason else None


def test_hostile_arguments_change_no_answer(tmp_path: Path) -> None:
    answers = said("hostile_arguments", tmp_path / "run")
    assert answers["during"] == [answers["before"]] * 2 and answers["after"] == answers["before"]
    assert failures(tmp_path / "run") is None


@pytest.mark.parametrize("order", ["compiled-first", "eager-first"])
def test_what_is_compiled_is_the_same_with_us_inside(order: str, tmp_path: Path) -> None:
    visited, plain = (
        said("compiling", "visited", order, tmp_path),
        said("compiling", "plain", order, tmp_path),
    )
    assert (
        len(plain) > 25
        and {name: (visited[name], one) for name, one in plain.items() if visited[name] != one}
        == {}
    )


def test_patches_of_others_are_theirs_in_every_order(tmp_path: Path) -> None:
    answer = said("patch_orders", tmp_path)
    works = answer["works"]
    wrapped = answer["wrapped_while_in_unwrapped_later"]
    assert (
        wrapped["patched"] >= 6
        and wrapped["stay"]
        and wrapped["works"] == works
        and wrapped["left"] == []
    )
    assert answer["wrapped_before_unwrapped_while_in"]["left"] == []
    assert answer["mocked_and_traced"] == {
        "left": [],
        "nodes": ["placeholder", "call_function", "call_module", "output"],
    }
    assert answer["proxied"] == {"stay": True, "left": []}


def test_hooks_pickles_and_callbacks_are_as_without_us(tmp_path: Path) -> None:
    answer = said("patch_orders", tmp_path)
    hooks = answer["hooks_of_theirs"]
    assert hooks["heard"] > 0 and hooks["later"] == hooks["heard"] and hooks["seen"] == [1, 1, 1]
    pickled = answer["pickled"]
    assert pickled["names"] == ["save", "backward", "fsync", "DataLoader", "SGD"]
    assert pickled["same"] and pickled["timed"] == [True, True] and pickled["own"] == [False, True]
    assert pickled["loaded"] == [2.0, 4.0]
    # ours before theirs, a placeholder in its place between attaches, nothing at the end
    assert answer["callbacks"] == {"paired": True, "lengths": [2, 2, 2, 2, 0]}


def test_children_are_clean_however_they_are_made(tmp_path: Path) -> None:
    seen = said("forking", tmp_path / "run")
    assert (
        seen["in"]["patched"][1] == "HookTable"
        and seen["in"]["patched"][2] == seen["before"]["fork"][0][2] + 1
    )
    faults = sum(
        1 << number - 1 for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGSYS, signal.SIGABRT)
    )
    assert max(seen["in"]["masks"]) > 0 and not any(mask & faults for mask in seen["in"]["masks"])
    assert seen["during"] == seen["before"] and seen["after"] == seen["before"]
    assert failures(tmp_path / "run") is None

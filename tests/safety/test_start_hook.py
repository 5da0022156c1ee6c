"""Pythons that a command of `perfscope run` starts: the start hook prints nothing, and they run as
without it.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.delivery.probe_socket import open_probe_socket
from perfscope.agent.delivery.start_folder import start_folder
from perfscope.agent.entry.torch_import_watch import TorchImportWatch
from perfscope.errors import PerfscopeError
from tests.safety.other_user import NOBODY, needs_root
from tests.safety.pythons import PYTHONS, called, version_of

SHOWS = """
import os, sys
customized = "sitecustomize" in sys.modules
order = os.environ.get("ORDER", "")
print(repr([list(map(str, sys.path)), customized, order, len(sys.argv)]))
sys.stdout.flush()
os._exit(7)
"""
FAILS = "raise ValueError('of the user')\n"
SITE = "import os\nos.environ['ORDER'] = os.environ.get('ORDER', '') + 'site'\n"
USER = "import os\nos.environ['ORDER'] = os.environ.get('ORDER', '') + 'user'\n"


@contextmanager
def environment_of_command(before: str = "") -> Iterator[dict[str, str]]:
    """Yield the environment that `perfscope run` gives a command if PYTHONPATH was `before`."""
    old = os.environ.pop("PYTHONPATH", None)
    if before:
        os.environ["PYTHONPATH"] = before
    try:
        probe_socket = open_probe_socket()
        with probe_socket.listening, start_folder(probe_socket, None, {}) as environment:
            yield environment
    finally:
        os.environ.pop("PYTHONPATH", None)
        if old is not None:
            os.environ["PYTHONPATH"] = old


def outcome(python: str, words: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run SHOWS; return its exit code, stdout and stderr."""
    done = subprocess.run(
        [python, *words, "-c", SHOWS], capture_output=True, text=True, env=environment, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def plain_environment(before: str = "") -> dict[str, str]:
    """Return the environment of a command without perfscope."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return environment | ({"PYTHONPATH": before} if before else {})


@pytest.mark.parametrize("python", PYTHONS, ids=called)
@pytest.mark.parametrize("words", [[], ["-E"], ["-s"], ["-I"], ["-W", "error"]], ids=" ".join)
def test_every_python_starts_as_without_the_hook(
    python: str, words: list[str], tmp_path: Path
) -> None:
    if "-I" in words and version_of(python) < (3, 4):
        pytest.skip("Python 2 has no -I")
    (tmp_path / "sitecustomize.py").write_text(SITE)
    for before in ("", str(tmp_path)):
        with environment_of_command(before) as environment:
            expected = outcome(python, words, plain_environment(before))
            assert outcome(python, words, environment) == expected
        assert expected[0] == 7 and expected[2] == ""


@pytest.mark.parametrize("python", PYTHONS, ids=called)
def test_an_error_in_the_users_sitecustomize_is_printed_as_without_the_hook(
    python: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILS)
    with environment_of_command(str(tmp_path)) as environment:
        expected = outcome(python, [], plain_environment(str(tmp_path)))
        assert outcome(python, [], environment) == expected
    assert "sitecustomize" in expected[2]


@pytest.mark.parametrize("python", PYTHONS, ids=called)
def test_usercustomize_runs_after_the_users_sitecustomize(python: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    (tmp_path / "usercustomize.py").write_text(USER)
    with environment_of_command(str(tmp_path)) as environment:
        expected = outcome(python, [], plain_environment(str(tmp_path)))
        assert outcome(python, [], environment) == expected
    assert expected[0] == 7 and "'site" in expected[1]


@pytest.mark.parametrize("python", PYTHONS, ids=called)
def test_without_site_the_hook_only_adds_its_entry_to_the_path(
    python: str,
) -> None:
    with environment_of_command() as environment:
        expected, found = (
            outcome(python, ["-S"], plain_environment()),
            outcome(python, ["-S"], environment),
        )
        entry = environment["PYTHONPATH"]
    assert found[1].replace(f"{entry!r}, ", "") == expected[1]
    assert found[::2] == expected[::2] == (7, "")


@pytest.mark.parametrize("python", PYTHONS, ids=called)
def test_the_folder_of_the_hook_twice_in_the_path_has_no_effect(
    python: str, tmp_path: Path
) -> None:
    with environment_of_command() as environment:
        folder = environment["PYTHONPATH"]
        environment["PYTHONPATH"] = os.pathsep.join([folder, str(tmp_path), folder])
        assert outcome(python, [], environment) == outcome(
            python, [], plain_environment(str(tmp_path))
        )


@pytest.mark.parametrize("python", PYTHONS, ids=called)
@pytest.mark.parametrize(
    "damage", ["removed", "hook only", "watch is not Python", "watch raises", "watch unreadable"]
)
def test_a_damaged_folder_prints_nothing_and_changes_no_exit_code(python: str, damage: str) -> None:
    with environment_of_command() as environment:
        folder = Path(environment["PYTHONPATH"])
        damage_folder(folder, damage)
        code, out, err = outcome(python, [], environment)
        expected = outcome(python, [], plain_environment())
    assert (code, err) == (7, "")
    assert out.replace(f"{str(folder)!r}, ", "") == expected[1]
    assert damage == "removed" or str(folder) not in out


def damage_folder(folder: Path, damage: str) -> None:
    watch = folder / "torch_import_watch.txt"
    if damage == "removed":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    elif damage == "hook only":
        watch.unlink()
    elif damage == "watch is not Python":
        watch.write_bytes(b"\xff\xfe (")
    elif damage == "watch raises":
        watch.write_text("raise MemoryError")
    else:
        watch.unlink()
        watch.mkdir()


@needs_root
def test_a_folder_that_the_commands_user_may_not_read_prints_nothing() -> None:
    with environment_of_command() as environment:
        folder = environment["PYTHONPATH"]
        done = subprocess.run(
            ["/usr/bin/python3", "-c", SHOWS],
            capture_output=True,
            text=True,
            env=environment,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd="/",
        )
        assert (done.returncode, done.stderr) == (7, "")
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in Path(folder).glob("*.txt")} == {0o600}


@pytest.mark.parametrize("python", PYTHONS, ids=called)
def test_a_python_in_a_removed_working_directory_prints_the_same_as_without_the_hook(
    python: str, tmp_path: Path
) -> None:
    def done(environment: dict[str, str]) -> tuple[int, str]:
        command = (
            f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {python}"
            " -c 'exit(7)'"
        )
        result = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True
        )
        return result.returncode, result.stderr.split("<", 1)[0]

    with environment_of_command() as environment:
        environment["PYTHONPATH"] += os.pathsep
        assert done(environment) == done(plain_environment(os.pathsep))


def test_the_start_loads_only_modules_that_python_loads_anyway() -> None:
    shows = "import sys; print(sorted(set(sys.modules)))"
    with environment_of_command() as environment:
        found = subprocess.run(
            [sys.executable, "-c", shows], env=environment, capture_output=True, text=True
        )
    expected = subprocess.run(
        [sys.executable, "-c", shows], env=plain_environment(), capture_output=True, text=True
    )
    assert found.stdout == expected.stdout


def test_in_a_run_within_a_run_both_probes_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two watches follow the same loader, and neither ends the other."""
    program = (
        "import torch; print(type(torch.__loader__.exec_module).__name__, flush=True); input()"
    )
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    outer, inner = open_probe_socket(), open_probe_socket()
    with outer.listening, inner.listening, start_folder(outer, None, {}) as around:
        monkeypatch.setenv("PYTHONPATH", around["PYTHONPATH"])
        with (
            start_folder(inner, None, {}) as environment,
            subprocess.Popen(
                [sys.executable, "-c", program], text=True, env=environment, **pipes
            ) as process,
        ):
            for probe_socket in (outer, inner):
                probe_socket.listening.settimeout(60)
                probe_socket.listening.accept()[0].close()
            assert process.communicate("\n") == ("method\n", "")
    assert process.returncode == 0


def test_a_watch_that_fails_and_a_finder_without_find_spec_do_not_change_the_import(
    tmp_path: Path,
) -> None:
    (tmp_path / "torch.py").write_text("loaded = True\n")
    text = """
    import sys
    from perfscope.agent.entry.torch_import_watch import TorchImportWatch
    def begin():
        raise RuntimeError("can't start new thread")
    sys.meta_path.insert(0, object())
    sys.meta_path.insert(0, TorchImportWatch(begin))
    sys.meta_path.insert(0, TorchImportWatch(begin))
    import torch
    print(torch.loaded, len([f for f in sys.meta_path if isinstance(f, TorchImportWatch)]))
    """
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        env=plain_environment(path),
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("True 0\n", "")


def test_a_watch_that_was_removed_from_the_path_finds_nothing() -> None:
    assert TorchImportWatch(lambda: None).find_spec("torch") is None


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "XDG_CACHE_HOME"])
def test_no_folder_with_a_colon_gets_into_pythonpath(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a:b"
    place.mkdir(mode=0o700)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv(variable, str(place))
    probe_socket = open_probe_socket()
    with probe_socket.listening, start_folder(probe_socket, None, {}) as environment:
        assert os.path.isdir(environment["PYTHONPATH"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    monkeypatch.setattr("tempfile.tempdir", str(place))
    refused = start_folder(probe_socket, None, {})
    with pytest.raises(PerfscopeError, match="TMPDIR"), refused:
        pass

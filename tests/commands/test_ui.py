"""`ui` and `attach --ui` in real processes: the address they print, and which runs are live."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfscope.commands.options.dashboard_address import ssh_forwarding
from perfscope.commands.ui import live_view_of
from tests.commands.calling import call
from tests.commands.conftest import Recording
from tests.target_processes import perfscope, until

SSH = {"SSH_CONNECTION": "10.0.0.9 51000 10.0.0.5 2222"}
Process = subprocess.Popen[str]


@contextmanager
def started(*arguments: str | Path, **environment: str) -> Iterator[Process]:
    command = perfscope(*arguments)
    with subprocess.Popen(
        command,
        text=True,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)


def line_of(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_removed_option_live_is_refused_with_its_replacement() -> None:
    done = call("ui", "--live", "77")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "perfscope attach 77 --ui" in done.stderr


def test_in_an_ssh_session_the_address_comes_with_the_forwarding(recording: Recording) -> None:
    options = ["--port", "0", "--base-path", "/team"]
    with started("ui", recording.run_folder, *options, **SSH) as process:
        address = re.match(r"http://127\.0\.0\.1:(\d+)/team/\?token=\S{40,}\n", line_of(process))
        assert address is not None
        port = address[1]
        assert f"ssh -p 2222 -L {port}:127.0.0.1:{port} " in (line := line_of(process))
        assert line.endswith("@10.0.0.5\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.parametrize("connection", ["", "10.0.0.9 51000", "a b c d e"])
def test_outside_ssh_there_is_no_forwarding(connection: str) -> None:
    assert ssh_forwarding(8050, {"SSH_CONNECTION": connection}) is None


def test_a_growing_run_is_shown_live_and_a_finished_one_is_not(
    recording: Recording, tmp_path: Path
) -> None:
    assert live_view_of(recording.run_folder, ()) is None
    assert live_view_of(tmp_path, ()) is None
    out = tmp_path / "run.perfscope"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as target:
        options = ["--depth", "observe", "--duration", "40", "--out", out]
        with started("attach", str(target.pid), *options) as recorder:
            until((out / "manifest.json").exists)
            with started("ui", out, "--port", "0") as process:
                assert "/live?token=" in line_of(process)
            recorder.send_signal(signal.SIGINT)
            assert recorder.wait(60) == 0
        target.kill()


@pytest.mark.parametrize("options", [("--port", "0"), ("--base-path", "/x"), ("--no-token",)])
def test_options_of_the_dashboard_need_it(options: tuple[str, ...]) -> None:
    done = call("attach", "1", *options)
    assert done.returncode == 2 and "--ui" in done.stderr and done.stderr.count("\n") == 1

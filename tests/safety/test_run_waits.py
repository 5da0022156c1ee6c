"""`perfscope run` with errors in every part of perfscope: it waits for its command and passes on
its exit code and its signals.
"""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.run_folder.stored import StoredRun
from tests.target_processes import perfscope, until

ROOT = Path(__file__).parents[2]
AT_ONCE = 6
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda number, frame: sys.exit(9))
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
print("done", flush=True)
sys.exit(7)
"""
BREAKS = {
    "entry": "import perfscope.agent.delivery.start_folder as at; at.start_folder = fail",
    "sockets": "import perfscope.agent.delivery.probe_socket as at; at.open_probe_socket = fail",
    "signals": (
        "from perfscope.agent.job.started_command import SignalWitness as at; at.has = fail;"
        " at.renew = fail_later()"
    ),
    "threads": "import threading; threading.Thread.start = fail",
    "recorder": "import perfscope.agent.recording.recorder as at; at.Recorder.__init__ = fail",
    "recording": "import perfscope.agent.recording.recorder as at; at.Recorder.record = fail",
    "ending": "import perfscope.agent.recording.recorder as at; at.Recorder.end = fail",
    "manifest": (
        "from perfscope.traces.run_folder.folder import RunWriter as at; at.replace_manifest = fail"
    ),
    "reading": "import perfscope.traces.load as at; at.load_trace = fail",
    "diagnosis": "import perfscope.analyzer.diagnose as at; at.diagnose_trace = fail",
    "killed": (
        "import os, perfscope.analyzer.diagnose as at;"
        " at.diagnose_trace = lambda *a, **k: os.kill(os.getpid(), 9)"
    ),
    "printing": "import perfscope.ui.terminal.diagnosis_view as at; at.show = fail",
}
AFTER_THE_END = ("reading", "diagnosis", "killed", "printing")
"""Parts that fail after the command has ended: no signal can arrive then."""
PATCHED = """
import sys
def fail(*arguments, **options):
    raise {error}
def fail_later():
    calls = []
    def method(*arguments):
        calls.append(1)
        if len(calls) > 1:
            fail()
    return method
{patch}
from perfscope.cli import main
sys.exit(main(sys.argv[1:]))
"""


def broken(
    name: str, out: Path, lasts: float, error: str = 'ValueError("injected fault")'
) -> list[str]:
    """Return the command line of `perfscope run` in which one part raises."""
    text = PATCHED.format(patch=BREAKS[name], error=error)
    command = [sys.executable, "-c", text, "run", "--depth", "observe", "--out", str(out)]
    return [*command, "--", sys.executable, "-c", COMMAND, str(lasts)]


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a `perfscope run`."""

    code: int
    out: str
    err: str


def ended(command: list[str], send: signal.Signals | None) -> Ended:
    """Run a command to its end; `send` a signal as soon as the command runs and the parts that fail
    early have failed.
    """
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if send is not None:
            time.sleep(0.5)
            process.send_signal(send)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return Ended(process.returncode, first + out, err)


@pytest.fixture(scope="module")
def endings(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[tuple[str, bool], "Future[Ended]"]]:
    """Return the results by the failing part and by whether a signal was sent."""
    place = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made: dict[tuple[str, bool], Future[Ended]] = {}
        for name in BREAKS:
            made[name, False] = pool.submit(ended, broken(name, place / name, 1.0), None)
            if name not in AFTER_THE_END:
                signalled = broken(
                    name, place / f"{name}-signalled", 60.0, 'OSError(5, "injected fault")'
                )
                made[name, True] = pool.submit(ended, signalled, signal.SIGUSR1)
        yield made


@pytest.mark.parametrize("name", BREAKS)
def test_an_error_in_a_part_changes_neither_exit_code_nor_signals_of_the_command(
    name: str, endings: dict[tuple[str, bool], "Future[Ended]"]
) -> None:
    plain = endings[name, False].result()
    assert (plain.code, plain.out) == (7, "ready\ndone\n") and "Traceback" not in plain.err
    if name not in AFTER_THE_END:
        signalled = endings[name, True].result()
        assert (signalled.code, signalled.out) == (
            9,
            "ready\n",
        ) and "Traceback" not in signalled.err
    if name == "killed":
        assert plain.err.count("SIGKILL") == 1
        return
    assert name in ("signals", "threads", "ending") or plain.err.count("injected fault") == 1


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda folder: (folder / "file").touch() or folder / "file", "not a folder"),
        (lambda folder: (folder / "file").touch() or folder / "file" / "run", "cannot write to"),
        (lambda folder: (folder / "link").symlink_to(folder) or folder / "link", "is a link"),
        (
            lambda folder: (
                (folder / "full").mkdir() or (folder / "full/x").touch() or folder / "full"
            ),
            "is not empty",
        ),
    ],
    ids=["a file", "below a file", "a link", "a full folder"],
)
def test_the_command_runs_also_where_nothing_can_be_recorded(
    place: Callable[[Path], Path], reason: str, tmp_path: Path
) -> None:
    command = [
        *perfscope("run", "--out", place(tmp_path)),
        "--",
        sys.executable,
        "-c",
        COMMAND,
        "0.1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (7, "ready\ndone\n")
    assert (
        done.stderr.startswith("perfscope: not recorded: ")
        and done.stderr.count("\n") == 1
        and reason in done.stderr
    )


def test_names_that_are_not_utf8_are_recorded(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    script = folder + b"/r\xe9seau.py"
    with open(script, "w") as file:
        file.write(COMMAND)
    command = [
        *perfscope("run", "--depth", "observe", "--out", tmp_path / "run"),
        sys.executable,
        script,
        b"\xff0.5"[1:],
    ]
    done = subprocess.run([*map(os.fsencode, command)], cwd=folder, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (
        7,
        b"ready\ndone\n",
    ) and b"Traceback" not in done.stderr
    manifest = StoredRun.open(tmp_path / "run").manifest
    assert manifest.finished and manifest.command[1].endswith("/r\\udce9seau.py")


@pytest.mark.parametrize("number", ["9" * 5000, str(1 << 63)])
def test_numbers_of_a_launcher_that_are_out_of_range_are_unknown(
    number: str, tmp_path: Path
) -> None:
    variables = dict.fromkeys(("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_CPUS_PER_TASK"), number)
    done = subprocess.run(
        [
            *perfscope("run", "--depth", "observe", "--out", tmp_path / "run"),
            "--",
            "sh",
            "-c",
            "exit 5",
        ],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 5 and "Traceback" not in done.stderr
    assert StoredRun.open(tmp_path / "run").manifest.world_size is None


def test_ctrl_c_during_the_diagnosis_ends_it_with_the_exit_code_of_the_command(
    tmp_path: Path,
) -> None:
    slow = "import perfscope.analyzer.diagnose as at, time, os\n"
    slow += "at.diagnose_trace = lambda trace, **options: (os.write(1, b'now\\n'), time.sleep(60))"
    text = PATCHED.format(patch=slow, error="ValueError")
    for signo in (signal.SIGINT, signal.SIGTERM):
        out = str(tmp_path / signo.name)
        command = [
            sys.executable,
            "-c",
            text,
            "run",
            "--depth",
            "observe",
            "--out",
            out,
            "--",
            "sh",
            "-c",
            "exit 5",
        ]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "now\n"
            process.send_signal(signo)
            _, err = process.communicate(timeout=30)
            assert (
                process.returncode == 5
                and "Traceback" not in err
                and f"perfscope analyze {out}" in err
            )


def test_a_closed_or_full_output_changes_no_exit_code(tmp_path: Path) -> None:
    running = []
    for number, streams in enumerate(("2>/dev/full", "2>&-", ">/dev/full", ">&- 2>&-")):
        text = (
            'exec "$0" -m perfscope run --depth observe --json=/dev/stdout --out "$1"'
            f' -- sh -c "exit 5" {streams}'
        )
        command = ["sh", "-c", text, sys.executable, str(tmp_path / f"run{number}")]
        running.append(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [5] * 4 and b"Traceback" not in b"".join(
        errors
    )


def test_a_command_that_removes_the_run_folder_keeps_its_exit_code(tmp_path: Path) -> None:
    out = tmp_path / "run"
    waits = "until [ -e $0/manifest.json ]; do sleep 0.01; done; rm -rf $0; exit 5"
    command = [
        *perfscope("run", "--depth", "observe", "--out", out),
        "--",
        "sh",
        "-c",
        waits,
        str(out),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (
        done.returncode == 5
        and "Traceback" not in done.stderr
        and "deleted" in done.stderr
        and not out.exists()
    )


def test_a_launcher_that_ignores_the_end_of_children_gets_the_exit_code(tmp_path: Path) -> None:
    command = [
        *perfscope("run", "--depth", "observe", "--out", tmp_path / "run"),
        "--",
        "sh",
        "-c",
        "exit 6",
    ]
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", ignoring, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 6 and "Traceback" not in done.stderr


FORWARDED_SIGNALS = ("SIGALRM", "SIGXCPU", "SIGIO", "SIGVTALRM", "SIGWINCH")
WAITS_FOR_SIGNALS = """
import signal, sys, time
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), lambda number, frame: sys.exit(number))
print("ready", flush=True)
time.sleep(60)
"""


def test_every_signal_that_can_be_forwarded_reaches_the_command(tmp_path: Path) -> None:
    running = []
    for name in FORWARDED_SIGNALS:
        out = ("--depth", "observe", "--out", tmp_path / name)
        command = [sys.executable, "-c", WAITS_FOR_SIGNALS, *FORWARDED_SIGNALS]
        process = subprocess.Popen(
            [*perfscope("run", *out), "--", *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        running.append((name, process))
    codes = {}
    for name, process in running:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(getattr(signal, name))
        codes[name] = process.wait(60)
        process.stdout.close()
    assert codes == {name: int(getattr(signal, name)) for name in FORWARDED_SIGNALS}


def test_the_end_of_the_terminal_reaches_the_command(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    out = ("--depth", "observe", "--out", tmp_path / "run")
    text = """
import pathlib, signal, sys, time
def write(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(f"{number}\\n")
    sys.exit(6)
signal.signal(signal.SIGHUP, write)
pathlib.Path(sys.argv[2]).touch()
time.sleep(60)
"""
    got, ready = tmp_path / "got", tmp_path / "ready"
    process = subprocess.Popen(
        [*perfscope("run", *out), "--", sys.executable, "-c", text, got, ready],
        cwd=ROOT,
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(end)
    until(ready.exists)
    os.close(terminal)
    assert process.wait(60) == 6
    assert got.read_text() == f"{int(signal.SIGHUP)}\n"


def test_the_command_runs_in_a_folder_that_was_removed(tmp_path: Path) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    run = " ".join(perfscope("run", "--depth", "observe", "--", "sh", "-c", "'exit 7'"))
    text = f"cd {folder}; rmdir {folder}; PYTHONPATH={ROOT} exec {run}"
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7 and "Traceback" not in done.stderr

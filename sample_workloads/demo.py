"""The program behind `make demo`.

It starts a slow training run, attaches to it from outside, and writes a report.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("demo")
SAMPLE = "sample_workloads.decode_bound_full_cores"
DURATION_S = 15
LONGEST_S = 300
"""The training run ends after this time even if this program is killed."""


def main() -> int:
    """Run the demonstration; return the exit code."""
    FOLDER.mkdir(exist_ok=True)
    run = FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}.perfscope"
    report = FOLDER / "report.html"
    for number in (signal.SIGTERM, signal.SIGHUP):
        # `finally` below then stops the training run.
        signal.signal(number, lambda *_: sys.exit(1))
    print(f"starting a training run that is slow for a known reason: {SAMPLE}", flush=True)
    command = [sys.executable, "-m", SAMPLE, "--seconds", str(LONGEST_S)]
    target = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        if not wait_for_steps(target):
            print("the training run did not start; see its message above", file=sys.stderr)
            return 1
        code = attach(target.pid, run, report)
    finally:
        stop(target)
    if code == 0:
        print(f"\nThe training run was stopped. Written:\n  {run}/\n  {report}")
    return code


def wait_for_steps(target: subprocess.Popen[str]) -> bool:
    """Wait until the program reports its first steps; return False if it ends before."""
    assert target.stdout is not None
    return any("steps" in line for line in iter(target.stdout.readline, ""))


def attach(pid: int, run: Path, report: Path) -> int:
    """Run the command that a user would type; return its exit code."""
    arguments = [
        "attach",
        str(pid),
        "--duration",
        str(DURATION_S),
        "--out",
        str(run),
        "--html",
        str(report),
    ]
    print(f"\n$ perfscope {' '.join(arguments)}\n", flush=True)
    # Ctrl-C is for perfscope, which detaches and still prints the report.
    signal.signal(signal.SIGINT, lambda *_: None)
    with subprocess.Popen([sys.executable, "-m", "perfscope", *arguments]) as command:
        try:
            return command.wait()
        except SystemExit:
            command.send_signal(signal.SIGINT)
            raise


def stop(target: subprocess.Popen[str]) -> None:
    """End the training run and its loader workers; kill them if they do not end in time."""
    target.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        target.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(target.pid, signal.SIGKILL)
    target.wait()


if __name__ == "__main__":
    sys.exit(main())

"""The demonstration behind `make demo`: a slow training run is started, attached to from outside,
diagnosed and reported.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("demo")
SAMPLE = "sample_workloads.decode_full_cores"
DURATION_S = 15
LONGEST_S = 300  # the training run ends by itself, whatever becomes of us


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    run = FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}.perfscope"
    report = FOLDER / "report.html"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that `finally` stops the training run
    print(f"starting a training run that is slow for a known reason: {SAMPLE}", flush=True)
    command = [sys.executable, "-m", SAMPLE, "--seconds", str(LONGEST_S)]
    target = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        if not trains(target):
            print("the training run did not start; its message is above", file=sys.stderr)
            return 1
        code = attach(target.pid, run, report)
    finally:
        stop(target)
    if code == 0:
        print(
            f"\nthe training run is stopped; it left nothing behind. Written:\n  {run}/\n  {report}"
        )
    return code


def trains(target: subprocess.Popen[str]) -> bool:
    """Waits until it tells of its first steps, which it does once a second; False when it ends
    before.
    """
    assert target.stdout is not None
    return any("steps" in line for line in iter(target.stdout.readline, ""))


def attach(pid: int, run: Path, report: Path) -> int:
    """What a user would type; the exit code."""
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
    signal.signal(
        signal.SIGINT, lambda *_: None
    )  # Ctrl-C is for perfscope, which leaves and still reports
    with subprocess.Popen([sys.executable, "-m", "perfscope", *arguments]) as command:
        try:
            return command.wait()
        except SystemExit:
            command.send_signal(signal.SIGINT)
            raise


def stop(target: subprocess.Popen[str]) -> None:
    """End the training run with its loader workers: kindly, then for certain."""
    target.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        target.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(target.pid, signal.SIGKILL)
    target.wait()


if __name__ == "__main__":
    sys.exit(main())

"""Check what perfscope needs on this machine, and print a fix for anything that is missing."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.traces.run_folder.manifest import Calibration, DeviceCalibration

ELSEWHERE = """
In a container or on a cluster, attaching needs the capability SYS_PTRACE. Without it,
`--depth observe` still records CPU, I/O, throttling and what threads of your processes wait for.
  Docker      docker run --cap-add SYS_PTRACE ...
              (or on the host, as root: perfscope attach PID)
  Kubernetes  securityContext: {capabilities: {add: [SYS_PTRACE]}} in the pod, or an ephemeral
              container: kubectl debug -it POD --image=IMAGE_WITH_PERFSCOPE --target=CONTAINER
              --profile=sysadmin -- perfscope ps
  SLURM       srun --jobid JOBID --overlap --nodelist NODE --ntasks 1 --pty perfscope attach PID
"""


@dataclass(frozen=True)
class DoctorArguments:
    """The arguments of `perfscope doctor`; `threads` 0 means that torch chooses."""

    json: bool
    calibrate: bool
    device: bool
    python: str | None
    threads: int
    force: bool


ARGUMENTS = DoctorArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help=(
            "measure the peak rates of this CPU with torch, for rooflines of runs on it (takes some"
            " seconds; the machine must be idle)"
        ),
    )
    parser.add_argument(
        "--device",
        action="store_true",
        help=(
            "with --calibrate: measure the accelerators instead of the CPU, for rooflines where"
            " the peaks of a device are not known (nothing else may use them meanwhile)"
        ),
    )
    parser.add_argument(
        "--python", metavar="PATH", help="with --calibrate: the target's Python (default: this one)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help=(
            "with --calibrate: threads of the target (default: measure twice, with one thread and"
            " with torch's default number)"
        ),
    )
    parser.add_argument(
        "--force", action="store_true", help="with --calibrate: measure even if the machine is busy"
    )


def run(args: DoctorArguments) -> int:
    if args.calibrate:
        return calibrated_devices(args) if args.device else calibrate_and_store(args)
    from perfscope.agent.machine_checks.doctor import CHECKS, describe_system

    results = [check() for check in CHECKS]
    if args.json:
        print(json_text(results))
    else:
        print_line(describe_system())
        for result in results:
            mark = "ok " if result.fix is None else "NO "
            print_line(f"  {mark} {result.name:22} {result.answer}")
            if result.fix is not None:
                print_line(f"      fix: {result.fix}")
        print(ELSEWHERE, end="")
    return 0 if all(result.fix is None for result in results) else 1


def calibrate_and_store(args: DoctorArguments) -> int:
    """Measure the CPU, store the calibrations and print them; return the exit code."""
    import sys

    from perfscope.agent.machine_checks.calibration import calibrate

    python = args.python or sys.executable
    thread_counts = [args.threads] if args.threads else [1, 0]
    found = [calibrate(python, count, force=args.force) for count in thread_counts]
    return store_and_print(found, [cpu_lines(each) for each in found], as_json=args.json)


def calibrated_devices(args: DoctorArguments) -> int:
    """Measure the accelerators, store the calibrations and print them; return the exit code."""
    import sys

    from perfscope.agent.machine_checks.calibration import calibrate_devices

    found = calibrate_devices(args.python or sys.executable)
    return store_and_print(found, [device_lines(each) for each in found], as_json=args.json)


def store_and_print(
    found: "Sequence[Calibration | DeviceCalibration]", texts: list[list[str]], *, as_json: bool
) -> int:
    """Store calibrations and print them, each as the lines in `texts`; return the exit code."""
    from perfscope.traces.calibrations import store_calibration

    paths = [store_calibration(calibration) for calibration in found]
    if as_json:
        print(json_text(found))
        return 0
    for lines, path in zip(texts, paths, strict=True):
        for line in (*lines, f"wrote {path}"):
            print_line(line)
    return 0


def cpu_lines(calibration: "Calibration") -> list[str]:
    """Return what was measured of a CPU, and whether other processes may have made it too low."""
    from perfscope.traces.calibrations import BUSY

    rates = [f"{name} {rate / 1e9:.0f}" for name, rate in calibration.flops_per_s.items()]
    memory = f"{calibration.bytes_per_s / 1e9:.1f} GB/s"
    lines = [
        f"{calibration.cpu}, torch {calibration.torch}, threads: {calibration.threads}",
        f"  matrix multiplication: {', '.join(rates)} GFLOP/s; memory: {memory}",
    ]
    if calibration.busy_share > BUSY:
        busy = f"{calibration.busy_share:.0%}"
        lines.append(f"  {busy} of the cores were busy: these figures may be too low")
    return lines


def device_lines(calibration: "DeviceCalibration") -> list[str]:
    """Return what was measured of an accelerator."""
    rates = [f"{name} {rate / 1e12:.3g}" for name, rate in calibration.flops_per_s.items()]
    memory = f"{calibration.bytes_per_s / 1e9:.3g} GB/s"
    return [
        f"{calibration.device}, torch {calibration.torch}",
        f"  matrix multiplication: {', '.join(rates)} TFLOP/s; memory: {memory}",
    ]

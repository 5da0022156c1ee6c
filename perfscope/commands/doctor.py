"""Try what perfscope needs on this machine, and say the exact fix for what does not work."""

import argparse
from dataclasses import dataclass

from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import print_line

ELSEWHERE = """
In a container or on a cluster, attaching needs the right to trace (SYS_PTRACE); without it `--depth observe` still shows
CPU, I/O, throttling and what threads of your own processes wait for.
  Docker       docker run --cap-add SYS_PTRACE ...            (or from the host, as root: perfscope attach PID)
  Kubernetes   securityContext: {capabilities: {add: [SYS_PTRACE]}} in the pod, or an ephemeral container beside it:
               kubectl debug -it POD --image=IMAGE_WITH_PERFSCOPE --target=CONTAINER --profile=sysadmin -- perfscope ps
  SLURM        srun --jobid JOBID --overlap --nodelist NODE --ntasks 1 --pty perfscope attach PID
"""  # noqa: E501


@dataclass(frozen=True)
class DoctorArguments:
    """The arguments of `perfscope doctor`; `threads` 0 means that torch chooses."""

    json: bool
    calibrate: bool
    python: str | None
    threads: int
    force: bool


ARGUMENTS = DoctorArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help=(
            "measure what this CPU does with torch (some seconds, on an idle machine), for"
            " rooflines of runs on it"
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
            "with --calibrate: threads of the target (default: one, and as many as torch takes by"
            " itself)"
        ),
    )
    parser.add_argument(
        "--force", action="store_true", help="with --calibrate: also when the machine is busy"
    )


def run(args: DoctorArguments) -> int:
    if args.calibrate:
        return calibrated(args)
    from perfscope.agent.doctor import CHECKS, describe_system

    found = [check() for check in CHECKS]
    if args.json:
        print(json_text(found))
    else:
        print_line(describe_system())
        for one in found:
            print_line(f"  {'ok ' if one.fix is None else 'NO '} {one.name:22} {one.answer}")
            if one.fix is not None:
                print_line(f"      fix: {one.fix}")
        print(ELSEWHERE, end="")
    return 0 if all(one.fix is None for one in found) else 1


def calibrated(args: DoctorArguments) -> int:
    """Measure, keep, and say what was found."""
    import sys

    from perfscope.agent.calibration import calibrate
    from perfscope.traces.calibrations import BUSY, keep

    python = args.python or sys.executable
    made = [
        calibrate(python, threads, force=args.force)
        for threads in ([args.threads] if args.threads else [1, 0])
    ]
    paths = [keep(one) for one in made]
    if args.json:
        print(json_text(made))
        return 0
    for one, path in zip(made, paths, strict=True):
        rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in one.flops_per_s.items())
        print_line(f"{one.cpu}, torch {one.torch}, threads: {one.threads}")
        print(f"  products: {rates} GFLOP/s; memory: {one.bytes_per_s / 1e9:.1f} GB/s")
        if one.busy_share > BUSY:
            print(f"  {one.busy_share:.0%} of the cores were busy: these figures may be too low")
        print_line(f"wrote {path}")
    return 0

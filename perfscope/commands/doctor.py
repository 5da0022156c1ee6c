"""Try what perfscope needs on this machine, and say the exact fix for what does not work."""

import argparse

ELSEWHERE = """
In a container or on a cluster, attaching needs the right to trace (SYS_PTRACE); without it `--depth observe` still shows
CPU, I/O, throttling and what threads of your own processes wait for.
  Docker       docker run --cap-add SYS_PTRACE ...            (or from the host, as root: perfscope attach PID)
  Kubernetes   securityContext: {capabilities: {add: [SYS_PTRACE]}} in the pod, or an ephemeral container beside it:
               kubectl debug -it POD --image=IMAGE_WITH_PERFSCOPE --target=CONTAINER --profile=sysadmin -- perfscope ps
  SLURM        srun --jobid JOBID --overlap --pty perfscope attach PID
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    import msgspec

    from perfscope.agent.doctor import CHECKS, system

    found = [check() for check in CHECKS]
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        print(system())
        for one in found:
            print(f"  {'ok ' if one.fix is None else 'NO '} {one.name:22} {one.said}")
            if one.fix is not None:
                print(f"      fix: {one.fix}")
        print(ELSEWHERE, end="")
    return 0 if all(one.fix is None for one in found) else 1

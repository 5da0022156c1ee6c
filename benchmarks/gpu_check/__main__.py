"""Checks perfscope on a GPU and prints a report: `make gpu-check`.

Options: `python -m benchmarks.gpu_check [CHECK ...] [--out FILE]`.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.gpu_check.checks import CHECKS, FAILED, SKIPPED, CheckResult
from perfscope.errors import PerfscopeError

LIMIT_S = 8 * 60
CHECK_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    PerfscopeError,
    subprocess.SubprocessError,
)
"""What a check raises when it cannot be made; the next one follows."""
ISSUES = "https://github.com/perfscope/perfscope/issues/new?template=gpu_check.yml"


def machine() -> dict[str, str]:
    """Return what the report says about the machine; nothing that identifies it."""
    kind = torch.accelerator.current_accelerator()
    module = torch.get_device_module(kind)
    return {
        "perfscope": version("perfscope-ml"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "device": f"{module.device_count()} x {module.get_device_name()} ({kind})",
        "kernel": platform.release(),
    }


def report(facts: dict[str, str], results: dict[str, CheckResult]) -> str:
    """Return the report as Markdown."""
    lines = ["# GPU check of perfscope", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| check | result | seen |", "|---|---|---|"]
    lines += [f"| {name} | {result.state} | {result.summary} |" for name, result in results.items()]
    for name, result in results.items():
        if result.details:
            details = json.dumps(result.details, indent=1, default=str)
            lines += ["", f"<details><summary>{name}</summary>", "", "```json", details, "```"]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def run_checks(names: list[str]) -> dict[str, CheckResult]:
    """Run the checks that were asked for, all by default, while there is time."""
    began, results = time.monotonic(), {}
    for name, check in CHECKS:
        if names and name not in names:
            continue
        if time.monotonic() - began > LIMIT_S:
            results[name] = CheckResult(SKIPPED, "no time left")
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            results[name] = check()
        except CHECK_ERRORS as error:
            results[name] = CheckResult(FAILED, f"the check itself failed: {error!r}")
        print(f"    {results[name].state}: {results[name].summary}", file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Run the checks, write the report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", help="all by default")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.md"))
    args = parser.parse_args()
    if not torch.accelerator.is_available():
        print("torch has no accelerator here (a CPU build of torch, or no GPU)", file=sys.stderr)
        return 2
    results = run_checks(args.checks)
    text = report(machine(), results)
    args.out.write_text(text)
    print(text)
    print(f"Written to {args.out}. Read it, and then paste it into {ISSUES}", file=sys.stderr)
    return 1 if any(result.state == FAILED for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

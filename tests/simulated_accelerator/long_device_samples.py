"""Attaches to every sample workload for accelerators on the simulated one, and compares.

Compared are the verdict with the declared one, the time budget with the device's own accounting,
and the predicted speedup with the one that `--fix` has. Usage:
`python -m tests.simulated_accelerator.long_device_samples [NAME ...] [--keep FOLDER]`.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.simulated_accelerator.workloads import (
    BUSY_MACHINE,
    DeviceTruth,
    attach_with_driver,
    budget_differences,
    declared_verdict,
    device_samples,
    gain_differences,
    measured_peaks,
    running_on_device,
    verdict_differences,
    was_disturbed,
)

MEASURED_S = 5.0
WITHOUT_WINDOW = ("--depth", "probe")


def one_line(answer: dict[str, Any]) -> str:
    """Return the parts of a diagnosis that are compared."""
    verdict, bound_by = answer["verdict"], answer["bound_by"]
    budget = ", ".join(f"{row['category']} {row['share']:.1%}" for row in answer["time_budget"])
    found = ", ".join(finding["id"] for finding in answer["findings"])
    return (
        f"{verdict['id']}/{verdict['cause']}; bound by {bound_by['id']} {bound_by['share']};"
        f" {budget}; findings: {found}"
    )


def check_window(name: str, folder: Path, cache: Path) -> tuple[list[str], DeviceTruth]:
    """Attach to the sample with a window and without; return what differs, and its accounting."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_on_device(name, folder) as run:
        before = run.measure(MEASURED_S)
        answer, truth = attach_with_driver(run, cache=cache)
        print(f"    {one_line(answer)}", flush=True)
        found = verdict_differences(name, answer) + budget_differences(answer, truth)
    without_folder = folder / "without"
    without_folder.mkdir()
    with running_on_device(name, without_folder) as run:
        without, _ = attach_with_driver(run, *WITHOUT_WINDOW, cache=cache)
        print(f"    without a window: {one_line(without)}", flush=True)
        if without["verdict"]["id"] not in ("unknown", BUSY_MACHINE):
            differs = verdict_differences(name, without)
            found += [f"without a window: {text}" for text in differs]
    healthy = declared_verdict(name)[0] == "healthy"
    if not healthy:
        fixed = fixed_truth(name, folder / "fixed")
        gain = before.step_ms / fixed.step_ms
        print(f"    --fix: {before.step_ms:.2f} to {fixed.step_ms:.2f} ms, {gain:.2f}x", flush=True)
        if was_disturbed(answer):
            print(
                "    other jobs took the cores meanwhile: the speedup is not compared", flush=True
            )
        else:
            found += gain_differences(name, answer, gain)
    return found, truth


def fixed_truth(name: str, folder: Path) -> DeviceTruth:
    """Return the accounting of the sample with `--fix`."""
    folder.mkdir()
    with running_on_device(name, folder, "--fix") as run:
        return run.measure(MEASURED_S)


def main() -> int:
    """Check the samples; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--keep", type=Path, help="folder for ledgers and run folders")
    args = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        cache = measured_peaks(Path(temporary))
        for name in args.names or device_samples():
            print(name, flush=True)
            found, truth = check_window(name, (args.keep or Path(temporary)) / name, cache)
            print(
                f"    device: {truth.steps} steps of {truth.step_ms:.2f} ms, computes"
                f" {truth.compute:.1%}, copies {truth.exposed_copy:.1%}, idle {truth.idle:.1%}"
            )
            for difference in found:
                print(f"    DIFFERS: {difference}")
            failed += [name] if found else []
    print(f"{len(failed)} samples differ: {', '.join(failed)}" if failed else "all agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

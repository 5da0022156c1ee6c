"""The checks: each runs a target, looks at one thing, and returns what it saw."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import perfscope
from benchmarks.gpu_check.running_check import (
    ROOT,
    TARGET,
    CheckedTarget,
    checked_target,
    windows_of,
)

OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"
ATTACH_S = 8.0
STEPS_COMPARED = 100
FEWEST_STEPS = 20
SLOWER = 1.05
"""Steps after a window that take this much longer are reported as slower."""
LATE_RUN_S = 150


@dataclass
class CheckResult:
    """What one check saw."""

    state: str
    summary: str
    details: dict[str, Any] = field(default_factory=dict)


def judge_check(holds: bool, summary: str, **details: Any) -> CheckResult:
    """Return the result of a check that could be made."""
    return CheckResult(OK if holds else FAILED, summary, details)


def essentials(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a diagnosis that a check reports."""
    if "error" in answer:
        return answer
    return {
        "verdict": answer["verdict"]["id"],
        "bound_by": answer["bound_by"],
        "time_budget": {row["category"]: row["share"] for row in answer["time_budget"]},
        "findings": [finding["id"] for finding in answer["findings"]],
        "sources": {
            row["name"]: (row["status"], row["reason"])
            for row in answer["sources"]
            if row["status"] != "ok"
        },
        "overhead": answer["overhead"],
    }


def blocking_copy_is_no_input_wait() -> CheckResult:
    """A loop that keeps the device busy and copies with `.to()` is bound by the device."""
    with checked_target("blocking") as target:
        answer = target.attach(ATTACH_S)
    found = essentials(answer)
    if "error" in found:
        return judge_check(False, "the attach failed", **found)
    bound_by, budget = answer["bound_by"]["id"], found["time_budget"]
    waits = budget.get("input-wait", 0) + budget.get("exposed-copy", 0)
    holds = bound_by not in ("input", "host", "unknown") and waits < 0.5
    return judge_check(holds, f"bound by {bound_by}, {waits:.0%} input and copies", **found)


def captures_survive_an_attach() -> CheckResult:
    """Graphs that the program captures while perfscope is attached are captured without error."""
    return capture_check("graph")


def compiling_survives_an_attach() -> CheckResult:
    """A model that is compiled with CUDA graphs while perfscope is attached keeps training."""
    import torch

    if not torch.cuda.is_available():
        return CheckResult(SKIPPED, "needs CUDA: torch.compile(mode='reduce-overhead')")
    return capture_check("compiled")


def capture_check(mode: str) -> CheckResult:
    """Return whether a target in this mode captures graphs while it is attached to."""
    with checked_target(mode) as target:
        before = len(target.lines()) - len(target.step_ends())
        answer = target.attach(ATTACH_S)
        target.wait_for_steps(5)
        captured = len(target.lines()) - len(target.step_ends()) - before
        ended, errors = target.process.poll(), target.errors()
    holds = ended is None and "Error" not in errors and (captured > 0 or mode == "compiled")
    summary = f"{captured} captures while attached, " + (
        "the program goes on" if ended is None else f"the program ended with {ended}"
    )
    return judge_check(holds, summary, stderr=errors[-2000:], **essentials(answer))


def late_initialization_keeps_kernels() -> CheckResult:
    """Kernels are recorded where the device is first used ten seconds after the start."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run, steps = folder / "run", folder / "steps"
        command = [
            sys.executable,
            "-m",
            "perfscope",
            "run",
            "--out",
            str(run),
            "--",
            sys.executable,
            "-m",
            TARGET,
            str(steps),
            "late",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LATE_RUN_S)
        profiled = [line.split()[1] for line in steps.read_text().splitlines() if "kernels" in line]
        recorded, answer = kernels_in(run), perfscope.diagnose(run)
    holds = recorded > 0 and profiled != [] and int(profiled[0]) > 0
    summary = (
        f"{recorded} kernels in perfscope's windows, {profiled or 'none'} in the program's profile"
    )
    reasons = {source.name: source.reason for source in answer.sources if source.reason}
    return judge_check(
        holds,
        summary,
        sources=reasons,
        returncode=done.returncode,
        stderr=done.stderr[-2000:],
    )


def kernels_in(run: Path) -> int:
    """Return the number of kernels in a run folder."""
    tables = perfscope.load(run).tables
    return len(tables["kernels"]) if "kernels" in tables else 0


def a_window_costs_little() -> CheckResult:
    """Steps after a profiling window are as fast as before it."""
    with checked_target("blocking", steps=STEPS_COMPARED + 20) as target:
        count = len(target.step_ends())
        before_ms = median_step_ms(target.step_ends()[-STEPS_COMPARED:])
        answer = target.attach(ATTACH_S)
        during = np.diff(target.step_ends()[count:]) * 1e3
        target.wait_for_steps(STEPS_COMPARED)
        after_ms = median_step_ms(target.step_ends()[-STEPS_COMPARED:])
        windows = windows_of(target.folder / "run")
    timed = [
        {key: row[key] / 1e6 for key in ("prepare", "enable") if key in row} for row in windows
    ]
    holds = after_ms <= SLOWER * before_ms and bool(windows)
    summary = f"median step {before_ms:.2f} ms before, {after_ms:.2f} ms after"
    return judge_check(
        holds,
        summary,
        longest_step_ms=float(during.max()) if len(during) else None,
        window_ms=timed,
        **essentials(answer),
    )


def median_step_ms(ends: list[float]) -> float:
    """Return the median step.

    Raises ValueError with too few steps.
    """
    if len(ends) < FEWEST_STEPS:
        raise ValueError(f"the program took only {len(ends)} steps")
    return float(np.median(np.diff(ends))) * 1e3


def kernels_follow_their_launches() -> CheckResult:
    """In a window no kernel begins before its launch, and the last steps have their kernels."""
    with checked_target("blocking") as target:
        answer = target.attach(ATTACH_S)
        found = check_kernels(target)
    if "early" not in found:
        return judge_check(False, found.get("reason", "no window"), **essentials(answer))
    holds = found["early"] == 0 and found["kernels"] > 0
    summary = (
        f"{found['kernels']} kernels, {found['early']} before their launch;"
        f" {found['without']} of {found['launches']} launches without a kernel"
    )
    return judge_check(holds, summary, **found)


def check_kernels(target: CheckedTarget) -> dict[str, Any]:
    """Return how kernels and launches of the recorded windows fit together."""
    tables = perfscope.load(target.folder / "run").tables
    if "kernels" not in tables or "launches" not in tables:
        return {"reason": "the run has no table of kernels"}
    kernels, launches = tables["kernels"], tables["launches"]
    joined = kernels[kernels["launch"] >= 0]
    begin = launches["ts"].to_numpy()[joined["launch"].to_numpy()]
    late_ns = joined["ts"].to_numpy() - begin
    of_kernels = launches[launches["kind"] == "kernel"]
    missing = ~np.isin(of_kernels.index.to_numpy(), joined["launch"].to_numpy())
    return {
        "kernels": len(kernels),
        "early": int((late_ns < 0).sum()),
        "shortest_delay_us": float(late_ns.min() / 1e3) if len(late_ns) else None,
        "launches": len(of_kernels),
        "without": int(missing.sum()),
    }


def only_the_devices_in_use_are_touched() -> CheckResult:
    """Attaching creates no context on a device that the program does not use."""
    if shutil.which("nvidia-smi") is None or device_count() < 2:
        return CheckResult(SKIPPED, "needs nvidia-smi and two devices")
    with checked_target("blocking") as target:
        before = devices_of(target.process.pid)
        target.attach(ATTACH_S)
        after = devices_of(target.process.pid)
    return judge_check(after == before, f"devices before {before}, after {after}")


def device_count() -> int:
    """Return the number of accelerators of torch."""
    import torch

    return int(torch.accelerator.device_count()) if torch.accelerator.is_available() else 0


def devices_of(pid: int) -> list[str]:
    """Return the devices on which the driver lists a process."""
    query = ["nvidia-smi", "--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader"]
    rows = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    return sorted(row.split(", ")[1] for row in rows if row.split(", ")[0] == str(pid))


def devices_are_found_in_a_container() -> CheckResult:
    """In a pid namespace of its own the devices of the program are found, or called unknown."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return CheckResult(SKIPPED, "needs root and unshare")
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "answer.json"
        command = [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            sys.executable,
            "-m",
            "benchmarks.gpu_check.in_namespace",
            str(out),
            str(ATTACH_S),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
        if not out.exists():
            return judge_check(False, "the attach failed", stderr=done.stderr[-2000:])
        answer = json.loads(out.read_text())
    blamed = {"idle-device", "wrong-gpu"} & {each["id"] for each in answer.get("findings", [])}
    devices = answer.get("devices", [])
    summary = f"{len(devices)} devices, findings about them: {sorted(blamed) or 'none'}"
    holds = not blamed and "error" not in answer
    return judge_check(holds, summary, devices=devices, **essentials(answer))


def counters_of_the_driver() -> CheckResult:
    """What the driver answers to every question that perfscope asks: raw, for comparison."""
    if shutil.which("nvidia-smi") is None:
        return CheckResult(SKIPPED, "needs nvidia-smi")
    with checked_target("blocking"):
        smi = subprocess.run(["nvidia-smi", "-q"], capture_output=True, text=True).stdout
        command = [sys.executable, "-m", "benchmarks.gpu_check.driver_answers"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    answers = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr[-2000:]}
    return judge_check(done.returncode == 0, "see the details", answers=answers, nvidia_smi=smi)


def another_profiler_stays_undisturbed() -> CheckResult:
    """Attaching to a program below Nsight Systems writes nothing to its stderr."""
    if shutil.which("nsys") is None:
        return CheckResult(SKIPPED, "needs nsys")
    with tempfile.TemporaryDirectory() as place:
        before = ["nsys", "profile", "-o", f"{place}/report", "--force-overwrite", "true"]
        with checked_target("blocking", before=before) as target:
            children = subprocess.run(
                ["pgrep", "-g", str(target.process.pid), "-f", TARGET],
                capture_output=True,
                text=True,
            ).stdout.split()
            errors = target.errors()
            out = str(target.folder / "run")
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "perfscope",
                    "attach",
                    children[-1],
                    "--duration",
                    str(ATTACH_S),
                    "--json",
                    "--out",
                    out,
                ],
                cwd=ROOT,
                capture_output=True,
            )
            written = target.errors()[len(errors) :]
    return judge_check(
        written == "", f"{len(written)} characters on stderr", stderr=written[-2000:]
    )


CHECKS: tuple[tuple[str, Callable[[], CheckResult]], ...] = (
    ("blocking copy", blocking_copy_is_no_input_wait),
    ("graph capture", captures_survive_an_attach),
    ("compiled with graphs", compiling_survives_an_attach),
    ("late initialization", late_initialization_keeps_kernels),
    ("cost of a window", a_window_costs_little),
    ("kernels and launches", kernels_follow_their_launches),
    ("devices in use", only_the_devices_in_use_are_touched),
    ("container", devices_are_found_in_a_container),
    ("counters", counters_of_the_driver),
    ("another profiler", another_profiler_stays_undisturbed),
)

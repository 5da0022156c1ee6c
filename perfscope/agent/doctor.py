"""What works on this machine, tried for real, and the exact fix for what does not."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from perfscope.agent.entry import enter
from perfscope.agent.host import cgroup, proc
from perfscope.agent.host.usable_cores import usable_cores
from perfscope.agent.nvml.bindings import DRIVER_LIBRARY, UnusableBindings, check, has_driver
from perfscope.agent.py_spy import program
from perfscope.errors import CollectorUnavailable, PerfscopeError


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: `fix` is None when it works."""

    name: str
    said: str
    fix: str | None = None


def entering() -> Finding:
    """Enter a Python of our own."""
    child = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    try:
        time.sleep(0.3)
        entry = enter(child.pid, "pass")
        return Finding(
            "enter a process", f"works: {entry.way}, stopped for {entry.stopped_ns / 1e6:.1f} ms"
        )
    except PerfscopeError as reason:
        return Finding(
            "enter a process", "does not work; `--depth observe` still does", str(reason)
        )
    finally:
        child.kill()
        child.wait()


def stacks() -> Finding:
    """py-spy, for depth observe."""
    spy = program()
    if spy is None:
        return Finding("stacks from outside", "py-spy is not installed", "pip install py-spy")
    return Finding("stacks from outside", "works: py-spy")


def waits() -> Finding:
    """Whether the kernel shows what threads wait for."""
    if proc.read("/proc/self/syscall") is None:
        return Finding(
            "what threads wait for",
            "the kernel does not say",
            "needs a kernel with CONFIG_HAVE_ARCH_TRACEHOOK",
        )
    return Finding("what threads wait for", "works: /proc/PID/syscall")


def run_queue() -> Finding:
    """Run-queue delay."""
    if not (proc.read("/proc/self/schedstat") or "").strip():
        return Finding(
            "waits for a core", "the kernel does not count them", "boot with schedstats=enable"
        )
    return Finding("waits for a core", "works: schedstat")


def cores() -> Finding:
    """Usable cores and throttling."""

    have = usable_cores(os.getpid())
    held = "counted" if cgroup.throttled(os.getpid()) is not None else "not visible here"
    quota = f"quota {have.quota:g}" if have.quota is not None else "no quota"
    return Finding(
        "cores", f"{have.cores:g} usable (affinity {have.affinity}, {quota}; throttling {held})"
    )


def driver() -> Finding:
    """What the NVIDIA driver offers; a machine without a device lacks nothing."""
    try:
        check()
        from perfscope.agent.nvml.doctor_check import offer  # imports the bindings

        said, silent = offer()
    except UnusableBindings as reason:
        if has_driver():
            return Finding("GPU counters", reason.reason, reason.fix)
        return Finding(
            "GPU counters", f"no NVIDIA driver here ({DRIVER_LIBRARY} is not installed); {reason}"
        )
    except CollectorUnavailable as reason:
        fix = "make `nvidia-smi` list the devices first" if has_driver() else None
        return Finding("GPU counters", str(reason), fix)
    fix = (
        "end what uses it and reset it (nvidia-smi --gpu-reset -i N), or reboot" if silent else None
    )
    return Finding("GPU counters", "; ".join([said, *silent]), fix)


CHECKS: tuple[Callable[[], Finding], ...] = (entering, stacks, waits, run_queue, cores, driver)


def system() -> str:
    """One line about the machine."""
    return (
        f"{platform.system()} {platform.release()}, {platform.machine()}, Python"
        f" {platform.python_version()}"
    )

"""The checks of `perfscope doctor`: what works on this machine, and a fix for what does not."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from perfscope.agent.entry import enter
from perfscope.agent.host import cgroup, proc
from perfscope.agent.host.usable_cores import usable_cores
from perfscope.agent.nvml.bindings import (
    DRIVER_LIBRARY,
    UnusableBindings,
    check_bindings,
    has_driver,
)
from perfscope.agent.stacks.py_spy import find_py_spy
from perfscope.errors import CollectorUnavailable, PerfscopeError

PYTHON_STARTS_IN_S = 0.3


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check; `fix` is None when it works."""

    name: str
    answer: str = msgspec.field(name="said")
    fix: str | None = None


def try_entry() -> CheckResult:
    """Enter a Python process that this check starts."""
    name = "enter a process"
    child = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    try:
        time.sleep(PYTHON_STARTS_IN_S)
        entry = enter(child.pid, "pass")
        stopped_ms = entry.stopped_ns / 1e6
        return CheckResult(name, f"works: {entry.way}, stopped the process for {stopped_ms:.1f} ms")
    except PerfscopeError as reason:
        return CheckResult(name, "does not work; `--depth observe` does", str(reason))
    finally:
        child.kill()
        child.wait()


def check_py_spy() -> CheckResult:
    """Find py-spy, which samples stacks at depth `observe`."""
    name = "stacks from outside"
    if find_py_spy() is None:
        return CheckResult(name, "py-spy is not installed", "pip install py-spy")
    return CheckResult(name, "works: py-spy")


def check_system_calls() -> CheckResult:
    """Check whether the kernel shows which system call a thread waits in."""
    name = "what threads wait for"
    if proc.read("/proc/self/syscall") is None:
        fix = "use a kernel with CONFIG_HAVE_ARCH_TRACEHOOK"
        return CheckResult(name, "the kernel does not show it", fix)
    return CheckResult(name, "works: /proc/PID/syscall")


def check_run_queue() -> CheckResult:
    """Check whether the kernel counts how long threads wait for a core."""
    name = "waits for a core"
    if not (proc.read("/proc/self/schedstat") or "").strip():
        return CheckResult(name, "the kernel does not count them", "boot with schedstats=enable")
    return CheckResult(name, "works: schedstat")


def check_cores() -> CheckResult:
    """Return the usable cores, and whether throttling by a CPU quota is counted."""
    cores = usable_cores(os.getpid())
    is_counted = cgroup.throttling_counts(os.getpid()) is not None
    throttling = "counted" if is_counted else "not visible"
    quota = f"quota {cores.quota:g}" if cores.quota is not None else "no quota"
    details = f"affinity {cores.affinity}, {quota}; throttling {throttling}"
    return CheckResult("cores", f"{cores.cores:g} usable ({details})")


def check_gpu_counters() -> CheckResult:
    """Check what the NVIDIA driver reports; no driver at all is not a problem."""
    name = "GPU counters"
    try:
        check_bindings()
        # This imports the driver's bindings, which `check` has found usable.
        from perfscope.agent.nvml.doctor_check import describe_devices

        description, unanswering = describe_devices()
    except UnusableBindings as reason:
        if has_driver():
            return CheckResult(name, reason.reason, reason.fix)
        no_driver = f"no NVIDIA driver ({DRIVER_LIBRARY} is not installed)"
        return CheckResult(name, f"nothing to read: {no_driver}; {reason}")
    except CollectorUnavailable as reason:
        if has_driver():
            return CheckResult(name, str(reason), "make `nvidia-smi` list the devices first")
        return CheckResult(name, f"nothing to read: {reason}")
    reset = "end what uses the device and reset it (nvidia-smi --gpu-reset -i N), or reboot"
    fix = reset if unanswering else None
    return CheckResult(name, "; ".join([description, *unanswering]), fix)


CHECKS: tuple[Callable[[], CheckResult], ...] = (
    try_entry,
    check_py_spy,
    check_system_calls,
    check_run_queue,
    check_cores,
    check_gpu_counters,
)


def describe_system() -> str:
    """Return the operating system, the architecture and the Python version, in one line."""
    kernel = f"{platform.system()} {platform.release()}"
    return f"{kernel}, {platform.machine()}, Python {platform.python_version()}"

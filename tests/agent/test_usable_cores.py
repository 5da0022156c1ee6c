"""Limits by control groups, with real groups if they can be made on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfscope.agent.host import cgroup
from perfscope.agent.host.usable_cores import shm_bytes, usable_cores
from tests.target_processes import until

Make = Callable[..., Path]
BUSY = "while True: sum(range(10000))"


@pytest.fixture
def make() -> Iterator[Make]:
    """Return make(controller, *names, **files), which makes nested v1 groups and writes `files`
    into the innermost; they are removed after the test.
    """
    made: list[Path] = []

    def nested(controller: str, *names: str, **files: str) -> Path:
        place = cgroup.find_mounts().get(controller)
        if place is None:
            pytest.skip(f"no cgroup v1 controller {controller} is mounted on this machine")
        folder = Path(place[0])
        for name in names:
            folder = folder / f"perfscope-{os.getpid()}-{name}"
            if not folder.exists():
                try:
                    folder.mkdir()
                except OSError as error:
                    pytest.skip(f"cannot make a {controller} group: {error.strerror}")
                made.append(folder)
        for name, value in files.items():
            (folder / name.replace("__", ".")).write_text(value)
        return folder

    yield nested
    for folder in reversed(made):
        for pid in (folder / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        until(lambda folder=folder: not (folder / "cgroup.procs").read_text().strip())
        until(lambda folder=folder: removed(folder))


def removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@pytest.fixture
def child() -> Iterator[Callable[..., int]]:
    """child(*groups, **environment) starts a busy Python in those groups."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*groups: Path, **environment: str) -> int:
        process = subprocess.Popen([sys.executable, "-c", BUSY], env={**os.environ, **environment})
        started.append(process)
        for group in groups:
            (group / "cgroup.procs").write_text(str(process.pid))
        until(lambda: Path(f"/proc/{process.pid}/environ").read_bytes())
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_without_limits_all_cores_of_the_affinity_are_usable(child) -> None:
    pid = child()
    cores = len(os.sched_getaffinity(0))
    found = usable_cores(pid)
    assert found.affinity == cores
    assert found.cpuset in (None, cores)
    assert found.slurm_cpus_per_task is None
    assert found.cores <= cores
    os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
    assert usable_cores(pid).affinity == 1 and usable_cores(pid).cores <= 1


def test_half_a_core_is_the_quota_and_throttling_is_counted(make: Make, child) -> None:
    group = make("cpu", "half", cpu__cfs_period_us="100000", cpu__cfs_quota_us="50000")
    pid = child(group)
    assert usable_cores(pid).cores == usable_cores(pid).quota == 0.5
    before = cgroup.throttling_counts(pid)
    assert before is not None
    until(lambda: (now := cgroup.throttling_counts(pid)) is not None and now[0] >= before[0] + 3)
    after = cgroup.throttling_counts(pid)
    assert after is not None
    throttled_ns, times = after[1] - before[1], after[0] - before[0]
    # Each time lasts at most one period; a period that is not over may be counted in part.
    assert 0 < throttled_ns <= times * 100_000_000 * 2


def test_the_lowest_quota_of_a_group_and_its_parents_applies(make: Make, child) -> None:
    make("cpu", "outer", cpu__cfs_quota_us="150000")
    inner = make("cpu", "outer", "inner")
    pid = child(inner)
    assert usable_cores(pid).quota == 1.5
    (inner / "cpu.cfs_quota_us").write_text("25000")
    assert usable_cores(pid).quota == 0.25
    (inner / "cpu.cfs_quota_us").write_text("-1")
    (inner.parent / "cpu.cfs_quota_us").write_text("-1")
    assert usable_cores(pid).quota is None


def test_a_cpuset_limits_the_cores(make: Make, child) -> None:
    group = make("cpuset", "one")
    root = group.parent
    (group / "cpuset.mems").write_text((root / "cpuset.effective_mems").read_text())
    (group / "cpuset.cpus").write_text(str(min(os.sched_getaffinity(0))))
    found = usable_cores(child(group))
    assert found.cpuset == 1 and found.cores <= 1


def test_a_memory_limit_and_the_memory_that_is_left_are_read(make: Make, child) -> None:
    group = make("memory", "capped", memory__limit_in_bytes=str(200 << 20))
    pid = child(group)
    assert cgroup.memory_limit_bytes(pid) == 200 << 20
    found = cgroup.find_group(pid, "memory")
    assert found is not None and found.version == 1
    left = cgroup.memory_left_bytes(found)
    assert left is not None and 100 << 20 < left <= 200 << 20


def test_the_number_of_slurm_is_reported_when_it_differs(child) -> None:
    assert (
        usable_cores(child(SLURM_PROCID="0", SLURM_CPUS_PER_TASK="512")).slurm_cpus_per_task == 512
    )
    tasks = [child(SLURM_PROCID=rank, SLURM_CPUS_PER_TASK="512") for rank in ("0", "1", "1")]
    assert usable_cores(*tasks).slurm_cpus_per_task == 1024
    cores = usable_cores(os.getpid()).cores
    assert (
        usable_cores(child(SLURM_PROCID="0", SLURM_CPUS_PER_TASK=f"{cores:g}")).slurm_cpus_per_task
        is None
    )


def test_the_cores_of_ranks_that_are_bound_to_different_cores_are_added(child) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core only")
    bound = [child(), child()]
    for pid, core in zip(bound, cores, strict=False):
        os.sched_setaffinity(pid, {core})
    assert (usable_cores(bound[0]).affinity, usable_cores(*bound).affinity) == (1, 2)


def test_the_quota_of_a_unified_hierarchy_is_read(child) -> None:
    place = cgroup.find_mounts().get("")
    if place is None or "cpu" not in (Path(place[0]) / "cgroup.controllers").read_text().split():
        pytest.skip("the cpu controller is not in the unified hierarchy of this machine")
    outer = Path(place[0]) / f"perfscope-{os.getpid()}"
    outer.mkdir()
    try:
        (outer / "cpu.max").write_text("50000 100000")
        pid = child(outer)
        assert usable_cores(pid).cores == 0.5
        time.sleep(0.5)
        throttled = cgroup.throttling_counts(pid)
        assert throttled is not None and throttled[0] > 0
        os.kill(pid, signal.SIGKILL)
    finally:
        until(lambda: removed(outer))


def test_files_of_a_unified_hierarchy_are_read(tmp_path: Path) -> None:
    """The files of the pod and the container on a Kubernetes node, as the kernel writes them
    (cgroup-v2.rst); this machine may have v1 only.
    """
    inner = tmp_path / "pod" / "container"
    inner.mkdir(parents=True)
    (tmp_path / "pod" / "cpu.max").write_text("max 100000\n")
    (inner / "cpu.max").write_text("250000 100000\n")
    stat = (
        "usage_usec 900\nuser_usec 800\nsystem_usec 100\nnr_periods 9\nnr_throttled"
        " {}\nthrottled_usec {}\nnr_bursts 0\n"
    )
    (tmp_path / "pod" / "cpu.stat").write_text(stat.format(0, 0))
    (inner / "cpu.stat").write_text(stat.format(4, 1500))
    (inner / "cpuset.cpus.effective").write_text("0-3,8,10-11\n")
    (tmp_path / "pod" / "memory.max").write_text("3000\n")
    (tmp_path / "pod" / "memory.current").write_text("2500\n")
    (tmp_path / "pod" / "memory.stat").write_text("anon 1\ninactive_file 700\n")
    (inner / "memory.max").write_text("max\n")
    found = cgroup.ControlGroup(2, cgroup.folders_up((str(tmp_path), "/"), "/pod/container"))
    assert found.folders == (inner, tmp_path / "pod", tmp_path)
    assert cgroup.group_quota(found) == 2.5
    assert cgroup.group_throttling(found) == (4, 1_500_000)
    assert cgroup.group_cpuset(found) == 7
    assert cgroup.memory_levels(found) == [(3000, 1800)]
    assert cgroup.memory_left_bytes(found) == 1200


@pytest.mark.parametrize(
    ("mount", "path", "expected"),
    [
        (("/sys/fs/cgroup/cpu", "/"), "/", ["/sys/fs/cgroup/cpu"]),
        (("/sys/fs/cgroup/cpu", "/docker/1"), "/docker/1", ["/sys/fs/cgroup/cpu"]),
        (
            ("/sys/fs/cgroup/cpu", "/docker/1"),
            "/docker/1/x",
            ["/sys/fs/cgroup/cpu/x", "/sys/fs/cgroup/cpu"],
        ),
        (("/sys/fs/cgroup/cpu", "/docker/1"), "/docker/2", ["/sys/fs/cgroup/cpu"]),
        (("/sys/fs/cgroup", "/"), "/../other", ["/sys/fs/cgroup"]),
    ],
    ids=["root", "container", "below", "another container", "outside our namespace"],
)
def test_the_folders_of_a_group_and_its_parents_are_found(
    mount: tuple[str, str], path: str, expected: list[str]
) -> None:
    assert [str(folder) for folder in cgroup.folders_up(mount, path)] == expected


def test_the_shared_memory_of_the_target_is_measured() -> None:
    assert (
        shm_bytes(os.getpid()) == os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize
    )
    assert shm_bytes(4194305) is None


def test_the_physical_cores_are_at_most_the_usable_ones() -> None:
    found = usable_cores(os.getpid())
    assert found.physical is None or 1 <= found.physical <= found.affinity
